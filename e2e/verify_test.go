//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// proof is the part of `session verify -o json` that scenarios look at.
type proof struct {
	State, Reason, Verdict, Run, Packet, NoAnswers string
	Taps                                           []struct {
		Tap, Direction, Filter, LostAt, Lost string
		AlsoSends                            []string
		Sent                                 int
		Counted                              []struct {
			Stage   string
			Packets int
			Exact   bool
		}
		Sends []struct {
			Collector, Lost, Wrong string
			Header                 *struct{ SessionID, Version, Direction, HardwareID int }
		}
		Arrivals []struct {
			Collector, Wrong string
			Arrived          int
			RoundTrip        *struct{ MinNanoseconds, AvgNanoseconds, MaxNanoseconds time.Duration }
		}
	}
}

// verify runs `session verify`, which has to end with this exit code.
func (s *scene) verify(code int, args ...string) proof {
	s.t.Helper()
	return s.verifyOn(s.host, code, args...)
}

func (s *scene) verifyOn(h *lab.Host, code int, args ...string) proof {
	s.t.Helper()
	r := s.oeOn(h, lab.Command{}, append([]string{"session", "verify", "-o", "json"}, args...)...)
	var p proof
	if err := json.Unmarshal([]byte(r.stdout), &p); err != nil || r.code != code {
		s.t.Fatalf("session verify %q: exit %d, want %d; %v\n%s%s", args, r.code, code, err, r.stdout, r.stderr)
	}
	return p
}

// anyProbe is a filter of tcpdump for probes that no tunnel is around.
const anyProbe = "ether[0:4] & 0xffffff00 = 0x02e25a00"

// TestVerify: probes leave with the right header and arrive; nobody else sees them, and nothing is changed.
func TestVerify(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.ping(s.a, addrB, 1)
	s.add("web", "--source", "vnet0", "--direction", "ingress")
	s.ok("session", "add", "v2", "--bridge", "br0", "--source", "vnet0,vnet1", "--collector", collectorAddr, "--collector", collector6, "--erspan-version", "2",
		"--session-id", "100", "--hwid", "7", "--dscp", "10", "--ttl", "9", "--snaplen", "20")
	before := s.snapshot()
	var production []*lab.Capture
	for _, n := range []*lab.Node{s.a, s.b} {
		production = append(production, s.capture(n, "eth0", anyProbe))
	}
	production = append(production, s.capture(s.host.Node, s.host.Device("vnet0"), anyProbe), s.capture(s.collector, "eth0", anyProbe))

	// Nobody answers. What verify says would show the probes at the collector does.
	text := s.ok("session", "verify", "web")
	found := regexp.MustCompile(`tcpdump -n -i any '(.*)'`).FindStringSubmatch(text)
	if found == nil || !strings.Contains(text, "nobody answers") || !strings.Contains(text, "✓ encapsulate  3 of 3") {
		t.Fatalf("verify said\n%s", text)
	}
	wire := s.capture(s.collector, "eth0", found[1])
	if p := s.verify(0, "web", "--count", "5"); p.Verdict != "left" || p.Taps[0].Sent != 5 || len(p.Taps[0].Counted) != 3 {
		t.Errorf("%+v", p)
	}
	if p := s.verify(1, "web", "--must-arrive", "--count", "1"); p.Verdict != "left" {
		t.Errorf("%+v", p)
	}
	s.waitCount(wire, "", 6)
	s.stop(wire)
	for _, row := range s.fields(wire, "", "erspan.version", "erspan.spanid", "eth.type", "frame.len") {
		if fmt.Sprint(row) != "[1 1 0x0800,0x88b5 110]" {
			t.Errorf("tshark saw %q", row)
		}
	}

	// A receiver answers: both directions, both families, frames cut to 20 bytes.
	receiver := s.startCapture("--answer-probes")
	wire = s.capture(s.collector, "eth0", "udp")
	p := s.verify(0, "v2", "--count", "4", "--wait", "20s")
	if p.Verdict != "arrived" || len(p.Taps) != 2 {
		t.Fatalf("%+v", p)
	}
	for _, tap := range p.Taps {
		for _, c := range tap.Counted {
			if c.Packets < 4 {
				t.Errorf("%s: %d of 4 counted at %s", tap.Tap, c.Packets, c.Stage)
			}
		}
		for i, a := range tap.Arrivals {
			h := tap.Sends[i].Header
			if a.Arrived != 4 || a.Wrong != "" || a.RoundTrip == nil || a.RoundTrip.MinNanoseconds < 0 || a.RoundTrip.MaxNanoseconds > 20*time.Second ||
				h.HardwareID != 7 || h.SessionID != 100 || h.Direction != map[string]int{"ingress": 0, "egress": 1}[tap.Direction] {
				t.Errorf("%s at %s: %+v, %+v", tap.Tap, a.Collector, a, h)
			}
		}
	}
	s.waitCount(wire, "", 16)
	s.stop(wire)
	rows := s.fields(wire, "", "udp.dstport", "udp.length", "ip.src", "ipv6.src")
	for _, row := range rows {
		if len(row[0]) != 5 || row[1] != "66" || row[2]+row[3] != collectorAddr && row[2]+row[3] != collector6 {
			t.Errorf("an answer: %q", row)
		}
	}
	if len(rows) != 16 {
		t.Errorf("%d answers, want 16", len(rows))
	}
	if p := s.verify(0, "web", "--wait", "20s", "--must-arrive"); p.Verdict != "arrived" {
		t.Errorf("%+v", p)
	}
	s.must(receiver.Stop(s.ctx))
	if said := receiver.Stdout(); !strings.Contains(said, "ovs-erspan probe 3 of session web, tap 0") {
		t.Errorf("the receiver shows\n%s", said)
	}
	if said := receiver.Stderr(); !strings.Contains(said, "19 probes answered, 0 not") {
		t.Errorf("the receiver said\n%s", said)
	}
	// A receiver that ends after two of them.
	receiver = s.startCapture("--answer-probes", "-c", "2")
	if p := s.verify(1, "web", "--count", "5"); p.Verdict != "lost" || p.Taps[0].Arrivals[0].Arrived != 2 {
		t.Errorf("two of five arrived: %+v", p)
	}
	s.must(receiver.Wait(s.ctx))

	for _, c := range production {
		s.stop(c)
		if n, err := c.Count(s.ctx, ""); err != nil || n != 0 {
			t.Errorf("%s: %d probes, %v", c, n, err)
		}
	}
	fdb, err := s.host.Appctl(s.ctx, "fdb/show", "br0")
	s.must(err)
	if strings.Contains(fdb, "02:e2:5a") || strings.Contains(fdb, "06:e2:") {
		t.Errorf("br0 has learned a probe's address:\n%s", fdb)
	}
	if after := s.snapshot(); after != before {
		t.Errorf("verify changed something:\n%s\n%s", before, after)
	}
}

// TestVerifyFilters: the probe is made to fit the session's rules, where they can be met, and that it is filtered is said.
func TestVerifyFilters(t *testing.T) {
	t.Parallel()
	s := newScene(t, func(o *options) { o.bPort.Tag = 10 })
	s.add("https", "--source", "vnet0", "--session-id", "1", "--deny", "ip,nw_src=10.0.0.0/8", "--match", "ip,nw_src=10.0.0.66", "--match", "tcp,tp_dst=443")
	s.add("six", "--source", "vnet0", "--session-id", "2", "--match-both-ways", "udp6,ipv6_dst=2001:db8:1::/64,udp_dst=53")
	s.add("macs", "--source", "vnet0", "--session-id", "3", "--match", "dl_src=50:54:00:00:00:05,dl_type=0x88cc")
	s.add("denied", "--source", "vnet0", "--deny", "dl_type=0x88b5")
	s.add("slow", "--source", "vnet0", "--max-rate", "100pps")
	s.add("access", "--source", "vnet1", "--erspan-version", "2", "--direction", "egress")
	receiver := s.startCapture("--answer-probes", "-o", "json")
	for name, want := range map[string]string{
		"https": "permit tcp,tp_dst=443", "six": "permit both ways udp6,ipv6_dst=2001:db8:1::/64,udp_dst=53", "macs": "permit dl_src=50:54:00:00:00:05,dl_type=0x88cc",
	} {
		wire := s.capture(s.collector, "eth0", "proto 47")
		p := s.verify(0, name, "--wait", "20s")
		if p.Verdict != "arrived" || p.Taps[0].Filter != want || len(p.Taps[0].AlsoSends) == 0 {
			t.Errorf("%s: %+v", name, p)
		}
		s.stop(wire)
		filter := map[string]string{"https": "spanid == 1 && tcp.dstport == 443", "six": "spanid == 2 && ipv6.dst == 2001:db8:1:: && udp.dstport == 53", "macs": "spanid == 3 && eth.src == 50:54:00:00:00:05 && eth.type == 0x88cc"}[name]
		if n, err := wire.Count(s.ctx, "erspan."+filter); err != nil || n != 6 { // three through each tap
			t.Errorf("%s: tshark saw %d such frames, %v", name, n, err)
		}
	}
	if p := s.verify(0, "access", "--wait", "20s"); p.Verdict != "arrived" {
		t.Errorf("an access port: %+v", p)
	}
	if p := s.verify(0, "slow", "--wait", "20s"); p.Verdict != "arrived" || len(p.Taps[0].Counted) != 4 || p.Taps[0].Counted[2].Stage != "limit" {
		t.Errorf("a session with a maximal rate: %+v", p)
	}
	if v := s.trace(0, "slow"); !slices.Contains(v.names(), "limit") {
		t.Errorf("a session with a maximal rate: %q", v.names())
	}
	wire := s.capture(s.collector, "eth0", "proto 47")
	if p := s.verify(0, "https", "--packet", "tcp,nw_src=192.168.7.7,tp_dst=443,dl_vlan=9", "--wait", "20s"); p.Verdict != "arrived" {
		t.Errorf("--packet: %+v", p)
	}
	s.stop(wire)
	if n, err := wire.Count(s.ctx, "erspan.spanid == 1 && vlan.id == 9 && ip.src == 192.168.7.7 && tcp.checksum.status != 0"); err != nil || n != 6 {
		t.Errorf("tshark saw %d of them, %v", n, err)
	}
	s.must(receiver.Stop(s.ctx))
	for packet, rule := range map[string]string{"udp": "no rule permits it", "tcp,nw_src=10.0.0.1,tp_dst=443": "deny ip,nw_src=10.0.0.0/8"} {
		if p := s.verify(1, "https", "--packet", packet); p.Verdict != "filtered" || p.Taps[0].Filter != rule || p.Taps[0].Sent != 0 {
			t.Errorf("%s: %+v", packet, p)
		}
	}
	if p := s.verify(1, "denied"); p.Verdict != "filtered" || p.Taps[0].Filter != "deny dl_type=0x88b5" {
		t.Errorf("denied: %+v", p)
	}
	if p := s.verify(0, "denied", "--packet", "udp", "--wait", "0s"); p.Verdict != "left" {
		t.Errorf("denied, but another packet is not: %+v", p)
	}
	if p := s.verify(1, "denied", "--packet", "ip,nw_proto=47,nw_dst="+collectorAddr); p.Verdict != "lost" || p.Taps[0].LostAt != "guard" {
		t.Errorf("guarded: %+v", p)
	}
	for flags, says := range map[string]string{
		"--count 0": "1 to 255", "--count 256": "1 to 255", "--wait 2h": "0s to 1m", "--packet in_port=vnet0,tcp": "taps", "--packet dl_src=02:00:00:00:00:01": "mark of a probe",
		"--packet tcp,ct_state=+trk": "ct_state", "--packet tcp,tp_dst=99999": "16 bits", "--packet=": "empty", "--deliver": "source session",
	} {
		if said := s.refused(append([]string{"session", "verify", "https"}, strings.Fields(flags)...)...); !strings.Contains(said, says) {
			t.Errorf("%s: %s", flags, said)
		}
	}
	if r := s.oe("session", "verify", "nothere"); r.code != 4 {
		t.Errorf("a session that is not there: exit %d: %s", r.code, r.stderr)
	}
}

// TestVerifyFaults: for faults that are made one by one, verify says where probes end, and production traffic goes on.
func TestVerifyFaults(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.ping(s.a, addrB, 1)
	s.add("web", "--source", "vnet0")
	s.ok("session", "add", "half", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr, "--collector", collector6)
	// While production's frames are copied too.
	traffic := make(chan error, 1)
	go func() {
		r, err := lab.Ping(s.ctx, s.a, netip.MustParseAddr(addrB), lab.PingOptions{Count: 200, Interval: 5 * time.Millisecond})
		if err == nil && r.Received != 200 {
			err = fmt.Errorf("%d of 200 pings were answered", r.Received)
		}
		traffic <- err
	}()
	for range 5 {
		if p := s.verify(0, "web", "--wait", "0s"); p.Verdict != "left" {
			t.Errorf("beside traffic: %+v", p)
		}
	}
	s.must(<-traffic)

	// A header that somebody changed, a flow that is gone.
	_, err := s.host.Ofctl(s.ctx, "-OOpenFlow15", "mod-flows", tapBridge, "table=30,reg0=1,actions=set_field:9->tun_id,set_field:1->tun_erspan_ver,set_field:7->tun_erspan_idx,set_field:"+collectorAddr+"->tun_dst,output(port=1,max_len=100)")
	s.must(err)
	if p := s.verify(3, "web"); p.Verdict != "lost" || p.Reason != "NotInForce" || p.Taps[0].Sends[0].Header != nil && p.Taps[0].Sends[0].Wrong == "" {
		t.Errorf("a wrong header: %+v", p)
	}
	_, err = s.host.Ofctl(s.ctx, "-OOpenFlow15", "del-flows", tapBridge, "table=30,reg0=1")
	s.must(err)
	if p := s.verify(3, "web"); p.Verdict != "lost" || p.Taps[0].LostAt != "encapsulate" {
		t.Errorf("no flow: %+v", p)
	}
	_, err = s.host.Ofctl(s.ctx, "-OOpenFlow15", "del-flows", tapBridge, "table=0")
	s.must(err)
	if p := s.verify(3, "web"); p.Verdict != "lost" || p.Taps[0].LostAt != "tap" {
		t.Errorf("no flow in the first table: %+v", p)
	}
	s.ok("run", "--once")
	if p := s.verify(0, "web", "--wait", "0s"); p.Verdict != "left" {
		t.Errorf("mended: %+v", p)
	}

	// One collector of two does not answer; then neither, then there is no route.
	_, _, err = s.collector.Exec(s.ctx, "ip", "-6", "addr", "flush", "dev", "eth0")
	s.must(err)
	forget := func() {
		t.Helper()
		_, _, err := s.host.Exec(s.ctx, "ip", "neigh", "flush", "dev", "br-ul")
		s.must(err)
		_, err = s.host.Appctl(s.ctx, "tnl/neigh/flush")
		s.must(err)
	}
	forget()
	s.oe("run", "--once") // so that the other is known again
	if p := s.verify(3, "half", "--wait", "0s"); p.Verdict != "lost" || p.State != "Degraded" || p.Taps[0].Sends[0].Header == nil || !strings.Contains(p.Taps[0].Sends[1].Lost, "neighbor cache miss for "+collector6) {
		t.Errorf("one of two: %+v", p)
	}
	_, _, err = s.collector.Exec(s.ctx, "ip", "link", "set", "eth0", "down")
	s.must(err)
	forget()
	if p := s.verify(3, "web"); p.Reason != "NoNeighbor" || p.Verdict != "lost" || p.Taps[0].LostAt != "tunnel" || !strings.Contains(p.Taps[0].Lost, "neighbor cache miss") {
		t.Errorf("no neighbour: %+v", p)
	}
	_, _, err = s.host.Exec(s.ctx, "ip", "-4", "addr", "flush", "dev", "br-ul")
	s.must(err)
	if p := s.verify(3, "web"); p.Reason != "NoRoute" || p.Verdict == "left" {
		t.Errorf("no route: %+v", p)
	}
	// The source is gone; the session is disabled.
	_, err = s.host.Vsctl(s.ctx, "del-port", "br0", "vnet0")
	s.must(err)
	if p := s.verify(3, "web"); p.Reason != "SourceMissing" || p.Verdict != "not-in-force" {
		t.Errorf("no source: %+v", p)
	}
	s.ok("session", "disable", "web")
	if p := s.verify(3, "web"); p.Reason != "Disabled" || p.Verdict != "not-in-force" {
		t.Errorf("disabled: %+v", p)
	}
}

// TestVerifyBothEnds: from a source session to a destination session; a destination session by itself; and a wrong number at
// the far end, where it shows.
func TestVerifyBothEnds(t *testing.T) {
	t.Parallel()
	f := newFarEnd(t)
	f.far("session", "add", "in", "--type", "destination", "--bridge", "br0", "--output-port", "analyzer0", "--from", hostAddr, "--session-id", "10", "--erspan-version", "2", "--hwid", "0", "--direction", "egress")
	f.ok("session", "add", "out", "--bridge", "br0", "--source", "vnet0", "--collector", farAddr, "--session-id", "10", "--erspan-version", "2")
	atAnalyzer, other := f.capture(f.analyzer, "eth0", anyProbe), f.capture(f.other, "eth0", anyProbe)

	// By itself: nothing is sent unless it is asked for.
	if p := f.verifyOn(f.host2, 0, "in"); p.Verdict != "traced" || p.Taps[0].Sent != 0 {
		t.Errorf("%+v", p)
	}
	if p := f.verifyOn(f.host2, 0, "in", "--deliver", "--count", "2"); p.Verdict != "delivered" || len(p.Taps[0].Counted) != 4 {
		t.Errorf("%+v", p)
	}
	f.waitCount(atAnalyzer, "", 2)

	// From the source: of its two directions this session takes egress.
	receiver, err := f.host2.Start(f.ctx, lab.Command{Args: []string{binary, "capture", "-i", "uplink", "--answer-probes"}})
	f.must(err)
	f.must(lab.Until(f.ctx, "capture receives", func(context.Context) error {
		if !strings.Contains(receiver.Stderr(), "receiving on") {
			return fmt.Errorf("it says %q", receiver.Stderr())
		}
		return nil
	}))
	if p := f.verify(0, "out", "--wait", "20s", "--count", "3"); p.Verdict != "arrived" || len(p.Taps) != 2 {
		t.Errorf("%+v", p)
	}
	f.waitCount(atAnalyzer, "", 5)
	unmatched := func() string {
		text := f.far("session", "list")
		return text[max(0, strings.Index(text, "(unmatched)")):]
	}
	f.must(lab.Until(f.ctx, "the other direction is unmatched", func(context.Context) error {
		if text := unmatched(); !strings.Contains(text, "3 packets arrived with a header that no session has") {
			return fmt.Errorf("%s", text)
		}
		return nil
	}))
	// A wrong number: it arrives at the host, and is no session's.
	f.ok("session", "set", "out", "--session-id", "11")
	if p := f.verify(0, "out", "--wait", "20s", "--count", "3"); p.Verdict != "arrived" {
		t.Errorf("%+v", p)
	}
	f.must(lab.Until(f.ctx, "all are unmatched", func(context.Context) error {
		if text := unmatched(); !strings.Contains(text, "9 packets arrived with a header that no session has") || !strings.Contains(text, "session id 11") {
			return fmt.Errorf("%s", text)
		}
		return nil
	}))
	f.must(receiver.Stop(f.ctx))
	f.stop(atAnalyzer)
	f.stop(other)
	seqs := f.fields(atAnalyzer, "", "eth.src")
	var got []string
	for _, row := range seqs {
		got = append(got, row[0][len(row[0])-5:]) // tap and sequence
	}
	slices.Sort(got)
	if fmt.Sprint(got) != "[00:01 00:02 01:01 01:02 01:03]" && fmt.Sprint(got) != "[00:01 00:01 00:02 00:02 00:03]" {
		t.Errorf("the analyzer got %q", got)
	}
	if n, err := other.Count(f.ctx, ""); err != nil || n != 0 {
		t.Errorf("another port got %d probes, %v", n, err)
	}
	// Another session that is more specific takes the frames; no output port.
	f.far("session", "add", "any", "--type", "destination", "--bridge", "br0", "--output-port", "vnet9", "--from", "any", "--session-id", "10")
	_, err = f.host2.Vsctl(f.ctx, "del-port", "br0", "analyzer0")
	f.must(err)
	if p := f.verifyOn(f.host2, 3, "in"); p.Reason != "OutputPortMissing" || p.Verdict != "not-in-force" {
		t.Errorf("no output port: %+v", p)
	}
}
