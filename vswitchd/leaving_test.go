package vswitchd

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// What Open vSwitch 3.1.0 printed, shortened.
const shown = `netdev@ovs-netdev: hit:7 missed:10
  br-erspan-nd:
    br-erspan-nd 65534/7: (tap)
    es-046e7235b0-t 3/none: (patch: peer=es-046e7235b0-p)
    es-tun-nd 1/6: (erspan: erspan_ver=flow, key=flow, remote_ip=flow)
  br-ul:
    br-ul 65534/2: (tap)
    uplink 1/5: (system)
system@ovs-system: hit:0 missed:0
  br9:
    eth9 1/5: (system)
`

const intoTunnel = `Flow: ip,in_port=LOCAL

bridge("br-erspan-nd")
----------------------
    set_field:203.0.113.5->tun_dst
    output:1
     -> output to native tunnel
     -> tunneling to 192.0.2.9 via br-ul
`

const pushed = "tnl_push(tnl_port(6),header(size=50,type=107,eth(dst=62:43:dc:1a:91:5c),ipv4(src=192.0.2.1,dst=203.0.113.5,proto=47),erspan(ver=1,sid=0x1,idx=0x0)),out_port(2))"

func TestParseLeaving(t *testing.T) {
	names := datapathPorts(shown)["br-erspan-nd"]
	through := func(underlay, actions string) string {
		return intoTunnel + "     -> tunneling from d2:a0:92:c5:e1:46 192.0.2.1 to 62:43:dc:1a:91:5c 192.0.2.9\n\nbridge(\"br-ul\")\n---------------\n" + underlay +
			"\nFinal flow: ip\nMegaflow: recirc_id=0\nDatapath actions: " + actions + "\n"
	}
	for name, tt := range map[string]struct {
		printed string
		want    flows.Leaving
	}{
		"leaves":            {through(" 0. priority 0\n    NORMAL\n     -> forwarding to learned port\n", pushed+",5"), flows.Leaving{Ports: []string{"uplink"}}},
		"in a clone":        {through(" 0. priority 0\n    NORMAL\n", "clone("+pushed+",push_vlan(vid=5,pcp=0),5),2"), flows.Leaving{Ports: []string{"br-ul", "uplink"}}},
		"no neighbour":      {intoTunnel + "     -> neighbor cache miss for 192.0.2.9 on bridge br-ul, sending ARP request\n\nFinal flow: ip\nMegaflow: eth\nDatapath actions: drop\n", flows.Leaving{Ends: "bridge br-erspan-nd: neighbor cache miss for 192.0.2.9 on bridge br-ul, sending ARP request"}},
		"no route":          {"bridge(\"br-erspan-nd\")\n---\n    output:1\n     -> output to native tunnel\n     >> native tunnel routing failed\n\nFinal flow: ip\nDatapath actions: drop\n", flows.Leaving{Ends: "bridge br-erspan-nd: native tunnel routing failed"}},
		"dropped":           {through(" 0. ip,nw_proto=47, priority 10\n    drop\n", "drop"), flows.Leaving{Ends: "bridge br-ul: drop"}},
		"pushed to nothing": {through(" 0. priority 0\n    NORMAL\n     -> no learned MAC for destination, flooding\n", pushed), flows.Leaving{Ends: "bridge br-ul: no learned MAC for destination, flooding"}},
		// What is decided elsewhere is not known.
		"conntrack":       {through(" 0. ip\n    ct(table=1)\n", pushed+",ct,recirc(0x1)"), flows.Leaving{}},
		"a bond":          {through(" 0. ip\n    NORMAL\n", pushed+",lb_output(1)"), flows.Leaving{}},
		"unknown port":    {through(" 0. ip\n    NORMAL\n", pushed+",99"), flows.Leaving{}},
		"nothing printed": {"", flows.Leaving{}},
		"cut short":       {intoTunnel, flows.Leaving{}},
	} {
		if diff := cmp.Diff(tt.want, parseLeaving(tt.printed, names)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got := datapathPorts(shown)["br9"][5]; got != "eth9" {
		t.Errorf("port 5 of the other datapath is %q", got)
	}
}
