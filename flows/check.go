package flows

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// Host is this machine as the checks of a session see it.
type Host struct {
	State      State
	LocalAddrs []netip.Addr // every address of the machine
	Devices    map[string]Device
}

// Device is a network device of the machine.
type Device struct {
	Taken string // why it cannot be attached to a bridge of ours, "" where it can
}

// MissingError says that a bridge or a source is not there. It may come: who accepts that, tells these errors apart.
type MissingError struct{ *session.FieldError }

// Unwrap gives the field at fault.
func (e *MissingError) Unwrap() error { return e.FieldError }

// CheckSource checks a valid source session against the host: bridge, sources, collectors and origin. All faults are
// reported, joined; what is only not there is a *MissingError.
func CheckSource(s session.Session, h Host) error {
	faults := checkAddresses(s, h.LocalAddrs)
	b := h.State.Bridges[s.Bridge]
	switch {
	case b == nil:
		faults = append(faults, &MissingError{&session.FieldError{Session: s.Name, Field: "bridge", Value: s.Bridge,
			Reason: "there is no such bridge", Remedy: suggest("the bridges", s.Bridge, foreignBridges(h.State))}})
		return errors.Join(faults...)
	case Ours(b.ExternalIDs):
		faults = append(faults, &session.FieldError{Session: s.Name, Field: "bridge", Value: s.Bridge,
			Reason: "is a tap bridge of this program's own, whose copies must not be copied again",
			Remedy: suggest("the bridges", "", foreignBridges(h.State))})
		return errors.Join(faults...)
	}
	for i, source := range s.Sources.Ports {
		if err := checkSource(s, fmt.Sprintf("sources.ports[%d]", i), source, b, h.State); err != nil {
			faults = append(faults, err)
		}
	}
	present := func(p *Port) bool { return AbsentDevice(p) == "" }
	if s.Sources.All && !slices.ContainsFunc(fitSources(b, nil), present) {
		faults = append(faults, &MissingError{&session.FieldError{Session: s.Name, Field: "sources.all", Value: "true",
			Reason: fmt.Sprintf("bridge %q has no port that can be mirrored", s.Bridge), Remedy: "accept that it is empty for now with --allow-missing"}})
	}
	return errors.Join(faults...)
}

// checkAddresses refuses a collector that is this host, and an origin that is not.
func checkAddresses(s session.Session, local []netip.Addr) []error {
	var faults []error
	for i, c := range s.Collectors {
		if slices.Contains(local, c) {
			faults = append(faults, &session.FieldError{Session: s.Name, Field: fmt.Sprintf("collectors[%d]", i), Value: c.String(),
				Reason: "is an address of this host, to which copies would come back", Remedy: "name another host's address"})
		}
	}
	if s.Origin.IsValid() && !slices.Contains(local, s.Origin) {
		var texts []string
		for _, a := range local {
			if a.Is4() == s.Origin.Is4() && !a.IsLoopback() && !a.IsLinkLocalUnicast() {
				texts = append(texts, a.String())
			}
		}
		fault := &session.FieldError{Session: s.Name, Field: "origin", Value: s.Origin.String(),
			Reason: "is not an address of this host", Remedy: "leave it out for the address that the route chooses"}
		if len(texts) > 0 {
			fault.Allowed = "one of " + strings.Join(texts, ", ")
		}
		faults = append(faults, fault)
	}
	return faults
}

// checkSource checks one source, and says as nearly as it can what was meant.
func checkSource(s session.Session, field, source string, b *Bridge, state State) error {
	fault := &session.FieldError{Session: s.Name, Field: field, Value: source}
	candidates := namedBy(source, b)
	switch {
	case len(candidates) > 1:
		var names []string
		for _, p := range candidates {
			names = append(names, p.Name)
		}
		fault.Reason, fault.Remedy = "several ports have it: "+someOf(names), "name the ports"
		return fault
	case len(candidates) == 1:
		reason := UnfitSource(candidates[0], b)
		if reason == "" {
			if why := AbsentDevice(candidates[0]); why != "" {
				fault.Reason, fault.Remedy = "nothing can pass it: "+why, "see that its device is there, or accept that it may come with --allow-missing"
				return &MissingError{fault}
			}
			return nil
		}
		fault.Reason, fault.Remedy = reason, "name another port"
		if isPatch(candidates[0]) && !Ours(candidates[0].ExternalIDs) {
			fault.Remedy = wayAroundPatch(candidates[0], state)
		}
		return fault
	}
	if _, isID := session.IfaceID(source); isID {
		for _, other := range slices.Sorted(maps.Keys(state.Bridges)) {
			if elsewhere := namedBy(source, state.Bridges[other]); len(elsewhere) > 0 && !Ours(state.Bridges[other].ExternalIDs) {
				fault.Reason, fault.Remedy = fmt.Sprintf("is port %q on bridge %q, not on %q", elsewhere[0].Name, other, b.Name), fmt.Sprintf("use --bridge %s", other)
				return fault
			}
		}
		fault.Reason, fault.Remedy = fmt.Sprintf("no port of bridge %q has it", b.Name), "look at 'ovs-vsctl --columns=name,external_ids list interface', or accept that it may come with --allow-missing"
		return &MissingError{fault}
	}
	for _, name := range slices.Sorted(maps.Keys(b.Ports)) {
		if name != source && slices.ContainsFunc(b.Ports[name].Interfaces, func(i *Interface) bool { return i.Name == source }) {
			fault.Reason, fault.Remedy = fmt.Sprintf("is a member of bond %q", name), fmt.Sprintf("name the bond, %q: a member alone cannot be mirrored", name)
			return fault
		}
	}
	for _, other := range slices.Sorted(maps.Keys(state.Bridges)) {
		if state.Bridges[other].Ports[source] == nil {
			continue
		}
		if Ours(state.Bridges[other].ExternalIDs) {
			// Also the tap bridge's own name: what it carries are copies.
			fault.Reason, fault.Remedy = fmt.Sprintf("is on %q, a tap bridge of this program's own, whose copies must not be copied again", other), "name a port of bridge "+b.Name
			return fault
		}
		fault.Reason, fault.Remedy = fmt.Sprintf("is on bridge %q, not on %q", other, b.Name), fmt.Sprintf("use --bridge %s", other)
		return fault
	}
	fault.Reason = fmt.Sprintf("bridge %q has no such port", b.Name)
	var fit []string
	for _, p := range fitSources(b, nil) {
		fit = append(fit, p.Name)
	}
	fault.Remedy = suggest("its ports", source, fit) + "; --allow-missing accepts that it may come"
	return &MissingError{fault}
}

// wayAroundPatch names the ports of the bridge at the other end: what comes through the patch comes from them.
func wayAroundPatch(p *Port, state State) string {
	for _, i := range p.Interfaces {
		for _, name := range slices.Sorted(maps.Keys(state.Bridges)) {
			other := state.Bridges[name]
			for _, port := range slices.Sorted(maps.Keys(other.Ports)) {
				if port != i.Options["peer"] {
					continue
				}
				var fit []string
				for _, f := range fitSources(other, nil) {
					if f.Name != name {
						fit = append(fit, f.Name)
					}
				}
				way := fmt.Sprintf("mirror the ports of bridge %q at its other end instead (--bridge %s)", name, name)
				if len(fit) > 0 {
					way += ": " + someOf(fit)
				}
				return way
			}
		}
	}
	return "mirror the ports of the bridge at its other end instead"
}

func foreignBridges(state State) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(state.Bridges)) {
		if !Ours(state.Bridges[name].ExternalIDs) {
			names = append(names, name)
		}
	}
	return names
}

// suggest names the nearest of the names that are there, or the first few.
func suggest(what, wanted string, names []string) string {
	if len(names) == 0 {
		return what + ": none"
	}
	const few = 5
	if near := session.Nearest(wanted, names); len(near) > 0 {
		return fmt.Sprintf("did you mean %s?", quoteList(near))
	}
	text := fmt.Sprintf("%s: %s", what, quoteList(names[:min(few, len(names))]))
	if len(names) > few {
		text += fmt.Sprintf(" and %d more", len(names)-few)
	}
	return text
}
