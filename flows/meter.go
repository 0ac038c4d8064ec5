package flows

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// Meter is an OpenFlow meter with one band that drops (OpenFlow 1.4.1 section 5.7). It counts what it drops.
type Meter struct {
	ID      uint32 // a session's slot
	Packets bool   // it counts packets; otherwise thousands of bits
	Rate    uint32 // packets, or thousands of bits, per second
	Burst   uint32 // packets, or thousands of bits, that may pass at once
}

// String is the meter as ovs-ofctl(8) reads it.
func (m Meter) String() string {
	unit := "kbps"
	if m.Packets {
		unit = "pktps"
	}
	return fmt.Sprintf("meter=%d,%s,burst,stats,bands=type=drop,rate=%d,burst_size=%d", m.ID, unit, m.Rate, m.Burst)
}

// MeterCount is what a meter has counted.
type MeterCount struct {
	ID  uint32
	In  Count // given to it
	Out Count // dropped by it
	Age time.Duration
}

// A burst is what comes in a tenth of a second, but never less than these. A frame that costs more than the burst would
// never pass: in the kernel datapath one that is still to be segmented has up to 64 kB, which are 525 thousand bits.
const (
	burstPart       = 10
	minBurstPackets = 10
	minBurstKilobit = 600
)

// meterOf is the meter that bounds a slot's rate.
func meterOf(slot uint32, rate session.Rate) Meter {
	m := Meter{ID: slot}
	if n, ok := rate.Packets(); ok {
		m.Packets, m.Rate = true, uint32(n)
		m.Burst = max(m.Rate/burstPart, minBurstPackets)
		return m
	}
	n, _ := rate.Bits()
	m.Rate = uint32(n / 1000)
	m.Burst = max(m.Rate/burstPart, minBurstKilobit)
	return m
}

// countingMeter is a meter whose rate does not matter, because nothing comes after it.
func countingMeter(slot uint32) Meter { return Meter{ID: slot, Packets: true, Rate: 1, Burst: 1} }

// limitFlow is a limited session's flow in table 25.
func limitFlow(slot uint32) Flow {
	return Flow{TableLimit, priorityNormal, NewCookie(StageLimit, slot), Match{Fields: []string{slotIs(slot)}},
		[]Action{Action(fmt.Sprintf("meter:%d", slot)), gotoTable(TableEncapsulate)}}
}

// cloneLimited is cloneInto for a session with a meter.
//
// A meter in a clone that Open vSwitch takes for reversible would be put into the datapath's actions without a clone, and
// then drop production's packet with the copy: resubmit counts as reversible, whatever the table holds
// (reversible_actions in ofproto/ofproto-dpif-xlate.c). An output that cuts does not, wherever it leads. This one leads to
// the port that the copy came from, to which nothing is ever sent, so that no action comes of it and nothing is logged
// (docs/adr/0010).
func cloneLimited(tapPort int, t Table, slot uint32) Action {
	return Action(fmt.Sprintf("clone(output(port=%d,max_len=14),%s,resubmit(,%d))", tapPort, setNumber(uint64(slot), slotRegister), int(t)))
}

// findMeter fails a session whose rate cannot be bounded without harm to production.
func (pl *planned) findMeter(in Input, datapath string) bool {
	harm := in.Unsafe[datapath]
	if pl.wish.MaxRate.IsZero() || harm == "" {
		return true
	}
	fail(pl.out, ReasonLimitUnsafe, fmt.Sprintf("maxRate %s: %s", pl.wish.MaxRate, harm))
	return false
}

// CompareMeters adds to the changes what separates the meters that are there from the wished ones.
func (c *FlowChanges) CompareMeters(is, wished []Meter) {
	have, wish := byID(is), byID(wished)
	for _, id := range slices.Sorted(maps.Keys(have)) {
		if _, ok := wish[id]; !ok {
			c.DeleteMeters = append(c.DeleteMeters, have[id])
		}
	}
	for _, id := range slices.Sorted(maps.Keys(wish)) {
		switch m, ok := have[id]; {
		case !ok:
			c.AddMeters = append(c.AddMeters, wish[id])
		case m != wish[id]:
			c.SetMeters = append(c.SetMeters, wish[id])
		}
	}
}

func byID(meters []Meter) map[uint32]Meter {
	m := map[uint32]Meter{}
	for _, x := range meters {
		m[x.ID] = x
	}
	return m
}

// MeterEntries are what meters count, as counters beside those of flows.
func MeterEntries(counts []MeterCount) []Entry {
	var entries []Entry
	for _, m := range counts {
		entries = append(entries,
			Entry{Line: Line{Cookie: NewCookie(StageMetered, m.ID)}, Packets: m.In.Packets, Bytes: m.In.Bytes, Age: m.Age},
			Entry{Line: Line{Cookie: NewCookie(StageLimited, m.ID)}, Packets: m.Out.Packets, Bytes: m.Out.Bytes, Age: m.Age})
	}
	return entries
}

// LimitedDatapaths are the datapath types on which sessions have a rate that meters have to bound, sorted.
func LimitedDatapaths(state State, sessions []session.Stored) []string {
	types := map[string]bool{}
	for _, s := range sessions {
		if b := state.Bridges[s.Bridge]; b != nil && !s.Stopped() && !s.MaxRate.IsZero() {
			types[b.NormalDatapathType()] = true
		}
	}
	return slices.SortedFunc(maps.Keys(types), cmp.Compare[string])
}
