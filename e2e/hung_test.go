package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// TestHungPeers: an ovsdb-server or an ovs-vswitchd that hangs keeps its sockets open and says nothing. The daemon notices it
// all the same, says so at each place, leaves what is programmed alone, and all is well when the hung one goes on.
func TestHungPeers(t *testing.T) {
	t.Parallel()
	const address = "127.0.0.1:9475"
	s := newScene(t)
	until := func(path, want string, code int) {
		t.Helper()
		s.must(lab.Until(s.ctx, fmt.Sprintf("%s answers %d with %q", path, code, want), func(context.Context) error {
			got, body, err := httpGet(s.host, address, path)
			if err == nil && (got != code || !strings.Contains(body, want)) {
				err = fmt.Errorf("%d: %s", got, body)
			}
			return err
		}))
	}
	s.daemon("--listen", address).ready()
	s.add("one", "--source", "vnet0")
	s.copies(1)
	for _, peer := range []struct {
		name, said, metric string
		pause, resume      func() error
	}{
		{"ovsdb-server", "not connected to ovsdb-server", "ovs_erspan_ovsdb_connected", s.host.PauseDB, s.host.ResumeDB},
		{"ovs-vswitchd", "ovs-vswitchd", "ovs_erspan_vswitchd_up", s.host.PauseVswitchd, s.host.ResumeVswitchd},
	} {
		until("/readyz", "ok", 200)
		until("/metrics", peer.metric+" 1", 200)
		s.must(peer.pause())
		until("/readyz", peer.said, 503)
		until("/healthz", "not ready: "+peer.said, 200)
		until("/metrics", peer.metric+" 0", 200)
		if peer.name == "ovsdb-server" {
			s.copies(1) // production and its copies need no database
		}
		s.must(peer.resume())
		until("/readyz", "ok", 200)
		until("/metrics", peer.metric+" 1", 200)
		s.settled("one")
		s.copies(1)
	}
}
