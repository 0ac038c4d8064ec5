//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrNotRoot is returned by New to a caller who may not make network namespaces.
var ErrNotRoot = errors.New("a lab needs root: it makes network namespaces and devices")

// ErrClosed is returned by everything that is asked of a lab after Close.
var ErrClosed = errors.New("the lab is closed")

// toolTimeout bounds each tool that the lab itself runs, where the caller's context has no deadline. A busy machine needs it.
const toolTimeout = time.Minute

// maxSocketPath is the longest path of a Unix socket (unix(7): sun_path holds 108 bytes, one of them the final NUL).
const maxSocketPath = 107

// Lab is a set of machines, networks and processes that live and die together.
// Its methods may be called from several goroutines.
type Lab struct {
	dir      string
	datapath string // of every bridge: Userspace or Kernel
	spawner  *spawner
	janitor  *janitor

	mu     sync.Mutex
	closed bool
	nodes  map[string]*Node
	procs  map[*Process]struct{}
	count  int // of captures, for file names

	closeOnce sync.Once
	closeErr  error
}

// New makes an empty lab. Its files live in a new directory under dir, or under the system's directory for temporary
// files if dir is empty. Keep dir short: Unix sockets live there (see [Lab.Host]).
func New(ctx context.Context, dir string) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, ErrNotRoot
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("new lab: %w", err)
	}
	dir, err := os.MkdirTemp(dir, "oe")
	if err != nil {
		return nil, fmt.Errorf("new lab: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("new lab: %w", err)
	}
	j, err := startJanitor(dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("new lab: %w", err), os.RemoveAll(dir))
	}
	s, err := startSpawner()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("new lab: %w", err), j.stop())
	}
	return &Lab{
		dir: dir, datapath: Datapath(), spawner: s, janitor: j,
		nodes: make(map[string]*Node),
		procs: make(map[*Process]struct{}),
	}, nil
}

// Dir is the lab's own directory; Close removes it.
func (l *Lab) Dir() string { return l.dir }

// Close ends every process, removes every namespace with what is in it, and removes the lab's directory.
// It may be called more than once.
func (l *Lab) Close() error {
	l.closeOnce.Do(func() { l.closeErr = l.close() })
	return l.closeErr
}

func (l *Lab) close() error {
	l.mu.Lock()
	l.closed = true
	procs := make([]*Process, 0, len(l.procs))
	for p := range l.procs {
		procs = append(procs, p)
	}
	nodes := make([]*Node, 0, len(l.nodes))
	for _, n := range l.nodes {
		nodes = append(nodes, n)
	}
	l.mu.Unlock()

	var errs []error
	var wg sync.WaitGroup
	var errMu sync.Mutex
	for _, p := range procs {
		wg.Go(func() {
			if err := p.terminate(2 * time.Second); err != nil {
				errMu.Lock()
				errs = append(errs, err)
				errMu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, n := range nodes {
		if err := n.netns.Close(); err != nil {
			errs = append(errs, fmt.Errorf("%s: close namespace: %w", n, err))
		}
	}
	l.spawner.stop()
	errs = append(errs, os.RemoveAll(l.dir), l.janitor.stop())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close lab: %w", err)
	}
	return nil
}

// Guest makes a plain machine: a network namespace with its loopback up and no Open vSwitch.
func (l *Lab) Guest(ctx context.Context, name string) (*Node, error) {
	n, err := l.newNode(ctx, name, "guest")
	if err != nil {
		return nil, fmt.Errorf("guest %q: %w", name, err)
	}
	return n, nil
}

func (l *Lab) newNode(ctx context.Context, name, kind string) (*Node, error) {
	if name == "" || len(name) > 32 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		return nil, errors.New("a name is 1 to 32 letters, digits, dashes or underscores")
	}
	l.mu.Lock()
	_, taken := l.nodes[name]
	closed := l.closed
	l.mu.Unlock()
	switch {
	case closed:
		return nil, ErrClosed
	case taken:
		return nil, errors.New("the name is taken")
	}
	ns, err := l.spawner.newNetNS(ctx)
	if err != nil {
		return nil, fmt.Errorf("make network namespace: %w", err)
	}
	n := &Node{lab: l, name: name, kind: kind, netns: ns}

	l.mu.Lock()
	defer l.mu.Unlock()
	_, taken = l.nodes[name]
	switch {
	case l.closed:
		return nil, errors.Join(ErrClosed, ns.Close())
	case taken:
		return nil, errors.Join(errors.New("the name is taken"), ns.Close())
	}
	l.nodes[name] = n
	return n, nil
}

// newFile returns a path in the lab's directory that no one else uses.
func (l *Lab) newFile(format string, args ...any) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	return filepath.Join(l.dir, fmt.Sprintf("%03d-", l.count)+fmt.Sprintf(format, args...))
}

// janitor removes a directory when this process is gone or says so: a shell in a session of its own that waits for the
// end of a pipe which only this process holds.
type janitor struct {
	cmd  *exec.Cmd
	pipe io.Closer
}

// The removal is repeated because a process that is dying at the same moment may still create a file.
const janitorScript = `trap "" HUP INT TERM; cat >/dev/null
n=0; while [ -e "$1" ] && [ $n -lt 50 ]; do rm -rf -- "$1" && break; n=$((n+1)); sleep 0.1; done`

func startJanitor(dir string) (*janitor, error) {
	cmd := exec.Command("/bin/sh", "-c", janitorScript, "lab-janitor", dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the watcher of %s: %w", dir, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the watcher of %s: %w", dir, err)
	}
	return &janitor{cmd: cmd, pipe: pipe}, nil
}

func (j *janitor) stop() error {
	if err := errors.Join(j.pipe.Close(), j.cmd.Wait()); err != nil {
		return fmt.Errorf("end the watcher of the lab's directory: %w", err)
	}
	return nil
}

// tool finds a program also where an unprivileged user's PATH does not look.
func tool(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	if !strings.Contains(name, "/") {
		for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
			if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return p, nil
			}
		}
	}
	return "", err
}
