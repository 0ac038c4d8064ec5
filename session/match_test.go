package session

import (
	"strings"
	"testing"
)

func TestCheckMatchAccepts(t *testing.T) {
	for _, expr := range []string{
		"tcp", "tcp,tp_dst=443", "tcp tcp_dst=443", "ip,tcp,tcp_dst=443", "tcp,ip", "eth,ip",
		"ip,nw_src=192.0.2.0/24,nw_dst=*", "ipv6,ipv6_src=2001:db8::/32", "tcp6,tcp_dst=0x50/0xfff0",
		"icmp,icmp_type=8", "icmp6,icmpv6_type=135,nd_target=fe80::1", "arp,arp_spa=192.0.2.1,arp_op=1",
		"dl_vlan=10,ip", "vlan_tci=0x1000/0x1000", "eth_src=00:00:5e:00:53:01", "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00",
		"tcp,tcp_flags=+syn-ack", "tcp,tcp_flags=syn|ack", "ip_src[0..7]=1,ip_src[8..15]=2,ip", "ip,ip_frag=no", "mpls,mpls_label=3",
		"eth_type=0x894f,nsh_spi=3", "dl_type=0x0800,nw_proto=6,tp_src=1", "ip,nw_proto=47", "ip, tcp", ",tcp,",
	} {
		if err := CheckMatch(expr); err != nil {
			t.Errorf("CheckMatch(%q): %v", expr, err)
		}
	}
}

func TestCheckMatchRefuses(t *testing.T) {
	cases := map[string][]string{ // part of the reason -> expressions
		"is empty":                 {"", " ", ",", ", ,"},
		"has a line break":         {"tcp\n", "tcp\rudp", "tcp\nactions=drop", "\n"},
		"control characters":       {"tcp\x00", "tcp\ttp_dst=1", "tcp\x1b[31m", "tcp\u202e", "tcp\u2028", "tcp\u00a0udp"},
		"begins a comment":         {"tcp#", "# tcp"},
		"without parentheses":      {"in_port(1)", "ip(table=3)", "packet_type=(0,0)", "tcp)"},
		"not a character":          {`"tcp"`, "tcp;udp", "tcp,tp_dst=ä", "tcp,tp_dst=$id", "tcp,tp_dst=`1`", "tcp\xff", "tcp>80", "tcp!", `tcp\n`},
		"ports of the bridge":      {"in_port=1", "in_port=eth0", "in_port_oxm=1", "in_port[]=1", "in_port:1", "IN_PORT=1", "tcp,In_Port=2", "in_port"},
		"not received through":     {"tun_src=192.0.2.1", "tun_id=1", "tunnel_id=3", "tun_erspan_idx=0", "tun_metadata0=1", "TUN_ID=3", "tun_flags=oam"},
		"not part of the frame":    {"reg0=1", "reg15[0..3]=1", "xreg1=1", "xxreg0=1", "REG0=1", "metadata=1", "pkt_mark=1", "skb_priority=1", "ct_state=+trk", "ct_nw_src=1.2.3.4", "ct_label=1", "conj_id=1", "recirc_id=1", "dp_hash=1", "packet_type=1", "actset_output=1", "ct_tp_dst=1"},
		"is not a match":           {"actions=drop", "action=drop", "tcp,actions=output:1", "tcp,Actions=drop", "tcp,xaction", "tcp,interaction=1", "priority=5", "table=3", "table:3", "tcp,table=3", "cookie=1", "cookie=1/-1", "idle_timeout=5", "hard_timeout=5", "importance=1", "out_port=1", "out_group=1", "duration=3s", "n_packets=1", "n_bytes=1", "idle_age=1", "hard_age=1", "send_flow_rem", "check_overlap", "reset_counts", "no_packet_counts", "no_byte_counts", "allow_hidden_fields", "no_readonly_table", "delete tcp", "add,tcp", "PRIORITY=3"},
		"name on the wire":         {"NXM_OF_ETH_SRC[]=1", "NXM_NX_REG0[]=1", "OXM_OF_IN_PORT[]=1", "nxm_of_ip_src=1", "NXOXM_ET_ERSPAN_IDX=1"},
		"lower case":               {"TCP", "tcp,TP_DST=80", "IP,nw_src=192.0.2.1"},
		"takes no value":           {"ip=", "ipv6=3", "tcp=6", "tcp[0]=1"},
		"with '=' instead of ':'":  {"ip:table=3", "udp,udp_src:53"},
		"no field before":          {"=80", "tcp,=80"},
		"has no value":             {"tcp,tcp_src", "tcp,tcp_src=", "tcp,tcp_src= 80", "tcp,tcp_src = 80", "nw_src", "vlan", "any", "all"},
		"not a field's name":       {"*", "tcp/udp", "tcp|udp", "-tcp", "tcp]=1"},
		"already says that":        {"ip,dl_type=0x806", "tcp,nw_proto=17", "dl_type=0x800,tcp", "ip,nw_proto=6,udp", "ip_proto=6,tcp"},
		"the same field":           {"ip,nw_src=192.0.2.1,nw_src=192.0.2.2", "ip,ip_src=192.0.2.1,nw_src=192.0.2.2", "tcp,tp_dst=80,tcp_dst=443", "udp,udp_dst=1,tp_dst=2", "dl_vlan=1,vlan_vid=2", "ip,nw_tos=184,ip_dscp=1"},
		"IPv4 to OVS: write tcp6":  {"ipv6,tcp", "ipv6,tcp,tp_dst=80"},
		"IPv4 to OVS: write icmp6": {"ipv6,icmp"},
		"write icmp_type":          {"icmp,tp_src=8", "tp_src=8,icmp6"},
		"write icmp_code":          {"ip,icmp,tp_dst=1"},
		"instead of":               {"ip,arp", "tcp,udp", "ip,ipv6", "tcp,ip,udp", "ip,tcp6", "tcp6,tcp"},
		"at most 4096":             {strings.Repeat("a", MaxMatchLen+1)},
	}
	for want, exprs := range cases {
		for _, expr := range exprs {
			err := CheckMatch(expr)
			if err == nil {
				t.Errorf("CheckMatch(%q) is nil, want an error with %q", expr, want)
			} else if !strings.Contains(err.Error(), want) {
				t.Errorf("CheckMatch(%q) = %q, want %q in it", expr, err, want)
			} else if strings.ContainsAny(err.Error(), "\n\r\x00\x1b") {
				t.Errorf("CheckMatch(%q) is more than one line: %q", expr, err)
			}
		}
	}
}
