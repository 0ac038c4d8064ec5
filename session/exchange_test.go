package session

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestExchangeDirections(t *testing.T) {
	cases := map[string]string{
		"tcp,tp_dst=443":  "tcp,tp_src=443",
		"tcp tcp_src=1":   "tcp,tcp_dst=1",
		"udp,udp_dst=53":  "udp,udp_src=53",
		"sctp,sctp_src=9": "sctp,sctp_dst=9",
		"ip,nw_src=192.0.2.1,nw_dst=198.51.100.0/24":      "ip,nw_dst=192.0.2.1,nw_src=198.51.100.0/24",
		"ip,ip_src[0..3]=1":                               "ip,ip_dst[0..3]=1",
		"ipv6,ipv6_src=2001:db8::1":                       "ipv6,ipv6_dst=2001:db8::1",
		"eth_src=00:00:5e:00:53:01":                       "eth_dst=00:00:5e:00:53:01",
		"dl_dst=00:00:5e:00:53:01":                        "dl_src=00:00:5e:00:53:01",
		"arp,arp_spa=192.0.2.1,arp_tha=00:00:5e:00:53:01": "arp,arp_tpa=192.0.2.1,arp_sha=00:00:5e:00:53:01",
		"icmp,icmp_type=8":                                "icmp,icmp_type=8",
		"icmp6,nd_sll=00:00:5e:00:53:01":                  "icmp6,nd_sll=00:00:5e:00:53:01",
		"ip,nw_proto=6,tp_src=1":                          "ip,nw_proto=6,tp_dst=1",
	}
	for expr, want := range cases {
		got, err := ExchangeDirections(expr)
		if err != nil || got != want {
			t.Errorf("ExchangeDirections(%q) = %q, %v, want %q", expr, got, err, want)
		}
	}
	for _, expr := range []string{"icmp,tp_src=8", "icmp6,tcp_dst=0", "ip,nw_proto=1,tp_src=8", "ipv6,ip_proto=0x3a,tp_dst=1", "in_port=1", "tcp,tp_dst", ""} {
		if got, err := ExchangeDirections(expr); err == nil {
			t.Errorf("ExchangeDirections(%q) = %q, want an error", expr, got)
		}
	}
}

// TestExchangeTwice holds for every expression that CheckMatch takes: the answers to the answers are the first again.
func TestExchangeTwice(t *testing.T) {
	fields := []string{
		"eth_src", "eth_dst", "dl_src", "ip_src", "nw_dst", "ipv6_src", "tp_src", "tp_dst", "tcp_src", "udp_dst", "sctp_src",
		"arp_spa", "arp_tpa", "arp_sha", "arp_tha", "dl_vlan", "icmp_type", "nw_proto", "ip_src[0..3]", "nw_ttl",
	}
	rapid.Check(t, func(t *rapid.T) {
		field := rapid.Custom(func(t *rapid.T) string {
			return rapid.SampledFrom(fields).Draw(t, "field") + "=" + rapid.StringMatching(`[0-9a-f.:/]{1,12}`).Draw(t, "value")
		})
		word := rapid.SampledFrom([]string{"ip", "tcp", "tcp6", "udp", "arp", "eth", "icmp"})
		var expr string
		for i, part := range rapid.SliceOfN(rapid.OneOf(field, word), 1, 6).Draw(t, "parts") {
			if i > 0 {
				expr += ","
			}
			expr += part
		}
		once, err := ExchangeDirections(expr)
		if err != nil {
			t.Skip(err)
		}
		if err := CheckMatch(once); err != nil {
			t.Fatalf("%q became %q: %v", expr, once, err)
		}
		twice, err := ExchangeDirections(once)
		if err != nil || twice != expr {
			t.Fatalf("%q became %q and then %q, %v", expr, once, twice, err)
		}
	})
}

// FuzzCheckMatch: what is taken is a match and nothing more, on its way to Open vSwitch: no text of it ends the flow, the line
// or the match, begins a comment, or is a part of a flow that is ours to set; and what is refused is not exchanged either.
func FuzzCheckMatch(f *testing.F) {
	for _, seed := range []string{"tcp,tp_dst=443", "ip,nw_src=192.0.2.0/24", "in_port=1", "a[", "=,=", "tcp\xff", "ip_src[0..3]=1", "x:y=z", "tcp actions=drop", "tcp,priority=9",
		"tcp\nudp", "tcp#", "tcp,ACTIONS=drop", "tcp,reg0=1", "reg0[]=1", "tcp,table=1", "cookie=1", "tcp'", "$(id)", "ip_dscp=64", "tcp,tp_dst=1/0xffff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, expr string) {
		checked := CheckMatch(expr)
		if checked == nil {
			if i := strings.IndexFunc(expr, func(r rune) bool { return r < ' ' || r > '~' || strings.ContainsRune("#'\"`$;&<>(){}\\!?", r) }); i >= 0 || len(expr) > MaxMatchLen {
				t.Fatalf("%q is taken", expr)
			}
			if strings.Contains(strings.ToLower(expr), "action") {
				t.Fatalf("%q is taken", expr)
			}
			for _, term := range strings.FieldsFunc(strings.ToLower(expr), func(r rune) bool { return r == ',' || r == ' ' }) {
				for _, ours := range []string{"in_port=", "reg0", "priority=", "cookie=", "table=", "metadata"} {
					if strings.HasPrefix(term, ours) {
						t.Fatalf("%q is taken, with %q in it", expr, term)
					}
				}
			}
		} else if len(checked.Error()) > 1000 {
			t.Fatalf("an error of %d bytes", len(checked.Error()))
		}
		once, err := ExchangeDirections(expr)
		if checked != nil && err == nil {
			t.Fatalf("%q: refused (%v), yet exchanged to %q", expr, checked, once)
		}
		if err != nil {
			return
		}
		twice, err := ExchangeDirections(once)
		again, _ := ExchangeDirections(twice)
		if err != nil || again != once {
			t.Fatalf("%q became %q, then %q, then %q: %v", expr, once, twice, again, err)
		}
	})
}
