package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lockName is the file in the run directory that whoever reconciles holds locked (flock(2)).
const lockName = "ovs-erspan.lock"

// errLocked says that another process reconciles.
var errLocked = errors.New("another ovs-erspan is at work")

// tryLock takes the reconciler's lock, or fails with errLocked. It is released by the function it returns, or when the
// process ends, however that happens.
func tryLock(rundir string) (release func(), err error) {
	path := filepath.Join(rundir, lockName)
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
	return func() { f.Close() }, nil
}
