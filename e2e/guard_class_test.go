//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// TestGuardTakesEachClass: each class of what copies cause, alone, is dropped by the guard, and what is like it and no copy
// causes is copied. Open vSwitch says so itself (ofproto/trace on the tap bridge). In the scenarios of guard_test.go several
// rules stand in the way of each frame; here the addresses are such that one does.
func TestGuardTakesEachClass(t *testing.T) {
	t.Parallel()
	const (
		gateway, behind   = "192.0.2.250", "198.51.100.1"
		gateway6, behind6 = "2001:db8::250", "2001:db8:1::1"
		sender, sender6   = "192.0.2.60", "2001:db8::60"   // of a destination session
		other, other6     = "192.0.2.77", "2001:db8::77"   // production
		another, another6 = "203.0.113.5", "2001:db8:5::5" // production, elsewhere
	)
	s := newScene(t)
	s.must(s.host.Route(s.ctx, "198.51.100.0/24", netip.MustParseAddr(gateway)))
	s.must(s.host.Route(s.ctx, "2001:db8:1::/64", netip.MustParseAddr(gateway6)))
	r := s.oe("session", "add", "one", "--bridge", "br-ul", "--source", "uplink", "--collector", strings.Join([]string{collectorAddr, collector6, behind, behind6}, ","))
	if r.code != 3 { // the gateways do not answer
		t.Fatalf("exit %d: %s", r.code, r.stderr)
	}
	for n, from := range []string{sender, sender6} {
		r := s.oe("session", "add", fmt.Sprintf("in%d", n), "--type", "destination", "--bridge", "br0", "--output-port", "vnet1", "--from", from, "--session-id", "7")
		if r.code != 0 {
			t.Fatalf("exit %d: %s", r.code, r.stderr)
		}
	}
	ports, err := s.host.Vsctl(s.ctx, "list-ports", tapBridge)
	s.must(err)
	var tap string
	for _, p := range strings.Fields(ports) {
		if strings.HasPrefix(p, "es-") && strings.HasSuffix(p, "-t") {
			tap = p
		}
	}

	var caused, innocent []string
	add := func(list *[]string, format string, args ...any) { *list = append(*list, fmt.Sprintf(format, args...)) }
	for _, end := range []string{collectorAddr, behind, hostAddr, sender} {
		add(&caused, "ip,nw_src=%s,nw_dst=%s,nw_proto=47", end, another)
		add(&caused, "ip,nw_src=%s,nw_dst=%s,nw_proto=47", another, end)
		add(&caused, "ip,nw_src=%s,nw_dst=%s,nw_proto=47,nw_frag=later", another, end)
		add(&innocent, "ip,nw_src=%s,nw_dst=%s,nw_proto=17", another, end)
	}
	for _, end := range []string{collector6, behind6, hostAddr6, sender6} {
		add(&caused, "ipv6,ipv6_src=%s,ipv6_dst=%s,nw_proto=47", end, another6)
		add(&caused, "ipv6,ipv6_src=%s,ipv6_dst=%s,nw_proto=47", another6, end)
		add(&caused, "ipv6,ipv6_src=%s,ipv6_dst=%s,nw_proto=47,nw_frag=later", another6, end)
		add(&innocent, "ipv6,ipv6_src=%s,ipv6_dst=%s,nw_proto=17", another6, end)
	}
	add(&innocent, "ip,nw_src=%s,nw_dst=%s,nw_proto=47", other, another)
	add(&innocent, "ipv6,ipv6_src=%s,ipv6_dst=%s,nw_proto=47", other6, another6)

	// ICMP errors: those of a collector, whomever they go to, and those of any router that come to this host.
	for _, kind := range []int{3, 4, 5, 11, 12} {
		add(&caused, "icmp,nw_src=%s,nw_dst=%s,icmp_type=%d", collectorAddr, another, kind)
		add(&caused, "icmp,nw_src=%s,nw_dst=%s,icmp_type=%d", another, hostAddr, kind)
		add(&innocent, "icmp,nw_src=%s,nw_dst=%s,icmp_type=%d", other, another, kind)
	}
	for _, kind := range []int{1, 2, 3, 4} {
		add(&caused, "icmp6,ipv6_src=%s,ipv6_dst=%s,icmpv6_type=%d", collector6, another6, kind)
		add(&caused, "icmp6,ipv6_src=%s,ipv6_dst=%s,icmpv6_type=%d", another6, hostAddr6, kind)
		add(&innocent, "icmp6,ipv6_src=%s,ipv6_dst=%s,icmpv6_type=%d", other6, another6, kind)
	}
	for _, kind := range []int{0, 8} {
		add(&innocent, "icmp,nw_src=%s,nw_dst=%s,icmp_type=%d", collectorAddr, hostAddr, kind)
	}
	for _, kind := range []int{128, 129} {
		add(&innocent, "icmp6,ipv6_src=%s,ipv6_dst=%s,icmpv6_type=%d", collector6, hostAddr6, kind)
	}

	// What this host asks of the network, and what Open vSwitch asks from an address that is not the device's.
	for _, target := range []string{collectorAddr, gateway, other} {
		add(&caused, "arp,arp_op=1,arp_spa=%s,arp_tpa=%s", hostAddr, target)
		add(&innocent, "arp,arp_op=1,arp_spa=%s,arp_tpa=%s", another, target)
	}
	add(&innocent, "arp,arp_op=2,arp_spa=%s,arp_tpa=%s", hostAddr, other)
	const asks = "icmp6,ipv6_src=%s,ipv6_dst=ff02::1:ff00:1,icmpv6_type=%d,nd_target=%s"
	add(&caused, asks, hostAddr6, 135, other6)
	// A collector behind a gateway is asked for itself when its route becomes one without, before the guard can follow.
	for _, target := range []string{collector6, gateway6, behind6} {
		add(&caused, asks, "fe80::5", 135, target)
	}
	add(&innocent, asks, other6, 135, another6)
	add(&innocent, asks, hostAddr6, 136, other6)

	for want, flows := range map[bool][]string{true: caused, false: innocent} {
		for _, flow := range flows {
			trace, err := s.host.Appctl(s.ctx, "ofproto/trace", tapBridge, "in_port="+tap+","+flow)
			s.must(err)
			_, after, found := strings.Cut(trace, "\n 5. ")
			rule, _, _ := strings.Cut(after, "\n")
			if dropped := strings.Contains(trace, "Datapath actions: drop"); !found || dropped != want || strings.Contains(rule, "priority 300,") != want {
				t.Errorf("%s: guarded is %v, want %v:\n%s", flow, dropped, want, trace)
			}
		}
	}
}

// TestGuardStandsBeforeTheTap: no copy leaves a tap bridge before the guard stands. What is mirrored to a new tap bridge, the
// underlay itself with a dead collector here, is dropped there until its flows come, guard and all; to a tap bridge that is
// there, nothing new is mirrored before its flows stand.
func TestGuardStandsBeforeTheTap(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	mirrors := func() string {
		names, err := s.host.Vsctl(s.ctx, "--bare", "--columns=name", "list", "mirror")
		s.must(err)
		return strings.TrimSpace(names)
	}
	add := func(name, bridge, source string) []string {
		return []string{"session", "add", name, "--bridge", bridge, "--source", source, "--collector", "192.0.2.77"}
	}
	s.killAt("flows", add("underlay", "br-ul", "uplink")...)
	if mirrors() == "" {
		t.Error("nothing is mirrored to the new tap bridge")
	}
	if mode, err := s.host.Vsctl(s.ctx, "get-fail-mode", tapBridge); err != nil || strings.TrimSpace(mode) != "secure" {
		t.Errorf("fail_mode of the new tap bridge: %s %v", mode, err)
	}
	if flows, err := s.host.DumpFlows(s.ctx, tapBridge); err != nil || len(flows) != 0 {
		t.Errorf("the new tap bridge has flows: %v %v", flows, err)
	}
	wire := s.capture(s.collector, "eth0", "proto 47")
	s.ping(s.host.Node, collectorAddr, 20)
	s.ping(s.a, addrB, 20)
	s.stop(wire)
	if n, err := wire.Count(s.ctx, ""); err != nil || n != 0 {
		t.Errorf("%d copies left a tap bridge without flows (%v)", n, err)
	}

	if r := s.oe("run", "--once"); r.code != 3 { // the collector is dead
		t.Fatalf("run --once: exit %d\n%s", r.code, r.stderr)
	}
	before := mirrors()
	s.killAt("rows-after", add("two", "br0", "vnet0")...)
	if now := mirrors(); now != before {
		t.Errorf("before the flows are known to stand, something is mirrored: %s", now)
	}
	guard, err := s.host.Ofctl(s.ctx, "-O", "OpenFlow15", "--no-stats", "dump-flows", tapBridge, "table=5")
	s.must(err)
	if !strings.Contains(guard, "nw_dst=192.0.2.77") {
		t.Errorf("there is no guard yet:\n%s", guard)
	}
}
