package flows

import (
	"fmt"
	"maps"
	"slices"
)

// exits finds through which ports of bridges an outer packet can leave. A bridge decides that packet by packet, by what it
// has learned and by flows of others: so each port counts, those of bridges that patch ports join included. In userspace
// a packet that one of them does not take is not only lost itself (docs/traps.md, 10).
type exits struct {
	state State
	peers map[string]string // by patch port: the bridge that its peer is on
	found map[string]span   // by device that packets come from
}

// exit is a port with its MTU, 0 where none is known.
type exit struct {
	port, bridge string
	mtu          int
}

// span is the narrowest and the widest of several ports.
type span struct{ least, most exit }

func newExits(state State) *exits { return &exits{state: state, found: map[string]span{}} }

// narrowest is the largest IP packet, in bytes, that the path takes, and what takes no larger one.
//
// The kernel's datapath just drops what a port does not take, so there a smaller port that copies need not leave through is
// no reason to cut them: the widest counts.
func (e *exits) narrowest(path Path, datapath string) (mtu int, limit string) {
	mtu, limit = path.MTU, path.Device
	if mtu == 0 { // the kernel does not know the device: Open vSwitch has it in another network namespace
		mtu = e.deviceMTU(path.Device)
	}
	ports := e.from(path.Device)
	out := ports.least
	if datapath == "system" {
		out = ports.most
	}
	if out.mtu > 0 && (mtu == 0 || out.mtu < mtu) {
		mtu, limit = out.mtu, fmt.Sprintf("port %s of bridge %s, through which copies can leave,", out.port, out.bridge)
	}
	return mtu, limit
}

// deviceMTU is the MTU that Open vSwitch has noted of a device, 0 where it has none.
func (e *exits) deviceMTU(device string) int {
	for _, name := range e.bridgesWith(device) {
		for _, i := range e.state.Bridges[name].Ports[device].Interfaces {
			if i.Name == device {
				return i.MTU
			}
		}
	}
	return 0
}

// from are the ports that a packet from the device can leave through.
func (e *exits) from(device string) span {
	if out, known := e.found[device]; known {
		return out
	}
	var out span
	seen := map[string]bool{}
	next := e.bridgesWith(device)
	for len(next) > 0 {
		name := next[0]
		next = next[1:]
		if seen[name] {
			continue
		}
		seen[name] = true
		b := e.state.Bridges[name]
		for _, p := range slices.Sorted(maps.Keys(b.Ports)) {
			port := b.Ports[p]
			if Ours(port.ExternalIDs) {
				continue // what comes to a tap bridge is dropped there
			}
			for _, i := range port.Interfaces {
				switch {
				case i.Type == "patch":
					if peer := e.peer(i.Options["peer"]); peer != "" {
						next = append(next, peer)
					}
				case i.Name == device || i.Type == "internal" || i.Options["remote_ip"] != "" || i.OFPort < 0 || i.MTU == 0:
					// Back to the host, into another tunnel, or not there: nothing that cuts this packet.
				default:
					out.add(exit{i.Name, name, i.MTU})
				}
			}
		}
	}
	e.found[device] = out
	return out
}

func (s *span) add(e exit) {
	if s.least.mtu == 0 || e.mtu < s.least.mtu {
		s.least = e
	}
	if e.mtu > s.most.mtu {
		s.most = e
	}
}

// bridgesWith are the bridges that have the device as a port.
func (e *exits) bridgesWith(device string) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(e.state.Bridges)) {
		if e.state.Bridges[name].Ports[device] != nil {
			names = append(names, name)
		}
	}
	return names
}

// peer is the bridge that has a patch port of the name, but ours.
func (e *exits) peer(port string) string {
	if e.peers == nil {
		e.peers = map[string]string{}
		for name, b := range e.state.Bridges {
			for p, row := range b.Ports {
				if isPatch(row) && !Ours(row.ExternalIDs) {
					e.peers[p] = name
				}
			}
		}
	}
	return e.peers[port]
}
