package flows

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// Flow is one OpenFlow flow of a tap bridge.
type Flow struct {
	Table    Table
	Priority int
	Cookie   Cookie
	Match    Match
	Actions  []Action
}

// Match is what a flow matches: fields of ours, in the order in which Open vSwitch prints them, and a user's expression
// that only Open vSwitch can put into its canonical form.
type Match struct {
	Fields []string
	Expr   string
	// Part is which of the packets that the expression means the flow takes.
	Part FragmentPart
}

// Action is one action, as text in Open vSwitch's canonical form (ovs-actions(7)).
type Action string

// Line is a flow as text in Open vSwitch's canonical form, so that what is wished and what is there can be compared.
type Line struct {
	Table    Table
	Priority int
	Cookie   Cookie
	Match    string
	Actions  string
	// Expires is when the flow ends by itself, in seconds of Unix time; 0 is never.
	Expires int64
}

// Line renders the flow. With a user's expression in the match it is not yet in canonical form.
func (f Flow) Line() Line {
	match := strings.Join(f.Match.Fields, ",")
	switch expr := f.Match.Part.of(f.Match.Expr); {
	case match == "":
		match = expr
	case expr != "":
		match += "," + expr
	}
	actions := make([]string, len(f.Actions))
	for i, a := range f.Actions {
		actions[i] = string(a)
	}
	return Line{Table: f.Table, Priority: f.Priority, Cookie: f.Cookie, Match: match, Actions: strings.Join(actions, ",")}
}

// String is the line as ovs-ofctl(8) reads it in a flow file.
func (l Line) String() string {
	match := l.Match
	if match != "" {
		match = "," + match
	}
	return fmt.Sprintf("cookie=%#x,table=%d,priority=%d%s,actions=%s", uint64(l.Cookie), int(l.Table), l.Priority, match, l.Actions)
}

// Key is what makes two lines the same flow for OpenFlow: adding the one replaces the other.
func (l Line) Key() string {
	return strconv.Itoa(int(l.Table)) + " " + strconv.Itoa(l.Priority) + " " + l.Match
}

// SortFlows puts flows into the order of the pipeline: table, falling priority, match.
func SortFlows(flows []Flow) {
	slices.SortFunc(flows, func(a, b Flow) int {
		return cmp.Or(
			cmp.Compare(a.Table, b.Table),
			cmp.Compare(b.Priority, a.Priority),
			slices.Compare(a.Match.Fields, b.Match.Fields),
			cmp.Compare(a.Match.Expr, b.Match.Expr),
			cmp.Compare(a.Match.Part, b.Match.Part),
			cmp.Compare(a.Cookie, b.Cookie),
		)
	})
}

// hexNumber is how Open vSwitch prints numbers in registers and tunnel fields: 0 as "0", all else in hexadecimal.
func hexNumber(n uint64) string {
	if n == 0 {
		return "0"
	}
	return "0x" + strconv.FormatUint(n, 16)
}

func drop() []Action { return []Action{"drop"} }

func gotoTable(t Table) Action { return Action("goto_table:" + strconv.Itoa(int(t))) }

func setField(value, field string) Action {
	return Action("set_field:" + value + "->" + field)
}

func setNumber(n uint64, field string) Action { return setField(hexNumber(n), field) }

// cloneInto hands a copy to a session: the clone keeps what the session's tables change from the next session.
func cloneInto(t Table, slot uint32) Action {
	return "clone(" + setNumber(uint64(slot), slotRegister) + ",resubmit(," + Action(strconv.Itoa(int(t))) + "))"
}

// sending is an output to a tunnel towards a collector.
type sending struct {
	collector netip.Addr
	port      int // of the tunnel
	maxLen    int // bytes of the frame that are sent; 0 is all
}

// sendTo outputs the frame to a tunnel towards the collector, in a clone of its own.
//
// The clone protects production. Open vSwitch puts "cut the next output" into the datapath's actions before it knows
// whether the output will come to be (xlate_output_trunc_action in ofproto/ofproto-dpif-xlate.c). Where it does not,
// because the collector's next hop does not answer or its route is gone, the cut would be left over for the next output of
// the same packet, which is production's own. An output that cuts cannot be undone in Open vSwitch's eyes, so that this
// clone is one in the datapath too (reversible_actions), and what is left over ends with it (docs/adr/0008).
func sendTo(s sending) Action {
	field := "tun_dst"
	if s.collector.Is6() {
		field = "tun_ipv6_dst"
	}
	output := outputTo(s.port)
	if s.maxLen > 0 {
		output = Action(fmt.Sprintf("output(port=%d,max_len=%d)", s.port, s.maxLen))
	}
	return Action(fmt.Sprintf("clone(%s,%s)", setField(s.collector.String(), field), output))
}

// outputTo puts a packet out whole.
func outputTo(port int) Action { return Action(fmt.Sprintf("output:%d", port)) }

func inPort(port int) string { return "in_port=" + strconv.Itoa(port) }

func slotIs(slot uint32) string { return slotRegister + "=" + hexNumber(uint64(slot)) }

// Entry is a flow of a bridge with its counters.
type Entry struct {
	Line
	Packets uint64
	Bytes   uint64
	Age     time.Duration
}

// Lines are the entries without their counters.
func Lines(entries []Entry) []Line {
	lines := make([]Line, len(entries))
	for i, e := range entries {
		lines[i] = e.Line
	}
	return lines
}

// BadMatchError is a user's match that Open vSwitch's parser does not take, or does not take for what it says.
type BadMatchError struct {
	Expr   string
	Reason string
}

func (e *BadMatchError) Error() string {
	return "match " + session.Quote(e.Expr) + ": " + e.Reason
}
