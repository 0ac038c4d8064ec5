//go:build linux

package e2e

import (
	"errors"
	"os/exec"
	"syscall"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// TestDyingIsNoRefusal: a program that dies in the middle of its work does not exit with 2, which says "refused, nothing
// changed": a runtime of Go would.
func TestDyingIsNoRefusal(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	p, err := s.host.Start(s.ctx, lab.Command{Args: []string{binary, "run", "-v"}})
	s.must(err)
	d := (&daemon{p, s}).ready()
	s.must(d.Signal(syscall.SIGQUIT))
	var exit *exec.ExitError
	if err := d.Wait(s.ctx); !errors.As(err, &exit) {
		t.Fatalf("the daemon ended with %v", err)
	}
	if status := exit.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGABRT {
		t.Errorf("it ended with %v, want SIGABRT", exit)
	}
}
