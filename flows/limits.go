package flows

import (
	"fmt"
	"maps"
	"slices"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// What one packet may cost, over all taps that it can hit. Open vSwitch gives a packet 64 kB of datapath actions (about
// 700 truncated copies) and 4096 resubmits, and takes them from production's own pipeline: beyond, production loses
// everything. The bounds leave most of that to production.
const (
	MaxCopiesPerPacket    = 256
	MaxResubmitsPerPacket = 1024
	// MaxMirrors is what OVS allows on one bridge (ofproto/ofproto-dpif-mirror.h, MAX_MIRRORS).
	MaxMirrors = 32
)

// resubmitsPerTap: the way through tables 0 and 5.
const resubmitsPerTap = 2

// limits keeps count, while sessions are admitted one by one, of mirrors on each bridge and of what a packet can cost in
// each group of bridges that patch ports join.
type limits struct {
	group   map[string]string // production bridge -> its group's name
	foreign map[string]int    // mirrors on each bridge that are not ours
	taps    map[string]map[string]bool
	sums    map[string]*cost
}

// cost is what a packet can meet in one group of bridges: every tap that mirrors egress (a flooded packet leaves through
// all of them), and the ingress taps of the port it came through.
type cost struct {
	copies, resubmits int
	inCopies          map[string]int // by bridge/port
	inResubmits       map[string]int
	via               map[string]int // copies that leave through each underlay device
	names             []string
}

type refusal struct{ reason, text string }

func newLimits(state State) *limits {
	l := &limits{group: map[string]string{}, foreign: map[string]int{}, taps: map[string]map[string]bool{}, sums: map[string]*cost{}}
	peers := map[string]string{} // patch interface -> bridge
	for _, name := range slices.Sorted(maps.Keys(state.Bridges)) {
		l.group[name] = name
		for _, m := range state.Bridges[name].Mirrors {
			if !Ours(m.ExternalIDs) {
				l.foreign[name]++
			}
		}
		for _, p := range state.Bridges[name].Ports {
			for _, i := range p.Interfaces {
				if i.Type == "patch" && !Ours(p.ExternalIDs) {
					peers[i.Name] = name
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(state.Bridges)) {
		for _, p := range state.Bridges[name].Ports {
			for _, i := range p.Interfaces {
				if other, ok := peers[i.Options["peer"]]; ok && i.Type == "patch" && !Ours(p.ExternalIDs) {
					l.join(l.group[name], l.group[other])
				}
			}
		}
	}
	return l
}

func (l *limits) join(a, b string) {
	first := min(a, b)
	for bridge, g := range l.group {
		if g == a || g == b {
			l.group[bridge] = first
		}
	}
}

// admit counts the session in, or says why it does not fit and leaves everything as it was.
func (l *limits) admit(pl *planned) *refusal {
	bridge := pl.wish.Bridge
	var added []string
	for _, w := range pl.wishes {
		if key := w.key; !l.taps[bridge][key] {
			added = append(added, key)
		}
	}
	if have := l.foreign[bridge] + len(l.taps[bridge]); have+len(added) > MaxMirrors {
		return &refusal{ReasonMirrorSlots, fmt.Sprintf(
			"bridge %q has %d of %d mirrors in use (%d not ours); this session needs %d more and %d are left: give it the same sources, VLANs and direction as another session, or remove one",
			bridge, have, MaxMirrors, l.foreign[bridge], len(added), max(0, MaxMirrors-have))}
	}
	group := l.group[bridge]
	if l.taps[bridge] == nil {
		l.taps[bridge] = map[string]bool{}
	}
	for _, key := range added {
		l.taps[bridge][key] = true
	}
	if l.sums[group] == nil {
		l.sums[group] = &cost{inCopies: map[string]int{}, inResubmits: map[string]int{}, via: map[string]int{}}
	}
	sum := l.sums[group]
	sum.add(pl, added, 1)
	sum.names = append(sum.names, pl.wish.Name)
	if worst := l.worst(group, bridge, len(added) > 0); worst != nil {
		for _, key := range added {
			delete(l.taps[bridge], key)
		}
		sum.add(pl, added, -1)
		sum.names = sum.names[:len(sum.names)-1]
		return worst
	}
	return nil
}

// add counts a session's copies and resubmits into the group, or with times -1 out of it.
func (c *cost) add(pl *planned, newTaps []string, times int) {
	copies := times * pl.copies()
	for _, co := range pl.out.Collectors {
		if co.MaxLen > 0 {
			c.via[co.Path.Device] += times * len(pl.wishes)
		}
	}
	resubmits := 1
	if len(pl.wish.Match) > 0 {
		resubmits = 3 // into the filter, out of it, and room for what a rule costs
	}
	if pl.wish.Limited() {
		resubmits++
	}
	if !pl.wish.HostRate.IsZero() {
		resubmits += pl.copies() + 1
	}
	for _, w := range pl.wishes {
		r := resubmits
		if slices.Contains(newTaps, w.key) {
			r += resubmitsPerTap
		}
		r *= times
		if w.direction != session.Ingress {
			c.copies += copies
			c.resubmits += r
			continue
		}
		for _, port := range w.ports {
			c.inCopies[w.bridge+"/"+port] += copies
			c.inResubmits[w.bridge+"/"+port] += r
		}
	}
}

// worst finds a group in which a packet could cost more than is allowed, among those that a change of the group touches:
// itself, and where the bridge has got new taps, those whose copies leave through it.
func (l *limits) worst(group, bridge string, newTaps bool) *refusal {
	touched := []string{group}
	if newTaps {
		for name, c := range l.sums {
			if c.via[bridge] > 0 && name != group {
				touched = append(touched, name)
			}
		}
		slices.Sort(touched)
	}
	for _, name := range touched {
		c := l.sums[name]
		copies := c.copies + maxValue(c.inCopies)
		resubmits := c.resubmits + maxValue(c.inResubmits)
		// A copy that leaves through a bridge that is mirrored itself meets that bridge's taps and their guard.
		for device, n := range c.via {
			resubmits += min(n, copies) * len(l.taps[device]) * resubmitsPerTap
		}
		if copies > MaxCopiesPerPacket {
			return &refusal{ReasonPacketBudget, fmt.Sprintf(
				"one packet on bridge %q could be copied %d times, %d is the most that leaves production unharmed; sessions there: %s", name, copies, MaxCopiesPerPacket, someOf(c.names))}
		}
		if resubmits > MaxResubmitsPerPacket {
			return &refusal{ReasonPacketBudget, fmt.Sprintf(
				"one packet on bridge %q could cost %d resubmits, %d is the most that leaves production unharmed; sessions there: %s", name, resubmits, MaxResubmitsPerPacket, someOf(c.names))}
		}
	}
	return nil
}

func maxValue(m map[string]int) int {
	most := 0
	for _, n := range m {
		most = max(most, n)
	}
	return most
}

// someOf names the first few and counts the rest.
func someOf(names []string) string {
	const few = 8
	if len(names) <= few {
		return quoteList(names)
	}
	return fmt.Sprintf("%s and %d more", quoteList(names[:few]), len(names)-few)
}
