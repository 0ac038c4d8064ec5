//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// TestMaxPacketsWithDaemon: a session that has sent so many packets ends by itself, and stays so over restarts; production
// and the session beside it go on; enabled again it begins anew, and with a higher limit it goes on.
func TestMaxPacketsWithDaemon(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.daemon().ready()
	s.add("all", "--source", "vnet0", "--direction", "ingress", "--session-id", "1")
	if r := s.oe("session", "add", "few", "--bridge", "br0", "--collector", collectorAddr, "--source", "vnet0", "--direction", "ingress",
		"--session-id", "2", "--max-packets", "50"); r.code != 0 || strings.Contains(r.stderr, "so many packets") {
		t.Fatalf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	wire := s.capture(s.collector, "eth0", "proto 47")
	if got := s.load(300, 100); got != 300 {
		t.Errorf("%d of 300 datagrams of production arrived", got)
	}
	s.waitCount(wire, "erspan.spanid == 1 && udp", 300)
	s.becomes("few", "Disabled", "LimitReached")
	s.stop(wire)
	before, err := wire.Count(s.ctx, "erspan.spanid == 2")
	s.must(err)
	if v := s.show("few"); before < 50 || !strings.Contains(v.Status.Message, "of at most 50") {
		t.Errorf("%d copies before the end: %s", before, v.Status.Message)
	}
	s.nothingToDo()
	copies := func(id int) int {
		t.Helper()
		wire := s.capture(s.collector, "eth0", "proto 47")
		s.ping(s.a, addrB, 5)
		s.waitCount(wire, "erspan.spanid == 1 && icmp", 5)
		s.stop(wire)
		n, err := wire.Count(s.ctx, fmt.Sprintf("erspan.spanid == %d && icmp", id))
		s.must(err)
		return n
	}
	if n := copies(2); n != 0 {
		t.Errorf("%d copies after the end", n)
	}
	s.must(s.host.KillVswitchd(s.ctx))
	s.must(s.host.StartVswitchd(s.ctx))
	s.settled("all")
	s.becomes("few", "Disabled", "LimitReached")

	s.ok("session", "enable", "few")
	s.becomes("few", "Active", "") // what a guest says by itself is traffic, too
	if n := copies(2); n != 5 {
		t.Errorf("enabled again: %d copies", n)
	}
}

// TestMaxBytesWithoutDaemon: without a daemon each command looks at the counters, and says at once that only it does; what
// was counted survives a restart of Open vSwitch, whose counters begin anew.
func TestMaxBytesWithoutDaemon(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	r := s.oe("session", "add", "few", "--bridge", "br0", "--collector", collectorAddr, "--source", "vnet0", "--max-bytes", "8k")
	if r.code != 0 || !strings.Contains(r.stderr, "so many packets or bytes only where somebody looks") {
		t.Fatalf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	sent := func(packets int) {
		t.Helper()
		s.ping(s.a, addrB, packets/2)
		s.must(lab.Until(s.ctx, "they are counted", func(context.Context) error {
			if n := s.show("few").Status.Sent.Packets; n < uint64(packets) {
				return fmt.Errorf("%d of %d", n, packets)
			}
			return nil
		}))
	}
	sent(50) // 98 bytes each, with some ARP
	s.ok("run", "--once")
	if state, reason := s.state("few"); state != "Active" {
		t.Errorf("%s, %s after 4900 bytes of 8000", state, reason)
	}
	s.must(s.host.KillVswitchd(s.ctx))
	s.must(s.host.StartVswitchd(s.ctx))
	s.ok("run", "--once")
	sent(50)
	s.ok("run", "--once")
	if state, reason := s.state("few"); state != "Disabled" || reason != "LimitReached" {
		t.Errorf("%s, %s after 9800 bytes of 8000", state, reason)
	}
	s.noCopies()
	s.nothingToDo()
	exported := s.ok("export")
	if !strings.Contains(exported, "maxBytes: 8000") || strings.Contains(exported, "disabled") {
		t.Errorf("export:\n%s", exported)
	}

	s.ok("session", "set", "few", "--max-bytes", "1M") // it goes on
	s.copies(1)
	if used := s.used("few"); used.Bytes < 8000 {
		t.Errorf("with a higher limit it counts %+v", used)
	}
	s.ok("session", "set", "few", "--max-bytes", "8k")
	s.becomes("few", "Disabled", "LimitReached")
	s.ok("session", "enable", "few") // and here it begins anew
	if used := s.used("few"); used.Bytes >= 8000 {
		t.Errorf("enabled again it counts %+v", used)
	}
	s.becomes("few", "Active", "") // what a guest says by itself is traffic, too
	s.ok("session", "set", "few", "--unset", "max-bytes")
	if text := s.ok("session", "show", "few"); strings.Contains(text, "Ends after") {
		t.Errorf("without a limit:\n%s", text)
	}
}

func (s *scene) used(name string) count {
	s.t.Helper()
	var v struct{ Status struct{ Used count } }
	s.must(json.Unmarshal([]byte(s.ok("session", "show", name, "-o", "json")), &v))
	return v.Status.Used
}

// TestMaxPacketsDelivered: a destination session ends after so many packets, too; what arrives then is no session's.
func TestMaxPacketsDelivered(t *testing.T) {
	t.Parallel()
	f := newFarEnd(t)
	f.receive("in", "--from", hostAddr, "--session-id", "9", "--max-packets", "20")
	f.send("out", "--source", "vnet0", "--collector", farAddr, "--session-id", "9", "--match", "icmp")
	delivered := f.capture(f.analyzer, "eth0", "icmp")
	f.ping(f.a, addrB, 15)
	f.waitCount(delivered, "", 30)
	f.stop(delivered)
	f.must(lab.Until(f.ctx, "they are counted", func(context.Context) error {
		if text := f.far("session", "show", "in"); !strings.Contains(text, "20 packets (30 now)") {
			return errors.New(text)
		}
		return nil
	}))
	f.far("run", "--once")
	if text := f.far("session", "show", "in"); !strings.Contains(text, "Disabled, LimitReached") {
		t.Errorf("session show:\n%s", text)
	}
	after := f.capture(f.analyzer, "eth0", "icmp")
	f.ping(f.a, addrB, 5)
	f.ping(f.a, addrB, 1)
	f.stop(after)
	if n, err := after.Count(f.ctx, ""); err != nil || n != 0 {
		t.Errorf("%d frames were delivered after the end, %v", n, err)
	}
}
