package openflow

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// TestMetersAgainstOfctl: meters that we add, change and delete are to ovs-ofctl what they are to us, and the other way
// round; ovs-ofctl is the judge.
func TestMetersAgainstOfctl(t *testing.T) {
	ctx, c, s := testBridge(t)
	judged := func() string {
		out := s.Run("ovs-ofctl", "-O", "OpenFlow15", "dump-meters", "br-t")
		_, meters, _ := strings.Cut(out, "\n") // in no order
		each := strings.Split(" "+strings.Join(strings.Fields(meters), " "), " meter=")[1:]
		slices.Sort(each)
		return strings.Join(each, "; ")
	}
	check := func(want string, meters ...flows.Meter) {
		t.Helper()
		if got := judged(); got != want {
			t.Errorf("ovs-ofctl reads %q, want %q", got, want)
		}
		got, err := c.Meters(ctx, "br-t")
		if diff := cmp.Diff(meters, got); err != nil || diff != "" {
			t.Errorf("natively read, %v (-wished +is):\n%s", err, diff)
		}
	}
	apply := func(changes flows.FlowChanges) {
		t.Helper()
		if err := c.Apply(ctx, "br-t", changes); err != nil {
			t.Fatal(err)
		}
	}
	one, two := flows.Meter{ID: 1, Packets: true, Rate: 1000, Burst: 100}, flows.Meter{ID: 100_000, Rate: 4294967295, Burst: 600}
	use := flows.Line{Table: flows.TableLimit, Priority: 100, Cookie: flows.NewCookie(flows.StageLimit, 1), Match: "reg0=0x1", Actions: "meter:1,goto_table:30"}
	const first, second = "1 pktps burst stats bands= type=drop rate=1000 burst_size=100", "100000 kbps burst stats bands= type=drop rate=4294967295 burst_size=600"
	check("")
	apply(flows.FlowChanges{AddMeters: []flows.Meter{one, two}, Add: []flows.Line{use}})
	check(first+"; "+second, one, two)
	there, err := c.Dump(ctx, "br-t")
	if diff := cmp.Diff([]flows.Line{use}, flows.Lines(there)); err != nil || diff != "" {
		t.Errorf("the flow, %v:\n%s", err, diff)
	}
	if exec, err := c.execDump(ctx, "br-t"); err != nil || len(exec) != 1 || exec[0].Actions != use.Actions {
		t.Errorf("ovs-ofctl reads the flow as %v, %v", exec, err)
	}
	one.Rate, one.Packets = 64, false
	apply(flows.FlowChanges{SetMeters: []flows.Meter{one}})
	check(strings.Replace(strings.Replace(first, "1000", "64", 1), "pktps", "kbps", 1)+"; "+second, one, two)
	apply(flows.FlowChanges{Delete: []flows.Line{use}, DeleteMeters: []flows.Meter{one, two}})
	check("")
	s.Run("ovs-ofctl", "-O", "OpenFlow15", "add-meter", "br-t", two.String())
	check(second, two)
	counts, err := c.MeterCounts(ctx, "br-t")
	if err != nil || len(counts) != 1 || counts[0].ID != two.ID || counts[0].In != (flows.Count{}) || counts[0].Out != (flows.Count{}) {
		t.Errorf("counters %v, %v", counts, err)
	}
	// A meter that is like none of ours equals none that is wished.
	s.Run("ovs-ofctl", "-O", "OpenFlow15", "mod-meter", "br-t", "meter=100000,kbps,bands=type=drop,rate=4294967295")
	if got, err := c.Meters(ctx, "br-t"); err != nil || len(got) != 1 || got[0] == two {
		t.Errorf("another's: %v, %v", got, err)
	}
	if err := c.Apply(ctx, "br-t", flows.FlowChanges{AddMeters: []flows.Meter{{ID: 0, Rate: 1, Burst: 600}}}); err == nil || !strings.Contains(err.Error(), "meter=0") {
		t.Errorf("a meter that cannot be: %v", err)
	}
}

// TestMetersOfABridgeMadeAnew: the connection to the bridge that was there before is no more; the new one is asked.
func TestMetersOfABridgeMadeAnew(t *testing.T) {
	ctx, c, s := testBridge(t)
	m := flows.Meter{ID: 1, Rate: 1000, Burst: 600}
	for range 3 {
		if err := c.Apply(ctx, "br-t", flows.FlowChanges{AddMeters: []flows.Meter{m}}); err != nil {
			t.Fatal(err)
		}
		s.Run("ovs-vsctl", "del-br", "br-t")
		s.Run("ovs-vsctl", "add-br", "br-t", "--", "set", "bridge", "br-t", "datapath_type=dummy", "protocols=OpenFlow14,OpenFlow15")
		if got, err := c.Meters(ctx, "br-t"); err != nil || len(got) != 0 {
			t.Errorf("meters %v, %v", got, err)
		}
	}
}

// TestMeterCountsAgainstOfctl: what passed a meter and what it dropped are the numbers that ovs-ofctl shows.
func TestMeterCountsAgainstOfctl(t *testing.T) {
	ctx, c, s := testBridge(t)
	s.Run("ovs-vsctl", "add-port", "br-t", "p1", "--", "set", "interface", "p1", "type=dummy", "ofport_request=1")
	m := flows.Meter{ID: 5, Packets: true, Rate: 1, Burst: 10}
	err := c.Apply(ctx, "br-t", flows.FlowChanges{AddMeters: []flows.Meter{m},
		Add: []flows.Line{{Table: 0, Priority: 1, Actions: "meter:5,goto_table:1"}, {Table: 1, Actions: "output:1"}}})
	if err != nil {
		t.Fatal(err)
	}
	const frames = 40
	for range frames {
		s.Run("ovs-ofctl", "-O", "OpenFlow15", "packet-out", "br-t", "in_port=controller packet="+strings.Repeat("0", 24)+"88b5"+strings.Repeat("ab", 46)+" actions=table")
	}
	counts, err := c.MeterCounts(ctx, "br-t")
	if err != nil || len(counts) != 1 {
		t.Fatal(counts, err)
	}
	got := counts[0]
	if got.ID != 5 || got.In.Packets != frames || got.In.Bytes != 60*frames || got.Out.Packets == 0 || got.Out.Packets > frames-10 || got.Out.Bytes != 60*got.Out.Packets || got.Age <= 0 {
		t.Errorf("%+v", got)
	}
	shown := s.Run("ovs-ofctl", "-O", "OpenFlow15", "meter-stats", "br-t")
	for _, want := range []string{
		fmt.Sprintf("packet_in_count:%d byte_in_count:%d", got.In.Packets, got.In.Bytes), fmt.Sprintf("packet_count:%d byte_count:%d", got.Out.Packets, got.Out.Bytes),
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("ovs-ofctl shows no %q:\n%s", want, shown)
		}
	}
}
