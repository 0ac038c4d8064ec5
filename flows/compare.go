package flows

import (
	"maps"
	"slices"
)

// FlowChanges is what one bundle has to do to a bridge: deletions first, then additions.
type FlowChanges struct {
	Delete []Line
	Add    []Line // new, or in place of a flow with the same table, priority and match
}

// Empty tells that the bridge's flows are exactly the wished ones.
func (c FlowChanges) Empty() bool { return len(c.Delete) == 0 && len(c.Add) == 0 }

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
