package flows

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// BenchmarkBuild plans 1000 sessions over 20 bridges with ten ports each.
func BenchmarkBuild(b *testing.B) {
	state := production()
	var sessions []session.Stored
	for n := range 20 {
		name := fmt.Sprintf("p%d", n)
		ports := map[string]*Port{}
		for p := range 10 {
			port := fmt.Sprintf("p%d-%d", n, p)
			ports[port] = &Port{Name: port, Interfaces: []*Interface{{Name: port}}}
			for range 5 {
				sessions = append(sessions, stored(uint32(len(sessions)+1), fmt.Sprintf("s%04d", len(sessions)), func(s *session.Session) {
					s.Bridge, s.Sources.Ports = name, []string{port}
					s.Collectors = []netip.Addr{addr("192.0.2.9")}
				}))
			}
		}
		state.Bridges[name] = &Bridge{Name: name, DatapathType: "netdev", Ports: ports}
	}
	in := Input{State: state, Sessions: sessions, Paths: paths(sessions)}
	for b.Loop() {
		p := Build(in)
		RowChanges(state, p)
	}
}
