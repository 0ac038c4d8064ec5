package controller

import (
	"context"
	"slices"
	"time"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// The flows that count go when a session is stopped. So what they have counted is read before, and stays in its status.

// lastLook bounds how long the look at the counters of what is to stop may hold that up.
const lastLook = time.Second

// keepCounts reads what the sessions have counted that are stopped now and were not before. It is left out where a bridge does
// not answer in time, and of sessions that have no flows.
func (c *Controller) keepCounts(ctx context.Context, wish session.Wish, plan Plan, kept map[string]*session.Counted) {
	running := slices.Clone(wish.Sessions)
	var names []string
	for i, s := range wish.Sessions {
		was := wish.Status[s.Name]
		if !s.Stopped() || was.State == session.Disabled || was.State == "" || kept[s.Name] != nil {
			continue
		}
		names = append(names, s.Name)
		running[i].Disabled, running[i].Used = false, session.Used{}
	}
	if len(names) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lastLook)
	defer cancel()
	there := map[string][]flows.Entry{}
	slots := map[uint32]bool{}
	for _, bridge := range flows.TapBridgeNames() {
		if b := plan.Input.State.Bridges[bridge]; b == nil || !flows.Ours(b.ExternalIDs) {
			continue
		}
		entries, err := c.counters(ctx, bridge)
		if err != nil {
			c.Log.Debug("what is to stop cannot be counted any more", "bridge", bridge, "error", err)
			continue
		}
		there[bridge] = entries
		for _, e := range entries {
			slots[e.Cookie.Slot()] = slots[e.Cookie.Slot()] || e.Cookie.Ours()
		}
	}
	// What their flows are called is planned as if they ran, with the ways that they took.
	ran, err := c.Plan(ctx, running)
	if err != nil {
		c.Log.Debug("what is to stop cannot be counted any more", "error", err)
		return
	}
	program := ran.Program
	counted := flows.CountAll(program, there)
	for _, s := range wish.Sessions {
		out := program.Outcomes[s.Name]
		if !slices.Contains(names, s.Name) || out == nil || !slots[out.Slot] || there[out.TapBridge] == nil {
			continue
		}
		kept[s.Name] = &session.Counted{Until: c.Now().UTC().Truncate(time.Second), Stages: c.stages(s, out, counted[s.Name])}
	}
}

// stages are the counts by the names of the stages, of all collectors together.
func (c *Controller) stages(s session.Stored, out *flows.Outcome, n flows.Counters) map[string]session.Counts {
	of := func(c flows.Count) session.Counts { return session.Counts(c) }
	if s.Type == session.Destination {
		return map[string]session.Counts{"terminated": of(n.Terminated), "delivered": of(n.Delivered), "oversize": of(n.Oversize)}
	}
	var sent, lost flows.Count
	for _, co := range out.Collectors {
		if co.MaxLen > 0 {
			sent = sent.Plus(n.Sent)
		}
		if c.Ledger != nil {
			lost = lost.Plus(c.Ledger.Lost(s.Name, s.Slot, co.Address))
		}
	}
	all := map[string]session.Counts{"tapped": of(n.Tapped), "guarded": of(n.Guarded), "matched": of(n.Matched), "filtered": of(n.Filtered), "limited": of(n.Limited), "sent": of(sent)}
	if c.Ledger != nil { // else nobody has counted it
		all["lost"] = of(lost)
	}
	return all
}

// noteKept puts into the statuses of stopped sessions what they had counted.
func noteKept(wish session.Wish, status map[string]session.Status, kept map[string]*session.Counted) {
	for _, s := range wish.Sessions {
		if !s.Stopped() {
			continue
		}
		st := status[s.Name]
		if st.Counted = kept[s.Name]; st.Counted == nil {
			st.Counted = wish.Status[s.Name].Counted
		}
		status[s.Name] = st
	}
}
