package session

import (
	"fmt"
	"net/netip"
	"strconv"
)

func (f *faults) checkSource(s Session) {
	if s.Bridge == "" {
		f.add(FieldError{Field: "bridge", Reason: "is required", Remedy: "name the bridge that the sources are on"})
	} else {
		f.checkPort("bridge", s.Bridge)
	}
	f.checkSources(s.Sources)
	f.checkVLANs(s.VLANs)
	if s.Direction != Ingress && s.Direction != Egress && s.Direction != Both {
		f.add(FieldError{Field: "direction", Value: string(s.Direction), Allowed: "ingress, egress or both"})
	}
	f.checkCollectors(s.Collectors)
	f.checkOrigin(s.Origin, s.Collectors)
	f.checkRules(s.Match)
	if n, ok := s.Snaplen.Bytes(); (ok || s.Snaplen != SnaplenOff && s.Snaplen != SnaplenAuto) && (n < MinSnaplen || n > MaxSnaplen) {
		f.add(FieldError{Field: "snaplen", Value: strconv.Itoa(n), Allowed: allowedSnaplen})
	}
	if _, err := parseRate(s.MaxRate.String()); err != nil && !s.MaxRate.IsZero() {
		f.add(FieldError{Field: "maxRate", Value: s.MaxRate.String(), Allowed: allowedRate})
	}
	f.checkRange("dscp", s.DSCP, 0, MaxDSCP)
	f.checkRange("ttl", s.TTL, MinTTL, MaxTTL)

	const remedy = "leave it out, or set type to destination"
	f.checkUnset("outputPort", s.OutputPort, s.OutputPort != "", Source, remedy)
	f.checkUnset("from", s.From, s.From != "", Source, remedy)
}

// checkUnset refuses a field that the other type of session has.
func (f *faults) checkUnset(field, value string, set bool, of Type, remedy string) {
	if set {
		f.add(FieldError{Field: field, Value: value, Reason: "a " + string(of) + " session has no such field", Remedy: remedy})
	}
}

func (f *faults) checkSources(s Sources) {
	switch {
	case s.All && s.Ports != nil:
		f.add(FieldError{Field: "sources", Reason: "has both ports and all", Remedy: "leave one of them out"})
	case s.Ports != nil && len(s.Ports) == 0:
		f.add(FieldError{Field: "sources.ports", Reason: "is an empty list, which mirrors nothing", Remedy: "list a port, or set sources.all"})
	case !s.All && s.Ports == nil:
		f.add(FieldError{Field: "sources", Reason: "is required", Remedy: "list ports in sources.ports, or set sources.all"})
	}
	if !f.checkLength("sources.ports", len(s.Ports), MaxSources, "set sources.all, or make several sessions") {
		return
	}
	seen := map[string]int{}
	for i, p := range s.Ports {
		field := element("sources.ports", i)
		id, isID := IfaceID(p)
		switch {
		case p == "":
			f.add(FieldError{Field: field, Reason: "is empty", Allowed: "a port's name or " + IfaceIDPrefix + "ID"})
		case isID && id == "":
			f.add(FieldError{Field: field, Value: p, Reason: "has no id", Allowed: IfaceIDPrefix + "ID, with the ID of Interface.external_ids"})
		case isID:
			f.checkIfaceID(field, p, id)
		default:
			f.checkPort(field, p)
		}
		checkTwice(f, field, p, seen, i)
	}
}

func (f *faults) checkIfaceID(field, source, id string) {
	if reason := portNameFault(id); reason != "" && reason != portNameFault("/") {
		f.add(FieldError{Field: field, Value: source, Reason: "the id " + reason, Allowed: IfaceIDPrefix + "ID, with the ID of Interface.external_ids"})
	}
}

// element is the name of a list's element in errors.
func element(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

// checkTwice refuses a value that the list already has; seen holds the place of each.
func checkTwice[T comparable](f *faults, field string, value T, seen map[T]int, i int) {
	if first, ok := seen[value]; ok {
		f.add(FieldError{Field: field, Value: fmt.Sprint(value), Reason: fmt.Sprintf("is already at [%d]", first), Remedy: "list it once"})
		return
	}
	seen[value] = i
}

func (f *faults) checkVLANs(vlans []int) {
	if vlans != nil && len(vlans) == 0 {
		f.add(FieldError{Field: "vlans", Reason: "is an empty list", Remedy: "leave it out for all VLANs"})
	}
	if !f.checkLength("vlans", len(vlans), MaxVLAN, "leave it out for all VLANs") {
		return
	}
	seen := map[int]int{}
	for i, v := range vlans {
		field := element("vlans", i)
		if v < MinVLAN || v > MaxVLAN {
			e := rangeFault(field, v, MinVLAN, MaxVLAN)
			if v == 0 {
				e.Remedy = "for untagged frames, use a match (vlan_tci=0)"
			}
			f.add(e)
		}
		checkTwice(f, field, v, seen, i)
	}
}

const collectorRemedy = "give the address of the host that receives the copies"

func (f *faults) checkCollectors(collectors []netip.Addr) {
	if len(collectors) == 0 {
		reason := "is required"
		if collectors != nil {
			reason = "is an empty list"
		}
		f.add(FieldError{Field: "collectors", Reason: reason, Remedy: collectorRemedy})
	}
	if !f.checkLength("collectors", len(collectors), MaxCollectors, "send to one that distributes") {
		return
	}
	seen := make(map[netip.Addr]int, len(collectors))
	for i, c := range collectors {
		field := element("collectors", i)
		reason, remedy := addressFault(c)
		if reason == "" && unroutable(c) {
			reason = "is a link-local address, and a tunnel cannot say on which link"
		}
		if remedy == "" {
			remedy = collectorRemedy
		}
		if reason != "" {
			f.add(FieldError{Field: field, Value: address(c), Reason: reason, Remedy: remedy})
		}
		checkTwice(f, field, c.Unmap(), seen, i)
	}
}

func (f *faults) checkOrigin(origin netip.Addr, collectors []netip.Addr) {
	if !origin.IsValid() {
		return
	}
	reason, remedy := addressFault(origin)
	if reason == "" && unroutable(origin) {
		reason = "is a link-local address, and a tunnel cannot say on which link"
	}
	if reason != "" {
		if remedy == "" {
			remedy = "give an address of this host, or leave it out to choose by route"
		}
		f.add(FieldError{Field: "origin", Value: origin.String(), Reason: reason, Remedy: remedy})
		return
	}
	for _, c := range collectors[:min(len(collectors), MaxCollectors)] {
		if c.IsValid() && c.Unmap().Is4() != origin.Is4() {
			f.add(FieldError{Field: "origin", Value: origin.String(), Reason: fmt.Sprintf("is %s, but collector %s is %s", family(origin), c, family(c)),
				Remedy: "leave it out to choose by route, or make one session for each family"})
			return
		}
	}
}

func family(a netip.Addr) string {
	if a.Unmap().Is4() {
		return "IPv4"
	}
	return "IPv6"
}

func (f *faults) checkRules(rules []Rule) {
	if rules != nil && len(rules) == 0 {
		f.add(FieldError{Field: "match", Reason: "is an empty list", Remedy: "leave it out for all traffic"})
	}
	if !f.checkLength("match", len(rules), MaxRules, "match prefixes and masks, or make several sessions") {
		return
	}
	seen := map[string]int{}
	for i, r := range rules {
		field := element("match", i)
		kind, expr := r.kind()
		if kind == "" {
			f.add(FieldError{Field: field, Reason: "needs exactly one of permit, permitBothWays and deny", Remedy: "write one rule for each"})
			continue
		}
		err := CheckMatch(expr)
		if err == nil && kind == "permitBothWays" {
			_, err = ExchangeDirections(expr)
		}
		if err != nil {
			f.add(FieldError{Field: field + "." + kind, Value: expr, Reason: err.Error(), Remedy: "see ovs-fields(7)"})
			continue
		}
		checkTwice(f, field, kind+": "+expr, seen, i)
	}
}

// kind is the name of the one field that is set, and what it holds; "" when none or several are.
func (r Rule) kind() (name, expr string) {
	set := 0
	for _, c := range []struct{ name, expr string }{
		{"permit", r.Permit}, {"permitBothWays", r.PermitBothWays}, {"deny", r.Deny},
	} {
		if c.expr != "" {
			name, expr = c.name, c.expr
			set++
		}
	}
	if set != 1 {
		return "", ""
	}
	return name, expr
}
