package flows

import (
	"fmt"
	"net/netip"

	"github.com/ovs-erspan/ovs-erspan/erspan"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// PathKeys are the paths that a plan for these sessions needs to know. A session whose bridge is not there needs none.
func PathKeys(sessions []session.Stored, state State) []PathKey {
	seen := map[PathKey]bool{}
	var keys []PathKey
	add := func(key PathKey) {
		if key.Collector.IsValid() && !seen[key] {
			seen[key] = true
			keys = append(keys, key)
		}
	}
	for i := range sessions {
		s := &sessions[i]
		if s.Stopped() {
			continue
		}
		if b := state.Bridges[s.Bridge]; b != nil {
			for _, c := range s.Collectors {
				add(pathKey(s, c, b.NormalDatapathType()))
			}
		}
		add(senderKey(s.Session))
	}
	return keys
}

func pathKey(s *session.Stored, collector netip.Addr, datapath string) PathKey {
	return PathKey{Collector: collector, Origin: s.Origin, Datapath: datapath}
}

// TunnelBridge is the bridge of the userspace datapath whose port a device is: tunnels of that datapath send only through
// those, through a bridge of the device's name first (tnl_route_lookup_flow in ofproto/ofproto-dpif-xlate.c). "" for none.
func TunnelBridge(state State, device string) string {
	if b := state.Bridges[device]; b != nil && b.NormalDatapathType() == "netdev" {
		return device
	}
	for name, b := range state.Bridges {
		if p := b.Ports[device]; p != nil && b.NormalDatapathType() == "netdev" {
			return name
		}
	}
	return ""
}

// TunnelDevices are the devices that tunnels of the userspace datapath can have their addresses on, but those that a route
// names: the local and the internal ports of its bridges.
func TunnelDevices(state State) map[string]bool {
	devices := map[string]bool{}
	for _, b := range state.Bridges {
		if b.NormalDatapathType() != "netdev" {
			continue
		}
		for _, p := range b.Ports {
			for _, i := range p.Interfaces {
				if i.Type == "internal" {
					devices[i.Name] = true
				}
			}
		}
	}
	return devices
}

// room is how much of a frame a path takes, fit bytes, and why.
type room struct {
	why     string // what comes first
	limit   string // what has the MTU
	mtu     int
	fit     int
	version erspan.Version
	ipv6    bool
}

func (r room) String() string {
	family := "IPv4"
	if r.ipv6 {
		family = "IPv6"
	}
	return fmt.Sprintf("%sMTU %d of %s less %d for IP, GRE and ERSPAN %s over %s", r.why, r.mtu, r.limit, r.mtu-r.fit, r.version, family)
}

// judgePath decides whether copies can leave on the path of co, and how much of each frame.
func (pl *planned) judgePath(datapath string, co *CollectorOutcome, exits *exits, texts memo[room, string]) {
	degraded := func(reason, format string, args ...any) {
		co.State, co.Reason, co.Message = session.Degraded, reason, fmt.Sprintf(format, args...)
	}
	path := co.Path
	switch {
	case path.OwnAddress:
		degraded(ReasonOwnAddress, "is an address of this host: copies would come back")
		return
	case path.Device == "" && datapath == "netdev":
		degraded(ReasonNoRoute, "Open vSwitch's own route table (ovs-appctl ovs/route/show) has no route to it: of the kernel's it takes neither multipath routes nor those of IPv4 by an IPv6 next hop; give the collector a plain one")
		return
	case path.Device == "":
		degraded(ReasonNoRoute, "there is no route to it")
		return
	case datapath == "netdev" && TunnelBridge(exits.state, path.Device) == "":
		degraded(ReasonNotOnBridge, "the route leaves through device %s, which is no port of a bridge of this Open vSwitch with the userspace datapath: copies cannot leave there", path.Device)
		return
	case !path.Source.IsValid() && pl.wish.Origin.IsValid():
		degraded(ReasonNoSource, "the origin %s is not an address of this host", pl.wish.Origin)
		return
	case !path.Source.IsValid():
		degraded(ReasonNoSource, "device %s has no address of its family to send from", path.Device)
		return
	}
	s := pl.wish
	mtu, limit := exits.narrowest(path, datapath)
	fit := mtu - (erspan.Overhead(erspan.Version(s.ERSPAN.Version), co.Address.Is6()) - erspan.EthernetHeaderLen)
	if fit < session.MinSnaplen {
		degraded(ReasonPathMTU, "the path takes packets of %d bytes (%s), too few for any frame", mtu, limit)
		return
	}
	because := func(why string) string {
		return texts.of(room{why, limit, mtu, fit, erspan.Version(s.ERSPAN.Version), co.Address.Is6()}, room.String)
	}
	wanted, fixed := s.Snaplen.Bytes()
	if s.Snaplen == session.SnaplenOff {
		wanted, fixed = session.MaxSnaplen, true
	}
	// The kernel fragments to its own MTU. Where a port behind it takes less, the fragments would be lost there.
	fragments := datapath == "system" && co.Address.Is4() && pl.largest > fit && path.MTU <= mtu
	switch {
	case fragments && (!fixed || wanted > fit):
		co.MaxLen, co.MaxLenWhy = session.MaxSnaplen, "auto: whole frames"
		if fixed {
			co.MaxLen, co.MaxLenWhy = wanted, "as wished"
		}
		co.MaxLenWhy += fmt.Sprintf("; copies of more than %d bytes leave in two IP packets (%s)", fit, because(""))
	case !fixed:
		co.MaxLen, co.MaxLenWhy = fit, because("auto: ")
	case wanted <= fit:
		co.MaxLen, co.MaxLenWhy = wanted, "as wished"
	case pl.largest <= fit && datapath == "netdev":
		// No frame is as long now. The cut stays at what fits, for the moment when a source's MTU rises.
		co.MaxLen, co.MaxLenWhy = fit, fmt.Sprintf("as wished: whole frames, of up to %d bytes; %s", pl.largest, because(""))
	case pl.largest <= fit:
		co.MaxLen, co.MaxLenWhy = wanted, "as wished"
	default:
		// More than fits would not only be lost: in userspace it takes production packets with it.
		co.MaxLen, co.MaxLenWhy = fit, because("cut: ")
		degraded(ReasonSnaplenCut, "snaplen %s does not fit (frames of up to %d bytes; %s); cut to %d", s.Snaplen, pl.largest, because(""), fit)
		co.Cut = co.Message
	}
	pl.judgeHop(co, degraded)
}

// judgeHop decides whether the copies of a path that exists get any further. The gravest reason wins.
func (pl *planned) judgeHop(co *CollectorOutcome, degraded func(reason, format string, args ...any)) {
	path := co.Path
	switch {
	case path.Held:
		degraded(ReasonNoRoute, "the route to it is gone")
	case path.NextHop.IsValid() && path.NextHop != co.Address && path.Source.Is6() && path.Source.IsLinkLocalUnicast():
		degraded(ReasonLinkLocal, "Open vSwitch sends from the link-local address %s, as its next hop %s is one, and no router forwards that: give the collector a route by a global address of the router (ip -6 route add %s via ROUTER dev %s)",
			path.Source, path.NextHop, co.Address, path.Device)
	case pl.wish.Origin.IsValid() && path.Source != pl.wish.Origin:
		degraded(ReasonOriginIgnored, "Open vSwitch sends from %s, which its route has, and not from the origin %s: leave the origin out, or give the collector a route whose first address is that",
			path.Source, pl.wish.Origin)
	case !path.HasNeighbor:
		degraded(ReasonNoNeighbor, "the next hop %s on %s does not answer", path.NextHop, path.Device)
	}
}
