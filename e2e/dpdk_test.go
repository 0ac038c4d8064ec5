//go:build linux

package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// The scenarios of make test-dpdk that are about DPDK; the others are the same as on other ports (lab.DPDK).

func dpdkScene(t *testing.T) *scene {
	t.Helper()
	if !lab.DPDK() {
		t.Skip("needs an Open vSwitch with DPDK: make test-dpdk")
	}
	return newScene(t)
}

// pmdHits is how often the threads that poll ports found a packet's flow in a cache, such as "emc".
func (s *scene) pmdHits(cache string) (hits int) {
	s.t.Helper()
	out, err := s.host.Appctl(s.ctx, "dpif-netdev/pmd-stats-show")
	s.must(err)
	threads := strings.Split(out, "pmd thread ")
	for _, thread := range threads[1:] {
		thread, _, _ = strings.Cut(thread, "main thread")
		m := regexp.MustCompile(cache + ` hits: (\d+)`).FindStringSubmatch(thread)
		if m == nil {
			s.t.Fatalf("no %s hits in\n%s", cache, out)
		}
		n, err := strconv.Atoi(m[1])
		s.must(err)
		hits += n
	}
	return hits
}

// TestDPDKCopies: source, underlay and collector behind DPDK's ports: each frame of the source's wire is copied once in its
// direction, byte for byte, with both versions, to collectors of both families; doctor finds no fault; and nothing is left.
func TestDPDKCopies(t *testing.T) {
	t.Parallel()
	s := dpdkScene(t)
	rows, err := s.host.DumpRows(s.ctx)
	s.must(err)
	var flowsBefore [2][]string
	for i, bridge := range []string{"br0", "br-ul"} {
		flowsBefore[i], err = s.host.DumpFlows(s.ctx, bridge)
		s.must(err)
	}
	s.daemon().ready()
	type session struct {
		id                   int
		version, direction   string
		collector, collected string
	}
	var sessions []session
	for _, version := range []string{"1", "2"} {
		for _, direction := range []string{"ingress", "egress", "both"} {
			for _, c := range [][2]string{{collectorAddr, "ip.dst"}, {collector6, "ipv6.dst"}} {
				x := session{len(sessions) + 1, version, direction, c[0], c[1]}
				sessions = append(sessions, x)
				s.ok("session", "add", fmt.Sprint("s", x.id), "--bridge", "br0", "--source", "vnet0", "--session-id", fmt.Sprint(x.id),
					"--erspan-version", version, "--direction", direction, "--collector", x.collector)
			}
		}
	}
	out, err := s.a.Capture(s.ctx, "eth0", "", "-Q", "out")
	s.must(err)
	in, err := s.a.Capture(s.ctx, "eth0", "", "-Q", "in")
	s.must(err)
	wire := s.capture(s.collector, "eth0", "proto 47 or ip6 proto 47")
	s.ping(s.a, addrB, 3)
	s.fence()
	for _, c := range []*lab.Capture{out, in, wire} {
		s.stop(c)
	}
	sent, got := s.frames(out), s.frames(in)
	if len(sent) < 3 || len(got) < 3 {
		t.Errorf("a sent %d frames and got %d", len(sent), len(got))
	}
	want := map[string][][]byte{"ingress": sent, "egress": got, "both": slices.Concat(sent, got)}
	for _, x := range sessions {
		filter := fmt.Sprintf("erspan.spanid == %d && erspan.version == %s && %s == %s", x.id, x.version, x.collected, x.collector)
		sameFrames(t, fmt.Sprintf("%+v", x), s.inner(wire, filter), want[x.direction])
	}
	found, code := s.doctor()
	if code == 1 {
		t.Errorf("doctor: exit %d", code)
	}
	for id, list := range found {
		for _, f := range list {
			if f.Level != "ok" && f.Level != "skipped" && id != "clock" {
				t.Errorf("doctor: %+v", f)
			}
		}
	}
	if s.pmdHits("megaflow") == 0 {
		t.Error("no packet passed a thread that polls DPDK's ports")
	}
	s.ok("uninstall", "--yes")
	after, err := s.host.DumpRows(s.ctx)
	s.must(err)
	if diff := cmp.Diff(rows.Lines(), after.Lines()); diff != "" {
		t.Errorf("rows after uninstall (-before +after):\n%s", diff)
	}
	for i, bridge := range []string{"br0", "br-ul"} {
		lines, err := s.host.DumpFlows(s.ctx, bridge)
		s.must(err)
		if diff := cmp.Diff(flowsBefore[i], lines); diff != "" {
			t.Errorf("flows of %s after uninstall (-before +after):\n%s", bridge, diff)
		}
	}
	s.ping(s.a, addrB, 3)
}

// TestDPDKRunningFlow: a session reaches a running flow also where the threads that poll ports find its flow in one of their
// caches, and leaves it again: from the first packet on after the command returned.
func TestDPDKRunningFlow(t *testing.T) {
	t.Parallel()
	for cache, config := range map[string][]string{
		"emc": {"other_config:emc-insert-inv-prob=1", "other_config:smc-enable=false"},
		"smc": {"other_config:emc-insert-inv-prob=0", "other_config:smc-enable=true"},
	} {
		for _, other := range []string{"", "vnet0", "vnet1"} {
			t.Run(fmt.Sprintf("%s, another session of %q", cache, other), func(t *testing.T) {
				s := dpdkScene(t)
				_, err := s.host.Vsctl(s.ctx, append([]string{"set", "open", "."}, config...)...)
				s.must(err)
				s.runningFlow(other, []string{"session", "remove", "one"})
				if hits := s.pmdHits(cache); hits < 200 {
					t.Errorf("%d packets were found in the cache %s: the flow was not in it", hits, cache)
				}
			})
		}
	}
}
