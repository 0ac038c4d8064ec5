package flows

import (
	"slices"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// TestMirrorsComeWithANewTapBridge: mirrors to a tap bridge that is new come in its transaction, behind their ports. To one that
// is there they come after its flows; and after what has to go, which may have the place that they need.
func TestMirrorsComeWithANewTapBridge(t *testing.T) {
	adds := func(ops []RowOp) (at []int) {
		for i, op := range ops {
			if op.AddMirror != nil {
				at = append(at, i)
			}
		}
		return at
	}
	state := production()
	program := build(state, stored(1, "one", func(s *session.Session) { s.Direction = session.Egress }))
	c := RowChanges(state, program)
	at := adds(c.Before)
	if len(at) != 1 || len(adds(c.After)) != 0 {
		t.Fatalf("to a new tap bridge: before the flows %v, after them %v", c.Before, c.After)
	}
	output := c.Before[at[0]].AddMirror.OutputPort
	if i := slices.IndexFunc(c.Before, func(op RowOp) bool { return op.AddPort != nil && op.AddPort.Name == output }); i < 0 || i > at[0] {
		t.Errorf("the mirror comes before its port: %v", c.Before)
	}

	state.Bridges["br0"].Mirrors = map[string]*Mirror{"old": {UUID: "old", Name: "es-old", ExternalIDs: map[string]string{OwnerKey: "tap"}}}
	c = RowChanges(state, program)
	if len(adds(c.Before)) != 0 || len(c.After) != 2 || c.After[0].DelMirror != "old" || c.After[1].AddMirror == nil {
		t.Errorf("beside a mirror of ours that goes: before the flows %v, after them %v", c.Before, c.After)
	}

	state = production()
	carryOut(t, state, RowChanges(state, program))
	clear(state.Bridges["br0"].Mirrors)
	c = RowChanges(state, build(state, stored(1, "one", func(s *session.Session) { s.Direction = session.Egress })))
	if len(adds(c.Before)) != 0 || len(adds(c.After)) != 1 {
		t.Errorf("to a tap bridge that is there: before the flows %v, after them %v", c.Before, c.After)
	}
}

// TestLocalPortStaysSmall: the local port of a tap bridge of the userspace datapath does not follow the MTU of devices that
// are attached, also of a bridge that an earlier version made; on the kernel's datapath it is left alone.
func TestLocalPortStaysSmall(t *testing.T) {
	for datapath, want := range map[string]int{"netdev": 1500, "system": 0} {
		name := tapBridgeNames[datapath]
		state := production()
		for _, b := range state.Bridges {
			b.DatapathType = datapath
		}
		carryOut(t, state, RowChanges(state, build(state, stored(1, "one", nil))))
		if got := state.Bridges[name].MTURequest; got != want {
			t.Errorf("%s: a new bridge requests %d, want %d", datapath, got, want)
		}
		state.Bridges[name].MTURequest = 9000
		c := RowChanges(state, build(state, stored(1, "one", nil)))
		carryOut(t, state, c)
		if got := state.Bridges[name].MTURequest; got != max(want, 1500) && got != 9000 || (len(c.Before) == 0) != (want == 0) {
			t.Errorf("%s: one that was changed requests %d, after %v", datapath, got, c.Before)
		}
	}
}

// TestMovedPorts: a bridge whose datapath type changes, and changes back, has its sessions on our other tap bridge: what is
// ours there is moved in one transaction, because a name stands once in Open vSwitch.
func TestMovedPorts(t *testing.T) {
	state := production()
	sessions := []session.Stored{stored(1, "one", nil), stored(2, "in", func(s *session.Session) {
		s.Type, s.Sources, s.Collectors, s.OutputPort, s.From = session.Destination, session.Sources{}, nil, "vnet1", "any"
	})}
	carryOut(t, state, RowChanges(state, build(state, sessions...)))
	was := state.Bridges["br0"].NormalDatapathType()
	other := map[string]string{"system": "netdev", "netdev": "system"}[was]
	for _, datapath := range []string{other, was} {
		state.Bridges["br0"].DatapathType = datapath
		program := build(state, sessions...)
		c := RowChanges(state, program)
		moved := map[string]int{}
		for at, op := range c.Before {
			if op.DelPort != "" {
				moved[op.DelPort] = at
			}
		}
		n := 0
		for at, op := range c.Before {
			if op.AddPort == nil {
				continue
			}
			if from, ok := moved[op.AddPort.Name]; ok && from < at {
				n++
			}
		}
		if n == 0 {
			t.Fatalf("to %s: nothing is moved: %v", datapath, c.Before)
		}
		for _, op := range c.After {
			if _, twice := moved[op.DelPort]; twice {
				t.Errorf("to %s: port %s goes twice", datapath, op.DelPort)
			}
		}
		carryOut(t, state, c)
		on := map[string]string{}
		for name, b := range state.Bridges {
			for port := range b.Ports {
				if on[port] != "" {
					t.Errorf("to %s: port %s is on %s and on %s", datapath, port, on[port], name)
				}
				on[port] = name
			}
		}
		if left := RowChanges(state, build(state, sessions...)); !left.Empty() {
			t.Errorf("to %s: what is left to do: %v", datapath, left)
		}
	}
}
