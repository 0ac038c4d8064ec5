//go:build linux

package e2e

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

const collectorAddr2 = "192.0.2.10"

// erspanFilter is what captures on a collector's wire take: ERSPAN over either family.
const erspanFilter = "proto 47 or ip6 proto 47"

// secondCollector puts another collector on the underlay.
func (s *scene) secondCollector() *lab.Node {
	s.t.Helper()
	n := s.guest("col2")
	s.must(s.host.Attach(s.ctx, n, "br-ul", "uplink2", lab.GuestIf{Addrs: []string{collectorAddr2 + "/24"}}))
	return n
}

// frames are the captured frames, whole.
func (s *scene) frames(c *lab.Capture) [][]byte {
	s.t.Helper()
	frames, err := c.Frames(s.ctx)
	s.must(err)
	var all [][]byte
	for _, f := range frames {
		all = append(all, f.Data)
	}
	return all
}

// inner are the mirrored frames in the ERSPAN packets that meet a display filter.
func (s *scene) inner(c *lab.Capture, filter string) [][]byte {
	s.t.Helper()
	frames, err := c.InnerFrames(s.ctx, filter)
	s.must(err)
	return frames
}

// knock opens a TCP connection to a port of b where nobody listens: a SYN goes there, a RST comes back.
func (s *scene) knock(from *lab.Node, to string, port int) {
	s.t.Helper()
	_ = from.Do(func() error {
		c, err := net.DialTimeout("tcp4", fmt.Sprintf("%s:%d", to, port), 2*time.Second)
		if err == nil {
			c.Close()
		}
		return nil
	})
}

// burst sends datagrams from one node to another; none may be lost, altered or doubled.
func (s *scene) burst(from, to *lab.Node, b lab.Burst) {
	s.t.Helper()
	r, err := lab.UDPBurst(s.ctx, from, to, b)
	s.must(err)
	s.whole(r, b.Count)
}

func (s *scene) whole(r lab.BurstResult, count int) {
	s.t.Helper()
	if r.Received != count || r.Duplicates != 0 || len(r.Altered) != 0 {
		s.t.Errorf("production's datagrams: %d of %d arrived, %d doubled, %d altered (missing: %v)",
			r.Received, count, r.Duplicates, len(r.Altered), r.Missing[:min(len(r.Missing), 20)])
	}
}

// Sessions over the same port, each with rules of its own: each collector gets exactly its packets, as a capture on the
// source's wire with the same filter has them.
func TestEachSessionGetsExactlyItsPackets(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	col2 := s.secondCollector()
	source := []string{"--bridge", "br0", "--source", "vnet0"}
	type wish struct {
		id        string
		at        *lab.Node
		collector string
		rules     []string
		onWire    string // the same in pcap-filter(7) syntax
		wire      *lab.Capture
	}
	wishes := []*wish{
		{id: "1", at: s.collector, collector: collectorAddr, rules: []string{"--match", "tcp,tp_dst=443"}, onWire: "tcp dst port 443"},
		{id: "2", at: col2, collector: collectorAddr2, rules: []string{"--deny", "icmp"}, onWire: "not icmp"},
		{id: "3", at: col2, collector: collectorAddr2, rules: []string{"--match-both-ways", "tcp,tp_dst=443"}, onWire: "tcp port 443"},
		{id: "4", at: s.collector, collector: collectorAddr, rules: []string{"--match", "tcp", "--match", "icmp", "--deny", "tcp,tp_src=443"}, onWire: "(tcp and not src port 443) or icmp"},
		{id: "5", at: s.collector, collector: collectorAddr, rules: []string{"--match-both-ways", "udp,nw_src=" + addrA + ",tp_dst=5000", "--deny", "arp"}, onWire: "udp and ((src host " + addrA + " and dst port 5000) or (dst host " + addrA + " and src port 5000))"},
	}
	for _, w := range wishes {
		s.ok(slices.Concat([]string{"session", "add", "s" + w.id, "--collector", w.collector, "--session-id", w.id}, source, w.rules)...)
		w.wire = s.capture(s.a, "eth0", w.onWire)
	}
	atCol, atCol2 := s.capture(s.collector, "eth0", erspanFilter), s.capture(col2, "eth0", erspanFilter)

	s.knock(s.a, addrB, 443)
	s.knock(s.a, addrB, 444)
	s.knock(s.b, addrA, 443)
	s.burst(s.a, s.b, lab.Burst{Count: 5, Port: 5000})
	s.burst(s.a, s.b, lab.Burst{Count: 5, Port: 443})
	s.burst(s.b, s.a, lab.Burst{Count: 5, Port: 5000})
	s.ping(s.a, addrB, 3)
	s.fence()
	for _, c := range []*lab.Capture{atCol, atCol2} {
		s.stop(c)
	}
	for _, w := range wishes {
		s.stop(w.wire)
		want := s.frames(w.wire)
		if len(want) == 0 {
			t.Errorf("session %s: no packet on the source's wire is %q: this test tests nothing", w.id, w.onWire)
		}
		copies := atCol
		if w.at == col2 {
			copies = atCol2
		}
		sameFrames(t, fmt.Sprintf("session %s (%v)", w.id, w.rules), s.inner(copies, "erspan.spanid == "+w.id), want)
	}
}

// Rules that are written differently and mean the same are in force once, and nothing is left to do.
func TestRulesThatMeanTheSame(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.add("one", "--source", "vnet0", "--match", "icmp", "--match-both-ways", "icmp", "--match", "ip,nw_proto=1", "--deny", "tcp", "--deny", "ip,nw_proto=6")
	s.nothingToDo()
	if state, reason := s.state("one"); state != "Active" {
		t.Errorf("%s, %s", state, reason)
	}
	s.copies(1)
}

// Several collectors, of both families at once, and IPv6 alone, with both versions: each collector gets every frame once.
func TestCollectorsOfBothFamilies(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	col2 := s.secondCollector()
	four, second, six := collectorAddr, collectorAddr2, collector6
	for _, w := range []struct {
		id, version string
		collectors  []string
	}{
		{"1", "1", []string{four, six, second}},
		{"2", "2", []string{six, four, second}},
		{"3", "1", []string{six}},
		{"4", "2", []string{six}},
	} {
		args := []string{"session", "add", "s" + w.id, "--bridge", "br0", "--source", "vnet0", "--session-id", w.id, "--erspan-version", w.version}
		for _, c := range w.collectors {
			args = append(args, "--collector", c)
		}
		s.ok(args...)
	}
	wire := s.capture(s.a, "eth0", "")
	atCol, atCol2 := s.capture(s.collector, "eth0", erspanFilter), s.capture(col2, "eth0", erspanFilter)
	s.ping(s.a, addrB, 5)
	s.fence()
	for _, c := range []*lab.Capture{wire, atCol, atCol2} {
		s.stop(c)
	}
	want := s.frames(wire)
	over4, over6 := " && ip.dst == "+four, " && ipv6.src == "+hostAddr6+" && ipv6.dst == "+six
	for _, e := range []struct {
		at     *lab.Capture
		filter string
	}{
		{atCol, "gre.proto == 0x88be && erspan.spanid == 1" + over4},
		{atCol, "gre.proto == 0x88be && erspan.spanid == 1" + over6},
		{atCol2, "gre.proto == 0x88be && erspan.spanid == 1"},
		{atCol, "gre.proto == 0x22eb && erspan.spanid == 2" + over4},
		{atCol, "gre.proto == 0x22eb && erspan.spanid == 2" + over6},
		{atCol2, "gre.proto == 0x22eb && erspan.spanid == 2"},
		{atCol, "gre.proto == 0x88be && erspan.spanid == 3" + over6},
		{atCol, "gre.proto == 0x22eb && erspan.spanid == 4" + over6},
	} {
		sameFrames(t, e.filter, s.inner(e.at, e.filter), want)
	}
	for c, n := range map[*lab.Capture]int{atCol: 6 * len(want), atCol2: 2 * len(want)} {
		if all := len(s.inner(c, "")); all != n {
			t.Errorf("%s: %d copies in all, want %d", c, all, n)
		}
	}
}

// `session set` changes a session in place. Meanwhile another one, over the same port and to the same collector, does not
// miss a packet, and production loses none.
func TestSetLeavesOtherSessionsAlone(t *testing.T) {
	t.Parallel()
	const datagrams, port = 4000, 5000
	s := newScene(t)
	s.secondCollector()
	s.add("steady", "--source", "vnet0", "--session-id", "1")
	s.add("web", "--source", "vnet0", "--session-id", "2")
	s.ping(s.a, addrB, 1)
	c := s.capture(s.collector, "eth0", "proto 47")

	type outcome struct {
		result lab.BurstResult
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		r, err := lab.UDPBurst(s.ctx, s.a, s.b, lab.Burst{Count: datagrams, PPS: 600, Port: port})
		done <- outcome{r, err}
	}()
	s.waitCount(c, fmt.Sprintf("erspan.spanid == 1 && udp.dstport == %d", port), 1)
	changes := 0
	for _, set := range [][]string{
		{"--session-id", "7"},
		{"--erspan-version", "2", "--hwid", "5"},
		{"--collector", collectorAddr2},
		{"--match", "tcp"},
		{"--unset", "match", "--add-collector", collectorAddr},
		{"--direction", "ingress", "--add-source", "vnet1"},
		{"--erspan-version", "1", "--unset", "hwid", "--index", "9"},
	} {
		s.ok(append([]string{"session", "set", "web"}, set...)...)
		changes++
		if len(done) > 0 {
			t.Logf("the burst was over after %d changes", changes)
			break
		}
	}
	o := <-done
	s.must(o.err)
	s.whole(o.result, datagrams)
	if changes < 3 {
		t.Errorf("only %d changes during the burst: this test tests nothing", changes)
	}
	s.fence()
	s.stop(c)
	if n, err := c.Count(s.ctx, fmt.Sprintf("erspan.spanid == 1 && udp.dstport == %d", port)); err != nil || n != datagrams {
		t.Errorf("the session that was not changed sent %d copies of %d datagrams, %v", n, datagrams, err)
	}
}

// What `session set` changed is on the wire from the first packet after it returned, and nothing of the old is.
func TestSetIsInForceWhenItReturns(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	col2 := s.secondCollector()
	s.add("web", "--source", "vnet0", "--session-id", "2", "--index", "4")
	s.ping(s.a, addrB, 3) // a flow that runs, and is cached
	for _, change := range []struct {
		flags     []string
		at, other *lab.Node
		copies    string // a display filter that all copies meet
		count     int    // of three pings and their replies
	}{
		{[]string{"--session-id", "7", "--index", "11"}, s.collector, col2, "gre.proto == 0x88be && erspan.spanid == 7 && erspan.index == 11", 6},
		{[]string{"--erspan-version", "2", "--unset", "index", "--hwid", "5"}, s.collector, col2, "gre.proto == 0x22eb && erspan.spanid == 7 && erspan.hw == 5", 6},
		{[]string{"--collector", collectorAddr2}, col2, s.collector, "gre.proto == 0x22eb && erspan.spanid == 7", 6},
		{[]string{"--match", "icmp,icmp_type=8"}, col2, s.collector, "icmp.type == 8", 3},
		{[]string{"--direction", "egress", "--unset", "match"}, col2, s.collector, "icmp.type == 0 && erspan.direction == 1", 3},
	} {
		s.ok(append([]string{"session", "set", "web"}, change.flags...)...)
		at, other := s.capture(change.at, "eth0", erspanFilter), s.capture(change.other, "eth0", erspanFilter)
		s.ping(s.a, addrB, 3)
		s.fence()
		s.stop(at)
		s.stop(other)
		all, right := len(s.fields(at, "icmp", "frame.number")), len(s.fields(at, "icmp && "+change.copies, "frame.number"))
		if all != change.count || right != change.count {
			t.Errorf("after set %v: %d copies, %d of them %q, want %d", change.flags, all, right, change.copies, change.count)
		}
		if n := len(s.fields(other, "", "frame.number")); n != 0 {
			t.Errorf("after set %v: %d copies at the other collector, want none", change.flags, n)
		}
	}
}

// A frame from one source port to another, direction both, is copied once for each direction; version 1 does not tell which.
func TestFrameBetweenTwoSources(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	if r := s.oe("session", "add", "v1", "--bridge", "br0", "--collector", collectorAddr, "--source", "vnet0,vnet1", "--session-id", "1"); r.code != 0 || !strings.Contains(r.stderr, "to another twice") {
		t.Errorf("session add, exit %d, does not say what two directions cost: %s", r.code, r.stderr)
	}
	s.add("v2", "--source", "vnet0,vnet1", "--session-id", "2", "--erspan-version", "2")
	wire, c := s.capture(s.a, "eth0", ""), s.capture(s.collector, "eth0", "proto 47")
	s.ping(s.a, addrB, 5)
	s.fence()
	s.stop(wire)
	s.stop(c)
	want := s.frames(wire)
	sameFrames(t, "version 1", s.inner(c, "erspan.spanid == 1"), append(want, want...))
	sameFrames(t, "version 2, ingress", s.inner(c, "erspan.spanid == 2 && erspan.direction == 0"), want)
	sameFrames(t, "version 2, egress", s.inner(c, "erspan.spanid == 2 && erspan.direction == 1"), want)
}
