package flows

import (
	"maps"
	"slices"
)

// Isolated are the devices, sorted, of which the host's own stack is to get nothing: those that are attached to a tap bridge
// of the userspace datapath, which reads them through a packet socket while the stack goes on with each frame. The kernel's
// datapath takes frames away from it.
func (p Program) Isolated() (devices []string) {
	for _, tb := range p.TapBridges {
		if tb.DatapathType != "netdev" {
			continue
		}
		for _, o := range tb.Outputs {
			devices = append(devices, o.Name)
		}
	}
	return devices
}

// IsolatedBefore are the devices that are attached so now, and those that will be: until the ones that go are detached.
func IsolatedBefore(state State, p Program) []string {
	all := map[string]bool{}
	for _, name := range p.Isolated() {
		all[name] = true
	}
	if b := state.Bridges[tapBridgeNames["netdev"]]; b != nil && Ours(b.ExternalIDs) {
		for name, port := range b.Ports {
			if port.ExternalIDs[OwnerKey] == "output" {
				all[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// HasUserspace tells whether any bridge has the userspace datapath.
func (s State) HasUserspace() bool {
	for _, b := range s.Bridges {
		if b.NormalDatapathType() == "netdev" {
			return true
		}
	}
	return false
}
