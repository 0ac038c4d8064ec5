package flows

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// before is a host as releases before this one have left it: the session has one Mirror of both directions.
func before(t *testing.T, s session.Stored) State {
	t.Helper()
	state := production()
	key := tapKey(tapWish{bridge: s.Bridge, selector: s.Sources.Ports[0], direction: session.Both})
	old := &Tap{Key: key, Bridge: s.Bridge, Ports: s.Sources.Ports, Direction: session.Both, patch: portNumber{7, 7}}
	old.ProductionPort, old.TapPort = patchNames(key)
	carryOut(t, state, RowChanges(state, Program{TapBridges: []*TapBridge{{Name: "br-erspan-nd", DatapathType: "netdev", Taps: []*Tap{old}}}}))
	state.Bridges["br-erspan-nd"].Ports[old.TapPort].Interfaces[0].OFPort = 7
	return state
}

// TestTwoMirrorsTakeOver: what an earlier release made of both directions goes in two rounds. Its flows and ports stay until its
// Mirror is gone, which goes in the transaction that brings its successors.
func TestTwoMirrorsTakeOver(t *testing.T) {
	wish := stored(1, "one", nil)
	state := before(t, wish)
	if ops := StopChanges(state, []session.Stored{wish}, time.Now()); len(ops) > 0 {
		t.Errorf("what an earlier release made would be stopped: %v", ops)
	}
	p := build(state, wish)
	c := RowChanges(state, p)
	var added, deleted int
	for _, op := range c.After {
		switch {
		case op.AddMirror != nil:
			added++
		case op.DelMirror != "":
			deleted++
		default:
			t.Errorf("beside the mirrors: %v", op)
		}
	}
	if added != 2 || deleted != 1 || !p.Retires() {
		t.Fatalf("%d mirrors come, %d go, retires %v", added, deleted, p.Retires())
	}
	if !slices.ContainsFunc(p.TapBridges[0].Flows, func(f Flow) bool { return f.Cookie == NewCookie(StageTapped, 7) && len(f.Actions) == 1 }) {
		t.Errorf("the flow of the old tap is gone: %v", p.TapBridges[0].Flows)
	}
	carryOut(t, state, c)
	p = build(state, wish)
	c = RowChanges(state, p)
	if p.Retires() || len(c.Before) != 0 || len(c.After) != 2 || c.After[0].DelPort == "" || c.After[1].DelPort == "" {
		t.Fatalf("after the mirrors: retires %v, %v", p.Retires(), c)
	}
	if slices.ContainsFunc(p.TapBridges[0].Flows, func(f Flow) bool {
		return f.Cookie.Stage() < StageRestPermit && f.Cookie.Slot() == 7 && f.Table != TableGuard
	}) {
		t.Error("the old tap still has a flow")
	}
	carryOut(t, state, c)
	if c = RowChanges(state, build(state, wish)); !c.Empty() {
		t.Errorf("a third time: %v", c)
	}
}

// TestTakeOverNeedsNoFreeMirror: on a bridge with one place left beside the old Mirror the two successors fit; with none left the
// session fails with the count, and the old Mirror goes.
func TestTakeOverNeedsNoFreeMirror(t *testing.T) {
	wish := stored(1, "one", nil)
	for foreign, want := range map[int]session.State{MaxMirrors - 2: session.Active, MaxMirrors - 1: session.Failed} {
		state := before(t, wish)
		for n := range foreign {
			id := string(rune('a' + n))
			state.Bridges["br0"].Mirrors[id] = &Mirror{UUID: id, Name: id}
		}
		p := build(state, wish)
		if out := p.Outcomes["one"]; out.State != want {
			t.Errorf("%d mirrors of others: %s, %s", foreign, out.State, out.Message)
		}
		carryOut(t, state, RowChanges(state, p))
		if n := len(state.Bridges["br0"].Mirrors); n > MaxMirrors || want == session.Active && n != foreign+2 || want == session.Failed && n != foreign {
			t.Errorf("%d mirrors of others: %d mirrors then: %v", foreign, n, slices.Sorted(maps.Keys(state.Bridges["br0"].Mirrors)))
		}
	}
}

// TestDevicesTakeOver: where an earlier release had the devices in the place of the patch pair, what it made goes in two rounds,
// too: flows, devices and ports stay until the Mirror is gone, which goes in the transaction that brings its successor.
func TestDevicesTakeOver(t *testing.T) {
	wish := stored(1, "one", func(s *session.Session) { s.Snaplen, s.Direction = session.SnaplenBytes(64), session.Egress })
	state := ofKernel(production())
	key := tapKey(tapWish{bridge: "br0", selector: "vnet0", direction: session.Egress}) + formerKey
	old := &Tap{Key: key, Bridge: "br0", Ports: wish.Sources.Ports, Direction: session.Egress, patch: portNumber{7, 7}}
	old.ProductionPort, old.TapPort = patchNames(key)
	carryOut(t, state, RowChanges(state, Program{TapBridges: []*TapBridge{{Name: "br-erspan", DatapathType: "system", Taps: []*Tap{old}}}}))
	for _, port := range []*Port{state.Bridges["br0"].Ports[old.ProductionPort], state.Bridges["br-erspan"].Ports[old.TapPort]} {
		port.Interfaces[0].Type, port.Interfaces[0].Options = "", nil
	}
	state.Bridges["br-erspan"].Ports[old.TapPort].Interfaces[0].OFPort = 7
	if ops := StopChanges(state, []session.Stored{wish}, time.Now()); len(ops) > 0 {
		t.Errorf("what an earlier release made would be stopped: %v", ops)
	}
	was := Veth{In: old.ProductionPort, Out: old.TapPort}

	p := build(state, wish)
	tap := p.TapBridges[0].Taps[0]
	veths := ChangeVeths([]Veth{was}, p)
	if known := KnownVeths(state, p); !slices.Contains(known, was) || !slices.Equal(veths.Add, []Veth{tap.Devices}) || len(veths.Delete) != 0 {
		t.Errorf("known: %v, changes: %v", known, veths)
	}
	c := RowChanges(state, p)
	if len(c.After) != 2 || c.After[0].DelMirror == "" || c.After[1].AddMirror == nil || !p.Retires() {
		t.Fatalf("first: %v, retires %v", c, p.Retires())
	}
	for _, port := range []string{tap.ProductionPort, tap.TapPort, tap.Devices.In, tap.Devices.Out} {
		if port == old.ProductionPort || port == old.TapPort {
			t.Errorf("port %s is in use already", port)
		}
	}
	arrived := func(p Program) bool {
		return slices.ContainsFunc(p.TapBridges[0].Flows, func(f Flow) bool { return f.Cookie == NewCookie(StageArrived, 7) })
	}
	if !arrived(p) {
		t.Error("the flow of the old tap is gone")
	}
	carryOut(t, state, c)
	p = build(state, wish)
	if c = RowChanges(state, p); p.Retires() || arrived(p) || len(c.Before) != 0 || len(c.After) != 2 || c.After[0].DelPort == "" || c.After[1].DelPort == "" {
		t.Fatalf("then: retires %v, %v", p.Retires(), c)
	}
	if veths = ChangeVeths(KnownVeths(state, p), p); !slices.Equal(veths.Delete, []Veth{was}) {
		t.Errorf("devices then: %v", veths)
	}
	carryOut(t, state, c)
	p = build(state, wish)
	if c = RowChanges(state, p); !c.Empty() || !slices.Equal(KnownVeths(state, p), []Veth{tap.Devices}) {
		t.Errorf("a third time: %v, known %v", c, KnownVeths(state, p))
	}
	if ops := StopChanges(state, []session.Stored{wish}, time.Now()); len(ops) > 0 {
		t.Errorf("the successor would be stopped: %v", ops)
	}
}
