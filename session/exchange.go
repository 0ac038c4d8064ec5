package session

import (
	"strings"
	"sync"
)

// exchanged pairs the fields that change places when a packet is answered (ovs-fields(7), with all names that OVS takes).
var exchanged = sync.OnceValue(func() map[string]string {
	m := map[string]string{}
	for _, pair := range [][2]string{
		{"eth_src", "eth_dst"}, {"dl_src", "dl_dst"},
		{"ip_src", "ip_dst"}, {"nw_src", "nw_dst"}, {"ipv6_src", "ipv6_dst"},
		{"tp_src", "tp_dst"}, {"tcp_src", "tcp_dst"}, {"udp_src", "udp_dst"}, {"sctp_src", "sctp_dst"},
		{"arp_spa", "arp_tpa"}, {"arp_sha", "arp_tha"},
	} {
		m[pair[0]], m[pair[1]] = pair[1], pair[0]
	}
	return m
})

// ExchangeDirections is the match of the answers to what expr matches: source and destination fields exchanged
// (Ethernet, IP, transport ports, ARP), all else as it was. Doing it twice gives expr again, with its separators made
// commas. An expression without such fields is its own answer.
//
// ICMP types stay: a match on echo requests does not become one on echo replies. The error is a [MatchError].
func ExchangeDirections(expr string) (string, error) {
	terms, err := parseMatch(expr)
	if err != nil {
		return "", err
	}
	texts := make([]string, len(terms))
	for i, t := range terms {
		if other, ok := exchanged()[t.name]; ok {
			t.name = other
		}
		texts[i] = t.String()
	}
	return strings.Join(texts, ","), nil
}
