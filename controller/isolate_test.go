package controller

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// noFilter is a host whose kernel cannot keep its stack from a device.
type noFilter struct {
	Underlay
	asked int
}

func (*noFilter) Isolation(string, []string) ([]string, error) { return []string{"+ device an0"}, nil }
func (n *noFilter) Isolate(string, []string) (int, error) {
	n.asked++
	return 0, errors.New("operation not supported")
}

// TestNoIsolation: where the host's stack cannot be kept from a device, the session is in force all the same, each reconcile
// tries again, and the log says so once. A host without the userspace datapath is not asked.
func TestNoIsolation(t *testing.T) {
	var log strings.Builder
	host := &noFilter{}
	c := &Controller{Underlay: host, Log: slog.New(slog.NewTextHandler(&log, nil))}
	state := flows.State{Bridges: map[string]*flows.Bridge{"br0": {Name: "br0", DatapathType: "netdev"}}}
	var result Result
	for range 2 {
		plan := Plan{Isolation: c.isolation(state, flows.Program{})}
		c.isolate(plan, []string{"an0"}, &result)
	}
	if host.asked != 2 || result.Changed() {
		t.Errorf("tried %d times, changed %v", host.asked, result.Changed())
	}
	if n := strings.Count(log.String(), "not supported"); n != 1 {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
	state.Bridges["br0"].DatapathType = ""
	if is := c.isolation(state, flows.Program{}); len(is.Changes) > 0 {
		t.Errorf("on a host with the kernel's datapath only: %v", is.Changes)
	}
}
