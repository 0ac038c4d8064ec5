package controller

import (
	"time"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// Statuses are the sessions' states after a reconcile. `since` is kept as long as state and reason stay.
func Statuses(wish session.Wish, program flows.Program, now time.Time) map[string]session.Status {
	all := map[string]session.Status{}
	for _, s := range wish.Sessions {
		out := program.Outcomes[s.Name]
		if out == nil { // past its time
			all[s.Name] = session.Status{State: session.Disabled, Reason: flows.ReasonExpired, Message: "its time ended at " + s.ExpiresAt.UTC().Format(time.RFC3339)}
			continue
		}
		st := session.Status{State: out.State, Reason: out.Reason, Message: out.Message}
		if s.ERSPAN.SessionID != nil {
			st.Effective = &session.Effective{SessionID: *s.ERSPAN.SessionID, Ports: out.Ports}
		}
		if s.Bounded() {
			st.Used = &s.Used
		}
		for _, co := range out.Collectors {
			cs := session.CollectorStatus{
				Address: co.Address.String(), State: co.State, Reason: co.Reason, Message: co.Message,
				Snaplen: co.MaxLen, SnaplenReason: co.MaxLenWhy, Device: co.Path.Device,
			}
			if co.Path.Source.IsValid() {
				cs.Origin = co.Path.Source.String()
			}
			st.Collectors = append(st.Collectors, cs)
		}
		if st.Effective != nil && len(st.Collectors) > 0 {
			first := st.Collectors[0]
			e := st.Effective
			e.Snaplen, e.SnaplenReason, e.Origin, e.Device = first.Snaplen, first.SnaplenReason, first.Origin, first.Device
		}
		all[s.Name] = st
	}
	for name, err := range wish.Broken {
		all[name] = session.Status{State: session.Failed, Reason: flows.ReasonInvalid, Message: err.Error()}
	}
	for name, st := range all {
		st.Since = now.UTC().Truncate(time.Second)
		if was, ok := wish.Status[name]; ok && was.State == st.State && was.Reason == st.Reason {
			st.Since = was.Since
		}
		all[name] = st
	}
	return all
}
