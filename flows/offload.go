package flows

import (
	"errors"
	"slices"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// offload is a setting of Open vSwitch with which copies may be lost in silence. A session has to accept it.
type offload struct {
	reason  string
	setting string
	harm    string
}

var (
	hwOffload = offload{ReasonHWOffload, "hw-offload", "what a network card forwards by itself passes no mirror"}
	// Tunnels refuse such packets: "Tunneling packets with HW offload flags is not supported" up to 3.2, and counted as
	// netdev_push_header_drops later.
	userspaceTSO = offload{ReasonUserspaceTSO, "userspace-tso-enable", "most copies of TCP are dropped in front of the tunnel, in silence"}
)

func (o offload) remedy() string {
	return "set other_config:" + o.setting + "=false and restart ovs-vswitchd, or accept it with --allow-hw-offload (allowHWOffload: true) and prove the session with traffic"
}

// offloadsOf are the settings that are on and concern the session.
func offloadsOf(s session.Session, state State) []offload {
	var all []offload
	if state.HWOffload() {
		all = append(all, hwOffload)
	}
	b := state.Bridges[s.Bridge]
	if state.UserspaceTSO() && s.Type != session.Destination && b != nil && b.NormalDatapathType() == "netdev" {
		all = append(all, userspaceTSO)
	}
	return all
}

// checkOffload refuses a session that does not accept what offloads may do to it.
func checkOffload(s session.Session, state State) (faults []error) {
	if s.AllowHWOffload {
		return nil
	}
	for _, o := range offloadsOf(s, state) {
		faults = append(faults, &session.FieldError{Session: s.Name, Field: "allowHWOffload", Value: "false",
			Reason: "this Open vSwitch has other_config:" + o.setting + "=true, and " + o.harm,
			Remedy: o.remedy()})
	}
	return faults
}

// judgeOffload tells of an offload that was switched on after the session was accepted. Copies go on: they harm nobody, and
// some are better than none.
func judgeOffload(in Input, p Program) {
	for _, s := range in.Sessions {
		if s.AllowHWOffload {
			continue
		}
		for _, o := range offloadsOf(s.Session, in.State) {
			p.Outcomes[s.Name].degrade(o.reason, "other_config:"+o.setting+"=true was switched on: "+o.harm+"; "+o.remedy())
		}
	}
}

// CheckHost checks a valid session against the host.
func CheckHost(s session.Session, h Host) error {
	check := CheckSource
	if s.Type == session.Destination {
		check = CheckDestination
	}
	return errors.Join(slices.Concat(checkRelease(s, h.State), checkOffload(s, h.State), session.Flatten(check(s, h)))...)
}
