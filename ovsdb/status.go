package ovsdb

import (
	"encoding/json"
	"reflect"
	"slices"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// storedStatus is a status as the store keeps it: what it says twice is there once, because every command reads the
// statuses of all sessions with the row that they are in, and they are most of it.
type storedStatus struct {
	session.Status
	Collectors []storedCollector `json:"collectors,omitempty"`
	Effective  *storedEffective  `json:"effective,omitempty"`
}

// storedCollector without a state has state, reason and message of the session.
type storedCollector struct {
	session.CollectorStatus
	State session.State `json:"state,omitempty"`
}

// storedEffective has snaplen, origin and device of the first collector where FirstCollector says so.
type storedEffective struct {
	session.Effective
	FirstCollector bool `json:"firstCollector,omitempty"`
}

// writeStatus is the text of a status in the store.
func writeStatus(s session.Status) (string, error) {
	out := storedStatus{Status: s}
	out.Collectors = slices.Grow(out.Collectors, len(s.Collectors))
	for _, c := range s.Collectors {
		short := storedCollector{CollectorStatus: c, State: c.State}
		if c.State == s.State && c.Reason == s.Reason && c.Message == s.Message {
			short.State, short.Reason, short.Message = "", "", ""
		}
		out.Collectors = append(out.Collectors, short)
	}
	if s.Effective != nil {
		out.Effective = &storedEffective{Effective: *s.Effective}
		if len(s.Collectors) > 0 {
			bare := session.Effective{SessionID: s.Effective.SessionID, Ports: s.Effective.Ports}
			if full := ofFirst(bare, s.Collectors[0]); reflect.DeepEqual(full, *s.Effective) {
				out.Effective = &storedEffective{bare, true}
			}
		}
	}
	return canonical(out)
}

// ofFirst is e with what the first collector says too.
func ofFirst(e session.Effective, c session.CollectorStatus) session.Effective {
	e.Snaplen, e.SnaplenReason, e.Origin, e.Device = c.Snaplen, c.SnaplenReason, c.Origin, c.Device
	return e
}

// readStatus is false for one that cannot be read. It reads what older versions wrote, too, which is whole.
func readStatus(text string) (session.Status, bool) {
	var in storedStatus
	if tooLarge(text, maxStatusLen, maxStatusParts) != nil || json.Unmarshal([]byte(text), &in) != nil {
		return session.Status{}, false
	}
	s := in.Status
	s.Collectors = slices.Grow(s.Collectors, len(in.Collectors))
	for _, short := range in.Collectors {
		c := short.CollectorStatus
		if c.State = short.State; c.State == "" {
			c.State, c.Reason, c.Message = s.State, s.Reason, s.Message
		}
		s.Collectors = append(s.Collectors, c)
	}
	if in.Effective != nil {
		e := in.Effective.Effective
		if in.Effective.FirstCollector && len(s.Collectors) > 0 {
			e = ofFirst(e, s.Collectors[0])
		}
		s.Effective = &e
	}
	return s, true
}
