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

// Result is what a reconcile did and found.
type Result struct {
	Generation uint64 // of the wish that is in force now
	RowOps     int
	FlowMods   int
	Status     map[string]session.Status
}

// Changed tells whether anything was changed.
func (r Result) Changed() bool { return r.RowOps+r.FlowMods > 0 }

// Reconcile makes everything what the store wishes, and reports each session's state there.
//
// The order protects production: the guard and the sessions' flows stand before anything is mirrored; then running flows
// are made to notice. What is no longer wished stops first and is taken away then.
func (c *Controller) Reconcile(ctx context.Context) (Result, error) {
	const tries = 5
	for try := 1; ; try++ {
		result, err := c.reconcile(ctx)
		if err == nil || !c.Stale(err) || try == tries || ctx.Err() != nil {
			return result, err
		}
		c.Log.Debug("rows changed meanwhile, looking again", "error", err)
	}
}

func (c *Controller) reconcile(ctx context.Context) (Result, error) {
	if err := c.removeExpired(ctx); err != nil {
		return Result{}, err
	}
	wish, err := c.DB.Wish()
	if err != nil {
		return Result{}, err
	}
	result := Result{Generation: wish.Generation}
	plan, err := c.Plan(ctx, wish.Sessions)
	if err != nil {
		return result, err
	}
	if plan, err = c.applyBefore(ctx, wish, plan, &result); err != nil {
		return result, err
	}
	// Open vSwitch learns neighbours only while it has a tunnel port.
	missing := c.prime(plan)
	if err = c.apply(ctx, plan, &result, missing); err != nil {
		return result, err
	}
	// What is left to see is who answered. What the rows and flows of the last plan made of the sessions, that plan knew.
	if len(missing) > 0 {
		if plan, err = c.Plan(ctx, wish.Sessions); err != nil {
			return result, err
		}
	}
	result.Status = Statuses(wish, plan.Program, c.Now())
	c.reached("report")
	return result, c.DB.Report(ctx, wish.Generation, result.Status)
}

// applyBefore opens the way, and returns the plan as it is then: ports have got their numbers.
func (c *Controller) applyBefore(ctx context.Context, wish session.Wish, plan Plan, result *Result) (Plan, error) {
	if len(plan.Rows.Before) == 0 {
		return plan, nil
	}
	c.reached("rows-before")
	if err := c.DB.Apply(ctx, plan.Rows.Before); err != nil && !c.PortNotOpen(err) {
		return plan, err
	}
	result.RowOps += len(plan.Rows.Before)
	return c.Plan(ctx, wish.Sessions)
}

// apply takes the steps of the plan that follow: flows, mirrors, and what is no longer needed. Meanwhile the missing next
// hops may answer.
func (c *Controller) apply(ctx context.Context, plan Plan, result *Result, missing map[flows.PathKey]flows.Path) error {
	started := c.Now()
	for _, bridge := range slices.Sorted(maps.Keys(plan.Flows)) {
		n, err := c.applyFlows(ctx, plan.Input.State, bridge, plan.Flows[bridge])
		if err != nil {
			return err
		}
		result.FlowMods += n
	}
	if len(plan.Rows.After) > 0 {
		c.reached("rows-after")
		if err := c.applyAfter(ctx, plan.Rows.After); err != nil {
			return err
		}
		result.RowOps += len(plan.Rows.After)
	}
	// Running flows would notice a neighbour that came back only after about 20 s.
	if found := c.waitNeighbors(ctx, plan, missing, started); found || result.Changed() {
		c.reached("revalidate")
		if err := c.revalidate(ctx, plan); err != nil {
			return err
		}
	}
	if len(plan.Rows.Last) > 0 {
		c.reached("rows-last")
		if err := c.DB.Apply(ctx, plan.Rows.Last); err != nil {
			return err
		}
		result.RowOps += len(plan.Rows.Last)
	}
	return nil
}

// portsAtOnce bounds how many ports one transaction deletes: ovs-vswitchd takes 37 s for 5000 at once, during which it
// answers nobody.
const portsAtOnce = 200

func (c *Controller) applyAfter(ctx context.Context, ops []flows.RowOp) error {
	for chunk := range slices.Chunk(ops, portsAtOnce) {
		if err := c.DB.Apply(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}

func (c *Controller) applyFlows(ctx context.Context, state flows.State, bridge string, wished []flows.Line) (int, error) {
	if state.Bridges[bridge] == nil {
		return 0, nil // deleted meanwhile; the next reconcile sees to it
	}
	there, err := c.OpenFlow.Dump(ctx, bridge)
	if err != nil {
		return 0, err
	}
	changes := flows.Compare(flows.Lines(there), wished)
	if changes.Empty() {
		return 0, nil
	}
	c.reached("flows")
	if err := c.OpenFlow.Apply(ctx, bridge, changes); err != nil {
		return 0, err
	}
	c.Log.Debug("flows changed", "bridge", bridge, "added", len(changes.Add), "deleted", len(changes.Delete))
	return len(changes.Add) + len(changes.Delete), nil
}

// revalidate makes running flows follow what was changed, on every datapath that has a tap bridge.
func (c *Controller) revalidate(ctx context.Context, plan Plan) error {
	state, err := c.DB.State()
	if err != nil {
		return err
	}
	var bridges []string
	for _, name := range flows.TapBridgeNames() {
		if b := state.Bridges[name]; b != nil && flows.Ours(b.ExternalIDs) {
			bridges = append(bridges, name)
		}
	}
	if len(bridges) == 0 {
		return nil
	}
	touch := func(ctx context.Context) error {
		for _, b := range bridges {
			if err := c.OpenFlow.Touch(ctx, b); err != nil {
				return err
			}
		}
		return nil
	}
	if err := c.Vswitchd.WaitRevalidated(ctx, touch); err != nil {
		return fmt.Errorf("wait until running flows follow the change: %w", err)
	}
	return nil
}

// prime has the next hops that sessions need and that are not known resolved, and returns their paths.
func (c *Controller) prime(plan Plan) map[flows.PathKey]flows.Path {
	missing := map[flows.PathKey]flows.Path{}
	for key, p := range plan.Input.Paths {
		if p.Device == "" || p.HasNeighbor || !p.NextHop.IsValid() || p.OwnAddress {
			continue
		}
		missing[key] = p
		if err := c.Underlay.Prime(p); err != nil {
			c.Log.Debug("cannot ask for the next hop", "collector", key.Collector, "error", err)
		}
	}
	return missing
}

// waitNeighbors waits, within bounds, until the missing next hops are known; it tells whether any came.
func (c *Controller) waitNeighbors(ctx context.Context, plan Plan, missing map[flows.PathKey]flows.Path, started time.Time) bool {
	if len(missing) == 0 {
		return false
	}
	keys := slices.Collect(maps.Keys(missing))
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		found, all := false, true
		paths, err := c.Underlay.Paths(keys)
		if err == nil {
			err = c.overlayNeighbors(ctx, plan.Input.State, paths)
		}
		if err == nil {
			for _, p := range paths {
				found, all = found || p.HasNeighbor, all && p.HasNeighbor
			}
		}
		if err != nil || all || c.Now().Sub(started) > NeighborWait {
			return found
		}
		select {
		case <-ctx.Done():
			return found
		case <-tick.C:
		}
	}
}

// removeExpired takes sessions whose time is over out of the wish.
func (c *Controller) removeExpired(ctx context.Context) error {
	over := func(s session.Stored) bool { return s.ExpiresAt != nil && !c.Now().Before(*s.ExpiresAt) }
	wish, err := c.DB.Wish()
	if err != nil || !slices.ContainsFunc(wish.Sessions, over) {
		return err
	}
	_, err = c.DB.Update(ctx, func(w *session.Wish) error {
		w.Sessions = slices.DeleteFunc(w.Sessions, over)
		return nil
	})
	return err
}
