package capture

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/ovs-erspan/ovs-erspan/erspan"
	"github.com/ovs-erspan/ovs-erspan/probe"
)

// All senders together. Answers are as cheap as other packets; this keeps a flood of forged senders from taking the
// receiver's time. It is far more than one sender may have, so that such a flood does not silence the others.
const (
	answersPerSecond   = 10000
	answersInAllAtOnce = 1000
)

// Unanswered is why a probe was not answered.
type Unanswered string

// The reasons, in the order in which they are looked for.
const (
	NoPort           Unanswered = "without a port of 49152 or above to answer to"
	AddressesUnknown Unanswered = "this host's addresses cannot be read"
	NotToUs          Unanswered = "not sent to an address of this host"
	NoUnicast        Unanswered = "from a loopback, multicast, broadcast or reserved address"
	FromUs           Unanswered = "from an address of this host"
	SenderTooMany    Unanswered = "more than one sender is answered"
	TooMany          Unanswered = "more than all senders are answered"
	Failed           Unanswered = "the answer could not be sent"
)

// Answerer tells the senders of probes (`ovs-erspan session verify`) that they have arrived: a small UDP packet to the
// address that the ERSPAN packet came from, at the port that the probe names. It answers probes only that were sent to this
// host, and other hosts only, with limits for each and for all.
type Answerer struct {
	addresses func(time.Time) (addresses, error)
	senders   *senderLimits
	limit     *rate.Limiter
	buf       []byte

	Answered uint64
	// Unanswered are the probes that were not.
	Unanswered map[Unanswered]uint64
	// Err is why the last answer that failed could not be sent.
	Err error
}

// NewAnswerer is an answerer that has answered nothing yet.
func NewAnswerer() *Answerer { return newAnswerer(hostAddresses()) }

func newAnswerer(addresses func(time.Time) (addresses, error)) *Answerer {
	return &Answerer{addresses: addresses, senders: newSenderLimits(time.Now()), limit: rate.NewLimiter(answersPerSecond, answersInAllAtOnce), Unanswered: map[Unanswered]uint64{}}
}

// Write answers a record that is a probe.
func (a *Answerer) Write(r *Record) error {
	p, ok := probe.Recognize(r.Packet.Inner)
	if r.Err != nil || !ok {
		return nil
	}
	why := a.refuses(p, r.Packet.Outer.Src, r.Packet.Outer.Dst)
	if why == "" {
		why = a.answer(p, r)
	}
	if why != "" {
		a.Unanswered[why]++
		return nil
	}
	a.Answered++
	return nil
}

// refuses says why a probe is not to be answered, "" where it is. What costs nothing is asked first, and only what would be
// answered counts against a limit.
func (a *Answerer) refuses(p probe.Probe, from, to netip.Addr) Unanswered {
	if p.Port < probe.FirstPort {
		return NoPort
	}
	now := time.Now()
	known, err := a.addresses(now)
	switch {
	case err != nil:
		a.Err = err
		return AddressesUnknown
	case !known.own[to] || !known.unicast(to):
		return NotToUs
	case !known.unicast(from):
		return NoUnicast
	case known.own[from]:
		return FromUs
	case !a.senders.allow(from, now):
		return SenderTooMany
	case !a.limit.Allow():
		return TooMany
	}
	return ""
}

func (a *Answerer) answer(p probe.Probe, r *Record) Unanswered {
	h := &r.Packet.Header
	answer := probe.Answer{
		Run: p.Run, Tap: p.Tap, Sequence: p.Sequence, Received: r.Received, Collector: r.Packet.Outer.Dst,
		Version: uint8(h.Version), SessionID: h.SessionID, Index: h.Index, HardwareID: h.HardwareID, Direction: uint8(h.Direction),
		Length: uint16(min(r.Packet.InnerLen, 0xffff)),
	}
	if err := a.send(answer, r.Packet.Outer.Src, p.Port); err != nil {
		a.Err = fmt.Errorf("answer to %s: %w", netip.AddrPortFrom(r.Packet.Outer.Src, p.Port), err)
		return Failed
	}
	return ""
}

// send sends an answer from the address that the probe was sent to, and never as a broadcast: what a subnet's broadcast
// address is the kernel knows best.
func (a *Answerer) send(answer probe.Answer, to netip.Addr, port uint16) error {
	dialer := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(answer.Collector, 0)), Control: noBroadcast}
	conn, err := dialer.Dial("udp", netip.AddrPortFrom(to, port).String())
	if err != nil {
		return err
	}
	defer conn.Close()
	answer.Answered = time.Now()
	a.buf = answer.Append(a.buf[:0])
	_, err = conn.Write(a.buf)
	return err
}

// Summary is what was answered and what was not, with the reasons.
func (a *Answerer) Summary() string {
	total := uint64(0)
	var reasons []string
	for _, why := range slices.Sorted(maps.Keys(a.Unanswered)) {
		total += a.Unanswered[why]
		reasons = append(reasons, fmt.Sprintf("%d %s", a.Unanswered[why], why))
	}
	text := fmt.Sprintf("%d probes answered, %d not", a.Answered, total)
	if len(reasons) > 0 {
		text += ": " + strings.Join(reasons, "; ")
	}
	if a.Err != nil {
		text += fmt.Sprintf(" (%v)", a.Err)
	}
	return text
}

// Flush does nothing: answers are sent at once.
func (a *Answerer) Flush() error { return nil }

// appendProbe appends what a probe says of itself; it appends nothing for what is none.
func appendProbe(b []byte, p *erspan.Packet) ([]byte, bool) {
	found, ok := probe.Recognize(p.Inner)
	if !ok {
		return b, false
	}
	b = append(b, "ovs-erspan probe "...)
	b = fmt.Appendf(b, "%d", found.Sequence)
	if found.Session != "" {
		b = append(b, " of session "...)
		b = append(b, found.Session...)
	}
	return fmt.Appendf(b, ", tap %d, run %06x, length %d", found.Tap, found.Run, p.InnerLen), true
}
