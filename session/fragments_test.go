package session

import "testing"

// TestLaterFragments: what a rule says of ports, types and flags, and in IPv6 of the protocol, it says of no later fragment.
func TestLaterFragments(t *testing.T) {
	for _, tt := range []struct {
		expr      string
		transport bool
		later     string
	}{
		{"udp,tp_dst=5000", true, "udp,nw_frag=later"},
		{"udp,nw_src=10.0.0.1,udp_dst=0,dl_vlan=7", true, "udp,nw_src=10.0.0.1,dl_vlan=7,nw_frag=later"},
		{"ip nw_proto=17 tp_src=0x10/0xfff0", true, "ip,nw_proto=17,nw_frag=later"},
		{"tp_dst[0..3]=1,tcp", true, "tcp,nw_frag=later"},
		{"tcp,tcp_flags=+syn-ack", true, "tcp,nw_frag=later"},
		{"sctp,sctp_src=9", true, "sctp,nw_frag=later"},
		{"icmp,icmp_type=8,icmp_code=0", true, "icmp,nw_frag=later"},
		{"udp", false, ""},
		{"ip,nw_src=10.0.0.0/8", false, ""},
		{"arp", false, ""},
		{"dl_type=0x88cc", false, ""},
		// In IPv6 a later fragment is of the fragment header's protocol.
		{"udp6", false, "ipv6,nw_frag=later"},
		{"udp6,ipv6_dst=2001:db8::1,tp_dst=53", true, "ipv6,ipv6_dst=2001:db8::1,nw_frag=later"},
		{"ipv6,nw_proto=17,tp_dst=53", true, "ipv6,nw_frag=later"},
		{"dl_type=0x86dd,ip_proto=6", false, "dl_type=0x86dd,nw_frag=later"},
		{"icmp6,icmp_type=135,nd_target=2001:db8::1", true, "ipv6,nw_frag=later"},
		{"ipv6", false, ""},
		{"ipv6,ipv6_src=2001:db8::1", false, ""},
		// Who says which fragments gets those.
		{"udp,tp_dst=0,ip_frag=later", false, ""},
		{"udp6,nw_frag=no", false, ""},
		{"", false, ""},
	} {
		if got := NamesTransport(tt.expr); got != tt.transport {
			t.Errorf("%q: names fields of the transport: %v", tt.expr, got)
		}
		if got := LaterFragments(tt.expr); got != tt.later {
			t.Errorf("%q: later fragments %q, want %q", tt.expr, got, tt.later)
		}
	}
}
