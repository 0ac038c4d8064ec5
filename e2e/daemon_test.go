//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// daemon is a running `ovs-erspan run`.
type daemon struct {
	*lab.Process
	s *scene
}

// daemon starts the daemon on the scene's host, and ends it with the test.
func (s *scene) daemon(args ...string) *daemon {
	s.t.Helper()
	return s.daemonOn(s.host, lab.Command{}, args...)
}

func (s *scene) daemonOn(h *lab.Host, c lab.Command, args ...string) *daemon {
	s.t.Helper()
	c.Args = append([]string{binary, "run", "-v"}, args...)
	c.Env = append(c.Env, "GORACE=atexit_sleep_ms=10")
	p, err := h.Start(s.ctx, c)
	s.must(err)
	d := &daemon{p, s}
	s.t.Cleanup(func() {
		if err := p.Stop(context.WithoutCancel(s.ctx)); err != nil && s.ctx.Err() == nil {
			s.t.Errorf("the daemon's end: %v", err)
		}
		if strings.Contains(p.Stderr(), "DATA RACE") || strings.Contains(p.Stderr(), "panic:") {
			s.t.Errorf("the daemon's log:\n%s", p.Stderr())
		} else if s.t.Failed() {
			s.t.Logf("the daemon's log:\n%s", tail(p.Stderr(), 60))
		}
	})
	return d
}

// ready waits until the daemon has reconciled.
func (d *daemon) ready() *daemon {
	d.s.t.Helper()
	d.logged(`"msg":"reconciled"`)
	return d
}

// logged waits until the daemon's log holds the text.
func (d *daemon) logged(text string) {
	d.s.t.Helper()
	d.loggedFrom(0, text)
}

// loggedFrom is logged for what comes after so many bytes of the log.
func (d *daemon) loggedFrom(from int, text string) {
	d.s.t.Helper()
	d.s.must(lab.Until(d.s.ctx, "the daemon logs "+text, func(context.Context) error {
		if !strings.Contains(d.Stderr()[from:], text) {
			return fmt.Errorf("its log ends with\n%s", tail(d.Stderr(), 10))
		}
		return nil
	}))
}

// settled waits until nothing is left to do and the sessions are Active.
func (s *scene) settled(sessions ...string) {
	s.t.Helper()
	s.must(lab.Until(s.ctx, fmt.Sprintf("sessions %v are in force", sessions), func(context.Context) error {
		if r := s.oe("plan"); r.code != 0 {
			return fmt.Errorf("plan: exit %d: %s%s", r.code, r.stdout, r.stderr)
		}
		for _, name := range sessions {
			r := s.oe("session", "show", name, "-o", "json")
			if r.code != 0 { // also where ovs-vswitchd did not answer in time
				return fmt.Errorf("show %s: exit %d: %s", name, r.code, r.stderr)
			}
			var v shown
			s.must(json.Unmarshal([]byte(r.stdout), &v))
			if v.Status.State != "Active" {
				return fmt.Errorf("session %q is %s, %s", name, v.Status.State, v.Status.Reason)
			}
		}
		return nil
	}))
}

// TestDaemonTakesOver: commands hand their changes to a running daemon and return when they are in force, with the exit
// codes and the output that they have without one. When it ends, copies go on.
func TestDaemonTakesOver(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	rows, err := s.host.DumpRows(s.ctx)
	s.must(err)
	before := rows.Lines()
	add := []string{"session", "add", "one", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr}
	alone := s.oe(add...)
	if !strings.Contains(alone.stderr, "no daemon") {
		t.Errorf("without a daemon, add does not say so: %q", alone.stderr)
	}
	s.ok("session", "remove", "one")

	d := s.daemon().ready()
	with := s.oe(add...)
	if with.code != 0 || with.stdout != alone.stdout || with.stderr != "" {
		t.Errorf("with the daemon: exit %d\n%s%s\nwithout:\n%s", with.code, with.stdout, with.stderr, alone.stdout)
	}
	s.nothingToDo()
	s.copies(1)
	s.ok("session", "set", "one", "--session-id", "77")
	if got := s.show("one").Effective.SessionID; got != 77 {
		t.Errorf("session id %d after set", got)
	}
	s.refused("session", "add", "two", "--bridge", "br0", "--source", "nothere", "--collector", collectorAddr)
	if r := s.oe("session", "add", "far", "--bridge", "br0", "--source", "vnet1", "--collector", "198.51.100.1"); r.code != 3 || !strings.Contains(r.stderr, "NoRoute") {
		t.Errorf("a collector without a route: exit %d: %s", r.code, r.stderr)
	}
	s.ok("session", "remove", "far")
	s.ok("session", "disable", "one")
	s.copies(0)
	s.ok("session", "enable", "one")
	s.copies(1)
	if r := s.oe("run", "--once"); r.code != 1 || !strings.Contains(r.stderr, fmt.Sprint(d.PID())) {
		t.Errorf("run --once beside the daemon: exit %d: %s", r.code, r.stderr)
	}
	if r := s.oe("run"); r.code != 1 || !strings.Contains(r.stderr, "another daemon") {
		t.Errorf("a second daemon: exit %d: %s", r.code, r.stderr)
	}
	s.must(d.Stop(s.ctx))
	s.nothingToDo()
	s.copies(1)
	s.daemon().ready()
	s.ok("session", "remove", "one")
	s.copies(0)
	s.ok("uninstall", "--yes")
	rows, err = s.host.DumpRows(s.ctx)
	s.must(err)
	if diff := cmp.Diff(before, rows.Lines()); diff != "" {
		t.Errorf("after uninstall (-before +after):\n%s", diff)
	}
}

// TestDaemonHangs: a command that waits for a daemon that hangs says so, instead of waiting for ever.
func TestDaemonHangs(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	d := s.daemon().ready()
	s.must(d.Signal(syscall.SIGSTOP))
	defer func() { _ = d.Signal(syscall.SIGCONT) }()
	r := s.oe("session", "add", "one", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr, "--timeout", "1m")
	if r.code != 3 || !strings.Contains(r.stderr, "hangs") || !strings.Contains(r.stderr, fmt.Sprint(d.PID())) {
		t.Errorf("with a hung daemon: exit %d: %s", r.code, r.stderr)
	}
	s.must(d.Signal(syscall.SIGCONT))
	s.settled("one")
}

// TestTwoHostsTwoDaemons: two Open vSwitches, each with its daemon, do not see each other.
func TestTwoHostsTwoDaemons(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	other, err := s.lab.Host(s.ctx, "h2")
	s.must(err)
	s.must(other.AddBridge(s.ctx, "br0"))
	before, err := other.DumpRows(s.ctx)
	s.must(err)
	s.daemon().ready()
	s.daemonOn(other, lab.Command{}).ready()
	s.add("one", "--source", "vnet0")
	s.copies(1)
	if r := s.oeOn(other, lab.Command{}, "session", "list"); r.code != 0 || !strings.Contains(r.stdout, "no sessions") {
		t.Errorf("the other host: exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	after, err := other.DumpRows(s.ctx)
	s.must(err)
	if diff := cmp.Diff(before.Lines(), after.Lines()); diff != "" {
		t.Errorf("the other host's rows changed (-before +after):\n%s", diff)
	}
}
