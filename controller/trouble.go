package controller

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// bridgeTime bounds what one bridge may take of a reconcile: one that hangs holds up no other. hungTime is for one that did
// not answer the last time.
const (
	bridgeTime = 5 * time.Second
	hungTime   = time.Second
)

// share bounds a part of the work by half of the time that is left for all of it.
func share(ctx context.Context, most time.Duration) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		most = min(most, time.Until(deadline)/2)
	}
	return context.WithTimeout(ctx, most)
}

// eachBridge does something to bridges side by side. What fails is noted as the bridge's failure; one that failed a moment
// ago is left alone. do is given a result of its own.
func (c *Controller) eachBridge(ctx context.Context, bridges map[string][]flows.Line, result *Result, do func(ctx context.Context, bridge string, part *Result) error) {
	var (
		mu   sync.Mutex
		wait sync.WaitGroup
		hung = map[string]bool{}
	)
	for _, bridge := range slices.Sorted(maps.Keys(bridges)) {
		if err := c.Skip[bridge]; err != nil {
			mu.Lock()
			result.Failed[bridge] = err
			mu.Unlock()
			continue
		}
		most := bridgeTime
		if c.hung[bridge] {
			most = hungTime
		}
		wait.Go(func() {
			ctx, cancel := share(ctx, most)
			defer cancel()
			var part Result
			err := do(ctx, bridge, &part)
			mu.Lock()
			defer mu.Unlock()
			result.FlowMods += part.FlowMods
			result.Contested = append(result.Contested, part.Contested...)
			result.resting = append(result.resting, part.resting...)
			hung[bridge] = ctx.Err() != nil
			if err != nil {
				result.Failed[bridge] = err
			}
		})
	}
	wait.Wait()
	if c.hung == nil {
		c.hung = map[string]bool{}
	}
	maps.Copy(c.hung, hung)
}

// Stop takes the rows away that no session wishes any more. It needs the database only, and waits for nobody: what is
// stopped is so when ovs-vswitchd, which is not there or hangs, does its work again.
func (c *Controller) Stop(ctx context.Context) (Result, error) {
	const tries = 5
	for try := 1; ; try++ {
		result, err := c.stop(ctx)
		if err == nil || !c.Stale(err) || try == tries || ctx.Err() != nil {
			return result, err
		}
	}
}

func (c *Controller) stop(ctx context.Context) (Result, error) {
	wish, err := c.DB.Wish()
	if err != nil {
		return Result{}, err
	}
	result := Result{Generation: wish.Generation, Wish: wish}
	state, err := c.DB.State()
	if err != nil {
		return result, err
	}
	ops := flows.StopChanges(state.WithoutSelfTests(c.Now()), wish.Sessions, c.Now())
	if len(ops) == 0 {
		return result, nil
	}
	// Pairs of devices are known by their ports' rows: they go before those.
	goes := map[string]bool{}
	for _, op := range ops {
		goes[op.DelPort] = true
	}
	known := slices.DeleteFunc(flows.KnownVeths(state, flows.Program{}), func(v flows.Veth) bool { return !goes[v.In] && !goes[v.Out] })
	if len(known) > 0 {
		there, _, err := c.Underlay.Veths(known)
		if err == nil {
			err = c.changeVeths(there, c.Underlay.DeleteVeth, &result)
		}
		if err != nil {
			return result, err
		}
	}
	for chunk := range slices.Chunk(ops, portsAtOnce) {
		if err := c.DB.Commit(ctx, chunk); err != nil {
			return result, err
		}
		result.RowOps += len(chunk)
	}
	// Where nothing is attached any more, the host's own stack gets all again.
	if devices := flows.IsolatedBefore(state, flows.Program{}); len(devices) > 0 && slices.ContainsFunc(ops, func(op flows.RowOp) bool { return op.DelBridge }) {
		if _, err := c.Underlay.Isolate(state.UUID, nil); err != nil {
			return result, err
		}
	}
	c.Log.Info("what no session wishes any more is taken out of the database", "rows", result.RowOps)
	return result, nil
}
