package controller

import (
	"slices"
	"time"
)

// What somebody else undoes is put back, but not for ever: two controllers that undo each other's work would keep a bridge
// busy without end. After some tries it is left alone, for longer each time.
const (
	putBacks      = 5 // as often as this within contestWindow it is put back at once
	contestWindow = time.Minute
	firstRest     = 30 * time.Second // then it is left alone for this long, twice as long the next time
	lastRest      = 10 * time.Minute
	contestForget = time.Hour // what was not touched for so long is forgotten
)

// contest counts how often others undid what this process did. Each thing, a row or a flow, has a key; its wish is all
// that it was made of, the rows that it refers to included: where that is another, nobody undid anything.
type contest map[string]*dispute

type dispute struct {
	wish   string
	put    time.Time     // when it was put in place last
	undone []time.Time   // when it was put back, within contestWindow
	rest   time.Duration // the last one, or the one under way
	until  time.Time     // of the rest; zero: none since it was put in place
}

// quiet is for how long a thing has to stand until its past is forgotten.
func (d *dispute) quiet() time.Duration { return max(contestWindow, 2*d.rest) }

// may tells whether what is missing may be put in place now, and, where not, whether a rest begins with that.
func (c contest) may(key, wish string, now time.Time) (may, begins bool) {
	d := c[key]
	switch {
	case d == nil || d.wish != wish:
		return true, false
	case now.Before(d.until):
		return false, false
	case !d.until.IsZero(), now.Sub(d.put) >= d.quiet():
		return true, false
	case d.rest == 0 && len(recent(d.undone, now)) < putBacks:
		return true, false
	}
	d.rest = min(max(firstRest, 2*d.rest), lastRest)
	d.until = now.Add(d.rest)
	return false, true
}

// placed notes that it was put in place.
func (c contest) placed(key, wish string, now time.Time) {
	d := c[key]
	if d == nil || d.wish != wish {
		c[key] = &dispute{wish: wish, put: now}
		return
	}
	if d.until.IsZero() && now.Sub(d.put) >= d.quiet() {
		d.undone, d.rest = nil, 0
	}
	d.undone = append(recent(d.undone, now), now)
	d.put, d.until = now, time.Time{}
}

func recent(times []time.Time, now time.Time) []time.Time {
	return slices.DeleteFunc(slices.Clone(times), func(t time.Time) bool { return now.Sub(t) >= contestWindow })
}

// hurry ends every rest: a user changed something, and waits.
func (c contest) hurry(now time.Time) {
	for _, d := range c {
		if now.Before(d.until) {
			d.until = now
		}
	}
}

// next is when the first rest ends; the zero time where none is under way. It forgets what is long past.
func (c contest) next(now time.Time) (first time.Time) {
	for key, d := range c {
		switch {
		case now.Sub(d.put) >= contestForget && !now.Before(d.until):
			delete(c, key)
		case now.Before(d.until) && (first.IsZero() || d.until.Before(first)):
			first = d.until
		}
	}
	return first
}
