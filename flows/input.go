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

// PathKey names a path: to a collector, from an origin (the zero Addr where the route chooses).
type PathKey struct {
	Collector netip.Addr
	Origin    netip.Addr
	// Sender tells that the address only sends to this host: the next hop towards it does not matter.
	Sender bool
}

// Path is what is known of the way from this host to a collector.
type Path struct {
	// Device is the network device that the route leaves through; "" where there is no route.
	Device string
	// Source is the local address that the copies get; invalid where none of the collector's family is there.
	Source netip.Addr
	// NextHop is the gateway, or the collector itself where it is on-link.
	NextHop netip.Addr
	// MTU is the largest IP packet that the route and its device take, in bytes.
	MTU int
	// Local holds every address of the device: the guard drops what they ask of the network.
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
