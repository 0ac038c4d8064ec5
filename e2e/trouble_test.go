//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// noRowsLeft holds that no row of ours is in the database; keys of the store may be.
func (s *scene) noRowsLeft(when string) {
	s.t.Helper()
	rows, err := s.host.DumpRows(s.ctx)
	s.must(err)
	for _, r := range rows {
		ids := r.ExternalIDs()
		if _, ours := ids["ovs-erspan"]; ours && !isNote(ids) {
			s.t.Errorf("%s: row %q of table %s is left", when, r.Name, r.Table)
		}
	}
}

// isNote tells the store's row where it holds nothing but a note of a bridge on which a flow may be left.
func isNote(ids map[string]string) bool {
	_, noted := ids["ovs-erspan.delivered"]
	for key := range ids {
		noted = noted && !strings.HasPrefix(key, "ovs-erspan.session.")
	}
	return noted && ids["ovs-erspan"] == "store"
}

// TestControlSocket: the control socket is found by who serves the bridges, whatever it is called and whatever lies beside
// it, in a run directory of any length; where it is elsewhere, the error says so and the flag names it.
func TestControlSocket(t *testing.T) {
	t.Parallel()
	s := newLab(t)
	s.must(s.host.AddBridge(s.ctx, "br0"))
	s.must(s.host.Attach(s.ctx, s.guest("a"), "br0", "vnet0", lab.GuestIf{}))
	s.ok("session", "add", "in", "--type", "destination", "--bridge", "br0", "--output-port", "vnet0", "--from", "any", "--session-id", "7")
	dir := s.host.RunDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	dead := func(name string) {
		l, err := net.Listen("unix", in(name))
		s.must(err)
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		s.must(l.Close())
	}
	write := func(name, text string) { s.must(os.WriteFile(in(name), []byte(text), 0o600)) }
	found := func(t *testing.T, flags ...string) {
		t.Helper()
		for _, args := range [][]string{{"run", "--once"}, {"session", "list"}} {
			if r := s.oe(append(args, flags...)...); r.code != 0 || r.stderr != "" {
				t.Errorf("%v: exit %d: %s%s", args, r.code, r.stdout, r.stderr)
			}
		}
	}
	restart := func(options ...string) {
		_ = s.host.KillVswitchd(s.ctx)
		_ = os.Remove(in("ovs-vswitchd.pid"))
		s.must(s.host.StartVswitchdWith(s.ctx, options...))
	}
	outside := filepath.Join(t.TempDir(), "c")
	for _, v := range []struct {
		name    string
		options []string
		beside  func()
		flags   []string
	}{
		{"no pidfile", nil, func() {}, nil},
		{"a stale pidfile and its socket", nil, func() { write("ovs-vswitchd.pid", "999999\n"); dead("ovs-vswitchd.999999.ctl") }, nil},
		{"another's pidfile", nil, func() { write("ovs-vswitchd.pid", strconv.Itoa(os.Getpid())) }, nil},
		{"of a package with DPDK", []string{"--unixctl=" + in("ovs-vswitchd-dpdk.77.ctl")}, func() {}, nil},
		{"any name", []string{"--unixctl=odd"}, func() {}, nil},
		{"elsewhere", []string{"--unixctl=" + outside}, func() {
			r := s.oe("session", "list")
			if r.code != 3 || !strings.Contains(r.stderr, "--vswitchd-ctl") || !strings.Contains(r.stderr, dir) {
				t.Errorf("elsewhere, without the flag: exit %d: %s", r.code, r.stderr)
			}
		}, []string{"--vswitchd-ctl", outside}},
	} {
		t.Run(v.name, func(t *testing.T) {
			restart(v.options...)
			v.beside()
			found(t, v.flags...)
		})
	}
	t.Run("a long run directory", func(t *testing.T) {
		restart()
		long := filepath.Join(t.TempDir(), strings.Repeat("x", 100))
		s.must(os.Symlink(dir, long))
		found(t, "--ovs-rundir", long)
	})
	t.Run("in another process namespace", func(t *testing.T) {
		for _, args := range [][]string{{"run", "--once"}, {"session", "list"}} {
			if _, stderr, err := s.host.Exec(s.ctx, append([]string{"unshare", "--pid", "--fork", "--mount-proc", binary}, args...)...); err != nil || stderr != "" {
				t.Errorf("%v: %s, %v", args, stderr, err)
			}
		}
	})
	t.Run("started twice", func(t *testing.T) {
		// The second one is idle, answers at its socket, and has the pidfile.
		second, err := s.host.Start(s.ctx, lab.Command{Args: []string{"ovs-vswitchd", "unix:" + s.host.DBSocket(), "--pidfile", "-vconsole:off", "--unixctl=ovs-vswitchd.0.ctl"}})
		s.must(err)
		s.must(lab.Until(s.ctx, "the second one listens", func(context.Context) error {
			_, err := os.Stat(in("ovs-vswitchd.0.ctl"))
			return err
		}))
		found(t)
		s.must(second.Signal(syscall.SIGSTOP))
		found(t)
		s.must(second.Kill(s.ctx))
	})
	if log := s.host.Log(); strings.Contains(log, "connection dropped") {
		t.Errorf("ovs-vswitchd warns of our looking for it:\n%s", log)
	}
}

// troubled is a scene with a bridge br2 beside br0, which has a guest c at vnet2, and sessions on both.
func troubled(t *testing.T, kind string) *scene {
	s := newScene(t)
	s.must(s.host.AddBridge(s.ctx, "br2"))
	s.must(s.host.Attach(s.ctx, s.guest("c"), "br2", "vnet2", lab.GuestIf{}))
	s.add("one", "--source", "vnet0", "--match", "icmp")
	if kind == "destination" {
		s.ok("session", "add", "sick", "--type", "destination", "--bridge", "br2", "--output-port", "vnet2", "--from", "any", "--session-id", "77")
	} else {
		s.ok("session", "add", "sick", "--bridge", "br2", "--source", "vnet2", "--collector", collectorAddr, "--session-id", "77")
	}
	return s
}

// listed is the state and reason of each session, as list shows them whatever it exits with.
func (s *scene) states() (states map[string]string, r result) {
	s.t.Helper()
	r = s.oe("session", "list", "-o", "json", "--timeout", "3s")
	var list []shown
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil {
		s.t.Fatalf("session list: exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	states = map[string]string{}
	for _, v := range list {
		reason := v.Status.Reason
		if reason == "NoTraffic" {
			reason = "InForce"
		}
		states[v.Name] = v.Status.State + ", " + reason
	}
	return states, r
}

// TestDeliveryBridgeWithoutSocket: a bridge that is delivered to and whose OpenFlow socket is gone, or hangs, holds up
// nothing: others are programmed and copy, everything can be stopped and removed, and what is left is told, and deleted later.
func TestDeliveryBridgeWithoutSocket(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"gone", "hung"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := troubled(t, "destination")
			socket := filepath.Join(s.host.RunDir(), "br2.mgmt")
			s.must(os.Rename(socket, socket+".aside"))
			if how == "hung" {
				l, err := net.Listen("unix", socket)
				s.must(err)
				defer l.Close()
			}
			patience := []string{"--timeout", "8s"}
			s.ok(append([]string{"session", "add", "two", "--bridge", "br0", "--source", "vnet1", "--collector", collectorAddr, "--match", "icmp"}, patience...)...)
			want := map[string]string{"one": "Active, InForce", "two": "Active, InForce", "sick": "Pending, BridgeUnreachable"}
			got, r := s.states()
			if diff := cmp.Diff(want, got); diff != "" || r.code != 3 || !strings.Contains(r.stderr, "br2") {
				t.Errorf("exit %d: %s (-want +got):\n%s", r.code, r.stderr, diff)
			}
			s.copies(2)
			if r := s.oe(append([]string{"session", "disable", "--all"}, patience...)...); r.code != 3 || !strings.Contains(r.stderr, `"br2"`) || !strings.Contains(r.stderr, "matches nothing") {
				t.Errorf("disable --all: exit %d: %s", r.code, r.stderr)
			}
			s.noCopies()
			if how == "hung" {
				return
			}
			s.ok(append([]string{"session", "enable", "one"}, patience...)...)
			s.copies(1)
			if r := s.oe(append([]string{"uninstall", "--yes"}, patience...)...); r.code != 3 || !strings.Contains(r.stderr, "br2") {
				t.Errorf("uninstall: exit %d: %s", r.code, r.stderr)
			}
			s.noRowsLeft("after uninstall")
			s.noCopies()
			s.must(os.Rename(socket+".aside", socket))
			flows, err := s.host.DumpFlows(s.ctx, "br2")
			s.must(err)
			if !strings.Contains(strings.Join(flows, "\n"), "0xe25a") {
				t.Fatalf("there is nothing left to delete: %v", flows)
			}
			s.ok("uninstall", "--yes")
			if flows, err := s.host.DumpFlows(s.ctx, "br2"); err != nil || strings.Contains(strings.Join(flows, "\n"), "0xe25a") {
				t.Errorf("a second uninstall leaves %v, %v", flows, err)
			}
			rows, err := s.host.DumpRows(s.ctx)
			s.must(err)
			for key := range rows.Store() {
				if strings.HasPrefix(key, "ovs-erspan") {
					t.Errorf("a second uninstall leaves the note: %v", rows.Store())
				}
			}
		})
	}
}

// TestTapBridgeWithoutSocket: where our own bridge cannot be programmed, its sessions say so, and stop all the same.
func TestTapBridgeWithoutSocket(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.add("one", "--source", "vnet0", "--match", "icmp")
	s.add("two", "--source", "vnet1", "--match", "icmp")
	s.must(os.Remove(filepath.Join(s.host.RunDir(), tapBridge+".mgmt")))
	if got, r := s.states(); r.code != 3 || got["one"] != "Pending, BridgeUnreachable" {
		t.Errorf("exit %d: %v, %s", r.code, got, r.stderr)
	}
	if r := s.oe("session", "remove", "one"); r.code != 3 || !strings.Contains(r.stderr, tapBridge) {
		t.Errorf("remove: exit %d: %s", r.code, r.stderr)
	}
	s.copies(1)
	s.ok("session", "disable", "--all") // with the last session the bridge goes
	s.noCopies()
	s.ok("uninstall", "--yes")
	s.noRowsLeft("after uninstall")
}

// TestProductionProtocols: whatever versions of OpenFlow a production bridge's owner has left it, its sessions are in force.
func TestProductionProtocols(t *testing.T) {
	t.Parallel()
	s := troubled(t, "destination")
	for _, protocol := range []string{"OpenFlow10", "OpenFlow11", "OpenFlow12", "OpenFlow13", "OpenFlow14", "OpenFlow15"} {
		s.vsctl("set", "bridge", "br2", "protocols="+protocol)
		s.ok("session", "disable", "sick")
		s.ok("session", "enable", "sick")
		flows, err := s.host.Ofctl(s.ctx, "-O", protocol, "dump-flows", "br2", "cookie=0xe25a000000000000/0xffff000000000000")
		if err != nil || strings.Count(flows, "actions=output") != 1 {
			t.Errorf("%s: %s, %v", protocol, flows, err)
		}
	}
	s.ok("uninstall", "--yes")
}

// TestDatapathTypeChanges: a bridge whose datapath type changes, and changes back, moves to our other bridge and back, with
// what is delivered to it; sessions of other bridges are programmed meanwhile.
func TestDatapathTypeChanges(t *testing.T) {
	t.Parallel()
	if lab.Datapath() != lab.Userspace {
		t.Skip("the lab's other datapath is not there")
	}
	for _, kind := range []string{"source", "destination"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := troubled(t, kind)
			for _, datapath := range []string{map[string]string{"source": "system", "destination": "no-such"}[kind], "netdev"} {
				s.vsctl("--no-wait", "set", "bridge", "br2", "datapath_type="+datapath)
				s.must(s.host.WaitReady(s.ctx))
				s.oe("run", "--once")
				s.ok("session", "add", "other", "--bridge", "br0", "--source", "vnet1", "--collector", collectorAddr, "--match", "icmp")
				s.copies(2)
				s.ok("session", "remove", "other")
				got, _ := s.states()
				if got["one"] != "Active, InForce" || (got["sick"] == "Active, InForce") != (datapath == "netdev") {
					t.Errorf("%s: %v", datapath, got)
				}
			}
			s.nothingToDo()
			s.ok("uninstall", "--yes")
			s.noRowsLeft("after uninstall")
		})
	}
}

// TestVswitchdAway: while ovs-vswitchd is down, or hangs, what is stored is listed, what is to stop goes from the database at
// once, the commands say what that means, and when it is back not one copy leaves.
func TestVswitchdAway(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"down", "hung", "hung, with a daemon"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := stopScene(t)
			if strings.Contains(how, "daemon") {
				s.daemon().ready()
			}
			back := func() {
				s.must(s.host.ResumeVswitchd())
				s.must(s.host.WaitReady(s.ctx))
			}
			if how == "down" {
				s.must(s.host.KillVswitchd(s.ctx))
				back = func() { s.must(s.host.StartVswitchd(s.ctx)) }
			} else {
				s.must(s.host.PauseVswitchd())
				defer func() { _ = s.host.ResumeVswitchd() }()
			}
			away := "Pending, BridgeUnreachable"
			got, r := s.states()
			if diff := cmp.Diff(map[string]string{"one": away, "two": away, "three": away}, got); diff != "" || r.code != 3 || !strings.Contains(r.stderr, "ovs-vswitchd") {
				t.Errorf("exit %d: %s (-want +got):\n%s", r.code, r.stderr, diff)
			}
			if r := s.oe("session", "show", "one", "--timeout", "3s"); r.code != 3 || !strings.Contains(r.stdout, "vnet0") {
				t.Errorf("show: exit %d: %s%s", r.code, r.stdout, r.stderr)
			}
			stopped := func(args ...string) {
				t.Helper()
				timeout := "3s"
				if strings.Contains(how, "daemon") {
					timeout = "2m" // the daemon has its own patience, and says so long before
				}
				r := s.oe(append(args, "--timeout", timeout)...)
				if r.code != 3 || !strings.Contains(r.stderr, "ovs-vswitchd does not answer") {
					t.Errorf("%v: exit %d: %s%s", args, r.code, r.stdout, r.stderr)
				}
			}
			mirrors := func() (n int) {
				t.Helper()
				rows, err := s.host.DumpRows(s.ctx)
				s.must(err)
				for _, r := range rows {
					if r.Table == "Mirror" {
						n++
					}
				}
				return n
			}
			all := mirrors()
			stopped("session", "remove", "three")
			if n := mirrors(); n != all-2 { // version 2: one for each direction; the others stay
				t.Errorf("%d of %d mirrors are left of three sessions, one of which was removed", n, all)
			}
			if how == "hung" {
				stopped("uninstall", "--yes")
				s.noRowsLeft("after uninstall")
			} else {
				stopped("session", "disable", "--all")
				if n := mirrors(); n != 0 {
					t.Errorf("%d mirrors are left", n)
				}
			}
			back()
			s.noCopies()
			if how == "down" {
				s.ok("session", "enable", "--all")
				s.copies(2)
			}
		})
	}
}

// TestDatabaseHangs: with a database that does not answer nothing can be listed or changed, and the error says so in time.
func TestDatabaseHangs(t *testing.T) {
	t.Parallel()
	s := newLab(t)
	s.must(s.host.PauseDB())
	defer func() { _ = s.host.ResumeDB() }()
	for _, args := range [][]string{{"session", "list"}, {"session", "disable", "--all"}, {"uninstall", "--yes"}} {
		r := s.oe(append(args, "--timeout", "1s")...)
		if r.code == 0 || !strings.Contains(r.stderr, "ovsdb-server did not answer in time") || !strings.Contains(r.stderr, "db.sock") {
			t.Errorf("%v: exit %d: %s", args, r.code, r.stderr)
		}
	}
}

// TestDatabaseElsewhere: another database than the run directory's is named by --db, also one over TCP; what cannot be one
// is refused.
func TestDatabaseElsewhere(t *testing.T) {
	t.Parallel()
	s := newLab(t)
	s.must(s.host.AddBridge(s.ctx, "br0"))
	s.must(s.host.Attach(s.ctx, s.guest("a"), "br0", "vnet0", lab.GuestIf{}))
	_, _, err := s.host.Exec(s.ctx, "ip", "link", "set", "lo", "up")
	s.must(err)
	s.vsctl("set-manager", "ptcp:6640:127.0.0.1")
	s.must(s.host.RestartDBWith(s.ctx, "--remote=db:Open_vSwitch,Open_vSwitch,manager_options"))
	s.must(s.host.WaitReady(s.ctx))
	add := []string{"session", "add", "in", "--type", "destination", "--bridge", "br0", "--output-port", "vnet0", "--from", "any", "--session-id", "7"}
	s.must(lab.Until(s.ctx, "the database listens over TCP", func(context.Context) error {
		if r := s.oe("session", "list", "--db", "tcp:127.0.0.1:6640"); r.code != 0 {
			return errors.New(r.stderr)
		}
		return nil
	}))
	s.ok(append(add, "--db", "tcp:127.0.0.1:6640")...)
	if out := s.ok("session", "list", "--db", "unix:"+s.host.DBSocket()); !strings.Contains(out, "Active") {
		t.Error(out)
	}
	for db, want := range map[string]string{"tcp:localhost:6640": "tcp:IP:PORT", "6640": "unix:PATH", "ssl:127.0.0.1:6640": "--private-key"} {
		if said := s.refused("session", "list", "--db", db); !strings.Contains(said, want) {
			t.Errorf("--db %s: %s", db, said)
		}
	}
	if r := s.oe("session", "list", "--db", "tcp:127.0.0.1:6641"); r.code != 1 || !strings.Contains(r.stderr, "tcp:127.0.0.1:6641") {
		t.Error(fmt.Sprint(r))
	}
}
