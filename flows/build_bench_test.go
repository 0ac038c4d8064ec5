package flows

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// manySessions are 1000 sessions over 50 bridges with four ports each, five sessions a port.
func manySessions(collectors int) Input {
	state := production()
	var sessions []session.Stored
	for n := range 50 {
		name := fmt.Sprintf("p%d", n)
		ports := map[string]*Port{name: {Name: name, Interfaces: []*Interface{{Name: name, Type: "internal"}}}}
		for p := range 4 {
			port := fmt.Sprintf("p%d-%d", n, p)
			ports[port] = &Port{Name: port, Interfaces: []*Interface{{Name: port, OFPort: p + 1, MTU: 1500}}}
			for range 5 {
				sessions = append(sessions, stored(uint32(len(sessions)+1), fmt.Sprintf("s%04d", len(sessions)), func(s *session.Session) {
					s.Bridge, s.Sources.Ports = name, []string{port}
					s.Collectors = nil
					for c := range collectors {
						s.Collectors = append(s.Collectors, netip.AddrFrom4([4]byte{192, 0, 2, byte(c + 9)}))
					}
				}))
			}
		}
		state.Bridges[name] = &Bridge{Name: name, DatapathType: "netdev", Ports: ports}
	}
	return Input{State: state, Sessions: sessions, Paths: paths(sessions)}
}

// BenchmarkBuild plans manySessions where all rows are in place, and renders the flows.
func BenchmarkBuild(b *testing.B) {
	for _, collectors := range []int{1, 10} {
		b.Run(fmt.Sprintf("collectors=%d", collectors), func(b *testing.B) {
			in := manySessions(collectors)
			carryOut(b, in.State, RowChanges(in.State, Build(in)))
			b.ReportAllocs()
			for b.Loop() {
				p := Build(in)
				if !RowChanges(in.State, p).Empty() || slices.ContainsFunc(in.Sessions, func(s session.Stored) bool { return p.Outcomes[s.Name].State != session.Active }) {
					b.Fatal("not in force")
				}
				KnownVeths(in.State, p)
				DeliveryFlows(in.State, p)
				for _, tb := range p.TapBridges {
					lines := make([]Line, len(tb.Flows))
					for i, f := range tb.Flows {
						lines[i] = f.Line()
					}
					EachOnce(lines)
				}
			}
		})
	}
}
