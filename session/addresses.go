package session

import "net/netip"

// broadcast is the one IPv4 address that is neither multicast nor a host's.
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// addressFault is why a cannot be the address of one host that can be reached, with the remedy where there is one;
// "" if it can.
func addressFault(a netip.Addr) (reason, remedy string) {
	switch {
	case !a.IsValid():
		return "is not an address", ""
	case a.Is4In6():
		return "is an IPv4 address written as IPv6", "write " + a.WithZone("").Unmap().String()
	case a.Zone() != "":
		return "has a zone, which a tunnel cannot have", "use an address that is routed"
	case a.IsUnspecified():
		return "is the unspecified address", ""
	case a.IsLoopback():
		return "is a loopback address, which no other host can reach", ""
	case a.IsMulticast():
		return "is a multicast address: Open vSwitch sends ERSPAN to one host", "list each host as a collector of its own"
	case a == broadcast:
		return "is the broadcast address: Open vSwitch sends ERSPAN to one host", "list each host as a collector of its own"
	}
	return "", ""
}

// unroutable holds for addresses that mean something only with the link they are on, which a tunnel cannot name.
func unroutable(a netip.Addr) bool { return a.Is6() && a.IsLinkLocalUnicast() }
