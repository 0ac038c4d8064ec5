package controller

import (
	"testing"
	"time"
)

// TestContest: a flow that somebody takes away is put back three times within a minute, and then left alone for a while.
func TestContest(t *testing.T) {
	var c contest
	now := time.Unix(0, 0)
	step := func(after time.Duration, missing, want bool) {
		t.Helper()
		now = now.Add(after)
		if got := c.mayAdd("f", missing, now); got != want {
			t.Errorf("after %v, missing %v: add %v, want %v", now.Sub(time.Unix(0, 0)), missing, got, want)
		}
	}
	step(0, true, true) // placed
	for range putBacks {
		step(time.Second, false, false)
		step(time.Second, true, true)
	}
	step(time.Second, true, false)
	step(contestWindow, true, false)
	step(contestRest, true, true)
	// Now and then is no contest.
	for range 10 {
		step(contestWindow, false, false)
		step(contestWindow, true, true)
	}
}
