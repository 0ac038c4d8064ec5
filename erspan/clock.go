package erspan

import "time"

// TimeKind says what a time that [Clock.Time] returned is worth.
type TimeKind uint8

// Kinds of time.
const (
	// TimeReceived is the receive time itself: the packet has no timestamp (Types I and II, unknown versions), or one
	// that keeps no pace with the receiver's clock.
	TimeReceived TimeKind = iota
	// TimeRelative is exact within one sender's stream, while the whole is shifted so that it fits the receive times:
	// the sender's clock counts from an epoch of its own.
	TimeRelative
	// TimeAbsolute is the sender's own wall-clock time.
	TimeAbsolute
)

// String is "received", "relative" or "absolute".
func (k TimeKind) String() string {
	switch k {
	case TimeAbsolute:
		return "absolute"
	case TimeRelative:
		return "relative"
	}
	return "received"
}

const (
	// unixTolerance is how near to the receive time a 32-bit timestamp must be to be taken for Unix time. For the
	// coarse unit, which wraps in 119 h, a foreign epoch is that near by chance in one of 10^5 cases.
	unixTolerance = 2 * time.Second
	// wideTolerance is the same for timestamps of 64 bits, where chance plays no role, but clocks may be wrong.
	wideTolerance = 24 * time.Hour
	// taiOffset is TAI - UTC since 2017-01-01 (IERS Bulletin C 52). IEEE 1588 counts TAI, many senders UTC all the same.
	taiOffset = 37 * time.Second
	// stepTolerance is how far a relative time may drift or jump from the receive time before it is fitted anew.
	stepTolerance = time.Second
	// maxSteps fits within stepWindow packets mean that the declared unit is wrong (a Cisco sender declares 100 µs
	// and counts 0.1 ns): the timestamps are then not used.
	maxSteps   = 8
	stepWindow = 64
)

// Clock turns the timestamps of one sender's stream into time. Timestamps of 32 bits wrap, after 119.3 h in units of
// 100 µs, 429.5 s in units of 100 ns, 4.29 s in nanoseconds; and only some senders count from 1970. Clock takes the
// wrap that is nearest the receive time, finds out whether the sender counts from 1970 as Linux and Open vSwitch do,
// and otherwise shifts the stream so that it fits the receive times.
//
// A stream that was once seen to count from 1970 is held to: when its clock is set, its times follow as it says. One
// Clock belongs to one (sender, session id, hardware id), whose engines may have clocks of their own. The zero value
// is ready for use; a Clock is not safe for concurrent use.
type Clock struct {
	unix bool // the stream was seen to count from 1970

	fitted   bool      // base and baseTick are set: the stream is fitted to the receive times
	base     time.Time // when the sender's counter stood at baseTick
	baseTick uint64

	window  uint8 // packets since the steps were last forgotten
	steps   uint8 // in this window
	useless bool  // too many steps in the window before
	stepped uint64
}

// Steps counts how often the stream was fitted anew because its time left the receive time behind.
func (c *Clock) Steps() uint64 { return c.stepped }

// Time is when the sender saw the frame, and how far that can be trusted. received is when the packet came in.
func (c *Clock) Time(p *Packet, received time.Time) (time.Time, TimeKind) {
	if p.Layout() != TypeIII || p.Header.Version != TypeIII {
		return received, TimeReceived
	}
	h := &p.Header
	if seconds, ok := h.seconds(); ok {
		return c.ieee1588(seconds, h.Timestamp, received)
	}
	unit, bits := h.unit()
	if unit == 0 {
		return received, TimeReceived
	}
	ticks := uint64(h.Timestamp)
	if bits == 64 {
		upper, _ := h.Subheader.UpperTimestamp()
		ticks |= uint64(upper) << 32
	}
	if t, ok := c.fromEpoch(ticks, unit, bits, received); ok {
		return t, TimeAbsolute
	}
	return c.fit(ticks, unit, bits, received)
}

// seconds is the seconds part of an IEEE 1588 time, where there is one: the header then holds the nanoseconds. With
// platform ids 5 and 6 that is so by definition, with those that hold an upper half only if the granularity says so.
func (h *Header) seconds() (uint32, bool) {
	if !h.HasSubheader || h.Timestamp >= uint32(time.Second) {
		return 0, false
	}
	if s, ok := h.Subheader.Seconds(); ok {
		return s, true
	}
	if h.Granularity == Gra1588 {
		return h.Subheader.UpperTimestamp()
	}
	return 0, false
}

// unit is the length of a tick and how many bits count them. A unit of 0 is a timestamp that cannot be used.
func (h *Header) unit() (unit time.Duration, bits int) {
	bits = 32
	if _, ok := h.Subheader.UpperTimestamp(); ok && h.HasSubheader {
		bits = 64
	}
	switch h.Granularity {
	case Gra100us:
		return 100 * time.Microsecond, bits
	case Gra100ns:
		return 100 * time.Nanosecond, bits
	case GraCustom:
		return time.Nanosecond, bits
	}
	return 0, bits // IEEE 1588 nanoseconds without their seconds: they wrap each second, or are no nanoseconds
}

// ieee1588 is the time of an IEEE 1588 timestamp with seconds.
func (c *Clock) ieee1588(seconds, nanoseconds uint32, received time.Time) (time.Time, TimeKind) {
	t := time.Unix(int64(seconds), int64(nanoseconds)).In(received.Location())
	if tai := t.Add(-taiOffset); tai.Sub(received).Abs() <= unixTolerance {
		t = tai
	}
	if c.unix || t.Sub(received).Abs() <= wideTolerance {
		c.unix = true
		return t, TimeAbsolute
	}
	return c.fit(uint64(seconds)*uint64(time.Second)+uint64(nanoseconds), time.Nanosecond, 64, received)
}

// fromEpoch is the time of a counter that started in 1970, if it did.
func (c *Clock) fromEpoch(ticks uint64, unit time.Duration, bits int, received time.Time) (time.Time, bool) {
	now, tolerance := unixTicks(received, unit), unixTolerance
	d := int64(ticks - now) // how many ticks the sender is ahead
	if bits == 32 {
		d = int64(int32(uint32(ticks) - uint32(now))) // the nearest wrap
		tolerance = min(tolerance, unit*(1<<32)/1024)
	} else {
		tolerance = wideTolerance
	}
	if limit := int64(tolerance / unit); d < -limit || d > limit {
		if !c.unix || bits == 64 { // a 64-bit counter that is days away is not one from 1970, whatever was before
			return time.Time{}, false
		}
	}
	if bits == 32 && unit < 100*time.Nanosecond { // wraps too fast for anything to be told from it
		return time.Time{}, false
	}
	c.unix = true
	whole := now + uint64(d)
	perSecond := uint64(time.Second / unit)
	return time.Unix(int64(whole/perSecond), int64(whole%perSecond)*int64(unit)).In(received.Location()), true
}

// unixTicks is t as a counter of units since 1970.
func unixTicks(t time.Time, unit time.Duration) uint64 {
	return uint64(t.Unix())*uint64(time.Second/unit) + uint64(t.Nanosecond())/uint64(unit)
}

// fit is the time of a counter with an epoch of its own, shifted to fit the receive times.
func (c *Clock) fit(ticks uint64, unit time.Duration, bits int, received time.Time) (time.Time, TimeKind) {
	if c.window++; c.window == stepWindow {
		c.useless = c.steps >= maxSteps
		c.window, c.steps = 0, 0
	}
	if c.fitted {
		elapsed := int64(received.Sub(c.base) / unit)
		d := int64(ticks - c.baseTick)
		if bits == 32 {
			d = elapsed + int64(int32(uint32(ticks)-uint32(c.baseTick)-uint32(elapsed))) // the nearest wrap
		}
		if diff, limit := d-elapsed, int64(stepTolerance/unit); diff >= -limit && diff <= limit {
			t := c.base.Add(time.Duration(d) * unit)
			c.base, c.baseTick = t, ticks // so that elapsed stays short, however long the stream runs
			if c.useless {
				return received, TimeReceived
			}
			return t, TimeRelative
		}
		c.stepped++
		c.steps++
		c.useless = c.useless || c.steps >= maxSteps
	}
	c.fitted, c.base, c.baseTick = true, received, ticks
	if c.useless {
		return received, TimeReceived
	}
	return received, TimeRelative
}
