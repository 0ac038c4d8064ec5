//go:build linux

// Command tshark stands for tshark inside the virtual machine: it hands the call to the machine outside, with the files
// that the arguments name, and shows what tshark says there.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/ovs-erspan/ovs-erspan/e2e/vm/judge"
)

func main() {
	code, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "tshark (of the virtual machine):", err)
		code = 1
	}
	os.Exit(code)
}

func run() (int, error) {
	device, err := findPort()
	if err != nil {
		return 0, err
	}
	// Only one process can have the port open, and one call is answered at a time.
	lock, err := os.OpenFile("/run/judge.lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return 0, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return 0, err
	}
	port, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	r := judge.Request{Args: os.Args[1:], Files: map[string][]byte{}}
	for _, arg := range r.Args {
		if info, err := os.Stat(arg); err == nil && info.Mode().IsRegular() {
			if r.Files[arg], err = os.ReadFile(arg); err != nil {
				return 0, err
			}
		}
	}
	reply, err := judge.Ask(port, r)
	if err != nil {
		return 0, err
	}
	os.Stdout.Write(reply.Stdout)
	os.Stderr.Write(reply.Stderr)
	return reply.Code, nil
}

// findPort looks the device of the port up by its name; no udev runs here that would make a link for it.
func findPort() (string, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return "", err
	}
	for _, n := range names {
		if content, err := os.ReadFile(n); err == nil && strings.TrimSpace(string(content)) == judge.Port {
			return "/dev/" + filepath.Base(filepath.Dir(n)), nil
		}
	}
	return "", fmt.Errorf("no virtio-serial port is named %q", judge.Port)
}
