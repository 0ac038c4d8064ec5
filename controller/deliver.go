package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
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
func (c *Controller) addDeliveries(ctx context.Context, plan Plan, result *Result) error {
	for _, bridge := range slices.Sorted(maps.Keys(plan.Deliveries)) {
		change, err := c.deliveryChanges(ctx, plan.Input.State, bridge, plan.Deliveries[bridge])
		if err != nil {
			return err
		}
		missing := map[string]bool{}
		for _, l := range change.Add {
			missing[l.Key()] = true
		}
		var add []flows.Line
		for _, l := range plan.Deliveries[bridge] {
			if c.contest.mayAdd(bridge+" "+l.String(), missing[l.Key()], c.Now()) {
				add = append(add, l)
			} else if missing[l.Key()] {
				result.Contested = append(result.Contested, contested{bridge, l.Cookie})
			}
		}
		if len(add) == 0 {
			continue
		}
		c.reached("deliveries")
		if err := c.OpenFlow.AddOurs(ctx, bridge, add); err != nil {
			return err
		}
		result.FlowMods += len(add)
		for _, l := range add {
			c.contest.placed[bridge+" "+l.String()] = true // it may be taken away before anyone looks again
		}
	}
	return nil
}

// deleteDeliveries takes away the flows that nothing is delivered through any more, before their patch goes.
func (c *Controller) deleteDeliveries(ctx context.Context, plan Plan, result *Result) error {
	for _, bridge := range slices.Sorted(maps.Keys(plan.Deliveries)) {
		change, err := c.deliveryChanges(ctx, plan.Input.State, bridge, plan.Deliveries[bridge])
		if err != nil {
			return err
		}
		if err := c.OpenFlow.DeleteOurs(ctx, bridge, change.Delete); err != nil {
			return err
		}
		result.FlowMods += len(change.Delete)
	}
	return nil
}

// contested is a delivery whose flow somebody else takes away again and again.
type contested struct {
	bridge string
	cookie flows.Cookie
}

// markContested tells so in the states of the sessions that deliver through it.
func markContested(p flows.Program, all []contested) {
	for _, out := range p.Outcomes {
		d := out.Delivery
		if d == nil {
			continue
		}
		for _, x := range all {
			if x.bridge == d.Bridge && x.cookie.Slot() == uint32(d.ProductionOFPort) {
				out.State, out.Reason = session.Degraded, flows.ReasonFlowContested
				out.Message = fmt.Sprintf("somebody else takes the flow that delivers to %q away from bridge %q again and again: nothing is delivered, until whoever programs that bridge leaves flows with cookie %#x/%#x alone",
					d.OutputPort, d.Bridge, flows.OwnCookies, flows.OwnCookiesMask)
			}
		}
	}
}

// A flow on a production bridge that somebody takes away is put back, but not for ever: two controllers that undo each
// other's work would keep that bridge busy without end.
const (
	putBacks      = 3                // as often as this
	contestWindow = time.Minute      // within this time
	contestRest   = 10 * time.Minute // and then not for this long
)

// contest counts, for one process, how often each flow had to be put back.
type contest struct {
	placed  map[string]bool
	putBack map[string][]time.Time
	rest    map[string]time.Time
}

// mayAdd notes whether the flow is missing, and tells whether it is to be added.
func (c *contest) mayAdd(flow string, missing bool, now time.Time) bool {
	if c.placed == nil {
		c.placed, c.putBack, c.rest = map[string]bool{}, map[string][]time.Time{}, map[string]time.Time{}
	}
	if !missing {
		c.placed[flow] = true
		return false
	}
	if now.Before(c.rest[flow]) {
		return false
	}
	if !c.placed[flow] {
		return true // the first time
	}
	recent := slices.DeleteFunc(c.putBack[flow], func(t time.Time) bool { return now.Sub(t) >= contestWindow })
	if len(recent) >= putBacks {
		c.rest[flow], c.putBack[flow] = now.Add(contestRest), nil
		return false
	}
	c.putBack[flow] = append(recent, now)
	return true
}
