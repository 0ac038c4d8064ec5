package controller

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// Plan is what a wish makes of what is observed now.
type Plan struct {
	Input   flows.Input
	Program flows.Program
	Rows    flows.Changes
	// Veths are the pairs of devices that have to come and to go.
	Veths flows.VethChanges
	// Isolation is how far the host's own stack is kept from what is not for it.
	Isolation Isolation
	// Flows are the wished flows by tap bridge, in canonical form; a tap bridge that is no longer needed has none.
	Flows map[string][]flows.Line
	// Meters are the wished meters by tap bridge.
	Meters map[string][]flows.Meter
	// Deliveries are the wished flows of ours by production bridge; one that is to have none any more has none.
	Deliveries map[string][]flows.Line
}

// goes tells whether a bridge of ours goes as a whole: then it does not matter whether its flows can be seen.
func (p Plan) goes(bridge string) bool {
	return slices.ContainsFunc(p.Rows.Last, func(op flows.RowOp) bool { return op.Bridge == bridge && op.DelBridge })
}

// Plan observes, and plans for the sessions. It changes nothing.
func (c *Controller) Plan(ctx context.Context, sessions []session.Stored) (Plan, error) {
	state, err := c.DB.State()
	if err != nil {
		return Plan{}, err
	}
	state = state.WithoutSelfTests(c.Now())
	in := flows.Input{State: state, Rejected: map[string]string{}, Unsafe: c.unsafe(ctx, state, sessions)}
	for _, s := range sessions {
		if s.ExpiresAt == nil || c.Now().Before(*s.ExpiresAt) {
			in.Sessions = append(in.Sessions, s)
		}
	}
	if in.Paths, err = c.paths(ctx, state, in.Sessions); err != nil {
		return Plan{}, err
	}
	return c.plan(ctx, in)
}

// plan builds the program; a session whose match Open vSwitch's parser refuses is failed by itself.
func (c *Controller) plan(ctx context.Context, in flows.Input) (Plan, error) {
	for {
		p := Plan{Input: in, Program: flows.Build(in), Flows: map[string][]flows.Line{}, Meters: map[string][]flows.Meter{}}
		p.Rows = flows.RowChanges(in.State, p.Program)
		if known := flows.KnownVeths(in.State, p.Program); len(known) > 0 {
			there, others, err := c.Underlay.Veths(known)
			if err != nil {
				return p, err
			}
			if len(others) > 0 && in.Devices == nil {
				in.Devices = others
				continue // without the sessions that need the names
			}
			p.Veths = flows.ChangeVeths(there, p.Program)
		}
		p.Isolation = c.isolation(in.State, p.Program)
		p.Deliveries = flows.DeliveryFlows(in.State, p.Program)
		for name, b := range in.State.Bridges {
			if flows.Ours(b.ExternalIDs) {
				p.Flows[name] = nil
			}
		}
		err := c.canonical(ctx, &p)
		var bad *flows.BadMatchError
		if !errors.As(err, &bad) {
			return p, err
		}
		if !reject(in, bad) {
			return p, err
		}
	}
}

func (c *Controller) canonical(ctx context.Context, p *Plan) error {
	for _, tb := range p.Program.TapBridges {
		lines, err := c.OpenFlow.Canonical(ctx, tb.Flows)
		if err != nil {
			return err
		}
		lines = flows.EachOnce(lines)
		flows.Expire(lines, p.Input.Sessions, c.Now())
		p.Flows[tb.Name], p.Meters[tb.Name] = lines, tb.Meters
	}
	return nil
}

// reject marks the sessions that have the match; it is false where none has.
func reject(in flows.Input, bad *flows.BadMatchError) bool {
	found := false
	for _, s := range in.Sessions {
		rules := s.Expressions()
		i := slices.IndexFunc(rules, func(r session.Expression) bool { return r.Expr == bad.Expr })
		if _, already := in.Rejected[s.Name]; already || i < 0 {
			continue
		}
		fault := session.FieldError{Field: rules[i].Field, Value: bad.Expr, Reason: bad.Reason, Remedy: "see ovs-fields(7)"}
		in.Rejected[s.Name] = fault.Error()
		found = true
	}
	return found
}

// Pending is what separates a plan from what is programmed: row changes are in the plan, these are the flow changes, and
// the flows that are there. The sessions of a bridge that cannot be seen are marked so in the plan; the error is about such
// bridges only.
func (c *Controller) Pending(ctx context.Context, p Plan) (map[string]flows.FlowChanges, map[string][]flows.Entry, error) {
	changes, there := map[string]flows.FlowChanges{}, map[string][]flows.Entry{}
	failed := map[string]error{}
	see := func(bridge string, look func(context.Context) (flows.FlowChanges, error)) {
		ctx, cancel := share(ctx, bridgeTime)
		defer cancel()
		change, err := look(ctx)
		if err != nil && !p.goes(bridge) {
			failed[bridge] = err
		} else if err == nil && !change.Empty() {
			changes[bridge] = change
		}
	}
	for bridge := range p.Flows {
		see(bridge, func(ctx context.Context) (change flows.FlowChanges, err error) {
			change, there[bridge], err = c.flowChanges(ctx, p, bridge)
			return change, err
		})
	}
	for bridge, wished := range p.Deliveries {
		see(bridge, func(ctx context.Context) (flows.FlowChanges, error) {
			return c.deliveryChanges(ctx, p.Input.State, bridge, wished)
		})
	}
	unreachable(p.Program, failed)
	return changes, there, errors.Join(slices.Collect(maps.Values(failed))...)
}

// flowChanges is what separates a tap bridge's flows and meters from the wished ones, and its counters: those of its flows,
// and of its meters beside them. A bridge that is not there has none.
func (c *Controller) flowChanges(ctx context.Context, p Plan, bridge string) (change flows.FlowChanges, there []flows.Entry, err error) {
	var meters []flows.Meter
	if p.Input.State.Bridges[bridge] != nil {
		if there, err = c.OpenFlow.Dump(ctx, bridge); err != nil {
			return change, nil, err
		}
		if meters, err = c.OpenFlow.Meters(ctx, bridge); err != nil {
			return change, nil, err
		}
	}
	change = flows.Compare(flows.Lines(there), p.Flows[bridge])
	if len(p.Flows[bridge]) > 0 { // not on one that goes
		mode := flows.FragmentsNormal // a new bridge's
		if p.Input.State.Bridges[bridge] != nil {
			if mode, err = c.OpenFlow.Fragments(ctx, bridge); err != nil {
				return change, nil, err
			}
		}
		change.MatchFragments = mode != flows.FragmentsNXMatch
	}
	change.CompareMeters(meters, p.Meters[bridge])
	if len(meters) > 0 {
		counts, err := c.OpenFlow.MeterCounts(ctx, bridge)
		if err != nil {
			return change, nil, err
		}
		there = append(there, flows.MeterEntries(counts)...)
	}
	return change, there, nil
}
