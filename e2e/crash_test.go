//go:build linux

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// steps of a change, before each of which the binary can be killed ($OVS_ERSPAN_KILL_AT; see fault_on.go). Which of them a
// command takes is for the test to say: a step that is not reached proves nothing.
var (
	stepsOfAdd    = []string{"stored", "rows-before", "flows", "rows-after", "revalidate", "report"}
	stepsOfSet    = []string{"stored", "flows", "revalidate", "report"}
	stepsOfRemove = []string{"stored", "flows", "rows-after", "revalidate", "rows-last", "report"}
)

// killAt runs the binary, which dies by SIGKILL before the step.
func (s *scene) killAt(step string, args ...string) {
	s.t.Helper()
	_, _, err := s.host.Run(s.ctx, lab.Command{Args: append([]string{binary}, args...), Env: []string{"OVS_ERSPAN_KILL_AT=" + step}})
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !exit.Sys().(syscall.WaitStatus).Signaled() {
		s.t.Fatalf("ovs-erspan %s did not die at step %s: %v", strings.Join(args, " "), step, err)
	}
}

// nothingToDo holds that the wish is in force and that nothing else of ours is there: nothing is left to do.
func (s *scene) nothingToDo() {
	s.t.Helper()
	if out := s.ok("plan"); !strings.Contains(out, "nothing to do") {
		s.t.Errorf("something is left to do:\n%s", out)
	}
}

// copies holds that a ping from a to b is copied to the collector, request and reply, once each for every session.
func (s *scene) copies(sessions int) {
	s.t.Helper()
	wire := s.capture(s.collector, "eth0", "proto 47")
	s.ping(s.a, addrB, 2)
	if sessions > 0 {
		s.waitCount(wire, "erspan && icmp", 4*sessions)
	}
	s.stop(wire)
	n, err := wire.Count(s.ctx, "erspan && icmp")
	s.must(err)
	if n != 4*sessions {
		s.t.Errorf("2 pings: %d copies, want %d", n, 4*sessions)
	}
}

// TestKilledAtEachStep: whatever step of a change the command dies at, by SIGKILL, the next run puts the wish in force and
// leaves no orphan.
func TestKilledAtEachStep(t *testing.T) {
	s := newScene(t)
	add := []string{"session", "add", "one", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr}
	rows, err := s.host.DumpRows(s.ctx)
	s.must(err)
	before := rows.Lines()
	for _, step := range stepsOfAdd {
		s.killAt(step, add...)
		s.ping(s.a, addrB, 1)
		s.ok("run", "--once")
		s.nothingToDo()
		if state, reason := s.state("one"); state != "Active" {
			t.Errorf("killed at %s of add, mended: %s, %s", step, state, reason)
		}
		s.ok("session", "remove", "one")
	}
	s.ok(add...)
	for n, step := range stepsOfSet {
		s.killAt(step, "session", "set", "one", "--session-id", fmt.Sprint(100+n))
		s.ok("run", "--once")
		s.nothingToDo()
		if got := s.show("one").Effective.SessionID; got != 100+n {
			t.Errorf("killed at %s of set, mended: session id %d, want %d", step, got, 100+n)
		}
	}
	s.copies(1)
	for _, step := range stepsOfRemove {
		s.ok(append(add, "--may-exist")...)
		s.killAt(step, "session", "remove", "one")
		s.ok("run", "--once")
		s.nothingToDo()
	}
	s.copies(0)
	s.ok("uninstall")
	rows, err = s.host.DumpRows(s.ctx)
	s.must(err)
	if diff := cmp.Diff(before, rows.Lines()); diff != "" {
		t.Errorf("orphans (-before +after):\n%s", diff)
	}
}

// TestAddsAtTheSameMoment: of two commands at the same moment both are in force, each time.
func TestAddsAtTheSameMoment(t *testing.T) {
	s := newScene(t)
	for n := range 20 {
		var both sync.WaitGroup
		for _, who := range []string{"x", "y"} {
			both.Go(func() {
				r := s.oe("session", "add", fmt.Sprintf("%s%d", who, n), "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr)
				if r.code != 0 {
					t.Errorf("add %s%d: exit %d: %s", who, n, r.code, r.stderr)
				}
			})
		}
		both.Wait()
	}
	var list []shown
	s.must(json.Unmarshal([]byte(s.ok("session", "list", "-o", "json")), &list))
	ids := map[int]string{}
	for _, v := range list {
		if v.Status.State != "Active" {
			t.Errorf("session %q: %s, %s", v.Name, v.Status.State, v.Status.Reason)
		}
		if other := ids[v.Effective.SessionID]; other != "" {
			t.Errorf("sessions %q and %q have the same session id", v.Name, other)
		}
		ids[v.Effective.SessionID] = v.Name
	}
	if len(list) != 40 {
		t.Errorf("%d sessions, want 40", len(list))
	}
	s.nothingToDo()
}
