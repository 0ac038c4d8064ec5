package session

import (
	"strings"
	"sync"
)

// protocol is what one of OVS's shorthands stands for (ovs-fields(7), "Shorthands").
type protocol struct {
	etherType uint16 // 0: any
	ipProto   uint8  // 0: any
}

// protocols are the words that stand in a match without a value. All others need one: OVS reads "tcp,tcp_dst" as
// "tcp", which would copy far more than was meant.
var protocols = map[string]protocol{
	"eth":   {},
	"ip":    {0x0800, 0},
	"icmp":  {0x0800, 1},
	"tcp":   {0x0800, 6},
	"udp":   {0x0800, 17},
	"sctp":  {0x0800, 132},
	"ipv6":  {0x86dd, 0},
	"icmp6": {0x86dd, 58},
	"tcp6":  {0x86dd, 6},
	"udp6":  {0x86dd, 17},
	"sctp6": {0x86dd, 132},
	"arp":   {0x0806, 0},
	"rarp":  {0x8035, 0},
	"mpls":  {0x8847, 0},
	"mplsm": {0x8848, 0},
}

// protocolNames lists protocols, for errors.
const protocolNames = "eth, ip, icmp, tcp, udp, sctp, ipv6, icmp6, tcp6, udp6, sctp6, arp, rarp, mpls and mplsm"

// sameField gives fields with several names the one that stands for all, so that a field given twice is noticed
// whatever it is called. tcp_src, udp_src and sctp_src share one place in OVS, which the later one overwrites.
var sameField = map[string]string{
	"dl_src": "eth_src", "dl_dst": "eth_dst", "dl_type": "eth_type",
	"nw_src": "ip_src", "nw_dst": "ip_dst", "ip_proto": "nw_proto", "nw_frag": "ip_frag", "ip_ecn": "nw_ecn",
	"nw_tos":  "ip_dscp", // OVS takes its upper six bits only
	"tcp_src": "tp_src", "udp_src": "tp_src", "sctp_src": "tp_src",
	"tcp_dst": "tp_dst", "udp_dst": "tp_dst", "sctp_dst": "tp_dst",
	"vlan_vid": "dl_vlan", "vlan_pcp": "dl_vlan_pcp",
}

func canonicalField(name string) string {
	if c, ok := sameField[name]; ok {
		return c
	}
	return name
}

// Reasons why a word has no place in a match.
const (
	reasonPort     = "the ports of the bridge that filters the copies are not yours: choose ports with sources (--source)"
	reasonTunnel   = "a copy was not received through a tunnel, so its tunnel fields are empty"
	reasonPipeline = "is not part of the frame: on the bridge that filters the copies it has no value, or one of ours"
	reasonNotMatch = "is not a match but a part of a flow that this program sets itself"
	reasonRawField = "is a field's name on the wire: use its name in ovs-fields(7), such as eth_src"
)

// foreignWords are the words that OVS takes in a flow and that a match must not have: the fields of its metadata, and
// the parts of a flow that are no match (ovs-fields(7), ovs-ofctl(8) "Flow Syntax", parse_ofp_str__() in
// lib/ofp-flow.c).
var foreignWords = sync.OnceValue(func() map[string]string {
	words := map[string]string{}
	for reason, list := range map[string]string{
		reasonPort:   "in_port in_port_oxm",
		reasonTunnel: "tunnel_id",
		reasonPipeline: "metadata pkt_mark skb_mark skb_priority conj_id recirc_id dp_hash packet_type actset_output " +
			"conjunction",
		reasonNotMatch: "priority table cookie action actions idle_timeout hard_timeout importance out_port out_group " +
			"duration n_packets n_bytes idle_age hard_age send_flow_rem check_overlap reset_counts no_packet_counts " +
			"no_byte_counts no_readonly_table allow_hidden_fields add modify modify_strict delete delete_strict",
	} {
		for _, word := range strings.Fields(list) {
			words[word] = reason
		}
	}
	return words
})

// foreignPrefixes do the same for families of fields.
var foreignPrefixes = []struct{ prefix, reason string }{
	{"tun_", reasonTunnel},
	{"reg", reasonPipeline},
	{"xreg", reasonPipeline},
	{"xxreg", reasonPipeline},
	{"ct_", reasonPipeline},
	{"nxm_", reasonRawField},
	{"oxm_", reasonRawField},
	{"nxoxm_", reasonRawField},
	{"ericoxm_", reasonRawField},
	{"onfoxm_", reasonRawField},
}

// foreignWord is why the word, in lower case, has no place in a match; "" if it may have one.
func foreignWord(word string) string {
	if reason, ok := foreignWords()[word]; ok {
		return reason
	}
	for _, f := range foreignPrefixes {
		if strings.HasPrefix(word, f.prefix) {
			return f.reason
		}
	}
	return ""
}
