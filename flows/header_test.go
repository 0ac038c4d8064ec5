package flows

import (
	"strings"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// TestHeaderAsksOneVersionOnTheKernel: a packet that is compared with both versions gets a megaflow without ERSPAN fields
// there (docs/adr/0015).
func TestHeaderAsksOneVersionOnTheKernel(t *testing.T) {
	for _, tt := range []struct {
		datapath string
		version  int
		want     []string // the versions that are asked for
	}{
		{"netdev", 1, []string{"tun_erspan_ver=1", "tun_erspan_ver=2"}},
		{"system", 1, []string{"tun_erspan_ver=1"}},
		{"system", 2, []string{"tun_erspan_ver=2"}},
		{"system", 0, nil},
	} {
		var s session.Stored
		s.ERSPAN.Version = tt.version
		var asked []string
		read := 0
		for _, f := range headerFlows(nil, tt.datapath, []*planned{{wish: &s}}) {
			if f.Table == TableHeader && f.Cookie.Stage() == StageHeader {
				read++
				asked = append(asked, f.Match.Fields...)
			}
		}
		if got, want := strings.Join(asked, " "), strings.Join(tt.want, " "); got != want || read == 0 {
			t.Errorf("%s, sessions of version %d: %d flows ask for %q, want %q", tt.datapath, tt.version, read, got, want)
		}
	}
}
