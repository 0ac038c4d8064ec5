package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// deliveryChanges is what separates a production bridge's flows of ours from the wished ones.
func (c *Controller) deliveryChanges(ctx context.Context, state flows.State, bridge string, wished []flows.Line) (flows.FlowChanges, error) {
	if state.Bridges[bridge] == nil {
		return flows.FlowChanges{}, nil // deleted meanwhile
	}
	there, err := c.OpenFlow.DumpOurs(ctx, bridge)
	if err != nil {
		return flows.FlowChanges{}, err
	}
	ours := slices.DeleteFunc(flows.Lines(there), func(l flows.Line) bool { return !flows.IsDelivery(l) })
	return flows.Compare(ours, wished), nil
}

// addDeliveries puts the flows in place that take frames to production ports. It comes before anything is delivered, and
// after the patch, whose row tells where to look for a flow that a crash has left.
func (c *Controller) addDeliveries(ctx context.Context, plan Plan, result *Result) {
	c.eachBridge(ctx, plan.Deliveries, result, func(ctx context.Context, bridge string, part *Result) error {
		change, err := c.deliveryChanges(ctx, plan.Input.State, bridge, plan.Deliveries[bridge])
		if err != nil {
			return err
		}
		key := func(l flows.Line) (string, string) {
			return bridge + " flow " + l.String(), plan.Input.State.Bridges[bridge].UUID + " " + c.Vswitchd.Instance()
		}
		var add []flows.Line
		c.disputes.Lock()
		for _, l := range change.Add {
			if k, wish := key(l); c.may(k, wish, contested{bridge: bridge, cookie: l.Cookie}, part) {
				add = append(add, l)
			}
		}
		c.disputes.Unlock()
		if len(add) == 0 {
			return nil
		}
		c.reached("deliveries")
		if err := c.OpenFlow.AddOurs(ctx, bridge, add); err != nil {
			return err
		}
		part.FlowMods += len(add)
		c.disputes.Lock()
		defer c.disputes.Unlock()
		for _, l := range add {
			k, wish := key(l)
			c.contest.placed(k, wish, c.Now())
		}
		return nil
	})
}

// deleteDeliveries takes away the flows that nothing is delivered through any more, before their patch goes.
func (c *Controller) deleteDeliveries(ctx context.Context, plan Plan, result *Result) {
	unwished := maps.Clone(plan.Deliveries)
	for bridge, err := range result.Failed {
		if wished, is := unwished[bridge]; is {
			if c.Skip[bridge] == nil {
				result.Failed[bridge] = left(err, wished)
			}
			delete(unwished, bridge) // it was not to be seen a moment ago
		}
	}
	c.eachBridge(ctx, unwished, result, func(ctx context.Context, bridge string, part *Result) error {
		change, err := c.deliveryChanges(ctx, plan.Input.State, bridge, plan.Deliveries[bridge])
		if err == nil {
			err = c.OpenFlow.DeleteOurs(ctx, bridge, change.Delete)
		}
		if err != nil {
			return left(err, plan.Deliveries[bridge])
		}
		part.FlowMods += len(change.Delete)
		return nil
	})
}

// left says of a production bridge that is to have no flow of ours any more what becomes of one that is still there.
func left(err error, wished []flows.Line) error {
	if len(wished) > 0 {
		return err
	}
	return fmt.Errorf("%w (a flow of ours with cookie %#x/%#x may be left there: it matches nothing without our port, and is deleted when the bridge answers)",
		err, flows.OwnCookies, flows.OwnCookiesMask)
}
