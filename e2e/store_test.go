//go:build linux

package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// What somebody may do to the places where the store is, or was.
var accidents = []struct {
	name     string
	vsctl    []string
	bridge   bool // takes the tap bridge away
	restored bool // takes the store's row away
}{
	{"external_ids cleared", []string{"clear", "open", ".", "external_ids"}, false, false},
	{"external_ids replaced", []string{"set", "open", ".", "external_ids={system-id=x, hostname=y}"}, false, false},
	{"every queue destroyed", []string{"--all", "destroy", "queue"}, false, true},
	{"tap bridge deleted", []string{"del-br", "TAP"}, true, false},
	{"all of it at once", []string{"clear", "open", ".", "external_ids", "--", "--all", "destroy", "queue", "--", "del-br", "TAP"}, true, true},
}

// storeKeys are the store's, as another program reads them.
func (s *scene) storeKeys() map[string]string {
	s.t.Helper()
	rows, err := s.host.DumpRows(s.ctx)
	s.must(err)
	keys := maps.Clone(rows.Store())
	maps.DeleteFunc(keys, func(key, _ string) bool { return !strings.HasPrefix(key, "ovs-erspan.") })
	return keys
}

// TestAccidentsOfTheStore: whatever somebody does to the rows that the store is in, sessions and copies go on: with the
// daemon as without, as long as one place is left or the daemon lives. Nobody takes an accident for a wish.
func TestAccidentsOfTheStore(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	rows, err := s.host.DumpRows(s.ctx)
	s.must(err)
	before := rows.Lines()
	mirrors := func() string {
		out, err := s.host.Vsctl(s.ctx, "--columns=_uuid", "list", "mirror")
		s.must(err)
		return out
	}
	hurt := func(vsctl []string) {
		args := slices.Clone(vsctl)
		for i, arg := range args {
			if arg == "TAP" {
				args[i] = tapBridge
			}
		}
		s.vsctl(args...)
	}
	told := func(restored bool) {
		t.Helper()
		if list := s.oe("session", "list"); strings.Contains(list.stderr, "somebody deleted the session store") != restored {
			t.Errorf("told of an accident, want %v: %s", restored, list.stderr)
		}
		if !restored {
			return
		}
		if out := s.oe("doctor").stdout; !strings.Contains(out, "the store was gone") {
			t.Errorf("doctor does not tell of the accident:\n%s", out)
		}
	}
	s.add("web", "--source", "vnet0")
	s.add("off", "--source", "vnet1")
	s.ok("session", "disable", "off")
	session := s.storeKeys()["ovs-erspan.session.web"]
	for _, daemon := range []bool{false, true} {
		var d *daemonOrNone
		if daemon {
			d = &daemonOrNone{s.daemon().ready()}
		}
		for _, a := range accidents {
			if a.bridge && a.restored && !daemon {
				continue // no place is left
			}
			what := fmt.Sprintf("%s, daemon %v", a.name, daemon)
			s.ok("session", "set", "web", "--description", what)
			was := mirrors()
			log := d.length()
			hurt(a.vsctl)
			if !daemon {
				if !strings.Contains(s.ok("session", "list"), "web") {
					t.Errorf("%s: a command that only reads does not see the session", what)
				}
				s.ok("run", "--once")
			}
			s.settled("web")
			if a.restored {
				d.logged(log, "somebody deleted the session store")
			}
			told(a.restored)
			if state, _ := s.state("off"); state != "Disabled" {
				t.Errorf("%s: off is %s", what, state)
			}
			if !a.bridge && mirrors() != was {
				t.Errorf("%s: copies were interrupted", what)
			}
		}
		s.copies(1)
	}
	s.ok("session", "set", "web", "--description", "")
	told(false)
	if got := s.storeKeys()["ovs-erspan.session.web"]; got != session {
		t.Errorf("the session is %s, was %s", got, session)
	}
	// An uninstall beside the daemon is none: nothing comes back.
	s.ok("uninstall", "--yes")
	s.settled()
	after, err := s.host.DumpRows(s.ctx)
	s.must(err)
	if diff := cmp.Diff(withoutOthersKeys(before), withoutOthersKeys(after.Lines())); diff != "" {
		t.Errorf("uninstall left a trace (-before +after):\n%s", diff)
	}
}

// withoutOthersKeys leaves out the external_ids that this test itself cleared.
func withoutOthersKeys(lines []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		return strings.HasPrefix(line, "Open_vSwitch ") && strings.Contains(line, ": external_ids=") && !strings.Contains(line, "ovs-erspan")
	})
}

// daemonOrNone is a daemon that may not be there.
type daemonOrNone struct{ *daemon }

func (d *daemonOrNone) length() int {
	if d == nil {
		return 0
	}
	return len(d.Stderr())
}

func (d *daemonOrNone) logged(from int, text string) {
	if d != nil {
		d.loggedFrom(from, text)
	}
}

// TestStoreOfAVersionBefore: the store as versions before had it, in Open_vSwitch.external_ids, is taken over as it is, and
// nothing of ours is left there; without any place left, doctor does not call rows of ours as wished.
func TestStoreOfAVersionBefore(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.add("web", "--source", "vnet0")
	keys := s.storeKeys()
	forget := []string{"--all", "destroy", "queue", "--", "clear", "bridge", tapBridge, "external_ids", "--", "set", "bridge", tapBridge, "external_ids:ovs-erspan=tap-bridge"}
	s.vsctl(forget...)
	s.must(s.host.PutKeys(s.ctx, keys))
	if out := s.ok("session", "list"); !strings.Contains(out, "web") || !strings.Contains(out, "Active") {
		t.Errorf("before it is moved:\n%s", out)
	}
	if out := s.ok("run", "--once"); !strings.HasPrefix(out, "nothing to do") {
		t.Errorf("it changed something: %s", out)
	}
	if diff := cmp.Diff(keys, s.storeKeys()); diff != "" {
		t.Errorf("the store (-before +after):\n%s", diff)
	}
	if out, err := s.host.Vsctl(s.ctx, "get", "open", ".", "external_ids"); err != nil || strings.Contains(out, "ovs-erspan") {
		t.Errorf("left in the old place: %s %v", out, err)
	}
	s.copies(1)

	s.vsctl(forget...)
	if r := s.oe("doctor"); r.code != 3 || strings.Contains(r.stdout, "as wished") || !strings.Contains(r.stdout, "no session is in the store, and rows of ours are there: bridge "+tapBridge) {
		t.Errorf("doctor without a session: exit %d\n%s", r.code, r.stdout)
	}
	s.ok("run", "--once")
	s.nothingToDo()
	s.copies(0)
}

// TestNothingOfOursInExternalIDs: while sessions come, change, count and go beside the daemon, who watches
// Open_vSwitch.external_ids, as ovn-controller does, is told of nothing: it would recompute everything each time.
func TestNothingOfOursInExternalIDs(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.daemon().ready()
	monitor, err := s.host.Start(s.ctx, lab.Command{Args: []string{"ovsdb-client", "--format=json", "monitor", "unix:" + s.host.DBSocket(), "Open_vSwitch", "Open_vSwitch", "external_ids,other_config"}})
	s.must(err)
	t.Cleanup(func() { _ = monitor.Kill(context.WithoutCancel(s.ctx)) })
	updates := func() int { return strings.Count(monitor.Stdout(), "\n") }
	s.must(lab.Until(s.ctx, "the monitor tells of what there is", func(context.Context) error {
		if updates() == 0 {
			return fmt.Errorf("nothing yet")
		}
		return nil
	}))
	s.add("web", "--source", "vnet0", "--max-packets", "1000")
	s.ping(s.a, addrB, 3)
	for n := range 3 { // what was used is stored with each
		s.ok("session", "set", "web", "--description", fmt.Sprint(n))
	}
	s.must(lab.Until(s.ctx, "what was used is stored", func(context.Context) error {
		if status := s.storeKeys()["ovs-erspan.status.web"]; !strings.Contains(status, `"used":{`) || strings.Contains(status, `"packets":0`) {
			return fmt.Errorf("%s", status)
		}
		return nil
	}))
	s.ok("uninstall", "--yes")
	s.vsctl("set", "open", ".", "external_ids:last=1")
	s.must(lab.Until(s.ctx, "the monitor tells of the last change", func(context.Context) error {
		if !strings.Contains(monitor.Stdout(), `"last"`) {
			return fmt.Errorf("%s", monitor.Stdout())
		}
		return nil
	}))
	if n := updates(); n != 2 {
		t.Errorf("told of %d changes of ours:\n%s", n-2, monitor.Stdout())
	}
}
