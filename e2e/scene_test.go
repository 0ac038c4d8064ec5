//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// scene is what most scenarios play on: host h1 has the production bridge br0 with the guests a (vnet0, 10.0.0.1) and b
// (vnet1, 10.0.0.2), and the underlay bridge br-ul (192.0.2.1) with a collector (192.0.2.9, 2001:db8::9) on it.
type scene struct {
	t         testing.TB
	ctx       context.Context
	lab       *lab.Lab
	host      *lab.Host
	a, b      *lab.Node
	collector *lab.Node
	binary    string // that oe runs
}

const (
	addrA         = "10.0.0.1"
	addrB         = "10.0.0.2"
	hostAddr      = "192.0.2.1"
	hostAddr6     = "2001:db8::1"
	collectorAddr = "192.0.2.9"
	collector6    = "2001:db8::9"
)

// What our tap bridge and the tunnel port that sessions share are called, by the datapath.
var tapBridge, tunnelPort = func() (string, string) {
	if lab.Datapath() == lab.Kernel {
		return "br-erspan", "es-tun"
	}
	return "br-erspan-nd", "es-tun-nd"
}()

// alone marks a scenario that runs while no other does, and says why. All others begin with t.Parallel: each has a lab of
// its own, and waits most of the time.
func alone(t *testing.T, why string) {
	t.Helper()
	t.Logf("runs alone: %s", why)
}

// options vary a scene.
type options struct {
	guestMTU, underlayMTU int
	aPort, bPort          lab.GuestIf // how the guests are attached; addresses are filled in
}

func newScene(t testing.TB, opts ...func(*options)) *scene {
	t.Helper()
	var o options
	for _, set := range opts {
		set(&o)
	}
	s := newLab(t)
	s.must(s.host.AddBridge(s.ctx, "br0"))
	s.must(s.host.AddBridge(s.ctx, "br-ul"))
	s.a, s.b, s.collector = s.guest("a"), s.guest("b"), s.guest("col")
	o.aPort.Addrs, o.aPort.MTU = []string{addrA + "/24"}, o.guestMTU
	o.bPort.Addrs, o.bPort.MTU = []string{addrB + "/24"}, o.guestMTU
	s.must(s.host.Attach(s.ctx, s.a, "br0", "vnet0", o.aPort))
	s.must(s.host.Attach(s.ctx, s.b, "br0", "vnet1", o.bPort))
	s.must(s.host.Attach(s.ctx, s.collector, "br-ul", "uplink", lab.GuestIf{Addrs: []string{collectorAddr + "/24", collector6 + "/64"}, MTU: o.underlayMTU}))
	s.must(s.host.Underlay(s.ctx, "br-ul", 0, hostAddr+"/24", hostAddr6+"/64"))
	return s
}

// newLab is a scene with a host that has no bridge yet.
func newLab(t testing.TB) *scene {
	t.Helper()
	// The longest takes half a minute where it is alone; this is for a slow machine that plays others beside it.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	l, err := lab.New(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{t: t, ctx: ctx, lab: l, binary: binary}
	t.Cleanup(func() {
		if t.Failed() && s.host != nil {
			t.Logf("ovs-vswitchd's log:\n%s", tail(s.host.Log(), 40))
		}
		if err := l.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	s.host, err = l.Host(ctx, "h1")
	s.must(err)
	return s
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) guest(name string) *lab.Node {
	s.t.Helper()
	n, err := s.lab.Guest(s.ctx, name)
	s.must(err)
	return n
}

// result is what a run of the binary gave.
type result struct {
	stdout, stderr string
	code           int
}

// oe runs ovs-erspan on the scene's host.
func (s *scene) oe(args ...string) result {
	s.t.Helper()
	return s.oeOn(s.host, lab.Command{}, args...)
}

func (s *scene) oeOn(h *lab.Host, c lab.Command, args ...string) result {
	s.t.Helper()
	c.Args = append([]string{s.binary}, args...)
	c.Env = append(c.Env, "GORACE=atexit_sleep_ms=10") // the race detector's default is a second for each command
	stdout, stderr, err := h.Run(s.ctx, c)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("ovs-erspan %s: %v", strings.Join(args, " "), err)
	}
	r := result{stdout, stderr, 0}
	if exit != nil {
		r.code = exit.ExitCode()
	}
	if strings.Contains(stderr, "DATA RACE") {
		s.t.Errorf("ovs-erspan %s: %s", strings.Join(args, " "), stderr)
	}
	return r
}

// ok runs ovs-erspan, which has to succeed, and returns what it printed.
func (s *scene) ok(args ...string) string {
	s.t.Helper()
	r := s.oe(args...)
	if r.code != 0 {
		s.t.Fatalf("ovs-erspan %s: exit %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// refused runs ovs-erspan, which has to refuse, and returns what it said.
func (s *scene) refused(args ...string) string {
	s.t.Helper()
	r := s.oe(args...)
	if r.code != 2 {
		s.t.Fatalf("ovs-erspan %s: exit %d, want 2 (refused)\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stderr
}

// add adds a session on br0 towards the collector.
func (s *scene) add(name string, flags ...string) {
	s.t.Helper()
	s.ok(append([]string{"session", "add", name, "--bridge", "br0", "--collector", collectorAddr}, flags...)...)
}

func (s *scene) capture(n *lab.Node, dev, filter string) *lab.Capture {
	s.t.Helper()
	c, err := n.Capture(s.ctx, dev, filter)
	s.must(err)
	return c
}

func (s *scene) stop(c *lab.Capture) {
	s.t.Helper()
	s.must(c.Stop(s.ctx))
}

func (s *scene) fields(c *lab.Capture, filter string, fields ...string) [][]string {
	s.t.Helper()
	rows, err := c.Fields(s.ctx, filter, fields...)
	s.must(err)
	return rows
}

func (s *scene) waitCount(c *lab.Capture, filter string, n int) {
	s.t.Helper()
	s.must(c.WaitCount(s.ctx, filter, n))
}

// ping sends n pings from a guest; none may be lost.
func (s *scene) ping(from *lab.Node, to string, n int) {
	s.t.Helper()
	r, err := lab.Ping(s.ctx, from, netip.MustParseAddr(to), lab.PingOptions{Count: n, Interval: 10 * time.Millisecond, Wait: 10 * time.Second})
	s.must(err)
	if r.Received != n {
		s.t.Fatalf("%d of %d pings from %s to %s were answered:\n%s", r.Received, n, from, to, r.Output)
	}
}

// state of a session, with its reason, as `session show` has it.
func (s *scene) state(name string) (state, reason string) {
	s.t.Helper()
	v := s.show(name)
	return v.Status.State, v.Status.Reason
}

// shown is the part of `session show -o json` that scenarios look at.
type shown struct {
	Name      string
	Effective struct {
		SessionID     int
		Snaplen       int
		SnaplenReason string
	}
	Status struct {
		State, Reason, Message                            string
		Tapped, Guarded, Matched, Filtered, Limited, Sent count
	}
}

type count struct{ Packets, Bytes uint64 }

func (s *scene) show(name string) shown {
	s.t.Helper()
	var v shown
	s.must(json.Unmarshal([]byte(s.ok("session", "show", name, "-o", "json")), &v))
	return v
}

func tail(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
