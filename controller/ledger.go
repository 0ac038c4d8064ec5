package controller

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// Ledger counts copies that were sent and are lost. Open vSwitch counts none of them by session (ADR 24), so a copy counts as
// lost that was sent between two looks which both found that the collector's copies vanish. It may be used concurrently.
type Ledger struct {
	mu      sync.Mutex
	loaded  bool
	entries map[lossKey]*loss
}

type lossKey struct {
	session   string
	slot      uint32
	collector netip.Addr
}

type loss struct {
	lost, sent flows.Count // sent as of the last look
	doubtful   flows.Count // lost, if the next look finds that copies still vanish
	since      time.Time   // when counting began
	counting   bool        // the last look found that copies vanish
	from       time.Time   // what was sent before that may have left
}

// settleTime is how long it takes until Open vSwitch has added what its datapath sent to the flows' counters: its revalidators
// do that twice a second.
const settleTime = time.Second

// Lost is what is known to be lost of what was sent to a collector of a session.
func (l *Ledger) Lost(name string, slot uint32, collector netip.Addr) flows.Count {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.entries[lossKey{name, slot, collector}]; e != nil {
		return e.lost
	}
	return flows.Count{}
}

// load takes over what an earlier daemon counted.
func (l *Ledger) load(wish session.Wish) {
	if l.loaded {
		return
	}
	l.loaded, l.entries = true, map[lossKey]*loss{}
	for _, s := range wish.Sessions {
		for _, c := range wish.Status[s.Name].Collectors {
			if a, err := netip.ParseAddr(c.Address); err == nil && c.Lost != nil {
				l.entries[lossKey{s.Name, s.Slot, a}] = &loss{lost: flows.Count{Packets: c.Lost.Packets, Bytes: c.Lost.Bytes}, since: c.Lost.Since}
			}
		}
	}
}

// look counts, from the counters of all tap bridges that could be asked.
func (l *Ledger) look(p flows.Program, there map[string][]flows.Entry, now time.Time) {
	counted := flows.CountAll(p, there)
	entries := map[lossKey]*loss{}
	for name, out := range p.Outcomes {
		for _, co := range out.Collectors {
			key := lossKey{name, out.Slot, co.Address}
			e := l.entries[key]
			if e == nil && co.Loses() {
				e = &loss{since: now}
			}
			if e == nil {
				continue
			}
			entries[key] = e
			if there[out.TapBridge] != nil {
				e.look(co.Loses(), counted[name].Sent, now)
			}
		}
	}
	l.entries = entries
}

// look never counts too much: what was sent just before a look may have left after all, and the counters may lag.
func (e *loss) look(vanish bool, sent flows.Count, now time.Time) {
	if sent.Packets < e.sent.Packets || sent.Bytes < e.sent.Bytes { // the flow is another
		*e = loss{since: now}
	}
	if vanish {
		e.lost.Packets += e.doubtful.Packets
		e.lost.Bytes += e.doubtful.Bytes
	}
	e.doubtful = flows.Count{}
	switch {
	case vanish && !e.counting:
		e.from = now.Add(settleTime)
	case vanish && now.After(e.from):
		e.doubtful = flows.Count{Packets: sent.Packets - e.sent.Packets, Bytes: sent.Bytes - e.sent.Bytes}
	}
	e.counting, e.sent = vanish, sent
}

// note puts what is lost into the statuses. Without a ledger what was counted earlier stays.
func (l *Ledger) note(wish session.Wish, status map[string]session.Status) {
	for _, s := range wish.Sessions {
		st := status[s.Name]
		st.Collectors = slices.Clone(st.Collectors)
		for i := range st.Collectors {
			c := &st.Collectors[i]
			if l == nil {
				c.Lost = earlier(wish.Status[s.Name], c.Address)
			} else if a, err := netip.ParseAddr(c.Address); err == nil {
				c.Lost = l.entries[lossKey{s.Name, s.Slot, a}].noted()
			}
		}
		status[s.Name] = st
	}
}

func (e *loss) noted() *session.Loss {
	if e == nil {
		return nil
	}
	n := &session.Loss{Packets: e.lost.Packets, Bytes: e.lost.Bytes, Since: e.since.UTC().Truncate(time.Second), Counting: e.counting}
	if e.counting {
		n.SentPackets, n.SentBytes = e.sent.Packets-e.doubtful.Packets, e.sent.Bytes-e.doubtful.Bytes
	}
	return n
}

// earlier is what was counted of a collector, with nobody counting now.
func earlier(was session.Status, address string) *session.Loss {
	i := slices.IndexFunc(was.Collectors, func(c session.CollectorStatus) bool { return c.Address == address })
	if i < 0 || was.Collectors[i].Lost == nil {
		return nil
	}
	n := *was.Collectors[i].Lost
	n.Counting, n.SentPackets, n.SentBytes = false, 0, 0
	return &n
}

// countLost looks at the counters where copies vanish, or did. A tap bridge that cannot be asked is left for the next time.
func (c *Controller) countLost(ctx context.Context, wish session.Wish, plan Plan) {
	l := c.Ledger
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.load(wish)
	c.last, c.lastWish = plan, wish
	needed := map[string]bool{}
	for name, out := range plan.Program.Outcomes {
		for _, co := range out.Collectors {
			if b := plan.Input.State.Bridges[out.TapBridge]; b != nil && (co.Loses() || l.entries[lossKey{name, out.Slot, co.Address}] != nil) {
				needed[out.TapBridge] = true
			}
		}
	}
	there := map[string][]flows.Entry{}
	for bridge := range needed {
		entries, err := c.counters(ctx, bridge)
		if err != nil {
			c.Log.Debug("cannot look at counters", "bridge", bridge, "error", err)
			continue
		}
		there[bridge] = entries
	}
	l.look(plan.Program, there, c.Now())
}

// CountLost looks at the counters between two reconciles.
func (c *Controller) CountLost(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, AliveTime)
	defer cancel()
	c.countLost(ctx, c.lastWish, c.last)
}
