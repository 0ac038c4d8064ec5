//go:build faults

package main

import (
	"os"
	"syscall"
)

// reached kills the process, as kill -9 would, before the step that $OVS_ERSPAN_KILL_AT names: tests prove so that a
// crash at any point converges.
func reached(step string) {
	if os.Getenv("OVS_ERSPAN_KILL_AT") == step {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
}
