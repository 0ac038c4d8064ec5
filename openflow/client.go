package openflow

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// Client speaks to the bridges of one Open vSwitch: over a connection of its own where that knows how, else through
// ovs-ofctl. It may be used concurrently.
type Client struct {
	rundir string

	mu    sync.Mutex
	links map[string]*link // by bridge
}

// New makes a client for the Open vSwitch that has its sockets in rundir. Nothing is connected or executed yet.
func New(rundir string) *Client {
	return &Client{rundir: rundir, links: map[string]*link{}}
}

// Apply makes the changes to the bridge's flows in one bundle: whoever looks, or whatever packet passes, meets all of them
// or none. Meters are there before flows use them, and go when none does any more. An empty change does nothing.
func (c *Client) Apply(ctx context.Context, bridge string, changes flows.FlowChanges) error {
	if changes.MatchFragments {
		if err := c.matchFragments(ctx, bridge); err != nil {
			return err
		}
	}
	if err := errors.Join(c.modMeters(ctx, bridge, meterAdd, changes.AddMeters), c.modMeters(ctx, bridge, meterModify, changes.SetMeters)); err != nil {
		return err
	}
	if err := c.applyFlows(ctx, bridge, changes); err != nil {
		return err
	}
	return c.modMeters(ctx, bridge, meterDelete, changes.DeleteMeters)
}

func (c *Client) applyFlows(ctx context.Context, bridge string, changes flows.FlowChanges) error {
	if len(changes.Delete)+len(changes.Add) == 0 {
		return nil
	}
	err := c.native(ctx, bridge, func(conn *connection) error { return conn.apply(changes) })
	if err != nil {
		err = c.execApply(ctx, bridge, changes)
	}
	if err != nil {
		return fmt.Errorf("bridge %q: change %d flows: %w", bridge, len(changes.Add)+len(changes.Delete), err)
	}
	return nil
}

// Touch adds a flow that is there already, which makes Open vSwitch revalidate the megaflows of the whole datapath.
func (c *Client) Touch(ctx context.Context, bridge string) error {
	touch := flows.TouchFlow().Line()
	err := c.native(ctx, bridge, func(conn *connection) error { return conn.add(touch) })
	if err != nil {
		err = c.execAdd(ctx, bridge, touch)
	}
	if err != nil {
		return fmt.Errorf("bridge %q: touch: %w", bridge, err)
	}
	return nil
}

// Dump reads all flows of the bridge with their counters.
//
// It needs the bridge to speak OpenFlow 1.5, as our own bridges do.
func (c *Client) Dump(ctx context.Context, bridge string) (entries []flows.Entry, err error) {
	err = c.native(ctx, bridge, func(conn *connection) error {
		entries, err = conn.dump()
		return err
	})
	if err != nil {
		entries, err = c.execDump(ctx, bridge)
	}
	if err != nil {
		return nil, fmt.Errorf("bridge %q: dump flows: %w", bridge, err)
	}
	return entries, nil
}

// socket is a bridge's OpenFlow management socket: no name is looked up, and none can be mistaken for an option.
func (c *Client) socket(bridge string) string {
	return filepath.Join(c.rundir, bridge+".mgmt")
}
