package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// Timing of the loop.
const (
	// Resync is how often everything is looked at although nothing was told of; a fifth more or less.
	Resync = 30 * time.Second
	// reconcileTimeout bounds one reconcile.
	reconcileTimeout = 30 * time.Second
	// AliveTime is how long ovs-vswitchd may take to answer: while it does not, what is to stop is taken out of the database.
	AliveTime = 3 * time.Second
	// routeHold is how long what is programmed stays when a route goes.
	routeHold = 5 * time.Second
	// Retries after a failure begin here, each twice as long after the one before.
	firstRetry = 20 * time.Millisecond
	lastRetry  = 10 * time.Second
	// reportAfter is how long nothing can be reconciled before each session says so: ovs-vswitchd restarts in less, and
	// what is written of a thousand sessions then holds up their flows.
	reportAfter = 2 * time.Second
	// An ovs-vswitchd that is gone is tried this often, and after that many times every second: copies are lost until it is
	// found again. When it is back, its bridges are tried so often for so long.
	restartRetry, restartTries = 20 * time.Millisecond, 10_000
	probeInterval, probeFor    = 10 * time.Millisecond, 30 * time.Second
	// neighborPoll is how often the neighbours and routes of the userspace datapath are looked at: it tells nobody of a change.
	neighborPoll = 500 * time.Millisecond
	// boundPoll is how often the counters of sessions that end after so many packets or bytes are looked at.
	boundPoll = time.Second
	// alivePoll is how often ovs-vswitchd is asked for a sign of life: one that hangs keeps all its sockets open. The thread
	// that answers is the one that serves each bridge's OpenFlow.
	alivePoll = 5 * time.Second
	// lostPoll is how often the counters of sessions whose copies vanish are looked at.
	lostPoll = time.Second
	// askInterval is how often next hops that do not answer are asked for.
	askInterval = time.Second
	// Of reconciles that nobody waits for, eventBurst go at once, and eventRate follow each second, however much happens.
	eventRate, eventBurst = 2, 4
	// gather is how long to wait for more of what happens, where nobody waits.
	gather = 20 * time.Millisecond
	// underlayRate bounds how often a second routes and neighbours are compared.
	underlayRate, underlayBurst = 10, 5
)

// Connection is one connection to an Open vSwitch.
type Connection struct {
	Controller *Controller
	// Changed receives when rows or the wish changed, several changes as one. Done is closed when the connection is lost.
	Changed, Done <-chan struct{}
	// Lost says why the connection was lost, once Done is closed.
	Lost  func() error
	Close func()
}

// FlowWatcher tells of changes of a bridge's flows that have the match or a narrower one, "" for all (package openflow).
// The channel receives after a change, several as one, and is closed when the bridge can no longer be watched: when
// ovs-vswitchd ended, above all.
type FlowWatcher interface {
	Watch(ctx context.Context, bridge, match string) (<-chan struct{}, error)
}

// Loop reconciles whenever something changed, one reconcile at a time: events say only "look again".
type Loop struct {
	// Connect opens a connection; it is called again when one is lost, for as long as the loop runs.
	Connect func(ctx context.Context) (*Connection, error)
	Flows   FlowWatcher
	// WatchUnderlay tells of changes of routes, addresses, devices and neighbours, as FlowWatcher does of flows.
	WatchUnderlay func(ctx context.Context) (<-chan struct{}, error)
	Log           *slog.Logger
	// Observe, where set, is told what the loop does.
	Observe func(Event)

	retries int // of connecting
	journal *journal
}

// Event is something that the loop did.
type Event struct {
	// Connected is whether there is a connection to the database, Serving whether ovs-vswitchd answered last.
	Connected, Serving bool
	// Begin is set, and Reconciled false, when a reconcile begins.
	Begin      bool
	Reconciled bool
	Reasons    []string
	Duration   time.Duration
	Result     Result
	Err        error
	Retry      bool
}

// Quiet tells that nothing happened since the last reconcile, and that this one found nothing to do.
func (e Event) Quiet() bool {
	return e.Reconciled && e.Err == nil && !e.Result.Changed() && slices.Equal(e.Reasons, []string{dueResync})
}

func (l *Loop) observe(e Event) {
	if l.Observe != nil {
		l.Observe(e)
	}
}

// Run runs until ctx is done. What is programmed stays in force then.
func (l *Loop) Run(ctx context.Context) {
	l.journal = newJournal(l.Log)
	for ctx.Err() == nil {
		conn, err := l.Connect(ctx)
		if err == nil {
			l.retries = 0
			l.journal.recovered(toConnect)
			l.Log.Info("connected to Open vSwitch")
			err = l.serve(ctx, conn)
			conn.Close()
			if ctx.Err() != nil {
				return
			}
			l.Log.Warn("the connection to Open vSwitch is lost", "error", err)
		}
		l.observe(Event{Err: err})
		l.journal.failure(toConnect, err)
		select {
		case <-ctx.Done():
		case <-time.After(backoff(l.retries, time.Second)):
		}
		l.retries++
	}
}

// toConnect names a failure in the journal.
const toConnect = "connect to Open vSwitch"

// backoff is how long to wait before the retry of that number, from 0; a fifth more or less, so that not all retry at once.
func backoff(n int, most time.Duration) time.Duration {
	d := most
	if n < 16 {
		d = min(most, firstRetry<<n)
	}
	return jitter(d)
}

func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// flowEvent says that a bridge's flows changed, or that the bridge can no longer be watched.
type flowEvent struct {
	watched
	gone bool
}

// watched are the flows of a bridge, those with a match or all.
type watched struct{ bridge, match string }

// failing is a tap bridge that could not be programmed, left alone until its retry.
type failing struct {
	err   error
	tries int
	retry time.Time
}

// serving is the work on one connection.
type serving struct {
	*Loop
	conn     *Connection
	c        *Controller
	watches  map[watched]<-chan struct{} // of flows
	changes  chan flowEvent              // from the goroutines that watch
	underlay <-chan struct{}

	reasons map[string]bool // why the next reconcile is due
	urgent  bool            // somebody waits for it, or copies are lost until then
	due     map[string]time.Time
	tries   int                // failures of the whole in a row
	failed  time.Time          // when the first of them was
	told    bool               // the sessions' states tell of it
	failing map[string]failing // by tap bridge
	events  *rate.Limiter
	looks   *rate.Limiter

	generation uint64 // of the wish, as of the last reconcile
	neighbors  string // of the userspace datapath, as last seen
	up         bool   // ovs-vswitchd answered last
	upSince    time.Time
}

func (l *Loop) serve(ctx context.Context, conn *Connection) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &serving{
		Loop: l, conn: conn, c: conn.Controller,
		watches: map[watched]<-chan struct{}{}, changes: make(chan flowEvent),
		reasons: map[string]bool{"start": true}, urgent: true,
		due: map[string]time.Time{}, failing: map[string]failing{},
		events: rate.NewLimiter(eventRate, eventBurst), looks: rate.NewLimiter(underlayRate, underlayBurst),
	}
	s.c.RouteHold = routeHold
	for {
		s.watchUnderlay(ctx)
		s.reconcile(ctx)
		if err := s.wait(ctx); err != nil {
			return err
		}
	}
}

// look notes that a reconcile is due.
func (s *serving) look(reason string, urgent bool) {
	s.reasons[reason] = true
	s.urgent = s.urgent || urgent
}

func (s *serving) in(d time.Duration, what string) { s.due[what] = time.Now().Add(d) }

// wait returns when a reconcile is due, or with an error when the connection or the loop is at its end. What happens
// meanwhile is taken together: unless somebody waits, reconciles keep a distance.
func (s *serving) wait(ctx context.Context) error {
	var (
		held   *rate.Reservation
		paused <-chan time.Time
	)
	for {
		if len(s.reasons) > 0 {
			if s.urgent {
				if held != nil {
					held.Cancel()
				}
				return nil
			}
			if held == nil {
				held = s.events.Reserve()
			}
			if paused == nil {
				// What comes within a moment belongs together: our own changes are told of, too.
				paused = time.After(max(held.Delay(), gather))
			}
		}
		timer := s.timer()
		var expired <-chan time.Time
		if timer != nil {
			expired = timer.C
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.conn.Done:
			return s.conn.Lost()
		case <-s.conn.Changed:
			wished, _, err := s.c.DB.Generations()
			if err != nil {
				return err
			}
			if wished != s.generation {
				s.look("sessions", true)
			} else {
				s.look("rows", false)
			}
		case e := <-s.changes:
			if e.gone {
				delete(s.watches, e.watched)
				s.look("ovs-vswitchd", true)
			} else {
				s.look("flows", false)
			}
		case _, open := <-s.underlay:
			if !open {
				s.underlay = nil
				s.look("underlay", false)
			} else if _, already := s.due[dueUnderlay]; !already {
				s.in(s.looks.Reserve().Delay(), dueUnderlay)
			}
		case <-paused:
			return nil
		case <-expired:
			s.expire(ctx)
		}
		if timer != nil {
			timer.Stop()
		}
	}
}

// What is due at a time.
const (
	dueResync    = "resync"
	dueRetry     = "retry"
	dueExpiry    = "expiry"
	dueHold      = "route"
	dueRest      = "contest"
	dueUnderlay  = "underlay"
	dueNeighbors = "neighbors"
	dueAsk       = "ask"
	dueProbe     = "probe"
	dueBound     = "limit"
	dueLost      = "lost"
	dueAlive     = "alive"
)

func (s *serving) timer() *time.Timer {
	if len(s.due) == 0 {
		return nil
	}
	first := slices.MinFunc(slices.Collect(maps.Values(s.due)), time.Time.Compare)
	return time.NewTimer(time.Until(first))
}

// expire does what is due by now.
func (s *serving) expire(ctx context.Context) {
	now := time.Now()
	for _, what := range slices.Sorted(maps.Keys(s.due)) {
		if s.due[what].After(now) {
			continue
		}
		delete(s.due, what)
		switch what {
		case dueUnderlay:
			s.compareUnderlay(ctx)
		case dueNeighbors:
			s.pollNeighbors(ctx)
		case dueAsk:
			if s.c.AskAgain(ctx) > 0 {
				s.in(jitter(askInterval), dueAsk)
			}
		case dueProbe:
			s.probe(ctx)
		case dueBound:
			s.pollBounds(ctx)
		case dueAlive:
			s.askAlive(ctx)
		case dueLost:
			s.in(lostPoll, dueLost)
			s.c.CountLost(ctx)
		default:
			s.look(what, what != dueResync)
		}
	}
}

// probe tries whether bridges that failed can be reached again, which costs less than a reconcile that fails.
func (s *serving) probe(ctx context.Context) {
	for bridge, f := range s.failing {
		if !slices.Contains(flows.TapBridgeNames(), bridge) {
			continue // a production bridge is asked for our flows only
		}
		if s.watchFlows(ctx, watched{bridge, ""}) == nil {
			f.retry = time.Now()
			s.failing[bridge] = f
			s.look("ovs-vswitchd", true)
		} else if time.Since(s.upSince) < probeFor {
			s.in(probeInterval, dueProbe)
		}
	}
}

// askAlive has a reconcile find out, and tell, what is wrong with an ovs-vswitchd that does not answer.
func (s *serving) askAlive(ctx context.Context) {
	s.in(alivePoll, dueAlive)
	ctx, cancel := context.WithTimeout(ctx, AliveTime)
	defer cancel()
	if err := s.c.Vswitchd.Alive(ctx); err != nil {
		s.look("ovs-vswitchd", true)
	}
}

func (s *serving) pollBounds(ctx context.Context) {
	s.in(boundPoll, dueBound)
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	reached, err := s.c.BoundReached(ctx)
	if err != nil {
		s.Log.Debug("cannot look at sessions' limits", "error", err)
	}
	if reached {
		s.look(dueBound, true)
	}
}

func (s *serving) compareUnderlay(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	changed, err := s.c.UnderlayChanged(ctx)
	if changed || err != nil { // a reconcile finds out what is wrong
		s.look("underlay", true)
	}
}

func (s *serving) pollNeighbors(ctx context.Context) {
	s.in(neighborPoll, dueNeighbors)
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	known, err := s.c.Vswitchd.Neighbors(ctx)
	if err != nil {
		s.look("ovs-vswitchd", false)
		return
	}
	moved, err := s.c.RoutesChanged(ctx)
	if err == nil {
		var changed bool
		if changed, err = s.c.LeavingChanged(ctx); changed {
			s.look("underlay", true)
		}
	}
	if err != nil {
		s.look("ovs-vswitchd", false)
		return
	}
	if text := fmt.Sprint(known); s.neighbors != text || moved { // maps are printed sorted
		s.neighbors = text
		s.compareUnderlay(ctx)
	}
}

func (s *serving) watchUnderlay(ctx context.Context) {
	if s.underlay != nil {
		return
	}
	changes, err := s.WatchUnderlay(ctx)
	if err != nil {
		s.journal.failure("watch routes and neighbours", err)
		return
	}
	s.underlay = changes
}

// reconcile does it once, and decides when to look again.
func (s *serving) reconcile(ctx context.Context) {
	reasons := slices.Sorted(maps.Keys(s.reasons))
	clear(s.reasons)
	s.urgent = false
	clear(s.due)
	s.in(jitter(Resync), dueResync)
	s.observe(Event{Connected: true, Serving: s.up, Begin: true, Reasons: reasons})

	started := time.Now()
	result, err := s.attempt(ctx)
	e := Event{
		Connected: true, Serving: s.up, Reconciled: true, Reasons: reasons, Duration: time.Since(started),
		Result: result, Err: err, Retry: slices.Contains(reasons, dueRetry),
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		s.journal.failure("reconcile", err)
		if s.tries == 0 {
			s.failed, s.told = started, false
		}
		if !s.told && time.Since(s.failed) >= reportAfter || slices.Contains(reasons, "sessions") {
			s.reportFailure(ctx, err)
			s.told = true
		}
		wait := backoff(s.tries, lastRetry)
		if !s.up {
			wait = min(wait, jitter(time.Second))
			if s.tries < restartTries {
				wait = min(wait, jitter(restartRetry))
			}
		}
		s.in(wait, dueRetry)
		s.tries++
	} else {
		s.generation = result.Generation
		s.tries = 0
		s.journal.recovered("reconcile")
		s.journal.reconciled(e)
		s.afterwards(ctx, result)
	}
	s.observe(e)
}

// attempt reconciles, if there is an ovs-vswitchd to do it with: while it is gone, so are the devices of its bridges, and
// what is observed then is not how things are.
func (s *serving) attempt(ctx context.Context) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, reconcileTimeout)
	defer cancel()
	wasUp := s.up
	alive, cancelAlive := context.WithTimeout(ctx, AliveTime)
	err := s.c.Vswitchd.Alive(alive)
	cancelAlive()
	if s.up = err == nil; err != nil {
		result, stopErr := s.c.Stop(ctx)
		return result, errors.Join(err, stopErr)
	}
	if !wasUp {
		clear(s.failing)
		s.upSince = time.Now()
	}
	s.c.Skip = map[string]error{}
	for bridge, f := range s.failing {
		if time.Now().Before(f.retry) {
			s.c.Skip[bridge] = f.err
		}
	}
	return s.c.Reconcile(ctx)
}

// afterwards plans what follows a reconcile: watching, retries, expiries.
func (s *serving) afterwards(ctx context.Context, result Result) {
	failed := maps.Clone(result.Failed)
	for bridge := range result.Plan.Flows {
		if failed[bridge] == nil && result.Plan.Input.State.Bridges[bridge] != nil {
			if err := s.watchFlows(ctx, watched{bridge, ""}); err != nil {
				failed[bridge] = err
			}
		}
	}
	// A production bridge whose owner has left it no version of OpenFlow to watch with is looked at with each resync.
	for bridge, lines := range result.Plan.Deliveries {
		for _, l := range lines {
			if err := s.watchFlows(ctx, watched{bridge, l.Match}); err != nil {
				s.Log.Debug("cannot watch the flow on a production bridge", "bridge", bridge, "error", err)
			}
		}
	}
	for bridge := range s.failing {
		if failed[bridge] == nil {
			s.journal.recovered("program bridge " + bridge)
			delete(s.failing, bridge)
		}
	}
	for bridge, err := range failed {
		f := s.failing[bridge]
		if s.c.Skip[bridge] == nil {
			s.journal.failure("program bridge "+bridge, err)
			f = failing{err, f.tries + 1, time.Now().Add(backoff(f.tries, lastRetry))}
			s.failing[bridge] = f
		}
		if due, ok := s.due[dueRetry]; !ok || f.retry.Before(due) {
			s.due[dueRetry] = f.retry
		}
		if slices.Contains(flows.TapBridgeNames(), bridge) && s.watches[watched{bridge, ""}] == nil && time.Since(s.upSince) < probeFor {
			s.in(probeInterval, dueProbe)
		}
	}
	for _, st := range result.Wish.Sessions {
		if st.ExpiresAt == nil {
			continue
		}
		if due, ok := s.due[dueExpiry]; !ok || st.ExpiresAt.Before(due) {
			s.due[dueExpiry] = *st.ExpiresAt
		}
	}
	if s.c.unproven != nil {
		s.in(jitter(time.Second), dueRetry)
	}
	s.in(alivePoll, dueAlive)
	if slices.ContainsFunc(result.Wish.Sessions, bounded) {
		s.in(boundPoll, dueBound)
	}
	if end := s.c.restEnds(); !end.IsZero() {
		s.due[dueRest] = end
	}
	if end := s.c.holdEnds(); !end.IsZero() {
		s.due[dueHold] = end
	}
	if s.c.Ledger != nil && flows.Losing(result.Plan.Program) {
		s.in(lostPoll, dueLost)
	}
	if s.c.userspaceTunnels() {
		s.in(neighborPoll, dueNeighbors)
	}
	if s.c.unansweredNow() {
		s.in(jitter(askInterval), dueAsk)
	}
}

// watchFlows sees to it that the flows are watched.
func (s *serving) watchFlows(ctx context.Context, w watched) error {
	if s.watches[w] != nil {
		return nil
	}
	changes, err := s.Flows.Watch(ctx, w.bridge, w.match)
	if err != nil {
		return err
	}
	s.watches[w] = changes
	s.look("flows", false) // what changed between the reconcile and now
	go func() {
		for open := true; open; {
			_, open = <-changes
			select {
			case s.changes <- flowEvent{w, !open}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return nil
}

// reportFailure has each session's state say that nothing can be done about it for now.
func (s *serving) reportFailure(ctx context.Context, failure error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	wish, err := s.c.DB.Wish()
	if err != nil || wish.Generation == 0 {
		return
	}
	status := map[string]session.Status{}
	for _, st := range wish.Sessions {
		was := wish.Status[st.Name]
		if st.Stopped() || was.Reason == flows.ReasonUnreachable {
			continue
		}
		status[st.Name] = session.Status{
			State: session.Pending, Reason: flows.ReasonUnreachable, Message: failure.Error(),
			Since: s.c.Now().UTC().Truncate(time.Second), Effective: was.Effective, Collectors: was.Collectors, Used: was.Used,
		}
	}
	if len(status) == 0 {
		return
	}
	if err := s.c.DB.Report(ctx, wish.InForce, status); err != nil {
		s.Log.Debug("cannot report", "error", err)
		return
	}
	s.journal.states(wish, status, nil, 0)
}
