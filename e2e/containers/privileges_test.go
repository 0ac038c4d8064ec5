//go:build linux

package containers

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/testcontainers/testcontainers-go"
)

// TestPrivileges: a host of the sandbox has its privileges and no others, and with any of them less it is no host. The
// roles of deploy/sandbox.sh say which they are, deploy/compose.yaml gives them.
func TestPrivileges(t *testing.T) {
	ctx := newContext(t)
	networks := []*testcontainers.DockerNetwork{newNetwork(ctx, t)}
	start(ctx, t, "peer", guestPrivileges, networks, "plain").ready()

	t.Run("all", func(t *testing.T) {
		m := start(ctx, t, "all", hostPrivileges, networks, "host", "br-ul=peer").ready()
		// CAP_NET_ADMIN is bit 12, CAP_NET_RAW bit 13 (capabilities(7)); no other may ever be had.
		status := m.ok("cat", "/proc/1/status")
		for _, line := range []string{"CapPrm:\t0000000000003000", "CapEff:\t0000000000003000", "CapBnd:\t0000000000003000", "NoNewPrivs:\t1"} {
			if !strings.Contains(status, line) {
				t.Errorf("no %q in:\n%s", line, status)
			}
		}
		if out, err := m.exec("touch", "/usr/local/bin/x"); err == nil || !strings.Contains(out, "Read-only file system") {
			t.Errorf("touch: %v", err)
		}
	})
	without := func(capability string) privileges {
		p := hostPrivileges
		p.capabilities = slices.DeleteFunc(slices.Clone(p.capabilities), func(c string) bool { return c == capability })
		return p
	}
	for _, tt := range []struct {
		name  string
		p     privileges
		cause string // in what it says
	}{
		{"NET_ADMIN", without("NET_ADMIN"), "Operation not permitted"},
		{"NET_RAW", without("NET_RAW"), "Open vSwitch cannot use eth0"},
		{"tun", privileges{capabilities: hostPrivileges.capabilities}, "Open vSwitch cannot use br-ul"},
	} {
		t.Run("without "+tt.name, func(t *testing.T) {
			m := start(ctx, t, "lesser", tt.p, networks, "host", "br-ul=peer")
			m.wait("ends", func() error {
				state, err := m.c.State(ctx)
				if err == nil && state.Running {
					err = fmt.Errorf("it runs")
				}
				return err
			})
			if log := m.log(); !strings.Contains(log, tt.cause) {
				t.Errorf("it does not say why:\n%s", log)
			}
		})
	}
}
