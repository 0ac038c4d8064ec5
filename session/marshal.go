package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Marshal is [MarshalFile] for sessions alone.
func Marshal(sessions []Session) ([]byte, error) { return MarshalFile(File{Sessions: sessions}) }

// MarshalFile writes sessions as YAML that [ParseFile] takes back to the same sessions: fields in the order in which people
// read them, and only those that are set. Times are written in UTC. The error names a session whose text is not UTF-8;
// a valid session has none.
func MarshalFile(file File) ([]byte, error) {
	root, err := fileNode(file)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	enc.CompactSeqIndent()
	if err := errors.Join(enc.Encode(root), enc.Close()); err != nil {
		return nil, fmt.Errorf("write sessions as YAML: %w", err)
	}
	return b.Bytes(), nil
}

// MarshalFileJSON writes the same as JSON, which is YAML too.
func MarshalFileJSON(file File) ([]byte, error) {
	root, err := fileNode(file)
	if err != nil {
		return nil, err
	}
	var object any
	if err := root.Decode(&object); err != nil {
		return nil, fmt.Errorf("write sessions as JSON: %w", err)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(object); err != nil {
		return nil, fmt.Errorf("write sessions as JSON: %w", err)
	}
	return SafeJSON(b.Bytes()), nil
}

// fileNode is a file as YAML's parser has it, with the type of each value.
func fileNode(file File) (*yaml.Node, error) {
	sessions := file.Sessions
	items := &yaml.Node{Kind: yaml.SequenceNode}
	for _, s := range sessions {
		n := sessionNode(s)
		if bad := notText(n); bad != nil {
			return nil, &FieldError{Session: s.Name, Field: "YAML", Value: bad.Value, Reason: "is not UTF-8"}
		}
		items.Content = append(items.Content, n)
	}
	if len(sessions) == 0 {
		items.Style = yaml.FlowStyle
	}
	return mappingNode(0, pair("apiVersion", stringNode(APIVersion)),
		short("host", file.Host != nil && *file.Host != Host{}, hostNodes(file.Host)), pair("sessions", items)), nil
}

func hostNodes(h *Host) []*yaml.Node {
	if h == nil {
		return nil
	}
	return text("maxRate", h.MaxRate.String())
}

// notText finds a value that YAML has no way to write.
func notText(n *yaml.Node) *yaml.Node {
	if !utf8.ValidString(n.Value) {
		return n
	}
	for _, c := range n.Content {
		if bad := notText(c); bad != nil {
			return bad
		}
	}
	return nil
}

func sessionNode(s Session) *yaml.Node {
	return mappingNode(0,
		pair("name", stringNode(s.Name)),
		text("type", string(s.Type)),
		text("description", s.Description),
		flag("disabled", s.Disabled),
		text("bridge", s.Bridge),
		short("sources", s.Sources.All || s.Sources.Ports != nil, listed("ports", s.Sources.Ports, stringNode), flag("all", s.Sources.All)),
		listed("vlans", s.VLANs, intNode),
		text("direction", string(s.Direction)),
		listed("collectors", s.Collectors, addressNode),
		text("outputPort", s.OutputPort),
		text("from", s.From),
		short("erspan", s.ERSPAN != ERSPAN{},
			pairs(s.ERSPAN.Version != 0, "version", func() *yaml.Node { return intNode(s.ERSPAN.Version) }),
			optional("sessionID", s.ERSPAN.SessionID), optional("index", s.ERSPAN.Index), optional("hardwareID", s.ERSPAN.HardwareID)),
		listed("match", s.Match, ruleNode),
		pairs(!s.Snaplen.IsZero(), "snaplen", func() *yaml.Node { return snaplenNode(s.Snaplen) }),
		text("maxRate", s.MaxRate.String()),
		amount("maxPackets", s.MaxPackets),
		amount("maxBytes", s.MaxBytes),
		pairs(s.Origin.IsValid(), "origin", func() *yaml.Node { return addressNode(s.Origin) }),
		optional("dscp", s.DSCP),
		optional("ttl", s.TTL),
		pairs(s.ExpiresAt != nil, "expiresAt", func() *yaml.Node {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!timestamp", Value: s.ExpiresAt.UTC().Format(time.RFC3339Nano)}
		}),
		flag("allowMissing", s.AllowMissing),
		flag("allowHWOffload", s.AllowHWOffload),
	)
}

func ruleNode(r Rule) *yaml.Node {
	quoted := func(name, expr string) []*yaml.Node {
		return pairs(expr != "", name, func() *yaml.Node {
			n := stringNode(expr)
			n.Style = yaml.DoubleQuotedStyle // matches are full of commas
			return n
		})
	}
	return mappingNode(yaml.FlowStyle, quoted("permit", r.Permit), quoted("permitBothWays", r.PermitBothWays), quoted("deny", r.Deny))
}

func snaplenNode(s Snaplen) *yaml.Node {
	if n, ok := s.Bytes(); ok {
		return intNode(n)
	}
	// "off" is false to a parser of YAML 1.1; ours takes the word. Quotes would be right for both, and read worse.
	return stringNode(s.String())
}

// pair is a key and its value; a pair that is left out is nil.
func pair(key string, value *yaml.Node) []*yaml.Node { return []*yaml.Node{stringNode(key), value} }

func pairs(set bool, key string, value func() *yaml.Node) []*yaml.Node {
	if !set {
		return nil
	}
	return pair(key, value())
}

func text(key, value string) []*yaml.Node {
	return pairs(value != "", key, func() *yaml.Node { return stringNode(value) })
}

func flag(key string, set bool) []*yaml.Node {
	return pairs(set, key, func() *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true"} })
}

func amount(key string, n Amount) []*yaml.Node {
	return pairs(n > 0, key, func() *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: n.String()} })
}

func optional(key string, n *int) []*yaml.Node {
	return pairs(n != nil, key, func() *yaml.Node { return intNode(*n) })
}

// listed is a list on one line; nil is left out, an empty one is not, since it means something else.
func listed[T any](key string, items []T, node func(T) *yaml.Node) []*yaml.Node {
	return pairs(items != nil, key, func() *yaml.Node {
		n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, item := range items {
			n.Content = append(n.Content, node(item))
		}
		return n
	})
}

// short is a mapping on one line.
func short(key string, set bool, content ...[]*yaml.Node) []*yaml.Node {
	return pairs(set, key, func() *yaml.Node { return mappingNode(yaml.FlowStyle, content...) })
}

func mappingNode(style yaml.Style, content ...[]*yaml.Node) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode, Style: style}
	for _, c := range content {
		n.Content = append(n.Content, c...)
	}
	return n
}

func stringNode(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	if strings.ContainsFunc(s, unprintable) {
		n.Style = yaml.DoubleQuotedStyle // as a block, a tab in front could not be read back
	}
	return n
}

func intNode(n int) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.Itoa(n)}
}

func addressNode(a netip.Addr) *yaml.Node { return stringNode(a.String()) }
