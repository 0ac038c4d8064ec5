package capture

import (
	"net"
	"net/netip"
	"slices"
	"time"
)

// addresses are what of this host's addresses decides whether a probe is answered.
type addresses struct {
	own       map[netip.Addr]bool
	broadcast map[netip.Addr]bool // of the subnets that the host is in
	reserved  []netip.Prefix      // no host's, wherever it is
}

// noHosts are the addresses of no other host: unspecified and "this network", loopback, multicast, reserved and the limited
// broadcast (IANA's registries of special-purpose addresses).
var noHosts = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("224.0.0.0/3"),
	netip.MustParsePrefix("::/127"), netip.MustParsePrefix("::ffff:0:0/96"), netip.MustParsePrefix("ff00::/8"),
}

// newAddresses takes the host's addresses with the lengths of their prefixes.
func newAddresses(prefixes []netip.Prefix) addresses {
	a := addresses{own: map[netip.Addr]bool{}, broadcast: map[netip.Addr]bool{}, reserved: noHosts}
	for _, p := range prefixes {
		a.own[p.Addr()] = true
		if !p.Addr().Is4() || p.Bits() > 30 { // RFC 3021: a prefix of 31 bits has no broadcast address
			continue
		}
		// The lowest address of a subnet is broadcast too, by an old habit that kernels have kept (RFC 1122 section 3.3.6).
		first := p.Masked().Addr()
		last := first.As4()
		for bit := p.Bits(); bit < 32; bit++ {
			last[bit/8] |= 0x80 >> (bit % 8)
		}
		a.broadcast[first], a.broadcast[netip.AddrFrom4(last)] = true, true
	}
	return a
}

// unicast tells whether an address can be a host's.
func (a addresses) unicast(addr netip.Addr) bool {
	return addr.IsValid() && !a.broadcast[addr] && !slices.ContainsFunc(a.reserved, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// hostAddresses reads the host's addresses when they are asked for, at most once a second.
func hostAddresses() func(time.Time) (addresses, error) {
	var known addresses
	var at time.Time
	return func(now time.Time) (addresses, error) {
		if !at.IsZero() && now.Sub(at) < time.Second && now.Sub(at) >= 0 {
			return known, nil
		}
		list, err := net.InterfaceAddrs()
		if err != nil {
			return addresses{}, err
		}
		var prefixes []netip.Prefix
		for _, l := range list {
			if n, ok := l.(*net.IPNet); ok {
				addr, _ := netip.AddrFromSlice(n.IP)
				bits, _ := n.Mask.Size()
				prefixes = append(prefixes, netip.PrefixFrom(addr.Unmap(), bits))
			}
		}
		known, at = newAddresses(prefixes), now
		return known, nil
	}
}
