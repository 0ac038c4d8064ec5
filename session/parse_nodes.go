package session

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decoder walks YAML nodes and collects what is wrong with them.
type decoder struct {
	errs    []*FieldError
	session string // whose fields are being read
}

// maxFaults is how many faults of one document are told: more are no help, and a file that is no list of sessions at all
// has one on each line.
const maxFaults = 100

func (d *decoder) fault(n *yaml.Node, e FieldError) {
	e.Line, e.Session = n.Line, d.session
	switch {
	case len(d.errs) < maxFaults:
		d.errs = append(d.errs, &e)
	case len(d.errs) == maxFaults:
		d.errs = append(d.errs, &FieldError{Line: n.Line, Field: "YAML", Reason: "has more faults, from this line on", Remedy: "put those before right first"})
	}
}

// full tells that there are more faults than are told: what is left need not be read.
func (d *decoder) full() bool { return len(d.errs) > maxFaults }

// kindOf names what a node is, for errors.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	if n.Tag == "!!null" {
		return "nothing"
	}
	return "a single value"
}

// is checks that a node is of the kind that its field needs; want says so in words.
func (d *decoder) is(n *yaml.Node, path string, kind yaml.Kind, want string) bool {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.fault(n, FieldError{Field: path, Reason: "anchors and aliases are not supported", Remedy: "write the value out"})
	case n.Style&yaml.TaggedStyle != 0:
		d.fault(n, FieldError{Field: path, Value: n.Tag, Reason: "tags are not supported", Remedy: "write the value alone"})
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		d.fault(n, FieldError{Field: path, Reason: "has no value", Allowed: want, Remedy: "give one, or leave the field out"})
	case n.Kind != kind:
		e := FieldError{Field: path, Reason: "is " + kindOf(n), Allowed: want}
		if n.Kind == yaml.ScalarNode {
			e.Value = n.Value
		}
		d.fault(n, e)
	default:
		return true
	}
	return false
}

// field reads the value of one field of a mapping.
type field struct {
	name string
	read func(n *yaml.Node, path string)
}

// mapping reads the fields that n has. Those it does not know are faults, as are those it has twice. What other names
// stand for is in hints.
func (d *decoder) mapping(n *yaml.Node, path string, hints map[string]string, fields ...field) {
	where := path
	if where == "" {
		where = "document"
	}
	if !d.is(n, where, yaml.MappingNode, "a mapping of fields") {
		return
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content) && !d.full(); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if !d.is(key, join(path, "key"), yaml.ScalarNode, "a field's name") {
			continue
		}
		at := join(path, key.Value)
		f := slices.IndexFunc(fields, func(f field) bool { return f.name == key.Value })
		switch line, twice := lines[key.Value]; {
		case twice:
			d.fault(key, FieldError{Field: at, Reason: fmt.Sprintf("is already on line %d", line), Remedy: "leave one of them out"})
		case f < 0:
			d.fault(key, unknownField(at, key.Value, hints, fields))
		default:
			fields[f].read(value, at)
		}
		if _, ok := lines[key.Value]; !ok {
			lines[key.Value] = key.Line
		}
	}
}

func unknownField(path, name string, hints map[string]string, fields []field) FieldError {
	e := FieldError{Field: path, Reason: "there is no such field"}
	var names []string
	for _, f := range fields {
		names = append(names, f.name)
	}
	if hint, ok := hints[name]; ok {
		e.Remedy = hint
	} else if near := Nearest(name, names); len(near) > 0 {
		e.Remedy = "did you mean " + strings.Join(near, " or ") + "?"
	} else {
		e.Allowed = "one of " + strings.Join(names, ", ")
	}
	return e
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// list reads each element of n. It leaves a list that is not nil, also for none, so that an empty one is noticed.
func list[T any](d *decoder, n *yaml.Node, path string, read func(n *yaml.Node, path string) T) []T {
	if !d.is(n, path, yaml.SequenceNode, "a list, such as [a, b]") {
		return nil
	}
	out := make([]T, 0, len(n.Content))
	for i, item := range n.Content {
		if d.full() {
			break
		}
		out = append(out, read(item, fmt.Sprintf("%s[%d]", path, i)))
	}
	return out
}

// text is a scalar as it is written, whatever YAML would make of it: a session may be called 10, and a port no.
func (d *decoder) text(n *yaml.Node, path string) string {
	if !d.is(n, path, yaml.ScalarNode, "a single value") {
		return ""
	}
	return n.Value
}

// scalar reads a value with parse; wrong makes the fault of one that parse refuses.
func scalar[T any](d *decoder, n *yaml.Node, path, allowed string, parse func(string) (T, error), wrong func(text string, err error) FieldError) T {
	var none T
	if !d.is(n, path, yaml.ScalarNode, allowed) {
		return none
	}
	v, err := parse(n.Value)
	if err != nil {
		e := wrong(n.Value, err)
		e.Field, e.Value = path, n.Value
		d.fault(n, e)
		return none
	}
	return v
}
