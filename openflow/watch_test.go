package openflow_test

import (
	"context"
	"sync"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/ovsdb/ovsdbtest"
)

// TestWatch: changes by whomever are told, a touch is not, and the end of ovs-vswitchd is.
func TestWatch(t *testing.T) { testWatch(t, "OpenFlow10,OpenFlow13,OpenFlow14,OpenFlow15") }

// TestWatchByExtension: the same where there is no OpenFlow 1.4, and so not its way of watching, which 2.17 has not at all.
func TestWatchByExtension(t *testing.T) { testWatch(t, "OpenFlow10,OpenFlow15") }

func testWatch(t *testing.T, protocols string) {
	ctx, c, s := bridge(t)
	s.Vsctl("set", "bridge", "br-t", "protocols="+protocols)
	if err := c.Apply(ctx, "br-t", flows.FlowChanges{Add: []flows.Line{flows.TouchFlow().Line()}}); err != nil {
		t.Fatal(err)
	}
	changes, err := c.Watch(ctx, "br-t", "")
	if err != nil {
		t.Fatal(err)
	}
	told := func(what string, want bool) {
		t.Helper()
		select {
		case _, open := <-changes:
			if open != want {
				t.Fatalf("%s: the channel is open: %v, want %v", what, open, want)
			}
		case <-ctx.Done():
			t.Fatalf("%s: nothing was told", what)
		}
	}
	for _, change := range [][]string{
		{"add-flow", "br-t", "table=1,actions=drop"},
		{"--strict", "mod-flows", "br-t", "table=1,actions=normal"},
		{"del-flows", "br-t", "table=1"},
	} {
		s.Run("ovs-ofctl", append([]string{"-O", "OpenFlow15"}, change...)...)
		told(change[0], true)
	}
	var mu sync.Mutex
	events, ended := 0, make(chan struct{})
	go func() {
		defer close(ended)
		for range changes {
			mu.Lock()
			events++
			mu.Unlock()
		}
	}()
	count := func() int { mu.Lock(); defer mu.Unlock(); return events }
	for range 20 {
		if err := c.Touch(ctx, "br-t"); err != nil {
			t.Fatal(err)
		}
	}
	// What comes next on the same connection is behind the touches.
	s.Run("ovs-ofctl", "-O", "OpenFlow15", "add-flow", "br-t", "table=2,actions=drop")
	ovsdbtest.Eventually(t, "the change after the touches is told", func() bool { return count() > 0 })
	if n := count(); n != 1 {
		t.Errorf("20 touches and a change: told of %d times, want once", n)
	}
	s.KillVswitchd()
	select {
	case <-ended:
	case <-ctx.Done():
		t.Fatal("the end of ovs-vswitchd was not told")
	}

	if _, err := c.Watch(ctx, "br-t", ""); err == nil {
		t.Error("a bridge of an ovs-vswitchd that is gone is watched")
	}
	s.StartVswitchd()
	watch, cancel := context.WithCancel(ctx)
	if changes, err = c.Watch(watch, "br-t", ""); err != nil {
		t.Fatal(err)
	}
	cancel()
	told("the end of the watching", false)

	// Only what matches is told.
	if changes, err = c.Watch(ctx, "br-t", "in_port=5"); err != nil {
		t.Fatal(err)
	}
	for _, port := range []string{"6", "5"} {
		s.Run("ovs-ofctl", "-O", "OpenFlow15", "add-flow", "br-t", "in_port="+port+",actions=drop")
	}
	told("the flow of port 5", true)
	s.Run("ovs-ofctl", "-O", "OpenFlow15", "add-flow", "br-t", "in_port=6,priority=7,actions=drop")
	s.KillVswitchd()
	told("the end of ovs-vswitchd, and nothing before", false)
}
