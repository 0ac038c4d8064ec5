package flows

import "github.com/ovs-erspan/ovs-erspan/session"

// A tap bridge judges the first fragment of a packet by its ports, which Open vSwitch does by itself for no fragment
// (ovs-ofctl(8), set-frags). Later fragments have no ports. Where a rule leaves it open whether it means one, the fragment is
// copied: docs/what-a-copy-shows.md.

// FragmentMode is what a bridge does with IP fragments, by OpenFlow's numbers (OFPC_FRAG_*, and Open vSwitch's own 3).
type FragmentMode uint16

// The modes.
const (
	FragmentsNormal     FragmentMode = 0 // no fragment has ports
	FragmentsDrop       FragmentMode = 1
	FragmentsReassemble FragmentMode = 2
	FragmentsNXMatch    FragmentMode = 3 // first fragments have ports; a tap bridge's
)

// String is the mode as ovs-ofctl(8) writes it.
func (m FragmentMode) String() string {
	switch m {
	case FragmentsNormal:
		return "normal"
	case FragmentsDrop:
		return "drop"
	case FragmentsReassemble:
		return "reassemble"
	case FragmentsNXMatch:
		return "nx-match"
	}
	return "unknown"
}

// FragmentPart is which packets of an expression a flow takes.
type FragmentPart int

// The parts.
const (
	WholePackets   FragmentPart = iota // all that the expression takes
	NotLater                           // without later fragments, which have 0 where others have their ports
	LaterFragments                     // the later fragments that may belong to packets of the expression
)

// of is the expression of the part.
func (p FragmentPart) of(expr string) string {
	switch p {
	case NotLater:
		return expr + ",nw_frag=not_later"
	case LaterFragments:
		return session.LaterFragments(expr)
	}
	return expr
}

// byPorts is the part of a rule's expression that its own flow takes.
func byPorts(expr string) FragmentPart {
	if session.NamesTransport(expr) {
		return NotLater
	}
	return WholePackets
}
