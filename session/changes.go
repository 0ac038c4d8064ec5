package session

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
)

// ChangeKind is what became of a session by a change of the wish.
type ChangeKind string

// The kinds of changes.
const (
	Added     ChangeKind = "added"
	Changed   ChangeKind = "changed"
	Unchanged ChangeKind = "unchanged"
	Removed   ChangeKind = "removed"
)

// Change is what became of one session.
type Change struct {
	Name string
	Kind ChangeKind
	// Fields are those that have another value now, as paths in YAML ("erspan.sessionID"), sorted. A list is one field.
	Fields []string
}

// Changes compares a wish before and after a change: the sessions named in touched, and those that are there no more, in the
// order of touched and then of the names. Broken are the sessions that nobody could read before, and that were written anew or
// removed: of those the fields are not known.
func Changes(before, after []Stored, broken map[string]bool, touched []string) []Change {
	was, is := byName(before), byName(after)
	var all []Change
	for _, name := range touched {
		now, there := is[name]
		old, known := was[name]
		switch {
		case !there:
		case broken[name]:
			all = append(all, Change{Name: name, Kind: Changed})
		case !known:
			all = append(all, Change{Name: name, Kind: Added})
		default:
			c := Change{Name: name, Kind: Unchanged, Fields: differences(old, now)}
			if len(c.Fields) > 0 {
				c.Kind = Changed
			}
			all = append(all, c)
		}
	}
	gone := map[string]bool{}
	for name := range was {
		gone[name] = true
	}
	maps.Copy(gone, broken)
	for _, name := range slices.Sorted(maps.Keys(gone)) {
		if _, there := is[name]; !there {
			all = append(all, Change{Name: name, Kind: Removed})
		}
	}
	return all
}

func byName(list []Stored) map[string]Session {
	all := make(map[string]Session, len(list))
	for _, s := range list {
		all[s.Name] = s.Session
	}
	return all
}

// differences are the paths of the fields that are not the same, with defaults filled in.
func differences(a, b Session) (paths []string) {
	before, after := leaves(a.Defaulted()), leaves(b.Defaulted())
	for path := range before {
		if !reflect.DeepEqual(before[path], after[path]) {
			paths = append(paths, path)
		}
	}
	for path := range after {
		if _, both := before[path]; !both {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

// leaves are the fields of a session by their paths, as its JSON has them.
func leaves(s Session) map[string]any {
	all := map[string]any{}
	var walk func(prefix string, v any)
	walk = func(prefix string, v any) {
		fields, ok := v.(map[string]any)
		if !ok {
			all[prefix] = v
			return
		}
		for name, v := range fields {
			if prefix != "" {
				name = prefix + "." + name
			}
			walk(name, v)
		}
	}
	data, err := json.Marshal(s)
	if err != nil {
		return all // never: sessions are written the same way
	}
	var v any
	if json.Unmarshal(data, &v) == nil {
		walk("", v)
	}
	return all
}
