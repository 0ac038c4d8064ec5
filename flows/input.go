package flows

import (
	"net/netip"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// Input is everything that a plan is made of.
type Input struct {
	State    State
	Sessions []session.Stored // sorted by name, each valid and not past its time
	// Paths holds the path to each collector, by PathKey.
	Paths map[PathKey]Path
	// Rejected holds, by session name, what Open vSwitch's parser has against a session's match.
	Rejected map[string]string
	// Unsafe holds, by datapath type, why no meter may be used there: the self-test did not find it harmless.
	Unsafe map[string]string
	// Devices holds, by name, the kind of each network device of others that has the name of one of ours.
	Devices map[string]string
}

// PathKey names a path: to a collector, from an origin (the zero Addr where the route chooses), by the datapath that
// sends: the userspace datapath has a route table of its own, which is not the kernel's.
type PathKey struct {
	Collector netip.Addr
	Origin    netip.Addr
	// Datapath is the type of the datapath that sends; "" for a Sender.
	Datapath string
	// Sender tells that the address only sends to this host: the next hop towards it does not matter.
	Sender bool
}

// Route is what Open vSwitch's own route table says of an address (`ovs-appctl ovs/route/lookup`, ovs-vswitchd(8)).
type Route struct {
	Device  string     // "" where there is no route
	Source  netip.Addr // the address that tunnels send from
	NextHop netip.Addr // the gateway, or the address itself where it is on-link
}

// Path is what is known of the way from this host to a collector.
type Path struct {
	// Device is the network device that the route leaves through; "" where there is no route.
	Device string
	// Bridge is the userspace bridge that Device is a port of; "" where it is on none, or the kernel's datapath sends.
	Bridge string
	// Source is the local address that the copies get; invalid where none of the collector's family is there.
	Source netip.Addr
	// NextHop is the gateway, or the collector itself where it is on-link.
	NextHop netip.Addr
	// MTU is the largest IP packet that the route and its devices take, in bytes.
	MTU int
	// Local holds every address that copies may leave from: the guard drops what these ask of the network.
	Local []netip.Addr
	// HasNeighbor tells that the next hop's link-layer address is known.
	HasNeighbor bool
	// Unnoticed is the next hop's link-layer address where the kernel has just heard it, and Open vSwitch, whose tunnel it
	// is, has not; "" otherwise.
	Unnoticed string
	// Held tells that the route is gone, a moment ago only: what is programmed stays for now.
	Held bool
	// OwnAddress tells that the collector is an address of this very host.
	OwnAddress bool
}
