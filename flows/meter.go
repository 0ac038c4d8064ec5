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
	ID      uint32
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
	Out Count // of it, dropped
	Age time.Duration
}

// A burst is what comes in a tenth of a second, but never less than these. A frame that costs more than the burst would
// never pass: in the kernel datapath one that is still to be segmented has up to 64 kB, which are 525 thousand bits.
const (
	burstPart       = 10
	minBurstPackets = 10
	minBurstKilobit = 600
)

// The numbers of meters. A session's first is its slot; its second and the host's come where no slot is (session slots are
// lowest-free numbers; a larger one fails, see findMeter).
const (
	passedMeters        = 0x40000000 // + slot
	hostMeter    uint32 = 0x80000000
)

// meterOf is the meter that bounds a rate; without one it only counts.
func meterOf(id uint32, rate session.Rate) Meter {
	m := Meter{ID: id}
	if rate.IsZero() {
		rate = session.PacketsPerSecond(session.MaxPacketRate)
	}
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

// sessionMeters are a limited session's. Which packets of a session the host's meter drops, that does not tell: it is the
// difference of what is given to the session's first meter and to its second.
func sessionMeters(s session.Stored) []Meter {
	meters := []Meter{meterOf(s.Slot, s.MaxRate)}
	if !s.HostRate.IsZero() {
		meters = append(meters, meterOf(passedMeters+s.Slot, session.Rate{}))
	}
	return meters
}

func meterAction(id uint32) Action { return Action(fmt.Sprintf("meter:%d", id)) }

// leftRegister holds how many of a session's copies the host's meter has still to count.
const leftRegister = "reg6"

// limitFlows are a limited session's flows in tables 25 and 27.
func limitFlows(s session.Stored, copies int) []Flow {
	own := []string{slotIs(s.Slot)}
	if s.HostRate.IsZero() {
		return []Flow{{TableLimit, priorityNormal, NewCookie(StageLimit, s.Slot), Match{Fields: own}, []Action{meterAction(s.Slot), gotoTable(TableEncapsulate)}}}
	}
	return []Flow{
		{TableLimit, priorityNormal, NewCookie(StageLimit, s.Slot), Match{Fields: own},
			[]Action{meterAction(s.Slot), setNumber(uint64(copies), leftRegister), gotoTable(TableHostLimit)}},
		{TablePassed, priorityNormal, NewCookie(StagePassed, s.Slot), Match{Fields: own}, []Action{meterAction(passedMeters + s.Slot), gotoTable(TableEncapsulate)}},
	}
}

// hostLimitFlows give a packet to the host's meter once for each copy that will be made of it.
func hostLimitFlows(most int) (all []Flow) {
	for left := most; left >= 1; left-- {
		actions := []Action{meterAction(hostMeter), gotoTable(TablePassed)}
		if left > 1 {
			actions = []Action{meterAction(hostMeter), setNumber(uint64(left-1), leftRegister), Action(fmt.Sprintf("resubmit(,%d)", int(TableHostLimit)))}
		}
		all = append(all, Flow{TableHostLimit, priorityNormal, NewCookie(StageHostLimit, uint32(left)), Match{Fields: []string{leftRegister + "=" + hexNumber(uint64(left))}}, actions})
	}
	return all
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
	if !pl.wish.Limited() {
		return true
	}
	harm := in.Unsafe[datapath]
	if pl.wish.Slot >= passedMeters {
		harm = fmt.Sprintf("the session's slot, %d, is no meter's number: remove the session and add it again", pl.wish.Slot)
	}
	if harm == "" {
		return true
	}
	rate := fmt.Sprintf("maxRate %s", pl.wish.MaxRate)
	if pl.wish.MaxRate.IsZero() {
		rate = fmt.Sprintf("the host's maxRate %s", pl.wish.HostRate)
	}
	fail(pl.out, ReasonLimitUnsafe, rate+": "+harm)
	return false
}

// buildMeters makes the meters of a tap bridge. The host's rate is shared by those that have source sessions.
func (tb *TapBridge) buildMeters(sessions []*planned, share int) {
	hosts := false // its meter is there
	for _, pl := range sessions {
		if pl.out.Measured = pl.measures(tb.DatapathType); pl.out.Measured {
			tb.Meters = append(tb.Meters, countingMeter(pl.wish.Slot))
		}
		if pl.out.Limited = pl.output == nil && pl.wish.Limited(); !pl.out.Limited {
			continue
		}
		pl.out.HostLimited = !pl.wish.HostRate.IsZero()
		tb.Meters = append(tb.Meters, sessionMeters(*pl.wish)...)
		if pl.out.HostLimited && !hosts {
			hosts = true
			tb.Meters = append(tb.Meters, meterOf(hostMeter, pl.wish.HostRate.Divided(share)))
		}
	}
	slices.SortFunc(tb.Meters, func(a, b Meter) int { return cmp.Compare(a.ID, b.ID) })
}

// copies is how many copies are made of a packet of the session, for one of its taps.
func (pl *planned) copies() (n int) {
	for _, co := range pl.out.Collectors {
		if co.MaxLen > 0 {
			n++
		}
	}
	return n
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
		add := func(stage Stage, slot uint32, c Count) {
			entries = append(entries, Entry{Line: Line{Cookie: NewCookie(stage, slot)}, Packets: c.Packets, Bytes: c.Bytes, Age: m.Age})
		}
		switch {
		case m.ID == hostMeter:
			add(StageHostMetered, 0, m.In)
			add(StageHostLimited, 0, m.Out)
		case m.ID >= passedMeters:
			add(StagePassedHost, m.ID-passedMeters, m.In)
		default:
			add(StageMetered, m.ID, m.In)
			add(StageLimited, m.ID, m.Out)
		}
	}
	return entries
}

// HostCount is what the host's meter of a tap bridge was given, in copies, and what of it it dropped.
func HostCount(entries []Entry) (given, dropped Count) {
	for _, e := range entries {
		switch e.Cookie {
		case NewCookie(StageHostMetered, 0):
			given.add(e)
		case NewCookie(StageHostLimited, 0):
			dropped.add(e)
		}
	}
	return given, dropped
}

// metering is what the meters of one session have counted.
type metering struct {
	given, dropped, passed Count
	beyond                 bool // there is a meter behind the host's
	age                    time.Duration
}

// take notes a counter of the session's, if it is a meter's.
func (m *metering) take(e Entry) bool {
	switch e.Cookie.Stage() {
	case StageMetered:
		m.given.add(e)
		m.age = e.Age
	case StageLimited:
		m.dropped.add(e)
	case StagePassedHost:
		m.passed.add(e)
		m.beyond = true
	default:
		return false
	}
	return true
}

// sent is what passed all meters, and limited what did not.
func (m metering) result() (sent, limited Count) {
	sent = Count{less(m.given.Packets, m.dropped.Packets), less(m.given.Bytes, m.dropped.Bytes)}
	if m.beyond {
		sent = m.passed
	}
	return sent, Count{less(m.given.Packets, sent.Packets), less(m.given.Bytes, sent.Bytes)}
}

// LimitedDatapaths are the datapath types on which sessions have a rate that meters have to bound, sorted.
func LimitedDatapaths(state State, sessions []session.Stored) []string {
	types := map[string]bool{}
	for _, s := range sessions {
		if b := state.Bridges[s.Bridge]; b != nil && !s.Stopped() && s.Limited() {
			types[b.NormalDatapathType()] = true
		}
	}
	return slices.SortedFunc(maps.Keys(types), cmp.Compare[string])
}
