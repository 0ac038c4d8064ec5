package controller

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

var aCollector = flows.PathKey{Collector: netip.MustParseAddr("192.0.2.9")}

// answering is a path whose next hop answers.
func answering(change func(*flows.Path)) flows.Path {
	p := flows.Path{Device: "eth0", Source: netip.MustParseAddr("198.51.100.1"), NextHop: netip.MustParseAddr("198.51.100.254"), MTU: 1500, HasNeighbor: true}
	if change != nil {
		change(&p)
	}
	return p
}

func silent(p *flows.Path) { p.HasNeighbor = false }

// revalidations counts what it is asked for.
type revalidations struct {
	Vswitchd
	n int
}

func (r *revalidations) WaitRevalidated(context.Context, func(context.Context) error) error {
	r.n++
	return nil
}

// TestRunningFlowsFollowNextHops: running flows are made to notice where a next hop answers again or the way is another, with
// nothing of ours changed, and left alone where the way is as it was or got worse.
func TestRunningFlowsFollowNextHops(t *testing.T) {
	path := func(change func(*flows.Path)) *flows.Path { return new(answering(change)) }
	for name, tt := range map[string]struct {
		was  *flows.Path // as of the last reconcile, nil: there was none
		plan *flows.Path
		then *flows.Path // when it is looked at again, nil: it is not
		want int
	}{
		"as it was":                    {path(nil), path(nil), nil, 0},
		"it answers again":             {path(silent), path(nil), nil, 1},
		"it answers while waited for":  {nil, path(silent), path(nil), 1},
		"it does not answer":           {nil, path(silent), path(silent), 0},
		"it no longer answers":         {path(nil), path(silent), path(silent), 0},
		"another device":               {path(nil), path(func(p *flows.Path) { p.Device = "eth1" }), nil, 1},
		"another next hop":             {path(nil), path(func(p *flows.Path) { p.NextHop = netip.MustParseAddr("198.51.100.253") }), nil, 1},
		"another source address":       {path(nil), path(func(p *flows.Path) { p.Source = netip.MustParseAddr("198.51.100.2") }), nil, 1},
		"the first that is looked for": {nil, path(nil), nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, asked := newFakeHost("br-erspan"), &revalidations{}
				f.path = tt.then
				c := &Controller{DB: fakeDB{f}, OpenFlow: fakeFlows{f}, Vswitchd: asked, Underlay: f, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
				if tt.was != nil {
					c.ways = map[flows.PathKey]way{aCollector: {applied: *tt.was, known: true}}
				}
				plan := Plan{Input: flows.Input{Paths: map[flows.PathKey]flows.Path{aCollector: *tt.plan}}}
				var result Result
				if _, err := c.apply(t.Context(), plan, &result, c.prime(t.Context(), plan)); err != nil {
					t.Fatal(err)
				}
				if asked.n != tt.want {
					t.Errorf("running flows were made to notice %d times, want %d", asked.n, tt.want)
				}
			})
		})
	}
}

// TestSilentNextHopsAreAskedForAgain: a next hop that does not answer is asked for every second or so, by nobody's doing, and
// no longer when it does.
func TestSilentNextHopsAreAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeHost()
		f.wish.Sessions = []session.Stored{{Slot: 1, Session: session.Session{Name: "one", Bridge: "br0",
			Sources: session.Sources{Ports: []string{"vnet0"}}, Collectors: []netip.Addr{aCollector.Collector}}.Defaulted()}}
		f.path = new(answering(silent))
		f.run(t)
		time.Sleep(time.Second)
		const seconds = 20 // less than until everything is looked at
		asked := f.asked()
		time.Sleep(seconds * time.Second)
		synctest.Wait()
		if n := f.asked() - asked; n < seconds/2 || n > 2*seconds {
			t.Errorf("it was asked for %d times within %d s", n, seconds)
		}
		f.set(func() { f.path = new(answering(nil)) })
		f.tell(f.changed)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		asked = f.asked()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := f.asked() - asked; n != 0 {
			t.Errorf("it answers, and was asked for %d times", n)
		}
	})
}

// TestRoutesAreLookedAt: nobody tells of what ovs/route/add changes, and the loop finds it out all the same.
func TestRoutesAreLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeHost()
		f.userspace = true
		f.wish.Sessions = []session.Stored{{Slot: 1, Session: session.Session{Name: "one", Bridge: "br0",
			Sources: session.Sources{Ports: []string{"vnet0"}}, Collectors: []netip.Addr{aCollector.Collector}}.Defaulted()}}
		f.path = new(answering(nil))
		f.run(t)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		for name, change := range map[string]func(*flows.Path){
			"next hop": func(p *flows.Path) { p.NextHop = netip.MustParseAddr("198.51.100.253") },
			"source":   func(p *flows.Path) { p.Source = netip.MustParseAddr("198.51.100.2") },
			"device":   func(p *flows.Path) { p.Device = "br-ul2" },
		} {
			before := len(f.since(0))
			f.set(func() { f.path = new(answering(change)) })
			time.Sleep(2 * neighborPoll)
			synctest.Wait()
			if !slices.ContainsFunc(f.since(before), func(e Event) bool { return e.Reconciled && slices.Contains(e.Reasons, "underlay") }) {
				t.Errorf("another %s: nothing was reconciled within two looks", name)
			}
		}
	})
}

// TestRoutesInTurn: of many routes some are asked for at a time, and all in turn.
func TestRoutesInTurn(t *testing.T) {
	f := newFakeHost()
	f.path = new(answering(nil))
	c := &Controller{Vswitchd: f, ways: map[flows.PathKey]way{}}
	const many = 3*routesAtOnce + 5
	last := netip.Addr{}
	for n := range many {
		last = netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})
		c.ways[flows.PathKey{Collector: last, Datapath: netdev}] = way{seen: *f.path}
	}
	for key, w := range c.ways {
		if key.Collector == last {
			w.seen.NextHop = netip.MustParseAddr("198.51.100.1")
			c.ways[key] = w
		}
	}
	for look := 1; ; look++ {
		moved, err := c.RoutesChanged(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if moved {
			break
		}
		if look == 5 {
			t.Fatal("after five looks the route that changed was not among those asked for")
		}
	}
}

// hangs is an ovs-vswitchd that takes a question and never answers.
type hangs struct{ Vswitchd }

func (hangs) Routes(ctx context.Context, _ []netip.Addr) (map[netip.Addr]flows.Route, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestHungWhileAsked: an ovs-vswitchd that hangs when it is asked for routes holds up a reconcile no longer than one that hangs
// from the start: what is to stop comes next.
func TestHungWhileAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), reconcileTimeout)
		defer cancel()
		begin := time.Now()
		key := flows.PathKey{Collector: aCollector.Collector, Datapath: netdev}
		if _, err := (&Controller{Vswitchd: hangs{}}).nativePaths(ctx, flows.State{}, []flows.PathKey{key}); err == nil {
			t.Error("nobody answered, and all is well")
		}
		if took := time.Since(begin); took > AliveTime {
			t.Errorf("it was waited for %v", took)
		}
	})
}
