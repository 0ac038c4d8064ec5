package flows

import (
	"slices"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// TestStopChanges: without flows and without ovs-vswitchd, what no session wishes any more goes, what one wishes stays, and
// with the last session everything goes.
func TestStopChanges(t *testing.T) {
	now := time.Unix(1000, 0)
	scene := func() (State, []session.Stored) {
		state := production()
		sessions := []session.Stored{
			stored(1, "one", nil),
			stored(2, "shares", nil),
			stored(3, "three", func(s *session.Session) { s.Sources.Ports = []string{"vnet1"} }),
			terminated(4, "in", func(*session.Session) {}),
		}
		carryOut(t, state, RowChanges(state, build(state, sessions...)))
		return state, sessions
	}
	left := func(state State) (mirrors, ports, bridges int) {
		for name, b := range state.Bridges {
			if Ours(b.ExternalIDs) {
				bridges++
			}
			mirrors += len(b.Mirrors)
			for port, p := range b.Ports {
				if Ours(p.ExternalIDs) && port != name {
					ports++
				}
			}
		}
		return mirrors, ports, bridges
	}
	stop := func(name string, change func([]session.Stored) []session.Stored, want func(mirrors, ports, bridges int) (int, int, int)) {
		t.Helper()
		state, sessions := scene()
		m, p, b := left(state)
		ops := StopChanges(state, change(sessions), now)
		for _, op := range ops {
			if op.DelMirror == "" && op.DelPort == "" && !op.DelBridge {
				t.Errorf("%s: %s does more than stop", name, op)
			}
		}
		carryOut(t, state, Changes{Before: ops})
		wantM, wantP, wantB := want(m, p, b)
		if m, p, b := left(state); m != wantM || p != wantP || b != wantB {
			t.Errorf("%s: %d mirrors, %d ports, %d bridges are left; want %d, %d, %d", name, m, p, b, wantM, wantP, wantB)
		}
	}
	state, _ := scene()
	perTap := 0 // mirrors of one tap wish of `both`
	for _, m := range state.Bridges["br0"].Mirrors {
		if len(m.SelectSrcPort)+len(m.SelectDstPort) > 0 && (slices.Contains(m.SelectSrcPort, "vnet1") || slices.Contains(m.SelectDstPort, "vnet1")) {
			perTap++
		}
	}
	as := func(m, p, b int) (int, int, int) { return m, p, b }
	stop("nothing", func(s []session.Stored) []session.Stored { return s }, as)
	stop("one of two on a tap", func(s []session.Stored) []session.Stored { s[0].Disabled = true; return s }, as)
	stop("both on a tap", func(s []session.Stored) []session.Stored { return s[2:] }, func(m, p, b int) (int, int, int) { return m - perTap, p - 2*perTap, b })
	stop("an expired one", func(s []session.Stored) []session.Stored { s[2].ExpiresAt = &now; return s }, func(m, p, b int) (int, int, int) { return m - perTap, p - 2*perTap, b })
	stop("the delivery", func(s []session.Stored) []session.Stored { s[3].Disabled = true; return s }, func(m, p, b int) (int, int, int) { return m, p - 2, b })
	stop("all", func(s []session.Stored) []session.Stored {
		for i := range s {
			s[i].Disabled = true
		}
		return s
	}, func(int, int, int) (int, int, int) { return 0, 0, 0 })
}
