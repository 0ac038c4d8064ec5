package flows

import (
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// TestUse: what is used up carries on over flows that are added anew, restarts of Open vSwitch and changed meters, and
// begins with the first look.
func TestUse(t *testing.T) {
	start := time.Unix(1_900_000_000, 0)
	sent := func(packets uint64, age time.Duration) []Entry {
		return []Entry{{Line: Line{Cookie: NewCookie(StageSent, 1)}, Packets: packets, Bytes: 10 * packets, Age: age}}
	}
	delivered := func(packets uint64, age time.Duration) []Entry {
		return []Entry{{Line: Line{Cookie: NewCookie(StageDelivered, 1)}, Packets: packets, Bytes: 10 * packets, Age: age}}
	}
	metered := func(in, dropped, flow uint64, age time.Duration) []Entry {
		return append(sent(flow, age), MeterEntries([]MeterCount{{ID: 1, In: Count{in, 10 * in}, Out: Count{dropped, 10 * dropped}, Age: age}})...)
	}
	type step struct {
		after   time.Duration // the one before
		entries []Entry
		want    uint64
	}
	second := time.Second
	for name, c := range map[string]struct {
		change func(*session.Session)
		steps  []step
	}{
		"from the first look on":       {nil, []step{{0, sent(100, time.Hour), 0}, {second, sent(130, time.Hour), 30}, {second, sent(130, time.Hour), 30}}},
		"from the flow's beginning":    {nil, []step{{0, nil, 0}, {second, sent(5, second), 5}, {30 * second, sent(9, 31*second), 9}}},
		"the flow goes and comes back": {nil, []step{{0, nil, 0}, {second, sent(7, second), 7}, {second, nil, 7}, {second, sent(2, second/2), 9}}},
		"restarted, fewer by now":      {nil, []step{{0, nil, 0}, {9 * second, sent(70, 9*second), 70}, {9 * second, sent(3, 5*second), 73}}},
		"restarted, more by now":       {nil, []step{{0, nil, 0}, {9 * second, sent(70, 9*second), 70}, {9 * second, sent(80, 5*second), 150}}},
		"only what passes the meter": {func(s *session.Session) { s.MaxRate = session.PacketsPerSecond(1) },
			[]step{{0, nil, 0}, {second, metered(50, 40, 50, second), 10}, {second, metered(60, 45, 60, 2*second), 15}, {second, metered(9, 5, 69, 3*second), 19}}},
		"another's flow": {nil, []step{{0, nil, 0}, {second, []Entry{{Line: Line{Cookie: NewCookie(StageSent, 2)}, Packets: 9, Age: second}, {Line: Line{Cookie: 1}, Packets: 9}}, 0}}},
		"delivered, but for what is too large": {func(s *session.Session) { s.Type = session.Destination },
			[]step{{0, nil, 0}, {second, append(delivered(10, second), MeterEntries([]MeterCount{{ID: 1, In: Count{3, 30}}})...), 7},
				{second, append(delivered(10, 2*second), MeterEntries([]MeterCount{{ID: 1, In: Count{5, 50}}})...), 7},
				{second, append(delivered(12, 3*second), MeterEntries([]MeterCount{{ID: 1, In: Count{5, 50}}})...), 7},
				{second, append(delivered(14, 4*second), MeterEntries([]MeterCount{{ID: 1, In: Count{5, 50}}})...), 9}}},
		"delivered": {func(s *session.Session) { s.Type = session.Destination },
			[]step{{0, nil, 0}, {second, []Entry{{Line: Line{Cookie: NewCookie(StageDelivered, 1)}, Packets: 4, Bytes: 40, Age: second}, {Line: Line{Cookie: NewCookie(StageTerminated, 1)}, Packets: 9, Age: second}}, 4}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := stored(1, "few", c.change)
			s.Round, s.MaxPackets = 3, 1000
			now := start
			for i, step := range c.steps {
				now = now.Add(step.after)
				s.Used = Use(s, step.entries, now)
				if s.Used.Packets != step.want || s.Used.Bytes != 10*step.want || s.Used.Round != 3 {
					t.Errorf("step %d: %+v, want %d packets", i, s.Used, step.want)
				}
			}
		})
	}
}

// TestLimitReached: a session that has reached a bound is Disabled, with the reason, and nothing is programmed for it.
func TestLimitReached(t *testing.T) {
	for name, c := range map[string]struct {
		packets, bytes session.Amount
		used           session.Used
		reason         string
	}{
		"below":   {10, 1000, session.Used{Packets: 9, Bytes: 999}, ReasonInForce},
		"packets": {10, 1000, session.Used{Packets: 10, Bytes: 999}, ReasonLimitReached},
		"bytes":   {10, 1000, session.Used{Packets: 9, Bytes: 1000}, ReasonLimitReached},
		"none":    {0, 0, session.Used{Packets: 9, Bytes: 1000}, ReasonInForce},
	} {
		s := stored(1, "few", func(s *session.Session) { s.MaxPackets, s.MaxBytes = c.packets, c.bytes })
		s.Used = c.used
		p := Build(Input{State: production(), Sessions: []session.Stored{s}, Paths: paths([]session.Stored{stored(1, "few", nil)})})
		out := p.Outcomes["few"]
		if out.Reason != c.reason || (out.State == session.Disabled) != (c.reason == ReasonLimitReached) || (len(p.TapBridges) == 0) != (c.reason == ReasonLimitReached) {
			t.Errorf("%s: %s, %s: %s", name, out.State, out.Reason, out.Message)
		}
	}
}
