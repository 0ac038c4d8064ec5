//go:build linux

package e2e

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// TestMends: whatever someone does to what is ours, `session show` tells, `plan` lists it, and `run --once` mends it.
func TestMends(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.add("one", "--source", "vnet0", "--session-id", "1")
	s.add("two", "--source", "vnet0,vnet1", "--session-id", "2", "--erspan-version", "2", "--match", "icmp")
	before := s.ownRows()
	for _, fault := range s.faults() {
		fault.make()
		if r := s.oe("plan"); r.code != 3 || strings.Contains(r.stdout, "nothing to do") {
			t.Errorf("%s: plan ends with %d and says\n%s", fault.name, r.code, r.stdout+r.stderr)
		}
		one, _ := s.state("one")
		two, _ := s.state("two")
		if one == "Active" && two == "Active" {
			t.Errorf("%s: both sessions are shown as Active", fault.name)
		}
		s.ok("run", "--once")
		s.nothingToDo()
		if diff := cmp.Diff(before, s.ownRows()); diff != "" {
			t.Errorf("%s, mended: our rows are not as before (-before +after):\n%s", fault.name, diff)
		}
		for _, name := range []string{"one", "two"} {
			if state, reason := s.state(name); state != "Active" {
				t.Errorf("%s, mended: session %q is %s, %s", fault.name, name, state, reason)
			}
		}
	}
	s.copies(3) // session two has two taps of its own and copies a frame as ingress and as egress
}

// TestSourcesComeAndGo: a source port that was removed and added again is mirrored again, and a port added to a bridge
// that is mirrored as a whole is mirrored too.
func TestSourcesComeAndGo(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.add("one", "--source", "vnet0", "--session-id", "1")
	s.add("all", "--all-ports", "--session-id", "2", "--direction", "both")
	s.must(s.host.Detach(s.ctx, "vnet0"))
	if r := s.oe("run", "--once"); r.code != 3 {
		t.Errorf("without the source: exit %d, want 3: %s", r.code, r.stdout+r.stderr)
	}
	if state, reason := s.state("one"); state != "Pending" || reason != "SourceMissing" {
		t.Errorf("without the source: %s, %s", state, reason)
	}
	s.must(s.host.Attach(s.ctx, s.a, "br0", "vnet0", lab.GuestIf{Addrs: []string{addrA + "/24"}}))
	s.ok("run", "--once")
	s.copies(3) // session all copies a frame from one of its sources to another twice

	c := s.guest("c")
	s.must(s.host.Attach(s.ctx, c, "br0", "vnet2", lab.GuestIf{Addrs: []string{"10.0.0.3/24"}}))
	d := s.guest("d")
	s.must(s.host.Attach(s.ctx, d, "br0", "vnet3", lab.GuestIf{Addrs: []string{"10.0.0.4/24"}}))
	s.ok("run", "--once")
	wire := s.capture(s.collector, "eth0", "proto 47")
	s.ping(c, "10.0.0.4", 2)
	s.waitCount(wire, "erspan.spanid == 2 && icmp", 8)
	s.stop(wire)
}

// TestIdentityOfASource: when a port belongs to another guest than when the session was added, the copies stop, until the
// user names the port again.
func TestIdentityOfASource(t *testing.T) {
	t.Parallel()
	s := newScene(t, func(o *options) {
		o.aPort.ExternalIDs = map[string]string{"iface-id": "guest-1", "attached-mac": "02:00:00:00:00:01"}
	})
	s.add("one", "--source", "vnet0")
	s.copies(1)
	_, err := s.host.Vsctl(s.ctx, "set", "interface", "vnet0", "external_ids:iface-id=guest-2")
	s.must(err)
	s.oe("run", "--once")
	if state, reason := s.state("one"); state != "Degraded" || reason != "SourceIdentityChanged" {
		t.Errorf("after another guest got the port: %s, %s", state, reason)
	}
	s.copies(0)
	s.ok("session", "set", "one", "--source", "vnet0")
	s.copies(1)
}

// TestBridgeDeletedAndCreatedAgain, with the session as it was.
func TestBridgeDeletedAndCreatedAgain(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.add("one", "--source", "vnet0")
	s.must(s.host.DelBridge(s.ctx, "br0"))
	if state, reason := s.state("one"); state != "Pending" || reason != "BridgeMissing" {
		t.Errorf("without the bridge: %s, %s", state, reason)
	}
	if r := s.oe("run", "--once"); r.code != 3 {
		t.Errorf("without the bridge: exit %d: %s", r.code, r.stderr)
	}
	s.must(s.host.AddBridge(s.ctx, "br0"))
	for _, port := range []string{"vnet0", "vnet1"} {
		_, err := s.host.Vsctl(s.ctx, "add-port", "br0", port)
		s.must(err)
	}
	s.ok("run", "--once")
	s.nothingToDo()
	s.copies(1)
}

// TestDaemonsStopped: with ovs-vswitchd or ovsdb-server stopped, commands say so, the wish is not lost, and the next
// command puts it in force.
func TestDaemonsStopped(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.add("one", "--source", "vnet0", "--session-id", "1")
	s.must(s.host.StopVswitchd(s.ctx))
	r := s.oe("session", "add", "two", "--bridge", "br0", "--source", "vnet1", "--collector", collectorAddr, "--timeout", "3s")
	if r.code == 0 || !strings.Contains(r.stderr, "ovs-vswitchd") {
		t.Errorf("with ovs-vswitchd stopped: exit %d: %s", r.code, r.stderr)
	}
	s.must(s.host.StartVswitchd(s.ctx))
	s.must(s.host.WaitReady(s.ctx))
	s.ok("session", "add", "three", "--bridge", "br0", "--source", "vnet1", "--collector", collectorAddr)
	s.nothingToDo()
	if state, reason := s.state("one"); state != "Active" {
		t.Errorf("after ovs-vswitchd came back: %s, %s", state, reason)
	}

	s.must(s.host.StopDB(s.ctx))
	r = s.oe("session", "list")
	if r.code != 1 || !strings.Contains(r.stderr, "db.sock") {
		t.Errorf("with ovsdb-server stopped: exit %d: %s", r.code, r.stderr)
	}
	s.must(s.host.StartDB(s.ctx))
	s.must(s.host.WaitReady(s.ctx))
	s.ok("run", "--once")
	s.nothingToDo()
	if out := s.ok("session", "list"); !strings.Contains(out, "one") || !strings.Contains(out, "three") {
		t.Errorf("sessions were lost:\n%s", out)
	}
}

// reported is a status in the store.
var reported = regexp.MustCompile(`\["ovs-erspan\.status\.[^"]*","(?:\\.|[^"\\])*"\],?`)

// ownRows are the rows of ours, whole: a plan shows only what it compares. References are by name; left out is what has no
// need to be the same, and the list of ports, each of which is a row.
// What the daemon reports in the store is left out: a fault shows there until it is mended.
func (s *scene) ownRows() []string {
	s.t.Helper()
	rows, err := s.host.DumpRows(s.ctx)
	s.must(err)
	var names []string
	for _, r := range rows {
		names = append(names, `["uuid","`+r.UUID+`"]`, `"`+r.Name+`"`)
	}
	var own lab.Rows
	for _, r := range rows {
		if _, ok := r.ExternalIDs()["ovs-erspan"]; !ok {
			continue
		}
		r.UUID = ""
		for _, chosen := range []string{"datapath_id", "ofport", "ofport_request", "mac_in_use", "mtu", "ports"} {
			delete(r.Columns, chosen)
		}
		own = append(own, r)
	}
	byName := strings.NewReplacer(names...)
	lines := own.Lines()
	for i := range lines {
		lines[i] = reported.ReplaceAllString(byName.Replace(lines[i]), "")
	}
	return lines
}

// fault is something that somebody does to what is ours.
type fault struct {
	name string
	make func()
}

// faults are things to do to what is ours on the scene's host, where sessions are in force.
func (s *scene) faults() []fault {
	s.t.Helper()
	ports, err := s.host.Vsctl(s.ctx, "--bare", "--columns=name", "find", "interface", "type=patch")
	s.must(err)
	var onProduction, onTap string
	for _, p := range strings.Fields(ports) {
		if strings.HasSuffix(p, "-p") {
			onProduction = p
		} else {
			onTap = p
		}
	}
	vsctl := func(args ...string) func() {
		return func() { s.t.Helper(); _, err := s.host.Vsctl(s.ctx, args...); s.must(err) }
	}
	ofctl := func(args ...string) func() {
		return func() { s.t.Helper(); _, err := s.host.Ofctl(s.ctx, args...); s.must(err) }
	}
	return []fault{
		{"flows deleted", ofctl("del-flows", tapBridge)},
		{"guard deleted", ofctl("del-flows", tapBridge, "table=5,ip,nw_proto=47")},
		{"a flow altered", ofctl("--strict", "mod-flows", tapBridge, "table=30,priority=100,reg0=1,actions=drop")},
		{"a flow added", ofctl("add-flow", tapBridge, "table=10,priority=500,actions=drop")},
		{"mirrors cleared", vsctl("clear", "bridge", "br0", "mirrors")},
		{"a mirror altered", vsctl("set", "bridge", "br0", "mirrors=[]", "--", "--id=@p", "get", "port", onProduction, "--", "--id=@m", "create", "mirror",
			"name=ovs-erspan-"+strings.TrimSuffix(strings.TrimPrefix(onProduction, "es-"), "-p"), "select_all=true", "output_port=@p", "external_ids:ovs-erspan=tap", "--", "add", "bridge", "br0", "mirrors", "@m")},
		{"a patch port deleted", vsctl("del-port", onProduction)},
		{"the other patch port deleted", vsctl("del-port", onTap)},
		{"the patch opened", vsctl("clear", "port", onProduction, "trunks")},
		{"a bond made of a patch port", vsctl("--", "--id=@i", "create", "interface", "name=stray0", "type=internal", "--", "add", "port", onProduction, "interfaces", "@i")},
		{"a bond made of the tunnel port", vsctl("--", "--id=@i", "create", "interface", "name=stray1", "type=internal", "--", "add", "port", tunnelPort, "interfaces", "@i")},
		{"the tunnel port deleted", vsctl("del-port", tunnelPort)},
		{"the tunnel port altered", vsctl("set", "interface", tunnelPort, "options:key=7")},
		{"the tap bridge deleted", vsctl("del-br", tapBridge)},
		{"emer-reset", vsctl("emer-reset")},
	}
}
