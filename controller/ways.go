package controller

import (
	"cmp"
	"context"
	"reflect"
	"slices"
	"time"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// way is what is remembered of the path to a collector.
type way struct {
	seen    flows.Path // as last observed
	usable  flows.Path // as last observed with a route
	lost    time.Time  // since when there is no route; zero while there is one
	applied flows.Path // as of the last reconcile
	known   bool       // whether there was one
}

// hold notes the paths, and puts what was in place of those that were lost a moment ago. A route that now leaves elsewhere is
// none for the userspace datapath, whose copies leave only through its bridges.
func (c *Controller) hold(paths map[flows.PathKey]flows.Path) {
	if c.RouteHold == 0 {
		return
	}
	if c.ways == nil {
		c.ways = map[flows.PathKey]way{}
	}
	for key, p := range paths {
		w := c.ways[key]
		w.seen = p
		strayed := w.usable.Bridge != "" && p.Bridge == ""
		switch {
		case p.Device != "" && p.Source.IsValid() && !strayed:
			w.usable, w.lost = p, time.Time{}
		case w.usable.Device != "":
			if w.lost.IsZero() {
				w.lost = c.Now()
			}
			if c.Now().Sub(w.lost) >= c.RouteHold {
				w.usable, w.lost = flows.Path{}, time.Time{}
				break
			}
			held := w.usable
			held.Held, held.HasNeighbor = true, false
			paths[key] = held
		}
		c.ways[key] = w
	}
}

// holdEnds is when the first path that is held will no longer be; the zero time where none is.
func (c *Controller) holdEnds() time.Time {
	var first time.Time
	for _, w := range c.ways {
		if w.lost.IsZero() {
			continue
		}
		if end := w.lost.Add(c.RouteHold); first.IsZero() || end.Before(first) {
			first = end
		}
	}
	return first
}

// moved tells whether the plan's paths differ from those of the last reconcile in a way that running flows notice late or
// never: a next hop that answers again, another device, address or next hop.
func (c *Controller) moved(paths map[flows.PathKey]flows.Path) bool {
	for key, p := range paths {
		w, ok := c.ways[key]
		if !ok || !w.known {
			continue
		}
		was := w.applied
		if p.Device != was.Device || p.Source != was.Source || p.NextHop != was.NextHop || p.HasNeighbor && !was.HasNeighbor {
			return true
		}
	}
	return false
}

// unanswered tells whether the next hop was asked for in vain by the last reconcile already.
func (c *Controller) unanswered(key flows.PathKey) bool {
	w, ok := c.ways[key]
	return ok && w.known && w.applied.Device != "" && !w.applied.HasNeighbor
}

// settle remembers the paths as those of the last reconcile, and forgets those that no session needs.
func (c *Controller) settle(paths map[flows.PathKey]flows.Path) {
	for key, w := range c.ways {
		p, needed := paths[key]
		if !needed {
			delete(c.ways, key)
			continue
		}
		w.applied, w.known = p, true
		c.ways[key] = w
	}
}

// UnderlayChanged tells whether the underlay is not as the last reconcile saw it, for the paths that it needed.
func (c *Controller) UnderlayChanged(ctx context.Context) (bool, error) {
	if len(c.ways) == 0 {
		return false, nil
	}
	keys := make([]flows.PathKey, 0, len(c.ways))
	for key := range c.ways {
		keys = append(keys, key)
	}
	state, err := c.DB.State()
	if err != nil {
		return false, err
	}
	paths, err := c.rawPaths(ctx, state, keys)
	if err != nil {
		return false, err
	}
	for key, p := range paths {
		if !reflect.DeepEqual(p, c.ways[key].seen) {
			return true, nil
		}
	}
	return false, nil
}

// silentHop tells whether the path's next hop is needed and does not answer.
func silentHop(p flows.Path) bool {
	return p.Device != "" && !p.HasNeighbor && p.NextHop.IsValid() && !p.OwnAddress
}

// unansweredNow tells whether any next hop does not answer.
func (c *Controller) unansweredNow() bool {
	for _, w := range c.ways {
		if silentHop(w.seen) {
			return true
		}
	}
	return false
}

// ask has the next hop of a path resolved. Where the kernel has the answer already, Open vSwitch is told: it looks at
// answers only where no megaflow takes them, and one that was there takes them for as long as anybody asks.
func (c *Controller) ask(ctx context.Context, key flows.PathKey, p flows.Path) {
	var err error
	if p.Unnoticed != "" {
		err = c.Vswitchd.SetNeighbor(ctx, p.Bridge, p.NextHop, p.Unnoticed)
	} else {
		err = c.Underlay.Prime(p)
	}
	if err != nil {
		c.Log.Debug("cannot ask for the next hop", "collector", key.Collector, "error", err)
	}
}

// AskAgain has next hops that do not answer asked for again, and tells how many there are.
func (c *Controller) AskAgain(ctx context.Context) (asked int) {
	for key, w := range c.ways {
		if silentHop(w.seen) {
			asked++
			c.ask(ctx, key, w.seen)
		}
	}
	return asked
}

// routesAtOnce bounds how many routes RoutesChanged asks for.
const routesAtOnce = 64

// RoutesChanged tells whether the userspace datapath takes another way than the last reconcile saw. It asks for some of the
// routes at a time, and for all in turn.
func (c *Controller) RoutesChanged(ctx context.Context) (bool, error) {
	keys := make([]flows.PathKey, 0, len(c.ways))
	for key := range c.ways {
		if key.Datapath == netdev {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b flows.PathKey) int {
		return cmp.Or(a.Collector.Compare(b.Collector), a.Origin.Compare(b.Origin))
	})
	if n := len(keys); n > routesAtOnce {
		first := c.nextRoute % n
		c.nextRoute = first + routesAtOnce
		keys = append(keys, keys...)[first : first+routesAtOnce]
	}
	routes, err := c.routes(ctx, keys)
	if err != nil {
		return false, err
	}
	for key, r := range routes {
		seen := c.ways[key].seen
		source := r.Source != seen.Source && !key.Origin.IsValid() // of which the route says nothing
		if r.Device != seen.Device || r.Device != "" && (source || r.NextHop != seen.NextHop) {
			return true, nil
		}
	}
	return false, nil
}

// userspaceTunnels tells whether any copies leave by the userspace datapath, which has routes and neighbours of its own and
// tells nobody when they change.
func (c *Controller) userspaceTunnels() bool {
	for key := range c.ways {
		if key.Datapath == netdev {
			return true
		}
	}
	return false
}
