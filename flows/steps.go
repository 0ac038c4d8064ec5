package flows

import (
	"maps"
	"slices"
)

// Changes is what has to happen to OVSDB rows to get from what is observed to what is planned, in order, with the
// flows between Before and After: no copy leaves a tap bridge before the guard and the sessions' flows stand, and nothing of
// ours is taken away before the flows no longer use it.
type Changes struct {
	// Bridges, tunnel ports, patch pairs, devices of taps. With a new tap bridge, the mirrors too: it drops what comes in until it has its
	// flows (docs/adr/0018).
	Before []RowOp
	After  []RowOp // mirrors come, change and go; patch and tunnel ports that are no longer needed go
	Last   []RowOp // tap bridges that are no longer needed, when no copy can leave them any more
}

// Empty tells that every row is as planned.
func (c Changes) Empty() bool { return len(c.Before)+len(c.After)+len(c.Last) == 0 }

// RowChanges compares the planned rows with those that are there. Rows that are not ours are never named in it.
func RowChanges(state State, p Program) Changes {
	var c Changes
	wanted := map[string]map[string]bool{}  // bridge -> our ports on it
	mirrors := map[string]map[string]*Tap{} // bridge -> mirror name -> tap
	keepPort := func(bridge, port string) {
		if wanted[bridge] == nil {
			wanted[bridge] = map[string]bool{}
		}
		wanted[bridge][port] = true
	}
	elsewhere := ownPorts(state)
	moved := map[string]bool{}
	want := func(bridge string, port *Port) {
		keepPort(bridge, port.Name)
		for _, on := range elsewhere[port.Name] {
			// A name stands once in Open vSwitch: with a bridge's datapath type, our tap bridge is another one.
			if on != bridge {
				moved[port.Name] = true
				c.Before = append(c.Before, RowOp{Bridge: on, DelPort: port.Name})
			}
		}
		c.Before = append(c.Before, portOps(state.Bridges[bridge], bridge, port)...)
	}
	keep := map[string]bool{}
	toNew := map[string]bool{} // bridges that are mirrored to a tap bridge that is not there yet
	for _, tb := range p.TapBridges {
		keep[tb.Name] = true
		c.Before = append(c.Before, bridgeOps(state.Bridges[tb.Name], tb)...)
		for _, t := range tb.Tunnels {
			want(tb.Name, t)
		}
		for _, tap := range tb.Taps {
			for _, port := range tap.tapPorts() {
				want(tb.Name, port)
			}
			want(tap.Bridge, tap.productionPort())
			if mirrors[tap.Bridge] == nil {
				mirrors[tap.Bridge] = map[string]*Tap{}
			}
			mirrors[tap.Bridge][tap.MirrorName()] = tap
			toNew[tap.Bridge] = state.Bridges[tb.Name] == nil
		}
		for _, tap := range tb.Retiring {
			keepPort(tb.Name, tap.TapPort)
			keepPort(tap.Bridge, tap.ProductionPort)
		}
		for _, o := range tb.Outputs {
			want(tb.Name, o)
		}
		for _, d := range tb.Deliveries {
			want(tb.Name, d.tapPort())
			want(d.Bridge, d.productionPort())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(state.Bridges)) {
		b := state.Bridges[name]
		ops := mirrorOps(b, mirrors[name])
		// Where one of ours has to go, it may have the last place that the bridge has for a mirror.
		if toNew[name] && !slices.ContainsFunc(ops, func(op RowOp) bool { return op.AddMirror == nil }) {
			c.Before = append(c.Before, ops...)
		} else {
			c.After = append(c.After, ops...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(state.Bridges)) {
		b := state.Bridges[name]
		if Ours(b.ExternalIDs) && !keep[name] && !isShared(b) {
			c.Last = append(c.Last, RowOp{Bridge: name, DelBridge: true})
			continue
		}
		for _, port := range slices.Sorted(maps.Keys(b.Ports)) {
			if Ours(b.Ports[port].ExternalIDs) && !wanted[name][port] && port != name && !moved[port] {
				c.After = append(c.After, RowOp{Bridge: name, DelPort: port})
			}
		}
	}
	return c
}

// ownPorts tells of each port of ours the bridges that it is on, sorted; their own ports are left out, which come and go with
// them.
func ownPorts(state State) map[string][]string {
	on := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(state.Bridges)) {
		for port, p := range state.Bridges[name].Ports {
			if Ours(p.ExternalIDs) && port != name {
				on[port] = append(on[port], name)
			}
		}
	}
	return on
}

// isShared tells whether someone put a port or mirror of their own on our bridge: then the bridge stays.
func isShared(b *Bridge) bool {
	for _, m := range b.Mirrors {
		if !Ours(m.ExternalIDs) {
			return true
		}
	}
	for name, p := range b.Ports {
		if name != b.Name && !Ours(p.ExternalIDs) {
			return true
		}
	}
	return false
}

// tapBridgeProtocols: bundles need OpenFlow 1.4; 1.0 and 1.3 are for people with a plain ovs-ofctl.
var tapBridgeProtocols = []string{"OpenFlow10", "OpenFlow13", "OpenFlow14", "OpenFlow15"}

// bridgeOps make a tap bridge. Its local port, which carries nothing, has Ethernet's MTU in userspace: it would else follow
// that of an attached device, and an idle port with a large MTU makes every packet of ovs-vswitchd dearer.
func bridgeOps(b *Bridge, tb *TapBridge) []RowOp {
	wish := &Bridge{
		Name: tb.Name, DatapathType: tb.DatapathType, FailMode: "secure", Protocols: tapBridgeProtocols,
		ExternalIDs: map[string]string{OwnerKey: "tap-bridge"},
	}
	if tb.DatapathType == "netdev" {
		wish.MTURequest = defaultMTU
	}
	if b == nil {
		return []RowOp{{Bridge: tb.Name, AddBridge: wish}}
	}
	if b.FailMode == wish.FailMode && slices.Equal(slices.Sorted(slices.Values(b.Protocols)), wish.Protocols) &&
		(b.MTURequest == wish.MTURequest || tb.DatapathType != "netdev") {
		return nil
	}
	wish.ExternalIDs, wish.OtherConfig = b.ExternalIDs, b.OtherConfig
	return []RowOp{{Bridge: tb.Name, SetBridge: wish}}
}

func portOps(b *Bridge, bridge string, wish *Port) []RowOp {
	var is *Port
	if b != nil {
		is = b.Ports[wish.Name]
	}
	switch {
	case is == nil:
		return []RowOp{{Bridge: bridge, AddPort: wish}}
	case samePort(is, wish):
		return nil
	case len(is.Interfaces) != 1 || is.Interfaces[0].Name != wish.Name:
		// Someone made a bond of it, or emptied it: its own interface has to be the only one again.
		return []RowOp{{Bridge: bridge, DelPort: wish.Name}, {Bridge: bridge, AddPort: wish}}
	}
	return []RowOp{{Bridge: bridge, SetPort: wish}}
}

func samePort(is, wish *Port) bool {
	if len(is.Interfaces) != 1 {
		return false
	}
	i, w := is.Interfaces[0], wish.Interfaces[0]
	return is.Tag == nil && is.VLANMode == wish.VLANMode && slices.Equal(is.Trunks, wish.Trunks) &&
		maps.Equal(is.ExternalIDs, wish.ExternalIDs) && maps.Equal(is.OtherConfig, wish.OtherConfig) &&
		i.Type == w.Type && maps.Equal(i.Options, w.Options) && i.OFPortRequest == w.OFPortRequest
}

// mirrorOps make a bridge's mirrors of ours those of the taps, known by name; a second one of the same name goes.
func mirrorOps(b *Bridge, taps map[string]*Tap) []RowOp {
	var ops []RowOp
	done := map[string]bool{}
	for _, uuid := range slices.Sorted(maps.Keys(b.Mirrors)) {
		m := b.Mirrors[uuid]
		if !Ours(m.ExternalIDs) {
			continue
		}
		tap := taps[m.Name]
		if tap == nil || done[m.Name] {
			ops = append(ops, RowOp{Bridge: b.Name, DelMirror: uuid})
			continue
		}
		done[m.Name] = true
		wish := tap.mirror()
		wish.UUID = uuid
		if !sameMirror(m, wish) {
			ops = append(ops, RowOp{Bridge: b.Name, SetMirror: wish})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(taps)) {
		if !done[name] {
			ops = append(ops, RowOp{Bridge: b.Name, AddMirror: taps[name].mirror()})
		}
	}
	return ops
}

func sameMirror(is, wish *Mirror) bool {
	return !is.SelectAll && is.OutputVLAN == nil && is.Snaplen == nil && is.OutputPort == wish.OutputPort &&
		slices.Equal(is.SelectSrcPort, wish.SelectSrcPort) && slices.Equal(is.SelectDstPort, wish.SelectDstPort) &&
		slices.Equal(is.SelectVLAN, wish.SelectVLAN) && maps.Equal(is.ExternalIDs, wish.ExternalIDs)
}
