package controller

import (
	"context"
	"log/slog"
	"net/netip"
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
