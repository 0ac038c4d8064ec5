package flows

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/session"
)

var update = flag.Bool("update", false, "write the golden files")

func ptr[T any](v T) *T { return &v }

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// production is a state with one production bridge of the userspace datapath, with the ports vnet0 (trunk), vnet1 (access
// port of VLAN 10) and vnet2.
func production() State {
	ports := map[string]*Port{}
	for n, name := range []string{"br0", "vnet0", "vnet1", "vnet2"} {
		ports[name] = &Port{Name: name, Interfaces: []*Interface{{Name: name, OFPort: n + 1, MTU: 1500}}}
	}
	ports["br0"].Interfaces[0].Type = "internal"
	ports["vnet1"].Tag = ptr(10)
	return State{Bridges: map[string]*Bridge{
		"br0":   {Name: "br0", DatapathType: "netdev", Ports: ports},
		"br-ul": {Name: "br-ul", DatapathType: "netdev", Ports: map[string]*Port{}},
	}}
}

// paths lead to each collector of the sessions, whichever datapath sends.
func paths(sessions []session.Stored) map[PathKey]Path {
	all := map[PathKey]Path{}
	add := func(k PathKey) {
		p := Path{Device: "br-ul", Source: addr("192.0.2.1"), NextHop: k.Collector, MTU: 1500,
			Local: []netip.Addr{addr("192.0.2.1"), addr("2001:db8::1")}, HasNeighbor: true}
		if k.Collector.Is6() {
			p.Source = addr("2001:db8::1")
		}
		if k.Origin.IsValid() {
			p.Source = k.Origin
		}
		all[k] = p
	}
	for _, s := range sessions {
		for _, c := range s.Collectors {
			add(pathKey(&s, c, "netdev"))
			add(pathKey(&s, c, "system"))
		}
		if from := senderKey(s.Session); from.Collector.IsValid() {
			add(from)
		}
	}
	return all
}

// stored is a valid session with slot and session id.
func stored(slot uint32, name string, change func(*session.Session)) session.Stored {
	s := session.Session{Name: name, Bridge: "br0", Sources: session.Sources{Ports: []string{"vnet0"}},
		Collectors: []netip.Addr{addr("192.0.2.9")}, ERSPAN: session.ERSPAN{SessionID: ptr(int(slot))}}
	if change != nil {
		change(&s)
	}
	return session.Stored{Session: s.Defaulted(), Slot: slot}
}

// terminated is a valid destination session that delivers to vnet2, with session id 10.
func terminated(slot uint32, name string, change func(*session.Session)) session.Stored {
	s := session.Session{Name: name, Type: session.Destination, Bridge: "br0", OutputPort: "vnet2", From: session.AnySender, ERSPAN: session.ERSPAN{SessionID: ptr(10)}}
	change(&s)
	return session.Stored{Session: s.Defaulted(), Slot: slot}
}

// sharing are sessions of a host with a maximal rate.
func sharing(rate session.Rate, sessions ...session.Stored) []session.Stored {
	w := session.Wish{Host: session.Host{MaxRate: rate}, Sessions: sessions}
	w.ShareHost()
	return w.Sessions
}

var goldens = map[string][]session.Stored{
	"one": {stored(1, "one", nil)},
	"both-versions": {
		stored(1, "v1", func(s *session.Session) { s.ERSPAN.Index = ptr(10) }),
		stored(2, "v2", func(s *session.Session) { s.ERSPAN.Version = 2; s.ERSPAN.HardwareID = ptr(10) }),
	},
	"filter": {
		stored(1, "https", func(s *session.Session) {
			s.Match = []session.Rule{{PermitBothWays: "tcp,tp_dst=443"}, {Deny: "ip,nw_src=192.0.2.66"}}
		}),
		stored(2, "no-icmp", func(s *session.Session) {
			s.Match = []session.Rule{{Deny: "icmp"}}
			s.Collectors = []netip.Addr{addr("192.0.2.10")}
		}),
	},
	"fragments": {
		stored(1, "dns", func(s *session.Session) {
			s.Match = []session.Rule{{PermitBothWays: "udp,nw_src=192.0.2.66,tp_dst=53"}, {Permit: "udp6,tp_dst=53"}, {Deny: "udp,tp_dst=0"}}
		}),
	},
	"families": {
		stored(1, "dual", func(s *session.Session) {
			s.Collectors = []netip.Addr{addr("192.0.2.9"), addr("2001:db8::9"), addr("192.0.2.10")}
			s.Snaplen = session.SnaplenBytes(64)
		}),
		stored(2, "six", func(s *session.Session) {
			s.Collectors = []netip.Addr{addr("2001:db8::9")}
			s.ERSPAN.Version = 2
		}),
	},
	"access-port": {
		stored(1, "access", func(s *session.Session) { s.Sources.Ports = []string{"vnet1"} }),
		stored(2, "all", func(s *session.Session) { s.Sources = session.Sources{All: true} }),
	},
	"destination": {
		terminated(1, "rack7", func(s *session.Session) {
			s.From, s.ERSPAN.Version, s.ERSPAN.Index = "192.0.2.9", 1, ptr(5)
		}),
		terminated(2, "ingress", func(s *session.Session) {
			s.ERSPAN.Version, s.ERSPAN.HardwareID, s.Direction = 2, ptr(0), session.Ingress
		}),
	},
	"limit": {
		stored(1, "few", func(s *session.Session) {
			s.MaxRate = session.PacketsPerSecond(1000)
			s.Match = []session.Rule{{Permit: "tcp,tp_dst=443"}}
		}),
		stored(2, "all", func(s *session.Session) { s.Collectors = []netip.Addr{addr("192.0.2.10")} }),
		stored(3, "slow", func(s *session.Session) {
			s.MaxRate = session.BitsPerSecond(50_000_000)
			s.Collectors = []netip.Addr{addr("192.0.2.11")}
		}),
	},
	"host-limit": sharing(session.BitsPerSecond(1_000_000_000),
		stored(1, "few", func(s *session.Session) { s.MaxRate = session.PacketsPerSecond(1000) }),
		stored(2, "dual", func(s *session.Session) { s.Collectors = []netip.Addr{addr("192.0.2.10"), addr("2001:db8::9")} }),
	),
	onKernel:     {stored(1, "short", func(s *session.Session) { s.Snaplen = session.SnaplenBytes(128) })},
	"own-tunnel": {stored(1, "marked", func(s *session.Session) { s.DSCP, s.TTL, s.Origin = ptr(46), ptr(9), addr("192.0.2.1") })},
}

// onKernel is the example that is on the kernel's datapath.
const onKernel = "segmented"

func goldenState(name string) State {
	if name == onKernel {
		return ofKernel(production())
	}
	return production()
}

// TestGolden holds the flows of each example in testdata, which docs/pipeline.md quotes.
func TestGolden(t *testing.T) {
	for name, sessions := range goldens {
		t.Run(name, func(t *testing.T) {
			p := Build(Input{State: goldenState(name), Sessions: sessions, Paths: paths(sessions)})
			for n, out := range p.Outcomes {
				if out.State != session.Active {
					t.Errorf("session %q: %s, %s: %s", n, out.State, out.Reason, out.Message)
				}
			}
			var text strings.Builder
			for _, tb := range p.TapBridges {
				for _, f := range tb.Flows {
					l := f.Line()
					match := l.Match
					if match != "" {
						match = "," + match
					}
					fmt.Fprintf(&text, "%-11s priority=%d%s actions=%s\n", l.Table, l.Priority, match, l.Actions)
				}
			}
			file := filepath.Join("testdata", name+".flows")
			if *update {
				if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(text.String(), "\n")); diff != "" {
				t.Errorf("flows (-golden +now; go test ./flows -update writes them anew):\n%s", diff)
			}
		})
	}
}

var flowMod = regexp.MustCompile(`ADD (?:table:(\d+) )?priority=(\d+),?(\S*) (?:cookie:(\S+) )?actions=(.*)`)

// TestCanonical holds that every flow we render is what Open vSwitch itself would print: ovs-ofctl reads it and prints the
// same match and actions. Without that, what is there and what is wished could not be compared.
func TestCanonical(t *testing.T) {
	for name, sessions := range goldens {
		t.Run(name, func(t *testing.T) {
			p := Build(Input{State: goldenState(name), Sessions: sessions, Paths: paths(sessions)})
			var lines []Line
			var input strings.Builder
			for _, f := range p.TapBridges[0].Flows {
				if f.Match.Expr == "" {
					lines = append(lines, f.Line())
					fmt.Fprintln(&input, f.Line())
				}
			}
			cmd := exec.Command("ovs-ofctl", "--protocols=OpenFlow15", "--no-names", "parse-flows", "-")
			cmd.Stdin = strings.NewReader(input.String())
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("ovs-ofctl parse-flows: %v\n%s", err, out)
			}
			found := flowMod.FindAllStringSubmatch(string(out), -1)
			if len(found) != len(lines) {
				t.Fatalf("%d flows in, %d out:\n%s", len(lines), len(found), out)
			}
			for i, m := range found {
				if m[3] != lines[i].Match || m[5] != lines[i].Actions {
					t.Errorf("we render %q %q,\nOpen vSwitch %q %q", lines[i].Match, lines[i].Actions, m[3], m[5])
				}
			}
		})
	}
}
