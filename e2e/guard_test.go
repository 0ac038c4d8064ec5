//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// These scenarios mirror the very bridge that carries the copies: without the guard each of them multiplies (promise 5).
// Each is played with the guard and, in a lab of its own, once without it, to prove that it bites.

// unguard takes the guard's flows away, as no user would, in one bundle. What multiplies then may hang ovs-vswitchd before
// it has replied: that is an error too.
func unguard(s *scene) error {
	s.t.Helper()
	flows, err := s.host.Ofctl(s.ctx, "-O", "OpenFlow15", "--no-names", "--no-stats", "dump-flows", tapBridge, "table=5")
	s.must(err)
	var bundle strings.Builder
	for line := range strings.Lines(flows) {
		if _, rest, ok := strings.Cut(line, "priority=300,"); ok {
			match, _, _ := strings.Cut(rest, " actions=")
			fmt.Fprintf(&bundle, "delete_strict table=5,priority=300,%s\n", match)
		}
	}
	if bundle.Len() == 0 {
		s.t.Fatalf("there is no guard in\n%s", flows)
	}
	file := filepath.Join(s.lab.Dir(), "unguard.flows")
	s.must(os.WriteFile(file, []byte(bundle.String()), 0o600))
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
	defer cancel()
	_, err = s.host.Ofctl(ctx, "-O", "OpenFlow15", "--bundle", "add-flows", tapBridge, file)
	return err
}

// provoke pings a few times for a short while, without minding what becomes of it, ends ovs-vswitchd, and returns how many
// packets the capture holds.
func provoke(s *scene, from *lab.Node, to string, wire *lab.Capture) int {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, time.Second)
	defer cancel()
	_, _ = lab.Ping(ctx, from, netip.MustParseAddr(to), lab.PingOptions{Count: 3, Interval: 100 * time.Millisecond})
	s.must(s.host.KillVswitchd(s.ctx))
	_ = wire.Stop(s.ctx) // it may have had to drop some: there are that many
	return wire.Stats().Captured
}

// answers holds that ovs-vswitchd is alive: it answers within the time.
func (s *scene) answers() error {
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
	defer cancel()
	_, err := s.host.Appctl(ctx, "version")
	return err
}

// mirroredUnderlay is a scene in which br-ul, which carries the copies, is mirrored itself, by two sessions in both
// directions, each to a collector of its own. A guest on it (u, 192.0.2.77) is production.
func mirroredUnderlay(t *testing.T, collectors []string, gateway bool) (*scene, *lab.Node) {
	s := newScene(t)
	u := s.guest("u")
	s.must(s.host.Attach(s.ctx, u, "br-ul", "vnet7", lab.GuestIf{Addrs: []string{"192.0.2.77/24"}}))
	if gateway { // the way to the collectors leads through one that is not there
		s.must(s.host.Route(s.ctx, "198.51.100.0/24", netip.MustParseAddr("192.0.2.250")))
		s.must(s.host.Route(s.ctx, "2001:db8:1::/64", netip.MustParseAddr("2001:db8::250")))
	}
	for n, c := range collectors {
		r := s.oe("session", "add", []string{"one", "two"}[n], "--bridge", "br-ul", "--source", "vnet7,uplink,br-ul", "--collector", c, "--direction", "both")
		if r.code != 0 && r.code != 3 {
			t.Fatalf("exit %d: %s", r.code, r.stderr)
		}
	}
	return s, u
}

// TestMirroredUnderlay: both sessions copy each frame once in each direction, from source to source, and not what the copies are on the wire.
func TestMirroredUnderlay(t *testing.T) {
	t.Parallel()
	s, u := mirroredUnderlay(t, []string{collectorAddr, collector6}, false)
	wire := s.capture(s.collector, "eth0", "")
	s.ping(u, hostAddr, 5)
	s.waitCount(wire, "erspan && icmp.type == 0", 20)
	s.stop(wire)
	for _, family := range []string{"erspan && ip.dst == " + collectorAddr, "erspan && ipv6.dst == " + collector6} {
		for _, kind := range []string{"8", "0"} {
			// The collector's own ICMP errors quote copies.
			n, err := wire.Count(s.ctx, family+" && icmp.type == "+kind+" && !(icmp.type == 3) && !icmpv6")
			s.must(err)
			if n != 10 {
				t.Errorf("5 pings, %d copies of type %s to %s", n, kind, family)
			}
		}
	}
	s.must(s.answers())

	t.Run("without the guard", func(t *testing.T) {
		t.Parallel()
		s, u := mirroredUnderlay(t, []string{collectorAddr, collector6}, false)
		s.must(unguard(s))
		// Three pings are six frames, and each has a copy to the IPv4 collector.
		if n := provoke(s, u, hostAddr, s.capture(s.collector, "eth0", "proto 47")); n < 60 {
			t.Errorf("without the guard there are only %d copies: this scenario proves nothing", n)
		}
	})
}

// TestDeadCollector: a collector that does not answer, on-link or behind a gateway, IPv4 or IPv6. Open vSwitch asks for it
// again and again; what it asks is not mirrored, or each question would raise the next until ovs-vswitchd hangs.
func TestDeadCollector(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		collectors []string
		gateway    bool
	}{
		"on-link, IPv4":          {[]string{"192.0.2.200", "192.0.2.201"}, false},
		"on-link, IPv6":          {[]string{"2001:db8::200", "2001:db8::201"}, false},
		"behind a gateway, IPv4": {[]string{"198.51.100.1", "198.51.100.2"}, true},
		"behind a gateway, IPv6": {[]string{"2001:db8:1::1", "2001:db8:1::2"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, u := mirroredUnderlay(t, tt.collectors, tt.gateway)
			if err := s.answers(); err != nil {
				t.Fatalf("ovs-vswitchd no longer answers: %v", err)
			}
			if state, reason := s.state("one"); state != "Degraded" || reason != "NoNeighbor" {
				t.Errorf("the collector does not answer: %s, %s", state, reason)
			}
			asked := s.capture(u, "eth0", "arp or icmp6")
			s.ping(u, hostAddr, 20)
			s.ping(s.a, addrB, 5) // another bridge
			s.must(s.answers())
			s.stop(asked)
			// A question for each copy is what Open vSwitch sends by itself: two sessions, forty frames, and what ping
			// and the guests ask. Multiplied it would be thousands.
			if n, err := asked.Count(s.ctx, ""); err != nil || n > 400 {
				t.Errorf("%d questions on the wire, %v", n, err)
			}
		})
		t.Run(name+", without the guard", func(t *testing.T) {
			t.Parallel()
			s, u := mirroredUnderlay(t, tt.collectors, tt.gateway)
			asked := s.capture(s.collector, "eth0", "arp or icmp6")
			// It hangs, or it asks a hundred times for each frame.
			hung := unguard(s) != nil
			if n := provoke(s, u, hostAddr, asked); !hung && n < 400 {
				t.Errorf("without the guard ovs-vswitchd answers, and asked only %d times: this scenario proves nothing", n)
			}
		})
	}
}

// TestCollectorThatAnswersWithErrors: a collector that does not know GRE answers each copy with ICMP protocol unreachable,
// here without a rate limit. Those are not mirrored.
func TestCollectorThatAnswersWithErrors(t *testing.T) {
	t.Parallel()
	noRateLimit := func(s *scene) {
		for _, setting := range []string{"/proc/sys/net/ipv4/icmp_ratelimit", "/proc/sys/net/ipv4/icmp_ratemask"} {
			_, _, err := s.collector.Exec(s.ctx, "sh", "-c", "echo 0 > "+setting)
			s.must(err)
		}
	}
	const copies = "proto 47 and src host " + hostAddr
	s, u := mirroredUnderlay(t, []string{collectorAddr}, false)
	noRateLimit(s)
	errors := s.capture(s.collector, "eth0", "icmp[icmptype] == icmp-unreach")
	wire := s.capture(s.collector, "eth0", copies)
	s.ping(u, hostAddr, 5)
	s.waitCount(errors, "", 10)
	s.stop(errors)
	s.ping(s.a, addrB, 20) // time in which a loop would show
	s.stop(wire)
	// Five requests, five replies, and ARP.
	if n := wire.Stats().Captured; n > 30 {
		t.Errorf("%d copies of 5 pings", n)
	}

	t.Run("without the guard", func(t *testing.T) {
		t.Parallel()
		s, u := mirroredUnderlay(t, []string{collectorAddr}, false)
		noRateLimit(s)
		s.must(unguard(s))
		// Only this rule is on trial: copies of copies would multiply by themselves.
		for _, match := range []string{"nw_dst=" + collectorAddr, "nw_src=" + collectorAddr} {
			_, err := s.host.Ofctl(s.ctx, "-O", "OpenFlow15", "add-flow", tapBridge, "table=5,priority=300,ip,"+match+",nw_proto=47,actions=drop")
			s.must(err)
		}
		if n := provoke(s, u, hostAddr, s.capture(s.collector, "eth0", copies)); n < 60 {
			t.Errorf("without the guard there are only %d copies: this scenario proves nothing", n)
		}
	})
}

// TestHostsThatMirrorTheirUplinksToEachOther: each host is the other's collector, and both mirror the wire between them.
func TestHostsThatMirrorTheirUplinksToEachOther(t *testing.T) {
	t.Parallel()
	play := func(t *testing.T) (*scene, *lab.Host) {
		s := newLab(t)
		other, err := s.lab.Host(s.ctx, "h2")
		s.must(err)
		s.must(s.host.AddBridge(s.ctx, "br-ul"))
		s.must(other.AddBridge(s.ctx, "br-ul"))
		s.must(lab.Link(s.ctx, s.host, "br-ul", "uplink", other, "br-ul", "uplink", 1500))
		s.must(s.host.Underlay(s.ctx, "br-ul", 0, hostAddr+"/24"))
		s.must(other.Underlay(s.ctx, "br-ul", 0, "192.0.2.2/24"))
		for h, collector := range map[*lab.Host]string{s.host: "192.0.2.2", other: hostAddr} {
			if r := s.oeOn(h, lab.Command{}, "session", "add", "uplink", "--bridge", "br-ul", "--source", "uplink", "--collector", collector); r.code != 0 {
				t.Fatalf("exit %d: %s", r.code, r.stderr)
			}
		}
		return s, other
	}
	s, _ := play(t)
	wire := s.capture(s.host.Node, "uplink", "proto 47")
	s.ping(s.host.Node, "192.0.2.2", 3)
	s.waitCount(wire, "erspan", 12)
	s.stop(wire)
	// Three requests and three replies, copied by each of the two hosts, and what else the hosts say to each other.
	if n := wire.Stats().Captured; n > 40 {
		t.Errorf("%d copies on the wire between the hosts for 3 pings", n)
	}

	t.Run("without the guard", func(t *testing.T) {
		t.Parallel()
		s, other := play(t)
		wire := s.capture(s.host.Node, "uplink", "proto 47")
		ours := s.host
		s.host = other
		hung := unguard(s) != nil
		s.host = ours
		hung = unguard(s) != nil || hung
		n := provoke(s, s.host.Node, "192.0.2.2", wire)
		s.must(other.KillVswitchd(s.ctx))
		if n < 200 && !hung {
			t.Errorf("without the guard there are only %d: this scenario proves nothing", n)
		}
	})
}

// TestGuardedIsCounted: what the guard dropped is shown.
func TestGuardedIsCounted(t *testing.T) {
	t.Parallel()
	s, u := mirroredUnderlay(t, []string{collectorAddr}, false)
	s.ping(u, hostAddr, 5)
	s.must(lab.Until(s.ctx, "the guard has dropped the copies of the copies", func(context.Context) error {
		if v := s.show("one").Status; v.Guarded.Packets < 10 {
			return fmt.Errorf("guarded %d of %d, sent %d", v.Guarded.Packets, v.Tapped.Packets, v.Sent.Packets)
		}
		return nil
	}))
}
