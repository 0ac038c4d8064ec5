package openflow

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/ovsdb/ovsdbtest"
)

// otherMatches only ovs-ofctl knows.
var otherMatches = []string{"metadata=0x5", "tcp,tcp_flags=+syn", "recirc_id=0,tcp,in_port=3", "recirc_id=0,dl_vlan=5", "vlan_tci=0x0000/0x1fff", "mpls", "ct_state=+trk,ip", "in_port=LOCAL"}

var otherActions = []string{"NORMAL", "set_field:0x1/0xff->reg0", "output:LOCAL", "mod_vlan_vid:5", "learn(table=1)", "push_vlan:0x8100", "write_metadata:0x1"}

func testBridge(t *testing.T) (context.Context, *Client, *ovsdbtest.Server) {
	t.Helper()
	s := ovsdbtest.Start(t)
	s.StartVswitchd()
	s.Run("ovs-vsctl", "add-br", "br-t", "--", "set", "bridge", "br-t", "datapath_type=dummy", "fail_mode=secure",
		"protocols=OpenFlow10,OpenFlow13,OpenFlow14,OpenFlow15")
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	c := New(s.RunDir)
	t.Cleanup(c.Close)
	return ctx, c, s
}

func inOrder(entries []flows.Entry) []flows.Line {
	if len(entries) == 0 {
		return nil
	}
	lines := flows.Lines(entries)
	slices.SortFunc(lines, func(a, b flows.Line) int { return strings.Compare(a.String(), b.String()) })
	return lines
}

// TestNativeAgainstOfctl: what one of the two programs, both read alike, to the letter; either takes away what the other
// has programmed. ovs-ofctl is the judge.
func TestNativeAgainstOfctl(t *testing.T) {
	ctx, c, _ := testBridge(t)
	native := func(use func(*connection) error) {
		t.Helper()
		if err := c.native(ctx, "br-t", use); err != nil {
			t.Fatal(err)
		}
	}
	want := nativeLines()
	slices.SortFunc(want, func(a, b flows.Line) int { return strings.Compare(a.String(), b.String()) })
	check := func(want []flows.Line) {
		t.Helper()
		byExec, err := c.execDump(ctx, "br-t")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, inOrder(byExec), cmp.Transformer("text", flows.Line.String)); diff != "" {
			t.Errorf("ovs-ofctl reads (-wished +is):\n%s", diff)
		}
		native(func(conn *connection) error {
			there, err := conn.dump()
			if diff := cmp.Diff(want, inOrder(there), cmp.Transformer("text", flows.Line.String)); diff != "" {
				t.Errorf("natively read (-wished +is):\n%s", diff)
			}
			return err
		})
	}
	native(func(conn *connection) error { return conn.apply(flows.FlowChanges{Add: want}) })
	check(want)
	native(func(conn *connection) error { return conn.add(want[0]) })
	if err := c.execApply(ctx, "br-t", flows.FlowChanges{Delete: want}); err != nil {
		t.Fatal(err)
	}
	check(nil)
	if err := c.execApply(ctx, "br-t", flows.FlowChanges{Add: want}); err != nil {
		t.Fatal(err)
	}
	check(want)
	native(func(conn *connection) error { return conn.apply(flows.FlowChanges{Delete: want[:7]}) })
	check(want[7:])
	native(func(conn *connection) error { return conn.apply(flows.FlowChanges{Delete: want[7:], Add: want[:1]}) })
	check(want[:1])
}

// TestNativeKnowsOurFlows: every flow of the golden files goes over the native connection and reads back the same.
func TestNativeKnowsOurFlows(t *testing.T) {
	files, _ := filepath.Glob("../flows/testdata/*.flows")
	n := 0
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			_, flow, _ := strings.Cut(lines.Text(), " priority=")
			head, actions, ok := strings.Cut(flow, " actions=")
			if !ok {
				continue
			}
			_, match, _ := strings.Cut(strings.TrimSpace(head), ",")
			n++
			// In the golden files users' expressions stand as the users wrote them, after the slot.
			if back, err := canonicalMatch(match); err != nil || back != match && !strings.HasPrefix(match, "reg0=") {
				t.Errorf("%s: %s reads back as %s (%v)", file, match, back, err)
			}
			b, err := encodeActions(actions)
			if err != nil {
				t.Errorf("%s: %s: %v", file, actions, err)
				continue
			}
			if back, err := decodeInstructions(b); err != nil || back != actions {
				t.Errorf("%s: %s reads back as %s (%v)", file, actions, back, err)
			}
		}
	}
	if n < 100 {
		t.Fatalf("only %d golden flows", n)
	}
}

// TestCanonicalAgainstOfctl: what users write is put into the form that Open vSwitch gives it, or left to it.
func TestCanonicalAgainstOfctl(t *testing.T) {
	c := New(t.TempDir())
	written := append([]string{
		"nw_src=10.1.2.3/8,ip", "ip,nw_src=10.1.2.3/8", "ip,nw_src=10.1.2.3/32", "ip,nw_src=10.1.2.3/0", "ip,nw_src=10.1.2.3/255.255.0.0", "tcp,tp_dst=0x1bb",
		"tp_dst=443,tcp", "dl_type=0x800,nw_proto=6,tp_dst=443", "ip,nw_proto=17,tp_src=53", "dl_type=0x86dd,nw_proto=58,icmp_type=135",
		"tcp,tp_src=5/0xffff", "tcp,tp_src=5/0", "dl_vlan=0x0a,ip", "dl_vlan_pcp=3", "ip,dl_vlan=5", "udp,tp_dst=0x1f/0xf0", "tcp,ip", "ip,nw_src=1.2.3.4,nw_src=1.2.3.5",
		"arp,arp_op=2,arp_tpa=10.0.0.1", "icmp6,icmp_type=136,nd_target=fe80::/10", "icmp6,nd_target=fe80::1", "ipv6,ipv6_src=2001:DB8:0:0::1", "ip,ip_dscp=46", "ip,nw_tos=46",
		"dl_src=AA:bb:CC:dd:ee:ff", "eth_src=aa:bb:cc:dd:ee:ff", "dl_dst=ff:ff:ff:ff:ff:ff/ff:ff:ff:ff:ff:ff", "ip,nw_src=010.1.2.3", "icmp,tp_src=8", "sctp6,tp_src=1",
	}, nativeMatches...)
	for _, m := range written {
		if m == "" {
			continue
		}
		native, err := canonicalMatch(m)
		if err != nil {
			var unknown *errNotNative
			if !errors.As(err, &unknown) {
				t.Errorf("%s: %v", m, err)
			}
			continue
		}
		judged, err := c.parseFlows(t.Context(), []string{m})
		if err != nil || judged[0] != native {
			t.Errorf("%s: natively %q, ovs-ofctl says %q, %v", m, native, judged, err)
		}
	}
	for _, m := range nativeMatches {
		if back, err := canonicalMatch(m); err != nil || back != m {
			t.Errorf("%q reads back as %q, %v", m, back, err)
		}
	}
}

// TestNativeLeavesTheRest: what it does not know is left to ovs-ofctl, whole, in writing and in reading.
func TestNativeLeavesTheRest(t *testing.T) {
	ctx, c, s := testBridge(t)
	for i, m := range otherMatches {
		var unknown *errNotNative
		if _, err := encodeMatch(m); !errors.As(err, &unknown) {
			t.Errorf("%s: %v", m, err)
		}
		l := flows.Line{Table: 10, Priority: 1 + i, Cookie: flows.NewCookie(flows.StagePermit, uint32(i)), Match: m, Actions: "drop"}
		if err := c.Apply(ctx, "br-t", flows.FlowChanges{Add: []flows.Line{l}}); err != nil {
			t.Errorf("%s: %v", m, err)
		}
		if there, err := c.Dump(ctx, "br-t"); err != nil || len(there) != i+1 {
			t.Errorf("%s: %d flows, %v", m, len(there), err)
		}
	}
	s.Run("ovs-ofctl", "-O", "OpenFlow15", "del-flows", "br-t")
	for _, a := range otherActions {
		s.Run("ovs-ofctl", "-O", "OpenFlow15", "add-flow", "br-t", "table=3,priority=7,actions="+a)
		err := c.native(ctx, "br-t", func(conn *connection) error { _, err := conn.dump(); return err })
		var unknown *errNotNative
		if !errors.As(err, &unknown) {
			t.Errorf("%s: read natively, %v", a, err)
		}
		if there, err := c.Dump(ctx, "br-t"); err != nil || len(there) != 1 {
			t.Errorf("%s: %v, %v", a, there, err)
		}
	}
	s.Run("ovs-ofctl", "-O", "OpenFlow15", "add-flow", "br-t", "table=3,priority=7,idle_timeout=60,actions=drop")
	if there, err := c.Dump(ctx, "br-t"); err != nil || len(there) != 1 || !strings.Contains(there[0].Actions, "idle_timeout=60") {
		t.Errorf("%v, %v", there, err)
	}
}

// TestNativeMany: a bundle and a dump of many messages, and the largest flow.
func TestNativeMany(t *testing.T) {
	ctx, c, _ := testBridge(t)
	var want []flows.Line
	for i := range 5000 {
		want = append(want, flows.Line{Table: 10, Priority: 5, Cookie: flows.NewCookie(flows.StagePermit, uint32(i)), Match: "reg0=" + hexText(uint64(i)), Actions: "goto_table:30"})
	}
	clones := make([]string, 1000)
	for i := range clones {
		clones[i] = "clone(set_field:0x" + strconv.FormatInt(int64(i+1), 16) + "->reg0,resubmit(,10))"
	}
	want = append(want, flows.Line{Table: 5, Priority: 5, Match: "in_port=1", Actions: strings.Join(clones, ",")})
	err := c.native(ctx, "br-t", func(conn *connection) error { return conn.apply(flows.FlowChanges{Add: want}) })
	if err != nil {
		t.Fatal(err)
	}
	err = c.native(ctx, "br-t", func(conn *connection) error {
		there, err := conn.dump()
		if change := flows.Compare(flows.Lines(there), want); !change.Empty() {
			t.Errorf("%d to delete, %d to add", len(change.Delete), len(change.Add))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	clones = append(clones, clones...)
	if _, err := flowMod(flowAdd, flows.Line{Actions: strings.Join(clones, ",")}); err == nil {
		t.Error("a flow longer than a message was encoded")
	}
}

// TestNativeAfterRestart: a connection that ovs-vswitchd no longer knows is made anew, without ovs-ofctl.
func TestNativeAfterRestart(t *testing.T) {
	ctx, c, s := testBridge(t)
	for range 3 {
		if _, err := c.Dump(ctx, "br-t"); err != nil {
			t.Fatal(err)
		}
		if c.link("br-t").conn == nil {
			t.Error("no native connection")
		}
		s.Run("ovs-vsctl", "del-br", "br-t") // by itself: in one transaction with what follows, Open vSwitch keeps the bridge
		s.Run("ovs-vsctl", "add-br", "br-t", "--", "set", "bridge", "br-t", "datapath_type=dummy", "fail_mode=secure",
			"protocols=OpenFlow10,OpenFlow13,OpenFlow14,OpenFlow15")
	}
}
