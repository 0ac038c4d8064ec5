//go:build linux

// Package e2e runs the ovs-erspan binary against real Open vSwitch in labs of its own and lets tshark and tcpdump judge
// what is on the wire. It imports no product package: the binary is what users have.
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
)

// binary is the ovs-erspan under test, built with the race detector and with the tag "faults" (kill points); or the one
// that OVS_ERSPAN_BINARY names, where there is no compiler (the virtual machine of e2e/vm).
var binary = os.Getenv("OVS_ERSPAN_BINARY")

// plainBinary is the same without the race detector: a third of the time, where hundreds of commands are run.
var plainBinary string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "e2e: these tests make network namespaces and need root: run them with 'make test', which uses sudo")
		return 1
	}
	if dir := os.Getenv("LAB_OVS_BIN"); dir != "" { // another Open vSwitch, see scripts/ovs-root.sh
		os.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	}
	if binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "oe-bin")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		os.RemoveAll(dir)
		os.Exit(130) // which ends the labs
	}()
	binary = filepath.Join(dir, "ovs-erspan")
	build := exec.Command("go", "build", "-race", "-tags", "faults", "-o", binary, "../cmd/ovs-erspan")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: build the binary:", err)
		return 1
	}
	plainBinary = filepath.Join(dir, "ovs-erspan-plain")
	build = exec.Command("go", "build", "-tags", "faults", "-o", plainBinary, "../cmd/ovs-erspan")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is shipped
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: build the binary:", err)
		return 1
	}
	return m.Run()
}
