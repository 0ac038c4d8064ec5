package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// TestLockFileRemoved: a daemon whose lock's file was removed asks for the lock again. Two that are at work at the same time come
// to an end: one of them goes.
func TestLockFileRemoved(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	lock := filepath.Join(s.host.RunDir(), "ovs-erspan.lock")
	process, err := s.host.Start(s.ctx, lab.Command{Args: []string{binary, "run", "-v"}})
	s.must(err)
	first := (&daemon{process, s}).ready()
	s.add("one", "--source", "vnet0")
	s.must(os.Remove(lock))
	first.logged("asks for the lock again")
	s.must(lab.Until(s.ctx, "the daemon has the lock again", func(context.Context) error {
		if r := s.oe("run", "--once"); r.code != 1 || !strings.Contains(r.stderr, fmt.Sprintf("the daemon (process %d) reconciles", first.PID())) {
			return fmt.Errorf("run --once: exit %d: %s%s", r.code, r.stdout, r.stderr)
		}
		return nil
	}))
	s.copies(1)
	// Another daemon comes while there is no file.
	s.must(os.Remove(lock))
	second, err := s.host.Start(s.ctx, lab.Command{Args: []string{binary, "run"}})
	s.must(err)
	s.must(lab.Until(s.ctx, "one of two daemons ends", func(context.Context) error {
		for _, p := range []*lab.Process{first.Process, second} {
			select {
			case <-p.Done():
				return nil
			default:
			}
		}
		return errors.New("both are at work")
	}))
	s.copies(1)
}

// TestLockNotToBeHad: what could not be put in force afterwards, because the lock's file is another's, is not stored; what stops
// copies is.
func TestLockNotToBeHad(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.add("one", "--source", "vnet0")
	lock := filepath.Join(s.host.RunDir(), "ovs-erspan.lock")
	_ = os.Remove(lock)
	s.must(os.Symlink("/nonexistent", lock))
	if said := s.refused("session", "add", "two", "--bridge", "br0", "--source", "vnet1", "--collector", collectorAddr); !strings.Contains(said, "symbolic link") {
		t.Errorf("refused with: %s", said)
	}
	if out := s.ok("export"); strings.Contains(out, "two") {
		t.Errorf("it is stored all the same: %s", out)
	}
	if r := s.oe("session", "remove", "one"); r.code != 3 {
		t.Errorf("session remove: exit %d: %s", r.code, r.stderr)
	}
	if out := s.ok("export"); strings.Contains(out, "one") {
		t.Errorf("what stops was not stored: %s", out)
	}
}
