package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ovs-erspan/ovs-erspan/controller"
	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// sessionView is one session as `session show -o json` prints it, and list an array of them.
type sessionView struct {
	Name      string             `json:"name"`
	Type      session.Type       `json:"type"`
	Spec      session.Session    `json:"spec"`
	Effective *session.Effective `json:"effective,omitempty"`
	Status    statusView         `json:"status"`

	// HostRate bounds the copies of all sessions together.
	HostRate *session.Rate `json:"hostRate,omitempty"`

	// Samples are what of no session arrived lately; only the row of unmatched frames has them.
	Samples []sample `json:"samples,omitempty"`

	slot     uint32
	watching *time.Time // since when a daemon has been counting lost copies; nil where none does
}

type statusView struct {
	State              session.State   `json:"state"`
	Reason             string          `json:"reason,omitempty"`
	Message            string          `json:"message,omitempty"`
	Since              time.Time       `json:"since"`
	Generation         uint64          `json:"generation"`
	ObservedGeneration uint64          `json:"observedGeneration"`
	CountersSince      *time.Time      `json:"countersSince,omitempty"`
	CountersUntil      *time.Time      `json:"countersUntil,omitempty"` // of a stopped session
	Tapped             *flows.Count    `json:"tapped"`                  // null, as each of these: nobody counts, or it cannot be seen
	Guarded            *flows.Count    `json:"guarded"`
	Matched            *flows.Count    `json:"matched"`
	Filtered           *flows.Count    `json:"filtered"`
	Limited            *flows.Count    `json:"limited"` // dropped because it came faster than maxRate
	Sent               *flows.Count    `json:"sent"`
	Lost               *flows.Count    `json:"lost"` // of what was sent; no less than this
	LostSince          *time.Time      `json:"lostSince,omitempty"`
	Terminated         *flows.Count    `json:"terminated,omitempty"` // this and the next two: of destination sessions
	Delivered          *flows.Count    `json:"delivered,omitempty"`
	Oversize           *flows.Count    `json:"oversize,omitempty"`
	Used               *flows.Count    `json:"used,omitempty"` // of maxPackets and maxBytes
	Collectors         []collectorView `json:"collectors,omitempty"`
}

type collectorView struct {
	session.CollectorStatus
	Sent *flows.Count `json:"sent"`
	Lost *flows.Count `json:"lost"`
	// Vanishes tells that nothing of what is sent to it now leaves this host.
	Vanishes bool `json:"vanishes,omitempty"`
}

// views looks at the sessions without changing anything. Views beside an error are of what is stored, where not all could
// be seen.
func (h *host) views(ctx context.Context) ([]sessionView, error) {
	if away := h.alive(ctx); away != nil {
		return h.storedViews(away)
	}
	o, err := h.observe(ctx)
	if err != nil {
		return h.storedViews(err)
	}
	unmatched, err := h.unmatched(ctx, o.plan.Program, o.there)
	if err = errors.Join(o.unseen, err); err != nil {
		err = withCode(exitNotInForce, fmt.Errorf("not everything could be seen: %w", err))
	}
	return append(o.views, unmatched...), err
}

// storedViews are the sessions as they are stored, while Open vSwitch cannot be asked about more.
func (h *host) storedViews(away error) ([]sessionView, error) {
	wish, err := h.db.Wish()
	if err != nil {
		return nil, err
	}
	views := []sessionView{}
	for _, s := range wish.Sessions {
		st := wish.Status[s.Name]
		v := newView(s, st, nil)
		v.lost(st, h.app.watching())
		v.keep(s, st.Counted)
		v.Status.Generation, v.Status.ObservedGeneration = wish.Generation, wish.InForce
		if s.Bounded() {
			v.Status.Used = &flows.Count{Packets: s.Used.Packets, Bytes: s.Used.Bytes}
		}
		switch {
		case s.Disabled:
			v.Status.State, v.Status.Reason, v.Status.Message = session.Disabled, flows.ReasonDisabled, "disabled by the user"
		case !s.Stopped():
			v.Status.State, v.Status.Reason, v.Status.Message = session.Pending, flows.ReasonUnreachable, away.Error()
			for i := range v.Status.Collectors { // what was so of them once need not be
				c := &v.Status.Collectors[i]
				c.State, c.Reason, c.Message, c.Vanishes = session.Pending, flows.ReasonUnreachable, away.Error(), false
			}
			if st.Reason != flows.ReasonUnreachable {
				v.Status.Since = time.Now().UTC().Truncate(time.Second)
			}
		}
		views = append(views, v)
	}
	for _, name := range slices.Sorted(maps.Keys(wish.Broken)) {
		views = append(views, sessionView{Name: name, Status: statusView{State: session.Failed, Reason: flows.ReasonInvalid, Message: wish.Broken[name].Error()}})
	}
	return views, withCode(exitNotInForce, fmt.Errorf("this is what is stored, what is in force cannot be seen: %w", away))
}

// contested tells whether the daemon has reported that it leaves something of the session alone for now, because somebody
// else keeps undoing it: no other process can know.
func (h *host) contested(st session.Status) bool {
	d, running := readSign(h.app.rundir)
	return running && !d.hung() && flows.Contested(st.Reason)
}

// observed is the host as it is now: what is wished, what that makes of what is there, and the sessions' states.
type observed struct {
	wish  session.Wish
	plan  controller.Plan
	there map[string][]flows.Entry // the flows of our bridges
	views []sessionView
	// unseen is why flows of some bridges could not be seen; the sessions that it is about say so.
	unseen error
}

// observe looks at the host without changing anything. What is in force is read from the bridges, not from what was once
// reported: a flow that someone deleted shows.
func (h *host) observe(ctx context.Context) (observed, error) {
	wish, err := h.db.Wish()
	if err != nil {
		return observed{}, err
	}
	plan, err := h.controller.Plan(ctx, wish.Sessions)
	if err != nil {
		return observed{}, err
	}
	changes, there, err := h.controller.Pending(ctx, plan)
	if err != nil && ctx.Err() != nil {
		return observed{}, err
	} // else the sessions that it is about say so
	h.controller.JudgeLeaving(ctx, plan)
	pending := flows.NotInForce(plan.Program, plan.Rows, changes)
	status := controller.Statuses(wish, plan.Program, time.Now())
	counted := flows.CountAll(plan.Program, there)
	o := observed{wish: wish, plan: plan, there: there, unseen: err}
	watching := h.app.watching()
	for _, s := range wish.Sessions {
		var counters *flows.Counters // nil where there is nothing that counts, or it cannot be seen
		if c, ok := counted[s.Name]; ok && there[tapBridgeOf(plan.Program, s.Name)] != nil {
			counters = &c
		}
		v := newView(s, status[s.Name], counters)
		v.lost(wish.Status[s.Name], watching)
		v.keep(s, wish.Status[s.Name].Counted)
		if s.Bounded() {
			v.Status.Used = &flows.Count{Packets: s.Used.Packets, Bytes: s.Used.Bytes}
			if !s.Stopped() {
				used := flows.Use(s, there[tapBridgeOf(plan.Program, s.Name)], time.Now())
				v.Status.Used = &flows.Count{Packets: used.Packets, Bytes: used.Bytes}
			}
		}
		v.Status.Generation, v.Status.ObservedGeneration = wish.Generation, wish.InForce
		was := wish.Status[s.Name]
		switch {
		case !pending[s.Name]:
		case h.contested(was):
			v.Status.State, v.Status.Reason, v.Status.Message, v.Status.Since = was.State, was.Reason, was.Message, was.Since
		case v.Status.State == session.Active || v.Status.State == session.Degraded:
			v.Status.State, v.Status.Reason = session.Pending, flows.ReasonNotInForce
			v.Status.Message = "what is programmed is not what is wished: " + h.app.whoReconciles() + " mends it"
		}
		switch {
		case v.Status.State != session.Active || counters == nil:
		case s.Type == session.Destination && counters.Terminated.Packets == 0:
			v.Status.Reason, v.Status.Message = flows.ReasonNoTraffic, "nothing with its header has arrived yet"
		case s.Type != session.Destination && counters.Tapped.Packets == 0:
			v.Status.Reason, v.Status.Message = flows.ReasonNoTraffic, strings.TrimSuffix("nothing has passed its sources yet; "+v.Status.Message, "; ")
		}
		o.views = append(o.views, v)
	}
	for name, err := range wish.Broken {
		o.views = append(o.views, sessionView{Name: name, Status: statusView{State: session.Failed, Reason: flows.ReasonInvalid, Message: err.Error(), Since: status[name].Since}})
	}
	return o, nil
}

func tapBridgeOf(p flows.Program, name string) string {
	if out := p.Outcomes[name]; out != nil {
		return out.TapBridge
	}
	return ""
}

// newView is a session with its counters, nil where they are not known.
func newView(s session.Stored, st session.Status, c *flows.Counters) sessionView {
	v := sessionView{
		Name: s.Name, Type: s.Type, Spec: s.Session, Effective: st.Effective, slot: s.Slot,
		Status: statusView{State: st.State, Reason: st.Reason, Message: st.Message, Since: st.Since},
	}
	if s.Type != session.Destination && !s.HostRate.IsZero() {
		v.HostRate = &s.HostRate
	}
	if c != nil {
		v.count(*c)
	}
	for _, cs := range st.Collectors {
		cv := collectorView{CollectorStatus: cs, Vanishes: cs.Snaplen > 0 && flows.Loses(cs.Reason)}
		if c != nil && cs.Snaplen > 0 {
			cv.Sent = &c.Sent
			*v.Status.Sent = v.Status.Sent.Plus(c.Sent)
		}
		v.Status.Collectors = append(v.Status.Collectors, cv)
	}
	return v
}

// keep fills in what a stopped session had counted until then.
func (v *sessionView) keep(s session.Stored, counted *session.Counted) {
	if !s.Stopped() || counted == nil {
		return
	}
	of := func(stage string) flows.Count { return flows.Count(counted.Stages[stage]) }
	v.count(flows.Counters{Tapped: of("tapped"), Guarded: of("guarded"), Matched: of("matched"), Filtered: of("filtered"), Limited: of("limited"),
		Terminated: of("terminated"), Delivered: of("delivered"), Oversize: of("oversize")})
	sent := of("sent")
	v.Status.Sent, v.Status.CountersUntil = &sent, &counted.Until
	if _, known := counted.Stages["lost"]; known {
		lost := of("lost")
		v.Status.Lost = &lost
	}
}

// count fills in what was counted.
func (v *sessionView) count(c flows.Counters) {
	st := &v.Status
	st.Tapped, st.Guarded, st.Matched, st.Filtered, st.Limited, st.Sent = &c.Tapped, &c.Guarded, &c.Matched, &c.Filtered, &c.Limited, &flows.Count{}
	if v.Type == session.Destination {
		st.Terminated, st.Delivered, st.Oversize = &c.Terminated, &c.Delivered, &c.Oversize
	}
	if c.Age > 0 {
		since := time.Now().Add(-c.Age).UTC().Truncate(time.Second)
		st.CountersSince = &since
	}
}
