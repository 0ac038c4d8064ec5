package session

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

func (d *decoder) document(root *yaml.Node) (file File) {
	var version bool
	var listed bool
	d.mapping(root, "", nil,
		field{"apiVersion", func(n *yaml.Node, path string) {
			version = true
			if v := d.text(n, path); v != "" && v != APIVersion {
				d.fault(n, FieldError{Field: path, Value: v, Allowed: APIVersion})
			}
		}},
		field{"host", func(n *yaml.Node, path string) {
			file.Host = &Host{}
			d.mapping(n, path, nil, field{"maxRate", func(n *yaml.Node, path string) { file.Host.MaxRate = d.rate(n, path) }})
		}},
		field{"sessions", func(n *yaml.Node, path string) {
			listed = true
			file.Sessions = d.sessions(n, path)
		}},
	)
	if root.Kind == yaml.MappingNode && !version {
		d.fault(root, FieldError{Field: "apiVersion", Reason: "is required", Allowed: APIVersion})
	}
	if root.Kind == yaml.MappingNode && !listed {
		d.fault(root, FieldError{Field: "sessions", Reason: "is required", Allowed: "a list of sessions"})
	}
	return file
}

func (d *decoder) sessions(n *yaml.Node, path string) []Session {
	lines := map[string]int{}
	return list(d, n, path, func(n *yaml.Node, path string) Session {
		s := d.readSession(n, path)
		if line, twice := lines[s.Name]; twice && s.Name != "" {
			d.session = s.Name
			d.fault(n, FieldError{Field: "name", Value: s.Name, Reason: fmt.Sprintf("is already the name of the session on line %d", line), Remedy: "give each session a name of its own"})
		} else {
			lines[s.Name] = n.Line
		}
		d.session = ""
		return s
	})
}

// nameOf is the name that a session's mapping has, for the errors in fields before it.
func nameOf(n *yaml.Node) string {
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == "name" && n.Content[i+1].Kind == yaml.ScalarNode {
				return n.Content[i+1].Value
			}
		}
	}
	return ""
}

// inHeader says where the fields of the ERSPAN header are, to those who look for them in the session.
func inHeader(name string) string { return "it belongs under erspan: erspan: {" + name + ": …}" }

var sessionHints = map[string]string{
	"expiresIn":      "write expiresAt with a time in RFC 3339: a file must mean the same whenever it is applied",
	"version":        inHeader("version"),
	"sessionID":      inHeader("sessionID"),
	"index":          inHeader("index"),
	"hardwareID":     inHeader("hardwareID"),
	"hwid":           inHeader("hardwareID"),
	"ports":          "it belongs under sources: sources: {ports: […]}",
	"all":            "it belongs under sources: sources: {all: true}",
	"source":         "write sources: {ports: […]}",
	"collector":      "write collectors: […]",
	"vlan":           "write vlans: […]",
	"deny":           "write match: [{deny: …}]",
	"permit":         "write match: [{permit: …}]",
	"permitBothWays": "write match: [{permitBothWays: …}]",
	"enabled":        "write disabled: true, or leave it out",
}

var headerHints = map[string]string{
	"hwid": "write hardwareID", "id": "write sessionID", "key": "write sessionID", "idx": "write index",
	"dir":       "write direction in the session, beside erspan",
	"direction": "it belongs in the session, beside erspan",
}

func (d *decoder) readSession(n *yaml.Node, path string) Session {
	var s Session
	d.session = nameOf(n)
	// The session is named in each error: fields are given as from its own root.
	root := ""
	if d.session == "" {
		root = path
	}
	named := false
	d.mapping(n, root, sessionHints,
		field{"name", func(n *yaml.Node, path string) { named = true; s.Name = d.text(n, path) }},
		field{"type", func(n *yaml.Node, path string) { s.Type = d.sessionType(n, path) }},
		field{"description", func(n *yaml.Node, path string) { s.Description = d.text(n, path) }},
		field{"disabled", func(n *yaml.Node, path string) { s.Disabled = d.boolean(n, path) }},
		field{"bridge", func(n *yaml.Node, path string) { s.Bridge = d.text(n, path) }},
		field{"sources", func(n *yaml.Node, path string) { s.Sources = d.sources(n, path) }},
		field{"vlans", func(n *yaml.Node, path string) { s.VLANs = list(d, n, path, d.number) }},
		field{"direction", func(n *yaml.Node, path string) { s.Direction = d.direction(n, path) }},
		field{"collectors", func(n *yaml.Node, path string) { s.Collectors = list(d, n, path, d.address) }},
		field{"erspan", func(n *yaml.Node, path string) { s.ERSPAN = d.header(n, path) }},
		field{"match", func(n *yaml.Node, path string) { s.Match = list(d, n, path, d.rule) }},
		field{"snaplen", func(n *yaml.Node, path string) { s.Snaplen = d.snaplen(n, path) }},
		field{"maxRate", func(n *yaml.Node, path string) { s.MaxRate = d.rate(n, path) }},
		field{"maxPackets", func(n *yaml.Node, path string) { s.MaxPackets = d.amount(n, path) }},
		field{"maxBytes", func(n *yaml.Node, path string) { s.MaxBytes = d.amount(n, path) }},
		field{"origin", func(n *yaml.Node, path string) { s.Origin = d.address(n, path) }},
		field{"dscp", func(n *yaml.Node, path string) { s.DSCP = d.optionalNumber(n, path) }},
		field{"ttl", func(n *yaml.Node, path string) { s.TTL = d.optionalNumber(n, path) }},
		field{"outputPort", func(n *yaml.Node, path string) { s.OutputPort = d.text(n, path) }},
		field{"from", func(n *yaml.Node, path string) { s.From = d.sender(n, path) }},
		field{"expiresAt", func(n *yaml.Node, path string) { s.ExpiresAt = d.time(n, path) }},
		field{"allowMissing", func(n *yaml.Node, path string) { s.AllowMissing = d.boolean(n, path) }},
		field{"allowHWOffload", func(n *yaml.Node, path string) { s.AllowHWOffload = d.boolean(n, path) }},
	)
	if n.Kind == yaml.MappingNode && !named {
		d.fault(n, FieldError{Field: join(root, "name"), Reason: "is required", Allowed: allowedNames})
	}
	return s
}

func (d *decoder) sources(n *yaml.Node, path string) (s Sources) {
	d.mapping(n, path, map[string]string{"port": "write ports: […]"},
		field{"ports", func(n *yaml.Node, path string) { s.Ports = list(d, n, path, d.text) }},
		field{"all", func(n *yaml.Node, path string) { s.All = d.boolean(n, path) }},
	)
	return s
}

func (d *decoder) header(n *yaml.Node, path string) (h ERSPAN) {
	d.mapping(n, path, headerHints,
		field{"version", func(n *yaml.Node, path string) { h.Version = d.version(n, path) }},
		field{"sessionID", func(n *yaml.Node, path string) { h.SessionID = d.optionalNumber(n, path) }},
		field{"index", func(n *yaml.Node, path string) { h.Index = d.optionalNumber(n, path) }},
		field{"hardwareID", func(n *yaml.Node, path string) { h.HardwareID = d.optionalNumber(n, path) }},
	)
	return h
}

func (d *decoder) rule(n *yaml.Node, path string) (r Rule) {
	d.mapping(n, path, nil,
		field{"permit", func(n *yaml.Node, path string) { r.Permit = d.text(n, path) }},
		field{"permitBothWays", func(n *yaml.Node, path string) { r.PermitBothWays = d.text(n, path) }},
		field{"deny", func(n *yaml.Node, path string) { r.Deny = d.text(n, path) }},
	)
	return r
}

func (d *decoder) number(n *yaml.Node, path string) int {
	const allowed = "a whole number, in decimal or with 0x"
	return scalar(d, n, path, allowed, ParseNumber, func(_ string, err error) FieldError {
		return FieldError{Reason: err.Error(), Allowed: allowed}
	})
}

func (d *decoder) optionalNumber(n *yaml.Node, path string) *int {
	v := d.number(n, path)
	return &v
}

func (d *decoder) boolean(n *yaml.Node, path string) bool {
	const allowed = "true or false"
	return scalar(d, n, path, allowed, func(text string) (bool, error) {
		switch text {
		case "true", "false":
			return text == "true", nil
		}
		return false, strconv.ErrSyntax
	}, func(string, error) FieldError { return FieldError{Allowed: allowed} })
}

func (d *decoder) version(n *yaml.Node, path string) int {
	return scalar(d, n, path, allowedVersions, ParseVersion, func(_ string, err error) FieldError {
		var fault *FieldError
		errors.As(err, &fault)
		return *fault
	})
}

// sessionType is required to be what it is where it is written.
func (d *decoder) sessionType(n *yaml.Node, path string) Type {
	return scalar(d, n, path, allowedTypes, ParseType, func(string, error) FieldError { return FieldError{Allowed: allowedTypes} })
}

func (d *decoder) direction(n *yaml.Node, path string) Direction {
	return scalar(d, n, path, directions, ParseDirection, func(string, error) FieldError { return FieldError{Allowed: directions} })
}

func (d *decoder) snaplen(n *yaml.Node, path string) Snaplen {
	return scalar(d, n, path, allowedSnaplen, ParseSnaplen, func(string, error) FieldError { return FieldError{Allowed: allowedSnaplen} })
}

func (d *decoder) rate(n *yaml.Node, path string) Rate {
	return scalar(d, n, path, allowedRate, ParseRate, func(string, error) FieldError { return FieldError{Allowed: allowedRate} })
}

func (d *decoder) amount(n *yaml.Node, path string) Amount {
	return scalar(d, n, path, allowedAmount, ParseAmount, func(string, error) FieldError { return FieldError{Allowed: allowedAmount} })
}

func (d *decoder) address(n *yaml.Node, path string) netip.Addr {
	const allowed = "an IPv4 or IPv6 address"
	return scalar(d, n, path, allowed, netip.ParseAddr, func(text string, _ error) FieldError { return addressSyntaxFault(text, allowed) })
}

func addressSyntaxFault(text, allowed string) FieldError {
	return FieldError{Allowed: allowed, Remedy: strings.TrimPrefix(addressRemedy(text), "; ")}
}

func (d *decoder) sender(n *yaml.Node, path string) string {
	return scalar(d, n, path, allowedSender, ParseSender, func(text string, _ error) FieldError { return addressSyntaxFault(text, allowedSender) })
}

func (d *decoder) time(n *yaml.Node, path string) *time.Time {
	const allowed = "a time in RFC 3339, such as 2030-01-31T18:00:00Z"
	return scalar(d, n, path, allowed, func(text string) (*time.Time, error) {
		t, err := time.Parse(time.RFC3339, text)
		t = t.UTC()
		return &t, err
	}, func(string, error) FieldError { return FieldError{Allowed: allowed} })
}
