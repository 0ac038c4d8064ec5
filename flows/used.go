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
	var is Count
	var age time.Duration
	there := false
	var meters metering
	for _, e := range entries {
		if !e.Cookie.Ours() || e.Cookie.Slot() != s.Slot || meters.take(e) {
			continue
		}
		if stage := e.Cookie.Stage(); stage == StageSent && s.Type != session.Destination || stage == StageDelivered && s.Type == session.Destination {
			is, age, there = Count{e.Packets, e.Bytes}, e.Age, true
		}
	}
	if s.Type == session.Destination {
		is = is.without(meters.given) // frames that were too large: the flow counts them, too
	} else if s.Limited() && meters.age > 0 {
		is, _ = meters.result()
		age = min(age, meters.age)
	}
	used := s.Used
	switch last := time.Unix(0, used.At); {
	case !there: // it will begin at 0
		is = Count{}
	case used.At == 0: // what was counted before the first look is not the bound's
	case now.Add(-age).After(last.Add(usedSlack)), is.Packets < used.SeenPackets && s.Limited(): // a meter that is changed counts anew
		used.Packets, used.Bytes = used.Packets+is.Packets, used.Bytes+is.Bytes
	case is.Packets < used.SeenPackets: // a meter is ahead of its flow
		is = Count{used.SeenPackets, used.SeenBytes}
	default:
		used.Packets, used.Bytes = used.Packets+is.Packets-used.SeenPackets, used.Bytes+less(is.Bytes, used.SeenBytes)
	}
	used.Round, used.SeenPackets, used.SeenBytes, used.At = s.Round, is.Packets, is.Bytes, now.UnixNano()
	return used
}
