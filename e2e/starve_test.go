//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// crowd opens connections to a server on the host, says something on each, and leaves them there until it is let go.
func (s *scene) crowd(n int, address, say string) (letGo func()) {
	s.t.Helper()
	all := make([]net.Conn, 0, n)
	s.must(s.host.Do(func() error {
		for range n {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				return err
			}
			all = append(all, conn)
			_, _ = conn.Write([]byte(say)) // it may be closed by now
		}
		return nil
	}))
	return func() {
		for _, conn := range all {
			conn.Close()
		}
	}
}

// kilobytes is a figure of /proc/PID/status.
func (d *daemon) kilobytes(name string) (n int) {
	d.s.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.PID()))
	d.s.must(err)
	_, after, _ := strings.Cut(string(status), "\n"+name+":")
	_, err = fmt.Sscan(after, &n)
	d.s.must(err)
	return n
}

// TestManyClients: with so many connections to --listen that they would take every descriptor, sessions are kept and mended, a
// scrape gets through, and the daemon needs no more memory and descriptors than with a few.
func TestManyClients(t *testing.T) {
	alone(t, "it opens thousands of connections, and measures memory")
	const address, descriptors = "127.0.0.1:9475", 256
	s := newScene(t)
	p, err := s.host.Start(s.ctx, lab.Command{Args: []string{"prlimit", fmt.Sprintf("--nofile=%d:%d", descriptors, descriptors), plainBinary, "run", "-v", "--listen", address}})
	s.must(err)
	d := (&daemon{p, s}).ready()
	t.Cleanup(func() { _ = p.Stop(context.WithoutCancel(s.ctx)) })
	s.add("one", "--source", "vnet0")
	scrape := func() {
		t.Helper()
		if code, body, err := httpGet(s.host, address, "/metrics"); err != nil || code != 200 || !strings.Contains(body, `session="one"`) {
			t.Fatalf("a scrape: %d %v\n%.1000s", code, err, body)
		}
	}
	scrape()
	before := d.kilobytes("VmHWM")
	var limit syscall.Rlimit
	s.must(syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	for _, tt := range []struct {
		name string
		n    int
		say  string
	}{
		{"idle", 1100, ""},
		{"an endless header", 1100, "GET /metrics HTTP/1.1\r\n"},
		{"scrapes that are not read", 1100, strings.Repeat("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 100)},
		{"very many", 8000, ""},
	} {
		if uint64(tt.n)+200 > limit.Cur {
			t.Logf("%s: left out: this test may have %d descriptors only", tt.name, limit.Cur)
			continue
		}
		letGo := s.crowd(tt.n, address, tt.say)
		scrape()
		open, err := os.ReadDir(filepath.Join("/proc", fmt.Sprint(d.PID()), "fd"))
		s.must(err)
		if len(open) > descriptors/2 {
			t.Errorf("%s: the daemon has %d descriptors open", tt.name, len(open))
		}
		// All that is ours goes, and comes again.
		_, err = s.host.Vsctl(s.ctx, "del-br", tapBridge)
		s.must(err)
		s.settled("one")
		s.copies(1)
		scrape()
		letGo()
		t.Logf("%s, %d: %d descriptors; at most %d MiB, %d before", tt.name, tt.n, len(open), d.kilobytes("VmHWM")>>10, before>>10)
	}
	if after := d.kilobytes("VmHWM"); after > before+64<<10 {
		t.Errorf("it took %d MiB, and %d before", after>>10, before>>10)
	}
	if log := p.Stderr(); !strings.Contains(log, "more connections than are served at a time") || strings.Contains(log, "too many open files") {
		t.Errorf("the daemon's log:\n%s", tail(log, 40))
	}
}
