package flows

import (
	"errors"

	"github.com/ovs-erspan/ovs-erspan/session"
)

const offloadRemedy = "set other_config:hw-offload=false and restart ovs-vswitchd, or accept it with --allow-hw-offload (allowHWOffload: true) and prove the session with traffic"

// checkOffload refuses a session that does not accept what hardware offload may do to it.
func checkOffload(s session.Session, state State) []error {
	if !state.HWOffload() || s.AllowHWOffload {
		return nil
	}
	return []error{&session.FieldError{Session: s.Name, Field: "allowHWOffload", Value: "false",
		Reason: "this Open vSwitch has other_config:hw-offload=true, and what a network card forwards by itself passes no mirror",
		Remedy: offloadRemedy}}
}

// judgeOffload tells of an offload that was switched on after the session was accepted. Copies go on: they harm nobody, and
// some are better than none.
func judgeOffload(in Input, p Program) {
	if !in.State.HWOffload() {
		return
	}
	for _, s := range in.Sessions {
		if !s.AllowHWOffload {
			p.Outcomes[s.Name].degrade(ReasonHWOffload,
				"other_config:hw-offload=true was switched on: what a network card forwards by itself passes no mirror; "+offloadRemedy)
		}
	}
}

// CheckHost checks a valid session against the host.
func CheckHost(s session.Session, h Host) error {
	check := CheckSource
	if s.Type == session.Destination {
		check = CheckDestination
	}
	return errors.Join(append(checkOffload(s, h.State), session.Flatten(check(s, h))...)...)
}
