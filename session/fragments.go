package session

import "strings"

// A later fragment of an IP packet has no ports, flags or types: they are in the first one only. Open vSwitch takes them for
// 0 there, and in IPv6 it takes the protocol for that of the fragment header (parse_ipv6_ext_hdrs in lib/flow.c). So what a
// rule says of them says nothing about later fragments.

// ofTransport tells whether the field is of a header that only the first fragment has.
func ofTransport(name string) bool {
	switch name = canonicalField(name); name {
	case "tp_src", "tp_dst", "tcp_flags", "icmp_type", "icmp_code", "icmpv6_type", "icmpv6_code":
		return true
	}
	return strings.HasPrefix(name, "nd_")
}

// NamesTransport tells whether a match names fields that later fragments do not have, and leaves it open which fragments it
// means.
func NamesTransport(expr string) bool {
	terms, err := parseMatch(expr)
	if err != nil || namesFragments(terms) {
		return false
	}
	for _, t := range terms {
		if ofTransport(t.name) {
			return true
		}
	}
	return false
}

func namesFragments(terms []term) bool {
	for _, t := range terms {
		if canonicalField(t.name) == "ip_frag" {
			return true
		}
	}
	return false
}

// LaterFragments is the match of the later fragments that may belong to packets of expr, where expr itself does not take
// them for what they are; "" where it does, and where it says itself which fragments it means. It has no fields of the
// transport's, and for IPv6 not even the protocol.
func LaterFragments(expr string) string {
	terms, err := parseMatch(expr)
	if err != nil || namesFragments(terms) {
		return ""
	}
	ipv6 := false
	for _, t := range terms {
		if protocols[t.name].etherType == etherIPv6 || canonicalField(t.name) == "eth_type" && t.number() == etherIPv6 {
			ipv6 = true
		}
	}
	unsaid := false
	var kept []string
	for _, t := range terms {
		switch {
		case ofTransport(t.name):
			unsaid = true
		case ipv6 && protocols[t.name].ipProto != 0:
			unsaid = true
			kept = append(kept, "ipv6")
		case ipv6 && canonicalField(t.name) == "nw_proto":
			unsaid = true
		default:
			kept = append(kept, t.String())
		}
	}
	if !unsaid {
		return ""
	}
	return strings.Join(append(kept, "nw_frag=later"), ",")
}

const etherIPv6 = 0x86dd
