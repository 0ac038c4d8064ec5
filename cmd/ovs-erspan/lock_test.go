package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestLockRefusesOthers: whatever another user has put in the place of the lock's file, it is not followed, not emptied, not
// waited for, and not believed.
func TestLockRefusesOthers(t *testing.T) {
	const victim = "a file of root's that is not to be emptied"
	fake := `{"pid":1,"at":"` + time.Now().Format(time.RFC3339) + `"}`
	for name, c := range map[string]struct {
		put  func(path, victim string) error
		want string
		root bool
	}{
		"a symbolic link":       {func(path, victim string) error { return os.Symlink(victim, path) }, "symbolic link", false},
		"a link to nothing":     {func(path, victim string) error { return os.Symlink(victim+"x", path) }, "symbolic link", false},
		"a hard link":           {func(path, victim string) error { return os.Link(victim, path) }, "second name", false},
		"a FIFO":                {func(path, _ string) error { return syscall.Mkfifo(path, 0o600) }, "not a regular file", false},
		"a directory":           {func(path, _ string) error { return os.Mkdir(path, 0o700) }, "is a directory", false},
		"another user's file":   {func(path, _ string) error { return foreign(path, fake) }, "belongs to user 65534", true},
		"another user's device": {func(path, _ string) error { return syscall.Mknod(path, syscall.S_IFCHR|0o600, 0x103) }, "not a regular file", true},
	} {
		t.Run(name, func(t *testing.T) {
			if c.root && os.Geteuid() != 0 {
				t.Skip("needs root")
			}
			dir := t.TempDir()
			path, other := filepath.Join(dir, lockName), filepath.Join(dir, "victim")
			if err := os.WriteFile(other, []byte(victim), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := c.put(path, other); err != nil {
				t.Fatal(err)
			}
			if l, err := tryLock(dir); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("tryLock: %v, %v, want an error with %q", l, err, c.want)
			}
			if s, ok := readSign(dir); ok {
				t.Errorf("a sign of life is believed: %+v", s)
			}
			if text, err := os.ReadFile(other); err != nil || string(text) != victim {
				t.Errorf("the victim is now %q, %v", text, err)
			}
			if _, err := os.Stat(other + "x"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("where the link points, there is now: %v", err)
			}
		})
	}
}

func foreign(path, text string) error {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Chown(path, 65534, 65534)
}

// TestLockIsOursAlone: the file can be opened by nobody else, whatever the umask and whatever its mode was.
func TestLockIsOursAlone(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	dir := t.TempDir()
	path := filepath.Join(dir, lockName)
	for _, mode := range []os.FileMode{0, 0o666, 0o644} {
		if mode != 0 {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
		l, err := tryLock(dir)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
		}
		if _, err := tryLock(dir); !errors.Is(err, errLocked) {
			t.Errorf("a second lock: %v", err)
		}
		if err := l.write(sign{PID: 7, At: time.Now()}); err != nil {
			t.Fatal(err)
		}
		if s, ok := readSign(dir); !ok || s.PID != 7 {
			t.Errorf("the sign is %+v, %v", s, ok)
		}
		l.release()
	}
}

// TestWhoseLock: root's commands and the daemon, which has a user of its own, use one file; nobody else's is taken.
func TestWhoseLock(t *testing.T) {
	const daemon, other = 999, 65534
	for _, c := range []struct {
		self, owner int
		user, want  bool // the daemon's user exists
	}{
		{0, 0, true, true}, {0, daemon, true, true}, {0, other, true, false}, {0, daemon, false, false},
		{daemon, daemon, true, true}, {daemon, 0, true, true}, {daemon, other, true, false},
		{other, other, true, true}, {other, daemon, true, false},
	} {
		if got := trusts(c.self, c.owner, func() (int, bool) { return daemon, c.user }); got != c.want {
			t.Errorf("user %d, file of %d, the daemon's user there %v: %v", c.self, c.owner, c.user, got)
		}
	}
}

// TestVanished: a directory without a name is told from one that is there, and from none.
func TestVanished(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	if vanished(dir) {
		t.Error("none")
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	held := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	if vanished(dir) || vanished(held) {
		t.Error("there")
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if vanished(dir) || !vanished(held) {
		t.Errorf("removed: %v %v", vanished(dir), vanished(held))
	}
}
