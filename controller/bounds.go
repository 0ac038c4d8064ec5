package controller

import (
	"context"
	"slices"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// Sessions that end after so many packets or bytes are ended by whoever reconciles, from the counters: no flow of Open
// vSwitch ends by itself after a number of packets.

// bounded tells whether a session's counters have to be looked at.
func bounded(s session.Stored) bool { return s.Bounded() && !s.Stopped() }

// use notes in the wish what bounded sessions have used up by now. A tap bridge that cannot be asked is left for the next
// time.
func (c *Controller) use(ctx context.Context, wish *session.Wish) error {
	if !slices.ContainsFunc(wish.Sessions, bounded) {
		return nil
	}
	state, err := c.DB.State()
	if err != nil {
		return err
	}
	asked := true
	var there []flows.Entry
	for _, bridge := range flows.TapBridgeNames() {
		if b := state.Bridges[bridge]; b == nil || !flows.Ours(b.ExternalIDs) {
			continue
		}
		entries, err := c.counters(ctx, bridge)
		there = append(there, entries...)
		if err != nil {
			c.Log.Debug("cannot look at counters", "bridge", bridge, "error", err)
			asked = false
		}
	}
	if !asked {
		return nil
	}
	bySlot := map[uint32][]flows.Entry{}
	for _, e := range there {
		bySlot[e.Cookie.Slot()] = append(bySlot[e.Cookie.Slot()], e)
	}
	wish.Sessions = slices.Clone(wish.Sessions)
	for i := range wish.Sessions {
		if s := &wish.Sessions[i]; bounded(*s) {
			s.Used = flows.Use(*s, bySlot[s.Slot], c.Now())
		}
	}
	return nil
}

// counters are those of a tap bridge's flows and meters.
func (c *Controller) counters(ctx context.Context, bridge string) ([]flows.Entry, error) {
	ctx, cancel := share(ctx, bridgeTime)
	defer cancel()
	entries, err := c.OpenFlow.Dump(ctx, bridge)
	if err != nil {
		return nil, err
	}
	meters, err := c.OpenFlow.MeterCounts(ctx, bridge)
	return append(entries, flows.MeterEntries(meters)...), err
}

// BoundReached tells whether a session has reached one of its bounds since the last reconcile.
func (c *Controller) BoundReached(ctx context.Context) (bool, error) {
	wish, err := c.DB.Wish()
	if err != nil {
		return false, err
	}
	was := wish.Sessions
	if err := c.use(ctx, &wish); err != nil {
		return false, err
	}
	for i, s := range wish.Sessions {
		if s.Stopped() && !was[i].Stopped() {
			return true, nil
		}
	}
	return false, nil
}
