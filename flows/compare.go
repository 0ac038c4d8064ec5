package flows

import (
	"maps"
	"slices"
)

// FlowChanges is what one bundle has to do to a bridge: deletions first, then additions.
type FlowChanges struct {
	Delete []Line
	Add    []Line // new, or in place of a flow with the same table, priority and match

	// Meters are added and changed before the flows, and deleted after them: deleting one deletes the flows that use it.
	AddMeters, SetMeters, DeleteMeters []Meter

	// MatchFragments sets the bridge to FragmentsNXMatch, before the flows.
	MatchFragments bool
}

// Empty tells that the bridge's flows, meters and setting for fragments are exactly the wished ones.
func (c FlowChanges) Empty() bool { return c.Count() == 0 }

// Count is how many flows, meters and settings change.
func (c FlowChanges) Count() int {
	n := len(c.Delete) + len(c.Add) + len(c.AddMeters) + len(c.SetMeters) + len(c.DeleteMeters)
	if c.MatchFragments {
		n++
	}
	return n
}

// Compare finds the changes from the flows that are there to the wished ones; both in canonical form. Flows that are the
// same, cookie included, are left alone and keep their counters.
func Compare(is, wished []Line) FlowChanges {
	var c FlowChanges
	have := map[string]Line{}
	for _, l := range is {
		have[l.Key()] = l
	}
	wish := map[string]Line{}
	for _, l := range wished {
		wish[l.Key()] = l
	}
	deleted := map[Cookie]bool{}
	for _, key := range slices.Sorted(maps.Keys(have)) {
		if _, ok := wish[key]; !ok {
			c.Delete = append(c.Delete, have[key])
			deleted[have[key].Cookie] = true
		}
	}
	for _, l := range wished {
		// OpenFlow's delete takes more specific flows with it. Cookies, which it also compares, keep ours apart; where
		// a stranger's flow has one of our cookies, the flow that may have gone with it is added again.
		if h, ok := have[l.Key()]; !ok || !h.same(l) || deleted[l.Cookie] {
			c.Add = append(c.Add, l)
		}
	}
	return c
}

// EachOnce is the lines without those that have the table, priority and match of one before them: rules that a user wrote
// differently can mean the same, and a table has such a flow once.
func EachOnce(lines []Line) []Line {
	seen := make(map[string]bool, len(lines))
	return slices.DeleteFunc(lines, func(l Line) bool {
		key := l.Key()
		twice := seen[key]
		seen[key] = true
		return twice
	})
}
