//go:build linux

package e2e

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// The mirrored frame is byte for byte what was on the source's wire, with the tags that it had there and no others,
// whatever the port's VLAN mode: what a capture on the guest's own device sees is what the collector gets.
func TestFramesAreAsOnTheSourcesWire(t *testing.T) {
	t.Parallel()
	const priority = 5 << 13
	for _, test := range []struct {
		name         string
		source       lab.GuestIf
		fromA, fromB [][]uint16 // the tags of the frames that each guest sends; b's port is a trunk of all VLANs
		onWireOfA    int        // how many of both are on a's wire
	}{
		{
			name: "access port", source: lab.GuestIf{Tag: 10},
			fromA: [][]uint16{{}}, fromB: [][]uint16{{10}, {11}}, onWireOfA: 2,
		},
		{
			name: "trunk", source: lab.GuestIf{Trunks: []int{10, 20}},
			fromA: [][]uint16{{10}, {priority | 20}}, fromB: [][]uint16{{10}, {priority | 20}, {30}}, onWireOfA: 4,
		},
		{
			name: "trunk of all VLANs", source: lab.GuestIf{},
			fromA: [][]uint16{{}, {10}, {priority | 20, 30}}, fromB: [][]uint16{{}, {10}, {4094}}, onWireOfA: 6,
		},
		{
			name: "native-untagged", source: lab.GuestIf{Tag: 10, Trunks: []int{20}, VLANMode: "native-untagged"},
			fromA: [][]uint16{{}, {20}}, fromB: [][]uint16{{10}, {priority | 20}}, onWireOfA: 4,
		},
		{
			name: "dot1q-tunnel", source: lab.GuestIf{Tag: 10, VLANMode: "dot1q-tunnel"},
			fromA: [][]uint16{{}, {20}}, fromB: [][]uint16{{10}, {10, 20}}, onWireOfA: 4,
		},
		{
			// Priority 0 first: the megaflow that Open vSwitch makes for another takes it, too, and keeps the tag by itself.
			name: "priority-tagged on a trunk", source: lab.GuestIf{},
			fromA: [][]uint16{{0}, {priority}}, fromB: [][]uint16{{}, {0}, {priority}}, onWireOfA: 5,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, func(o *options) { o.aPort = test.source })
			s.add("v1", "--source", "vnet0", "--session-id", "1")
			s.add("v2", "--source", "vnet0", "--session-id", "2", "--erspan-version", "2")
			wire := s.capture(s.a, "eth0", "")
			c := s.capture(s.collector, "eth0", "proto 47")
			s.exchange(test.fromA, test.fromB)
			s.must(wire.WaitCount(s.ctx, "", test.onWireOfA))
			s.waitCount(c, "erspan", 2*test.onWireOfA)
			s.fence()
			s.stop(wire)
			s.stop(c)
			want := s.rawFrames(wire)
			if len(want) != test.onWireOfA {
				t.Errorf("%d frames on the source's wire, want %d", len(want), test.onWireOfA)
			}
			sameFrames(t, "version 1", s.rawCopies(c, "erspan.spanid == 1"), want)
			sameFrames(t, "version 2", s.rawCopies(c, "erspan.spanid == 2"), want)
		})
	}
}

// Where the bridge's view of a frame's VLAN is all that a Mirror has, the copy shows less than the wire did. This holds the
// cases that docs/what-a-copy-shows.md names.
func TestTagsThatACopyCannotShow(t *testing.T) {
	t.Parallel()
	const priority = 5 << 13
	for _, test := range []struct {
		name   string
		source lab.GuestIf
		fromA  [][]uint16
		copies map[byte][]uint16 // by number of the frame: the tags of its copy
	}{
		{"VLANs that the port refuses", lab.GuestIf{Trunks: []int{10}}, [][]uint16{{30}, {}, {10}}, map[byte][]uint16{2: {10}}},
		{"access port, tagged", lab.GuestIf{Tag: 10}, [][]uint16{{10}, {priority}, {}}, map[byte][]uint16{1: {}, 2: {}}},
		{"native-tagged, untagged on the wire", lab.GuestIf{Tag: 10, VLANMode: "native-tagged"}, [][]uint16{{}, {10}}, map[byte][]uint16{0: {10}, 1: {10}}},
		{"native-untagged, tagged on the wire", lab.GuestIf{Tag: 10, VLANMode: "native-untagged"}, [][]uint16{{10}}, map[byte][]uint16{0: {}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, func(o *options) { o.aPort = test.source })
			s.add("web", "--source", "vnet0")
			c := s.capture(s.collector, "eth0", "proto 47")
			s.exchange(test.fromA, nil)
			s.fence()
			s.stop(c)
			got := map[byte][]uint16{}
			for _, f := range s.rawCopies(c, "") {
				tags := []uint16{}
				for f[12] == 0x81 && f[13] == 0 {
					tags = append(tags, uint16(f[14])<<8|uint16(f[15]))
					f = append(f[:12:12], f[16:]...)
				}
				got[f[14]] = tags
			}
			if diff := cmp.Diff(test.copies, got); diff != "" {
				t.Errorf("tags of the copies, by number of the frame (-want +got):\n%s", diff)
			}
		})
	}
}

// --vlan on a trunk copies that VLAN and no other.
func TestVLANOfATrunk(t *testing.T) {
	t.Parallel()
	s := newScene(t, func(o *options) { o.aPort = lab.GuestIf{Trunks: []int{10, 20, 30}} })
	s.add("ten", "--source", "vnet0", "--session-id", "1", "--vlan", "10")
	s.add("others", "--source", "vnet0", "--session-id", "2", "--vlan", "20,30")
	wire := s.capture(s.a, "eth0", "")
	c := s.capture(s.collector, "eth0", "proto 47")
	s.exchange([][]uint16{{10}, {20}, {30}}, [][]uint16{{10}, {20}})
	s.must(wire.WaitCount(s.ctx, "", 5))
	s.waitCount(c, "erspan", 5)
	s.fence()
	s.stop(wire)
	s.stop(c)
	var ten, others [][]byte
	for _, f := range s.rawFrames(wire) {
		if f[15] == 10 { // the low byte of the tag
			ten = append(ten, f)
		} else {
			others = append(others, f)
		}
	}
	sameFrames(t, "--vlan 10", s.rawCopies(c, "erspan.spanid == 1"), ten)
	sameFrames(t, "--vlan 20,30", s.rawCopies(c, "erspan.spanid == 2"), others)
}

// exchange sends raw frames with these tags from each guest to the other.
func (s *scene) exchange(fromA, fromB [][]uint16) {
	s.t.Helper()
	var a, b [][]byte
	for i, tags := range fromA {
		a = append(a, rawFrame(rawB, rawA, byte(i), 80+100*i, tags...))
	}
	for i, tags := range fromB {
		b = append(b, rawFrame(rawA, rawB, byte(0x80+i), 80+100*i, tags...))
	}
	s.must(lab.SendRaw(s.ctx, s.a, "eth0", a, 0))
	s.must(lab.SendRaw(s.ctx, s.b, "eth0", b, 0))
}

// fence returns when all that was sent before has passed the switch, so that a copy that should not have been made is at
// the collector: Open vSwitch in userspace takes from all ports in turn, and here are several turns after it.
func (s *scene) fence() {
	s.t.Helper()
	s.ping(s.collector, hostAddr, 3)
}
