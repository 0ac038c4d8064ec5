package session

import (
	"fmt"
	"net/netip"
)

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

// ParseAddress reads an IPv4 or IPv6 address. Names are not looked up.
func ParseAddress(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%s: want an IPv4 or IPv6 address, such as 192.0.2.9 (names are not looked up)%s", Quote(text), addressRemedy(text))
	}
	return a, nil
}

// addressRemedy is what to write instead of a text that is no address, as the end of a sentence; "" where nobody knows.
func addressRemedy(text string) string {
	if p, err := netip.ParsePrefix(text); err == nil {
		return "; write " + p.Addr().String()
	}
	return ""
}
