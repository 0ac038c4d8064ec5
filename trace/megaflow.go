package trace

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// Megaflow is a cached flow of a datapath that carries a session's copies or frames.
type Megaflow struct {
	Match   string `json:"match"`
	Packets uint64 `json:"packets"` // the one that made it is not counted
	Bytes   uint64 `json:"bytes"`
	Used    string `json:"used"` // how long ago, or "never"
	Actions string `json:"actions"`
}

// megaflowLine is a line of `dpif/dump-flows` (format_dpif_flow and dpif_flow_stats_format in Open vSwitch's lib).
var megaflowLine = lazily(`^(?:ufid:\S+ )?(.*), packets:(\d+), bytes:(\d+), used:(\S+?),(?: flags:\S+,)? actions:(.*)$`)

// Megaflows are those of a dump that carry the session's copies (source session) or its frames (destination session),
// the most used first.
func Megaflows(dump string, s session.Session) []Megaflow {
	var all []Megaflow
	for line := range strings.Lines(dump) {
		m := megaflowLine().FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		f := Megaflow{Match: m[1], Used: m[4], Actions: m[5]}
		f.Packets, _ = strconv.ParseUint(m[2], 10, 64)
		f.Bytes, _ = strconv.ParseUint(m[3], 10, 64)
		if s.Type == session.Destination && f.arrivesFor(s) || s.Type != session.Destination && f.copiesFor(s) {
			all = append(all, f)
		}
	}
	slices.SortStableFunc(all, func(a, b Megaflow) int { return cmp.Compare(b.Packets, a.Packets) })
	return all
}

// copiesFor tells whether copies of the session leave.
func (f Megaflow) copiesFor(s session.Session) bool {
	return slices.ContainsFunc(Headers(f.Actions), func(h Header) bool {
		return h.SessionID == valueOf(s.ERSPAN.SessionID) && h.Version == s.ERSPAN.Version && slices.Contains(s.Collectors, h.Destination)
	})
}

var megaflowHeader = lazily(`\btunnel\(.*?tun_id=(0x[0-9a-f]+).*?\),in_port`)

// arrivesFor tells whether frames with the session's id arrive and are not dropped.
func (f Megaflow) arrivesFor(s session.Session) bool {
	m := megaflowHeader().FindStringSubmatch(f.Match)
	return m != nil && number(m[1]) == valueOf(s.ERSPAN.SessionID) && f.Actions != "drop" &&
		(s.From == session.AnySender || strings.Contains(f.Match, "src="+s.From+","))
}
