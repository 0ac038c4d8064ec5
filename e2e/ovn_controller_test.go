//go:build linux && ovn

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// The parts of ovn-controller's work that are dear: to do one of them anew is to compile every logical flow again.
var dear = []string{"logical_flow_output", "physical_flow_output", "runtime_data"}

// recomputes are how often h1's ovn-controller has done the dear parts anew.
func (s *ovnScene) recomputes() map[string]int {
	s.t.Helper()
	all, err := s.host.OVNRecomputes(s.ctx)
	s.must(err)
	counts := map[string]int{}
	for _, part := range dear {
		n, ok := all[part]
		if !ok {
			s.t.Fatalf("ovn-controller does not count %s: %v", part, slices.Sorted(maps.Keys(all)))
		}
		counts[part] = n
	}
	return counts
}

// talk sends 200 datagrams a second from one guest to another until the function it returns is called, which says how many were
// lost, and fails if one was doubled or altered.
func (s *ovnScene) talk(from, to *lab.Node) (lost func() int) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.ctx)
	done := make(chan error, 1)
	missing := 0
	go func() {
		for ctx.Err() == nil {
			r, err := lab.UDPBurst(s.ctx, from, to, lab.Burst{Count: 40, PPS: 200, Linger: 2 * time.Second})
			if err == nil && (r.Duplicates > 0 || len(r.Altered) > 0) {
				err = fmt.Errorf("%d datagrams came twice, %d altered", r.Duplicates, len(r.Altered))
			}
			if err != nil {
				done <- err
				return
			}
			missing += len(r.Missing)
		}
		done <- nil
	}()
	return func() int {
		s.t.Helper()
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("from %s to %s: %v", from, to, err)
		}
		return missing
	}
}

// copiedOnce holds that each ping from a to b is copied once in each direction, and delivered to d.
func (s *ovnScene) copiedOnce(when string) {
	s.t.Helper()
	sent, got := s.wire(s.a, "icmp")
	wireB, wireD := s.capture(s.b, "eth0", "icmp"), s.capture(s.d, "eth0", "icmp")
	c := s.capture(s.collector, "eth0", "proto 47")
	s.ping(s.a, addrB, 5)
	s.fences()
	for _, capture := range []*lab.Capture{sent, got, wireB, wireD, c} {
		s.stop(capture)
	}
	sameFrames(s.t.(*testing.T), when+", delivered", s.frames(wireD), s.frames(wireB))
	sameFrames(s.t.(*testing.T), when+", ingress", s.inner(c, "erspan.direction == 0 && icmp"), s.frames(sent))
	sameFrames(s.t.(*testing.T), when+", egress", s.inner(c, "erspan.direction == 1 && icmp"), s.frames(got))
}

// lostInRestart restarts ovn-controller, and is how many datagrams of production that lost.
func (s *ovnScene) lostInRestart() int {
	s.t.Helper()
	lost := s.talk(s.a, s.b)
	s.must(s.host.StopOVNController(s.ctx, "--restart"))
	s.must(s.host.StartOVNController(s.ctx))
	s.must(s.central.Sync(s.ctx))
	s.meet(s.a, addrB)
	return lost()
}

// TestOVNController: whatever becomes of ovn-controller (it computes everything anew, is restarted, exits and comes back),
// sessions stay as they are, nothing is to be mended, copies stay exact; and production loses nothing while it is away
// with --restart or computes anew, as without sessions.
func TestOVNController(t *testing.T) {
	t.Parallel()
	s := newOVNScene(t)
	alone := s.lostInRestart()
	d := s.daemon().ready()
	s.addOn(s.host, "one", "--source", "iface-id=a", "--session-id", "1", "--erspan-version", "2")
	// And what b sends and gets on the other host is delivered to d. That needs a flow in br-int, which ovn-controller deletes.
	s.ok("session", "add", "deliver", "--type", "destination", "--bridge", "br-int", "--output-port", "vif-d", "--from", host2Addr, "--session-id", "99")
	if r := s.oeOn(s.h2, lab.Command{}, "session", "add", "send", "--bridge", "br-int", "--source", "iface-id=b", "--collector", hostAddr, "--session-id", "99"); r.code != 0 {
		t.Fatalf("h2: exit %d: %s", r.code, r.stderr)
	}
	s.copiedOnce("at first")
	ours := s.ourRows()
	same := func(when string) {
		t.Helper()
		s.must(s.central.Sync(s.ctx))
		s.meet(s.a, addrB)
		s.settled("one", "deliver")
		if diff := cmp.Diff(ours, s.ourRows()); diff != "" {
			t.Errorf("%s, our rows are others (-before +now):\n%s", when, diff)
		}
		s.copiedOnce(when)
		select {
		case <-d.Done():
			t.Fatalf("%s: the daemon has ended", when)
		default:
		}
	}

	lost := s.talk(s.a, s.b)
	before := s.recomputes()
	_, err := s.host.OVNAppctl(s.ctx, "inc-engine/recompute")
	s.must(err)
	s.must(lab.Until(s.ctx, "ovn-controller has computed anew", func(context.Context) error {
		if cmp.Equal(before, s.recomputes()) {
			return errors.New("not yet")
		}
		return nil
	}))
	s.must(s.central.Sync(s.ctx))
	if n := lost(); n != 0 {
		t.Errorf("%d datagrams of production were lost in a recompute", n)
	}
	same("after a recompute")

	lost = s.talk(s.a, s.b)
	s.must(s.host.StopOVNController(s.ctx, "--restart"))
	s.copiedOnce("without ovn-controller")
	if n := lost(); n != 0 {
		t.Errorf("%d datagrams of production were lost while ovn-controller is restarted", n)
	}
	s.must(s.host.StartOVNController(s.ctx))
	same("after exit --restart")
	// It deletes all flows of br-int when it starts: how long that takes is its own affair, and this machine's.
	t.Logf("of 200 datagrams a second, a restart of ovn-controller loses %d without a session, %d with one", alone, s.lostInRestart())
	same("after another")

	// A plain exit takes the host out of OVN, with its tunnels; what stays on the host goes on.
	lost = s.talk(s.a, s.d)
	s.must(s.host.StopOVNController(s.ctx))
	s.settled("one")
	if n := lost(); n != 0 {
		t.Errorf("%d datagrams of production between guests of the host were lost in an exit of ovn-controller", n)
	}
	s.must(s.host.StartOVNController(s.ctx))
	same("after an exit")
}

// TestOVNRecomputes: what a session makes ovn-controller do anew is what docs/cost.md says: nothing, but for the patch ports of
// a tap.
func TestOVNRecomputes(t *testing.T) {
	t.Parallel()
	s := newOVNScene(t)
	s.must(s.central.Sync(s.ctx))
	cost := func(what string, most int, do func()) {
		t.Helper()
		before := s.recomputes()
		do()
		// What ovn-controller has to do for it, it has done when it has done what comes after.
		s.must(s.host.WaitReady(s.ctx))
		s.must(s.central.Sync(s.ctx))
		now := s.recomputes()
		for _, part := range dear {
			if n := now[part] - before[part]; n > most {
				t.Errorf("%s makes ovn-controller do %s anew %d times, at most %d were said", what, part, n, most)
			}
		}
		t.Logf("%s: %d", what, now["logical_flow_output"]-before["logical_flow_output"])
	}
	cost("nothing", 0, func() {})
	cost("the daemon", 0, func() { s.daemon().ready() })
	cost("the first session", 2, func() { s.addOn(s.host, "one", "--source", "iface-id=a") })
	cost("one more of the same tap", 0, func() { s.addOn(s.host, "two", "--source", "iface-id=a") })
	cost("ten changes", 0, func() {
		for n := range 10 {
			s.ok("session", "set", "one", "--session-id", fmt.Sprint(100+n), "--match", fmt.Sprintf("tcp,tp_dst=%d", 80+n))
		}
	})
	cost("traffic", 0, func() {
		s.ping(s.a, addrB, 5)
		s.ok("session", "list")
		s.ok("plan")
	})
	cost("one less", 0, func() { s.ok("session", "remove", "two") })
	cost("disable", 2, func() { s.ok("session", "disable", "one") })
	cost("enable", 2, func() { s.ok("session", "enable", "one") })
	cost("one of another tap", 2, func() { s.addOn(s.host, "two", "--source", "iface-id=d") })
	cost("uninstall", 2, func() { s.ok("uninstall", "--yes") })
}
