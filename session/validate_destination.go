package session

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/ovs-erspan/ovs-erspan/erspan"
)

func (f *faults) checkDestination(s Session) {
	if s.Bridge != "" {
		f.checkPort("bridge", s.Bridge)
	}
	f.checkOutputPort(s)
	f.checkFrom(s.From)
	if s.ERSPAN.SessionID == nil {
		f.add(FieldError{Field: "erspan.sessionID", Reason: "is required in a destination session", Allowed: fmt.Sprintf("0..%d", erspan.MaxSessionID),
			Remedy: "give the id that the sender uses"})
	}
	f.checkHeaderDirection(s)

	const remedy = "leave it out, or set type to source"
	f.checkUnset("sources", strings.Join(s.Sources.Ports, ","), s.Sources.All || s.Sources.Ports != nil, Destination, remedy)
	f.checkUnset("vlans", "", s.VLANs != nil, Destination, remedy)
	f.checkUnset("collectors", "", s.Collectors != nil, Destination, remedy)
	f.checkUnset("match", "", s.Match != nil, Destination, remedy)
	f.checkUnset("snaplen", s.Snaplen.String(), !s.Snaplen.IsZero(), Destination, remedy)
	if !s.MaxRate.IsZero() {
		f.add(FieldError{Field: "maxRate", Value: s.MaxRate.String(), Reason: "what arrives at a destination session is bounded where it is sent from",
			Remedy: "leave it out, and give the sender's source session a maxRate"})
	}
	f.checkUnset("origin", address(s.Origin), s.Origin.IsValid(), Destination, remedy)
	f.checkUnset("dscp", number(s.DSCP), s.DSCP != nil, Destination, remedy)
	f.checkUnset("ttl", number(s.TTL), s.TTL != nil, Destination, remedy)
}

func number(n *int) string {
	if n == nil {
		return ""
	}
	return fmt.Sprint(*n)
}

func (f *faults) checkOutputPort(s Session) {
	const field = "outputPort"
	switch {
	case s.OutputPort == "":
		f.add(FieldError{Field: field, Reason: "is required in a destination session", Remedy: "name the port that the frames leave through"})
	case strings.HasPrefix(s.OutputPort, IfaceIDPrefix):
		f.add(FieldError{Field: field, Value: s.OutputPort, Reason: "names no port", Remedy: "give the port's name: only sources go by iface-id"})
	case s.Bridge == "" && len(s.OutputPort) > maxDeviceNameLen && portNameFault(s.OutputPort) == "":
		f.add(FieldError{Field: field, Value: s.OutputPort, Reason: fmt.Sprintf("is longer than %d characters, the most that a network device's name has", maxDeviceNameLen),
			Remedy: "name a device, or give the bridge that the port is on"})
	default:
		f.checkPort(field, s.OutputPort)
	}
}

// allowedSender is what [ParseSender] allows, for errors.
const allowedSender = "the address of the sender, or any"

// ParseSender reads the sender of a destination session: [AnySender], or an address, which it gives its one usual
// spelling.
func ParseSender(text string) (string, error) {
	if text == AnySender {
		return AnySender, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return "", fmt.Errorf("from %s: want %s", Quote(text), allowedSender+addressRemedy(text))
	}
	return a.String(), nil
}

func (f *faults) checkFrom(from string) {
	const field, allowed = "from", allowedSender
	if from == "" {
		f.add(FieldError{Field: field, Reason: "is required in a destination session", Allowed: allowed})
		return
	}
	if from == AnySender {
		return
	}
	a, err := netip.ParseAddr(from)
	if err != nil {
		f.add(FieldError{Field: field, Value: from, Allowed: allowed, Remedy: strings.TrimPrefix(addressRemedy(from), "; ")})
		return
	}
	if reason, remedy := addressFault(a); reason != "" {
		if a.IsMulticast() || a == broadcast {
			reason, remedy = "is not the address of one host", ""
		}
		f.add(FieldError{Field: field, Value: from, Reason: reason, Allowed: allowed, Remedy: remedy})
		return
	}
	if a.String() != from {
		// One sender has one spelling, so that two sessions for the same sender are seen to be that.
		f.add(FieldError{Field: field, Value: from, Remedy: "write " + a.String()})
	}
}

// checkHeaderDirection checks the D bit that a destination session takes. Only version 2 has one.
func (f *faults) checkHeaderDirection(s Session) {
	const field, allowed = "direction", "ingress or egress"
	switch s.Direction {
	case "":
	case Ingress, Egress:
		if s.ERSPAN.Version != int(erspan.Version2) {
			f.add(FieldError{Field: field, Value: string(s.Direction), Reason: "only version 2 (Type III) tells the direction",
				Remedy: "leave it out, or set erspan.version to 2"})
		}
	case Both:
		f.add(FieldError{Field: field, Value: string(s.Direction), Allowed: allowed, Remedy: "leave it out to take either"})
	default:
		f.add(FieldError{Field: field, Value: string(s.Direction), Allowed: allowed})
	}
}
