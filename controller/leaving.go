package controller

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// That a next hop is known does not mean that copies leave: they go on through the underlay's bridge, whose flows are
// production's, and out of a port that may be down. What becomes of them is asked of Open vSwitch, for each way out once,
// however many sessions share it (docs/adr/0024-lost-copies.md).

// waysAtOnce bounds how many ways out are asked for at a time: ovs-vswitchd answers each in its main loop.
const waysAtOnce = 32

// judgeLeaving notes in the plan which collectors' copies end on this host. Ways that were never asked for come first, then
// those of the longest ago; what was said of the others last still counts. It fails nothing: what cannot be asked is not said.
func (c *Controller) judgeLeaving(ctx context.Context, p Plan) {
	state := p.Input.State
	ways := flows.WaysOut(p.Program, state)
	if len(ways) == 0 {
		c.leaving, c.waysOut = nil, nil
		return
	}
	c.waysOut = ways
	maps.DeleteFunc(c.leaving, func(w flows.WayOut, _ flows.Leaving) bool { return !ways[w] })
	if _, err := c.askLeaving(ctx, state); err != nil {
		c.Log.Debug("cannot ask what becomes of copies", "error", err)
	}
	flows.JudgeLeaving(p.Program, state, c.leaving)
}

// JudgeLeaving is judgeLeaving for commands, which see a plan once.
func (c *Controller) JudgeLeaving(ctx context.Context, p Plan) {
	ctx, cancel := share(ctx, AliveTime)
	defer cancel()
	c.judgeLeaving(ctx, p)
}

// LeavingChanged tells whether something else becomes of copies than the last reconcile saw.
func (c *Controller) LeavingChanged(ctx context.Context) (bool, error) {
	if len(c.waysOut) == 0 {
		return false, nil
	}
	state, err := c.DB.State()
	if err != nil {
		return false, err
	}
	return c.askLeaving(ctx, state)
}

// askLeaving asks for some of the ways out, for all in turn, and tells whether any is not as it was.
func (c *Controller) askLeaving(ctx context.Context, state flows.State) (changed bool, err error) {
	next := slices.SortedFunc(maps.Keys(c.waysOut), func(a, b flows.WayOut) int {
		return cmp.Or(cmp.Compare(c.asked[a], c.asked[b]), a.Collector.Compare(b.Collector), cmp.Compare(a.OFPort, b.OFPort), cmp.Compare(a.TapBridge, b.TapBridge))
	})
	next = next[:min(len(next), waysAtOnce)]
	found, err := c.Vswitchd.Leaving(ctx, next)
	if err != nil {
		return false, err
	}
	var ports []string
	for _, l := range found {
		ports = append(ports, l.Ports...)
	}
	slices.Sort(ports)
	links, err := c.DB.Links(ctx, slices.Compact(ports))
	if err != nil {
		return false, err
	}
	c.turn++
	if c.leaving == nil {
		c.leaving = map[flows.WayOut]flows.Leaving{}
	}
	asked := map[flows.WayOut]uint64{}
	for w := range c.waysOut {
		asked[w] = c.asked[w]
	}
	for w, l := range found {
		l = l.Through(state, links)
		changed = changed || c.leaving[w].Ends != l.Ends
		c.leaving[w], asked[w] = l, c.turn
	}
	c.asked = asked
	return changed, nil
}
