package ovsdb_test

import (
	"bufio"
	"context"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/ovsdb"
	"github.com/ovs-erspan/ovs-erspan/ovsdb/ovsdbtest"
	"github.com/ovs-erspan/ovs-erspan/session"
)

var accident = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// tapBridges adds two, as a plan makes them.
func tapBridges(s *ovsdbtest.Server) {
	s.Vsctl("add-br", "br-erspan", "--", "set", "bridge", "br-erspan", "external_ids:ovs-erspan=bridge",
		"--", "add-br", "br-erspan-nd", "--", "set", "bridge", "br-erspan-nd", "external_ids:ovs-erspan=bridge")
}

// names of the sessions that are wished for.
func names(t *testing.T, db *ovsdb.DB) (all []string) {
	t.Helper()
	for _, s := range wish(t, db).Sessions {
		all = append(all, s.Name)
	}
	return all
}

func mend(t *testing.T, db *ovsdb.DB) *session.Restored {
	t.Helper()
	r, err := db.Mend(context.Background(), accident)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func report(t *testing.T, db *ovsdb.DB, inForce uint64) {
	t.Helper()
	status := map[string]session.Status{}
	for _, name := range names(t, db) {
		status[name] = session.Status{State: session.Active, Since: accident}
	}
	if err := db.Report(context.Background(), inForce, status); err != nil {
		t.Fatal(err)
	}
}

// has tells whether anything in the database is ours.
func has(s *ovsdbtest.Server) bool { return strings.Contains(s.Dump(), "ovs-erspan") }

// TestAccidentsOfTheStore: whatever somebody deletes, no session is lost while the store's row, a tap bridge or the
// connection is left; nobody who looks meanwhile sees an empty wish.
func TestAccidentsOfTheStore(t *testing.T) {
	const row = "STORE"
	for name, c := range map[string]struct {
		accident []string
		lives    bool   // a connection that saw it before
		from     string // where it is restored from; "": it is not lost
	}{
		"Open_vSwitch.external_ids cleared":  {[]string{"clear", "open", ".", "external_ids"}, false, ""},
		"Open_vSwitch.external_ids replaced": {[]string{"set", "open", ".", "external_ids={system-id=x}"}, false, ""},
		"tap bridges deleted":                {[]string{"del-br", "br-erspan", "--", "del-br", "br-erspan-nd"}, false, ""},
		"tap bridges' external_ids cleared":  {[]string{"clear", "bridge", "br-erspan", "external_ids", "--", "clear", "bridge", "br-erspan-nd", "external_ids"}, false, ""},
		"all queues destroyed":               {[]string{"--all", "destroy", "queue"}, false, "bridge br-erspan"},
		"all queues destroyed, seen":         {[]string{"--all", "destroy", "queue"}, true, "the daemon's memory"},
		"the store's external_ids cleared":   {[]string{"clear", "queue", row, "external_ids"}, false, "bridge br-erspan"},
		"cleared, seen":                      {[]string{"clear", "queue", row, "external_ids"}, true, "the daemon's memory"},
		"the store's external_ids replaced":  {[]string{"set", "queue", row, "external_ids={a=b}"}, true, "the daemon's memory"},
		"all but one copy": {[]string{"--all", "destroy", "queue", "--", "del-br", "br-erspan", "--", "clear", "open", ".", "external_ids"},
			false, "bridge br-erspan-nd"},
		"everything, seen": {[]string{"--all", "destroy", "queue", "--", "del-br", "br-erspan", "--", "del-br", "br-erspan-nd", "--", "clear", "open", ".", "external_ids"},
			true, "the daemon's memory"},
	} {
		t.Run(name, func(t *testing.T) {
			s := ovsdbtest.Start(t)
			tapBridges(s)
			db := connect(t, s)
			update(t, db, add(newSession("web"), newSession("app")))
			report(t, db, 1)
			if !c.lives {
				db.Close()
			}
			args := slices.Clone(c.accident)
			for i, arg := range args {
				if arg == row {
					args[i] = storeRow(s)
				}
			}
			s.Vsctl(args...)
			if !c.lives {
				db = connect(t, s)
			}
			// The accident is known when the mark of a row or a bridge is gone: until then, all is as before anyway.
			for deadline := time.Now().Add(100 * time.Millisecond); time.Now().Before(deadline); {
				if got := names(t, db); !slices.Equal(got, []string{"app", "web"}) {
					t.Fatalf("wished after the accident: %v", got)
				}
			}
			var restored *session.Restored
			if c.from != "" {
				ovsdbtest.Eventually(t, "it is mended", func() bool { restored = mend(t, db); return restored != nil })
				if restored.From != c.from || !restored.At.Equal(accident) {
					t.Errorf("restored: %+v, want from %s", restored, c.from)
				}
			}
			if again := mend(t, db); again != nil {
				t.Errorf("mended again: %+v", again)
			}
			w := wish(t, connect(t, s))
			if len(w.Sessions) != 2 || w.Generation != 1 || len(w.Broken) > 0 || (w.Restored != nil) != (c.from != "") {
				t.Errorf("mended: %+v", w)
			}
			if c.lives && (w.InForce != 1 || len(w.Status) != 2) {
				t.Errorf("statuses are lost: %+v", w)
			}
			// The notice goes with the next change, and nothing at all is left after an uninstall.
			update(t, db, remove("web", "app"))
			if w := wish(t, db); w.Restored != nil {
				t.Error("the notice stays")
			}
			if err := db.Forget(context.Background()); err != nil {
				t.Fatal(err)
			}
			for _, b := range strings.Fields(s.Vsctl("list-br")) {
				s.Vsctl("del-br", b)
			}
			if has(s) || strings.Contains(name, "cleared, seen") && strings.TrimSpace(s.Vsctl("list", "queue")) != "" {
				t.Errorf("left: %s", s.Dump())
			}
		})
	}
}

// TestUninstallIsNoAccident: who remembers sessions does not bring them back when they were removed and the store forgotten,
// however fast.
func TestUninstallIsNoAccident(t *testing.T) {
	s := ovsdbtest.Start(t)
	daemon, command := connect(t, s), connect(t, s)
	for range 20 {
		update(t, command, add(newSession("web")))
		ovsdbtest.Eventually(t, "it is seen", func() bool { return len(names(t, daemon)) == 1 })
		done := make(chan struct{})
		go func() {
			defer close(done)
			update(t, command, remove("web"))
			if err := command.Forget(context.Background()); err != nil {
				t.Error(err)
			}
		}()
		for looking := true; looking; {
			select {
			case <-done:
				looking = false
			default:
			}
			if restored := mend(t, daemon); restored != nil {
				t.Fatalf("brought back: %+v", restored)
			}
		}
		ovsdbtest.Eventually(t, "it is gone", func() bool { return wish(t, daemon).Generation == 0 })
		if restored := mend(t, daemon); restored != nil || has(s) {
			t.Fatalf("left: %+v %s", restored, s.Dump())
		}
	}
}

// TestOldPlaceOfTheStore: what a version before kept in Open_vSwitch.external_ids is the store until the first write moves
// it, as it is; what is written there later, by hand or by an older program, is taken over as a change of the wish.
func TestOldPlaceOfTheStore(t *testing.T) {
	old := map[string]string{
		"hostname": "h", "ovs-erspan.generation": "41", "ovs-erspan.in-force": "41", "ovs-erspan.session.web": text("web", 3),
		"ovs-erspan.session.app": text("app", 1), "ovs-erspan.delivered": `["br7"]`, "ovs-erspan.meters": `{}`,
		"ovs-erspan.status.web": `{"state":"Active","since":"2030-01-02T03:04:05Z"}`,
	}
	moved := maps.Clone(old)
	delete(moved, "hostname")
	for how, move := range map[string]func(*testing.T, *ovsdb.DB){
		"who reconciles": func(t *testing.T, db *ovsdb.DB) {
			if restored := mend(t, db); restored != nil {
				t.Errorf("an accident: %+v", restored)
			}
		},
		"a change": func(t *testing.T, db *ovsdb.DB) {
			update(t, db, add(newSession("new")))
			update(t, db, remove("new"))
		},
	} {
		t.Run(how, func(t *testing.T) {
			s := ovsdbtest.Start(t)
			tapBridges(s)
			setKeys(s, old)
			db := connect(t, s)
			if w := wish(t, db); len(w.Sessions) != 2 || w.Generation != 41 || w.InForce != 41 || w.Status["web"].State != session.Active {
				t.Errorf("before it is moved: %+v", w)
			}
			move(t, db)
			want := maps.Clone(moved)
			if how == "a change" {
				want["ovs-erspan.generation"] = "43"
			}
			want["ovs-erspan"] = "store"
			if got := externalIDs(s, "queue", storeRow(s)); !maps.Equal(got, want) {
				t.Errorf("the store: %v", got)
			}
			if got := externalIDs(s, "open", "."); !maps.Equal(got, map[string]string{"hostname": "h"}) {
				t.Errorf("left in the old place: %v", got)
			}
			// Later: a new session, one that differs, one that is the same, and what only the store says.
			generation := wish(t, db).Generation
			changed := strings.Replace(text("web", 3), `"name":"web",`, `"name":"web","disabled":true,`, 1)
			s.Vsctl("set", "open", ".", `external_ids:ovs-erspan.session.web="`+strings.ReplaceAll(changed, `"`, `\"`)+`"`,
				`external_ids:ovs-erspan.session.bad="{"`, `external_ids:ovs-erspan.generation="2"`, `external_ids:ovs-erspan.in-force="2"`)
			ovsdbtest.Eventually(t, "it is seen", func() bool { return len(wish(t, db).Broken) == 1 })
			mend(t, db)
			w := wish(t, db)
			if !w.Sessions[1].Disabled || w.Broken["bad"] == nil || w.Generation != generation+1 || w.InForce != 41 || w.Restored != nil {
				t.Errorf("taken over: %+v", w)
			}
			if got := externalIDs(s, "open", "."); !maps.Equal(got, map[string]string{"hostname": "h"}) {
				t.Errorf("left in the old place: %v", got)
			}
		})
	}
}

// TestCopiesOfTheStore: each tap bridge has a copy of the wish, and of nothing else, that follows every change; a plan does
// not see it; the place with the higher generation counts where they differ.
func TestCopiesOfTheStore(t *testing.T) {
	s := ovsdbtest.Start(t)
	db := connect(t, s)
	update(t, db, add(newSession("web")))
	tapBridges(s)
	ovsdbtest.Eventually(t, "the bridges are seen", func() bool { state, _ := db.State(); return len(state.Bridges) == 2 })
	copied := func(bridge string) map[string]string {
		ids := externalIDs(s, "bridge", bridge)
		delete(ids, "ovs-erspan")
		return ids
	}
	check := func(what string, want map[string]string) {
		t.Helper()
		for _, bridge := range []string{"br-erspan", "br-erspan-nd"} {
			if got := copied(bridge); !maps.Equal(got, want) {
				t.Errorf("%s: %s has %v, want %v", what, bridge, got, want)
			}
		}
	}
	report(t, db, 1)
	check("after a report", map[string]string{"ovs-erspan.generation": "1", "ovs-erspan.session.web": text("web", 1)})
	update(t, db, add(newSession("app")))
	both := map[string]string{"ovs-erspan.generation": "2", "ovs-erspan.session.web": text("web", 1), "ovs-erspan.session.app": text("app", 2)}
	check("after a change", both)
	state, err := db.State()
	if err != nil || len(state.Bridges["br-erspan"].ExternalIDs) != 1 {
		t.Errorf("a plan sees it: %v, %v", state.Bridges["br-erspan"].ExternalIDs, err)
	}
	// Somebody changes a copy without counting: the next report puts it right.
	s.Vsctl("remove", "bridge", "br-erspan", "external_ids", "ovs-erspan.session.web", "--", "set", "bridge", "br-erspan-nd", "external_ids:ovs-erspan.session.x=x")
	ovsdbtest.Eventually(t, "copies as they were", func() bool { report(t, db, 2); return maps.Equal(copied("br-erspan"), both) })
	check("after they were changed", both)
	// A copy that is newer, as after a restored backup of the store's row, counts.
	s.Vsctl("set", "queue", storeRow(s), "external_ids:ovs-erspan.generation=1", "--", "remove", "queue", storeRow(s), "external_ids", "ovs-erspan.session.app")
	ovsdbtest.Eventually(t, "it is mended", func() bool { return mend(t, db) != nil })
	if got := names(t, db); !slices.Equal(got, []string{"app", "web"}) || wish(t, db).Generation != 2 {
		t.Errorf("after it was mended: %v", got)
	}
	check("at the end", both)
}

// TestWhatOthersSee counts what an agent sees that watches Open_vSwitch.external_ids, as ovn-controller does, which
// recomputes everything then: nothing, whatever is wished for or reported.
func TestWhatOthersSee(t *testing.T) {
	s := ovsdbtest.Start(t)
	tapBridges(s)
	db := connect(t, s)
	monitor := exec.Command("ovsdb-client", "--format=json", "monitor", s.Remote(), "Open_vSwitch", "Open_vSwitch", "external_ids,other_config")
	out, err := monitor.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := monitor.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = monitor.Process.Kill(); _ = monitor.Wait() }()
	updates := bufio.NewScanner(out)
	if !updates.Scan() {
		t.Fatal("the monitor tells nothing")
	}
	for n := range 5 {
		update(t, db, add(newSession("web")))
		report(t, db, uint64(2*n+1))
		update(t, db, remove("web"))
		report(t, db, uint64(2*n+2))
	}
	s.Vsctl("set", "open", ".", "external_ids:last=1")
	if !updates.Scan() || !strings.Contains(updates.Text(), `"last"`) {
		t.Errorf("others were told of what we wrote: %s", updates.Text())
	}
}
