package flows

import (
	"maps"
	"slices"
)

// retire keeps the flows of taps that earlier releases made, for as long as their Mirror is there: those of both directions
// (version 1), and those that had devices in the place of the patch pair. Their successors take over in the transaction that
// deletes the Mirror, so that no packet is without a copy in between; flows, devices and ports go after it.
func (tb *TapBridge) retire(state State, sources map[uint32]*planned) {
	byKey := map[string]*Tap{}
	for _, slot := range slices.Sorted(maps.Keys(sources)) {
		for _, w := range sources[slot].wishes {
			for _, was := range w.was {
				if byKey[was.key] == nil {
					t := &Tap{Key: was.key, Bridge: w.bridge, Ports: w.ports, VLANs: w.vlans, Direction: was.direction, Strip: w.strip}
					t.ProductionPort, t.TapPort = patchNames(was.key)
					byKey[was.key] = t
				}
				byKey[was.key].Slots = append(byKey[was.key].Slots, slot)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		t := byKey[key]
		if t.OFPort = ownPort(state.Bridges[tb.Name], t.TapPort); t.OFPort > 0 && hasMirror(state.Bridges[t.Bridge], t.MirrorName()) {
			tb.Retiring = append(tb.Retiring, t)
		}
	}
}

// ownPort is the OpenFlow number of a port of ours, 0 where it is not there.
func ownPort(b *Bridge, name string) int {
	if b == nil || b.Ports[name] == nil || !Ours(b.Ports[name].ExternalIDs) || len(b.Ports[name].Interfaces) != 1 {
		return 0
	}
	return b.Ports[name].Interfaces[0].OFPort
}

// hasMirror tells whether a bridge has a Mirror of ours with the name.
func hasMirror(b *Bridge, name string) bool {
	if b == nil {
		return false
	}
	for _, m := range b.Mirrors {
		if m.Name == name && Ours(m.ExternalIDs) {
			return true
		}
	}
	return false
}

// Retires tells whether something has to be taken away once the mirrors are as planned.
func (p Program) Retires() bool {
	return slices.ContainsFunc(p.TapBridges, func(tb *TapBridge) bool { return len(tb.Retiring) > 0 })
}
