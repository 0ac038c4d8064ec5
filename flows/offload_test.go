package flows

import (
	"strings"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// TestUserspaceTSO: read as Open vSwitch reads it, it concerns what leaves through a tunnel of the userspace datapath, and only
// sessions that do not accept it.
func TestUserspaceTSO(t *testing.T) {
	source := stored(1, "s", nil)
	accepts := stored(1, "s", func(s *session.Session) { s.AllowHWOffload = true })
	destination := terminated(1, "s", func(*session.Session) {})
	for _, tt := range []struct {
		value, datapath string
		s               session.Stored
		concerned       bool
	}{
		{"true", "netdev", source, true}, {"TRUE", "netdev", source, true},
		{"1", "netdev", source, false}, {"yes", "netdev", source, false}, {"false", "netdev", source, false}, {"", "netdev", source, false},
		{"true", "system", source, false}, {"true", "netdev", accepts, false}, {"true", "netdev", destination, false},
	} {
		state := production()
		for _, b := range state.Bridges {
			b.DatapathType = tt.datapath
		}
		state.OtherConfig = map[string]string{"userspace-tso-enable": tt.value}
		refused := false
		for _, fault := range checkOffload(tt.s.Session, state) {
			refused = refused || strings.Contains(fault.Error(), "userspace-tso-enable=true")
		}
		out := build(state, tt.s).Outcomes["s"]
		told := out.State == session.Degraded && out.Reason == ReasonUserspaceTSO
		if refused != tt.concerned || told != tt.concerned {
			t.Errorf("%q on %s, %s, accepted %v: refused %v; %s, %s", tt.value, tt.datapath, tt.s.Type, tt.s.AllowHWOffload, refused, out.State, out.Reason)
		}
	}
}
