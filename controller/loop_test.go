package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// The loop's tests run on the fake clock of testing/synctest: what takes half a minute takes none.

// fakeHost is an Open vSwitch as the loop sees it. It has tap bridges of ours that no session needs and that cannot be
// deleted, so that each reconcile looks at their flows.
type fakeHost struct {
	DB
	OpenFlow
	Vswitchd
	Underlay

	mu       sync.Mutex
	wish     session.Wish
	bridges  []string
	dead     error            // what ovs-vswitchd answers
	broken   map[string]error // by tap bridge
	lost     error            // what the database answers
	dumps    map[string]int
	connects int
	// unreachable counts sessions reported as not to be reached
	unreachable int
	refuse      error       // of connecting
	path        *flows.Path // to each collector; nil: none is known
	primed      int         // how often next hops were asked for
	userspace   bool        // somebody's bridge has the userspace datapath

	changed, done chan struct{}
	flows         map[string]chan struct{}
	events        []Event
}

func newFakeHost(bridges ...string) *fakeHost {
	return &fakeHost{wish: session.Wish{Generation: 1}, bridges: bridges, broken: map[string]error{}, dumps: map[string]int{}, flows: map[string]chan struct{}{}}
}

// run runs the loop until the test's end, and lets it settle.
func (f *fakeHost) run(t *testing.T) {
	t.Helper()
	f.start(t)
	synctest.Wait()
}

func (f *fakeHost) start(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	log := slog.New(slog.DiscardHandler)
	l := &Loop{
		Connect: func(context.Context) (*Connection, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.connects++; f.refuse != nil {
				return nil, f.refuse
			}
			f.changed, f.done = make(chan struct{}, 1), make(chan struct{})
			c := &Controller{DB: fakeDB{f}, OpenFlow: fakeFlows{f}, Vswitchd: f, Underlay: f, Now: time.Now, Log: log,
				Stale: func(error) bool { return false }, PortNotOpen: func(error) bool { return false }}
			return &Connection{Controller: c, Changed: f.changed, Done: f.done, Lost: func() error { return errors.New("ovsdb-server hangs") }, Close: func() {}}, nil
		},
		Flows:         f,
		WatchUnderlay: func(context.Context) (<-chan struct{}, error) { return make(chan struct{}), nil },
		Log:           log,
		Observe: func(e Event) {
			if e.Reconciled {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.events = append(f.events, e)
			}
		},
	}
	ended := make(chan struct{})
	go func() { l.Run(ctx); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
}

func (f *fakeHost) State() (flows.State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := flows.State{Bridges: map[string]*flows.Bridge{}}
	for _, name := range f.bridges {
		s.Bridges[name] = &flows.Bridge{UUID: name, Name: name, ExternalIDs: map[string]string{flows.OwnerKey: "tap"}, Ports: map[string]*flows.Port{}}
	}
	if f.path != nil { // there is somebody's bridge, too
		s.Bridges["br0"] = &flows.Bridge{UUID: "br0", Name: "br0", Ports: map[string]*flows.Port{}}
		if f.userspace {
			s.Bridges["br0"].DatapathType = netdev
		}
	}
	return s, f.lost
}

func (f *fakeHost) Wish() (session.Wish, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.wish
	w.Sessions = slices.Clone(w.Sessions)
	return w, nil
}

func (f *fakeHost) Generations() (uint64, uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wish.Generation, f.wish.InForce, nil
}

func (f *fakeHost) Update(_ context.Context, change func(*session.Wish) error) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := change(&f.wish); err != nil {
		return 0, err
	}
	f.wish.Generation++
	f.tell(f.changed)
	return f.wish.Generation, nil
}

func (f *fakeHost) Report(_ context.Context, inForce uint64, status map[string]session.Status) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wish.InForce = inForce
	for _, st := range status {
		if st.Reason == flows.ReasonUnreachable {
			f.unreachable++
		}
	}
	return nil
}

func (f *fakeHost) Proofs() (map[string]flows.Proof, error)                     { return nil, nil }
func (f *fakeHost) Veths([]flows.Veth) ([]flows.Veth, map[string]string, error) { return nil, nil, nil }
func (f *fakeHost) Links(context.Context, []string) (map[string]flows.Link, error) {
	return nil, nil
}
func (f *fakeHost) Leaving(context.Context, []flows.WayOut) (map[flows.WayOut]flows.Leaving, error) {
	return nil, nil
}
func (f *fakeHost) Isolation(string, []string) ([]string, error)          { return nil, nil }
func (f *fakeHost) Isolate(string, []string) (int, error)                 { return 0, nil }
func (f *fakeHost) Meters(context.Context, string) ([]flows.Meter, error) { return nil, nil }
func (f *fakeHost) Fragments(context.Context, string) (flows.FragmentMode, error) {
	return flows.FragmentsNXMatch, nil
}
func (f *fakeHost) Touch(context.Context, string) error                                { return nil }
func (f *fakeHost) Canonical(context.Context, []flows.Flow) ([]flows.Line, error)      { return nil, nil }
func (f *fakeHost) WaitRevalidated(context.Context, func(context.Context) error) error { return nil }
func (f *fakeHost) Neighbors(context.Context) (map[string]map[netip.Addr]bool, error) {
	return nil, nil
}

func (f *fakeHost) Routes(_ context.Context, to []netip.Addr) (map[netip.Addr]flows.Route, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	routes := map[netip.Addr]flows.Route{}
	for _, a := range to {
		if f.path != nil {
			routes[a] = flows.Route{Device: f.path.Device, Source: f.path.Source, NextHop: f.path.NextHop}
		}
	}
	return routes, nil
}

func (f *fakeHost) Along(routes map[flows.PathKey]flows.Route, _ map[string]bool) (map[flows.PathKey]flows.Path, error) {
	return f.Paths(slices.Collect(maps.Keys(routes)))
}

func (f *fakeHost) Paths(keys []flows.PathKey) (map[flows.PathKey]flows.Path, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.path == nil {
		return nil, nil
	}
	paths := map[flows.PathKey]flows.Path{}
	for _, key := range keys {
		paths[key] = *f.path
	}
	return paths, nil
}

func (f *fakeHost) Prime(flows.Path) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.primed++
	return nil
}

// fakeDB and fakeFlows are the host's two interfaces that have a method of the same name. Rows stay as they are, so that
// there is always something to do.
type fakeDB struct{ *fakeHost }

func (fakeDB) Mend(context.Context, time.Time) (*session.Restored, error) { return nil, nil }
func (fakeDB) Apply(context.Context, []flows.RowOp) error                 { return nil }
func (fakeDB) Commit(context.Context, []flows.RowOp) error                { return nil }

type fakeFlows struct{ *fakeHost }

func (fakeFlows) Apply(context.Context, string, flows.FlowChanges) error { return nil }

func (f *fakeHost) Alive(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dead
}

func (f *fakeHost) Dump(_ context.Context, bridge string) ([]flows.Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dumps[bridge]++
	return nil, f.broken[bridge]
}

func (f *fakeHost) Watch(ctx context.Context, bridge, _ string) (<-chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.broken[bridge]; err != nil {
		return nil, err
	}
	c := make(chan struct{}, 1)
	f.flows[bridge] = c
	context.AfterFunc(ctx, func() { f.endWatch(bridge, c) })
	return c, nil
}

// endWatch ends a watch, as the end of ovs-vswitchd does.
func (f *fakeHost) endWatch(bridge string, c chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.flows[bridge] == c {
		delete(f.flows, bridge)
		close(c)
	}
}

// tell says that something changed, several changes as one.
func (f *fakeHost) tell(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (f *fakeHost) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// since are the reconciles from the n-th on.
func (f *fakeHost) since(n int) []Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.events[n:])
}

func (f *fakeHost) sessions() int {
	w, _ := f.Wish()
	return len(w.Sessions)
}

func (f *fakeHost) dumped(bridge string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dumps[bridge]
}

func (f *fakeHost) asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.primed
}

// watch is the watch of a bridge's flows, nil where there is none.
func (f *fakeHost) watch(bridge string) chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.flows[bridge]
}

func (f *fakeHost) connected() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.connects
}

func (f *fakeHost) count() int { return len(f.since(0)) }

// TestChurnIsCoalesced: rows that change without end cost two reconciles a second after the first few, and a change of the
// wish does not wait among them.
func TestChurnIsCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeHost()
		f.run(t)
		before := f.count()
		const seconds, rate, burst = 20, 2, 4
		for range seconds * 100 {
			f.tell(f.changed)
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		if n, most := f.count()-before, burst+rate*seconds+1; n > most || n < rate*(seconds-1) {
			t.Errorf("%d reconciles within %d s of churn, want about %d", n, seconds, most)
		}
		f.tell(f.changed)
		before = f.count()
		generation, _ := f.Update(t.Context(), func(*session.Wish) error { return nil })
		synctest.Wait() // no time passes
		if got := f.since(before); len(got) != 1 || !slices.Contains(got[0].Reasons, "sessions") || got[0].Result.Generation != generation {
			t.Errorf("a change of the wish during churn: %+v", got)
		}
	})
}

// TestQuietLoop: where nothing happens, everything is looked at about every 30 s, and not more often.
func TestQuietLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeHost()
		f.run(t)
		before := f.count()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		got := f.since(before)
		if n := len(got); n < 16 || n > 25 {
			t.Errorf("%d reconciles within 10 minutes of quiet, want about 20", n)
		}
		for _, e := range got {
			if !slices.Equal(e.Reasons, []string{dueResync}) || e.Err != nil {
				t.Errorf("a reconcile because of %v: %v", e.Reasons, e.Err)
			}
		}
	})
}

// TestFailuresBackOff: what fails is tried again ever less often, at most every 10 s, and at once when somebody changes the
// wish; when it works again it goes on as before.
func TestFailuresBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeHost()
		f.run(t)
		f.set(func() { f.lost = errors.New("no rows") })
		before := f.count()
		f.tell(f.changed)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		got := f.since(before)
		// 20 ms, 40 ms, … 10 s; then every 10 s, a fifth more or less.
		if n := len(got); n < 50 || n > 90 {
			t.Errorf("%d tries within 10 minutes, want about 70", n)
		}
		for _, e := range got[1:] {
			if e.Err == nil || !e.Retry {
				t.Fatalf("%+v", e)
			}
		}
		before = f.count()
		_, _ = f.Update(t.Context(), func(*session.Wish) error { return nil })
		synctest.Wait()
		if n := f.count() - before; n != 1 {
			t.Errorf("%d tries at once for a change of the wish", n)
		}
		f.set(func() { f.lost = nil })
		time.Sleep(13 * time.Second)
		synctest.Wait()
		if got := f.since(before); got[len(got)-1].Err != nil {
			t.Errorf("it works again, and the last try fails: %v", got[len(got)-1].Err)
		}
		before = f.count()
		f.set(func() { f.lost = errors.New("once more") })
		f.tell(f.changed)
		time.Sleep(time.Second)
		synctest.Wait()
		if n := f.count() - before; n < 4 {
			t.Errorf("a new failure was tried %d times within a second: the backoff was not begun anew", n)
		}
	})
}

// TestVswitchdIsFoundAgain: while ovs-vswitchd is away nothing is touched, and it is looked for many times a second.
func TestVswitchdIsFoundAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeHost("br-erspan-nd")
		f.run(t)
		f.set(func() { f.dead = errors.New("gone"); clear(f.dumps) })
		f.endWatch("br-erspan-nd", f.watch("br-erspan-nd"))
		time.Sleep(time.Minute)
		synctest.Wait()
		if f.dumped("br-erspan-nd") > 0 {
			t.Error("flows were asked for")
		}
		f.set(func() { f.dead = nil })
		before := f.count()
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		if got := f.since(before); len(got) == 0 || got[0].Err != nil {
			t.Errorf("50 ms after it came back: %+v", got)
		}
		if f.watch("br-erspan-nd") == nil {
			t.Error("its flows are not watched")
		}
	})
}

// TestRestartIsNotReported: that ovs-vswitchd is away for a moment is not written of every session; that it stays away is,
// once.
func TestRestartIsNotReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeHost("br-erspan-nd")
		f.wish.Sessions = []session.Stored{{Session: session.Session{Name: "one"}}}
		f.run(t)
		for _, tt := range []struct {
			away time.Duration
			want int
		}{{reportAfter - time.Second, 0}, {reportAfter + 10*time.Second, 1}} {
			f.set(func() { f.dead, f.unreachable = errors.New("gone"), 0 })
			f.endWatch("br-erspan-nd", f.watch("br-erspan-nd"))
			time.Sleep(tt.away)
			synctest.Wait()
			f.set(func() { f.dead = nil })
			time.Sleep(time.Second)
			synctest.Wait()
			f.set(func() {
				if f.unreachable != tt.want {
					t.Errorf("away for %s: reported %d times, want %d", tt.away, f.unreachable, tt.want)
				}
			})
		}
	})
}

// TestBrokenBridgeBacksOffAlone: a bridge that cannot be programmed is tried ever less often; the other is looked at with
// each reconcile.
func TestBrokenBridgeBacksOffAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeHost("br-erspan", "br-erspan-nd")
		f.broken["br-erspan"] = errors.New("no such device")
		f.run(t)
		time.Sleep(5 * time.Minute) // past the time of probing
		synctest.Wait()
		f.set(func() { clear(f.dumps) })
		before := f.count()
		for range 120 { // one change a second
			f.tell(f.changed)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		reconciles := f.count() - before
		if f.dumped("br-erspan-nd") < reconciles || reconciles < 120 {
			t.Errorf("the sound bridge was looked at %d times in %d reconciles of 120 changes", f.dumped("br-erspan-nd"), reconciles)
		}
		if n := f.dumped("br-erspan"); n < 9 || n > 16 {
			t.Errorf("the broken bridge was tried %d times within 2 minutes, want about 12", n)
		}
		f.set(func() { delete(f.broken, "br-erspan") })
		time.Sleep(13 * time.Second)
		synctest.Wait()
		if e := f.since(f.count() - 1)[0]; len(e.Result.Failed) > 0 {
			t.Errorf("it works again: %v", e.Result.Failed)
		}
	})
}

// TestFlowsAreWatched: a change of a tap bridge's flows is looked at soon, their end at once.
func TestFlowsAreWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeHost("br-erspan-nd")
		f.run(t)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		for _, step := range []struct {
			reason string
			do     func()
			within time.Duration
		}{
			{"flows", func() { f.tell(f.watch("br-erspan-nd")) }, gather},
			{"ovs-vswitchd", func() { f.endWatch("br-erspan-nd", f.watch("br-erspan-nd")) }, 0},
		} {
			before := f.count()
			step.do()
			time.Sleep(step.within)
			synctest.Wait()
			if got := f.since(before); len(got) == 0 || !slices.Contains(got[0].Reasons, step.reason) {
				t.Errorf("%s: %+v", step.reason, got)
			}
		}
	})
}

// TestConnectionComesBack: a connection that is lost is opened again, ever less often while that fails, at least every
// second; the first thing then is a reconcile.
func TestConnectionComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeHost()
		f.run(t)
		f.set(func() { f.refuse = errors.New("no socket"); f.connects = 0 })
		close(f.done)
		time.Sleep(time.Minute)
		synctest.Wait()
		if f.connected() < 45 || f.connected() > 90 {
			t.Errorf("%d tries to connect within a minute, want about 65", f.connected())
		}
		before := f.count()
		f.set(func() { f.refuse = nil })
		time.Sleep(1200 * time.Millisecond)
		synctest.Wait()
		if got := f.since(before); len(got) == 0 || !slices.Equal(got[0].Reasons, []string{"start"}) {
			t.Errorf("connected again: %+v", got)
		}
	})
}

// TestExpiryIsOnTime: a session is taken out of the wish when its time is over, and nothing is done about it before.
func TestExpiryIsOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeHost()
		end := time.Now().Add(7 * time.Second)
		f.wish.Sessions = []session.Stored{{Slot: 1, Session: session.Session{Name: "short", Type: session.Source, Disabled: true, ExpiresAt: &end}}}
		f.run(t)
		before := f.count()
		time.Sleep(7*time.Second - time.Millisecond)
		synctest.Wait()
		if n := f.count() - before; n != 0 || f.sessions() != 1 {
			t.Errorf("before its end: %d reconciles, %d sessions", n, f.sessions())
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if got := f.since(before); f.sessions() != 0 || len(got) == 0 || got[0].Reasons[0] != dueExpiry {
			t.Errorf("at its end: %d sessions, %+v", f.sessions(), got)
		}
	})
}

// TestJournalIsNoFlood: a failure that goes on is told of once a minute, a session that flaps six times and then every 10 s,
// with how often it was not told of.
func TestJournalIsNoFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		j := newJournal(slog.New(slog.NewTextHandler(&text, nil)))
		lines := func() (n int) { n = strings.Count(text.String(), "\n"); return n }
		for range 600 {
			j.failure("do it", errors.New("no"))
			time.Sleep(time.Second)
		}
		if n := lines(); n != 10 {
			t.Errorf("%d lines within 10 minutes of failure, want 10", n)
		}
		text.Reset()
		for n := range 600 {
			j.session("flaps", fmt.Sprint("change ", n))
			time.Sleep(100 * time.Millisecond)
		}
		if n := lines(); n < 10 || n > 13 {
			t.Errorf("%d lines within a minute of flapping, want about 12:\n%s", n, text.String())
		}
		if !strings.Contains(text.String(), "untold=") {
			t.Errorf("what was not told of is not counted:\n%s", text.String())
		}
	})
}
