//go:build linux && ovn

package e2e

import (
	"testing"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// TestOVNMove: a session by iface-id on each host follows a guest that moves: copies come from the host that has it and from no
// other, and where it is not the session says so.
func TestOVNMove(t *testing.T) {
	t.Parallel()
	s := newOVNScene(t)
	for _, h := range []*lab.Host{s.host, s.h2} {
		s.daemonOn(h, lab.Command{}).ready()
		args := []string{"session", "add", "move", "--bridge", "br-int", "--source", "iface-id=b", "--allow-missing", "--collector", farCollector, "--erspan-version", "2"}
		if r := s.oeOn(h, lab.Command{}, args...); r.code != map[*lab.Host]int{s.host: 3, s.h2: 0}[h] {
			t.Fatalf("%s: add: exit %d: %s", h, r.code, r.stderr)
		}
	}
	here, there := s.h2, s.host
	for range 3 {
		s.reasonOn(there, "move", "Pending", "SourceMissing")
		s.copiesFrom(here)
		s.must(here.Detach(s.ctx, "vif-b"))
		s.reasonOn(here, "move", "Pending", "SourceMissing")
		here, there = there, here
		s.plug(here, s.b)
		s.synced()
		s.meet(s.a, addrB)
	}
	for _, h := range []*lab.Host{s.host, s.h2} {
		if r := s.oeOn(h, lab.Command{}, "uninstall", "--yes"); r.code != 0 {
			t.Errorf("%s: uninstall: exit %d: %s", h, r.code, r.stderr)
		}
	}
}

// copiesFrom holds that b's frames are copied by the host that has it, once, and by no other.
func (s *ovnScene) copiesFrom(h *lab.Host) {
	s.t.Helper()
	s.reasonOn(h, "move", "Active", "")
	sent, got := s.wire(s.b, "icmp")
	c := s.capture(s.collector, "eth0", "proto 47")
	s.ping(s.a, addrB, 5)
	s.fences()
	for _, capture := range []*lab.Capture{sent, got, c} {
		s.stop(capture)
	}
	t := s.t.(*testing.T)
	for _, m := range s.fields(c, "icmp", "ip.src") {
		if want := h.Addr().String(); m[0][:len(want)] != want {
			t.Errorf("a copy comes from %s, and %s has the guest", m[0], want)
		}
	}
	sameFrames(t, "from "+h.Name()+", ingress", s.inner(c, "erspan.direction == 0 && icmp"), s.frames(sent))
	sameFrames(t, "from "+h.Name()+", egress", s.inner(c, "erspan.direction == 1 && icmp"), s.frames(got))
}
