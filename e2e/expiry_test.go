//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// sending are the flows that hand copies to the tunnel.
func (s *scene) sending(ctx context.Context) (string, error) {
	out, err := s.host.Ofctl(ctx, "-O", "OpenFlow15", "dump-flows", tapBridge, "table=30")
	var lines []string
	for line := range strings.Lines(out) {
		if strings.Contains(line, "reg0=") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, "\n"), err
}

// TestExpiryWithoutDaemon: the flows carry a session's end; what they cannot carry is refused, and what is over is never
// programmed.
func TestExpiryWithoutDaemon(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.add("stays", "--source", "vnet1", "--session-id", "9", "--direction", "ingress")
	if said := s.refused("session", "add", "long", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr, "--expires-in", "48h"); !strings.Contains(said, "no daemon") || !strings.Contains(said, "18h12m15s") {
		t.Errorf("48 hours without a daemon: %s", said)
	}
	s.refused("session", "add", "none", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr, "--expires-in", "-1s")
	s.add("later", "--source", "vnet0", "--session-id", "2", "--expires-in", "1h")
	s.nothingToDo() // the end that was read back is the one that was asked for
	if flows, err := s.sending(s.ctx); err != nil || strings.Count(flows, "hard_timeout=") != 1 {
		t.Errorf("want one flow with an end: %v\n%s", err, flows)
	}
	s.ok("session", "remove", "later")
	s.ping(s.a, addrB, 1) // so that nothing but the ping that is copied takes the little time that there is
	wire := s.capture(s.collector, "eth0", "proto 47")
	s.add("short", "--source", "vnet0", "--session-id", "1", "--expires-in", "8s")
	s.ping(s.a, addrB, 1)
	s.waitCount(wire, "erspan.spanid == 1 && icmp", 2)
	s.stop(wire)
	s.must(lab.Until(s.ctx, "the flow ends by itself", func(ctx context.Context) error {
		flows, err := s.sending(ctx)
		if err == nil && strings.Contains(flows, "hard_timeout=") {
			err = errors.New(flows)
		}
		return err
	}))
	if out := s.ok("session", "list"); !strings.Contains(out, "Expired") {
		t.Errorf("a session whose time is over, before anyone removed it:\n%s", out)
	}
	s.copiedOnlyTo("erspan.spanid == 9", "erspan.spanid == 1")
	s.ok("session", "add", "over", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr, "--expires-in", "1s", "--no-wait")
	s.must(lab.Until(s.ctx, "its time is over", func(context.Context) error {
		if out := s.ok("session", "list"); strings.Count(out, "Expired") != 2 {
			return errors.New(out)
		}
		return nil
	}))
	s.ok("run", "--once")
	s.nothingToDo()
	if out := s.ok("session", "list"); strings.Contains(out, "short") || strings.Contains(out, "over") || !strings.Contains(out, "stays") {
		t.Errorf("after run --once:\n%s", out)
	}
}

// copiedOnlyTo holds that a ping is copied to the one session and not to the other.
func (s *scene) copiedOnlyTo(to, not string) {
	s.t.Helper()
	wire := s.capture(s.collector, "eth0", "proto 47")
	s.ping(s.a, addrB, 2)
	s.waitCount(wire, to+" && icmp", 2)
	s.stop(wire)
	n, err := wire.Count(s.ctx, not)
	s.must(err)
	if n != 0 {
		s.t.Errorf("%d copies of what should have ended (%s)", n, not)
	}
}

// TestExpiryWithDaemon: the daemon removes sessions when their time is over, however far that was away.
func TestExpiryWithDaemon(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	d := s.daemon().ready()
	s.add("long", "--source", "vnet0", "--session-id", "1", "--expires-in", "48h")
	if flows, err := s.sending(s.ctx); err != nil || strings.Contains(flows, "hard_timeout") {
		t.Errorf("an end that no flow can carry: %v\n%s", err, flows)
	}
	s.nothingToDo()
	if out := s.ok("session", "show", "long"); !strings.Contains(out, "Ends:") || !strings.Contains(out, "(in 4") {
		t.Errorf("show does not tell when it ends:\n%s", out)
	}
	s.ok("session", "set", "long", "--expires-in", "4s") // and is in force by then
	s.must(lab.Until(s.ctx, "the daemon removes it", func(context.Context) error {
		if out := s.ok("session", "list"); !strings.Contains(out, "no sessions") {
			return fmt.Errorf("there are:\n%s", out)
		}
		if r := s.oe("plan"); r.code != 0 {
			return errors.New(r.stdout)
		}
		return nil
	}))
	d.logged(`"session was removed","session":"long"`)
	s.copies(0)
	s.add("kept", "--source", "vnet0", "--expires-in", "1h")
	s.ok("session", "set", "kept", "--unset", "expires-in")
	if flows, err := s.sending(s.ctx); err != nil || strings.Contains(flows, "hard_timeout") {
		t.Errorf("after --unset expires-in: %v\n%s", err, flows)
	}
}
