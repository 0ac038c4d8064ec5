package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// healthy is a host on which all is well: one session on br0, version 2.
func healthy() Snapshot {
	id := 1
	collector := netip.MustParseAddr("192.0.2.9")
	st := session.Stored{Slot: 1, Session: session.Session{Name: "web", Type: session.Source, Bridge: "br0", Direction: session.Both,
		Sources: session.Sources{Ports: []string{"vnet0"}}, Collectors: []netip.Addr{collector}, ERSPAN: session.ERSPAN{Version: 2, SessionID: &id}}}
	co := flows.CollectorOutcome{Address: collector, State: session.Active, Reason: flows.ReasonInForce, MaxLen: 1460, MaxLenWhy: "auto",
		Path: flows.Path{Device: "br-ul", Source: netip.MustParseAddr("192.0.2.1"), NextHop: collector, MTU: 1500, HasNeighbor: true}}
	port := func(name, kind string, number int) *flows.Port {
		return &flows.Port{Name: name, Interfaces: []*flows.Interface{{Name: name, Type: kind, OFPort: number, Options: map[string]string{}}}}
	}
	tunnel := port("es-tun-nd", "erspan", 1)
	tunnel.ExternalIDs = map[string]string{flows.OwnerKey: "tunnel"}
	return Snapshot{
		Rundir: "/run", Version: "3.1.0", Control: "/run/ovs-vswitchd.7.ctl, process 7", Sessions: []session.Stored{st}, Wished: 1, Broken: map[string]string{},
		State: flows.State{OVSVersion: "3.1.0", OtherConfig: map[string]string{}, Bridges: map[string]*flows.Bridge{
			"br0":          {Name: "br0", DatapathType: "netdev", Ports: map[string]*flows.Port{"vnet0": port("vnet0", "", 1)}, Mirrors: map[string]*flows.Mirror{}},
			"br-ul":        {Name: "br-ul", DatapathType: "netdev", Ports: map[string]*flows.Port{}},
			"br-erspan-nd": {Name: "br-erspan-nd", DatapathType: "netdev", ExternalIDs: map[string]string{flows.OwnerKey: "tap-bridge"}, Ports: map[string]*flows.Port{"es-tun-nd": tunnel}},
		}},
		Outcomes:  map[string]*flows.Outcome{"web": {TapBridge: "br-erspan-nd", State: session.Active, Reason: flows.ReasonInForce, Collectors: []flows.CollectorOutcome{co}}},
		Narrowing: map[string]string{}, Datapath: map[string]Megaflows{"netdev@ovs-netdev": {5, 200000}}, Features: map[string]string{},
		Facts:  Facts{IfaceTypes: []string{"erspan"}, Bridges: map[string]Export{}, Bonds: map[string]Bond{}},
		Daemon: Daemon{PID: 7},
	}
}

func TestHealthy(t *testing.T) {
	for _, r := range Examine(healthy()) {
		if r.Level == Warning || r.Level == Failure {
			t.Errorf("%s: %s: %s", r.ID, r.Level, r.Saw)
		}
	}
}

// TestChecks provokes each check, and holds that it says what to do; none is left out.
func TestChecks(t *testing.T) {
	co := func(s *Snapshot) *flows.CollectorOutcome { return &s.Outcomes["web"].Collectors[0] }
	destination := func(s *Snapshot) {
		s.Sessions[0].Type = session.Destination
		s.State.Bridges["br-erspan-nd"].DatapathType = "system"
	}
	vlan := 5
	provoked := map[string]bool{}
	for _, tt := range []struct {
		id    string
		level Level
		says  string
		fault func(*Snapshot)
	}{
		{"ovsdb", Failure, "no such file", func(s *Snapshot) { s.DBError = "db.sock: no such file" }},
		{"vswitchd", Failure, "not running", func(s *Snapshot) { s.VswitchdError = "not running" }},
		{"version", Failure, "2.16.1", func(s *Snapshot) { s.Version = "2.16.1" }},
		{"version", OK, "3.1.0", func(s *Snapshot) { s.State.OVSVersion = "" }}, // nobody has written it there
		{"version", Failure, "ovs-vswitchd itself was not asked", func(s *Snapshot) { s.Version, s.State.OVSVersion = "", "2.16.1" }},
		{"version", Warning, `"dev"`, func(s *Snapshot) { s.Version = "dev" }},
		{"version", OK, "3.8", func(s *Snapshot) { s.Version = "3.8" }},
		{"known-bugs", OK, "recurse", func(s *Snapshot) {}},
		{"known-bugs", OK, "a meter on a copy", func(s *Snapshot) { s.Version = "3.7.1" }},
		{"store", Failure, "slot 0", func(s *Snapshot) { s.Broken["bad"] = "slot 0" }},
		{"daemon", Warning, "no daemon", func(s *Snapshot) { s.Daemon = Daemon{} }},
		{"daemon", Failure, "no sign of life", func(s *Snapshot) { s.Daemon.Hung = true }},
		{"daemon", Failure, "disk", func(s *Snapshot) { s.Daemon.Trouble = "disk" }},
		{"in-force", Warning, "3 rows", func(s *Snapshot) { s.PendingRows = 3 }},
		{"in-force", Warning, "bridge br-erspan-nd, port es-1-p of br0, mirror ovs-erspan-1 of br0", func(s *Snapshot) {
			mark := map[string]string{flows.OwnerKey: "tap"}
			s.Wished = 0
			s.State.Bridges["br0"].Ports["es-1-p"] = &flows.Port{Name: "es-1-p", ExternalIDs: mark}
			s.State.Bridges["br0"].Mirrors = map[string]*flows.Mirror{"id": {Name: "ovs-erspan-1", ExternalIDs: mark}}
		}},
		{"store", Warning, "restored from bridge br-erspan", func(s *Snapshot) { s.Restored = &session.Restored{From: "bridge br-erspan"} }},
		{"in-force", Failure, "refused", func(s *Snapshot) { s.PendingError = "refused" }},
		{"contested", Warning, "again and again", func(s *Snapshot) { s.Contested = map[string]string{"web": "undone again and again"} }},
		{"contested", Skipped, "only a daemon", func(s *Snapshot) { s.Daemon = Daemon{} }},
		{"controller", Warning, "2 OpenFlow controllers", func(s *Snapshot) { s.Facts.Bridges["br-erspan-nd"] = Export{Controllers: 2} }},
		{"datapath-type", Failure, "dummy", func(s *Snapshot) { s.State.Bridges["br0"].DatapathType = "dummy" }},
		{"two-ways", Warning, "the kernel sends goes nowhere", func(s *Snapshot) { s.KernelWays = map[netip.Addr]flows.Path{co(s).Address: {}} }},
		{"two-ways", Warning, "to 192.0.2.77 on br-ul2", func(s *Snapshot) {
			s.KernelWays = map[netip.Addr]flows.Path{co(s).Address: {Device: "br-ul2", NextHop: netip.MustParseAddr("192.0.2.77")}}
		}},
		{"two-ways", OK, "the same way", func(s *Snapshot) { s.KernelWays = map[netip.Addr]flows.Path{co(s).Address: co(s).Path} }},
		{"erspan-support", Failure, "cannot open", func(s *Snapshot) {
			i := s.State.Bridges["br-erspan-nd"].Ports["es-tun-nd"].Interfaces[0]
			i.OFPort, i.Error = -1, "could not add network device"
		}},
		{"erspan-support", Failure, "no interface type", func(s *Snapshot) {
			delete(s.State.Bridges, "br-erspan-nd")
			s.Facts.IfaceTypes = []string{"gre"}
		}},
		{"erspan-support", Failure, "cannot truncate", func(s *Snapshot) { s.Features["br0"] = "Truncate action: No" }},
		{"foreign-tunnels", Failure, "remote_ip=flow", func(s *Snapshot) {
			s.State.Bridges["br0"].Ports["x"] = &flows.Port{Name: "x", Interfaces: []*flows.Interface{{Type: "erspan", Options: map[string]string{"remote_ip": "flow", "key": "flow"}}}}
		}},
		{"foreign-tunnels", Warning, "mixed up", func(s *Snapshot) { // a key of its own: both are opened
			s.Sessions[0].Type = session.Destination
			s.State.Bridges["br0"].Ports["x"] = &flows.Port{Name: "x", Interfaces: []*flows.Interface{{Type: "erspan", Options: map[string]string{"remote_ip": "flow", "key": "7"}}}}
		}},
		{"foreign-tunnels", Warning, "no longer decapsulated", func(s *Snapshot) {
			s.State.Bridges["br0"].Ports["x"] = &flows.Port{Name: "x", Interfaces: []*flows.Interface{{Type: "gre", Options: map[string]string{}}}}
		}},
		{"foreign-tunnels", OK, "in the way", func(s *Snapshot) { // as OVN's mirrors have them
			s.State.Bridges["br0"].Ports["x"] = &flows.Port{Name: "x", Interfaces: []*flows.Interface{{Type: "gre", Options: map[string]string{}}}}
			s.State.Bridges["br0"].Mirrors = map[string]*flows.Mirror{"id": {Name: "theirs", OutputPort: "x"}}
		}},
		{"foreign-tunnels", OK, "in the way", func(s *Snapshot) { // nothing here receives
			s.State.Bridges["br0"].Ports["x"] = &flows.Port{Name: "x", Interfaces: []*flows.Interface{{Type: "erspan", Options: map[string]string{"remote_ip": "192.0.2.9"}}}}
		}},
		{"foreign-tunnels", Warning, "receives everything", func(s *Snapshot) {
			s.State.Bridges["br0"].Ports["x"] = &flows.Port{Name: "x", Interfaces: []*flows.Interface{{Type: "ip6erspan", Options: map[string]string{"remote_ip": "2001:db8::9"}}}}
		}},
		{"foreign-tunnels", Warning, "mixed up", func(s *Snapshot) {
			s.Sessions[0].Type = session.Destination
			s.State.Bridges["br0"].Ports["x"] = &flows.Port{Name: "x", Interfaces: []*flows.Interface{{Type: "erspan", Options: map[string]string{"remote_ip": "192.0.2.9"}}}}
		}},
		{"offload", Warning, "hw-offload", func(s *Snapshot) { s.State.OtherConfig["hw-offload"] = "true" }},
		{"offload", Warning, "userspace-tso", func(s *Snapshot) { s.State.OtherConfig["userspace-tso-enable"] = "true" }},
		{"megaflows", Warning, "190000", func(s *Snapshot) { s.Datapath["netdev@ovs-netdev"] = Megaflows{190000, 200000} }},
		{"sessions", Warning, "SourceMissing", func(s *Snapshot) {
			s.Outcomes["web"].State, s.Outcomes["web"].Reason = session.Pending, flows.ReasonSourceMissing
		}},
		{"sessions", Failure, "NameTaken", func(s *Snapshot) {
			s.Outcomes["web"].State, s.Outcomes["web"].Reason = session.Failed, flows.ReasonNameTaken
		}},
		{"own-address", Failure, "this host", func(s *Snapshot) { co(s).Path.OwnAddress = true }},
		{"route", Failure, "nothing leads there", func(s *Snapshot) { co(s).Reason, co(s).Message = flows.ReasonNoRoute, "nothing leads there" }},
		{"route", Failure, "IPv4 address", func(s *Snapshot) { co(s).Reason = flows.ReasonNoSource }},
		{"route", Failure, "no port of a bridge", func(s *Snapshot) { co(s).Reason = flows.ReasonNotOnBridge }},
		{"neighbor", Warning, "does not answer", func(s *Snapshot) { co(s).Reason = flows.ReasonNoNeighbor }},
		{"path-mtu", Warning, "does not fit", func(s *Snapshot) { co(s).Reason, co(s).Cut = flows.ReasonNoNeighbor, "does not fit" }},
		{"mirror-slots", Warning, "2 of 32", func(s *Snapshot) {
			for n := range 30 {
				s.State.Bridges["br0"].Mirrors[string(rune('a'+n))] = &flows.Mirror{}
			}
		}},
		{"unreadable", Warning, "192.0.2.50 sends Type I", func(s *Snapshot) {
			s.Sampled, s.Samples = time.Second, []Sample{{From: netip.MustParseAddr("192.0.2.50"), What: "Type I, which has no header", Packets: 3}}
		}},
		{"packet-budget", Failure, "300 times", func(s *Snapshot) {
			s.Outcomes["web"].Reason, s.Outcomes["web"].Message = flows.ReasonPacketBudget, "could be copied 300 times"
		}},
		{"match-cost", Warning, "tp_dst", func(s *Snapshot) { s.Narrowing["web"] = "tp_dst" }},
		{"patch-ports", Warning, "patch-int", func(s *Snapshot) {
			s.State.Bridges["br0"].Ports["patch-int"] = &flows.Port{Name: "patch-int", Interfaces: []*flows.Interface{{Type: "patch"}}}
		}},
		{"bonds", Warning, "bond0", func(s *Snapshot) {
			s.State.Bridges["br0"].Ports["bond0"] = &flows.Port{Name: "bond0"}
			s.Facts.Bonds["bond0"] = Bond{"balance-tcp", "active"}
		}},
		{"rspan", Warning, "VLAN 5", func(s *Snapshot) { s.State.Bridges["br0"].Mirrors["m"] = &flows.Mirror{Name: "m", OutputVLAN: &vlan} }},
		{"guard-sight", Warning, "vlan-limit", func(s *Snapshot) { co(s).Path.Device = "br0"; s.State.OtherConfig["vlan-limit"] = "1" }},
		{"guard-sight", Warning, "vxlan", func(s *Snapshot) {
			co(s).Path.Device = "br0"
			s.State.Bridges["br0"].Ports["vx"] = &flows.Port{Name: "vx", Interfaces: []*flows.Interface{{Type: "vxlan"}}}
		}},
		{"flow-export", Warning, "NetFlow", func(s *Snapshot) { s.Facts.Bridges["br0"] = Export{NetFlow: true} }},
		{"large-mtu", Warning, "eth1 of br0 (9000)", func(s *Snapshot) {
			s.State.Bridges["br0"].Ports["eth1"] = &flows.Port{Name: "eth1", Interfaces: []*flows.Interface{{Name: "eth1", OFPort: 5, MTU: 9000}}}
		}},
		{"large-mtu", Warning, "and 6 more", func(s *Snapshot) {
			for n := range 10 {
				name := fmt.Sprintf("eth%d", n)
				s.State.Bridges["br0"].Ports[name] = &flows.Port{Name: name, Interfaces: []*flows.Interface{{Name: name, OFPort: 5, MTU: 9000}}}
			}
		}},
		{"large-mtu", OK, "GLIBC_TUNABLES", func(s *Snapshot) {
			s.State.Bridges["br0"].Ports["vnet0"].Interfaces[0].MTU, s.KeepsMemory = 9000, true
		}},
		{"large-mtu", OK, "no device of the kernel", func(s *Snapshot) { // what has no buffers of its own, or is the kernel's
			s.State.Bridges["br0"].Ports["vnet0"].Interfaces[0].MTU = 3900
			s.State.Bridges["br0"].Ports["dpdk0"] = &flows.Port{Name: "dpdk0", Interfaces: []*flows.Interface{{Name: "dpdk0", Type: "dpdk", OFPort: 5, MTU: 9000}}}
			s.State.Bridges["br1"] = &flows.Bridge{Name: "br1", DatapathType: "system", Ports: map[string]*flows.Port{
				"eth1": {Name: "eth1", Interfaces: []*flows.Interface{{Name: "eth1", OFPort: 5, MTU: 9000}}}}}
		}},
		{"host-stack", Warning, "device analyzer0", func(s *Snapshot) { s.Isolation = []string{"+ table netdev x: device analyzer0"} }},
		{"host-stack", Skipped, "not permitted", func(s *Snapshot) { destination(s); s.IsolationError = "operation not permitted" }},
		{"clock", Warning, "not synchronized", func(s *Snapshot) { s.Unsynchronized = true }},
		{"firewall", Warning, "iptables", func(s *Snapshot) { destination(s); s.PacketFilters = []string{"filter"} }},
	} {
		s := healthy()
		tt.fault(&s)
		provoked[tt.id] = true
		found := false
		for _, r := range Examine(s) {
			if r.ID != tt.id || r.Level != tt.level || !strings.Contains(r.Saw, tt.says) {
				continue
			}
			found = true
			if r.Do == "" && r.Level != OK && r.Level != Skipped {
				t.Errorf("%s: does not say what to do about %q", tt.id, r.Saw)
			}
		}
		if !found {
			t.Errorf("%s: no %s with %q in %+v", tt.id, tt.level, tt.says, Examine(s))
		}
	}
	for _, c := range Checks() {
		if !provoked[c[0]] {
			t.Errorf("check %q is provoked by no test", c[0])
		}
	}
}

// TestNothingIsConcluded: a check whose question was not asked, or not answered, says neither that all is well nor that it
// is not: it was skipped, with the reason.
func TestNothingIsConcluded(t *testing.T) {
	all := map[string]bool{}
	byNeed := func(from need) (ids []string) {
		for _, c := range checks {
			all[c.id] = true
			if c.needs >= from {
				ids = append(ids, c.id)
			}
		}
		return ids
	}
	for name, tt := range map[string]struct {
		unseen func(*Snapshot)
		skip   []string // checks that have seen nothing then
	}{
		"nothing was gathered":         {func(s *Snapshot) { *s = Snapshot{} }, append(byNeed(database), "ovsdb", "vswitchd", "version", "known-bugs", "unreadable")},
		"no database":                  {func(s *Snapshot) { s.DBError = "away" }, byNeed(database)},
		"the database was not asked":   {func(s *Snapshot) { s.State = flows.State{} }, append(byNeed(database), "ovsdb")},
		"no ovs-vswitchd":              {func(s *Snapshot) { s.VswitchdError = "away" }, byNeed(vswitchd)},
		"ovs-vswitchd was not asked":   {func(s *Snapshot) { s.Control = "" }, append(byNeed(vswitchd), "vswitchd")},
		"no plan":                      {func(s *Snapshot) { s.PlanError = "no" }, byNeed(plan)},
		"nobody has planned":           {func(s *Snapshot) { s.Outcomes = nil }, byNeed(plan)},
		"no version anywhere":          {func(s *Snapshot) { s.Version, s.State.OVSVersion = "", "" }, []string{"version", "known-bugs"}},
		"the kernel tells no routes":   {func(s *Snapshot) { s.KernelWaysError = "no" }, []string{"two-ways"}},
		"the clock cannot be asked":    {func(s *Snapshot) { s.ClockError = "no" }, []string{"clock"}},
		"no daemon":                    {func(s *Snapshot) { s.Daemon = Daemon{} }, []string{"contested"}},
		"nobody listened":              {func(s *Snapshot) { s.Sampled = 0 }, []string{"unreadable"}},
		"no iface_types and no port":   {func(s *Snapshot) { s.Facts.IfaceTypes = nil; delete(s.State.Bridges, "br-erspan-nd") }, []string{"erspan-support"}},
		"no way to the collector":      {func(s *Snapshot) { s.Outcomes["web"].Collectors[0].Path = flows.Path{} }, []string{"own-address", "route", "two-ways", "neighbor"}},
		"its next hop was not seen":    {func(s *Snapshot) { s.Outcomes["web"].Collectors[0].Path.HasNeighbor = false }, []string{"neighbor"}},
		"a destination, and nftables":  {func(s *Snapshot) { s.Sessions[0].Type, s.IsolationError = session.Destination, "no" }, []string{"host-stack"}},
		"its firewall, and no plan":    {func(s *Snapshot) { s.Sessions[0].Type, s.PlanError = session.Destination, "no" }, []string{"firewall"}},
		"nobody can read the sessions": {func(s *Snapshot) { s.Sessions = nil; s.DBError = "no" }, []string{"store", "sessions"}},
	} {
		s := healthy()
		tt.unseen(&s)
		for _, r := range Examine(s) {
			if slices.Contains(tt.skip, r.ID) && r.Level != Skipped && !(r.Level == Failure && r.ID == "ovsdb") {
				t.Errorf("%s: %s says %s: %s", name, r.ID, r.Level, r.Saw)
			}
			if r.Level == Skipped && r.Saw == "" {
				t.Errorf("%s: %s does not say why it was skipped", name, r.ID)
			}
		}
		for _, id := range tt.skip {
			if !all[id] {
				t.Errorf("%s: there is no check %q", name, id)
			}
		}
	}
}

// TestAdviceIsHarmless: a key that somebody wrote into the store by hand stands in a command that is pasted as one word.
func TestAdviceIsHarmless(t *testing.T) {
	s := healthy()
	s.Broken = map[string]string{"$(touch pwned); x": "slot 0"}
	for _, r := range Examine(s) {
		if r.ID == "store" && r.Level == Failure && !strings.HasSuffix(r.Do, ` session remove '$(touch pwned); x'`) {
			t.Errorf("the advice is %s", r.Do)
		}
	}
}

func TestWorst(t *testing.T) {
	if got := Worst([]Result{ok(""), skipped(""), warning("", "")}); got != Warning {
		t.Error(got)
	}
	if got := Worst(nil); got != Skipped {
		t.Error(got)
	}
}
