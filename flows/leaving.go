package flows

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// WayOut names what becomes of copies behind a tunnel port: all that leave it for one collector go the same way.
type WayOut struct {
	TapBridge string
	OFPort    int // of the tunnel port
	Collector netip.Addr
}

// Leaving is what Open vSwitch says becomes of the copies of a way out. The zero value says nothing.
type Leaving struct {
	Ports []string // the ports that they leave through, by the names of their interfaces
	Ends  string   // where and why they end, where they leave through none
}

// Link is the state of an interface as Open vSwitch sees it; "" where it does not say.
type Link struct{ Admin, State string }

// down tells whether nothing can leave through the port.
func (l Link) down() bool { return l.Admin == "down" || l.State == "down" }

// Through is l with what is known of its ports: copies whose ports are all down, or have no device, end there.
func (l Leaving) Through(state State, links map[string]Link) Leaving {
	if len(l.Ports) == 0 {
		return l
	}
	var why []string
	for _, name := range l.Ports {
		i, bridge := interfaceOf(state, name)
		switch {
		case i != nil && absentDevice(i) != "":
			why = append(why, fmt.Sprintf("port %s of bridge %s: %s", name, bridge, absentDevice(i)))
		case links[name].down():
			why = append(why, fmt.Sprintf("port %s of bridge %s is down", name, bridge))
		default:
			return l
		}
	}
	return Leaving{Ends: strings.Join(why, "; ")}
}

// interfaceOf is the interface of that name, with its bridge; nil where there is none.
func interfaceOf(state State, name string) (*Interface, string) {
	for _, b := range state.Bridges {
		for _, p := range b.Ports {
			for _, i := range p.Interfaces {
				if i.Name == name {
					return i, b.Name
				}
			}
		}
	}
	return nil, ""
}

// WayOut is the way that the collector's copies take behind the tunnel port; false where none are sent, or where Open vSwitch
// cannot say, as of the kernel's tunnels.
func (co CollectorOutcome) WayOut(out *Outcome, state State) (WayOut, bool) {
	name, _ := co.Tunnel()
	b := state.Bridges[out.TapBridge]
	if name == "" || b == nil || !AlwaysCuts(out.TapBridge) || b.Ports[name] == nil || co.Loses() {
		return WayOut{}, false
	}
	for _, i := range b.Ports[name].Interfaces {
		if i.OFPort > 0 {
			return WayOut{out.TapBridge, i.OFPort, co.Address}, true
		}
	}
	return WayOut{}, false
}

// losing are the reasons of collectors whose copies are sent, that is counted as sent, and all vanish.
var losing = []string{ReasonNoRoute, ReasonNoNeighbor, ReasonTunnelError, ReasonCopiesEnd}

// Loses tells whether copies are sent to the collector and known to vanish.
func (co CollectorOutcome) Loses() bool { return co.MaxLen > 0 && Loses(co.Reason) }

// Loses tells whether all copies to a collector with this reason vanish.
func Loses(reason string) bool { return slices.Contains(losing, reason) }

// Losing tells whether any collector's copies vanish.
func Losing(p Program) bool {
	for _, out := range p.Outcomes {
		if slices.ContainsFunc(out.Collectors, CollectorOutcome.Loses) {
			return true
		}
	}
	return false
}

// JudgeLeaving notes which collectors' copies end on this host.
func JudgeLeaving(p Program, state State, leaving map[WayOut]Leaving) {
	for _, out := range p.Outcomes {
		for i := range out.Collectors {
			co := &out.Collectors[i]
			way, ok := co.WayOut(out, state)
			if !ok || leaving[way].Ends == "" {
				continue
			}
			co.State, co.Reason, co.Message = session.Degraded, ReasonCopiesEnd, "no copy leaves this host: "+leaving[way].Ends
			out.degrade(co.Reason, fmt.Sprintf("collector %s: %s", co.Address, co.Message))
		}
	}
}

// WaysOut are those of a program, each once, in no order.
func WaysOut(p Program, state State) map[WayOut]bool {
	ways := map[WayOut]bool{}
	for _, out := range p.Outcomes {
		for _, co := range out.Collectors {
			if way, ok := co.WayOut(out, state); ok {
				ways[way] = true
			}
		}
	}
	return ways
}
