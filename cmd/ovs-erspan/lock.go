package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// lockName is the file in the run directory that whoever reconciles holds locked (flock(2)).
const lockName = "ovs-erspan.lock"

// errLocked says that another process reconciles.
var errLocked = errors.New("another ovs-erspan is at work")

// lock is the reconciler's lock. It ends with the process, however that happens.
type lock struct {
	path string
	file *os.File
}

// tryLock takes the reconciler's lock, or fails with errLocked.
func tryLock(rundir string) (*lock, error) {
	path := filepath.Join(rundir, lockName)
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			f.Close()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				return nil, errLocked
			}
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		l := &lock{path, f}
		if l.holds() {
			_ = f.Truncate(0) // what a daemon left that is gone
			return l, nil
		}
		f.Close() // an uninstall removed the file between the two
	}
}

// holds tells whether the file in the run directory still is the one that is locked: with the directory it may have gone.
func (l *lock) holds() bool {
	there, err := os.Stat(l.path)
	if err != nil {
		return false
	}
	ours, err := l.file.Stat()
	return err == nil && os.SameFile(there, ours)
}

func (l *lock) release() { l.file.Close() }

// remove takes the file away as well.
func (l *lock) remove() error {
	defer l.release()
	return os.Remove(l.path)
}

// sign is what a daemon writes into the lock's file, as a sign of life and for commands that wait for it.
type sign struct {
	PID int       `json:"pid"`
	At  time.Time `json:"at"`
	// Reconciled is the generation that the daemon has dealt with last, whether or not all of it could be put in force.
	Reconciled uint64 `json:"reconciled"`
	// Failed says, by bridge, what could not be done then; Trouble is why nothing could.
	Failed  map[string]string `json:"failed,omitempty"`
	Trouble string            `json:"trouble,omitempty"`
}

// signSize is the length of the file, so that one write replaces the sign wholly.
const signSize = 4096

// lifeInterval is how often a daemon gives a sign of life, and lifeLimit after how long without one it counts as hung.
const (
	lifeInterval = time.Second
	lifeLimit    = 5 * time.Second
)

func (l *lock) write(s sign) error {
	text, err := json.Marshal(s)
	if err == nil && len(text) > signSize {
		s.Failed, s.Trouble = nil, "too much to tell: see the log"
		text, err = json.Marshal(s)
	}
	if err != nil {
		return err
	}
	padded := make([]byte, signSize)
	for i := range padded {
		padded[i] = ' '
	}
	copy(padded, text)
	_, err = l.file.WriteAt(padded, 0)
	return err
}

// readSign reads a daemon's sign of life; false where no daemon has written one.
func readSign(rundir string) (sign, bool) {
	text, err := os.ReadFile(filepath.Join(rundir, lockName))
	var s sign
	if err != nil || json.Unmarshal(text, &s) != nil || s.PID == 0 {
		return sign{}, false
	}
	return s, true
}

// hung tells whether the daemon that wrote the sign gives no more.
func (s sign) hung() bool { return time.Since(s.At) > lifeLimit }

// whoReconciles names for people who will put a change in force.
func (a *app) whoReconciles() string {
	if d, ok := readSign(a.rundir); ok && !d.hung() {
		return fmt.Sprintf("the daemon (process %d)", d.PID)
	}
	return "'ovs-erspan run --once'"
}
