//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// stopScene has three sessions with and without rules, two on the same tap, and a capture that sees their copies.
func stopScene(t *testing.T) *scene {
	s := newScene(t)
	s.add("one", "--source", "vnet0")
	s.add("two", "--source", "vnet0", "--match", "icmp")
	s.add("three", "--source", "vnet1", "--erspan-version", "2")
	return s
}

// noCopies pings, and holds that not one copy leaves.
func (s *scene) noCopies() {
	s.t.Helper()
	wire := s.capture(s.collector, "eth0", "proto 47")
	s.ping(s.a, addrB, 10)
	s.ping(s.collector, hostAddr, 1) // what was sent before has arrived by now
	s.stop(wire)
	if n, err := wire.Count(s.ctx, ""); err != nil || n != 0 {
		s.t.Errorf("%d copies left after the stop, %v", n, err)
	}
}

// TestDisableAllWithoutDaemon: one command stops every session where no daemon is, also after one was killed; none is
// forgotten.
func TestDisableAllWithoutDaemon(t *testing.T) {
	t.Parallel()
	for _, was := range []string{"never ran", "was killed"} {
		t.Run(was, func(t *testing.T) {
			t.Parallel()
			s := stopScene(t)
			if was == "was killed" {
				p, err := s.host.Start(s.ctx, lab.Command{Args: []string{binary, "run", "-v"}})
				s.must(err)
				(&daemon{p, s}).ready()
				s.must(p.Kill(s.ctx))
			}
			s.copies(3)
			s.ok("session", "disable", "--all")
			s.noCopies()
			for _, name := range []string{"one", "two", "three"} {
				if state, reason := s.state(name); state != "Disabled" || reason != "Disabled" {
					t.Errorf("session %q is %s, %s", name, state, reason)
				}
			}
			s.nothingToDo()
			s.ok("session", "enable", "--all")
			s.copies(3)
		})
	}
}

// TestDisableAllDaemonHangs: the stop does not wait for a daemon that hangs, and holds when the daemon goes on.
func TestDisableAllDaemonHangs(t *testing.T) {
	t.Parallel()
	s := stopScene(t)
	d := s.daemon().ready()
	s.copies(3)
	s.must(d.Signal(syscall.SIGSTOP))
	defer func() { _ = d.Signal(syscall.SIGCONT) }()
	r := s.oe("session", "disable", "--all", "--timeout", "1m")
	if r.code != 0 || !strings.Contains(r.stderr, "hangs") || !strings.Contains(r.stderr, fmt.Sprint(d.PID())) {
		t.Errorf("with a hung daemon: exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	s.noCopies()
	s.must(d.Signal(syscall.SIGCONT))
	d.logged(`"msg":"session was changed","session":"three"`)
	s.noCopies()
	s.nothingToDo()
}

// TestHWOffload: on a host whose Open vSwitch hands flows to network cards, a session has to accept that; one that did not
// says so when the offload is switched on later.
func TestHWOffload(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.add("before", "--source", "vnet0")
	offload := func(value string) {
		_, err := s.host.Vsctl(s.ctx, "set", "open", ".", "other_config:hw-offload="+value)
		s.must(err)
	}
	offload("true")
	if state, reason := s.state("before"); state != "Degraded" || reason != "HardwareOffload" {
		t.Errorf("switched on later: %s, %s", state, reason)
	}
	before, err := s.host.DumpRows(s.ctx)
	s.must(err)
	for _, args := range [][]string{
		{"session", "add", "new", "--bridge", "br0", "--source", "vnet1", "--collector", collectorAddr},
		{"session", "add", "in", "--type", "destination", "--bridge", "br0", "--output-port", "vnet1", "--from", "any", "--session-id", "7"},
		{"session", "set", "before", "--snaplen", "64"},
	} {
		said := s.refused(args...)
		for _, want := range []string{"allowHWOffload", "hw-offload=true", "--allow-hw-offload", "hw-offload=false"} {
			if !strings.Contains(said, want) {
				t.Errorf("%v: %q lacks %q", args, said, want)
			}
		}
	}
	after, err := s.host.DumpRows(s.ctx)
	s.must(err)
	if got, want := strings.Join(after.Lines(), "\n"), strings.Join(before.Lines(), "\n"); got != want {
		t.Error("a refused command changed rows")
	}
	s.ok("session", "set", "before", "--allow-hw-offload")
	s.add("new", "--source", "vnet1", "--allow-hw-offload")
	for _, name := range []string{"before", "new"} {
		if state, reason := s.state(name); state != "Active" {
			t.Errorf("%s accepted: %s, %s", name, state, reason)
		}
	}
	exported := s.ok("export")
	if strings.Count(exported, "allowHWOffload: true") != 2 {
		t.Errorf("export:\n%s", exported)
	}
	if r := s.oe("session", "set", "new", "--unset", "allow-hw-offload"); r.code != 2 {
		t.Errorf("taken back: exit %d", r.code)
	}
	offload("false")
	s.ok("session", "set", "new", "--unset", "allow-hw-offload")

	// Segmentation offload of the userspace datapath concerns sessions whose copies leave from there.
	_, err = s.host.Vsctl(s.ctx, "set", "open", ".", "other_config:userspace-tso-enable=True")
	s.must(err)
	state, reason := s.state("new")
	r := s.oe("session", "add", "third", "--bridge", "br0", "--source", "vnet1", "--collector", collectorAddr)
	_, code := s.doctor()
	if lab.Datapath() == lab.Kernel {
		if state != "Active" || r.code != 0 {
			t.Errorf("userspace-tso-enable on the kernel's datapath: %s, %s; exit %d: %s", state, reason, r.code, r.stderr)
		}
		return
	}
	if state != "Degraded" || reason != "UserspaceTSO" || code == 0 {
		t.Errorf("userspace-tso-enable switched on later: %s, %s; doctor's exit code %d", state, reason, code)
	}
	if r.code != 2 || !strings.Contains(r.stderr, "userspace-tso-enable=true") || !strings.Contains(r.stderr, "--allow-hw-offload") {
		t.Errorf("a session that does not accept userspace-tso-enable: exit %d: %s", r.code, r.stderr)
	}
	s.add("third", "--source", "vnet1", "--allow-hw-offload")
}
