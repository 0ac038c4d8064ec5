//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// steps of a change, before each of which the binary can be killed ($OVS_ERSPAN_KILL_AT; see fault_on.go). Which of them a
// command takes is for the test to say: a step that is not reached proves nothing.
var (
	stepsOfAdd    = []string{"stored", "rows-before", "flows", "revalidate", "report"} // with the tap bridge
	stepsOfMore   = []string{"stored", "rows-before", "flows", "rows-after", "revalidate", "report"}
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
	t.Parallel()
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
	more := []string{"session", "add", "two", "--bridge", "br-ul", "--source", "br-ul", "--direction", "ingress", "--collector", collectorAddr}
	for _, step := range stepsOfMore {
		s.killAt(step, more...)
		s.ok("run", "--once")
		s.nothingToDo()
		if state, reason := s.state("two"); state != "Active" {
			t.Errorf("killed at %s of another add, mended: %s, %s", step, state, reason)
		}
		s.ok("session", "remove", "two")
	}
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
	s.ok("uninstall", "--yes")
	rows, err = s.host.DumpRows(s.ctx)
	s.must(err)
	if diff := cmp.Diff(before, rows.Lines()); diff != "" {
		t.Errorf("orphans (-before +after):\n%s", diff)
	}
}

// TestDeliveryKilledAtEachStep: the same for a destination session, whose flow on the production bridge must never be left
// without a row that tells of it.
func TestDeliveryKilledAtEachStep(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	add := []string{"session", "add", "in", "--type", "destination", "--bridge", "br0", "--output-port", "vnet1", "--from", "any", "--session-id", "7"}
	rows, err := s.host.DumpRows(s.ctx)
	s.must(err)
	before := rows.Lines()
	flows, err := s.host.DumpFlows(s.ctx, "br0")
	s.must(err)
	gone := func(step string) {
		t.Helper()
		s.nothingToDo()
		after, err := s.host.DumpFlows(s.ctx, "br0")
		s.must(err)
		if diff := cmp.Diff(flows, after); diff != "" {
			t.Errorf("killed at %s, mended: flows of br0 (-before +after):\n%s", step, diff)
		}
	}
	for _, step := range []string{"stored", "rows-before", "deliveries", "flows", "revalidate", "report"} {
		s.killAt(step, add...)
		s.ok("run", "--once")
		s.nothingToDo()
		if state, _ := s.state("in"); state != "Active" {
			t.Errorf("killed at %s of add, mended: %s", step, state)
		}
		s.ok("session", "remove", "in")
		// And where the session goes before anything was mended.
		s.killAt(step, add...)
		s.ok("session", "remove", "in")
		gone(step + " of add")
	}
	for _, step := range []string{"stored", "flows", "rows-after", "revalidate", "rows-last", "report"} {
		s.ok(append(add, "--may-exist")...)
		s.killAt(step, "session", "remove", "in")
		s.ok("run", "--once")
		gone(step + " of remove")
	}
	s.ok("uninstall", "--yes")
	rows, err = s.host.DumpRows(s.ctx)
	s.must(err)
	if diff := cmp.Diff(before, rows.Lines()); diff != "" {
		t.Errorf("orphans (-before +after):\n%s", diff)
	}
}

// TestKilledAtAnyMoment: the same for moments within the steps: while rows are committed, while the answer is awaited,
// while flows are on their way. What mends it is the next command, whichever that is.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	rows, err := s.host.DumpRows(s.ctx)
	s.must(err)
	before := rows.Lines()
	add := []string{"session", "add", "one", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr, "--session-id", "1", "--may-exist"}
	commands := []struct {
		name           string
		first, command []string
	}{
		{"add", []string{"session", "remove", "one", "--if-exists"}, add},
		{"set", add, []string{"session", "set", "one", "--erspan-version", "2", "--direction", "both"}},
		{"remove", add, []string{"session", "remove", "one"}},
	}
	mends := [][]string{
		{"run", "--once"},
		{"session", "add", "other", "--bridge", "br0", "--source", "vnet1", "--collector", collectorAddr, "--session-id", "2", "--may-exist"},
		{"session", "remove", "other", "--if-exists"},
	}
	const moments = 9
	for _, c := range commands {
		s.ok(c.first...)
		start := time.Now()
		s.ok(c.command...)
		whole := time.Since(start)
		for n := range moments {
			s.ok(c.first...)
			ctx, cancel := context.WithTimeout(s.ctx, whole*time.Duration(n+1)/moments)
			_, _, err := s.host.Run(ctx, lab.Command{Args: append([]string{binary}, c.command...)})
			cancel()
			mend := mends[n%len(mends)]
			s.ok(mend...)
			// A command that was killed before it had stored its wish has changed nothing, and the next one has nothing
			// to mend; one that had is in force by now.
			s.nothingToDo()
			if t.Failed() {
				t.Fatalf("killed in %s after %d/%d of its time (%v), mended by %v", c.name, n+1, moments, err, mend)
			}
		}
	}
	s.ok("session", "add", "one", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr, "--may-exist")
	s.copies(1)
	s.ok("uninstall", "--yes")
	rows, err = s.host.DumpRows(s.ctx)
	s.must(err)
	if diff := cmp.Diff(before, rows.Lines()); diff != "" {
		t.Errorf("orphans (-before +after):\n%s", diff)
	}
}

// TestLock: while another process holds the lock, a command changes no row and no flow; it stores the wish, and puts it in
// force when the lock is free, or says who has it.
func TestLock(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	file, err := os.OpenFile(filepath.Join(s.host.RunDir(), "ovs-erspan.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	s.must(err)
	defer file.Close()
	s.must(syscall.Flock(int(file.Fd()), syscall.LOCK_EX))
	add := []string{"session", "add", "one", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr}
	r := s.oe(append(add, "--timeout", "1500ms")...)
	if r.code != 3 || !strings.Contains(r.stderr, "ovs-erspan.lock") {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
	bridges, err := s.host.Vsctl(s.ctx, "list-br")
	s.must(err)
	if strings.Contains(bridges, "erspan") {
		t.Errorf("somebody else holds the lock, and there are the bridges\n%s", bridges)
	}
	done := make(chan result)
	go func() { done <- s.oe("session", "set", "one", "--session-id", "7") }()
	s.must(lab.Until(s.ctx, "the wish is stored", func(context.Context) error {
		if got := s.show("one").Effective.SessionID; got != 7 {
			return fmt.Errorf("session id %d", got)
		}
		return nil
	}))
	file.Close()
	if r := <-done; r.code != 0 {
		t.Errorf("the lock is free; exit %d: %s", r.code, r.stderr)
	}
	s.copies(1)
	s.nothingToDo()
}

// TestAddsAtTheSameMoment: of two commands at the same moment both are in force, each time.
func TestAddsAtTheSameMoment(t *testing.T) {
	t.Parallel()
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
