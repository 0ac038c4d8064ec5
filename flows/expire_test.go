package flows_test

import (
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// TestExpire: the sending flow carries the session's end where OpenFlow can, and what is read back a moment later is the
// same flow; one that ends at another time is not.
func TestExpire(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 600e6, time.UTC)
	line := func(slot uint32, stage flows.Stage) flows.Line {
		return flows.Line{Table: flows.TableEncapsulate, Priority: 100, Cookie: flows.NewCookie(stage, slot), Actions: "drop"}
	}
	stored := func(slot uint32, left time.Duration) session.Stored {
		end := now.Add(left)
		return session.Stored{Slot: slot, Session: session.Session{ExpiresAt: &end}}
	}
	for _, tt := range []struct {
		left time.Duration
		want uint16
	}{
		{time.Nanosecond, 1}, {time.Second, 2}, {90 * time.Second, 91}, {65534 * time.Second, 65535}, {65535 * time.Second, 65535},
		{65536 * time.Second, 0}, {48 * time.Hour, 0},
	} {
		lines := []flows.Line{line(1, flows.StageSent), line(2, flows.StageSent), line(1, flows.StageRestPermit), line(1, flows.StageTerminated)}
		flows.Expire(lines, []session.Stored{stored(1, tt.left), {Slot: 2}}, now)
		if got := lines[0].HardTimeout(now); got != tt.want {
			t.Errorf("%v left: hard_timeout %d, want %d", tt.left, got, tt.want)
		}
		if lines[3].Expires != lines[0].Expires {
			t.Errorf("%v left: what a destination session takes in ends at another time: %+v", tt.left, lines[3])
		}
		if lines[1].Expires != 0 || lines[2].Expires != 0 {
			t.Errorf("%v left: other flows end, too: %+v", tt.left, lines)
		}
		const age = 700 * time.Millisecond
		back := lines[0]
		back.Expires = flows.ExpiryOf(tt.want, age, now.Add(age))
		if c := flows.Compare([]flows.Line{back}, lines[:1]); !c.Empty() {
			t.Errorf("%v left: read back it is another flow: %+v", tt.left, c)
		}
		if tt.want != 0 {
			back.Expires += 10
			if c := flows.Compare([]flows.Line{back}, lines[:1]); len(c.Add) != 1 {
				t.Errorf("%v left: an end ten seconds off is not mended: %+v", tt.left, c)
			}
		}
	}
}
