package controller

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// A failure that goes on is told of again this often; a session's changes are told of this often each when they do not
// end, after the first few.
const (
	failureEvery = time.Minute
	sessionEvery = 10 * time.Second
	sessionBurst = 6
)

// journal writes the loop's log: each change once, and little of what repeats itself.
type journal struct {
	log      *slog.Logger
	failures map[string]failureSeen
	limits   map[string]*rate.Limiter // by session
	silent   map[string]int           // changes of a session that were not told of
	known    map[string]session.Session
}

type failureSeen struct {
	since, told time.Time
	text        string
}

func newJournal(log *slog.Logger) *journal {
	return &journal{log: log, failures: map[string]failureSeen{}, limits: map[string]*rate.Limiter{}, silent: map[string]int{}}
}

// failure tells that something does not work, once, and then seldom.
func (j *journal) failure(what string, err error) {
	seen, again := j.failures[what]
	if !again {
		seen.since = time.Now()
	}
	if again && time.Since(seen.told) < failureEvery {
		return
	}
	seen.told, seen.text = time.Now(), fmt.Sprint(err)
	j.failures[what] = seen
	j.log.Warn("cannot "+what+"; it is tried again", "error", err, "for", time.Since(seen.since).Round(time.Second))
}

// recovered tells that what failed works again.
func (j *journal) recovered(what string) {
	if seen, ok := j.failures[what]; ok {
		j.log.Info("works again: "+what, "after", time.Since(seen.since).Round(time.Millisecond))
		delete(j.failures, what)
	}
}

// reconciled tells of a reconcile: one that changed nothing only to who debugs.
func (j *journal) reconciled(e Event) {
	level, r := slog.LevelDebug, e.Result
	if r.Changed() {
		level = slog.LevelInfo
	}
	j.log.Log(context.Background(), level, "reconciled", "rows", r.RowOps, "flows", r.FlowMods, "because", strings.Join(e.Reasons, ","),
		"generation", r.Generation, "duration", e.Duration.Round(10*time.Microsecond))
	j.states(r.Wish, r.Status, e.Reasons, e.Duration)
	j.wishes(r.Wish, e.Duration)
}

// states tells of each session whose state or reason changed.
func (j *journal) states(wish session.Wish, status map[string]session.Status, because []string, took time.Duration) {
	bridges := map[string]string{}
	for _, s := range wish.Sessions {
		bridges[s.Name] = s.Bridge
	}
	for _, name := range slices.Sorted(maps.Keys(status)) {
		was, is := wish.Status[name], status[name]
		if was.State == is.State && was.Reason == is.Reason {
			continue
		}
		j.session(name, "session is "+string(is.State), "bridge", bridges[name], "state", is.State, "reason", is.Reason, "message", is.Message,
			"was", was.State, "because", strings.Join(because, ","), "duration", took.Round(10*time.Microsecond))
	}
}

// wishes tells of sessions that were changed or removed.
func (j *journal) wishes(wish session.Wish, took time.Duration) {
	known := make(map[string]session.Session, len(wish.Sessions))
	for _, s := range wish.Sessions {
		known[s.Name] = s.Session
		if was, ok := j.known[s.Name]; ok && !reflect.DeepEqual(was, s.Session) {
			j.session(s.Name, "session was changed", "bridge", s.Bridge, "duration", took.Round(10*time.Microsecond))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(j.known)) {
		if _, ok := known[name]; !ok {
			j.session(name, "session was removed", "bridge", j.known[name].Bridge, "duration", took.Round(10*time.Microsecond))
			delete(j.limits, name)
			delete(j.silent, name)
		}
	}
	j.known = known
}

// session tells of a session, but not without end of one that changes without end.
func (j *journal) session(name, message string, args ...any) {
	limit := j.limits[name]
	if limit == nil {
		limit = rate.NewLimiter(rate.Every(sessionEvery), sessionBurst)
		j.limits[name] = limit
	}
	if !limit.Allow() {
		j.silent[name]++
		return
	}
	args = append([]any{"session", name}, args...)
	if n := j.silent[name]; n > 0 {
		args = append(args, "untold", n)
		delete(j.silent, name)
	}
	j.log.Info(message, args...)
}
