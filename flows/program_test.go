package flows

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ovs-erspan/ovs-erspan/session"
)

func build(state State, sessions ...session.Stored) Program {
	return Build(Input{State: state, Sessions: sessions, Paths: paths(sessions)})
}

// carryOut makes a state what row changes say, as ovsdb-server and ovs-vswitchd would.
func carryOut(t testing.TB, state State, c Changes) {
	t.Helper()
	for _, op := range slices.Concat(c.Before, c.After, c.Last) {
		b := state.Bridges[op.Bridge]
		if b == nil && op.AddBridge == nil {
			t.Fatalf("%s: no such bridge", op)
		}
		switch {
		case op.AddBridge != nil:
			n := *op.AddBridge
			n.Ports = map[string]*Port{n.Name: {Name: n.Name, Interfaces: []*Interface{{Name: n.Name, Type: "internal"}}}}
			n.Mirrors = map[string]*Mirror{}
			state.Bridges[op.Bridge] = &n
		case op.SetBridge != nil:
			b.FailMode, b.Protocols, b.MTURequest = op.SetBridge.FailMode, op.SetBridge.Protocols, op.SetBridge.MTURequest
		case op.DelBridge:
			delete(state.Bridges, op.Bridge)
		case op.AddPort != nil:
			p := *op.AddPort
			for _, i := range p.Interfaces {
				i.OFPort = max(i.OFPortRequest, 1)
			}
			b.Ports[p.Name] = &p
		case op.SetPort != nil:
			b.Ports[op.SetPort.Name] = op.SetPort
		case op.DelPort != "":
			delete(b.Ports, op.DelPort)
		case op.AddMirror != nil:
			m := *op.AddMirror
			m.UUID = fmt.Sprintf("uuid-%s-%d", m.Name, len(b.Mirrors))
			if b.Mirrors == nil {
				b.Mirrors = map[string]*Mirror{}
			}
			b.Mirrors[m.UUID] = &m
		case op.SetMirror != nil:
			b.Mirrors[op.SetMirror.UUID] = op.SetMirror
		case op.DelMirror != "":
			delete(b.Mirrors, op.DelMirror)
		}
	}
}

// TestTwiceIsEmpty is promise 4, over random sessions; and that removing all of them leaves the state as it was.
func TestTwiceIsEmpty(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		state := production()
		before := production()
		var sessions []session.Stored
		for slot := range rapid.IntRange(1, 6).Draw(r, "sessions") {
			sessions = append(sessions, stored(uint32(slot+1), fmt.Sprintf("s%d", slot), func(s *session.Session) {
				s.Sources.Ports = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"vnet0", "vnet1", "vnet2"}), 1, 3, rapid.ID[string]).Draw(r, "ports")
				s.Direction = rapid.SampledFrom([]session.Direction{session.Ingress, session.Egress, session.Both}).Draw(r, "direction")
				s.ERSPAN.Version = rapid.IntRange(1, 2).Draw(r, "version")
				s.VLANs = rapid.SampledFrom([][]int{nil, {10}, {10, 20}}).Draw(r, "vlans")
				s.Disabled = rapid.Bool().Draw(r, "disabled")
				if rapid.Bool().Draw(r, "own") {
					s.DSCP = ptr(rapid.IntRange(1, 63).Draw(r, "dscp"))
				}
			}))
		}
		carryOut(t, state, RowChanges(state, build(state, sessions...)))
		again := build(state, sessions...)
		if c := RowChanges(state, again); !c.Empty() {
			r.Fatalf("applying twice is not empty: %v", c)
		}
		if tb := again.TapBridges; len(tb) > 0 && !slices.EqualFunc(tb[0].Flows, build(state, sessions...).TapBridges[0].Flows, func(a, b Flow) bool { return a.Line() == b.Line() }) {
			r.Fatal("two plans of the same input differ")
		}
		carryOut(t, state, RowChanges(state, build(state)))
		for _, b := range state.Bridges { // an empty map of mirrors is none
			if len(b.Mirrors) == 0 {
				b.Mirrors = nil
			}
		}
		if diff := cmp.Diff(before, state); diff != "" {
			r.Fatalf("after removing every session something is left:\n%s", diff)
		}
	})
}

// TestForeignRowsAreNeverNamed: a plan changes only what carries our mark.
func TestForeignRowsAreNeverNamed(t *testing.T) {
	state := production()
	state.Bridges["br0"].Mirrors = map[string]*Mirror{"m1": {UUID: "m1", Name: "theirs", SelectSrcPort: []string{"vnet0"}, OutputPort: "vnet2"}}
	c := RowChanges(state, build(state, stored(1, "one", nil)))
	for _, op := range slices.Concat(c.Before, c.After, c.Last) {
		if op.DelMirror == "m1" || op.SetMirror != nil || op.SetBridge != nil || op.DelPort != "" {
			t.Errorf("touches what is not ours: %s", op)
		}
	}
}

func TestOutcomes(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*State, *session.Stored, map[PathKey]Path)
		state  session.State
		reason string
	}{
		"in force":          {func(*State, *session.Stored, map[PathKey]Path) {}, session.Active, ReasonInForce},
		"disabled":          {func(_ *State, s *session.Stored, _ map[PathKey]Path) { s.Disabled = true }, session.Disabled, ReasonDisabled},
		"no bridge":         {func(st *State, _ *session.Stored, _ map[PathKey]Path) { delete(st.Bridges, "br0") }, session.Pending, ReasonBridgeMissing},
		"no source":         {func(st *State, _ *session.Stored, _ map[PathKey]Path) { delete(st.Bridges["br0"].Ports, "vnet0") }, session.Pending, ReasonSourceMissing},
		"one source of two": {func(_ *State, s *session.Stored, _ map[PathKey]Path) { s.Sources.Ports = []string{"vnet0", "vnet9"} }, session.Degraded, ReasonSourceMissing},
		"another guest": {func(st *State, s *session.Stored, _ map[PathKey]Path) {
			s.Identities = map[string]session.Identity{"vnet0": {IfaceID: "a"}}
			st.Bridges["br0"].Ports["vnet0"].Interfaces[0].ExternalIDs = map[string]string{"iface-id": "b"}
		}, session.Degraded, ReasonSourceIdentity},
		"no route": {func(_ *State, _ *session.Stored, p map[PathKey]Path) { p[theOne] = Path{} }, session.Degraded, ReasonNoRoute},
		"no address": {func(_ *State, _ *session.Stored, p map[PathKey]Path) {
			edit(p, func(p *Path) { p.Source = netip.Addr{} })
		}, session.Degraded, ReasonNoSource},
		"no neighbour": {func(_ *State, _ *session.Stored, p map[PathKey]Path) {
			edit(p, func(p *Path) { p.HasNeighbor = false })
		}, session.Degraded, ReasonNoNeighbor},
		"not on a bridge":  {func(_ *State, _ *session.Stored, p map[PathKey]Path) { edit(p, func(p *Path) { p.Device = "eth0" }) }, session.Degraded, ReasonNotOnBridge},
		"own address":      {func(_ *State, _ *session.Stored, p map[PathKey]Path) { edit(p, func(p *Path) { p.OwnAddress = true }) }, session.Degraded, ReasonOwnAddress},
		"tiny MTU":         {func(_ *State, _ *session.Stored, p map[PathKey]Path) { edit(p, func(p *Path) { p.MTU = 40 }) }, session.Degraded, ReasonPathMTU},
		"off does not fit": {func(_ *State, s *session.Stored, _ map[PathKey]Path) { s.Snaplen = session.SnaplenOff }, session.Degraded, ReasonSnaplenCut},
		"foreign tap bridge": {func(st *State, _ *session.Stored, _ map[PathKey]Path) {
			st.Bridges["br-erspan-nd"] = &Bridge{Name: "br-erspan-nd", DatapathType: "netdev"}
		}, session.Failed, ReasonNameTaken},
		"foreign tunnel": {func(st *State, _ *session.Stored, _ map[PathKey]Path) {
			st.Bridges["br-ul"].Ports["t"] = &Port{Name: "t", Interfaces: []*Interface{{Name: "t", Type: "erspan", Options: map[string]string{"remote_ip": "flow", "key": "flow"}}}}
		}, session.Failed, ReasonTunnelConflict},
		"tunnel port that Open vSwitch cannot open": {func(st *State, _ *session.Stored, _ map[PathKey]Path) {
			st.Bridges["br-erspan-nd"] = refusedTunnel()
		}, session.Degraded, ReasonTunnelError},
		"the same, of a destination": {func(st *State, s *session.Stored, _ map[PathKey]Path) {
			st.Bridges["br-erspan-nd"] = refusedTunnel()
			*s = terminated(1, "one", func(*session.Session) {})
		}, session.Degraded, ReasonTunnelError},
		"no mirror left": {func(st *State, _ *session.Stored, _ map[PathKey]Path) {
			st.Bridges["br0"].Mirrors = map[string]*Mirror{}
			for n := range MaxMirrors {
				uuid := fmt.Sprint(n)
				st.Bridges["br0"].Mirrors[uuid] = &Mirror{UUID: uuid, Name: "theirs"}
			}
		}, session.Failed, ReasonMirrorSlots},
	} {
		t.Run(name, func(t *testing.T) {
			state, s := production(), stored(1, "one", nil)
			p := paths([]session.Stored{s})
			tt.change(&state, &s, p)
			out := Build(Input{State: state, Sessions: []session.Stored{s}, Paths: p}).Outcomes["one"]
			if out.State != tt.state || out.Reason != tt.reason {
				t.Errorf("got %s, %s (%s); want %s, %s", out.State, out.Reason, out.Message, tt.state, tt.reason)
			}
			if out.State == session.Failed && out.Message == "" {
				t.Error("a failure without a message")
			}
		})
	}
}

// TestCutIsTold: that a snaplen does not fit is known also where a graver reason is told of: who adds a session whose next hop
// was not asked yet is refused all the same.
func TestCutIsTold(t *testing.T) {
	for name, change := range map[string]func(*Path){
		"all well": func(*Path) {}, "next hop not known": func(p *Path) { p.HasNeighbor = false }, "route held": func(p *Path) { p.Held = true },
	} {
		s := stored(1, "one", func(s *session.Session) { s.Snaplen = session.SnaplenOff })
		p := paths([]session.Stored{s})
		edit(p, change)
		out := Build(Input{State: production(), Sessions: []session.Stored{s}, Paths: p}).Outcomes["one"]
		if cut := out.Collectors[0].Cut; !strings.Contains(cut, "does not fit") {
			t.Errorf("%s: %q; %s, %s", name, cut, out.Reason, out.Message)
		}
	}
}

// refusedTunnel is a tap bridge with a tunnel port that ovs-vswitchd could not open.
func refusedTunnel() *Bridge {
	ours := map[string]string{OwnerKey: "x"}
	i := &Interface{Name: "es-tun-nd", Type: "erspan", OFPort: -1, Error: "could not add network device es-tun-nd to ofproto (File exists)"}
	return &Bridge{Name: "br-erspan-nd", DatapathType: "netdev", ExternalIDs: ours,
		Ports: map[string]*Port{"es-tun-nd": {Name: "es-tun-nd", ExternalIDs: ours, Interfaces: []*Interface{i}}}}
}

var theOne = PathKey{Collector: netip.MustParseAddr("192.0.2.9"), Datapath: "netdev"}

func edit(paths map[PathKey]Path, change func(*Path)) {
	p := paths[theOne]
	change(&p)
	paths[theOne] = p
}

// TestPacketBudget: the session that would make a packet too expensive is the one that fails, and it alone.
func TestPacketBudget(t *testing.T) {
	for name, direction := range map[string]session.Direction{"one tap": session.Egress, "two taps": ""} {
		t.Run(name, func(t *testing.T) {
			var sessions []session.Stored
			for n := range MaxCopiesPerPacket + 1 {
				sessions = append(sessions, stored(uint32(n+1), fmt.Sprintf("s%03d", n), func(s *session.Session) {
					s.Direction = direction
					if direction == "" { // the port belongs to an ingress tap and to an egress tap
						s.Direction = []session.Direction{session.Ingress, session.Egress}[n%2]
					}
				}))
			}
			p := build(production(), sessions...)
			var failed []string
			for n, out := range p.Outcomes {
				if out.State == session.Failed {
					failed = append(failed, n+" "+out.Reason)
				}
			}
			if diff := cmp.Diff([]string{"s256 " + ReasonPacketBudget}, failed); diff != "" {
				t.Errorf("failed sessions (-want +got):\n%s", diff)
			}
			if out := p.Outcomes["s256"]; !strings.Contains(out.Message, "257") || !strings.Contains(out.Message, "256") {
				t.Errorf("the message does not say how much and how much is allowed: %s", out.Message)
			}
		})
	}
}

// TestAcceptedSessionsStay: who was accepted keeps what there is only so much of, whatever the names: a key that somebody
// writes into the store by hand takes nothing away.
func TestAcceptedSessionsStay(t *testing.T) {
	version := func(slot uint32, name string, v int) session.Stored {
		return terminated(slot, name, func(s *session.Session) { s.ERSPAN.SessionID, s.ERSPAN.Version = ptr(int(slot)), v })
	}
	full := []session.Stored{stored(1, "a", nil)}
	for n := range MaxCopiesPerPacket {
		full = append(full, stored(uint32(n+2), fmt.Sprintf("s%03d", n), func(s *session.Session) { s.Direction = session.Egress }))
	}
	for name, tt := range map[string]struct {
		sessions []session.Stored
		reason   string
	}{
		"per-packet budget": {full, ReasonPacketBudget},
		"one version":       {[]session.Stored{version(1, "a", 1), version(2, "b", 2), version(3, "c", 2)}, ReasonVersionConflict},
	} {
		t.Run(name, func(t *testing.T) {
			state := production()
			for _, b := range state.Bridges {
				b.DatapathType = "system"
			}
			for i := range tt.sessions[1:] {
				tt.sessions[1+i].Accepted = true
			}
			p := build(state, tt.sessions...)
			for _, s := range tt.sessions {
				out := p.Outcomes[s.Name]
				if failed := out.State == session.Failed; failed != !s.Accepted || failed && out.Reason != tt.reason {
					t.Errorf("%s, accepted %t: %s, %s (%s)", s.Name, s.Accepted, out.State, out.Reason, out.Message)
				}
			}
		})
	}
}

// TestPacketBudgetSums: what a packet costs is summed over the bridges that it can reach through patch ports, over the resubmits
// of rules and limits, and over the taps of the bridge that its copies leave through. One session more fails, and it alone.
func TestPacketBudgetSums(t *testing.T) {
	many := func(n int, change func(n int, s *session.Session)) (sessions []session.Stored) {
		for i := range n {
			sessions = append(sessions, stored(uint32(i+1), fmt.Sprintf("s%03d", i), func(s *session.Session) {
				s.Direction = session.Egress
				change(i, s)
			}))
		}
		return sessions
	}
	patch := func(name, peer string) *Port {
		return &Port{Name: name, Interfaces: []*Interface{{Name: name, Type: "patch", Options: map[string]string{"peer": peer}, OFPort: 9}}}
	}
	// The taps of the bridge that copies leave through, and copies that do.
	const copies, taps = 200, 3
	for name, tt := range map[string]struct {
		join     bool
		sessions []session.Stored
		fails    string
		says     string
	}{
		"two bridges, joined":     {true, many(257, func(n int, s *session.Session) { s.Bridge = []string{"br0", "br1"}[n%2] }), "s256", "could be copied 257 times, 256"},
		"two bridges, not joined": {false, many(257, func(n int, s *session.Session) { s.Bridge = []string{"br0", "br1"}[n%2] }), "", ""},
		// Four for each, and two for the tap.
		"rules and limits": {false, many(256, func(_ int, s *session.Session) {
			s.Match, s.MaxRate = []session.Rule{{Permit: "tcp"}}, session.PacketsPerSecond(100)
		}), "s255", "could cost 1026 resubmits, 1024"},
		// One for each, two for the tap, and two for each tap of br-ul and each copy; so for the taps and then for the copies.
		"a tap of the underlay": {false, many(copies+taps, func(n int, s *session.Session) {
			if n >= copies {
				s.Bridge, s.Sources.Ports = "br-ul", []string{fmt.Sprint("up", n-copies)}
			}
		}), fmt.Sprintf("s%03d", copies+2), "could cost 1402 resubmits, 1024"},
		// A packet can come back to the port that it came from.
		"both directions": {false, many(129, func(_ int, s *session.Session) { s.Direction = session.Both }), "s128", "could be copied 258 times, 256"},
		"a copy through it": {false, many(copies+taps, func(n int, s *session.Session) {
			if n < taps {
				s.Bridge, s.Sources.Ports = "br-ul", []string{fmt.Sprint("up", n)}
			}
		}), "s149", "could cost 1031 resubmits, 1024"},
	} {
		t.Run(name, func(t *testing.T) {
			state := production()
			state.Bridges["br1"] = &Bridge{Name: "br1", DatapathType: "netdev", Ports: map[string]*Port{
				"vnet0": {Name: "vnet0", Interfaces: []*Interface{{Name: "vnet0", OFPort: 2, MTU: 1500}}}}}
			if tt.join {
				state.Bridges["br0"].Ports["to-1"], state.Bridges["br1"].Ports["to-0"] = patch("to-1", "to-0"), patch("to-0", "to-1")
			}
			for n := range taps {
				up := fmt.Sprint("up", n)
				state.Bridges["br-ul"].Ports[up] = &Port{Name: up, Interfaces: []*Interface{{Name: up, OFPort: n + 1, MTU: 1500}}}
			}
			p := build(state, tt.sessions...)
			first := ""
			for _, s := range tt.sessions {
				if out := p.Outcomes[s.Name]; out.State == session.Failed && first == "" {
					first = s.Name
					if out.Reason != ReasonPacketBudget || !strings.Contains(out.Message, tt.says) {
						t.Errorf("%s: %s, %s", s.Name, out.Reason, out.Message)
					}
				}
			}
			if first != tt.fails {
				t.Errorf("the first that fails is %q, want %q", first, tt.fails)
			}
		})
	}
}

func TestCompare(t *testing.T) {
	a := Line{TableFilter, 100, NewCookie(StagePermit, 1), "tcp,reg0=0x1", "goto_table:30", 0}
	b := Line{TableFilter, 100, NewCookie(StagePermit+1, 1), "udp,reg0=0x1", "goto_table:30", 0}
	changed := a
	changed.Actions = "drop"
	stranger := Line{TableFilter, 100, a.Cookie, "reg0=0x1", "drop", 0}
	for name, tt := range map[string]struct {
		is, wished []Line
		want       FlowChanges
	}{
		"same":                             {[]Line{a, b}, []Line{b, a}, FlowChanges{}},
		"new":                              {[]Line{a}, []Line{a, b}, FlowChanges{Add: []Line{b}}},
		"gone":                             {[]Line{a, b}, []Line{a}, FlowChanges{Delete: []Line{b}}},
		"changed":                          {[]Line{changed}, []Line{a}, FlowChanges{Add: []Line{a}}},
		"a stranger with a cookie of ours": {[]Line{a, b, stranger}, []Line{a, b}, FlowChanges{Delete: []Line{stranger}, Add: []Line{a}}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Compare(tt.is, tt.wished)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
