//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// lostView is what `session show -o json` says of lost copies; nil is null.
type lostView struct {
	Status struct {
		State, Reason, Message string
		Sent, Lost             *count
		LostSince              *time.Time
		Collectors             []struct {
			Address, State, Reason string
			Sent, Lost             *count
			Vanishes               bool
		}
	}
}

func (s *scene) lost(name string) (v lostView) {
	s.t.Helper()
	s.must(json.Unmarshal([]byte(s.oe("session", "show", name, "-o", "json").stdout), &v))
	return v
}

// ip runs ip(8) on a node.
func (s *scene) ip(n *lab.Node, line string) {
	s.t.Helper()
	_, _, err := n.Exec(s.ctx, append([]string{"ip"}, strings.Fields(line)...)...)
	s.must(err)
}

// vanishing are faults behind the tunnel with which each copy for 203.0.113.5, which is reached by 192.0.2.9, is sent and lost,
// while those for 192.0.3.10, which is reached through another bridge, arrive.
var vanishing = map[string]struct {
	reason      string
	says        string
	break_, fix func(s *scene)
}{
	"next hop dead": {"NoNeighbor", "does not answer", func(s *scene) {
		s.ip(s.collector, "link set eth0 arp off")
		_, err := s.host.Appctl(s.ctx, "tnl/neigh/flush")
		s.must(err)
		s.ip(s.host.Node, "neigh flush dev br-ul")
	}, func(s *scene) { s.ip(s.collector, "link set eth0 arp on") }},
	"dropped by a flow of the underlay": {"CopiesEndOnHost", "bridge br-ul: drop", func(s *scene) {
		s.ofctl("add-flow", "br-ul", "priority=10,ip,nw_proto=47,nw_dst=203.0.113.5,actions=drop")
	}, func(s *scene) { s.ofctl("del-flows", "br-ul", "ip,nw_proto=47,nw_dst=203.0.113.5") }},
	"underlay without flows": {"CopiesEndOnHost", "bridge br-ul: drop", func(s *scene) {
		s.ofctl("del-flows", "br-ul")
	}, func(s *scene) { s.ofctl("add-flow", "br-ul", "priority=0,actions=NORMAL") }},
	"underlay port down": {"CopiesEndOnHost", "port uplink of bridge br-ul is down", func(s *scene) {
		s.ip(s.host.Node, "link set uplink down")
	}, func(s *scene) { s.ip(s.host.Node, "link set uplink up") }},
	"underlay port taken off its bridge": {"CopiesEndOnHost", "bridge br-ul: ", func(s *scene) {
		s.vsctl("del-port", "br-ul", "uplink")
	}, func(s *scene) { s.vsctl("add-port", "br-ul", "uplink") }},
	"underlay port in another VLAN": {"CopiesEndOnHost", "bridge br-ul: ", func(s *scene) {
		s.vsctl("set", "port", "uplink", "tag=7")
	}, func(s *scene) { s.vsctl("clear", "port", "uplink", "tag") }},
}

// TestLost: copies that are counted as sent and vanish are lost, for the collector that they are for, and the session is not
// Active meanwhile; when the way is whole again, they arrive, it is Active, and what was lost stays so. The kernel counts its
// copies lost only where there is no route or no neighbour.
func TestLost(t *testing.T) {
	t.Parallel()
	if lab.Datapath() == lab.Kernel {
		t.Skip("the kernel's datapath sends through the kernel's own devices")
	}
	for name, fault := range vanishing {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			const to = "203.0.113.5"
			s := newScene(t)
			other := s.guest("other")
			s.must(s.host.AddBridge(s.ctx, "br-ul2"))
			s.must(s.host.Attach(s.ctx, other, "br-ul2", "uplink2", lab.GuestIf{Addrs: []string{"192.0.3.10/24"}}))
			s.must(s.host.Underlay(s.ctx, "br-ul2", 0, "192.0.3.1/24"))
			s.ip(s.collector, "addr add "+to+"/32 dev lo")
			s.ip(s.host.Node, "route add "+to+" via "+collectorAddr)
			s.lookup(to, "Not found")
			s.ping(s.host.Node, collectorAddr, 1)
			s.ping(s.host.Node, "192.0.3.10", 1)
			s.daemon("--listen", "127.0.0.1:9475").ready()
			s.ok("session", "add", "web", "--bridge", "br0", "--source", "vnet0", "--collector", to, "--collector", "192.0.3.10", "--match", "icmp")
			s.ping(s.a, addrB, 2)
			if v := s.lost("web"); v.Status.Lost == nil || v.Status.Lost.Packets != 0 || v.Status.State != "Active" {
				t.Fatalf("before anything is broken: %+v", v.Status)
			}
			wire := s.capture(s.collector, "eth0", "proto 47")
			fault.break_(s)
			s.must(lab.Until(s.ctx, "copies are lost and told of", func(context.Context) error {
				s.ping(s.a, addrB, 2)
				v := s.lost("web").Status
				if v.State == "Active" || v.Reason != fault.reason || !strings.Contains(v.Message, fault.says) {
					return fmt.Errorf("%s, %s: %s", v.State, v.Reason, v.Message)
				}
				for i, c := range v.Collectors {
					vanishes := i == 0
					if c.Vanishes != vanishes || (c.Lost.Packets > 5) != vanishes || c.Lost.Packets > c.Sent.Packets {
						return fmt.Errorf("%s: vanishes %v, sent %d, lost %d", c.Address, c.Vanishes, c.Sent.Packets, c.Lost.Packets)
					}
				}
				if v.Lost.Packets < v.Collectors[0].Lost.Packets || v.LostSince == nil {
					return fmt.Errorf("%d lost, since %v", v.Lost.Packets, v.LostSince)
				}
				return nil
			}))
			metric := fmt.Sprintf(`ovs_erspan_collector_vanishing{bridge="br0",collector=%q,session="web"} 1`, to)
			s.must(lab.Until(s.ctx, "the metrics tell, too", func(context.Context) error {
				s.ping(s.a, addrB, 1)
				_, body, err := httpGet(s.host, "127.0.0.1:9475", "/metrics")
				if err == nil && (!strings.Contains(body, metric) || strings.Contains(body, fmt.Sprintf(`collector=%q,session="web",stage="lost"} 0`, to))) {
					err = fmt.Errorf("%s", body)
				}
				return err
			}))
			if out := s.oe("session", "list").stdout; strings.Contains(out, "Active") || !strings.Contains(out, "LOST") {
				t.Errorf("list: %s", out)
			}
			if r := s.oe("session", "trace", "web"); r.code != 3 || !strings.Contains(r.stdout, fault.reason) {
				t.Errorf("trace: exit %d: %s", r.code, r.stdout)
			}
			sent := s.show("web").Status.Sent.Packets // copies that were not lost may be on the wire
			fault.fix(s)
			s.must(lab.Until(s.ctx, "copies arrive again, and the session is Active", func(context.Context) error {
				s.ping(s.a, addrB, 1)
				if state, reason := s.state("web"); state != "Active" {
					return fmt.Errorf("%s, %s", state, reason)
				}
				return nil
			}))
			at := uint64(0)
			s.must(lab.Until(s.ctx, "the daemon has told how many were lost", func(context.Context) error {
				v := s.lost("web").Status
				if v.Lost == nil || v.Lost.Packets == 0 {
					return fmt.Errorf("lost %v", v.Lost)
				}
				at = v.Lost.Packets
				return nil
			}))
			from, err := wire.Count(s.ctx, "erspan")
			s.must(err)
			s.ping(s.a, addrB, 5)
			s.waitCount(wire, "erspan", from+10)
			s.stop(wire)
			v := s.lost("web").Status
			if v.Lost.Packets != at {
				t.Errorf("%d are lost after the way was mended, %d before", v.Lost.Packets, at)
			}
			// What is told is true: no more are lost than did not arrive.
			arrived, err := wire.Count(s.ctx, "erspan")
			s.must(err)
			if missing := v.Collectors[0].Sent.Packets - uint64(arrived); v.Collectors[0].Lost.Packets > missing+4 {
				t.Errorf("%d are said to be lost, %d of %d have not arrived (%d sent before the end)", v.Collectors[0].Lost.Packets, missing, v.Collectors[0].Sent.Packets, sent)
			}
		})
	}
}
