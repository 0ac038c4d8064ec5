//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// The userspace datapath's tunnels take the way that Open vSwitch's own route table has, which is often not the kernel's.
// These scenarios give the host routes of which the two make different things.

// deadHop is a next hop on br-ul that nobody has.
const deadHop = "192.0.2.77"

// farCollectors are addresses of the collector that are behind it, reached through 192.0.2.254, which is the collector too.
func farCollectors(s *scene) {
	s.t.Helper()
	for _, addr := range []string{"192.0.2.253/24", "192.0.2.254/24"} {
		_, _, err := s.collector.Exec(s.ctx, "ip", "addr", "add", addr, "dev", "eth0")
		s.must(err)
	}
	for n := 1; n <= 12; n++ {
		_, _, err := s.collector.Exec(s.ctx, "ip", "addr", "add", fmt.Sprintf("203.0.113.%d/32", n), "dev", "lo")
		s.must(err)
	}
}

// lookup is what Open vSwitch's route table says, on one line; it waits until that is not what it was.
func (s *scene) lookup(to, was string) (text string) {
	s.t.Helper()
	s.must(lab.Until(s.ctx, "Open vSwitch has taken over the route to "+to, func(ctx context.Context) error {
		out, err := s.host.Appctl(ctx, "ovs/route/lookup", to)
		if err != nil {
			out = "Not found"
		}
		if text = strings.Join(strings.Fields(out), " "); text == was {
			return fmt.Errorf("%s", text)
		}
		return nil
	}))
	return text
}

// TestStateIsTheTruthOfTheWay: whatever routes there are, a session is Active where its copies arrive, and nowhere else.
func TestStateIsTheTruthOfTheWay(t *testing.T) {
	t.Parallel()
	if lab.Datapath() == lab.Kernel {
		t.Skip("the kernel's datapath takes the kernel's way")
	}
	s := newScene(t)
	farCollectors(s)
	_, _, err := s.host.Exec(s.ctx, "ip", "addr", "add", "192.0.2.2/24", "dev", "br-ul")
	s.must(err)
	s.ping(s.host.Node, "192.0.2.254", 1)
	s.ping(s.host.Node, "192.0.2.253", 1)
	for n, tt := range []struct {
		name   string
		routes string // TO is the collector's address
		arrive bool
		reason string
		same   bool // the kernel takes the same way
		// taken is the reason where Open vSwitch takes a route that 3.1 does not, as 3.5 and later do: "" for one that it does.
		taken string
	}{
		{"one next hop", "route add TO via 192.0.2.254", true, "InForce", true, ""},
		{"the better metric is alive", "route add TO via 192.0.2.254 metric 10; route add TO via " + deadHop + " metric 100", false, "NoNeighbor", false, ""},
		{"multipath", "route add TO nexthop via 192.0.2.253 nexthop via 192.0.2.254", false, "NoRoute", false, "InForce"},
		{"a group of next hops", "nexthop add id 1 via 192.0.2.253 dev br-ul; nexthop add id 2 via 192.0.2.254 dev br-ul; nexthop add id 3 group 1/2; route add TO nhid 3", false, "NoRoute", false, "InForce"},
		{"a next hop object", "nexthop add id 4 via 192.0.2.254 dev br-ul; route add TO nhid 4", true, "InForce", true, ""},
		{"a source address of the route", "route add TO via 192.0.2.254 src 192.0.2.2", true, "InForce", true, ""},
		{"IPv4 by an IPv6 next hop", "-6 neigh replace fe80::77 lladdr 02:00:00:00:00:77 dev br-ul; route add TO via inet6 fe80::77 dev br-ul", false, "NoRoute", false, "LinkLocalSource"},
		{"a rule before the main table", "rule add to TO table 100; route add TO via 192.0.2.254 table 100; route add TO via " + deadHop, false, "NoNeighbor", false, ""},
		{"two default routes", "route add default via 192.0.2.254 metric 10; route add default via " + deadHop + " metric 20", false, "NoNeighbor", false, ""},
		{"a black hole beside a default route", "route flush default; route add 203.0.113.0/24 via 192.0.2.254; route add blackhole TO", true, "InForce", false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := *s
			s.t = t
			to := fmt.Sprintf("203.0.113.%d", n+1)
			for line := range strings.SplitSeq(strings.ReplaceAll(tt.routes, "TO", to), "; ") {
				_, _, err := s.host.Exec(s.ctx, slices.Concat([]string{"ip"}, strings.Fields(line))...)
				s.must(err)
			}
			way := s.settledLookup(to)
			sure := true
			if tt.taken != "" && strings.Contains(way, "dev ") {
				tt.arrive, tt.reason, sure = tt.taken == "InForce", tt.taken, false // of several ways the kernel may take another
			}
			r := s.oe("session", "add", "far", "--bridge", "br0", "--source", "vnet0", "--collector", to)
			if want := map[bool]int{true: 0, false: 3}[tt.arrive]; r.code != want {
				t.Errorf("add: exit %d, want %d: %s%s", r.code, want, r.stdout, r.stderr)
			}
			wire := s.capture(s.collector, "eth0", "proto 47 and dst host "+to)
			s.ping(s.a, addrB, 5)
			if tt.arrive {
				s.waitCount(wire, "erspan", 10)
			}
			s.fence()
			s.stop(wire)
			copies := s.fields(wire, "erspan", "ip.src")
			state, reason := s.state("far")
			if (state == "Active") != tt.arrive || reason != tt.reason || (len(copies) > 0) != tt.arrive {
				t.Errorf("%d copies arrived, and the session is %s (%s), want %s; Open vSwitch's way: %s", len(copies), state, reason, tt.reason, way)
			}
			if r := s.oe("doctor", "far"); sure && strings.Contains(r.stdout, "what the kernel sends goes") == tt.same {
				t.Errorf("doctor says of the two ways, which are %s and the kernel's:\n%s", way, r.stdout)
			}
			for _, row := range copies {
				if !strings.Contains(way+" ", "src "+strings.SplitN(row[0], ",", 2)[0]+" ") {
					t.Errorf("a copy came from %s, and Open vSwitch's way is %s", row[0], way)
				}
			}
			s.ok("session", "remove", "far")
		})
	}
}

// settledLookup is what Open vSwitch's route table says when it says so for a while: it follows the kernel's changes a
// moment later, and two changes in two steps.
func (s *scene) settledLookup(to string) string {
	s.t.Helper()
	probe := "203.0.113.250"
	was := s.lookup(probe, "")
	for _, op := range []string{"add", "del"} { // netlink keeps the order: what comes later is seen later
		_, _, err := s.host.Exec(s.ctx, "ip", "route", op, probe, "via", collectorAddr)
		s.must(err)
		was = s.lookup(probe, was)
	}
	return s.lookup(to, "")
}

// TestDaemonFollowsOpenVSwitchsRoutes: a route that changes while a session runs, also by ovs/route/add, of which nobody is
// told.
func TestDaemonFollowsOpenVSwitchsRoutes(t *testing.T) {
	t.Parallel()
	if lab.Datapath() == lab.Kernel {
		t.Skip("the kernel's datapath takes the kernel's way")
	}
	s := newScene(t)
	farCollectors(s)
	s.daemon().ready()
	const to = "203.0.113.9"
	_, _, err := s.host.Exec(s.ctx, "ip", "route", "add", to, "via", "192.0.2.254")
	s.must(err)
	s.settledLookup(to)
	s.ok("session", "add", "far", "--bridge", "br0", "--source", "vnet0", "--collector", to)
	becomes := func(after, want string) {
		t.Helper()
		s.must(lab.Until(s.ctx, after+": the session is "+want, func(context.Context) error {
			if state, reason := s.state("far"); state != want && reason != want {
				return fmt.Errorf("it is %s, %s", state, reason)
			}
			return nil
		}))
	}
	becomes("at first", "Active")
	_, _, err = s.host.Exec(s.ctx, "ip", "route", "replace", to, "via", deadHop)
	s.must(err)
	becomes("with a dead next hop", "NoNeighbor")
	_, _, err = s.host.Exec(s.ctx, "ip", "route", "replace", to, "via", "192.0.2.253")
	s.must(err)
	becomes("with another next hop", "Active")
	_, err = s.host.Appctl(s.ctx, "ovs/route/add", to+"/32", "br-ul", deadHop)
	s.must(err)
	becomes("with a dead next hop in Open vSwitch's table alone", "NoNeighbor")
	_, err = s.host.Appctl(s.ctx, "ovs/route/del", to+"/32")
	s.must(err)
	_, _, err = s.host.Exec(s.ctx, "ip", "route", "replace", to, "via", "192.0.2.254") // it reads the kernel's anew
	s.must(err)
	becomes("without it", "Active")
	wire := s.capture(s.collector, "eth0", "proto 47 and dst host "+to)
	s.ping(s.a, addrB, 5)
	s.waitCount(wire, "erspan", 10)
	s.stop(wire)
}

// twoUplinks is a scene with a second uplink, br-ul2, on which u (192.0.3.9) is production.
func twoUplinks(t *testing.T) (*scene, *lab.Node) {
	s := newScene(t)
	s.must(s.host.AddBridge(s.ctx, "br-ul2"))
	u := s.guest("u")
	s.must(s.host.Attach(s.ctx, u, "br-ul2", "uplink2", lab.GuestIf{Addrs: []string{"192.0.3.9/24", "2001:db8:3::9/64"}}))
	s.must(s.host.Underlay(s.ctx, "br-ul2", 0, "192.0.3.1/24", "2001:db8:3::1/64"))
	return s, u
}

// TestDeadBackupUplink: Open vSwitch takes the backup, whose next hop is dead and whose uplink is tapped twice. What it asks
// for its next hop comes from the backup's address, and is not copied. Nor is it when the way changes while nobody reconciles.
func TestDeadBackupUplink(t *testing.T) {
	t.Parallel()
	if lab.Datapath() == lab.Kernel {
		t.Skip("the kernel's datapath takes the kernel's way")
	}
	for name, family := range map[string]struct{ far, alive, dead, flag string }{
		"IPv4": {"203.0.113.0/24", "192.0.2.9", "192.0.3.77", "-4"},
		"IPv6": {"2001:db8:f::/64", "2001:db8::9", "2001:db8:3::77", "-6"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, u := twoUplinks(t)
			ip := func(args ...string) {
				t.Helper()
				_, _, err := s.host.Exec(s.ctx, slices.Concat([]string{"ip", family.flag, "route"}, args)...)
				s.must(err)
			}
			first := netip.MustParsePrefix(family.far).Addr().Next()
			ip("add", family.far, "via", family.alive, "metric", "10")
			was := s.lookup(first.String(), "Not found")
			for n, to := range []netip.Addr{first, first.Next()} {
				// The session is there before the way changes.
				s.ok("session", "add", fmt.Sprint("up", n), "--bridge", "br-ul2", "--source", "uplink2,br-ul2", "--direction", "both", "--collector", to.String())
			}
			ip("add", family.far, "via", family.dead, "metric", "100")
			if name == "IPv6" { // Open vSwitch keeps the first that it heard of
				ip("del", family.far, "via", family.alive, "metric", "10")
			}
			s.lookup(first.String(), was)
			survives := func(when string) {
				t.Helper()
				asked := s.capture(u, "eth0", "arp or icmp6")
				s.ping(u, "192.0.3.1", 10)
				s.ping(s.a, addrB, 3)
				if err := s.answers(); err != nil {
					t.Fatalf("%s: ovs-vswitchd no longer answers: %v", when, err)
				}
				s.stop(asked)
				if n, err := asked.Count(s.ctx, ""); err != nil || n > 200 {
					t.Errorf("%s: %d questions on the wire, %v", when, n, err)
				}
			}
			survives("before anyone reconciles")
			if r := s.oe("run", "--once"); r.code != 0 && r.code != 3 {
				t.Fatalf("run --once: exit %d: %s", r.code, r.stderr)
			}
			if state, reason := s.state("up0"); state != "Degraded" || reason != "NoNeighbor" {
				t.Errorf("the next hop is dead: %s, %s", state, reason)
			}
			survives("after it")
		})
	}
}

// TestCopiesFitEachPort: the tunnel's own port takes jumbo frames, the ports that its packets leave through do not. A copy
// that is too large for them would take production's small frames of the same batch with it.
func TestCopiesFitEachPort(t *testing.T) {
	t.Parallel()
	if lab.Datapath() == lab.Kernel {
		t.Skip("the kernel's datapath loses only the copy")
	}
	const jumbo = 9000
	for name, tt := range map[string]struct {
		device string // of the tunnel's address
		phy    string // the bridge with the uplink
		setup  func(s *scene)
	}{
		"one bridge": {"br-ul", "br-ul", func(*scene) {}},
		"VLAN on the local port": {"br-ul", "br-ul", func(s *scene) {
			s.vsctl("set", "port", "br-ul", "tag=100", "--", "set", "port", "uplink", "tag=100")
		}},
		"internal port": {"vtep0", "br-ul", func(s *scene) {
			s.vsctl("add-port", "br-ul", "vtep0", "--", "set", "interface", "vtep0", "type=internal")
		}},
		"patch": {"br-tun", "br-ul", func(s *scene) {
			s.must(s.host.AddBridge(s.ctx, "br-tun"))
			s.vsctl("add-port", "br-tun", "to-ul", "--", "set", "interface", "to-ul", "type=patch", "options:peer=to-tun", "--",
				"add-port", "br-ul", "to-tun", "--", "set", "interface", "to-tun", "type=patch", "options:peer=to-ul")
		}},
		"bond": {"br-ul", "br-ul", func(s *scene) {
			s.must(lab.Connect(s.ctx, s.host.Node, lab.NodeIf{Dev: "uplink2"}, s.collector, lab.NodeIf{Dev: "eth1"}, 1500))
			s.vsctl("del-port", "br-ul", "uplink", "--", "add-bond", "br-ul", "bond0", "uplink", "uplink2", "--", "set", "port", "bond0", "bond_mode=active-backup", "other_config:bond-primary=uplink")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			tt.setup(s)
			inside, neighbor := s.guest("c"), s.guest("d")
			tag := lab.GuestIf{MTU: jumbo}
			if strings.HasPrefix(name, "VLAN") {
				tag.Tag = 100
			}
			s.must(s.host.Attach(s.ctx, inside, tt.phy, "vnet2", tag))
			s.must(s.host.Attach(s.ctx, neighbor, tt.phy, "vnet3", tag))
			if tt.device != "br-ul" {
				_, _, err := s.host.Exec(s.ctx, "ip", "addr", "flush", "dev", "br-ul")
				s.must(err)
				s.must(s.host.Underlay(s.ctx, tt.device, jumbo, hostAddr+"/24"))
			} else {
				s.vsctl("set", "interface", "br-ul", fmt.Sprintf("mtu_request=%d", jumbo))
			}
			s.ping(s.host.Node, collectorAddr, 1)
			session := []string{"session", "add", "web", "--bridge", tt.phy, "--source", "vnet2", "--direction", "ingress", "--collector", collectorAddr}
			for _, snaplen := range []string{"off", "4000"} {
				if text := s.refused(append(session, "--snaplen", snaplen)...); !strings.Contains(text, "uplink") {
					t.Errorf("--snaplen %s: want the port that is too small named:\n%s", snaplen, text)
				}
			}
			s.ok(session...)
			const count = 400
			var frames, small [][]byte
			for i := range count {
				f := rawFrame(rawOut, rawA, 0, 100)
				f[98], f[99] = byte(i>>8), byte(i) // all differ
				small = append(small, f)
				frames = append(frames, rawFrame(rawB, rawA, 0, 4000), f)
			}
			// Where the addresses are is learned first.
			s.must(lab.SendRaw(s.ctx, neighbor, "eth0", [][]byte{rawFrame(rawA, rawB, 0, 100)}, 0))
			s.must(lab.SendRaw(s.ctx, s.collector, "eth0", [][]byte{rawFrame(rawA, rawOut, 0, 100)}, 0))
			s.fence()
			atUplink := s.capture(s.collector, "eth0", "ether proto 0x88b5 and ether dst 02:00:00:00:0c:01")
			copies := s.capture(s.collector, "eth0", "proto 47")
			for some := range slices.Chunk(frames, 32) {
				s.must(lab.SendRaw(s.ctx, inside, "eth0", some, 4000))
				s.ping(s.collector, hostAddr, 1)
			}
			s.waitCount(copies, "erspan", 2*count)
			s.fence()
			s.stop(atUplink)
			s.stop(copies)
			if got := s.rawFrames(atUplink); missingFrames(small, got) != 0 {
				t.Errorf("%d of %d of production's small frames are missing at the uplink", missingFrames(small, got), count)
			}
		})
	}
}

// TestIPv6Source: Open vSwitch may send from another address than the origin that was wished for, and from a link-local one
// where its next hop is one, which no router forwards. Neither is Active while the copies are lost or come from elsewhere.
func TestIPv6Source(t *testing.T) {
	t.Parallel()
	if lab.Datapath() == lab.Kernel {
		t.Skip("the kernel's datapath takes the kernel's way")
	}
	s := newScene(t)
	_, _, err := s.host.Exec(s.ctx, "ip", "addr", "add", "2001:db8::2/64", "dev", "br-ul", "nodad")
	s.must(err)
	s.lookup("2001:db8::2", "Not found")
	for n, origin := range []string{hostAddr6, "2001:db8::2"} {
		r := s.oe("session", "add", "from", "--bridge", "br0", "--source", "vnet0", "--collector", collector6, "--origin", origin, "--session-id", fmt.Sprint(10+n))
		wire := s.capture(s.collector, "eth0", "ip6 proto 47")
		s.ping(s.a, addrB, 3)
		s.waitCount(wire, "erspan", 6)
		s.stop(wire)
		from := s.fields(wire, "erspan", "ipv6.src")[0][0]
		state, reason := s.state("from")
		if honoured := from == origin; honoured != (state == "Active") || honoured == (reason == "OriginIgnored") || honoured != (r.code == 0) {
			t.Errorf("origin %s: copies come from %s, and the session is %s (%s), exit %d", origin, from, state, reason, r.code)
		}
		s.ok("session", "remove", "from")
	}

	// A router with a link-local address, as router advertisements have it, and one collector behind it.
	router := s.guest("router")
	s.must(s.host.Attach(s.ctx, router, "br-ul", "vnet8", lab.GuestIf{Addrs: []string{"2001:db8::fe/64"}}))
	s.must(lab.Connect(s.ctx, router, lab.NodeIf{Dev: "eth1", Addrs: []string{"2001:db8:f::fe/64"}}, s.collector, lab.NodeIf{Dev: "eth1", Addrs: []string{"2001:db8:f::9/64"}}, 1500))
	s.must(router.Forward(s.ctx))
	_, _, err = s.collector.Exec(s.ctx, "ip", "-6", "route", "add", "2001:db8::/64", "via", "2001:db8:f::fe", "dev", "eth1", "metric", "1")
	s.must(err)
	out, _, err := router.Exec(s.ctx, "ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "link")
	s.must(err)
	linkLocal, _, _ := strings.Cut(strings.Fields(out)[3], "/")
	for _, way := range []struct {
		name, hop, reason string
		arrive            bool
	}{{"link-local", linkLocal, "LinkLocalSource", false}, {"global", "2001:db8::fe", "InForce", true}} {
		was := ""
		if way.arrive { // what the message of the other says is the remedy
			was = s.lookup("2001:db8:f::9", "")
		}
		_, _, err = s.host.Exec(s.ctx, "ip", "-6", "route", "replace", "2001:db8:f::9", "via", way.hop, "dev", "br-ul")
		s.must(err)
		if !way.arrive {
			was = "Not found"
		}
		s.lookup("2001:db8:f::9", was)
		r := s.oe("session", "add", "far", "--bridge", "br0", "--source", "vnet0", "--collector", "2001:db8:f::9", "--may-exist")
		wire := s.capture(s.collector, "eth1", "ip6 proto 47")
		s.ping(s.a, addrB, 3)
		if way.arrive {
			s.waitCount(wire, "erspan", 6)
		}
		s.fence()
		s.stop(wire)
		n, err := wire.Count(s.ctx, "erspan")
		s.must(err)
		if state, reason := s.state("far"); reason != way.reason || (state == "Active") != way.arrive || (n > 0) != way.arrive {
			t.Errorf("%s next hop: %d copies, and the session is %s (%s): %s%s", way.name, n, state, reason, r.stdout, r.stderr)
		}
	}
}

// TestMarkedPacketsAreCopied: production's pipeline marks packets, as OVN's does, and the mark does not choose the copies' way.
func TestMarkedPacketsAreCopied(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.ofctl("add-flow", "br0", "priority=10,ip,actions=set_field:5->pkt_mark,NORMAL")
	s.add("web", "--source", "vnet0")
	wire := s.capture(s.collector, "eth0", "proto 47")
	s.ping(s.a, addrB, 5)
	s.waitCount(wire, "erspan && icmp.type == 8", 5)
	s.waitCount(wire, "erspan && icmp.type == 0", 5)
	s.stop(wire)
	// Production's own packet has its mark, also where a copy comes between two outputs of it.
	s.ofctl("add-flow", "br0", "priority=20,ip,in_port=vnet1,actions=set_field:5->pkt_mark,output:vnet0,LOCAL")
	trace, err := s.host.Appctl(s.ctx, "ofproto/trace", "br0", "in_port=vnet1,icmp,nw_src="+addrB+",nw_dst="+addrA)
	s.must(err)
	actions := trace[strings.LastIndex(trace, "Datapath actions: "):]
	// Newer releases change it in a clone alone, where there is nothing to put back.
	outside := withoutClones(actions)
	last := strings.LastIndex(outside, "set(skb_mark(0x5)),")
	if !strings.Contains(actions, "set(skb_mark(0))") || last < 0 || strings.Contains(outside[last:], "skb_mark(0)") {
		t.Errorf("production's mark is not put back behind the copy: %s", actions)
	}
}

// withoutClones is actions of the datapath without what they do to clones of the packet.
func withoutClones(actions string) string {
	for {
		begin := strings.Index(actions, "clone(")
		if begin < 0 {
			return actions
		}
		end := begin + len("clone(")
		for depth := 1; depth > 0 && end < len(actions); end++ {
			switch actions[end] {
			case '(':
				depth++
			case ')':
				depth--
			}
		}
		actions = actions[:begin] + actions[end:]
	}
}

// TestDaemonFollowsPortsMTU: a port that copies can leave through takes less than before, or more, or is new, also behind a
// patch, while the tunnel's own port stays as large as it was.
func TestDaemonFollowsPortsMTU(t *testing.T) {
	t.Parallel()
	if lab.Datapath() == lab.Kernel {
		t.Skip("the kernel's datapath loses only the copy")
	}
	s := newScene(t)
	s.vsctl("set", "interface", "br-ul", "mtu_request=9000")
	s.daemon().ready()
	s.add("web", "--source", "vnet0")
	cut := func(when string, bytes int) {
		t.Helper()
		s.must(lab.Until(s.ctx, fmt.Sprintf("%s: copies are cut to %d bytes", when, bytes), func(ctx context.Context) error {
			out, err := s.host.Ofctl(ctx, "-O", "OpenFlow15", "dump-flows", tapBridge, "table=30")
			if err == nil && !strings.Contains(out, fmt.Sprintf("max_len=%d)", bytes)) {
				err = fmt.Errorf("%s", out)
			}
			return err
		}))
	}
	mtu := func(bytes string) {
		t.Helper()
		_, _, err := s.host.Exec(s.ctx, "ip", "link", "set", "uplink", "mtu", bytes)
		s.must(err)
	}
	cut("at first", 1464)
	mtu("1400")
	cut("the uplink takes less", 1364)
	mtu("1500")
	cut("the uplink takes more", 1464)
	s.must(s.host.AddBridge(s.ctx, "br-phy"))
	s.must(s.host.Attach(s.ctx, s.guest("e"), "br-phy", "vnet9", lab.GuestIf{MTU: 1300}))
	s.vsctl("add-port", "br-phy", "to-ul", "--", "set", "interface", "to-ul", "type=patch", "options:peer=to-phy", "--",
		"add-port", "br-ul", "to-phy", "--", "set", "interface", "to-phy", "type=patch", "options:peer=to-ul")
	cut("a patch to a bridge with a small port", 1264)
	s.vsctl("del-port", "br-ul", "to-phy")
	cut("without the patch", 1464)
}
