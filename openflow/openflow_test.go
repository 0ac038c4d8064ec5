package openflow_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/openflow"
	"github.com/ovs-erspan/ovs-erspan/ovsdb/ovsdbtest"
	"github.com/ovs-erspan/ovs-erspan/vswitchd"
)

// bridge is a private Open vSwitch with one bridge as ours are.
func bridge(t *testing.T) (context.Context, *openflow.Client, *ovsdbtest.Server) {
	t.Helper()
	s := ovsdbtest.Start(t)
	s.StartVswitchd()
	s.Run("ovs-vsctl", "add-br", "br-t", "--", "set", "bridge", "br-t", "datapath_type=dummy", "fail_mode=secure",
		"protocols=OpenFlow10,OpenFlow13,OpenFlow14,OpenFlow15")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx, openflow.New(s.RunDir), s
}

var wished = []flows.Line{
	{Table: 0, Priority: 100, Cookie: flows.NewCookie(flows.StageArrived, 3), Match: "in_port=3", Actions: "goto_table:5"},
	{Table: 0, Priority: 0, Cookie: flows.NewCookie(flows.StageNone, 0), Actions: "drop"},
	{Table: 5, Priority: 110, Cookie: flows.NewCookie(flows.StageTappedStrip, 3), Match: "in_port=3,dl_vlan=10", Actions: "pop_vlan,set_field:1->tun_erspan_dir,clone(set_field:0x1->reg0,resubmit(,10))"},
	{Table: 10, Priority: 100, Cookie: flows.NewCookie(flows.StagePermit, 1), Match: "tcp,reg0=0x1,tp_dst=443", Actions: "goto_table:30"},
	{Table: 30, Priority: 100, Cookie: flows.NewCookie(flows.StageSent, 1), Match: "reg0=0x1", Actions: "set_field:0x64->tun_id,set_field:2->tun_erspan_ver,set_field:0->tun_erspan_hwid,set_field:2001:db8::9->tun_ipv6_dst,output(port=1,max_len=64)"},
}

// TestApplyAndDump: what is applied is what is dumped, to the letter; a second comparison is empty.
func TestApplyAndDump(t *testing.T) {
	ctx, c, s := bridge(t)
	apply := func(want []flows.Line) {
		t.Helper()
		there, err := c.Dump(ctx, "br-t")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Apply(ctx, "br-t", flows.Compare(flows.Lines(there), want)); err != nil {
			t.Fatal(err)
		}
		there, err = c.Dump(ctx, "br-t")
		if err != nil {
			t.Fatal(err)
		}
		if change := flows.Compare(flows.Lines(there), want); !change.Empty() || len(there) != len(want) {
			t.Fatalf("after applying, this is left to do: %v\nthere: %v", change, there)
		}
	}
	apply(wished)
	// A stranger's flows go, also one with a timeout, and one that covers ours and has our cookie.
	s.Run("ovs-ofctl", "-O", "OpenFlow15", "add-flow", "br-t", "table=10,priority=100,reg0=1,actions=drop")
	s.Run("ovs-ofctl", "-O", "OpenFlow15", "add-flow", "br-t", "table=30,priority=100,reg0=2,hard_timeout=600,actions=drop")
	s.Run("ovs-ofctl", "-O", "OpenFlow15", "add-flow", "br-t", "table=10,priority=5,cookie=0xe25a100000000001,actions=drop")
	s.Run("ovs-ofctl", "-O", "OpenFlow15", "add-flow", "br-t", "table=9,actions=normal")
	apply(wished)
	// A flow of ours that someone changed comes back.
	s.Run("ovs-ofctl", "-O", "OpenFlow15", "--strict", "mod-flows", "br-t", "table=0,priority=100,in_port=3,actions=drop")
	apply(wished)
	apply(nil)
	if err := c.Touch(ctx, "br-t"); err != nil {
		t.Fatal(err)
	}
	apply([]flows.Line{flows.TouchFlow().Line()})
}

// TestBundleIsAtomic: where one flow is refused, none is changed.
func TestBundleIsAtomic(t *testing.T) {
	ctx, c, _ := bridge(t)
	if err := c.Apply(ctx, "br-t", flows.FlowChanges{Add: wished}); err != nil {
		t.Fatal(err)
	}
	before, err := c.Dump(ctx, "br-t")
	if err != nil {
		t.Fatal(err)
	}
	bad := flows.Line{Table: 40, Priority: 1, Cookie: flows.NewCookie(1, 1), Match: "in_port=1", Actions: "output:group"}
	err = c.Apply(ctx, "br-t", flows.FlowChanges{Delete: wished[:1], Add: []flows.Line{{Table: 41, Priority: 1, Match: "in_port=2", Actions: "drop"}, bad}})
	if err == nil {
		t.Fatal("a flow that Open vSwitch does not know was accepted")
	}
	if !strings.Contains(err.Error(), "br-t") || strings.Contains(err.Error(), "broken pipe") {
		t.Errorf("the error does not say what ovs-ofctl said: %v", err)
	}
	after, err := c.Dump(ctx, "br-t")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(flows.Lines(before), flows.Lines(after)); diff != "" {
		t.Errorf("half a change is in force:\n%s", diff)
	}
}

func TestCheckMatches(t *testing.T) {
	c := openflow.New(t.TempDir()) // the parser needs no switch
	for _, expr := range []string{"tcp,tp_dst=443", "ip,nw_src=192.0.2.0/24", "dl_vlan=10", "icmp6,icmp_type=135", "tcp,tcp_flags=+syn", "udp6,tp_src=0x10/0xfff0"} {
		if err := c.CheckMatches(t.Context(), []string{"ip", expr}); err != nil {
			t.Errorf("%s: %v", expr, err)
		}
	}
	for expr, says := range map[string]string{
		"foo":                  "foo",
		"tp_dst=443":           "name the protocol",
		"nw_src=192.0.2.1":     "name the protocol",
		"ip,nw_src=1.2.3.4/33": "between 0 and 32",
		"dl_type=0x10000":      "0x10000",
		"ip,":                  "", // what is left is fine
	} {
		err := c.CheckMatches(t.Context(), []string{"tcp,tp_dst=1", expr})
		if says == "" {
			if err != nil {
				t.Errorf("%s: %v", expr, err)
			}
			continue
		}
		var bad *flows.BadMatchError
		if !errors.As(err, &bad) || bad.Expr != expr || !strings.Contains(bad.Reason, says) {
			t.Errorf("%s: got %v, want a *flows.BadMatchError that says %q", expr, err, says)
		}
	}
}

func TestNotRunning(t *testing.T) {
	c := openflow.New(t.TempDir())
	if _, err := c.Dump(t.Context(), "br-t"); err == nil || !strings.Contains(err.Error(), "br-t") {
		t.Errorf("got %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Dump(ended, "br-t"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that the context ended", err)
	}
}

// TestCounters: a dump carries packets and bytes.
func TestCounters(t *testing.T) {
	ctx, c, s := bridge(t)
	s.Run("ovs-vsctl", "add-port", "br-t", "p3", "--", "set", "interface", "p3", "type=dummy", "ofport_request=3")
	if err := c.Apply(ctx, "br-t", flows.FlowChanges{Add: wished[:2]}); err != nil {
		t.Fatal(err)
	}
	s.Run("ovs-appctl", "netdev-dummy/receive", "p3", "eth(src=50:54:00:00:00:05,dst=50:54:00:00:00:07),eth_type(0x1234)", "--len", "100")
	ovsdbtest.Eventually(t, "the packet is counted", func() bool {
		entries, err := c.Dump(ctx, "br-t")
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(entries, func(e flows.Entry) bool { return e.Match == "in_port=3" })
		return i >= 0 && entries[i].Packets == 1 && entries[i].Bytes == 100
	})
}

// TestWaitRevalidated: it ends, twice a round of the revalidators later, and says when there is nobody to ask.
func TestWaitRevalidated(t *testing.T) {
	ctx, c, s := bridge(t)
	touches := 0
	err := vswitchd.New(s.RunDir).WaitRevalidated(ctx, func(ctx context.Context) error {
		touches++
		return c.Touch(ctx, "br-t")
	})
	if err != nil || touches == 0 {
		t.Errorf("%d touches, %v", touches, err)
	}
	if neighbors, err := vswitchd.New(s.RunDir).Neighbors(ctx); err != nil || len(neighbors) != 0 {
		t.Errorf("neighbours: %v, %v", neighbors, err)
	}
	if _, err := vswitchd.New(s.RunDir).Call(ctx, "no/such-command"); err == nil || !strings.Contains(err.Error(), "no/such-command") {
		t.Errorf("got %v", err)
	}
	if _, err := vswitchd.New(t.TempDir()).Call(ctx, "version"); err == nil || !strings.Contains(err.Error(), "not running") {
		t.Errorf("got %v", err)
	}
}
