//go:build linux

package e2e

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// What every field of the outer headers is on the collector's wire, as tshark reads it. The pings are a's, and vnet0 is
// the source: requests are ingress, replies egress.
func TestHeaderFieldsOnTheWire(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.ping(s.a, addrB, 1) // so that ARP is done
	for _, test := range []struct {
		flags []string
		want  map[string]string // what every copy has
		// The direction bit of version 2 on requests and replies.
		request, reply string
	}{
		{
			flags: []string{"--session-id", "100", "--index", "10"},
			want:  map[string]string{"gre.proto": "0x88be", "erspan.version": "1", "erspan.spanid": "100", "erspan.index": "10"},
		},
		{
			flags: []string{"--session-id", "0", "--index", "0x10"},
			want:  map[string]string{"gre.proto": "0x88be", "erspan.version": "1", "erspan.spanid": "0", "erspan.index": "16"},
		},
		{
			flags: []string{"--session-id", "1023", "--index", "1048575"},
			want:  map[string]string{"gre.proto": "0x88be", "erspan.version": "1", "erspan.spanid": "1023", "erspan.index": "1048575"},
		},
		{
			flags:   []string{"--erspan-version", "2", "--session-id", "1023", "--hwid", "10"},
			want:    map[string]string{"gre.proto": "0x22eb", "erspan.version": "2", "erspan.spanid": "1023", "erspan.hw": "10"},
			request: "0", reply: "1",
		},
		{
			flags:   []string{"--erspan-version", "2", "--session-id", "0", "--hwid", "63"},
			want:    map[string]string{"gre.proto": "0x22eb", "erspan.version": "2", "erspan.spanid": "0", "erspan.hw": "63"},
			request: "0", reply: "1",
		},
		{
			flags:   []string{"--erspan-version", "2", "--session-id", "0x64", "--hwid", "0", "--direction", "egress"},
			want:    map[string]string{"gre.proto": "0x22eb", "erspan.version": "2", "erspan.spanid": "100", "erspan.hw": "0"},
			request: "", reply: "1",
		},
	} {
		t.Run(strings.Join(test.flags, " "), func(t *testing.T) {
			const pings = 3
			expected := 2 * pings
			if slices.Contains(test.flags, "egress") {
				expected = pings
			}
			s.add("web", append([]string{"--source", "vnet0"}, test.flags...)...)
			c := s.capture(s.collector, "eth0", "proto 47")
			s.ping(s.a, addrB, pings)
			s.waitCount(c, "erspan && icmp", expected)
			s.stop(c)
			s.ok("session", "remove", "web")

			names := []string{"icmp.type", "erspan.direction", "gre.flags.sequence_number", "gre.flags.key", "gre.flags.checksum", "ip.src", "ip.dst", "ip.ttl", "ip.dsfield.dscp", "ip.flags.df"}
			for name := range test.want {
				names = append(names, name)
			}
			rows := s.fields(c, "erspan && icmp", names...)
			if len(rows) != expected {
				t.Errorf("%d copies of %d pings, want %d: %v", len(rows), pings, expected, rows)
			}
			for _, row := range rows {
				got := map[string]string{}
				for i, name := range names {
					got[name] = outermost(row[i])
				}
				want := map[string]string{
					"gre.flags.sequence_number": "1", "gre.flags.key": "0", "gre.flags.checksum": "0",
					"ip.src": hostAddr, "ip.dst": collectorAddr, "ip.ttl": "64", "ip.dsfield.dscp": "0", "ip.flags.df": "1",
				}
				if lab.Datapath() == lab.Kernel {
					want["ip.flags.df"] = "0" // copies may leave in two packets (docs/adr/0011)
				}
				for name, value := range test.want {
					want[name] = value
				}
				want["erspan.direction"] = test.request
				if got["icmp.type"] == "0" {
					want["erspan.direction"] = test.reply
				}
				for name, value := range want {
					if got[name] != value {
						t.Errorf("%s is %q on the wire, want %q (packet: %v)", name, got[name], value, got)
					}
				}
			}
		})
	}
}

// A session's own DSCP, TTL and origin stand on its outer header, and on no other session's.
func TestOuterHeaderIsTheSessionsOwn(t *testing.T) {
	t.Parallel()
	const origin = "192.0.2.5"
	s := newScene(t)
	s.must(s.host.Underlay(s.ctx, "br-ul", 0, hostAddr+"/24", origin+"/24", hostAddr6+"/64"))
	s.add("plain", "--source", "vnet0", "--session-id", "1")
	s.add("marked", "--source", "vnet0", "--session-id", "2", "--dscp", "46", "--ttl", "9", "--origin", origin)
	c := s.capture(s.collector, "eth0", "proto 47")
	s.ping(s.a, addrB, 2)
	s.waitCount(c, "erspan && icmp", 8)
	s.stop(c)
	for id, want := range map[string][]string{
		"1": {hostAddr, "64", "0"},
		"2": {origin, "9", "46"},
	} {
		rows := s.fields(c, "icmp && erspan.spanid == "+id, "ip.src", "ip.ttl", "ip.dsfield.dscp")
		if len(rows) != 4 {
			t.Errorf("session id %s: %d copies, want 4", id, len(rows))
		}
		for _, row := range rows {
			got := []string{outermost(row[0]), outermost(row[1]), outermost(row[2])}
			if !slices.Equal(got, want) {
				t.Errorf("session id %s: source, TTL and DSCP of the outer header are %v, want %v", id, got, want)
			}
		}
	}
}

// outermost is the first of a field's values in a packet: the one on the outer header, where tshark finds the field there.
func outermost(values string) string {
	first, _, _ := strings.Cut(values, ",")
	return first
}

// Hardware addresses of raw frames between a and b.
var (
	rawA = []byte{2, 0, 0, 0, 0xa, 1}
	rawB = []byte{2, 0, 0, 0, 0xb, 1}
)

// rawMark stands in every raw frame, so that they are told from what the guests send by themselves.
var rawMark = []byte("mark of the raw frames")

// rawFrame is an Ethernet frame of an EtherType for experiments, with 802.1Q tags (TCI: priority, DEI, VLAN), a number
// and filling up to a size. All frames of a test differ.
func rawFrame(dst, src []byte, number byte, size int, tags ...uint16) []byte {
	f := slices.Concat(dst, src)
	for _, tci := range tags {
		f = append(f, 0x81, 0x00, byte(tci>>8), byte(tci))
	}
	f = append(f, 0x88, 0xb5, number)
	f = append(f, rawMark...)
	for len(f) < size {
		f = append(f, byte(len(f)))
	}
	return f
}

// rawFrames are the captured frames that are raw frames.
func (s *scene) rawFrames(c *lab.Capture) [][]byte {
	s.t.Helper()
	frames, err := c.Frames(s.ctx)
	s.must(err)
	var raw [][]byte
	for _, f := range frames {
		raw = append(raw, f.Data)
	}
	return onlyRaw(raw)
}

// rawCopies are the raw frames in the ERSPAN packets that meet a display filter.
func (s *scene) rawCopies(c *lab.Capture, filter string) [][]byte {
	s.t.Helper()
	copies, err := c.InnerFrames(s.ctx, filter)
	s.must(err)
	return onlyRaw(copies)
}

func onlyRaw(frames [][]byte) [][]byte {
	return slices.DeleteFunc(frames, func(f []byte) bool { return !bytes.Contains(f, rawMark) })
}

// sameFrames compares frames without regard to their order: Open vSwitch takes packets in batches, by flow.
func sameFrames(t *testing.T, what string, got, want [][]byte) {
	t.Helper()
	list := func(frames [][]byte) string {
		var lines []string
		for _, f := range frames {
			lines = append(lines, fmt.Sprintf("  %3d bytes %s", len(f), hex.EncodeToString(f[:min(len(f), 26)])))
		}
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	sorted := func(frames [][]byte) [][]byte { return slices.SortedFunc(slices.Values(frames), bytes.Compare) }
	if !slices.EqualFunc(sorted(got), sorted(want), bytes.Equal) {
		t.Errorf("%s: frames differ\ngot %d:\n%s\nwant %d:\n%s", what, len(got), list(got), len(want), list(want))
	}
}
