package capture

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"github.com/ovs-erspan/ovs-erspan/erspan"
	"github.com/ovs-erspan/ovs-erspan/probe"
)

// Probes come a few at a time; more than this is somebody who fakes them.
const (
	answersPerSecond = 100
	answersAtOnce    = 200
)

// Answerer tells the senders of probes (`ovs-erspan session verify`) that they have arrived: a small UDP packet to the
// address that the ERSPAN packet came from, at the port that the probe names, for probes only and at most
// answersPerSecond.
type Answerer struct {
	limit *rate.Limiter
	buf   []byte

	Answered uint64
	// Unanswered are probes that name no port, or were too many.
	Unanswered uint64
	// Failed are answers that could not be sent; Err is why the last one could not.
	Failed uint64
	Err    error
}

// NewAnswerer is an answerer that has answered nothing yet.
func NewAnswerer() *Answerer {
	return &Answerer{limit: rate.NewLimiter(answersPerSecond, answersAtOnce)}
}

// Write answers a record that is a probe.
func (a *Answerer) Write(r *Record) error {
	p, ok := probe.Recognize(r.Packet.Inner)
	switch {
	case r.Err != nil || !ok:
		return nil
	case p.Port < probe.FirstPort || !a.limit.Allow():
		a.Unanswered++
		return nil
	}
	h := &r.Packet.Header
	answer := probe.Answer{
		Run: p.Run, Tap: p.Tap, Sequence: p.Sequence, Received: r.Received, Collector: r.Packet.Outer.Dst,
		Version: uint8(h.Version), SessionID: h.SessionID, Index: h.Index, HardwareID: h.HardwareID, Direction: uint8(h.Direction),
		Length: uint16(min(r.Packet.InnerLen, 0xffff)),
	}
	if err := a.send(answer, r.Packet.Outer.Src, p.Port); err != nil {
		a.Failed++
		a.Err = fmt.Errorf("answer to %s: %w", netip.AddrPortFrom(r.Packet.Outer.Src, p.Port), err)
		return nil
	}
	a.Answered++
	return nil
}

// send sends an answer, from the collector's own address where that is this host's: firewalls and people expect it there.
func (a *Answerer) send(answer probe.Answer, to netip.Addr, port uint16) error {
	remote := net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, port))
	conn, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(answer.Collector, 0)), remote)
	if err != nil {
		conn, err = net.DialUDP("udp", nil, remote)
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	answer.Answered = time.Now()
	a.buf = answer.Append(a.buf[:0])
	_, err = conn.Write(a.buf)
	return err
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
