package controller

import (
	"context"
	"errors"
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
	Veths      int // pairs that came or went
	Isolated   int // devices that the host's own stack is kept from now, or no more
	Status     map[string]session.Status
	// Wish is what was reconciled, with the statuses of before, and Plan how.
	Wish session.Wish
	Plan Plan
	// Failed holds the bridges whose flows could not be seen or changed. Nothing new is mirrored to a tap bridge, or
	// delivered to a production bridge, that is one of them. All else is as planned.
	Failed map[string]error
	// Contested is what somebody else keeps undoing, and what is left alone for now.
	Contested []contested

	withheld map[string]bool // keys of the rows of Contested
	resting  []contested     // those of Contested whose rest begins
}

// Changed tells whether anything was changed.
func (r Result) Changed() bool { return r.RowOps+r.FlowMods+r.Veths+r.Isolated > 0 }

// Reconcile makes everything what the store wishes, and reports each session's state there.
//
// The order protects production: the guard and the sessions' flows stand before a copy can leave; then running flows
// are made to notice. What is no longer wished stops first and is taken away then.
func (c *Controller) Reconcile(ctx context.Context) (Result, error) {
	const tries = 5
	kept := map[string]*session.Counted{} // a second try finds no flows any more
	for try := 1; ; try++ {
		result, err := c.reconcile(ctx, kept)
		if err == nil || !c.Stale(err) || try == tries || ctx.Err() != nil {
			return result, err
		}
		c.Log.Debug("rows changed meanwhile, looking again", "error", err)
	}
}

func (c *Controller) reconcile(ctx context.Context, kept map[string]*session.Counted) (Result, error) {
	wish, err := c.wish(ctx)
	if err != nil {
		return Result{}, err
	}
	if wish, err = c.removeExpired(ctx, wish); err != nil {
		return Result{}, err
	}
	if err := c.use(ctx, &wish); err != nil {
		return Result{}, err
	}
	result := Result{Generation: wish.Generation, Wish: wish, Failed: map[string]error{}, withheld: map[string]bool{}}
	c.begin(wish.Generation)
	c.prove(ctx, wish.Sessions)
	plan, err := c.Plan(ctx, wish.Sessions)
	if err != nil {
		return result, err
	}
	c.keepCounts(ctx, wish, plan, kept)
	c.isolate(plan, flows.IsolatedBefore(plan.Input.State, plan.Program), &result)
	if plan, err = c.applyBefore(ctx, wish, plan, &result); err != nil {
		return result, err
	}
	// Open vSwitch learns neighbours only while it has a tunnel port.
	missing := c.prime(ctx, plan)
	found, err := c.apply(ctx, plan, &result, missing)
	if err != nil {
		return result, err
	}
	if plan.Program.Retires() { // its mirrors are gone now: the rest can go
		if plan, err = c.Plan(ctx, wish.Sessions); err != nil {
			return result, err
		}
		if _, err = c.apply(ctx, plan, &result, nil); err != nil {
			return result, err
		}
	}
	c.isolate(plan, plan.Program.Isolated(), &result)
	c.settle(plan.Input.Paths)
	// What is left to see is who answered. What the rows and flows of the last plan made of the sessions, that plan knew.
	if len(missing) > 0 {
		if plan, err = c.Plan(ctx, wish.Sessions); err != nil {
			return result, err
		}
		if !found && c.moved(plan.Input.Paths) { // an answer that came after the wait
			if err = c.revalidate(ctx, plan, result.Failed); err != nil {
				return result, err
			}
		}
		c.settle(plan.Input.Paths)
	}
	result.Plan = plan
	unreachable(plan.Program, result.Failed)
	c.warn(result.resting)
	markContested(plan.Program, result.Contested)
	c.judgeLeaving(ctx, plan)
	c.countLost(ctx, wish, plan)
	result.Status = Statuses(wish, plan.Program, c.Now())
	c.Ledger.note(wish, result.Status)
	noteKept(wish, result.Status, kept)
	c.reached("report")
	inForce := wish.Generation
	if len(result.Failed) > 0 {
		inForce = wish.InForce
	}
	return result, c.DB.Report(ctx, inForce, result.Status)
}

// begin readies the contest for a reconcile: whoever changes a wish waits for what is to become of it.
func (c *Controller) begin(generation uint64) {
	c.disputes.Lock()
	defer c.disputes.Unlock()
	if c.contest == nil {
		c.contest = contest{}
	}
	if generation != c.reconciled {
		c.contest.hurry(c.Now())
	}
	c.reconciled = generation
}

// restEnds is when the first thing that is left alone is put back; the zero time where nothing is.
func (c *Controller) restEnds() time.Time {
	c.disputes.Lock()
	defer c.disputes.Unlock()
	return c.contest.next(c.Now())
}

// unreachable marks the sessions that need a bridge that failed.
func unreachable(p flows.Program, failed map[string]error) {
	for _, out := range p.Outcomes {
		err := failed[out.TapBridge]
		if d := out.Delivery; d != nil && err == nil {
			err = failed[d.Bridge]
		}
		if err != nil {
			out.State, out.Reason, out.Message = session.Pending, flows.ReasonUnreachable, err.Error()
		}
	}
}

// applyBefore opens the way, and returns the plan as it is then: ports have got their numbers.
func (c *Controller) applyBefore(ctx context.Context, wish session.Wish, plan Plan, result *Result) (Plan, error) {
	if err := c.changeVeths(plan.Veths.Add, c.Underlay.AddVeth, result); err != nil {
		// It holds up the bridge that needs them, and no other.
		for _, tb := range plan.Program.TapBridges {
			if slices.ContainsFunc(tb.Taps, func(t *flows.Tap) bool { return t.Segmented }) {
				result.Failed[tb.Name] = err
			}
		}
	}
	before := c.undisputed(plan.Input.State, plan.Rows.Before, result)
	if len(before) == 0 {
		return plan, nil
	}
	c.reached("rows-before")
	if err := c.DB.Apply(ctx, before); err != nil && !c.PortNotOpen(err) {
		return plan, err
	}
	c.disputed(plan.Input.State, before)
	result.RowOps += len(before)
	return c.Plan(ctx, wish.Sessions)
}

// apply takes the steps of the plan that follow: flows, mirrors, and what is no longer needed. Meanwhile the missing next
// hops may answer; it tells whether any did.
func (c *Controller) apply(ctx context.Context, plan Plan, result *Result, missing map[flows.PathKey]flows.Path) (found bool, err error) {
	started := c.Now()
	c.addDeliveries(ctx, plan, result)
	c.applyAllFlows(ctx, plan, result)
	if err := ctx.Err(); err != nil {
		return false, errors.Join(append(slices.Collect(maps.Values(result.Failed)), err)...)
	}
	c.deleteDeliveries(ctx, plan, result)
	after := c.undisputed(plan.Input.State, reachable(plan, result.Failed), result)
	if len(after) > 0 {
		c.reached("rows-after")
		// A pair of devices is known by its ports' rows: it goes when no mirror needs it any more, and before the rows.
		// And a mirror that takes another's place comes in the transaction in which that one goes.
		mirrors, ports := after, []flows.RowOp(nil)
		if len(plan.Veths.Delete) > 0 || len(after) > portsAtOnce {
			isPort := func(op flows.RowOp) bool { return op.DelPort != "" }
			mirrors = slices.DeleteFunc(slices.Clone(after), isPort)
			ports = slices.DeleteFunc(slices.Clone(after), func(op flows.RowOp) bool { return !isPort(op) })
		}
		if len(mirrors) > 0 {
			if err := c.DB.Apply(ctx, mirrors); err != nil {
				return false, err
			}
		}
		if err := c.changeVeths(plan.Veths.Delete, c.Underlay.DeleteVeth, result); err != nil {
			return false, err
		}
		if err := c.deletePorts(ctx, ports); err != nil {
			return false, err
		}
		c.disputed(plan.Input.State, after)
		result.RowOps += len(after)
	}
	// Running flows would notice a neighbour that came back only after about 20 s.
	if found = c.waitNeighbors(ctx, plan, missing, started); found || result.Changed() || c.moved(plan.Input.Paths) {
		c.reached("revalidate")
		if err := c.revalidate(ctx, plan, result.Failed); err != nil {
			return found, err
		}
	}
	if len(plan.Rows.Last) > 0 {
		c.reached("rows-last")
		if err := c.DB.Apply(ctx, plan.Rows.Last); err != nil {
			return found, err
		}
		result.RowOps += len(plan.Rows.Last)
	}
	return found, nil
}

// changeVeths makes pairs of devices come, or go.
func (c *Controller) changeVeths(veths []flows.Veth, change func(flows.Veth) error, result *Result) error {
	for _, v := range veths {
		c.reached("devices")
		if err := change(v); err != nil {
			return err
		}
		result.Veths++
	}
	return nil
}

// portsAtOnce bounds how many ports one transaction deletes: ovs-vswitchd takes 37 s for 5000 at once, during which it
// answers nobody.
const portsAtOnce = 200

func (c *Controller) deletePorts(ctx context.Context, ops []flows.RowOp) error {
	for chunk := range slices.Chunk(ops, portsAtOnce) {
		if err := c.DB.Apply(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}

// applyAllFlows makes the flows of every tap bridge as planned, at the same time: one that fails, or does not answer, holds
// up no other.
func (c *Controller) applyAllFlows(ctx context.Context, plan Plan, result *Result) {
	// Nothing is sent to a production bridge whose own flow for it is not known to stand: it would go through that
	// bridge's pipeline. What is sent already was so when that flow stood.
	withheld := map[flows.Cookie]bool{}
	for _, out := range plan.Program.Outcomes {
		if d := out.Delivery; d != nil && result.Failed[d.Bridge] != nil {
			withheld[flows.NewCookie(flows.StageDelivered, out.Slot)] = true
		}
	}
	c.eachBridge(ctx, plan.Flows, result, func(ctx context.Context, bridge string, part *Result) error {
		return c.applyFlows(ctx, plan, bridge, withheld, part)
	})
}

// reachable are the plan's later row changes without those that would mirror to a tap bridge that failed: nothing may
// arrive there before the guard is known to stand. What only stops copies is done.
func reachable(plan Plan, failed map[string]error) []flows.RowOp {
	if len(failed) == 0 {
		return plan.Rows.After
	}
	feeds := map[string]bool{} // production bridges that have taps to a failed bridge
	for _, tb := range plan.Program.TapBridges {
		for _, tap := range tb.Taps {
			feeds[tap.Bridge] = feeds[tap.Bridge] || failed[tb.Name] != nil
		}
	}
	return slices.DeleteFunc(slices.Clone(plan.Rows.After), func(op flows.RowOp) bool {
		m := mirrorOf(op)
		if m == nil || !feeds[op.Bridge] {
			return false
		}
		b := plan.Input.State.Bridges[op.Bridge]
		return b == nil || !m.Narrows(b.Mirrors[m.UUID])
	})
}

func (c *Controller) applyFlows(ctx context.Context, plan Plan, bridge string, withheld map[flows.Cookie]bool, result *Result) error {
	if plan.Input.State.Bridges[bridge] == nil {
		return nil // deleted meanwhile; the next reconcile sees to it
	}
	changes, _, err := c.flowChanges(ctx, plan, bridge)
	if err != nil && plan.goes(bridge) {
		return nil
	}
	if err != nil {
		return err
	}
	out := func(l flows.Line) bool { return withheld[l.Cookie] }
	changes.Add = slices.DeleteFunc(changes.Add, out)
	wished := slices.DeleteFunc(slices.Clone(plan.Flows[bridge]), out)
	placed := c.undisputedFlows(plan, bridge, wished, &changes, result)
	if changes.Empty() {
		return nil
	}
	c.reached("flows")
	if err := c.OpenFlow.Apply(ctx, bridge, changes); err != nil {
		return err
	}
	placed()
	result.FlowMods = changes.Count()
	c.Log.Debug("flows changed", "bridge", bridge, "added", len(changes.Add), "deleted", len(changes.Delete),
		"meters", len(changes.AddMeters)+len(changes.SetMeters)+len(changes.DeleteMeters))
	return nil
}

// revalidateTime bounds the waiting for running flows.
const revalidateTime = 20 * time.Second

// revalidate makes running flows follow what was changed, on every datapath that has a tap bridge.
func (c *Controller) revalidate(ctx context.Context, plan Plan, failed map[string]error) error {
	state, err := c.DB.State()
	if err != nil {
		return err
	}
	var bridges []string
	for _, name := range flows.TapBridgeNames() {
		if b := state.Bridges[name]; b != nil && flows.Ours(b.ExternalIDs) && failed[name] == nil {
			bridges = append(bridges, name)
		}
	}
	if len(bridges) == 0 {
		return nil
	}
	touch := func(ctx context.Context) error {
		for _, b := range bridges {
			// One that went away just now: the next reconcile sees it.
			if err := c.OpenFlow.Touch(ctx, b); err != nil && failed[b] == nil && !plan.goes(b) {
				failed[b] = err
			}
		}
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, revalidateTime)
	defer cancel()
	if err := c.Vswitchd.WaitRevalidated(ctx, touch); err != nil {
		return fmt.Errorf("wait until running flows follow the change: %w", err)
	}
	return nil
}

// prime has the next hops that sessions need and that are not known resolved, and returns their paths.
func (c *Controller) prime(ctx context.Context, plan Plan) map[flows.PathKey]flows.Path {
	missing := map[flows.PathKey]flows.Path{}
	for key, p := range plan.Input.Paths {
		if !silentHop(p) {
			continue
		}
		missing[key] = p
		c.ask(ctx, key, p)
	}
	return missing
}

// noticeWait is how long Open vSwitch may take to notice an answer that the kernel has.
const noticeWait = 50 * time.Millisecond

// waitNeighbors waits, within bounds, until the missing next hops are known; it tells whether any came.
func (c *Controller) waitNeighbors(ctx context.Context, plan Plan, missing map[flows.PathKey]flows.Path, started time.Time) bool {
	keys := slices.DeleteFunc(slices.Collect(maps.Keys(missing)), c.unanswered)
	if len(keys) == 0 {
		return false
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	notice := c.Now().Add(noticeWait)
	for {
		found, all := false, true
		paths, err := c.neighborsOf(ctx, plan.Input.State, missing, keys)
		if err == nil {
			for _, p := range paths {
				found, all = found || p.HasNeighbor, all && p.HasNeighbor
			}
		}
		if err != nil || all || c.Now().Sub(started) > NeighborWait {
			return found
		}
		if c.Now().After(notice) {
			notice = c.Now().Add(noticeWait)
			for key, p := range paths {
				if p.Unnoticed != "" {
					c.ask(ctx, key, p)
				}
			}
		}
		select {
		case <-ctx.Done():
			return found
		case <-tick.C:
		}
	}
}

// removeExpired takes sessions whose time is over out of the wish, and returns it as it is then.
func (c *Controller) removeExpired(ctx context.Context, wish session.Wish) (session.Wish, error) {
	over := func(s session.Stored) bool { return s.ExpiresAt != nil && !c.Now().Before(*s.ExpiresAt) }
	if !slices.ContainsFunc(wish.Sessions, over) {
		return wish, nil
	}
	_, err := c.DB.Update(ctx, func(w *session.Wish) error {
		w.Sessions = slices.DeleteFunc(w.Sessions, over)
		return nil
	})
	if err != nil {
		return wish, err
	}
	return c.DB.Wish()
}
