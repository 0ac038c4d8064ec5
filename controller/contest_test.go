package controller

import (
	"slices"
	"testing"
	"time"
)

// TestContest: what somebody undoes is put back five times within a minute, then after rests that grow; what was left alone
// for a while begins anew, and so does what is wished otherwise.
func TestContest(t *testing.T) {
	type step struct {
		after  time.Duration
		wish   string
		hurry  bool
		may    bool
		begins bool
	}
	at := func(after time.Duration, may bool) step { return step{after: after, may: may} }
	rest := func(after time.Duration) step { return step{after: after, begins: true} }
	fight := []step{at(0, true)}
	for range putBacks {
		fight = append(fight, at(time.Second, true))
	}
	fight = append(fight, rest(time.Second))
	fight = slices.Clip(fight)
	for name, steps := range map[string][]step{
		"it grows": append(fight,
			at(29*time.Second, false), at(time.Second, true), rest(time.Second), at(59*time.Second, false), at(time.Second, true),
			rest(time.Second), at(2*time.Minute, true), rest(time.Second), at(4*time.Minute, true), rest(time.Second), at(8*time.Minute, true),
			rest(time.Second), at(10*time.Minute-time.Second, false), at(time.Second, true), rest(time.Second), at(10*time.Minute, true)),
		"left alone":          append(fight, at(30*time.Second, true), at(time.Minute, true), at(time.Second, true), at(time.Second, true), at(time.Second, true), at(time.Second, true), rest(time.Second)),
		"not for long enough": append(fight, at(30*time.Second, true), rest(59*time.Second)),
		"wished otherwise":    append(fight, step{after: time.Second, wish: "other", may: true}, step{after: time.Second, wish: "other", may: true}),
		"a user hurries":      append(fight, step{after: time.Second, hurry: true, may: true}, rest(time.Second), at(59*time.Second, false)),
		"now and then":        {at(0, true), at(time.Minute, true), at(time.Minute, true), at(time.Minute, true), at(time.Minute, true), at(time.Minute, true)},
	} {
		t.Run(name, func(t *testing.T) {
			c := contest{}
			now := time.Unix(0, 0)
			for i, s := range steps {
				now = now.Add(s.after)
				if s.hurry {
					c.hurry(now)
				}
				may, begins := c.may("f", s.wish, now)
				if may != s.may || begins != s.begins {
					t.Fatalf("step %d, %v: may %v, begins %v; want %v, %v", i, now.Sub(time.Unix(0, 0)), may, begins, s.may, s.begins)
				}
				if may {
					c.placed("f", s.wish, now)
				} else if next := c.next(now); !next.After(now) {
					t.Fatalf("step %d: the rest ends at %v", i, next)
				}
			}
		})
	}
	c := contest{}
	c.placed("f", "", time.Unix(0, 0))
	if c.next(time.Unix(0, 0).Add(contestForget)); len(c) != 0 {
		t.Error("what is long past is not forgotten")
	}
}

// TestContestCountsWhatIsDone: a change that could not be made counts for nothing.
func TestContestCountsWhatIsDone(t *testing.T) {
	c := contest{}
	for range 10 {
		if may, _ := c.may("f", "", time.Unix(0, 0)); !may {
			t.Fatal("never placed, and disputed")
		}
	}
	c.placed("f", "", time.Unix(0, 0))
	for range 10 {
		if may, _ := c.may("f", "", time.Unix(1, 0)); !may {
			t.Fatal("placed once, and disputed")
		}
	}
}
