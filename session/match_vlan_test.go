package session

import "testing"

func TestCheckMatchVLAN(t *testing.T) {
	for expr, ok := range map[string]bool{
		"dl_vlan=0": true, "dl_vlan=10": true, "dl_vlan=4095": true, "dl_vlan=0xfff": true, "dl_vlan=0xffff": true,
		"dl_vlan=4096": false, "dl_vlan=0x1000": false, "dl_vlan=65536": false,
		"vlan_vid=0x100a": true, "vlan_vid=0x1000/0x1000": true, "vlan_vid=10": true, "vlan_vid=0x2000": false,
	} {
		if err := CheckMatch(expr); (err == nil) != ok {
			t.Errorf("%s: %v", expr, err)
		}
	}
}

// TestNarrowValues: a value that OVS would cut to the width of its field is refused, the largest that fits is not.
func TestNarrowValues(t *testing.T) {
	for good, bad := range map[string]string{
		"vlan_pcp=7": "vlan_pcp=8", "dl_vlan_pcp=7": "dl_vlan_pcp=9", "ip,ip_dscp=63": "ip,ip_dscp=64", "ip,nw_ecn=3": "ip,nw_ecn=4", "ip,ip_ecn=3": "ip,ip_ecn=0x4",
		"ip,nw_tos=252": "ip,nw_tos=3", "mpls,mpls_tc=7": "mpls,mpls_tc=8", "mpls,mpls_bos=1": "mpls,mpls_bos=2", "mpls,mpls_label=1048575": "mpls,mpls_label=1048576",
		"arp,arp_op=255": "arp,arp_op=256", "ipv6,ipv6_label=0xfffff": "ipv6,ipv6_label=0x100000",
	} {
		if err := CheckMatch(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
		if err := CheckMatch(bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
