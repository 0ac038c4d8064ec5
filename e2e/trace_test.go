//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// traced is the part of `session trace -o json` that scenarios look at.
type traced struct {
	State, Reason string
	Whole         bool
	Stages        []struct {
		Stage, Collector, Says string
		Rows                   []string
		Count                  *count
		Flows                  []struct {
			Match, Rule    string
			Packets, Bytes uint64
			Missing        bool
			Table, Bridge  string
		}
		Lost []struct {
			Why, Reason string
			Count       *count
			Meant       bool
		}
	}
	Megaflows []struct{ Match, Actions string }
}

// stage is the stage of this name (the first, where collectors have one each).
func (v traced) lostAt(stage string) string {
	for _, s := range v.Stages {
		for _, l := range s.Lost {
			if s.Stage == stage && (l.Count == nil || l.Count.Packets > 0) {
				return l.Reason + " " + l.Why
			}
		}
	}
	return ""
}

func (v traced) count(stage string) uint64 {
	for _, s := range v.Stages {
		if s.Stage == stage && s.Count != nil {
			return s.Count.Packets
		}
	}
	return 0
}

func (v traced) names() (names []string) {
	for _, s := range v.Stages {
		names = append(names, s.Stage)
	}
	return names
}

// trace runs `session trace`, which has to end with this exit code.
func (s *scene) trace(code int, name string) traced {
	s.t.Helper()
	return s.traceOn(s.host, code, name)
}

func (s *scene) traceOn(h *lab.Host, code int, name string) traced {
	s.t.Helper()
	r := s.oeOn(h, lab.Command{}, "session", "trace", name, "-o", "json")
	var v traced
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil || r.code != code {
		s.t.Fatalf("session trace %s: exit %d, want %d; %v\n%s%s", name, r.code, code, err, r.stdout, r.stderr)
	}
	return v
}

// tracedPacket is the part of `session trace --packet -o json` that scenarios look at.
type tracedPacket struct {
	Reaches bool
	Traces  []struct {
		At         string
		Production []string
		Copies     []struct {
			Tap, Direction, Filter, LostAt, Lost string
			Steps                                []string
			Sends                                []struct {
				Collector, Lost, Wrong string
				Header                 *struct {
					Source, Destination                                                string
					Version, SessionID, Index, HardwareID, Direction, TOS, TTL, MaxLen int
				}
			}
		}
	}
}

func (s *scene) tracePacketOn(h *lab.Host, code int, name, packet string) tracedPacket {
	s.t.Helper()
	r := s.oeOn(h, lab.Command{}, "session", "trace", name, "--packet", packet, "-o", "json")
	var v tracedPacket
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil || r.code != code {
		s.t.Fatalf("session trace %s --packet %s: exit %d, want %d; %v\n%s%s", name, packet, r.code, code, err, r.stdout, r.stderr)
	}
	return v
}

// TestTrace: the way of copies with what was counted, and where it ends, for faults that are made one by one.
func TestTrace(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.ping(s.a, addrB, 1) // so that ARP is done
	s.add("web", "--source", "vnet0", "--match", "icmp", "--deny", "ip,nw_src="+addrB)
	before := s.snapshot()
	s.ping(s.a, addrB, 10)
	var v traced
	s.must(lab.Until(s.ctx, "ten copies are counted", func(context.Context) error { // counters follow within a second or so
		if v = s.trace(0, "web"); v.count("encapsulate") != 10 {
			return fmt.Errorf("%+v", v)
		}
		return nil
	}))
	if want := []string{"source", "mirror", "tap", "guard", "filter", "encapsulate", "tunnel", "route", "device", "collector"}; !slices.Equal(v.names(), want) {
		t.Errorf("stages %q, want %q", v.names(), want)
	}
	show := s.show("web").Status
	if !v.Whole || v.count("tap") < 20 || v.count("tap") > show.Tapped.Packets {
		t.Errorf("whole %v, tap %d, encapsulated %d; show says %+v", v.Whole, v.count("tap"), v.count("encapsulate"), show)
	}
	if lost := v.lostAt("filter"); !strings.Contains(lost, "deny ip,nw_src="+addrB) {
		t.Errorf("what the filter drops: %q", lost)
	}
	if len(v.Megaflows) == 0 || !strings.Contains(v.Megaflows[0].Actions, "erspan(ver=1") {
		t.Errorf("megaflows: %+v", v.Megaflows)
	}
	text := s.ok("session", "trace", "web")
	for _, want := range []string{"● source", "▼ mirror", "Mirror ovs-erspan-", "├──✗", "deny ip,nw_src=" + addrB, "▼ collector", "megaflow", "lost at filter"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if after := s.snapshot(); after != before {
		t.Errorf("trace changed something:\n%s\n%s", before, after)
	}

	// A flow that somebody deleted, a mirror that somebody deleted.
	_, err := s.host.Ofctl(s.ctx, "-OOpenFlow15", "del-flows", tapBridge, "table=30,reg0=1")
	s.must(err)
	if v := s.trace(3, "web"); v.Reason != "NotInForce" || !strings.Contains(v.lostAt("encapsulate"), "a flow is missing") {
		t.Errorf("no flow: %s, %q", v.Reason, v.lostAt("encapsulate"))
	}
	s.ok("run", "--once")
	_, err = s.host.Vsctl(s.ctx, "clear", "bridge", "br0", "mirrors")
	s.must(err)
	if v := s.trace(3, "web"); v.Reason != "NotInForce" || !strings.Contains(v.lostAt("mirror"), "is missing") {
		t.Errorf("no mirror: %s, %q", v.Reason, v.lostAt("mirror"))
	}
	s.ok("run", "--once")
	// No next hop, no route.
	_, _, err = s.collector.Exec(s.ctx, "ip", "link", "set", "eth0", "down")
	s.must(err)
	_, _, err = s.host.Exec(s.ctx, "ip", "neigh", "flush", "dev", "br-ul")
	s.must(err)
	_, err = s.host.Appctl(s.ctx, "tnl/neigh/flush")
	s.must(err)
	if v := s.trace(3, "web"); !strings.Contains(v.lostAt("collector"), "NoNeighbor") {
		t.Errorf("no neighbour: %q", v.lostAt("collector"))
	}
	_, _, err = s.host.Exec(s.ctx, "ip", "-4", "addr", "flush", "dev", "br-ul")
	s.must(err)
	if v := s.trace(3, "web"); !strings.Contains(v.lostAt("collector"), "NoRoute") {
		t.Errorf("no route: %q", v.lostAt("collector"))
	}
	s.ok("session", "disable", "web")
	if v := s.trace(3, "web"); v.State != "Disabled" || !strings.Contains(v.lostAt("source"), "Disabled") {
		t.Errorf("disabled: %s, %q", v.State, v.lostAt("source"))
	}
	r := s.oe("session", "trace", "nothere")
	if r.code != 4 {
		t.Errorf("a session that is not there: exit %d: %s", r.code, r.stderr)
	}
}

// snapshot is what a command that changes nothing must leave alone.
func (s *scene) snapshot() string {
	s.t.Helper()
	rows, err := s.host.DumpRows(s.ctx)
	s.must(err)
	text := fmt.Sprintln(rows)
	for _, bridge := range []string{"br0", "br-ul", tapBridge} {
		flows, err := s.host.DumpFlows(s.ctx, bridge)
		s.must(err)
		text += fmt.Sprintln(bridge, flows)
	}
	return text
}

// TestTracePacket: what trace says of a packet is what tshark then sees of such packets at the collectors.
func TestTracePacket(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.ping(s.a, addrB, 1)
	s.ok("session", "add", "v2", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr, "--collector", collector6, "--erspan-version", "2",
		"--session-id", "100", "--hwid", "7", "--dscp", "10", "--ttl", "9", "--snaplen", "64", "--match", "icmp")
	macA, macB := s.mac(s.a, "eth0"), s.mac(s.b, "eth0")
	request := fmt.Sprintf("icmp,icmp_type=8,dl_src=%s,dl_dst=%s,nw_src=%s,nw_dst=%s", macA, macB, addrA, addrB)
	reply := fmt.Sprintf("in_port=vnet1,icmp,dl_src=%s,dl_dst=%s,nw_src=%s,nw_dst=%s", macB, macA, addrB, addrA)
	before := s.snapshot()
	var said []string
	for _, packet := range []string{"in_port=vnet0," + request, reply} {
		v := s.tracePacketOn(s.host, 0, "v2", packet)
		if len(v.Traces) != 1 || len(v.Traces[0].Copies) != 1 || len(v.Traces[0].Copies[0].Sends) != 2 || len(v.Traces[0].Production) == 0 {
			t.Fatalf("%s: %+v", packet, v)
		}
		for _, send := range v.Traces[0].Copies[0].Sends {
			h := send.Header
			if h == nil || send.Wrong != "" {
				t.Fatalf("%s: %+v", packet, send)
			}
			said = append(said, fmt.Sprintf("%s %s %d %d %d %d %d %d", h.Source, h.Destination, h.Version, h.SessionID, h.HardwareID, h.Direction, h.TOS>>2, h.TTL))
		}
	}
	if after := s.snapshot(); after != before {
		t.Errorf("trace changed something:\n%s\n%s", before, after)
	}
	wire := s.capture(s.collector, "eth0", "proto 47 or ip6 proto 47")
	s.ping(s.a, addrB, 1)
	s.waitCount(wire, "erspan && icmp && !icmp.type==3", 4)
	s.stop(wire)
	var seen []string
	first := func(list string) string { value, _, _ := strings.Cut(list, ","); return value }
	for _, row := range s.fields(wire, "erspan && icmp && !icmp.type==3 && !icmpv6", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "erspan.version", "erspan.spanid",
		"erspan.hw", "erspan.direction", "ip.dsfield.dscp", "ip.ttl", "ipv6.tclass.dscp", "ipv6.hlim") {
		src, dst, dscp, ttl := first(row[0]), first(row[1]), first(row[8]), first(row[9])
		if row[2] != "" {
			src, dst, dscp, ttl = first(row[2]), first(row[3]), first(row[10]), first(row[11])
		}
		seen = append(seen, strings.Join([]string{src, dst, row[4], row[5], row[6], row[7], dscp, ttl}, " "))
	}
	slices.Sort(said)
	slices.Sort(seen)
	if !slices.Equal(said, seen) {
		t.Errorf("trace said\n%s\ntshark saw\n%s", strings.Join(said, "\n"), strings.Join(seen, "\n"))
	}

	// Both directions where no port is named; the filter; the guard; a port that is no source; what is no packet.
	if v := s.tracePacketOn(s.host, 0, "v2", request); len(v.Traces) != 2 || v.Traces[1].Copies[0].Sends[0].Header.Direction != 1 {
		t.Errorf("without in_port: %+v", v)
	}
	if v := s.tracePacketOn(s.host, 3, "v2", "in_port=vnet0,tcp,tp_dst=80"); v.Traces[0].Copies[0].LostAt != "filter" || v.Traces[0].Copies[0].Lost != "dropped: no rule permits it" {
		t.Errorf("filtered: %+v", v)
	}
	if v := s.tracePacketOn(s.host, 3, "v2", "in_port=vnet0,ip,nw_proto=47,nw_dst="+collectorAddr); v.Traces[0].Copies[0].LostAt != "guard" {
		t.Errorf("guarded: %+v", v)
	}
	if v := s.tracePacketOn(s.host, 3, "v2", "in_port=LOCAL,icmp,dl_dst="+macB.String()); len(v.Traces) != 1 || len(v.Traces[0].Copies) != 0 {
		t.Errorf("past the source: %+v", v)
	}
	for packet, says := range map[string]string{"nonsense=1": "unknown field", "in_port=nothere,tcp": "nothere", "tcp,nw_src=10.0.0.0/8": "wildcards"} {
		if said := s.refused("session", "trace", "v2", "--packet", packet); !strings.Contains(said, says) || !strings.Contains(said, "--packet") {
			t.Errorf("--packet %s: %s", packet, said)
		}
	}
	text := s.ok("session", "trace", "v2", "--packet", "in_port=vnet0,"+request)
	for _, want := range []string{"▼ mirror", "production:", "NORMAL", "filter: passes: permit icmp", "● collector " + collectorAddr + " would get ERSPAN version 2 (Type III), session id 100, hardware id 7, direction ingress"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// TestTraceDestination: the other way round, and a header that no session has.
func TestTraceDestination(t *testing.T) {
	t.Parallel()
	f := newFarEnd(t)
	f.far("session", "add", "in", "--type", "destination", "--bridge", "br0", "--output-port", "analyzer0", "--from", hostAddr, "--session-id", "10", "--erspan-version", "1", "--index", "5")
	f.ok("session", "add", "out", "--bridge", "br0", "--source", "vnet0", "--collector", farAddr, "--session-id", "10", "--index", "5")
	f.ok("session", "add", "wrong", "--bridge", "br0", "--source", "vnet0", "--collector", farAddr, "--session-id", "11", "--direction", "ingress")
	f.ping(f.a, addrB, 1)
	arrived := f.capture(f.analyzer, "eth0", "icmp")
	f.ping(f.a, addrB, 5)
	f.waitCount(arrived, "", 10)
	f.stop(arrived)
	var v traced
	f.must(lab.Until(f.ctx, "what arrived is counted", func(context.Context) error {
		v = f.traceOn(f.host2, 0, "in")
		if v.count("tunnel") < v.count("terminate")+5 || v.count("deliver") < 10 || !strings.Contains(v.lostAt("terminate"), "no session has") {
			return fmt.Errorf("%+v", v)
		}
		return nil
	}))
	if want := []string{"sender", "tunnel", "read-header", "terminate", "deliver", "patch", "output"}; !slices.Equal(v.names(), want) {
		t.Errorf("stages %q, want %q", v.names(), want)
	}
	if len(v.Megaflows) == 0 {
		t.Error("no megaflow carries it")
	}
	if v := f.tracePacketOn(f.host2, 0, "in", "tcp,tp_dst=80"); len(v.Traces) != 1 || !v.Reaches {
		t.Errorf("%+v", v)
	}
	for _, header := range []string{"tun_id=11", "tun_erspan_idx=4", "tun_erspan_ver=2", "tun_src=192.0.2.77"} {
		if v := f.tracePacketOn(f.host2, 3, "in", header+",tcp"); v.Reaches || v.Traces[0].Copies[0].LostAt != "terminate" {
			t.Errorf("%s: %+v", header, v)
		}
	}
	_, err := f.host2.Vsctl(f.ctx, "del-port", "br0", "analyzer0")
	f.must(err)
	if v := f.traceOn(f.host2, 3, "in"); !strings.Contains(v.lostAt("sender"), "OutputPortMissing") {
		t.Errorf("no output port: %+v", v)
	}
}
