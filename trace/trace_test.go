package trace

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// The files of testdata are what `ovs-appctl ofproto/trace` of Open vSwitch 3.1.0 printed, with three sessions: web (slot 1,
// tap 2, version 1), https (slot 2, tap 3, version 2, permits tcp,tp_dst=443, two collectors of which 192.0.2.10 does not
// answer) and six (slot 3, taps 5 and 6, version 2, both directions).
func printed(t *testing.T, name string) Run {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return Parse(string(text))
}

var addrs = cmpopts.EquateComparable(netip.Addr{})

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func https() (session.Session, *flows.Outcome) {
	s := session.Session{Name: "https", Bridge: "br0", Match: []session.Rule{{Permit: "tcp,tp_dst=443"}}, ERSPAN: session.ERSPAN{Version: 2, SessionID: ptr(2)}}
	return s, &flows.Outcome{
		Slot: 2, TapBridge: "br-erspan-nd", State: session.Active, Filtered: true,
		Taps:       []*flows.Tap{{TapPort: "es-3", OFPort: 3, Direction: session.Ingress}},
		Collectors: []flows.CollectorOutcome{{Address: ip("192.0.2.9"), MaxLen: 1460, State: session.Active}, {Address: ip("192.0.2.10"), MaxLen: 1460, State: session.Degraded}},
	}
}

// TestIntoDevices: a run that ends in the devices of the session's tap is told from one in which nothing is copied.
func TestIntoDevices(t *testing.T) {
	_, out := https()
	for cookie, want := range map[flows.Cookie]bool{
		flows.NewCookie(flows.StageSegmented, 3): true,
		flows.NewCookie(flows.StageSegmented, 4): false, // of another session's tap
		flows.NewCookie(flows.StageRepeated, 3):  false,
	} {
		if got := IntoDevices(Run{Visits: []Visit{{Bridge: "br-erspan", Cookie: cookie}}}, out); got != want {
			t.Errorf("%s: %v, want %v", cookie, got, want)
		}
	}
}

func TestFollow(t *testing.T) {
	s, out := https()
	copies := Follow(printed(t, "two-sessions.txt"), s, out)
	if len(copies) != 1 {
		t.Fatalf("%d copies, want 1", len(copies))
	}
	want := Copy{
		Tap: "es-3", Direction: session.Ingress, Filter: "permit tcp,tp_dst=443",
		Sends: []Send{
			{Collector: "192.0.2.9", Header: &Header{Source: ip("192.0.2.1"), Destination: ip("192.0.2.9"), Version: 2, SessionID: 2, TTL: 64, MaxLen: 1460}},
			{Collector: "192.0.2.10", Lost: "Open vSwitch says: neighbor cache miss for 192.0.2.10 on bridge br-ul, sending ARP request"},
		},
	}
	if diff := cmp.Diff(want, copies[0], addrs, cmpopts.IgnoreFields(Copy{}, "Steps", "Met")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if copies[0].Reaches() {
		t.Error("it reaches every collector, but one of them does not answer")
	}
	copies = Follow(printed(t, "filtered.txt"), s, out)
	if len(copies) != 1 || copies[0].LostAt != "filter" || copies[0].Filter != "no rule permits it" {
		t.Errorf("filtered: %+v", copies)
	}
	if copies := Follow(printed(t, "no-neighbor.txt"), s, out); len(copies) != 0 {
		t.Errorf("another session's tap: %+v", copies)
	}
}

// A packet that production's pipeline sends through conntrack goes on in a second part of the output.
func TestFollowThroughConntrack(t *testing.T) {
	run := printed(t, "conntrack.txt")
	if len(run.Datapath) != 2 || len(run.Megaflow) != 2 {
		t.Fatalf("datapath %q, megaflows %q", run.Datapath, run.Megaflow)
	}
	s, out := https()
	if copies := Follow(run, s, out); len(copies) != 1 || copies[0].LostAt != "filter" {
		t.Errorf("%+v", copies)
	}
	var tables []int
	for _, v := range run.Visits {
		if v.Bridge == "br0" {
			tables = append(tables, v.Table)
		}
	}
	if !cmp.Equal(tables, []int{0, 1}) {
		t.Errorf("tables %v of br0, want 0 and 1", tables)
	}
	text := strings.Join(Production(run, "br-erspan-nd"), "\n")
	for _, want := range []string{"br0 table 0, priority 10, ct_state=-trk,tcp: ct(table=1)", "br0 table 1, priority 10, tcp: NORMAL (no learned MAC for destination, flooding)"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestWrongHeader(t *testing.T) {
	s, out := https()
	s.ERSPAN.HardwareID, s.DSCP, s.TTL = ptr(7), ptr(10), ptr(9)
	out.Collectors[0].MaxLen = 100
	copies := Follow(printed(t, "two-sessions.txt"), s, out)
	want := "hardware id 0 instead of 7, TTL 64 instead of 9, DSCP 0 instead of 10, maximum length 1460 instead of 100"
	if got := copies[0].Sends[0].Wrong; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestFollowFrame(t *testing.T) {
	run := printed(t, "destination.txt")
	s := session.Session{Name: "in", Type: session.Destination, Bridge: "br0", OutputPort: "vnet1", From: "any", ERSPAN: session.ERSPAN{SessionID: ptr(7)}}
	out := &flows.Outcome{Slot: 3, TapBridge: "br-erspan-nd", Delivery: &flows.Delivery{Bridge: "br0", OutputPort: "vnet1"}}
	c := FollowFrame(run, s, out)
	if !c.Reaches() || !strings.Contains(strings.Join(c.Steps, "\n"), "hardware id 5, direction 1") {
		t.Errorf("%+v", c)
	}
	out.Slot = 9
	if c := FollowFrame(run, s, out); c.LostAt != "terminate" {
		t.Errorf("another session took it: %+v", c)
	}
}

// The datapath's actions, of the userspace datapath as measured and of the kernel's in the form of Open vSwitch's
// lib/odp-util.c (format_odp_tun_attr).
func TestHeaders(t *testing.T) {
	push := "tnl_push(tnl_port(6),header(size=74,type=107,eth(dst=82:85:bb:a5:a3:5e,src=06:d9:b7:1d:2c:46,dl_type=0x86dd),ipv6(src=2001:db8::1,dst=2001:db8::9,label=0,proto=47,tclass=0x28,hlimit=9),erspan(ver=2,sid=0x3ff,dir=1,hwid=0x3f)),out_port(1)),recirc(0)"
	six := Header{Source: ip("2001:db8::1"), Destination: ip("2001:db8::9"), Version: 2, SessionID: 1023, HardwareID: 63, Direction: 1, TOS: 40, TTL: 9}
	cut := six
	cut.MaxLen = 64
	kernel := Header{Destination: ip("192.0.2.9"), Version: 1, SessionID: 100, Index: 0xfffff, TTL: 64, MaxLen: 1464}
	kernel2 := Header{Source: ip("192.0.2.1"), Destination: ip("192.0.2.10"), Version: 2, SessionID: 1, HardwareID: 4, TTL: 64}
	for actions, want := range map[string][]Header{
		"drop":                                  nil,
		"2,4":                                   nil,
		"clone(trunc(1464)),4":                  nil,
		push:                                    {six},
		"trunc(64)," + push:                     {cut},
		"clone(trunc(64)," + push + "),4":       {cut},
		"trunc(64),pop_vlan," + push:            {cut},
		"trunc(64),clone(" + push + "),4":       {cut},
		"clone(trunc(64)," + push + ")," + push: {cut, six},
		"check_pkt_len(size=1514,gt(drop),le(" + push + "))": {six},
		"clone(set(tunnel(tun_id=0x64,dst=192.0.2.9,ttl=64,erspan(ver=1,idx=0xfffff),flags(df|key))),trunc(1464),4),set(tunnel(tun_id=0x1,src=192.0.2.1,dst=192.0.2.10,ttl=64,erspan(ver=2,dir=0,hwid=0x4),flags(df|key))),4,3": {kernel, kernel2},
	} {
		got := Headers(actions)
		if diff := cmp.Diff(want, got, addrs); diff != "" {
			t.Errorf("%s: -want +got:\n%s", actions, diff)
		}
	}
}

func TestMegaflows(t *testing.T) {
	dump := `recirc_id(0),in_port(3),eth_type(0x0800),ipv4(proto=1), packets:5, bytes:98, used:0.028s, actions:clone(trunc(1464),tnl_push(tnl_port(6),header(size=50,type=107,eth(dst=5e:3d:33:78:b5:3b,src=da:e1:8d:40:07:4c,dl_type=0x0800),ipv4(src=192.0.2.1,dst=192.0.2.9,proto=47,tos=0,ttl=64,frag=0x4000),erspan(ver=1,sid=0x1,idx=0x0)),out_port(1)),recirc(0)),4
recirc_id(0),in_port(4),eth_type(0x0806), packets:7, bytes:98, used:never, actions:3
tunnel(tun_id=0x7,src=192.0.2.9,dst=192.0.2.1,erspan(ver=1,idx=0x5),flags(-df-csum+key)),in_port(6),eth_type(0x0806), packets:2, bytes:98, used:1.5s, flags:SFP., actions:3
tunnel(tun_id=0x8,src=192.0.2.9,dst=192.0.2.1,erspan(ver=1,idx=0x5),flags(-df-csum+key)),in_port(6),eth_type(0x0806), packets:2, bytes:98, used:1.5s, actions:drop
`
	source := session.Session{ERSPAN: session.ERSPAN{Version: 1, SessionID: ptr(1)}, Collectors: []netip.Addr{ip("192.0.2.9")}}
	if got := Megaflows(dump, source); len(got) != 1 || got[0].Packets != 5 || got[0].Used != "0.028s" {
		t.Errorf("%+v", got)
	}
	source.ERSPAN.SessionID = ptr(2)
	if got := Megaflows(dump, source); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	destination := session.Session{Type: session.Destination, From: "192.0.2.9", ERSPAN: session.ERSPAN{SessionID: ptr(7)}}
	if got := Megaflows(dump, destination); len(got) != 1 || got[0].Packets != 2 {
		t.Errorf("%+v", got)
	}
	destination.From = "192.0.2.8"
	if got := Megaflows(dump, destination); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"two-sessions.txt", "conntrack.txt", "destination.txt"} {
		text, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	s, out := https()
	f.Fuzz(func(t *testing.T, text string) {
		run := Parse(text)
		Follow(run, s, out)
		FollowFrame(run, s, out)
		Production(run, out.TapBridge)
		Megaflows(text, s)
	})
}
