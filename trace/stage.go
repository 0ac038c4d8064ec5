package trace

import (
	"fmt"
	"slices"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// Stage is one stop on the way of the copies, or of the frames of a destination session.
type Stage struct {
	// Name is one of source, mirror, tap, guard, filter, limit, encapsulate, tunnel, route, device, collector; or of a
	// destination session sender, tunnel, read-header, terminate, deliver, patch, output.
	Name string `json:"stage"`
	// Collector is set where a stage is of one collector only.
	Collector string `json:"collector,omitempty"`
	// Says is what happens here, in words.
	Says string `json:"says"`
	// Rows are the OVSDB rows that it stands on, as "Table name: what matters".
	Rows  []string     `json:"rows,omitempty"`
	Flows []FlowCount  `json:"flows,omitempty"`
	Count *flows.Count `json:"count,omitempty"` // what came this far; nil where nobody counts
	Lost  []Loss       `json:"lost,omitempty"`
}

// FlowCount is a flow with its counters.
type FlowCount struct {
	Bridge   string       `json:"bridge"`
	Table    string       `json:"table"`
	Priority int          `json:"priority"`
	Match    string       `json:"match"`
	Actions  string       `json:"actions"`
	Cookie   flows.Cookie `json:"cookie"`
	flows.Count
	// Missing: it is wished and not there.
	Missing bool `json:"missing,omitempty"`
	// Rule is the filter rule that it stands for.
	Rule string `json:"rule,omitempty"`
}

// Loss is packets that come no further, or the reason for which none would.
type Loss struct {
	Why string `json:"why"`
	// Reason is the reason of the session's or the collector's state (docs/operations.md), where it is one.
	Reason string       `json:"reason,omitempty"`
	Count  *flows.Count `json:"count,omitempty"` // nil where nobody counts
	// Meant tells that the session is to lose them: its rules say so, or the guard.
	Meant bool `json:"meant,omitempty"`
}

// programmed finds wished flows with their counters.
type programmed struct {
	wished map[string][]flows.Line
	there  map[string][]flows.Entry
}

// of are the wished flows of a bridge that meet want, in the order of the pipeline.
func (p programmed) of(bridge string, want func(flows.Line) bool) []FlowCount {
	var found []FlowCount
	for _, l := range p.wished[bridge] {
		if !want(l) {
			continue
		}
		f := FlowCount{Bridge: bridge, Table: l.Table.String(), Priority: l.Priority, Match: l.Match, Actions: l.Actions, Cookie: l.Cookie, Missing: true}
		i := slices.IndexFunc(p.there[bridge], func(e flows.Entry) bool { return e.Key() == l.Key() && e.Cookie == l.Cookie && e.Actions == l.Actions })
		if i >= 0 {
			f.Count, f.Missing = flows.Count{Packets: p.there[bridge][i].Packets, Bytes: p.there[bridge][i].Bytes}, false
		}
		found = append(found, f)
	}
	return found
}

// missing are losses for wished flows that are not there.
func missing(list []FlowCount) (losses []Loss) {
	for _, f := range list {
		if f.Missing {
			losses = append(losses, Loss{Why: fmt.Sprintf("a flow is missing in table %s of %s: %s", f.Table, f.Bridge, f.Match), Reason: flows.ReasonNotInForce})
		}
	}
	return losses
}

// sum is what the flows counted together.
func sum(list []FlowCount) flows.Count {
	var c flows.Count
	for _, f := range list {
		c.Packets += f.Packets
		c.Bytes += f.Bytes
	}
	return c
}

func less(a, b flows.Count) flows.Count {
	var c flows.Count
	if a.Packets > b.Packets {
		c.Packets = a.Packets - b.Packets
	}
	if a.Bytes > b.Bytes {
		c.Bytes = a.Bytes - b.Bytes
	}
	return c
}
