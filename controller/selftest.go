package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// ProveLimits tells by datapath type, for those on which the sessions have rates to bound, why no meter may be used there;
// nothing where meters are harmless. What was found of this version of Open vSwitch before is not tested again; keep has
// what is found now remembered.
func (c *Controller) ProveLimits(ctx context.Context, sessions []session.Stored, keep bool) (map[string]string, error) {
	unsafe := map[string]string{}
	if !slices.ContainsFunc(sessions, session.Stored.Limited) {
		return unsafe, nil
	}
	state, err := c.DB.State()
	if err != nil {
		return nil, err
	}
	for _, datapath := range flows.LimitedDatapaths(state, sessions) {
		version, err := c.Vswitchd.Version(ctx)
		if err != nil {
			return nil, err
		}
		proofs, err := c.DB.Proofs()
		if err != nil {
			return nil, err
		}
		proof := proofs[datapath]
		if proof.Version != version {
			proof = flows.Proof{Version: version}
			if proof.Unsafe, err = c.selfTest(ctx, datapath); err != nil {
				return nil, fmt.Errorf("the self-test of meters: %w", err)
			}
			c.Log.Info("meters were tested", "datapath", datapath, "ovs", version, "harm", proof.Unsafe)
			if keep {
				if err := c.DB.Prove(ctx, datapath, proof); err != nil {
					return nil, err
				}
			}
		}
		if proof.Unsafe != "" {
			unsafe[datapath] = proof.Unsafe
		}
	}
	return unsafe, nil
}

// prove is ProveLimits for a reconcile: a test that cannot be made fails the sessions that need it, and no other.
func (c *Controller) prove(ctx context.Context, sessions []session.Stored) {
	c.unproven = nil
	if _, err := c.ProveLimits(ctx, sessions, true); err != nil {
		c.unproven = err
	}
}

// unsafe is what is known of the datapaths' meters, without a test.
func (c *Controller) unsafe(ctx context.Context, state flows.State, sessions []session.Stored) map[string]string {
	known := map[string]string{}
	for _, datapath := range flows.LimitedDatapaths(state, sessions) {
		if c.unproven != nil {
			known[datapath] = c.unproven.Error()
			continue
		}
		proofs, err := c.DB.Proofs()
		if err != nil || proofs[datapath].Unsafe == "" {
			continue
		}
		if version, err := c.Vswitchd.Version(ctx); err == nil && version == proofs[datapath].Version {
			known[datapath] = proofs[datapath].Unsafe
		}
	}
	return known
}

// selfTest finds out whether a meter can do harm; the error says that it could not be found out.
func (c *Controller) selfTest(ctx context.Context, datapath string) (harm string, err error) {
	if err := c.awaitSelfTest(ctx); err != nil {
		return "", err
	}
	test := flows.NewSelfTest(datapath, c.Now())
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err = errors.Join(err, c.DB.Apply(ctx, test.Cleanup))
	}()
	if err := c.DB.Apply(ctx, test.Rows); err != nil {
		return "", err
	}
	c.reached("self-test")
	for bridge, changes := range test.Flows {
		if err := c.OpenFlow.Apply(ctx, bridge, changes); err != nil {
			return "", err
		}
	}
	trace, err := c.Vswitchd.Trace(ctx, test.Bridge, test.Packet)
	if err != nil {
		return "", err
	}
	return flows.MeterHarm(trace), nil
}

// ClearSelfTest takes the bridges of a self-test away, also those of one that may be under way; it waits for ovs-vswitchd
// where told to.
func (c *Controller) ClearSelfTest(ctx context.Context, wait bool) error {
	state, err := c.DB.State()
	if err != nil {
		return err
	}
	left, _ := state.SelfTestLeft(c.Now())
	if !wait {
		return c.DB.Commit(ctx, left)
	}
	return c.DB.Apply(ctx, left)
}

// awaitSelfTest waits for another process's self-test, and clears away what one has left that did not come to its end.
func (c *Controller) awaitSelfTest(ctx context.Context) error {
	for {
		state, err := c.DB.State()
		if err != nil {
			return err
		}
		left, underWay := state.SelfTestLeft(c.Now())
		if !underWay {
			return c.DB.Apply(ctx, left)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("another is under way: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
