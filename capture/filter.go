package capture

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/ovs-erspan/ovs-erspan/erspan"
)

// Filter says which ERSPAN packets are wanted. An empty field wants all.
type Filter struct {
	From       []netip.Addr // senders
	SessionIDs []uint16
	Versions   []erspan.Version
	// Direction wants one direction of Type III; other types do not tell theirs and are not wanted then.
	Direction *erspan.Direction
}

// wants reports whether a packet is wanted. Type I has no session id, so that asking for one leaves it out.
// Where the header did not come whole nobody can tell.
func (f *Filter) wants(p *erspan.Packet, headerRead bool) bool {
	if !headerRead && (len(f.SessionIDs) > 0 || len(f.Versions) > 0 || f.Direction != nil) {
		return false
	}
	layout := p.Layout()
	return (len(f.From) == 0 || slices.Contains(f.From, p.Outer.Src)) &&
		(len(f.SessionIDs) == 0 || layout != erspan.TypeI && slices.Contains(f.SessionIDs, p.Header.SessionID)) &&
		(len(f.Versions) == 0 || slices.Contains(f.Versions, layout)) &&
		(f.Direction == nil || layout == erspan.TypeIII && p.Header.Direction == *f.Direction)
}

// ParseFilter reads a filter from what users write in the options --from, --session-id, --erspan-version (lists) and
// --direction. Nothing, or "", wants all.
func ParseFilter(from, sessionIDs, versions []string, direction string) (Filter, error) {
	var f Filter
	for _, s := range from {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return f, fmt.Errorf("--from %q: want an IPv4 or IPv6 address", s)
		}
		f.From = append(f.From, a.Unmap().WithZone(""))
	}
	for _, s := range sessionIDs {
		n, err := strconv.ParseUint(s, 0, 16)
		if err != nil || n > erspan.MaxSessionID || len(s) > 1 && s[0] == '0' && s[1]|0x20 != 'x' {
			return f, fmt.Errorf("--session-id %q: want 0 to %d, decimal or 0x", s, erspan.MaxSessionID)
		}
		f.SessionIDs = append(f.SessionIDs, uint16(n))
	}
	for _, s := range versions {
		v, err := erspan.ParseVersion(s)
		if err != nil {
			return f, fmt.Errorf("--erspan-version: %w", err)
		}
		f.Versions = append(f.Versions, v)
	}
	switch direction {
	case "":
	case "ingress", "rx":
		f.Direction = new(erspan.Direction)
	case "egress", "tx":
		f.Direction = new(erspan.Direction)
		*f.Direction = erspan.Egress
	default:
		return f, fmt.Errorf("--direction %q: want ingress or egress", direction)
	}
	return f, nil
}

// ParseTime reads the option --time: whether frames take the time at which they were received.
func ParseTime(s string) (receive bool, err error) {
	switch s {
	case "sender":
		return false, nil
	case "receive":
		return true, nil
	}
	return false, fmt.Errorf("--time %q: want sender or receive", s)
}
