//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// becomes waits until the session has the state and reason.
func (s *scene) becomes(name, state, reason string) {
	s.t.Helper()
	s.must(lab.Until(s.ctx, fmt.Sprintf("session %q is %s, %s", name, state, reason), func(context.Context) error {
		var list []shown
		r := s.oe("session", "list", "-o", "json")
		if err := json.Unmarshal([]byte(r.stdout), &list); err != nil {
			return fmt.Errorf("%w: %s", err, r.stderr)
		}
		for _, v := range list {
			if v.Name == name && v.Status.State == state && (v.Status.Reason == reason || reason == "") {
				return nil
			}
		}
		return fmt.Errorf("it is: %s", r.stdout)
	}))
}

// healed waits until the sessions are in force again after a fault, and says how long that took from begin.
func (s *scene) healed(what string, begin time.Time, sessions ...string) {
	s.t.Helper()
	s.settled(sessions...)
	s.t.Logf("%s: in force again after at most %v", what, time.Since(begin).Round(time.Millisecond))
}

// TestDaemonMends: whatever someone does to what is ours, the daemon mends it by itself, and nothing of anyone else's
// changes.
func TestDaemonMends(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.daemon().ready()
	s.add("one", "--source", "vnet0", "--session-id", "1")
	s.add("two", "--source", "vnet0,vnet1", "--session-id", "2", "--erspan-version", "2", "--match", "icmp")
	before, own := foreignState(s, "br0", "br-ul"), s.ownRows()
	for _, fault := range s.faults() {
		begin := time.Now()
		fault.make()
		s.healed(fault.name, begin, "one", "two")
		if diff := cmp.Diff(own, s.ownRows()); diff != "" {
			t.Errorf("%s, mended: our rows are not as before (-before +after):\n%s", fault.name, diff)
		}
	}
	if diff := cmp.Diff(before, foreignState(s, "br0", "br-ul")); diff != "" {
		t.Errorf("what is others' changed (-before +after):\n%s", diff)
	}
	s.copies(3)
}

// TestDaemonSurvivesOpenvSwitch: ovs-vswitchd, ovsdb-server and both are killed and start again, before the daemon and long
// after it.
func TestDaemonSurvivesOpenvSwitch(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.add("one", "--source", "vnet0", "--session-id", "1")
	s.add("two", "--source", "vnet1", "--session-id", "2", "--erspan-version", "2")
	before := foreignState(s, "br0", "br-ul")
	stopBoth := func() {
		s.must(s.host.KillVswitchd(s.ctx))
		s.must(s.host.KillDB(s.ctx))
	}
	startBoth := func() {
		s.must(s.host.StartDB(s.ctx))
		s.must(s.host.StartVswitchd(s.ctx))
		s.must(s.host.WaitReady(s.ctx))
	}
	stopBoth()
	d := s.daemon() // before Open vSwitch
	d.logged("cannot connect")
	startBoth()
	s.healed("Open vSwitch started after the daemon", time.Now(), "one", "two")
	s.copies(2)
	for _, restart := range []struct {
		name        string
		stop, start func()
	}{
		{"ovs-vswitchd", func() { s.must(s.host.KillVswitchd(s.ctx)) }, func() { s.must(s.host.StartVswitchd(s.ctx)) }},
		{"ovsdb-server", func() { s.must(s.host.KillDB(s.ctx)) }, func() { s.must(s.host.StartDB(s.ctx)); s.must(s.host.WaitReady(s.ctx)) }},
		{"both", stopBoth, startBoth},
	} {
		restart.stop()
		restart.start()
		s.healed(restart.name+" killed and started", time.Now(), "one", "two")
		s.copies(2)
	}
	if diff := cmp.Diff(before, foreignState(s, "br0", "br-ul")); diff != "" {
		t.Errorf("what is others' changed (-before +after):\n%s", diff)
	}

	// While ovs-vswitchd is away the daemon says so, keeps what is wished, and touches no row.
	from := len(d.Stderr()) // it was away before
	s.must(s.host.StopVswitchd(s.ctx))
	d.loggedFrom(from, "ovs-vswitchd is not running")
	r := s.oe("session", "add", "three", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr, "--timeout", "2s")
	if r.code == 0 || !strings.Contains(r.stderr, "ovs-vswitchd") {
		t.Errorf("without ovs-vswitchd: exit %d: %s", r.code, r.stderr)
	}
	s.must(s.host.StartVswitchd(s.ctx))
	s.settled("one", "two")
}

// TestDaemonFollowsSources: ports and bridges under a session come and go, and the session follows by itself.
func TestDaemonFollowsSources(t *testing.T) {
	t.Parallel()
	s := newScene(t, func(o *options) { o.aPort.ExternalIDs = map[string]string{"iface-id": "guest-1"} })
	s.daemon().ready()
	s.add("name", "--source", "vnet0,vnet1", "--session-id", "1", "--direction", "ingress")
	s.add("id", "--source", "iface-id=guest-1", "--session-id", "2", "--direction", "ingress")
	both := "erspan.spanid == 1 && icmp"
	again := func(what string) {
		t.Helper()
		wire := s.capture(s.collector, "eth0", "proto 47")
		s.ping(s.a, addrB, 2)
		s.waitCount(wire, both, 4)
		s.waitCount(wire, "erspan.spanid == 2 && icmp", 2)
		s.stop(wire)
		if t.Failed() {
			t.Fatal(what)
		}
	}
	again("at first")
	attach := func(name string) {
		t.Helper()
		s.must(s.host.Attach(s.ctx, s.a, "br0", name, lab.GuestIf{Addrs: []string{addrA + "/24"}, ExternalIDs: map[string]string{"iface-id": "guest-1"}}))
	}
	begin := time.Now()
	s.must(s.host.Detach(s.ctx, "vnet0"))
	s.becomes("name", "Degraded", "SourceMissing")
	s.becomes("id", "Pending", "SourceMissing")
	attach("vnet0")
	s.healed("a source removed and added again", begin, "name", "id")
	again("the port is back")

	begin = time.Now()
	s.must(s.host.Detach(s.ctx, "vnet0"))
	attach("tap7") // the same guest, under another name
	s.healed("the same guest under another name", begin, "id")
	s.becomes("name", "Degraded", "SourceMissing")
	wire := s.capture(s.collector, "eth0", "proto 47")
	s.ping(s.a, addrB, 2)
	s.waitCount(wire, "erspan.spanid == 2 && icmp", 2)
	s.stop(wire)
	s.must(s.host.Detach(s.ctx, "tap7"))
	attach("vnet0")
	s.settled("name", "id")

	begin = time.Now()
	s.must(s.host.DelBridge(s.ctx, "br0"))
	s.becomes("name", "Pending", "BridgeMissing")
	s.must(s.host.AddBridge(s.ctx, "br0"))
	s.vsctl("add-port", "br0", "vnet0", "--", "set", "interface", "vnet0", "external_ids:iface-id=guest-1", "--", "add-port", "br0", "vnet1")
	s.healed("the bridge deleted and created again", begin, "name", "id")
	again("the bridge is back")
}

// TestDaemonFollowsUnderlay: the route and the neighbour to a collector go and come back, and running flows send again
// without anyone's doing; addresses that are added are guarded.
func TestDaemonFollowsUnderlay(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.daemon().ready()
	s.add("one", "--source", "vnet0")
	st := startStream(s)
	defer func() { _ = st.process.Kill(s.ctx) }()
	flowing := func(what string, begin time.Time) {
		t.Helper()
		wire := s.capture(s.collector, "eth0", "proto 47")
		s.waitCount(wire, "erspan && udp.port == 9999", 10)
		s.stop(wire)
		t.Logf("%s: running flows are copied again after at most %v", what, time.Since(begin).Round(time.Millisecond))
		s.becomes("one", "Active", "")
	}
	flowing("at first", time.Now())
	sh := func(n *lab.Node, args ...string) {
		t.Helper()
		_, stderr, err := n.Exec(s.ctx, args...)
		if err != nil {
			t.Fatalf("%v: %v %s", args, err, stderr)
		}
	}
	host := s.host.Node

	sh(s.collector, "ip", "link", "set", "eth0", "down")
	sh(host, "ip", "neigh", "flush", "dev", "br-ul") // first, or the daemon tells Open vSwitch what the kernel still knows
	s.appctl("tnl/neigh/flush")
	s.becomes("one", "Degraded", "NoNeighbor")
	sh(s.collector, "ip", "link", "set", "eth0", "up")
	flowing("the neighbour is back", time.Now())

	// The same where nothing on this host tells that it is back: only who asks learns it.
	sh(s.collector, "ip", "link", "set", "eth0", "arp", "off")
	sh(host, "ip", "neigh", "flush", "dev", "br-ul")
	s.appctl("tnl/neigh/flush")
	s.becomes("one", "Degraded", "NoNeighbor")
	sh(s.collector, "ip", "link", "set", "eth0", "arp", "on")
	flowing("the neighbour answers again", time.Now())

	route := []string{"192.0.2.0/24", "dev", "br-ul", "src", hostAddr}
	sh(host, append([]string{"ip", "route", "del"}, route...)...)
	s.becomes("one", "Degraded", "NoRoute")
	sh(host, append([]string{"ip", "route", "add"}, route...)...)
	flowing("the route is back", time.Now())

	sh(host, append([]string{"ip", "route", "del"}, route...)...)
	s.must(lab.Until(s.ctx, "nothing is mirrored while there is no way out", func(context.Context) error {
		if out, err := s.host.Vsctl(s.ctx, "--bare", "--columns=name", "list", "mirror"); err != nil || strings.TrimSpace(out) != "" {
			return fmt.Errorf("mirrors: %s%v", out, err)
		}
		return nil
	}))
	sh(host, append([]string{"ip", "route", "add"}, route...)...)
	flowing("the route is back after long", time.Now())

	guarded := func(want bool) {
		t.Helper()
		s.must(lab.Until(s.ctx, fmt.Sprintf("the new address is guarded: %v", want), func(context.Context) error {
			out, err := s.host.Ofctl(s.ctx, "-O", "OpenFlow15", "dump-flows", tapBridge, "table=5")
			if err == nil && strings.Contains(out, "192.0.2.77") != want {
				err = errors.New(out)
			}
			return err
		}))
	}
	guarded(false)
	sh(host, "ip", "addr", "add", "192.0.2.77/24", "dev", "br-ul")
	guarded(true)
	sh(host, "ip", "addr", "del", "192.0.2.77/24", "dev", "br-ul")
	guarded(false)
	s.settled("one")
}

// TestDaemonKilledAtEachStep: whatever step the daemon dies at, by SIGKILL, the next one puts the wish in force and leaves
// nothing over.
func TestDaemonKilledAtEachStep(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	rows, err := s.host.DumpRows(s.ctx)
	s.must(err)
	before := rows.Lines()
	dies := func(step string) {
		t.Helper()
		p, err := s.host.Start(s.ctx, lab.Command{Args: []string{binary, "run"}, Env: []string{"OVS_ERSPAN_KILL_AT=" + step}})
		s.must(err)
		if err := p.Wait(s.ctx); err == nil || s.ctx.Err() != nil {
			t.Fatalf("the daemon did not die at %s: %s", step, p.Stderr())
		}
		s.ping(s.a, addrB, 1)
	}
	wait := func(n int) {
		t.Helper()
		s.must(lab.Until(s.ctx, "the wish is in force", func(context.Context) error {
			r := s.oe("plan")
			if list := s.ok("session", "list"); r.code != 0 || strings.Count(list, "Active") != n {
				return errors.New(r.stdout + list)
			}
			return nil
		}))
	}
	for _, step := range stepsOfAdd {
		if step == "stored" {
			continue // that is the command's
		}
		s.ok("session", "add", "one", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr, "--no-wait")
		dies(step)
		d := s.daemon()
		wait(1)
		s.must(d.Stop(s.ctx))
		s.ok("session", "remove", "one")
	}
	for _, step := range stepsOfRemove {
		if step == "stored" {
			continue
		}
		s.add("one", "--source", "vnet0")
		s.ok("session", "remove", "one", "--no-wait")
		dies(step)
		d := s.daemon()
		wait(0)
		s.must(d.Stop(s.ctx))
	}
	s.ok("uninstall", "--yes")
	rows, err = s.host.DumpRows(s.ctx)
	s.must(err)
	if diff := cmp.Diff(before, rows.Lines()); diff != "" {
		t.Errorf("orphans (-before +after):\n%s", diff)
	}
}

// TestDaemonUnderChurn: ports that come and go without end cost few reconciles and few lines of log, and a session added
// meanwhile is in force at once.
func TestDaemonUnderChurn(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	d := s.daemon().ready()
	s.oe("session", "add", "one", "--bridge", "br0", "--source", "vnet0,flap", "--collector", collectorAddr, "--allow-missing", "--session-id", "1")
	s.becomes("one", "Degraded", "SourceMissing")
	begin, before := time.Now(), strings.Count(d.Stderr(), `"msg":"reconciled"`)
	const flaps = 60
	for n := range flaps {
		s.vsctl("--no-wait", "add-port", "br0", "flap", "--", "set", "interface", "flap", "type=internal", "--", "--may-exist", "add-port", "br0", fmt.Sprintf("other%d", n%7), "--", "set", "interface", fmt.Sprintf("other%d", n%7), "type=internal")
		s.vsctl("--no-wait", "--if-exists", "del-port", "flap", "--", "--if-exists", "del-port", fmt.Sprintf("other%d", n%5))
		if n == flaps/2 {
			s.ok("session", "add", "two", "--bridge", "br0", "--source", "vnet1", "--collector", collectorAddr)
		}
	}
	s.settled()
	took := time.Since(begin)
	reconciles := strings.Count(d.Stderr(), `"msg":"reconciled"`) - before
	// 4 at once and 2 a second; each that changes something may be followed by one that looks at what it did.
	if most := 2 * (6 + int(2*took.Seconds())); reconciles > most {
		t.Errorf("%d flaps within %v: %d reconciles, want at most %d", flaps, took, reconciles, most)
	}
	told := 0
	for line := range strings.Lines(d.Stderr()) {
		var entry struct{ Level, Session string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Level != "DEBUG" && entry.Session == "one" {
			told++
		}
	}
	if most := 8 + int(took.Seconds()/5); told > most {
		t.Errorf("%d lines about the session that flaps within %v, want at most %d", told, took, most)
	}
	t.Logf("%d flaps within %v: %d reconciles, %d lines about the session", flaps, took.Round(time.Millisecond), reconciles, told)
}

// TestBrokenBridgeHoldsUpNoOther: a bridge that Open vSwitch cannot open (here of the kernel's datapath, which it does not
// have) leaves its sessions Pending with the reason; sessions elsewhere come, change and go as if it were not there.
func TestBrokenBridgeHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.daemon().ready()
	_, _ = s.host.Vsctl(s.ctx, "--no-wait", "add-br", "broken", "--", "set", "bridge", "broken", "datapath_type=system",
		"--", "add-port", "broken", "v9", "--", "set", "interface", "v9", "type=internal")
	r := s.oe("session", "add", "stuck", "--bridge", "broken", "--source", "v9", "--collector", collectorAddr, "--session-id", "9", "--timeout", "20s")
	if r.code != 3 || !strings.Contains(r.stderr, "br-erspan") {
		t.Errorf("on the broken bridge: exit %d: %s", r.code, r.stderr)
	}
	s.becomes("stuck", "Pending", "")
	s.add("one", "--source", "vnet0")
	s.copies(1)
	s.ok("session", "set", "one", "--session-id", "5")
	s.ofctl("del-flows", tapBridge)
	s.must(lab.Until(s.ctx, "the flows are back", func(ctx context.Context) error {
		flows, err := s.sending(ctx)
		if err == nil && flows == "" {
			err = errors.New("none sends")
		}
		return err
	}))
	s.copies(1)
	if state, reason := s.state("one"); state != "Active" {
		t.Errorf("beside the broken bridge: %s, %s", state, reason)
	}
}
