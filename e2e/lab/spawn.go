//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// spawner is the one OS thread of a lab that starts processes. The kernel sends the parent-death signal when the
// thread that forked ends, not the process (prctl(2), PR_SET_PDEATHSIG), and a child is born in the network namespace
// of the thread that forks: so this thread lives as long as the lab, and steps into a node's namespace to fork.
type spawner struct {
	requests chan func()
	quit     chan struct{}
	done     chan struct{}
	home     *os.File // the namespace that the thread came from
	broken   error    // only used on the thread
}

func startSpawner() (*spawner, error) {
	s := &spawner{requests: make(chan func()), quit: make(chan struct{}), done: make(chan struct{})}
	ready := make(chan error)
	go func() {
		// Never unlocked: the thread ends with this goroutine, whatever namespace it is in.
		runtime.LockOSThread()
		defer close(s.done)
		home, err := os.Open("/proc/thread-self/ns/net")
		ready <- err
		if err != nil {
			return
		}
		s.home = home
		defer home.Close()
		for {
			select {
			case f := <-s.requests:
				f()
			case <-s.quit:
				return
			}
		}
	}()
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("open this thread's network namespace: %w", err)
	}
	return s, nil
}

// stop ends the thread. Processes that it started and that still live are killed by the kernel.
func (s *spawner) stop() {
	close(s.quit)
	<-s.done
}

// do runs f on the thread, inside namespace ns, or at home if ns is nil.
func (s *spawner) do(ctx context.Context, ns *os.File, f func() error) error {
	result := make(chan error, 1)
	request := func() {
		if s.broken != nil {
			result <- s.broken
			return
		}
		if ns != nil {
			if err := setns(ns); err != nil {
				result <- err
				return
			}
		}
		err := f()
		if backErr := setns(s.home); backErr != nil {
			s.broken = fmt.Errorf("return to the home namespace: %w", backErr)
			err = errors.Join(err, s.broken)
		}
		result <- err
	}
	select {
	case s.requests <- request:
		return <-result
	case <-s.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// newNetNS makes a namespace that lives as long as the returned file is open or a process is inside.
func (s *spawner) newNetNS(ctx context.Context) (*os.File, error) {
	var ns *os.File
	err := s.do(ctx, nil, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		var err error
		if ns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		return errors.Join(quietDefaults(), linkUp("lo"))
	})
	if err != nil {
		if ns != nil {
			err = errors.Join(err, ns.Close())
		}
		return nil, err
	}
	return ns, nil
}

func setns(ns *os.File) error {
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	return nil
}

// linkUp sets a device of the calling thread's namespace up.
func linkUp(dev string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("set %s up: socket: %w", dev, err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(dev)
	if err != nil {
		return fmt.Errorf("set %s up: %w", dev, err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req); err != nil {
		return fmt.Errorf("set %s up: read flags: %w", dev, err)
	}
	req.SetUint16(req.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("set %s up: %w", dev, err)
	}
	return nil
}

// Command is a program to run on a node.
type Command struct {
	Args  []string  // the program (looked for in PATH and the sbin directories) and its arguments
	Env   []string  // added to the node's environment
	Dir   string    // working directory; empty is the caller's
	Stdin io.Reader // nil is empty

	stdout *os.File // instead of what Process.Stdout tells
}

func (c Command) String() string { return strings.Join(c.Args, " ") }

// Process is a program that was started on a node.
type Process struct {
	what   string // for errors: the node and the command
	cmd    *exec.Cmd
	stdout buffer
	stderr buffer
	done   chan struct{}
	err    error // what Wait said; valid when done is closed
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stdout is what the process wrote to standard output so far.
func (p *Process) Stdout() string { return p.stdout.String() }

// Stderr is what the process wrote to standard error so far.
func (p *Process) Stderr() string { return p.stderr.String() }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends a signal to the process.
func (p *Process) Signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("%s: signal %v: %w", p.what, sig, err)
	}
	return nil
}

// Wait waits until the process has ended. A process that failed is an error that wraps *exec.ExitError and quotes what
// it wrote to standard error.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.result()
	case <-ctx.Done():
		return fmt.Errorf("%s: still running: %w", p.what, ctx.Err())
	}
}

func (p *Process) result() error {
	if p.err == nil {
		return nil
	}
	if msg := strings.TrimSpace(p.Stderr()); msg != "" {
		return fmt.Errorf("%s: %w: %s", p.what, p.err, msg)
	}
	return fmt.Errorf("%s: %w", p.what, p.err)
}

// Stop ends the process: SIGTERM, and SIGKILL when it takes longer than 30 s or than ctx allows. That the process died
// of it is no error; what else it ended with is.
func (p *Process) Stop(ctx context.Context) error {
	grace := 30 * time.Second
	if d, ok := ctx.Deadline(); ok {
		grace = min(grace, max(0, time.Until(d)))
	}
	if err := p.terminate(grace); err != nil {
		return err
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() && s.Signal() == syscall.SIGTERM {
			return nil
		}
	}
	return p.result()
}

// Kill ends the process at once (SIGKILL) and waits until it is gone.
func (p *Process) Kill(ctx context.Context) error {
	p.signalGroup(syscall.SIGKILL)
	if err := p.Wait(ctx); err != nil && ctx.Err() != nil {
		return err
	}
	return nil
}

// terminate sends SIGTERM to the process and its children, SIGKILL after the grace time, and waits until it is gone.
func (p *Process) terminate(grace time.Duration) error {
	p.signalGroup(syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
	}
	p.signalGroup(syscall.SIGKILL)
	timer.Reset(5 * time.Second)
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		return fmt.Errorf("%s: process %d survives SIGKILL", p.what, p.PID())
	}
}

// signalGroup signals the process and its children, as long as the process has not been waited for: until then the
// group's number cannot belong to anyone else.
func (p *Process) signalGroup(sig syscall.Signal) {
	select {
	case <-p.done:
	default:
		_ = syscall.Kill(-p.PID(), sig)
	}
}

// start starts a process in namespace ns (nil: that of the caller).
func (l *Lab) start(ctx context.Context, ns *os.File, who string, env []string, c Command) (*Process, error) {
	if len(c.Args) == 0 {
		return nil, fmt.Errorf("%s: no command", who)
	}
	what := who + ": " + shorten(c.String())
	path, err := tool(c.Args[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	p := &Process{what: what, done: make(chan struct{})}
	p.cmd = exec.Command(path, c.Args[1:]...)
	p.cmd.Args[0] = filepath.Base(c.Args[0])
	p.cmd.Env = append(append(cleanEnv(), env...), c.Env...)
	p.cmd.Dir = c.Dir
	p.cmd.Stdin = c.Stdin
	p.cmd.Stdout = &p.stdout
	if c.stdout != nil {
		p.cmd.Stdout = c.stdout
	}
	p.cmd.Stderr = &p.stderr
	p.cmd.WaitDelay = time.Second // grandchildren may hold the pipes
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}

	// Registered under the lock that Close takes, so that Close sees every process that was started.
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, fmt.Errorf("%s: %w", what, ErrClosed)
	}
	if err := l.spawner.do(ctx, ns, p.cmd.Start); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	l.procs[p] = struct{}{}
	go func() {
		err := p.cmd.Wait()
		if errors.Is(err, exec.ErrWaitDelay) {
			err = nil // the process itself ended well
		}
		p.err = err
		close(p.done)
		l.mu.Lock()
		delete(l.procs, p)
		l.mu.Unlock()
	}()
	return p, nil
}

// run runs a process to its end; when ctx ends first, it is killed with its children.
func (l *Lab) run(ctx context.Context, ns *os.File, who string, env []string, c Command) (stdout, stderr string, err error) {
	p, err := l.start(ctx, ns, who, env, c)
	if err != nil {
		return "", "", err
	}
	select {
	case <-p.done:
		return p.Stdout(), p.Stderr(), p.result()
	case <-ctx.Done():
		p.signalGroup(syscall.SIGKILL)
		<-p.done
		return p.Stdout(), p.Stderr(), fmt.Errorf("%s: %w; standard error: %s", p.what, ctx.Err(), strings.TrimSpace(p.Stderr()))
	}
}

// cleanEnv is this process's environment without what would point OVS tools at another instance or change how tools
// print.
func cleanEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "OVS_") && !strings.HasPrefix(kv, "OVN_") && !strings.HasPrefix(kv, "LC_") && !strings.HasPrefix(kv, "LANG") {
			env = append(env, kv)
		}
	}
	return append(env, "LC_ALL=C")
}

func shorten(s string) string {
	const most = 300
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// buffer is a bytes.Buffer that may be read while a process writes it.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// ReadFrom keeps io.Copy from a buffer of 32 kB for each output of each process, which are thousands.
func (b *buffer) ReadFrom(r io.Reader) (total int64, err error) {
	some := make([]byte, 2048)
	for {
		n, err := r.Read(some)
		_, _ = b.Write(some[:n])
		total += int64(n)
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
