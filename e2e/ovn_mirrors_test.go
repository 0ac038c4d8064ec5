//go:build linux && ovn

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// ovnMirrors are the rows of OVN's mirrors and their ports on h1, without what is ours.
func (s *ovnScene) ovnMirrors() []string {
	s.t.Helper()
	rows, err := s.host.DumpRows(s.ctx)
	s.must(err)
	theirs := slices.DeleteFunc(rows.Without("ovs-erspan"), func(r lab.Row) bool {
		return r.Table != "Mirror" && !strings.HasPrefix(r.Name, "ovn-m")
	})
	return theirs.Lines()
}

// TestOVNMirrors: OVN's own mirrors (GRE and ERSPAN) and ours of the same port each send what they send alone, while the
// other's come, change and go; and none changes what is the other's.
func TestOVNMirrors(t *testing.T) {
	t.Parallel()
	s := newOVNScene(t)
	s.nbctl("mirror-add", "m1", "gre", "71", "from-lport", farCollector)
	s.nbctl("mirror-add", "m2", "erspan", "72", "to-lport", farCollector)
	attach := func() {
		t.Helper()
		s.nbctl("lsp-attach-mirror", "a", "m1")
		s.nbctl("--wait=hv", "lsp-attach-mirror", "a", "m2")
		s.must(s.host.WaitFlows(s.ctx))
	}
	attach()
	// The way to the collector is met by OVN's own copies: the first is lost, for the router's address is not known.
	s.daemon().ready()
	s.addOn(s.host, "one", "--source", "iface-id=a", "--session-id", "1", "--erspan-version", "2")
	s.ok("session", "remove", "one")
	s.ping(s.a, addrD, 1)

	// What a ping makes of copies: by whose they are, and the type of ICMP.
	pings := func() map[string]int {
		t.Helper()
		sent, got := s.wire(s.a, "icmp")
		c := s.capture(s.collector, "eth0", "proto 47")
		s.ping(s.a, addrD, 5)
		s.fences()
		for _, capture := range []*lab.Capture{sent, got, c} {
			s.stop(capture)
		}
		counts := map[string]int{}
		for _, row := range s.fields(c, "icmp", "gre.proto", "gre.key", "erspan.spanid", "icmp.type") {
			counts[fmt.Sprintf("proto %s key %s session id %s, type %s", row[0], row[1], row[2], row[3])]++
		}
		if _, ours := counts["proto 0x22eb key  session id 1, type 8"]; ours {
			sameFrames(t, "ours, ingress", s.inner(c, "erspan.spanid == 1 && erspan.direction == 0 && icmp"), s.frames(sent))
			sameFrames(t, "ours, egress", s.inner(c, "erspan.spanid == 1 && erspan.direction == 1 && icmp"), s.frames(got))
		}
		return counts
	}
	alone := pings()
	t.Logf("OVN's mirrors alone copy of five pings: %v", alone)
	if len(alone) < 2 {
		t.Fatalf("OVN's mirrors copy %v: not what they did", alone)
	}
	before := s.ovnMirrors()
	both := map[string]int{"proto 0x22eb key  session id 1, type 8": 5, "proto 0x22eb key  session id 1, type 0": 5}
	for k, n := range alone {
		both[k] = n
	}
	s.addOn(s.host, "one", "--source", "iface-id=a", "--session-id", "1", "--erspan-version", "2")
	if diff := cmp.Diff(both, pings()); diff != "" {
		t.Errorf("copies with both (-want +got):\n%s", diff)
	}
	s.ok("session", "set", "one", "--snaplen", "100")
	if diff := cmp.Diff(before, s.ovnMirrors()); diff != "" {
		t.Errorf("OVN's mirrors are others beside ours (-before +now):\n%s", diff)
	}

	// OVN's go, and come again.
	ours := s.ourRows()
	s.nbctl("lsp-detach-mirror", "a", "m1")
	s.nbctl("--wait=hv", "lsp-detach-mirror", "a", "m2")
	s.must(s.host.WaitFlows(s.ctx))
	if diff := cmp.Diff(map[string]int{"proto 0x22eb key  session id 1, type 8": 5, "proto 0x22eb key  session id 1, type 0": 5}, pings()); diff != "" {
		t.Errorf("copies without OVN's mirrors (-want +got):\n%s", diff)
	}
	attach()
	if diff := cmp.Diff(both, pings()); diff != "" {
		t.Errorf("copies with OVN's mirrors again (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(ours, s.ourRows()); diff != "" {
		t.Errorf("our rows, while OVN's mirrors went and came (-before +now):\n%s", diff)
	}
	before = s.ovnMirrors()
	s.ok("session", "remove", "one")
	if diff := cmp.Diff(alone, pings()); diff != "" {
		t.Errorf("copies when ours is gone (-want +got):\n%s", diff)
	}
	s.ok("uninstall", "--yes")
	if diff := cmp.Diff(before, s.ovnMirrors()); diff != "" {
		t.Errorf("OVN's mirrors after uninstall (-before +now):\n%s", diff)
	}
}

// TestOVNMirrorWithOurKey: a session with a tunnel port of its own (by --dscp) and an OVN mirror of the same collector and
// number need one and the same port. OVN's has it, whichever came first; the session and doctor say whose is in the way, and
// another number ends it.
func TestOVNMirrorWithOurKey(t *testing.T) {
	t.Parallel()
	s := newOVNScene(t)
	s.daemon().ready()
	s.addOn(s.host, "one", "--source", "iface-id=d", "--session-id", "8", "--dscp", "10")
	s.nbctl("mirror-add", "m1", "erspan", "8", "from-lport", farCollector)
	s.nbctl("--wait=hv", "lsp-attach-mirror", "a", "m1")
	s.must(lab.Until(s.ctx, "OVN's mirror has its port", func(ctx context.Context) error {
		out, err := s.host.Vsctl(ctx, "get", "interface", "ovn-m1", "ofport", "error")
		if err == nil && strings.HasPrefix(out, "-1") {
			err = fmt.Errorf("it is refused: %s", out)
		}
		return err
	}))
	s.reasonOn(s.host, "one", "Failed", "TunnelConflict")
	if said := s.show("one").Status.Message; !strings.Contains(said, `"ovn-m1"`) || !strings.Contains(said, "another session id") {
		t.Errorf("a session whose tunnel key is an OVN mirror's: %s", said)
	}
	if r := s.oe("doctor"); r.code != 1 || !strings.Contains(r.stdout, "ovn-m1") || strings.Contains(r.stdout, "takes 0 bytes") {
		t.Errorf("doctor: exit %d:\n%s", r.code, r.stdout)
	}
	s.ok("session", "set", "one", "--session-id", "9")
	c := s.capture(s.collector, "eth0", "proto 47")
	s.ping(s.a, addrD, 3)
	s.waitCount(c, "erspan.spanid == 8 && icmp.type == 8", 3)
	s.waitCount(c, "erspan.spanid == 9 && icmp.type == 8", 3)
	s.stop(c)
}
