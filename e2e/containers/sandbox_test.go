//go:build linux

package containers

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/testcontainers/testcontainers-go"
)

// sandbox is what deploy/compose.yaml makes: the host h1 with a guest on its bridge br0, the host h2, and a collector.
// The underlay joins h1, h2 and the collector, the LAN joins h1 and the guest.
type sandbox struct {
	h1, h2, guest, collector *machine
}

func newSandbox(t *testing.T) *sandbox {
	ctx := newContext(t)
	underlay, lan := newNetwork(ctx, t), newNetwork(ctx, t)
	on := func(n ...*testcontainers.DockerNetwork) []*testcontainers.DockerNetwork { return n }
	s := &sandbox{
		collector: start(ctx, t, "collector", collectorPrivileges, on(underlay), "collector"),
		guest:     start(ctx, t, "guest", guestPrivileges, on(lan), "plain"),
		h2:        start(ctx, t, "h2", hostPrivileges, on(underlay), "host", "br-ul=collector"),
		h1:        start(ctx, t, "h1", hostPrivileges, on(underlay, lan), "host", "br-ul=collector", "br0=guest"),
	}
	for _, m := range []*machine{s.collector, s.guest, s.h2, s.h1} {
		m.ready()
	}
	return s
}

// in is the sandbox as a subtest sees it.
func (s *sandbox) in(t *testing.T) *sandbox {
	return &sandbox{h1: s.h1.in(t), h2: s.h2.in(t), guest: s.guest.in(t), collector: s.collector.in(t)}
}

// TestSessionBetweenHosts: h1 mirrors what its guest sends and gets, to the collector and to h2, where a destination
// session delivers it to a device. Of every frame one copy arrives at each, unchanged.
func TestSessionBetweenHosts(t *testing.T) {
	all := newSandbox(t)
	t.Log(all.h1.ok("ovs-vswitchd", "--version")) // BASE and SUITE choose it
	nic := all.h1.nic("br0")
	h1, h2, collector := all.h1.addressOf("br-ul"), all.h2.addressOf("br-ul"), all.collector.addressOf("eth0")
	const pings = 10
	for _, tt := range []struct {
		version string
		flags   []string
		header  []string            // what tshark finds of the ERSPAN header …
		want    map[string][]string // … in the copy of an echo request (type 8: it comes in from the guest) and of a reply
		says    string              // how the collector's ovs-erspan begins to tell of a packet
	}{
		{
			"1", []string{"--session-id", "100", "--index", "77"},
			[]string{"gre.proto", "erspan.version", "erspan.spanid", "erspan.index"},
			map[string][]string{"8": {"0x88be", "1", "100", "77"}, "0": {"0x88be", "1", "100", "77"}},
			h1 + " > " + collector + ": ERSPAN II session 100 index 77 ",
		},
		{
			"2", []string{"--session-id", "1023", "--hwid", "7"},
			[]string{"gre.proto", "erspan.version", "erspan.spanid", "erspan.hw", "erspan.direction"},
			map[string][]string{"8": {"0x22eb", "2", "1023", "7", "0"}, "0": {"0x22eb", "2", "1023", "7", "1"}},
			h1 + " > " + collector + ": ERSPAN III session 1023 ",
		},
	} {
		t.Run("version "+tt.version, func(t *testing.T) {
			s := all.in(t)
			t.Cleanup(func() {
				s.h1.ok("ovs-erspan", "session", "remove", "web", "--if-exists")
				s.h2.ok("ovs-erspan", "session", "remove", "from-h1", "--if-exists")
			})
			erspan := append([]string{"--erspan-version", tt.version}, tt.flags...)
			wire, underlay, analyzer := s.h1.capture(nic, "icmp"), s.collector.capture("eth0", "ip proto 47"), s.h2.capture("analyzer1", "icmp")
			s.h2.ok(append([]string{"ovs-erspan", "session", "add", "from-h1", "--type", "destination",
				"--from", h1, "--output-port", "analyzer0"}, erspan...)...)
			s.h1.ok(append([]string{"ovs-erspan", "session", "add", "web", "--bridge", "br0", "--source", nic, "--match", "icmp",
				"--collector", collector, "--collector", h2}, erspan...)...)
			s.guest.ok("ping", "-c", fmt.Sprint(pings), "-i", "0.05", "-s", "1000", "-p", "5a", s.h1.addressOf("br0"))
			for _, c := range []*capture{wire, underlay, analyzer} {
				c.stop(2 * pings)
			}

			// The collector's wire: a packet for each frame, with the header that the session asks for.
			inner := []string{"icmp.type", "icmp.seq", "icmp.ident", "icmp.checksum", "ip.id", "ip.src", "eth.src", "eth.dst", "data.data"}
			var want [][]string
			for _, row := range wire.fields("icmp", inner...) {
				want = append(want, append(row, tt.want[row[0]]...))
			}
			sameRows(t, "packets at the collector", underlay.fields("erspan", append(inner, tt.header...)...), want)
			if len(want) != 2*pings {
				t.Errorf("%d frames on the guest's wire, want %d", len(want), 2*pings)
			}
			// So says the collector's ovs-erspan, which runs since it was started.
			s.collector.wait("tells of every packet", func() error {
				if n := strings.Count(s.collector.log(), tt.says); n != 2*pings {
					return fmt.Errorf("%d lines with %q, want %d", n, tt.says, 2*pings)
				}
				return nil
			})
			// What h2 delivers is what was on the guest's wire, byte for byte.
			if sent, delivered := wire.frames(), analyzer.frames(); !slices.Equal(sent, delivered) {
				t.Errorf("delivered:\n%s\nwant what was on the guest's wire:\n%s", strings.Join(delivered, "\n"), strings.Join(sent, "\n"))
			}
			for _, c := range []struct {
				m       *machine
				counter string
				want    int
			}{{s.h1, "sent", 2 * 2 * pings}, {s.h2, "terminated", 2 * pings}, {s.h2, "delivered", 2 * pings}, {s.h2, "oversize", 0}} {
				session := map[*machine]string{s.h1: "web", s.h2: "from-h1"}[c.m]
				c.m.wait("counts", func() error {
					if n := c.m.packets(session, c.counter); n != c.want {
						return fmt.Errorf("session %s: %s %d packets, want %d", session, c.counter, n, c.want)
					}
					return nil
				})
			}

		})
	}
	for _, m := range []*machine{all.h1, all.h2} {
		if bridges := m.ok("ovs-vsctl", "list-br"); strings.Contains(bridges, "erspan") {
			t.Errorf("%s: without a session there are the bridges %q", m.name, bridges)
		}
	}
}

// sameRows compares rows without their order.
func sameRows(t *testing.T, what string, got, want [][]string) {
	t.Helper()
	lines := func(rows [][]string) []string {
		var all []string
		for _, r := range rows {
			all = append(all, strings.Join(r, " "))
		}
		slices.Sort(all)
		return all
	}
	if g, w := lines(got), lines(want); !slices.Equal(g, w) {
		t.Errorf("%s:\n%s\nwant:\n%s", what, strings.Join(g, "\n"), strings.Join(w, "\n"))
	}
}
