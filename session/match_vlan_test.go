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
