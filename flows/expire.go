package flows

import (
	"time"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// MaxHardTimeout is the longest time that a flow can be told to live: OpenFlow's hard_timeout has 16 bits of seconds
// (OpenFlow 1.4.1 section 7.3.4.2).
const MaxHardTimeout = 65535 * time.Second

// expirySlack is how far, in seconds, what is read back of a flow's end may be from what was asked for: both are
// counted in whole seconds, from different moments.
const expirySlack = 2

// Expire has the flows that send a session's copies, or take its frames in, end by themselves with the session, where nobody may be there to
// remove them. An end that is too far away for a flow is left to whoever reconciles when it is near.
func Expire(lines []Line, sessions []session.Stored, now time.Time) {
	ends := map[uint32]int64{}
	for _, s := range sessions {
		if s.ExpiresAt != nil && s.ExpiresAt.Sub(now) <= MaxHardTimeout {
			ends[s.Slot] = ceilUnix(*s.ExpiresAt)
		}
	}
	if len(ends) == 0 {
		return
	}
	for i, l := range lines {
		if l.Cookie.Ours() && (l.Cookie.Stage() == StageSent || l.Cookie.Stage() == StageTerminated) {
			lines[i].Expires = ends[l.Cookie.Slot()]
		}
	}
}

func ceilUnix(t time.Time) int64 {
	if t.Nanosecond() > 0 {
		return t.Unix() + 1
	}
	return t.Unix()
}

// HardTimeout is the line's end as OpenFlow counts it from now, in seconds; 0 is never.
func (l Line) HardTimeout(now time.Time) uint16 {
	if l.Expires == 0 {
		return 0
	}
	left := time.Unix(l.Expires, 0).Sub(now)
	return uint16((min(max(left, time.Second), MaxHardTimeout) + time.Second - 1) / time.Second)
}

// ExpiryOf is the end of a flow that has lived for age with that timeout.
func ExpiryOf(hardTimeout uint16, age time.Duration, now time.Time) int64 {
	if hardTimeout == 0 {
		return 0
	}
	return now.Add(time.Duration(hardTimeout)*time.Second - age).Round(time.Second).Unix()
}

// same tells whether two lines are the same flow to whoever wished for it.
func (l Line) same(o Line) bool {
	if (l.Expires == 0) != (o.Expires == 0) || max(l.Expires-o.Expires, o.Expires-l.Expires) > expirySlack {
		return false
	}
	l.Expires = o.Expires
	return l == o
}
