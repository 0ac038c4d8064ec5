//go:build linux

package e2e

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Of TestModel: a seed of one's own ($OVS_ERSPAN_SEED, as a failed run has printed it), and for how long to go on with
// ever other random seeds ($OVS_ERSPAN_SOAK, as 30m; see `make soak`).
const (
	seedVariable = "OVS_ERSPAN_SEED"
	soakVariable = "OVS_ERSPAN_SOAK"
)

// modelSeed is the seed of the first of modelSeeds sequences that every run plays, the same each time: what a change breaks is
// then the change's. New sequences are found by soaking. modelSteps is the mean length of a sequence, which is modelMost at
// most.
const (
	modelSeed  = 20260101
	modelSeeds = 4
	modelSteps = 25
	modelMost  = 60
)

// TestModel: random sequences of all commands, with and without the daemon, on a host with production traffic and with
// faults: processes killed, rows and flows of ours deleted, ports that come and go. After each step production has lost
// nothing, what is others' is as it was, and the copies are exactly those that a model of the wish predicts.
//
// A failed sequence is made shorter as far as it still fails, and printed with its seed.
func TestModel(t *testing.T) {
	t.Parallel()
	seeds, until := []uint64{}, time.Time{}
	for n := range uint64(modelSeeds) {
		seeds = append(seeds, modelSeed+n)
	}
	if text := os.Getenv(seedVariable); text != "" {
		seed, err := strconv.ParseUint(text, 0, 64)
		if err != nil || seed == 0 {
			t.Fatalf("$%s=%q: want a number from 1", seedVariable, text)
		}
		seeds, until = []uint64{seed}, time.Time{}
	}
	shrink := cmp.Or(os.Getenv("RAPID_SHRINKTIME"), "1m")
	if text := os.Getenv(soakVariable); text != "" {
		length, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("$%s=%q: want a duration, as 30m", soakVariable, text)
		}
		until = time.Now().Add(length)
	}
	// One sequence a seed, so that the seed that is printed is all that it takes to see the sequence again.
	for name, value := range map[string]string{"checks": "1", "steps": strconv.Itoa(modelSteps), "nofailfile": "true", "shrinktime": shrink} {
		setFlag(t, "rapid."+name, value)
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			playSeed(t, seed)
		})
	}
	for ok := true; ok && time.Now().Before(until); {
		seed := rand.Uint64N(1<<32) + 1
		ok = t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { playSeed(t, seed) })
	}
}

// seedFlag guards rapid's flag for the seed, of which there is one, from where it is set to where rapid has read it.
var seedFlag sync.Mutex

// playSeed plays the sequence of a seed, and where it fails those that make it shorter.
func playSeed(t *testing.T, seed uint64) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("to see it again: %s=%d go test -count=1 -run 'TestModel' ./e2e", seedVariable, seed)
		}
	})
	seedFlag.Lock()
	hasRead := sync.OnceFunc(seedFlag.Unlock)
	defer hasRead()
	if err := flag.Set("rapid.seed", strconv.FormatUint(seed, 10)); err != nil {
		t.Fatal(err)
	}
	first := true
	rapid.Check(t, func(r *rapid.T) {
		hasRead()
		m := &modelT{TB: t, r: r, first: first}
		first = false
		defer m.cleanup()
		runModel(m)
	})
}

func setFlag(t *testing.T, name, value string) {
	t.Helper()
	f := flag.Lookup(name)
	was := f.Value.String()
	if err := f.Value.Set(value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Value.Set(was) })
}

// modelT has a sequence's failures go to rapid, which makes the sequence shorter, and its cleanups run at the end of the
// sequence. The first sequence's log goes to the test as well: it may not fail a second time.
type modelT struct {
	testing.TB
	r        *rapid.T
	first    bool
	tell     func() // logs how it came to a failure
	cleanups []func()
}

func (m *modelT) Cleanup(f func()) { m.cleanups = append(m.cleanups, f) }

func (m *modelT) cleanup() {
	for _, f := range slices.Backward(m.cleanups) {
		f()
	}
}

func (m *modelT) Logf(format string, args ...any) {
	m.TB.Helper()
	if m.r.Logf(format, args...); m.first {
		m.TB.Logf(format, args...)
	}
}

func (m *modelT) Log(args ...any)                   { m.TB.Helper(); m.Logf("%s", fmt.Sprintln(args...)) }
func (m *modelT) Errorf(format string, args ...any) { m.TB.Helper(); m.r.Errorf(format, args...) }
func (m *modelT) Error(args ...any)                 { m.TB.Helper(); m.r.Error(args...) }
func (m *modelT) Fatal(args ...any)                 { m.TB.Helper(); m.fatal(fmt.Sprint(args...)) }
func (m *modelT) Fatalf(format string, args ...any) {
	m.TB.Helper()
	m.fatal(fmt.Sprintf(format, args...))
}
func (m *modelT) Fail()        { m.r.Fail() }
func (m *modelT) FailNow()     { m.r.FailNow() }
func (m *modelT) Failed() bool { return m.r.Failed() }
func (m *modelT) Helper()      { m.TB.Helper() }

// fatal fails with the first words only, which do not differ from run to run: so rapid takes a shorter sequence that
// fails in the same way for the same failure. The whole is logged.
func (m *modelT) fatal(message string) {
	m.TB.Helper()
	m.Logf("%s", message)
	if tell := m.tell; tell != nil {
		m.tell = nil // it may fail, too
		tell()
	}
	short, _, _ := strings.Cut(message, ":")
	m.r.Fatalf("%s", short)
}

// runModel plays one sequence.
func runModel(m *modelT) {
	w := newWorld(m)
	m.r.Repeat(map[string]func(*rapid.T){
		"step": w.step,
		"":     w.check,
	})
	w.end()
}

// modelTimeout bounds a sequence.
const modelTimeout = 10 * time.Minute

func modelContext(m *modelT) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), modelTimeout)
	m.Cleanup(cancel)
	return ctx
}
