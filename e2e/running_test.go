//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// stream sends numbered UDP datagrams from a guest without end, about 500 a second, and tells after each command how far
// it is: a running flow, whose megaflow is there before a session is.
type stream struct {
	s       *scene
	process *lab.Process
}

const streamProgram = `
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end = time.monotonic() + 180
n = 0
while time.monotonic() < end:
    s.sendto(b"%08d" % n, (sys.argv[1], 9999))
    sys.stdout.write("%d\n" % n)
    sys.stdout.flush()
    n += 1
    time.sleep(0.002)
`

func startStream(s *scene) *stream {
	s.t.Helper()
	p, err := s.a.Start(s.ctx, lab.Command{Args: []string{"/usr/bin/python3", "-c", streamProgram, addrB}})
	s.must(err)
	st := &stream{s, p}
	st.waitSent(20)
	return st
}

// sent is the number of the last datagram that was sent.
func (st *stream) sent() int {
	lines := []byte(st.process.Stdout())
	end := len(lines)
	for end > 0 && lines[end-1] != '\n' {
		end--
	}
	start := end - 1
	for start > 0 && lines[start-1] != '\n' {
		start--
	}
	if start < 0 {
		return -1
	}
	n, err := strconv.Atoi(string(lines[start : end-1]))
	st.s.must(err)
	return n
}

func (st *stream) waitSent(n int) {
	st.s.t.Helper()
	st.s.must(lab.Until(st.s.ctx, fmt.Sprintf("datagram %d is sent", n), func(context.Context) error {
		if got := st.sent(); got < n {
			return fmt.Errorf("%d is", got)
		}
		return nil
	}))
}

// copied are the numbers of the datagrams whose copies a capture holds.
func copied(s *scene, wire *lab.Capture) map[int]int {
	s.t.Helper()
	numbers := map[int]int{}
	frames, err := wire.InnerFrames(s.ctx, "erspan && udp.port == 9999 && !icmp") // b answers some with ICMP errors that quote them
	s.must(err)
	for _, f := range frames {
		n, err := strconv.Atoi(string(f[14+20+8:][:8]))
		s.must(err)
		numbers[n]++
	}
	return numbers
}

// TestRunningFlowIsCopiedFromTheFirstPacket: from the first packet sent after `session add` returned none is missing,
// though the flow's megaflow was there before (facts: a changed Mirror does not revalidate). And after `session remove` or
// `disable` returned not one copy more leaves.
func TestRunningFlowIsCopiedFromTheFirstPacket(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		other string // the source of another session, which stays
		stop  []string
	}{
		"remove the last":             {"", []string{"session", "remove", "one"}},
		"disable the last":            {"", []string{"session", "disable", "one"}},
		"remove one of two on a tap":  {"vnet0", []string{"session", "remove", "one"}},
		"disable one of two on a tap": {"vnet0", []string{"session", "disable", "one"}},
		"remove one of two taps":      {"vnet1", []string{"session", "remove", "one"}}, // the tap bridge stays: only a Mirror changes
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newScene(t).runningFlow(tt.other, tt.stop)
		})
	}
}

// runningFlow adds a session to a running flow and stops it again, beside another one of this source or alone.
func (s *scene) runningFlow(other string, stop []string) {
	s.t.Helper()
	wire := s.capture(s.collector, "eth0", "proto 47")
	st := startStream(s)
	if other != "" {
		s.add("other", "--source", other, "--session-id", "9")
	}
	s.add("one", "--source", "vnet0", "--session-id", "1")
	added := st.sent()
	st.waitSent(added + 100)
	before := st.sent()
	s.ok(stop...)
	stopped := st.sent()
	st.waitSent(stopped + 100)
	s.must(st.process.Kill(s.ctx))
	s.stop(wire)
	numbers := copied(s, wire)
	per := 1
	if other != "" {
		per = 2
	}
	// The datagram in flight when a command returned may count for either side.
	for n := added + 2; n < before; n++ {
		if numbers[n] < per {
			s.t.Fatalf("datagram %d, sent after add returned at %d, has %d copies", n, added, numbers[n])
		}
	}
	for n := stopped + 2; n <= stopped+100; n++ {
		if want := per - 1; numbers[n] != want {
			s.t.Fatalf("datagram %d, sent after %v returned at %d, has %d copies, want %d", n, stop, stopped, numbers[n], want)
		}
	}
}

// TestTrafficSurvivesEveryChange: 1000 pings, and then a transfer of 100 MB, through the bridge while sessions come,
// change and go: not one ping is lost, and every byte arrives. One after the other: beside such a transfer the userspace
// datapath loses about ten of 1000 pings without any session.
func TestTrafficSurvivesEveryChange(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	whileSessionsChange(s, "pings", 7, func() error {
		r, err := lab.Ping(s.ctx, s.a, netip.MustParseAddr(addrB), lab.PingOptions{Count: 1000, Interval: 10 * time.Millisecond})
		if err == nil && r.Received != 1000 {
			err = fmt.Errorf("%d of 1000 answered", r.Received)
		}
		return err
	})
	whileSessionsChange(s, "transfer", 1, func() error { return lab.TCPTransfer(s.ctx, s.b, s.a, netip.Addr{}, 100<<20) })
}

// whileSessionsChange changes sessions, every 100 ms or as fast as the commands are, until the traffic has passed; it passes
// again where sessions have not changed so many times by then.
func whileSessionsChange(s *scene, what string, least int, traffic func() error) {
	s.t.Helper()
	done := make(chan error, 1)
	pass := func() { done <- traffic() }
	go pass()
	changes := [][]string{
		{"session", "add", "one", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr, "--session-id", "1", "--may-exist"},
		{"session", "add", "two", "--bridge", "br0", "--all-ports", "--collector", collectorAddr, "--session-id", "2", "--erspan-version", "2", "--direction", "both", "--may-exist"},
		{"session", "set", "one", "--match", "tcp", "--snaplen", "64"},
		{"session", "set", "two", "--collector", collectorAddr + "," + collector6, "--deny", "icmp"},
		{"session", "disable", "one"},
		{"session", "enable", "one"},
		{"session", "remove", "one", "two"},
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		s.ok(changes[n%len(changes)]...)
		select {
		case err := <-done:
			if err != nil {
				s.t.Errorf("%s: %v", what, err)
			}
			if err != nil || n >= least {
				return
			}
			go pass()
		case <-tick.C:
		}
	}
}
