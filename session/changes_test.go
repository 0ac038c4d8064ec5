package session

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestChanges(t *testing.T) {
	id, other := 7, 8
	web := Session{Name: "web", Bridge: "br0", Sources: Sources{Ports: []string{"p1"}}, Collectors: []netip.Addr{netip.MustParseAddr("192.0.2.9")}, ERSPAN: ERSPAN{SessionID: &id}}
	edited := web.Clone()
	edited.ERSPAN.SessionID, edited.Sources.Ports, edited.Description = &other, []string{"p1", "p2"}, "x"
	stored := func(list ...Session) (all []Stored) {
		for n, s := range list {
			all = append(all, Stored{Session: s, Slot: uint32(n + 1)})
		}
		return all
	}
	named := func(name string) Session { s := web.Clone(); s.Name = name; return s }
	for name, tt := range map[string]struct {
		before, after []Stored
		broken        map[string]bool
		touched       []string
		want          []Change
	}{
		"added":                     {nil, stored(web), nil, []string{"web"}, []Change{{Name: "web", Kind: Added}}},
		"changed":                   {stored(web), stored(edited), nil, []string{"web"}, []Change{{"web", Changed, []string{"description", "erspan.sessionID", "sources.ports"}}}},
		"back":                      {stored(edited), stored(web), nil, []string{"web"}, []Change{{"web", Changed, []string{"description", "erspan.sessionID", "sources.ports"}}}},
		"unchanged":                 {stored(web), stored(web), nil, []string{"web"}, []Change{{Name: "web", Kind: Unchanged}}},
		"a default that was said":   {stored(web), stored(web.Defaulted()), nil, []string{"web"}, []Change{{Name: "web", Kind: Unchanged}}},
		"removed":                   {stored(web, named("b"), named("a")), stored(web), nil, nil, []Change{{Name: "a", Kind: Removed}, {Name: "b", Kind: Removed}}},
		"unreadable, written again": {nil, stored(web), map[string]bool{"web": true}, []string{"web"}, []Change{{Name: "web", Kind: Changed}}},
		"unreadable, removed":       {nil, nil, map[string]bool{"web": true}, nil, []Change{{Name: "web", Kind: Removed}}},
		"all of it, in order": {stored(web, named("b")), stored(edited, named("c"), named("a")), nil, []string{"c", "web", "a"},
			[]Change{{Name: "c", Kind: Added}, {"web", Changed, []string{"description", "erspan.sessionID", "sources.ports"}}, {Name: "a", Kind: Added}, {Name: "b", Kind: Removed}}},
	} {
		if diff := cmp.Diff(tt.want, Changes(tt.before, tt.after, tt.broken, tt.touched)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestChangesSeeEveryField: two sessions that are not the same differ in a field at least.
func TestChangesSeeEveryField(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anySession().Draw(t, "a"), anySession().Draw(t, "b")
		b.Name = a.Name
		same := cmp.Equal(a.Defaulted(), b.Defaulted(), same)
		if fields := differences(a, b); same != (len(fields) == 0) {
			t.Errorf("the same: %v, fields that differ: %q", same, fields)
		}
	})
}
