package flows

import (
	"time"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// usedSlack is how much younger than the last look a flow may seem and still be the one that was looked at: clocks are
// read at different moments.
const usedSlack = time.Second

// Use is what a bounded session has used up by now, by the counters of its tap bridge. Open vSwitch's counters begin anew
// when it does, or when the session's flow does: what was counted before is kept.
func Use(s session.Stored, entries []Entry, now time.Time) session.Used {
	var sent, metered, limited, delivered *Entry
	for i, e := range entries {
		if !e.Cookie.Ours() || e.Cookie.Slot() != s.Slot {
			continue
		}
		switch e.Cookie.Stage() {
		case StageSent:
			sent = &entries[i]
		case StageMetered:
			metered = &entries[i]
		case StageLimited:
			limited = &entries[i]
		case StageDelivered:
			delivered = &entries[i]
		}
	}
	var is Count
	var age time.Duration
	switch {
	case s.Type == session.Destination && delivered != nil:
		is, age = Count{delivered.Packets, delivered.Bytes}, delivered.Age
	case sent != nil && !s.MaxRate.IsZero() && metered != nil && limited != nil:
		is, age = Count{less(metered.Packets, limited.Packets), less(metered.Bytes, limited.Bytes)}, min(sent.Age, metered.Age)
	case sent != nil && s.Type != session.Destination:
		is, age = Count{sent.Packets, sent.Bytes}, sent.Age
	}
	used := s.Used
	switch last := time.Unix(0, used.At); {
	case used.At == 0: // what was counted before the first look is not the bound's
	case is.Packets < used.SeenPackets || now.Add(-age).After(last.Add(usedSlack)):
		used.Packets, used.Bytes = used.Packets+is.Packets, used.Bytes+is.Bytes
	default:
		used.Packets, used.Bytes = used.Packets+is.Packets-used.SeenPackets, used.Bytes+less(is.Bytes, used.SeenBytes)
	}
	used.Round, used.SeenPackets, used.SeenBytes, used.At = s.Round, is.Packets, is.Bytes, now.UnixNano()
	return used
}
