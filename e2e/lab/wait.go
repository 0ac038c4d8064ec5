//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// How often a condition is looked at: often at first, since most waits are short, and then ever less often, since a look
// may cost a process.
const (
	pollInterval     = 5 * time.Millisecond
	pollIntervalMost = 100 * time.Millisecond
)

// longestWait bounds a wait, however long ctx lasts: what does not hold by then never will, and a scenario that fails
// should end with that, not with whatever it does when its own time is over.
const longestWait = 2 * time.Minute

type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// Permanent marks an error of a condition as one that waiting does not cure: Until returns it at once.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanentError{err}
}

// Until looks at a condition until it holds (nil), until it says that it never will (Permanent), or until ctx ends, two minutes
// at most. The error then names what was waited for and what the condition last said. Without a deadline in ctx it waits
// a minute.
func Until(ctx context.Context, what string, condition func(context.Context) error) error {
	ctx, cancel := bounded(ctx, toolTimeout)
	defer cancel()
	ctx, stop := context.WithTimeout(ctx, longestWait)
	defer stop()
	interval := pollInterval
	timer := time.NewTimer(interval)
	defer timer.Stop()
	var last error
	for {
		err := condition(ctx)
		if err == nil {
			return nil
		}
		var permanent permanentError
		if errors.As(err, &permanent) {
			return fmt.Errorf("wait until %s: %w", what, permanent.error)
		}
		if ctx.Err() == nil || last == nil {
			last = err // a condition that ctx interrupted says nothing new
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w; last: %w", what, ctx.Err(), last)
		case <-timer.C:
		}
		interval = min(interval*5/4, pollIntervalMost)
		timer.Reset(interval)
	}
}

// bounded gives ctx a deadline if it has none.
func bounded(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}
