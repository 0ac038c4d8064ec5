//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// The addresses of a pipeline such as OVN makes: a router between a and b, with addresses that it answers for.
const (
	routerMAC  = "02:00:00:00:00:fe"
	routerAddr = "10.0.0.254"
	behindNAT  = "10.0.0.77"  // what b sees of a
	vip        = "10.0.0.100" // b, for a
	hairpinVIP = "10.0.0.101" // a, for a itself
	denied     = "10.0.0.200" // dropped, after conntrack
	rejected   = "10.0.0.201" // turned around, after conntrack
)

// routerPipeline programs br0: conntrack with NAT of both addresses and two recirculations each way, TTL, hairpin, an ACL
// that drops and one that answers, an ARP responder, a router's replies, and something like DHCP.
func (s *scene) routerPipeline() {
	s.t.Helper()
	mac := func(n *lab.Node) string {
		m, err := n.MAC(s.ctx, "eth0")
		s.must(err)
		return m.String()
	}
	macA, macB := mac(s.a), mac(s.b)
	turn := "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],set_field:" + routerMAC + "->eth_src"
	turnIP := turn + ",move:NXM_OF_IP_SRC[]->NXM_OF_IP_DST[]"
	flows := []string{"table=0,priority=0,actions=NORMAL", "table=1,priority=0,actions=drop"}
	flow := func(format string, args ...any) { flows = append(flows, fmt.Sprintf(format, args...)) }
	for _, address := range []string{routerAddr, behindNAT, vip, hairpinVIP, denied, rejected} {
		flow("priority=90,arp,arp_op=1,arp_tpa=%s,actions=%s,set_field:2->arp_op,move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[],"+
			"set_field:%s->arp_sha,set_field:%s->arp_spa,in_port", address, turn, routerMAC, address)
	}
	// The kernel's datapath does not set ICMP types.
	if lab.Datapath() != lab.Kernel {
		flow("priority=90,icmp,icmp_type=8,nw_dst=%s,actions=%s,set_field:%s->nw_src,set_field:0->icmp_type,set_field:255->nw_ttl,in_port", routerAddr, turnIP, routerAddr)
	}
	flow("priority=80,udp,in_port=vnet0,tp_dst=67,actions=%s,set_field:%s->nw_src,set_field:10.0.0.1->nw_dst,set_field:67->udp_src,set_field:68->udp_dst,in_port", turn, routerAddr)
	// To b and back.
	flow("priority=70,ip,in_port=vnet0,nw_dst=%s,actions=ct(commit,zone=1,nat(dst=%s),table=1)", vip, addrB)
	flow("table=1,priority=70,ip,nw_dst=%s,actions=ct(commit,zone=2,nat(src=%s),table=2)", addrB, behindNAT)
	flow("table=2,ip,actions=dec_ttl,set_field:%s->eth_src,set_field:%s->eth_dst,output:vnet1", routerMAC, macB)
	flow("priority=70,ip,in_port=vnet1,nw_dst=%s,actions=ct(zone=2,nat,table=11)", behindNAT)
	flow("table=11,ip,actions=ct(zone=1,nat,table=12)")
	flow("table=12,ip,actions=dec_ttl,set_field:%s->eth_src,set_field:%s->eth_dst,output:vnet0", routerMAC, macA)
	// To a itself.
	flow("priority=70,ip,in_port=vnet0,nw_dst=%s,actions=ct(commit,zone=3,nat(dst=%s),table=1)", hairpinVIP, addrA)
	flow("table=1,priority=70,ip,nw_dst=%s,actions=ct(commit,zone=4,nat(src=%s),table=3)", addrA, routerAddr)
	flow("table=3,ip,actions=dec_ttl,%s,in_port", turn)
	flow("priority=60,ip,in_port=vnet0,nw_dst=%s,actions=ct(zone=4,nat,table=13)", routerAddr)
	flow("table=13,ip,actions=ct(zone=3,nat,table=3)")
	// ACLs.
	flow("priority=70,ip,in_port=vnet0,nw_dst=%s,actions=ct(zone=5,table=1)", denied)
	flow("priority=70,ip,in_port=vnet0,nw_dst=%s,actions=ct(zone=5,table=4)", rejected)
	flow("table=4,udp,actions=%s,set_field:%s->nw_src,set_field:64->nw_ttl,set_field:7->udp_dst,in_port", turnIP, rejected)
	_, _, err := s.host.Run(s.ctx, lab.Command{
		Args: []string{"ovs-ofctl", "-O", "OpenFlow13", "replace-flows", "br0", "-"}, Stdin: strings.NewReader(strings.Join(flows, "\n") + "\n"),
	})
	s.must(err)
}

// through sends what the pipeline is for.
func (s *scene) through() {
	s.t.Helper()
	if lab.Datapath() != lab.Kernel {
		s.ping(s.a, routerAddr, 2)
	}
	s.ping(s.a, addrB, 2)
	s.ping(s.a, vip, 3)
	s.ping(s.a, hairpinVIP, 2)
	s.knock(s.a, vip, 81)
	s.must(s.a.Do(func() error {
		for _, to := range []string{"10.0.0.255:67", denied + ":9", rejected + ":9", denied + ":9"} {
			c, err := net.Dial("udp4", to)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprint(c, "to ", to); err != nil {
				return err
			}
			c.Close()
		}
		return nil
	}))
}

// TestCopiesOfAPipeline: where production's pipeline tracks connections, translates addresses, recirculates and turns packets
// around, each frame of the source's wire is copied once in its direction, byte for byte, and nothing else is: with both
// versions, for a source, and for two.
func TestCopiesOfAPipeline(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.routerPipeline()
	s.add("v1", "--source", "vnet0", "--session-id", "1")
	s.add("v2", "--source", "vnet0", "--session-id", "2", "--erspan-version", "2")
	s.add("two", "--source", "vnet0,vnet1", "--session-id", "3")
	s.add("in", "--source", "vnet0", "--session-id", "4", "--direction", "ingress")
	// On the kernel's datapath its copies pass devices.
	const snaplen = 60
	s.add("cut", "--source", "vnet0", "--session-id", "5", "--snaplen", strconv.Itoa(snaplen))
	from, err := s.a.Capture(s.ctx, "eth0", "", "-Q", "out")
	s.must(err)
	to, err := s.a.Capture(s.ctx, "eth0", "", "-Q", "in")
	s.must(err)
	wireB, c := s.capture(s.b, "eth0", ""), s.capture(s.collector, "eth0", "proto 47")
	s.through()
	s.fence()
	for _, capture := range []*lab.Capture{from, to, wireB, c} {
		s.stop(capture)
	}
	sent, got := s.frames(from), s.frames(to)
	if len(sent) < 20 || len(got) < 15 {
		t.Errorf("a sent %d frames and got %d: the pipeline is not what it was", len(sent), len(got))
	}
	// What is counted is what was copied, and not what was dropped as a repetition. (At once: a renews what it knows of its
	// neighbours later.)
	ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
	defer cancel()
	err = lab.Until(ctx, "the counters are those of the wire", func(context.Context) error {
		for name, n := range map[string]int{"in": len(sent), "cut": len(sent) + len(got)} {
			if is := s.show(name).Status; is.Tapped.Packets != uint64(n) || is.Guarded.Packets != 0 || is.Sent.Packets != uint64(n) {
				return fmt.Errorf("%s: %d frames; tapped %d, guarded %d, sent %d", name, n, is.Tapped.Packets, is.Guarded.Packets, is.Sent.Packets)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	copies, err := c.Copies(s.ctx, "")
	s.must(err)
	of := func(id, direction string) (frames [][]byte) {
		for _, m := range copies {
			if m.Fields["erspan.spanid"] == id && (direction == "" || m.Fields["erspan.direction"] == direction) {
				frames = append(frames, m.Inner)
			}
		}
		return frames
	}
	both := slices.Concat(sent, got)
	sameFrames(t, "version 1", of("1", ""), both)
	sameFrames(t, "version 2, ingress", of("2", "0"), sent)
	sameFrames(t, "version 2, egress", of("2", "1"), got)
	sameFrames(t, "version 1, two sources", of("3", ""), slices.Concat(both, s.frames(wireB)))
	sameFrames(t, "version 1, ingress", of("4", ""), sent)
	var cut [][]byte
	for _, frame := range both {
		cut = append(cut, frame[:min(len(frame), snaplen)])
	}
	sameFrames(t, "cut", of("5", ""), cut)
}
