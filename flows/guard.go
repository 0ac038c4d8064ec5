package flows

import (
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"
)

// guardFlows drop on the copies' path what copies cause, for every path in use (promise 5): ERSPAN to and from tunnel
// endpoints, what the endpoints ask of the network to find their next hop, and ICMP errors about copies. Each of these,
// copied, provokes more of itself.
func guardFlows(paths []pathTo) []Flow {
	matches := map[string][]string{}
	add := func(fields ...string) {
		key := ""
		for _, f := range fields {
			key += f + ","
		}
		matches[key] = fields
	}
	for _, p := range paths {
		guardEndpoint(add, p.collector)
		// ICMP errors that the collector sends, and those of anyone else about packets that we sent.
		guardErrors(add, p.collector, true)
		for _, local := range p.locals() {
			guardEndpoint(add, local)
			guardErrors(add, local, false)
			if local.Is4() {
				add("arp", "arp_spa="+local.String(), "arp_op=1")
			} else {
				add("icmp6", "ipv6_src="+local.String(), "icmp_type=135")
			}
		}
		for _, target := range []netip.Addr{p.collector, p.path.NextHop} {
			if target.IsValid() && target.Is6() {
				add("icmp6", "icmp_type=135", "nd_target="+target.String())
			}
		}
	}
	var flows []Flow
	for _, key := range slices.Sorted(maps.Keys(matches)) {
		h := fnv.New32a()
		h.Write([]byte(key))
		flows = append(flows, Flow{TableGuard, priorityGuard, NewCookie(StageGuard, h.Sum32()), Match{Fields: matches[key]}, drop()})
	}
	return flows
}

// locals are the addresses that the copies may leave from, each once.
func (p pathTo) locals() []netip.Addr {
	all := slices.Clone(p.path.Local)
	for _, a := range []netip.Addr{p.path.Source, p.origin} {
		if a.IsValid() {
			all = append(all, a)
		}
	}
	return all
}

// guardEndpoint drops GRE (protocol 47) to and from an address. Later fragments have the same protocol and addresses.
func guardEndpoint(add func(...string), a netip.Addr) {
	if a.Is4() {
		add("ip", "nw_src="+a.String(), "nw_proto=47")
		add("ip", "nw_dst="+a.String(), "nw_proto=47")
		return
	}
	add("ipv6", "ipv6_src="+a.String(), "nw_proto=47")
	add("ipv6", "ipv6_dst="+a.String(), "nw_proto=47")
}

// guardErrors drops ICMP errors from or to an address: destination unreachable, source quench, redirect, time exceeded
// and parameter problem (RFC 792, RFC 1122 section 3.2.2); for IPv6 types 1 to 4 (RFC 4443 section 2.1).
func guardErrors(add func(...string), a netip.Addr, from bool) {
	if a.Is4() {
		field := "nw_dst="
		if from {
			field = "nw_src="
		}
		for _, icmpType := range []string{"3", "4", "5", "11", "12"} {
			add("icmp", field+a.String(), "icmp_type="+icmpType)
		}
		return
	}
	field := "ipv6_dst="
	if from {
		field = "ipv6_src="
	}
	for _, icmpType := range []string{"1", "2", "3", "4"} {
		add("icmp6", field+a.String(), "icmp_type="+icmpType)
	}
}
