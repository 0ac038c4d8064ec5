package openflow_test

import (
	"context"
	"sync"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/ovsdb/ovsdbtest"
)

// TestWatch: changes by whomever are told, a touch is not, and the end of ovs-vswitchd is.
func TestWatch(t *testing.T) {
	ctx, c, s := bridge(t)
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
}
