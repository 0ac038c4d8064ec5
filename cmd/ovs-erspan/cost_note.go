package main

import (
	"slices"
	"strings"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// narrowing lists the fields of a session's rules that Open vSwitch's NORMAL pipeline does not look at by itself, and
// which therefore split production's megaflows: what a copy's path matches, the whole packet's megaflow matches.
func narrowing(s session.Session) string {
	var fields []string
	for _, r := range s.Match {
		for part := range strings.SplitSeq(r.Permit+r.PermitBothWays+r.Deny, ",") {
			name, _, valued := strings.Cut(strings.TrimSpace(part), "=")
			if valued && !usualFields[name] && !slices.Contains(fields, name) {
				fields = append(fields, name)
			}
		}
	}
	slices.Sort(fields)
	return strings.Join(fields, ", ")
}

// usualFields are in a NORMAL bridge's megaflows anyway: it learns and forwards by them.
var usualFields = map[string]bool{
	"dl_src": true, "dl_dst": true, "eth_src": true, "eth_dst": true, "dl_type": true, "eth_type": true,
	"dl_vlan": true, "vlan_vid": true, "vlan_tci": true,
}
