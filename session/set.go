package session

import (
	"errors"
	"fmt"
	"net/netip"
)

// CheckSet reports what is wrong with sessions that are each valid, but not together on one host: a name that is there
// twice; the same collector and session id twice, which the collector could not tell apart; a port that one session
// delivers to and another mirrors, or that is on two bridges; destination sessions that cannot be ordered
// ([Session.Specificity]). Disabled sessions count, since they could not be enabled otherwise.
//
// Each fault is a [FieldError] of the session that stands later in the list and names the earlier one; they are joined
// (see [Flatten]). Sessions are compared as they are: default them and assign their ids first.
func CheckSet(all []Session) error {
	var errs []error
	errs = append(errs, checkNames(all)...)
	errs = append(errs, checkCollectorIDs(all)...)
	errs = append(errs, checkDelivery(all)...)
	errs = append(errs, checkOrder(all)...)
	return errors.Join(errs...)
}

func checkNames(all []Session) []error {
	var errs []error
	seen := make(map[string]bool, len(all))
	for _, s := range all {
		if seen[s.Name] {
			errs = append(errs, &FieldError{Session: s.Name, Field: "name", Value: s.Name, Reason: "another session has this name",
				Remedy: "give each session a name of its own"})
		}
		seen[s.Name] = true
	}
	return errs
}

func checkCollectorIDs(all []Session) []error {
	type key struct {
		collector netip.Addr
		id        int
	}
	var errs []error
	collectors := 0
	for i := range all {
		collectors += len(all[i].Collectors)
	}
	owner := make(map[key]string, collectors)
	for _, s := range all {
		if !s.isSource() || s.ERSPAN.SessionID == nil {
			continue
		}
		for _, c := range s.Collectors {
			k := key{c.Unmap(), *s.ERSPAN.SessionID}
			other, taken := owner[k]
			if !taken {
				owner[k] = s.Name
				continue
			}
			if other == s.Name {
				continue // the same collector twice in one session is Validate's to tell
			}
			errs = append(errs, &FieldError{Session: s.Name, Field: "erspan.sessionID", Value: number(s.ERSPAN.SessionID),
				Reason: fmt.Sprintf("session %q has the same id and the same collector %s", other, c),
				Remedy: "give another session id, or leave it out for the lowest that is free"})
		}
	}
	return errs
}

// checkDelivery looks at the ports of destination sessions. Open vSwitch has a port's name once, whatever its bridge.
func checkDelivery(all []Session) []error {
	var errs []error
	delivered := map[string]Session{} // by port, the first that delivers there
	mirrored := map[string]string{}   // by port, the first that mirrors it
	for _, s := range all {
		if s.isSource() {
			for i, p := range s.Sources.Ports {
				if d, ok := delivered[p]; ok {
					errs = append(errs, &FieldError{Session: s.Name, Field: element("sources.ports", i), Value: p,
						Reason: fmt.Sprintf("session %q delivers to this port, and what it delivers would be mirrored again", d.Name),
						Remedy: "mirror another port, or deliver to another"})
				} else if mirrored[p] == "" {
					mirrored[p] = s.Name
				}
			}
			continue
		}
		if s.Type != Destination || s.OutputPort == "" {
			continue
		}
		e := &FieldError{Session: s.Name, Field: "outputPort", Value: s.OutputPort}
		other, seen := delivered[s.OutputPort]
		switch {
		case mirrored[s.OutputPort] != "":
			e.Reason = fmt.Sprintf("session %q mirrors this port, and what is delivered would be mirrored again", mirrored[s.OutputPort])
			e.Remedy = "deliver to another port, or mirror another"
			errs = append(errs, e)
		case seen && other.Bridge != s.Bridge:
			e.Reason = fmt.Sprintf("session %q has the same port %s, this one %s", other.Name, where(other.Bridge), where(s.Bridge))
			e.Remedy = "give both the same bridge"
			errs = append(errs, e)
		case !seen:
			delivered[s.OutputPort] = s
		}
	}
	return errs
}

func where(bridge string) string {
	if bridge == "" {
		return "on no bridge"
	}
	return "on bridge " + bridge
}
