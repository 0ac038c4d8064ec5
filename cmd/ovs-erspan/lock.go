package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
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
		f, err := openLock(path, os.O_RDWR|os.O_CREATE)
		if err != nil {
			return nil, err
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

// checkLock tells whether the lock could be had, were it not another's.
func checkLock(rundir string) error {
	f, err := openLock(filepath.Join(rundir, lockName), os.O_RDWR|os.O_CREATE)
	if err == nil {
		f.Close()
	}
	return err
}

// openLock opens the lock's file. Open vSwitch's run directory may be another user's (Red Hat), or writable by others: what
// they put there in the file's place must neither be followed nor emptied, nor keep us from reconciling by being locked.
func openLock(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, flags|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600) // O_NONBLOCK: it may be a FIFO
	switch {
	case errors.Is(err, syscall.ELOOP):
		return nil, fmt.Errorf("lock %s: is a symbolic link, which may point anywhere: remove it", path)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("lock %s: permission denied: run this as the user that reconciles, usually root", path)
	case err != nil:
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := ownLock(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w: remove it", path, err)
	}
	return f, nil
}

// ownLock refuses a file that others have a hand in. One that they could open, they could lock, too.
func ownLock(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	switch st := info.Sys().(*syscall.Stat_t); {
	case !info.Mode().IsRegular():
		return errors.New("is not a regular file")
	case !trusts(os.Geteuid(), int(st.Uid), daemonID):
		return fmt.Errorf("belongs to user %d, not to this one (%d)", st.Uid, os.Geteuid())
	case st.Nlink > 1: // 0: an uninstall removed it meanwhile
		return errors.New("has a second name")
	case info.Mode().Perm() != 0o600:
		return f.Chmod(0o600)
	}
	return nil
}

// daemonUser is whom the packages have the daemon run as. Commands are root's.
const daemonUser = "ovs-erspan"

// trusts tells whether a user takes the lock's file from its owner: each from itself and from root, and root from the daemon.
func trusts(self, owner int, daemon func() (uid int, ok bool)) bool {
	if owner == self || owner == 0 {
		return true
	}
	uid, ok := daemon()
	return ok && self == 0 && owner == uid
}

func daemonID() (uid int, ok bool) {
	u, err := user.Lookup(daemonUser)
	if err != nil {
		return 0, false
	}
	uid, err = strconv.Atoi(u.Uid)
	return uid, err == nil
}

// vanished tells whether a directory has no name any more. A process that has it mounted at its place (a container, our unit)
// goes on seeing it, and never the one that was made anew.
func vanished(dir string) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Nlink == 0
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
	PID int `json:"pid"`
	// Processes is the process namespace that PID is a number of.
	Processes string    `json:"processes,omitempty"`
	At        time.Time `json:"at"`
	// Watching is since when the daemon has been counting lost copies.
	Watching time.Time `json:"watching"`
	// Reconciled is the generation that the daemon has dealt with last, whether or not all of it could be put in force.
	Reconciled uint64 `json:"reconciled"`
	// Tried is the generation whose sessions the daemon has stopped as far as the database goes, where Trouble says why it
	// could do no more.
	Tried uint64 `json:"tried,omitempty"`
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
	f, err := openLock(filepath.Join(rundir, lockName), os.O_RDONLY)
	if err != nil {
		return sign{}, false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, signSize))
	var s sign
	if err != nil || json.Unmarshal(text, &s) != nil || s.PID == 0 || s.gone() {
		return sign{}, false
	}
	return s, true
}

// gone tells whether the daemon that wrote the sign has ended. Of one in another process namespace that is not known.
func (s sign) gone() bool {
	return s.Processes != "" && s.Processes == processes() && errors.Is(syscall.Kill(s.PID, 0), syscall.ESRCH)
}

// processes names this process's process namespace; "" where that cannot be seen.
func processes() string {
	name, _ := os.Readlink("/proc/self/ns/pid")
	return name
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
