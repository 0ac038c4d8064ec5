package capture

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/ovs-erspan/ovs-erspan/erspan"
)

// Bounds of what is remembered. One stream takes about 1 kB.
const (
	maxStreams = 16384 // (sender, session) pairs
	maxSenders = 4096
	maxClocks  = 64 // of a stream: one per hardware id, a field of 6 bits
)

// StreamKey names a stream: what one sender sends under one session id. Type I has no session ids; all of a sender's
// Type I is one stream.
type StreamKey struct {
	Sender    netip.Addr `json:"sender"`
	SessionID uint16     `json:"sessionID"`
	Typed     bool       `json:"-"` // the header has a session id
}

// StreamStats is what is known of a stream.
type StreamStats struct {
	StreamKey
	Version erspan.Version `json:"version"` // of the packet seen last
	Packets uint64         `json:"packets"`
	Bytes   uint64         `json:"bytes"` // of inner frames, as they were on the wire
	First   time.Time      `json:"first"`
	Last    time.Time      `json:"last"`
	Errors  uint64         `json:"errors"` // packets that could not be decoded whole
	// ClockSteps counts how often the sender's clock jumped.
	ClockSteps uint64        `json:"clockSteps"`
	Sequence   SequenceStats `json:"sequence"`
}

// SequenceStats is what the GRE sequence numbers of a stream tell.
//
// A gap need not be a loss: Open vSwitch counts all that a datapath sends with one counter, whichever session it
// belongs to and whichever collector it goes to.
type SequenceStats struct {
	Numbered   uint64 `json:"numbered"`   // packets with a sequence number
	Gaps       uint64 `json:"gaps"`       // places where numbers are missing
	Missing    uint64 `json:"missing"`    // numbers that are missing; one that came late is no longer missing
	Reordered  uint64 `json:"reordered"`  // packets that came late
	Duplicates uint64 `json:"duplicates"` // numbers that came again
	Restarts   uint64 `json:"restarts"`   // times the count began anew
	// Constant says that all packets carry the same number: the sender does not count.
	Constant bool `json:"constant"`
}

// Verdict is what a stream's missing numbers mean.
type Verdict string

// Verdicts.
const (
	VerdictNone      Verdict = "none"      // no sequence numbers, or the sender does not count
	VerdictComplete  Verdict = "complete"  // nothing is missing
	VerdictShared    Verdict = "shared"    // the numbers went to the sender's other sessions: nothing is lost
	VerdictLost      Verdict = "lost"      // the sender's packets all come here (Options.SendersComplete), so it is loss
	VerdictUncertain Verdict = "uncertain" // lost on the way, or sent to other collectors
)

// sequenceWindow is how many numbers back a late packet is told from one that came twice.
const sequenceWindow = 1024

// maxGap is the largest jump that is taken for a gap; a larger one is a count that began anew.
const maxGap = 1 << 20

// sequence follows the sequence numbers of a sender or a stream.
type sequence struct {
	SequenceStats
	started bool
	first   uint32
	last    uint32                      // the highest number so far
	seen    [sequenceWindow / 64]uint64 // numbers up to last, by number modulo the window
}

// add notes a packet's number.
func (s *sequence) add(n uint32) {
	s.Numbered++
	if !s.started {
		s.started, s.first, s.last, s.Constant = true, n, n, false
		s.mark(n)
		return
	}
	s.Constant = n == s.first && (s.Constant || s.Numbered == 2)
	switch d := int32(n - s.last); {
	case d > 0 && d <= maxGap:
		for i := range uint32(min(d, sequenceWindow)) {
			s.unmark(n - i)
		}
		s.mark(n)
		s.last = n
		if d > 1 {
			s.Gaps++
			s.Missing += uint64(d - 1)
		}
	case d <= 0 && d > -sequenceWindow:
		if s.marked(n) {
			s.Duplicates++
			return
		}
		s.mark(n)
		s.Reordered++
		if s.Missing > 0 {
			s.Missing--
		}
	default:
		s.Restarts++
		s.last = n
		clear(s.seen[:])
		s.mark(n)
	}
}

func (s *sequence) mark(n uint32)   { s.seen[n%sequenceWindow/64] |= 1 << (n % 64) }
func (s *sequence) unmark(n uint32) { s.seen[n%sequenceWindow/64] &^= 1 << (n % 64) }
func (s *sequence) marked(n uint32) bool {
	return s.seen[n%sequenceWindow/64]&(1<<(n%64)) != 0
}

// stream is a stream's state.
type stream struct {
	stats    StreamStats
	sequence sequence
	clocks   []streamClock
	output   [3]int32 // interface of an output file by direction: unknown, ingress, egress; 0 is none yet
	file     uint64   // the file that output belongs to
	comments [3]comment
}

// streamClock is the clock of one of the sender's engines.
type streamClock struct {
	hardwareID uint8
	clock      erspan.Clock
}

// clock is the clock of an engine.
func (s *stream) clock(hardwareID uint8) *erspan.Clock {
	for i := range s.clocks {
		if s.clocks[i].hardwareID == hardwareID {
			return &s.clocks[i].clock
		}
	}
	s.clocks = append(s.clocks, streamClock{hardwareID: hardwareID})
	return &s.clocks[len(s.clocks)-1].clock
}

// Stats is all that a decoder counted.
type Stats struct {
	Frames     uint64        `json:"frames"`  // that came in
	ERSPAN     uint64        `json:"erspan"`  // of which carried ERSPAN, whole or broken
	Foreign    uint64        `json:"foreign"` // of which carried something else
	Filtered   uint64        `json:"filtered"`
	Errors     uint64        `json:"errors"` // ERSPAN that could not be decoded whole
	Fragments  FragmentStats `json:"fragments"`
	Incomplete int           `json:"incomplete"` // outer packets whose fragments have not all come
	Evicted    uint64        `json:"evicted"`    // streams forgotten because there were too many
	Streams    []StreamStats `json:"streams"`    // sorted
	verdicts   []Verdict
}

// Verdict is what the missing numbers of Streams[i] mean.
func (s *Stats) Verdict(i int) Verdict { return s.verdicts[i] }

// Stats is a snapshot of what was counted so far.
func (d *Decoder) Stats() Stats {
	s := d.stats
	s.Fragments, s.Incomplete = d.fragments.stats, d.fragments.pending()
	s.Evicted = d.streams.evicted
	d.streams.all(func(_ StreamKey, v *stream) {
		st := v.stats
		st.Sequence = v.sequence.SequenceStats
		for i := range v.clocks {
			st.ClockSteps += v.clocks[i].clock.Steps()
		}
		s.Streams = append(s.Streams, st)
	})
	slices.SortFunc(s.Streams, func(a, b StreamStats) int {
		return cmp.Or(a.Sender.Compare(b.Sender), cmp.Compare(a.SessionID, b.SessionID))
	})
	for i := range s.Streams {
		s.verdicts = append(s.verdicts, d.verdict(&s.Streams[i]))
	}
	return s
}

// verdict judges a stream's missing numbers by what the sender sent in all.
func (d *Decoder) verdict(st *StreamStats) Verdict {
	q := &st.Sequence
	switch {
	case q.Numbered == 0 || q.Constant:
		return VerdictNone
	case q.Missing == 0:
		return VerdictComplete
	}
	if e, ok := d.senders.entries[st.Sender]; ok && e.value.Missing == 0 && e.value.Restarts == 0 {
		return VerdictShared
	}
	if d.options.SendersComplete {
		return VerdictLost
	}
	return VerdictUncertain
}

// Write prints the statistics for people.
func (s *Stats) Write(w io.Writer) {
	fmt.Fprintf(w, "%d frames, %d ERSPAN", s.Frames, s.ERSPAN)
	for _, c := range []struct {
		n    uint64
		text string
	}{
		{s.Errors, "broken"}, {s.Filtered, "not asked for"}, {s.Foreign, "not ERSPAN"},
		{s.Fragments.Fragments, "outer fragments"}, {s.Fragments.Reassembled, "made whole of them"},
		{s.Fragments.Abandoned + uint64(s.Incomplete), "not to be made whole"}, {s.Evicted, "streams forgotten: too many"},
	} {
		if c.n > 0 {
			fmt.Fprintf(w, ", %d %s", c.n, c.text)
		}
	}
	fmt.Fprintln(w)
	if len(s.Streams) == 0 {
		return
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "SENDER\tSESSION\tVERSION\tPACKETS\tBYTES\tFIRST\tLAST\tSEQUENCE")
	for i := range s.Streams {
		st := &s.Streams[i]
		session, version := "-", st.Version.String()
		if st.Typed {
			session = fmt.Sprint(st.SessionID)
			if st.Version == erspan.TypeI { // which has no session ids
				version = "0 (unknown)"
			}
		}
		fmt.Fprintf(t, "%v\t%s\t%s\t%d\t%d\t%s\t%s\t%s\n", st.Sender, session, version, st.Packets, st.Bytes,
			st.First.Format("15:04:05.000"), st.Last.Format("15:04:05.000"), st.Sequence.text(s.verdicts[i]))
	}
	t.Flush()
}

// text is the sequence column: what is missing, and what that means.
func (q *SequenceStats) text(v Verdict) string {
	var s string
	switch v {
	case VerdictNone:
		if q.Constant {
			return "always the same number"
		}
		return "none"
	case VerdictComplete:
		s = "complete"
	case VerdictShared:
		s = "complete (numbers shared with the sender's other sessions)"
	case VerdictLost:
		s = fmt.Sprintf("%d lost in %d gaps", q.Missing, q.Gaps)
	case VerdictUncertain:
		s = fmt.Sprintf("%d missing in %d gaps (lost, or sent elsewhere: the sender may share one count)", q.Missing, q.Gaps)
	}
	for _, c := range []struct {
		n    uint64
		text string
	}{{q.Reordered, "late"}, {q.Duplicates, "twice"}, {q.Restarts, "restarts"}} {
		if c.n > 0 {
			s += fmt.Sprintf(", %d %s", c.n, c.text)
		}
	}
	return s
}
