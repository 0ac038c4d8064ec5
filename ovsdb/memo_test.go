package ovsdb

import (
	"errors"
	"maps"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// TestMemoOfEdits: through a memo, each version of the store reads as without one, whatever edits did with what they were
// given, whether they were written or not.
func TestMemoOfEdits(t *testing.T) {
	var m memo
	store := map[string]string{}
	id := 7
	add := func(name string) func(*session.Wish) error {
		return func(w *session.Wish) error {
			w.Sessions = append(w.Sessions, session.Stored{
				Session: session.Session{Name: name, Bridge: "br0", Sources: session.Sources{Ports: []string{"p1"}}, VLANs: []int{10},
					Collectors: []netip.Addr{netip.MustParseAddr("192.0.2.9")}, ERSPAN: session.ERSPAN{Version: 1, SessionID: &id}},
				Identities: map[string]session.Identity{"p1": {IfaceID: "a"}},
			})
			return nil
		}
	}
	scribble := func(w *session.Wish) {
		s := &w.Sessions[0]
		s.Sources.Ports[0], s.VLANs[0], *s.ERSPAN.SessionID = "p2", 20, 8
		s.Collectors[0] = netip.MustParseAddr("192.0.2.10")
		s.Identities["p1"] = session.Identity{IfaceID: "b"}
	}
	refused := errors.New("refused")
	for _, step := range []struct {
		name    string
		change  func(*session.Wish) error
		written bool
		puts    int
	}{
		{"added", add("web"), true, 1},
		{"nothing done", func(*session.Wish) error { return nil }, true, 0},
		{"altered and refused", func(w *session.Wish) error { scribble(w); return refused }, false, 0},
		{"altered, another was faster", func(w *session.Wish) error { scribble(w); return nil }, false, 1},
		{"altered", func(w *session.Wish) error { scribble(w); return nil }, true, 1},
		{"removed", func(w *session.Wish) error { w.Sessions = nil; return nil }, true, 0},
	} {
		e, err := newEdit(store, &m, step.change)
		if err != nil && !errors.Is(err, refused) {
			t.Fatalf("%s: %v", step.name, err)
		}
		if len(e.put) != step.puts {
			t.Errorf("%s: writes %v", step.name, e.put)
		}
		if step.written {
			store = maps.Clone(store)
			maps.Copy(store, e.put)
			for _, key := range e.remove {
				delete(store, key)
			}
		}
		reader := m.begin()
		got := readWish(store, reader)
		reader.end()
		if diff := cmp.Diff(readWish(store, nil), got, cmpopts.EquateComparable(netip.Addr{}, session.Rate{}, session.Snaplen{})); diff != "" {
			t.Errorf("%s: without a memo, and with one:\n%s", step.name, diff)
		}
	}
}
