package ovsdb

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"strings"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/ovsdb/ovsdbtest"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// TestRowsThatChangedMeanwhile builds a transaction, lets others change what it stands on, and then commits it.
func TestRowsThatChangedMeanwhile(t *testing.T) {
	ours := map[string]string{flows.OwnerKey: "test"}
	port := &flows.Port{Name: "ours", ExternalIDs: ours, Interfaces: []*flows.Interface{{Name: "ours"}}}
	for name, c := range map[string]struct {
		op        func(mirror string) flows.RowOp
		meanwhile []string
		text      string
	}{
		"add port, bridge gone": {func(string) flows.RowOp {
			return flows.RowOp{Bridge: "br0", AddPort: &flows.Port{Name: "n", ExternalIDs: ours, Interfaces: []*flows.Interface{{Name: "n"}}}}
		}, []string{"del-br", "br0"}, `bridge "br0"`},
		"add port, bridge made anew": {func(string) flows.RowOp {
			return flows.RowOp{Bridge: "br0", AddPort: &flows.Port{Name: "n", ExternalIDs: ours, Interfaces: []*flows.Interface{{Name: "n"}}}}
		}, []string{"del-br", "br0", "--", "add-br", "br0"}, `bridge "br0"`},
		"add port, name taken": {func(string) flows.RowOp {
			return flows.RowOp{Bridge: "br0", AddPort: &flows.Port{Name: "n", ExternalIDs: ours, Interfaces: []*flows.Interface{{Name: "n"}}}}
		}, []string{"add-port", "br0", "n"}, "constraint violation"},
		"add bridge, name taken":           {func(string) flows.RowOp { return flows.RowOp{Bridge: "n", AddBridge: &flows.Bridge{ExternalIDs: ours}} }, []string{"add-br", "n"}, "constraint violation"},
		"set port, gone":                   {func(string) flows.RowOp { return flows.RowOp{Bridge: "br0", SetPort: port} }, []string{"del-port", "ours"}, `port "ours"`},
		"set port, now theirs":             {func(string) flows.RowOp { return flows.RowOp{Bridge: "br0", SetPort: port} }, []string{"clear", "port", "ours", "external_ids"}, `port "ours"`},
		"set port, on another bridge":      {func(string) flows.RowOp { return flows.RowOp{Bridge: "br0", SetPort: port} }, []string{"--id=@p", "get", "port", "ours", "--", "remove", "bridge", "br0", "ports", "@p", "--", "add", "bridge", "br1", "ports", "@p"}, `the ports of bridge "br0"`},
		"delete port, gone":                {func(string) flows.RowOp { return flows.RowOp{Bridge: "br0", DelPort: "ours"} }, []string{"del-port", "ours"}, `port "ours"`},
		"delete port, made anew by others": {func(string) flows.RowOp { return flows.RowOp{Bridge: "br0", DelPort: "ours"} }, []string{"del-port", "ours", "--", "add-port", "br0", "ours"}, `port "ours"`},
		"delete port, now theirs":          {func(string) flows.RowOp { return flows.RowOp{Bridge: "br0", DelPort: "ours"} }, []string{"set", "port", "ours", "external_ids:ovs-erspan=another"}, `port "ours"`},
		"add mirror, source gone": {func(string) flows.RowOp {
			return flows.RowOp{Bridge: "br0", AddMirror: &flows.Mirror{Name: "n", ExternalIDs: ours, SelectSrcPort: []string{"src"}, OutputPort: "ours"}}
		}, []string{"del-port", "src"}, `the ports of bridge "br0"`},
		"add mirror, output gone": {func(string) flows.RowOp {
			return flows.RowOp{Bridge: "br0", AddMirror: &flows.Mirror{Name: "n", ExternalIDs: ours, SelectSrcPort: []string{"src"}, OutputPort: "ours"}}
		}, []string{"del-port", "ours"}, `the ports of bridge "br0"`},
		"set mirror, gone": {func(m string) flows.RowOp {
			return flows.RowOp{Bridge: "br0", SetMirror: &flows.Mirror{UUID: m, Name: "m", ExternalIDs: ours, OutputPort: "ours"}}
		}, []string{"clear", "bridge", "br0", "mirrors"}, `mirror "m"`},
		"delete mirror, gone":                 {func(m string) flows.RowOp { return flows.RowOp{Bridge: "br0", DelMirror: m} }, []string{"clear", "bridge", "br0", "mirrors"}, `mirror "m"`},
		"delete mirror, now theirs":           {func(m string) flows.RowOp { return flows.RowOp{Bridge: "br0", DelMirror: m} }, []string{"clear", "mirror", "m", "external_ids"}, `mirror "m"`},
		"delete bridge, gone":                 {func(string) flows.RowOp { return flows.RowOp{Bridge: "br1", DelBridge: true} }, []string{"del-br", "br1"}, `bridge "br1"`},
		"delete bridge, now theirs":           {func(string) flows.RowOp { return flows.RowOp{Bridge: "br1", DelBridge: true} }, []string{"clear", "bridge", "br1", "external_ids"}, `the mark of bridge "br1"`},
		"delete bridge, port added by them":   {func(string) flows.RowOp { return flows.RowOp{Bridge: "br1", DelBridge: true} }, []string{"add-port", "br1", "theirs"}, `the ports of bridge "br1"`},
		"delete bridge, mirror added by them": {func(string) flows.RowOp { return flows.RowOp{Bridge: "br1", DelBridge: true} }, []string{"--id=@n", "create", "mirror", "name=theirs", "--", "set", "bridge", "br1", "mirrors=@n"}, `the mirrors of bridge "br1"`},
		"set bridge, now theirs": {func(string) flows.RowOp {
			return flows.RowOp{Bridge: "br1", SetBridge: &flows.Bridge{ExternalIDs: ours}}
		}, []string{"clear", "bridge", "br1", "external_ids"}, `the mark of bridge "br1"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := ovsdbtest.Start(t)
			s.Vsctl("add-br", "br0", "--", "add-port", "br0", "src", "--", "add-port", "br0", "ours", "--", "set", "port", "ours", "external_ids:ovs-erspan=test",
				"--", "--id=@o", "get", "port", "ours", "--", "--id=@m", "create", "mirror", "name=m", "output_port=@o", "external_ids:ovs-erspan=test", "--", "set", "bridge", "br0", "mirrors=@m",
				"--", "add-br", "br1", "--", "set", "bridge", "br1", "external_ids:ovs-erspan=test")
			db, err := Connect(context.Background(), s.RunDir)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			snapshot, err := db.snapshot()
			if err != nil {
				t.Fatal(err)
			}
			mirror := ""
			for uuid := range snapshot.mirrors {
				mirror = uuid
			}
			ops := []flows.RowOp{
				{Bridge: "fine", AddBridge: &flows.Bridge{ExternalIDs: ours}}, // must not be done either
				c.op(mirror),
			}
			b := newBuilder(snapshot)
			for _, op := range ops {
				if err := b.op(op); err != nil {
					t.Fatal(err)
				}
			}
			transaction, _ := b.finish(ops)
			s.Vsctl(c.meanwhile...)
			before := s.Dump()
			_, err = db.commit(context.Background(), transaction)
			if !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v, want one of %q", err, c.text)
			}
			if after := s.Dump(); after != before {
				t.Errorf("rows changed from\n%s\nto\n%s", before, after)
			}
			// By the time of the answer, what was not known is.
			if now, err := db.snapshot(); err != nil || now.same(snapshot) {
				t.Errorf("the cache is as before: %v", err)
			}
		})
	}
}

// TestStoreThatChangedMeanwhile is the same for the store, where others do not count the generation.
func TestStoreThatChangedMeanwhile(t *testing.T) {
	s := ovsdbtest.Start(t)
	db, err := Connect(context.Background(), s.RunDir)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	add := func(name, description string) func(*session.Wish) error {
		return func(w *session.Wish) error {
			id := 7
			w.Sessions = append(w.Sessions, session.Stored{Session: session.Session{
				Name: name, Description: description, Bridge: "br0", Sources: session.Sources{Ports: []string{"p1"}},
				Collectors: []netip.Addr{netip.MustParseAddr("192.0.2.9")}, ERSPAN: session.ERSPAN{Version: 1, SessionID: &id},
			}})
			return nil
		}
	}
	for _, generation := range []string{"none yet", "one"} {
		for name, c := range map[string]struct {
			change    func(*session.Wish) error
			meanwhile []string
		}{
			"generation":                 {add("new", ""), []string{"set", "queue", "STORE", "external_ids:ovs-erspan.generation=77"}},
			"added by hand":              {add("new", ""), []string{"set", "queue", "STORE", "external_ids:ovs-erspan.session.new=x"}},
			"changed by hand":            {func(w *session.Wish) error { w.Sessions[0].Description = "x"; return nil }, []string{"set", "queue", "STORE", "external_ids:ovs-erspan.session.old=x"}},
			"removed by hand":            {func(w *session.Wish) error { w.Sessions = nil; return nil }, []string{"remove", "queue", "STORE", "external_ids", "ovs-erspan.session.old"}},
			"changed where we remove it": {func(w *session.Wish) error { w.Sessions = nil; return nil }, []string{"set", "queue", "STORE", "external_ids:ovs-erspan.session.old=x"}},
		} {
			t.Run(generation+", "+name, func(t *testing.T) {
				if _, err := db.Update(context.Background(), func(w *session.Wish) error { w.Sessions = nil; clear(w.Broken); return nil }); err != nil {
					t.Fatal(err)
				}
				if err := db.Forget(context.Background()); err != nil {
					t.Fatal(err)
				}
				if _, err := db.Update(context.Background(), add("old", "")); err != nil {
					t.Fatal(err)
				}
				read := func() places {
					p, err := db.places()
					if err != nil {
						t.Fatal(err)
					}
					return p
				}
				row := read().row.UUID
				if generation == "none yet" {
					s.Vsctl("remove", "queue", row, "external_ids", "ovs-erspan.generation")
					if err := db.await(t.Context(), func() bool { return read().keys[generationKey] == "" }); err != nil {
						t.Fatal(err)
					}
				}
				p := read()
				e, err := newEdit(maps.Clone(p.keys), &db.memo, c.change)
				if err != nil {
					t.Fatal(err)
				}
				for i, arg := range c.meanwhile {
					if arg == "STORE" {
						c.meanwhile[i] = row
					}
				}
				s.Vsctl(c.meanwhile...)
				before := s.Dump()
				if _, err := db.commit(context.Background(), p.update(e)); !errors.Is(err, ErrConflict) {
					t.Errorf("error %v", err)
				}
				if after := s.Dump(); after != before {
					t.Errorf("rows changed from\n%s\nto\n%s", before, after)
				}
			})
		}
	}
}

// TestSetBridgeKeepsTheCopy: a plan knows nothing of the copy of the store in a tap bridge's row, and does not take it away.
func TestSetBridgeKeepsTheCopy(t *testing.T) {
	s := ovsdbtest.Start(t)
	s.Vsctl("add-br", "br-erspan", "--", "set", "bridge", "br-erspan", "external_ids:ovs-erspan=bridge", "external_ids:ovs-erspan.generation=7", "external_ids:theirs=x")
	db, err := Connect(context.Background(), s.RunDir)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	snapshot, err := db.snapshot()
	if err != nil {
		t.Fatal(err)
	}
	b := newBuilder(snapshot)
	op := flows.RowOp{Bridge: "br-erspan", SetBridge: &flows.Bridge{FailMode: "secure", ExternalIDs: map[string]string{flows.OwnerKey: "bridge"}}}
	if err := b.op(op); err != nil {
		t.Fatal(err)
	}
	transaction, _ := b.finish([]flows.RowOp{op})
	if _, err := db.commit(context.Background(), transaction); err != nil {
		t.Fatal(err)
	}
	if got := s.Vsctl("get", "bridge", "br-erspan", "external_ids"); got != "{ovs-erspan=bridge, ovs-erspan.generation=\"7\"}\n" {
		t.Errorf("external_ids: %s", got)
	}
}
