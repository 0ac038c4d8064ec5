package trace

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/probe"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// Verdict is what probes have proven.
type Verdict string

// The verdicts.
const (
	// Arrived: every probe was seen to leave with the right header, and to arrive at every collector.
	Arrived Verdict = "arrived"
	// Left: every probe was seen to leave with the right header; at one collector at least nobody answers probes.
	Left Verdict = "left"
	// Filtered: the session's rules drop the probe, so that nothing is proven.
	Filtered Verdict = "filtered"
	// Lost: a probe did not leave, not with the right header, or did not arrive where others did.
	Lost Verdict = "lost"
	// Traced: a frame would be delivered; none was sent. Delivered: one was sent, and counted on its way to the port. Both are
	// of destination sessions.
	Traced    Verdict = "traced"
	Delivered Verdict = "delivered"
	// NotInForce: nothing of the session is programmed.
	NotInForce Verdict = "not-in-force"
)

// Proof is what `session verify` found out.
type Proof struct {
	Session string        `json:"session"`
	Type    session.Type  `json:"type"`
	State   session.State `json:"state"`
	Reason  string        `json:"reason,omitempty"`
	Message string        `json:"message,omitempty"`
	Verdict Verdict       `json:"verdict"`
	// Run is the number in the probes' addresses, Packet the fields that they were made of ("" for a plain probe), and Frame
	// how Open vSwitch reads them.
	Run    string     `json:"run,omitempty"`
	Packet string     `json:"packet,omitempty"`
	Frame  string     `json:"frame,omitempty"`
	Length int        `json:"length,omitempty"` // of the frame, in bytes
	Taps   []TapProof `json:"taps"`
	// NoAnswers is why answers could not be waited for; "" where they were.
	NoAnswers string `json:"noAnswers,omitempty"`
}

// TapProof is what became of the probes that were put in at one tap.
type TapProof struct {
	Copy
	Ports []string `json:"ports"` // the sources that the tap mirrors
	// AlsoSends are other sessions on the tap, which have sent the probes to their collectors too.
	AlsoSends []string   `json:"alsoSends,omitempty"`
	Sent      int        `json:"sent"` // probes
	Counted   []Counted  `json:"counted,omitempty"`
	Arrivals  []Arrivals `json:"arrivals,omitempty"`
}

// Counted is what the flow of a stage has counted while probes were sent.
type Counted struct {
	Stage   string `json:"stage"`
	Packets uint64 `json:"packets"`
	// Exact tells that it is as many as were sent, and so the probes; more are those and production's.
	Exact bool `json:"exact"`
}

// Arrivals are the probes that a receiver has answered for.
type Arrivals struct {
	Collector string `json:"collector"`
	Arrived   int    `json:"arrived"`
	Wrong     string `json:"wrong,omitempty"` // what of a header that arrived is not as wished
	// Round is the time to the collector and back, without that within the receiver; nil where nothing was answered.
	Round *Round `json:"roundTrip,omitempty"`
}

// Round is round-trip times.
type Round struct {
	Min time.Duration `json:"minNanoseconds"`
	Avg time.Duration `json:"avgNanoseconds"`
	Max time.Duration `json:"maxNanoseconds"`
}

// NewRound sums up times; nil where there are none.
func NewRound(times []time.Duration) *Round {
	if len(times) == 0 {
		return nil
	}
	sum := time.Duration(0)
	for _, t := range times {
		sum += t
	}
	return &Round{slices.Min(times), sum / time.Duration(len(times)), slices.Max(times)}
}

// Count compares the counters of the flows that a copy meets, before and after probes were sent.
func (t *TapProof) Count(before, after []flows.Entry) {
	packets := func(list []flows.Entry, cookie flows.Cookie) (n uint64) {
		for _, e := range list {
			if e.Cookie == cookie {
				n += e.Packets
			}
		}
		return n
	}
	for _, m := range t.Met {
		c := Counted{Stage: m.Stage}
		if a, b := packets(after, m.Cookie), packets(before, m.Cookie); a > b {
			c.Packets = a - b
		}
		c.Exact = c.Packets == uint64(t.Sent)
		t.Counted = append(t.Counted, c)
	}
}

// Judge is the verdict over all taps.
func (p *Proof) Judge() {
	p.Verdict = p.judge()
}

func (p *Proof) judge() Verdict {
	if len(p.Taps) == 0 {
		return NotInForce
	}
	if t := p.Taps[0]; p.Type == session.Destination && t.Reaches() && t.Sent == 0 {
		return Traced
	}
	verdict := Arrived
	if p.Type == session.Destination {
		verdict = Delivered
	}
	for _, t := range p.Taps {
		if t.LostAt == "filter" {
			return Filtered
		}
		if !t.Reaches() || t.Sent == 0 || slices.ContainsFunc(t.Counted, func(c Counted) bool { return c.Packets < uint64(t.Sent) }) {
			return Lost
		}
	}
	for _, t := range p.Taps {
		for _, s := range t.Sends {
			i := slices.IndexFunc(t.Arrivals, func(a Arrivals) bool { return a.Collector == s.Collector })
			switch {
			case i < 0 || t.Arrivals[i].Arrived == 0 && !p.answers(s.Collector):
				verdict = Left
			case t.Arrivals[i].Arrived < t.Sent || t.Arrivals[i].Wrong != "":
				return Lost
			}
		}
	}
	return verdict
}

// answers tells whether anybody has answered for a collector, at any tap.
func (p *Proof) answers(collector string) bool {
	return slices.ContainsFunc(p.Taps, func(t TapProof) bool {
		return slices.ContainsFunc(t.Arrivals, func(a Arrivals) bool { return a.Collector == collector && a.Arrived > 0 })
	})
}

// Text is the proof for people.
func (p Proof) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "session %s: %s", p.Session, p.State)
	if p.Reason != "" {
		fmt.Fprintf(&b, ", %s", p.Reason)
	}
	b.WriteString("\n")
	if p.Message != "" {
		fmt.Fprintf(&b, "  %s\n", p.Message)
	}
	if p.Frame != "" {
		fmt.Fprintf(&b, "\nthe probe (run %s, %d bytes): %s\n", p.Run, p.Length, p.Frame)
	}
	for _, t := range p.Taps {
		p.writeTap(&b, t)
	}
	b.WriteString("\n" + p.conclusion() + "\n")
	return b.String()
}

func (p Proof) writeTap(b *strings.Builder, t TapProof) {
	if t.Tap == "" {
		b.WriteString("\nin from the tunnel, with the session's header:\n")
	} else {
		fmt.Fprintf(b, "\ninto %s, as a copy of what passes %s", t.Tap, strings.Join(t.Ports, ","))
		if t.Direction != "" {
			fmt.Fprintf(b, " (%s)", t.Direction)
		}
		b.WriteString(":\n")
	}
	if len(t.Counted) == 0 && t.Tap == "" {
		for _, step := range t.Steps {
			fmt.Fprintf(b, "    %s\n", step)
		}
	}
	if len(t.AlsoSends) > 0 {
		fmt.Fprintf(b, "    sessions on the same tap send it too: %s\n", strings.Join(t.AlsoSends, ", "))
	}
	mark := map[bool]string{true: "✓", false: "✗"}
	for _, c := range t.Counted {
		text := fmt.Sprintf("%d of %d", min(c.Packets, uint64(t.Sent)), t.Sent)
		if c.Packets > uint64(t.Sent) {
			text += fmt.Sprintf(" (%d were counted, production's with them)", c.Packets)
		}
		if c.Stage == "filter" {
			text += ": " + t.Filter
		}
		fmt.Fprintf(b, "  %s %-12s %s\n", mark[c.Packets >= uint64(t.Sent)], c.Stage, text)
	}
	if t.Tap != "" && t.LostAt != "" && (t.LostAt != "tunnel" || len(t.Sends) == 0) {
		fmt.Fprintf(b, "  ✗ %-12s %s\n", t.LostAt, t.Lost)
	}
	for _, s := range t.Sends {
		if s.Header == nil {
			fmt.Fprintf(b, "  ✗ to %s: %s\n", s.Collector, s.Lost)
			continue
		}
		fmt.Fprintf(b, "  %s to %s: leaves as %s", mark[s.Wrong == ""], s.Collector, s.Header)
		if s.Wrong != "" {
			fmt.Fprintf(b, ": %s", s.Wrong)
		}
		b.WriteString("\n")
		p.writeArrivals(b, t, s)
	}
}

func (p Proof) writeArrivals(b *strings.Builder, t TapProof, s Send) {
	i := slices.IndexFunc(t.Arrivals, func(a Arrivals) bool { return a.Collector == s.Collector })
	switch {
	case t.Sent == 0:
	case i < 0 || t.Arrivals[i].Arrived == 0 && !p.answers(s.Collector):
		fmt.Fprintf(b, "  ? at %s: nobody answers\n", s.Collector)
	default:
		a := t.Arrivals[i]
		mark := "✓"
		if a.Arrived < t.Sent || a.Wrong != "" {
			mark = "✗"
		}
		fmt.Fprintf(b, "  %s at %s: %d of %d arrived", mark, s.Collector, a.Arrived, t.Sent)
		if a.Round != nil {
			fmt.Fprintf(b, ", round trip %s (%s to %s)", a.Round.Avg.Round(time.Microsecond), a.Round.Min.Round(time.Microsecond), a.Round.Max.Round(time.Microsecond))
		}
		if a.Wrong != "" {
			fmt.Fprintf(b, "; the header that arrived is wrong: %s", a.Wrong)
		}
		b.WriteString("\n")
	}
}

func (p Proof) conclusion() string {
	switch p.Verdict {
	case Arrived:
		return "proven: probes leave with the right header and arrive at every collector"
	case Left:
		text := "proven: probes leave with the right header; that they arrive is not, because nobody answers"
		if p.NoAnswers != "" {
			text = "proven: probes leave with the right header; answers could not be waited for: " + p.NoAnswers
		}
		return text + "\n" + p.look()
	case Traced:
		return "Open vSwitch would deliver a frame with the session's header; nothing was sent (--deliver sends one out through the output port)"
	case Delivered:
		return "proven: frames with the session's header are delivered"
	case Filtered:
		return "not proven: the session's rules drop the probe, as they are meant to; name a packet that they permit with --packet"
	case NotInForce:
		return "not proven: nothing of the session is programmed"
	}
	return "not proven: see where the probes are lost"
}

// look is what shows probes at a collector where nobody answers them.
func (p Proof) look() string {
	var filters []string
	for _, t := range p.Taps {
		for _, s := range t.Sends {
			if s.Header == nil || p.answers(s.Collector) {
				continue
			}
			// From the IP header on: IPv4 without options or IPv6, GRE with a sequence number, ERSPAN.
			at, protocol := 20+8+8, "ip"
			if s.Header.Destination.Is6() {
				at, protocol = 40+8+8, "ip6"
			}
			if s.Header.Version == 2 {
				at += 4
			}
			filter := fmt.Sprintf("%s[%d:4] & 0xffffff00 = %#08x", protocol, at, probe.Mark<<8)
			if !slices.Contains(filters, filter) {
				filters = append(filters, filter)
			}
		}
	}
	text := "at the collector, this answers and shows them (then verify again):  ovs-erspan capture --answer-probes"
	for _, f := range filters {
		text += fmt.Sprintf("\nor this shows them:  tcpdump -n -i any '%s'", f)
	}
	return text
}
