//go:build linux && ovn

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// ovnScene is a real OVN (make test-ovn): its central part, two hosts with ovn-controller and a userspace datapath, geneve
// between them, guests, and a collector behind a router of the underlay.
//
//	logical: ls0 ─ a, d, b ─┐               hosts: h1 ─ a, d    br-ul 192.0.2.1 ─┬─ br-ul 192.0.2.2   h2 ─ b, c
//	         ls1 ─ c ───────┼─ lr0                               central 192.0.2.10, router 192.0.2.254 ─ collector 198.51.100.9
//	         out ───────────┘  its gateway port is on h1, where br-ex leads to e, a machine outside
type ovnScene struct {
	*scene          // host is h1, a and b are guests of h1 and h2
	h2              *lab.Host
	central         *lab.Central
	c, d, e, router *lab.Node
}

const (
	host2Addr     = "192.0.2.2"
	centralAddr   = "192.0.2.10"
	underlayGW    = "192.0.2.254"
	farCollector  = "198.51.100.9"
	addrC         = "10.1.0.3"
	addrD         = "10.0.0.4"
	addrE         = "203.0.113.9"
	lr0Addr       = "10.0.0.254"
	publicA       = "203.0.113.77"    // a, for e
	ovnVIP        = "172.16.0.100"    // c, for ls0
	ovnHairpinVIP = "172.16.0.101:90" // a, for ls0
)

// vif is a guest's port: what OVN calls it is the guest's name, and its port on br-int is "vif-" and that.
type vif struct {
	logicalSwitch, addr, gateway string
}

var vifs = map[string]vif{
	"a": {"ls0", addrA, lr0Addr},
	"b": {"ls0", addrB, lr0Addr},
	"c": {"ls1", addrC, "10.1.0.254"},
	"d": {"ls0", addrD, lr0Addr},
}

func vifMAC(name string) string { return fmt.Sprintf("02:00:00:00:0a:%02x", name[0]) }

func newOVNScene(t *testing.T) *ovnScene {
	t.Helper()
	s := &ovnScene{scene: newLab(t)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("ovn-controller's log on h1:\n%s\non h2:\n%s", tail(s.host.OVNLog(), 15), tail(s.h2.OVNLog(), 15))
		}
	})
	var err error
	s.h2, err = s.lab.Host(s.ctx, "h2")
	s.must(err)
	s.underlay()
	s.must(s.central.Serve(s.ctx))
	s.logicalNetwork()
	s.must(s.host.AddBridge(s.ctx, "br-ex"))
	s.e = s.guest("e")
	s.must(s.host.Attach(s.ctx, s.e, "br-ex", "outside", lab.GuestIf{Addrs: []string{addrE + "/24"}}))
	s.vsctl("set", "Open_vSwitch", ".", "external_ids:ovn-bridge-mappings=outside:br-ex")
	s.must(s.host.JoinOVN(s.ctx, s.central, netip.MustParseAddr(hostAddr)))
	s.must(s.h2.JoinOVN(s.ctx, s.central, netip.MustParseAddr(host2Addr)))
	for name, g := range map[string]struct {
		node **lab.Node
		host *lab.Host
	}{"a": {&s.a, s.host}, "d": {&s.d, s.host}, "b": {&s.b, s.h2}, "c": {&s.c, s.h2}} {
		*g.node = s.guest(name)
		s.plug(g.host, *g.node)
	}
	s.synced()
	// Hardware addresses: of the tunnels' far ends, and of e, which OVN's router asks for.
	s.meet(s.a, addrB)
	s.meet(s.a, addrE)
	s.meet(s.c, addrE)
	s.must(s.central.Sync(s.ctx))
	return s
}

// meet pings until there is an answer: the first packet to a hardware address that is not known yet can be lost.
func (s *ovnScene) meet(from *lab.Node, to string) {
	s.t.Helper()
	s.must(lab.Until(s.ctx, from.Name()+" reaches "+to, func(ctx context.Context) error {
		r, err := lab.Ping(ctx, from, netip.MustParseAddr(to), lab.PingOptions{Wait: 200 * time.Millisecond})
		if err == nil && r.Received == 0 {
			err = errors.New("no answer yet")
		}
		return err
	}))
}

// underlay joins the hosts' bridges br-ul, with the central part, and the router to the collector.
func (s *ovnScene) underlay() {
	s.t.Helper()
	s.must(s.host.AddBridge(s.ctx, "br-ul"))
	s.must(s.h2.AddBridge(s.ctx, "br-ul"))
	s.must(lab.Link(s.ctx, s.host, "br-ul", "to-h2", s.h2, "br-ul", "to-h1", 0))
	var err error
	s.central, err = s.lab.Central(s.ctx, "central")
	s.must(err)
	s.router, s.collector = s.guest("router"), s.guest("col")
	s.must(s.host.Attach(s.ctx, s.central.Node, "br-ul", "central", lab.GuestIf{Addrs: []string{centralAddr + "/24"}}))
	s.must(s.host.Attach(s.ctx, s.router, "br-ul", "router", lab.GuestIf{Addrs: []string{underlayGW + "/24"}}))
	s.must(s.router.Forward(s.ctx))
	s.must(lab.Connect(s.ctx, s.router, lab.NodeIf{Dev: "eth1", Addrs: []string{"198.51.100.1/24"}},
		s.collector, lab.NodeIf{Dev: "eth0", Addrs: []string{farCollector + "/24"}}, 0))
	s.must(s.collector.Route(s.ctx, "default", netip.MustParseAddr("198.51.100.1")))
	for h, addr := range map[*lab.Host]string{s.host: hostAddr, s.h2: host2Addr} {
		s.must(h.Underlay(s.ctx, "br-ul", 0, addr+"/24"))
		s.must(h.Route(s.ctx, "198.51.100.0/24", netip.MustParseAddr(underlayGW)))
	}
}

// logicalNetwork is two switches and a world outside, joined by a router; stateful ACLs, load balancers, NAT and DHCP.
func (s *ovnScene) logicalNetwork() {
	s.t.Helper()
	lines := []string{
		"lr-add lr0",
		"ls-add ls0", "lrp-add lr0 lr0-ls0 02:00:00:00:ff:01 10.0.0.254/24", "lsp-add ls0 ls0-lr0",
		"ls-add ls1", "lrp-add lr0 lr0-ls1 02:00:00:00:ff:02 10.1.0.254/24", "lsp-add ls1 ls1-lr0",
		"ls-add out", "lrp-add lr0 lr0-out 02:00:00:00:ff:03 203.0.113.254/24", "lsp-add out out-lr0",
	}
	for _, ls := range []string{"ls0", "ls1", "out"} {
		port := ls + "-lr0"
		lines = append(lines, "lsp-set-type "+port+" router", "lsp-set-addresses "+port+" router", "lsp-set-options "+port+" router-port=lr0-"+ls)
	}
	for name, v := range vifs {
		lines = append(lines, fmt.Sprintf("lsp-add %s %s", v.logicalSwitch, name), fmt.Sprintf("lsp-set-addresses %s \"%s %s\"", name, vifMAC(name), v.addr))
	}
	lines = append(lines,
		"lsp-add out out-br-ex", "lsp-set-type out-br-ex localnet", "lsp-set-addresses out-br-ex unknown", "lsp-set-options out-br-ex network_name=outside",
		"lrp-set-gateway-chassis lr0-out h1 10",
		"lr-nat-add lr0 snat 203.0.113.254 10.0.0.0/8", "lr-nat-add lr0 dnat_and_snat "+publicA+" "+addrA,
		// Connections are tracked, both ways.
		"acl-add ls0 from-lport 100 ip4 allow-related", "acl-add ls0 to-lport 100 ip4 allow-related",
		`acl-add ls0 from-lport 200 "udp.dst == 9" drop`, `acl-add ls0 from-lport 200 "udp.dst == 7" reject`,
		"lb-add lb0 "+ovnVIP+" "+addrC, "lb-add lb1 "+ovnHairpinVIP+" "+addrA+":90", "ls-lb-add ls0 lb0", "ls-lb-add ls0 lb1")
	for _, line := range lines {
		s.nbctl(words(line)...)
	}
	id := strings.TrimSpace(s.nbctl("create", "DHCP_Options", "cidr=10.0.0.0/24", "options:server_id=10.0.0.254",
		"options:server_mac=02:00:00:00:ff:01", "options:lease_time=3600", "options:router=10.0.0.254"))
	s.nbctl("lsp-set-dhcpv4-options", "a", id)
}

// words splits at spaces outside double quotes.
func words(line string) (all []string) {
	for i, part := range strings.Split(line, `"`) {
		if i%2 == 1 {
			all = append(all, part)
		} else {
			all = append(all, strings.Fields(part)...)
		}
	}
	return all
}

func (s *ovnScene) nbctl(args ...string) string {
	s.t.Helper()
	out, err := s.central.Nbctl(s.ctx, args...)
	s.must(err)
	return out
}

// plug attaches a guest's device to a host, where ovn-controller sees it by its iface-id.
func (s *ovnScene) plug(h *lab.Host, guest *lab.Node) {
	s.t.Helper()
	name := guest.Name()
	v := vifs[name]
	// Room for geneve's header on an underlay of 1500.
	s.must(h.Attach(s.ctx, guest, "br-int", "vif-"+name, lab.GuestIf{MAC: vifMAC(name), Addrs: []string{v.addr + "/24"}, MTU: 1400,
		ExternalIDs: map[string]string{"iface-id": name}}))
	s.must(guest.Route(s.ctx, "default", netip.MustParseAddr(v.gateway)))
	// Nobody asks again for an address that he knows while a capture begins or ends.
	_, _, err := guest.Exec(s.ctx, "sh", "-c", "echo 600000 >/proc/sys/net/ipv4/neigh/eth0/base_reachable_time_ms")
	s.must(err)
}

// addOn adds a session on a host's br-int towards the collector.
func (s *ovnScene) addOn(h *lab.Host, name string, flags ...string) {
	s.t.Helper()
	args := append([]string{"session", "add", name, "--bridge", "br-int", "--collector", farCollector}, flags...)
	if r := s.oeOn(h, lab.Command{}, args...); r.code != 0 {
		s.t.Fatalf("%s: ovs-erspan %s: exit %d\n%s%s", h, strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
}

// wire captures what a guest sends and what it gets, apart.
func (s *ovnScene) wire(guest *lab.Node, filter string) (sent, got *lab.Capture) {
	s.t.Helper()
	sent, err := guest.Capture(s.ctx, "eth0", filter, "-Q", "out")
	s.must(err)
	got, err = guest.Capture(s.ctx, "eth0", filter, "-Q", "in")
	s.must(err)
	return sent, got
}

// fences waits until the collector has what both hosts sent to it before.
func (s *ovnScene) fences() {
	s.t.Helper()
	s.ping(s.collector, hostAddr, 3)
	s.ping(s.collector, host2Addr, 3)
}

// synced waits until all ports are up, and every host has done what the northbound database says.
func (s *ovnScene) synced() {
	s.t.Helper()
	s.must(lab.Until(s.ctx, "OVN has all ports up", func(ctx context.Context) error {
		out, err := s.central.Nbctl(ctx, "--bare", "--columns=name", "find", "Logical_Switch_Port", "up=false", "type=\"\"")
		if err == nil && strings.TrimSpace(out) != "" {
			err = fmt.Errorf("down: %s", strings.Join(strings.Fields(out), " "))
		}
		return err
	}))
	s.must(s.central.Sync(s.ctx))
}

// ourRows are the rows of h1's database that are ours, without what is counted.
func (s *ovnScene) ourRows() []string {
	s.t.Helper()
	rows, err := s.host.DumpRows(s.ctx)
	s.must(err)
	ours := slices.DeleteFunc(rows, func(r lab.Row) bool {
		_, is := r.ExternalIDs()["ovs-erspan"]
		return !is || r.Table == "Queue" // the store, which holds what was used
	})
	return ours.Lines()
}

// showOn is what a host's session says.
func (s *ovnScene) showOn(h *lab.Host, name string) (v shown, err error) {
	s.t.Helper()
	r := s.oeOn(h, lab.Command{}, "session", "show", name, "-o", "json")
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil {
		return v, fmt.Errorf("session show %s: exit %d: %s: %w", name, r.code, r.stderr, err)
	}
	return v, nil
}

// reasonOn waits until a host's session has a state and a reason, and nothing is left to do there.
func (s *ovnScene) reasonOn(h *lab.Host, name, state, reason string) {
	s.t.Helper()
	s.must(lab.Until(s.ctx, fmt.Sprintf("session %q on %s is %s, %s", name, h, state, reason), func(context.Context) error {
		v, err := s.showOn(h, name)
		if err != nil {
			return err
		}
		if v.Status.State != state || reason != "" && v.Status.Reason != reason {
			return fmt.Errorf("it is %s, %s: %s", v.Status.State, v.Status.Reason, v.Status.Message)
		}
		if r := s.oeOn(h, lab.Command{}, "plan"); r.code != 0 {
			return fmt.Errorf("plan: exit %d: %s%s", r.code, r.stdout, r.stderr)
		}
		return nil
	}))
}
