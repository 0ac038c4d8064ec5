package flows

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// TestKnownVeths: pairs are those that taps need and those that ports of ours name, by either end; a patch port, a port that
// is not ours and a device of the host are none.
func TestKnownVeths(t *testing.T) {
	ours := map[string]string{OwnerKey: "tap"}
	port := func(name, kind string, ids map[string]string) *Port {
		return &Port{Name: name, ExternalIDs: ids, Interfaces: []*Interface{{Name: name, Type: kind}}}
	}
	ports := map[string]*Port{}
	for _, p := range []*Port{
		port("es-aaaaaaaaaa-q", "", ours), port("es-aaaaaaaaaa-s", "", ours), // both ends
		port("es-bbbbbbbbbb-s", "", ours),      // somebody deleted the other row
		port("es-9999999999-t", "", ours),      // of an earlier release
		port("es-cccccccccc-p", "patch", ours), // a patch
		port("es-dddddddddd-p", "", nil),       // not ours
		port("vnet0", "", nil), port("es-tun", "erspan", ours),
	} {
		ports[p.Name] = p
	}
	state := State{Bridges: map[string]*Bridge{"br0": {Name: "br0", Ports: ports}}}
	needed := Program{TapBridges: []*TapBridge{{Taps: []*Tap{
		{ProductionPort: "es-eeeeeeeeee-p", TapPort: "es-eeeeeeeeee-t", Segmented: true, Devices: Veth{"es-eeeeeeeeee-q", "es-eeeeeeeeee-s"}},
		{ProductionPort: "es-ffffffffff-p", TapPort: "es-ffffffffff-t"},
	}}}}
	want := []Veth{{"es-9999999999-p", "es-9999999999-t"}, {"es-aaaaaaaaaa-q", "es-aaaaaaaaaa-s"}, {"es-bbbbbbbbbb-q", "es-bbbbbbbbbb-s"}, {"es-eeeeeeeeee-q", "es-eeeeeeeeee-s"}}
	known := KnownVeths(state, needed)
	if !slices.Equal(known, want) {
		t.Errorf("known: %v, want %v", known, want)
	}
	broken := Veth{In: "es-eeeeeeeeee-q"}
	got := ChangeVeths([]Veth{want[0], want[1], broken}, needed)
	if !slices.Equal(got.Add, want[3:]) || !slices.Equal(got.Delete, want[:2]) {
		t.Errorf("changes: %+v", got)
	}
}

// TestVethNamesTaken: where others have a device or a port of the name of one that a session needs, the session is failed,
// with that name; nothing of it is programmed.
func TestVethNamesTaken(t *testing.T) {
	s := stored(1, "one", func(s *session.Session) { s.Snaplen = session.SnaplenBytes(64) })
	state := ofKernel(production())
	in := Input{State: state, Sessions: []session.Stored{s}, Paths: paths([]session.Stored{s})}
	tap := Build(in).TapBridges[0].Taps[0]
	if !tap.Segmented {
		t.Fatal("the tap of a session that cuts has no pair of devices")
	}
	for _, name := range []string{tap.ProductionPort, tap.TapPort, tap.Devices.In, tap.Devices.Out} {
		device, port := in, in
		device.Devices = map[string]string{tap.Devices.In: "dummy"}
		port.State.Bridges = maps.Clone(state.Bridges)
		port.State.Bridges["br9"] = &Bridge{Name: "br9", Ports: map[string]*Port{name: {Name: name}}}
		for what, in := range map[string]Input{"device": device, "port": port} {
			p := Build(in)
			out := p.Outcomes["one"]
			if out.State != session.Failed || out.Reason != ReasonNameTaken || what == "port" && !strings.Contains(out.Message, name) || len(p.TapBridges) > 0 {
				t.Errorf("%s %s taken: %s, %s (%s), %d tap bridges", what, name, out.State, out.Reason, out.Message, len(p.TapBridges))
			}
		}
	}
}

// ofKernel is the state with every bridge on the kernel's datapath.
func ofKernel(state State) State {
	for _, b := range state.Bridges {
		b.DatapathType = "system"
	}
	return state
}

// TestSegmentedTapTellsRecirculatedCopies: what a Mirror copies comes through a patch pair, where it still says whether it was
// recirculated; only what was not, on an ingress tap, goes into the devices. It is counted once, behind them, and guarded there.
func TestSegmentedTapTellsRecirculatedCopies(t *testing.T) {
	wish := stored(1, "one", func(s *session.Session) { s.Snaplen = session.SnaplenBytes(64) })
	state := ofKernel(production())
	carryOut(t, state, RowChanges(state, build(state, wish)))
	p := build(state, wish)
	if c := RowChanges(state, p); !c.Empty() {
		t.Errorf("applying twice: %v", c)
	}
	tb := p.TapBridges[0]
	if len(tb.Taps) != 2 {
		t.Fatalf("%d taps, want one for each direction", len(tb.Taps))
	}
	number := func(port string) int { return ownPort(state.Bridges[tb.Name], port) }
	kind := func(bridge, port string) string { return state.Bridges[bridge].Ports[port].Interfaces[0].Type }
	for _, tap := range tb.Taps {
		if kind("br0", tap.ProductionPort) != "patch" || kind(tb.Name, tap.TapPort) != "patch" || kind(tb.Name, tap.Devices.In) != "" || kind(tb.Name, tap.Devices.Out) != "" {
			t.Errorf("%s: the ports are not a patch pair and two devices", tap.Direction)
		}
		patch, in, out := number(tap.TapPort), number(tap.Devices.In), number(tap.Devices.Out)
		if tap.OFPort != out || tap.EntryPort() != tap.Devices.Out {
			t.Errorf("%s: single copies come through port %d, want %d", tap.Direction, tap.OFPort, out)
		}
		var got []string
		for _, f := range tb.Flows {
			if l := f.Line(); l.Table == TableClassify && l.Priority > 0 && l.Cookie.Slot() == uint32(out) {
				got = append(got, fmt.Sprintf("%d %#x %s %s", l.Priority, l.Cookie.Stage(), l.Match, l.Actions))
			}
		}
		want := []string{
			fmt.Sprintf("100 0x1 in_port=%d goto_table:5", out),
			fmt.Sprintf("100 0x6 in_port=%d output:%d", patch, in),
		}
		if tap.Direction == session.Ingress {
			want[1] = fmt.Sprintf("100 0x6 recirc_id=0,in_port=%d output:%d", patch, in)
			want = append(want, fmt.Sprintf("90 0x5 in_port=%d drop", patch))
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s, table 0:\n%s\nwant\n%s", tap.Direction, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	tap := tb.Taps[0]
	entry := func(stage Stage, packets uint64) Entry {
		return Entry{Line: Line{Cookie: NewCookie(stage, uint32(tap.OFPort))}, Packets: packets}
	}
	counted := CountSession(p.Outcomes["one"], []Entry{entry(StageSegmented, 1), entry(StageRepeated, 3), entry(StageArrived, 44), entry(StageTapped, 40)})
	if counted.Tapped.Packets != 44 || counted.Guarded.Packets != 4 {
		t.Errorf("tapped %d and guarded %d, want the single frames, 44 and 4", counted.Tapped.Packets, counted.Guarded.Packets)
	}
}
