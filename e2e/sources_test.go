//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// A bond is a source as a whole: frames through each of its members are copied. A member is none, and the refusal names the
// bond.
func TestBondAsSource(t *testing.T) {
	t.Parallel()
	s := newLab(t)
	s.must(s.host.AddBridge(s.ctx, "br0"))
	s.must(s.host.AddBridge(s.ctx, "br-ul"))
	s.a, s.b, s.collector = s.guest("a"), s.guest("b"), s.guest("col")
	s.must(s.host.Attach(s.ctx, s.a, "br0", "vnet0", lab.GuestIf{Addrs: []string{addrA + "/24"}}))
	// Two cables to b, made into ports of their own by the lab, and into a bond here.
	s.must(s.host.Attach(s.ctx, s.b, "br0", "m0", lab.GuestIf{Addrs: []string{addrB + "/24"}}))
	s.must(s.host.Attach(s.ctx, s.b, "br0", "m1", lab.GuestIf{Dev: "eth1"}))
	s.vsctl("del-port", "br0", "m0", "--", "del-port", "br0", "m1", "--",
		"add-bond", "br0", "bond0", "m0", "m1", "bond_mode=active-backup", "other_config:bond-primary=m0")
	s.must(s.host.Attach(s.ctx, s.collector, "br-ul", "uplink", lab.GuestIf{Addrs: []string{collectorAddr + "/24"}}))
	s.must(s.host.Underlay(s.ctx, "br-ul", 0, hostAddr+"/24"))
	s.appctl("bond/set-active-member", "bond0", "m0")

	if said := s.refused("session", "add", "member", "--bridge", "br0", "--source", "m0", "--collector", collectorAddr); !strings.Contains(said, `"bond0"`) {
		t.Errorf("a bond's member as a source: refused without naming the bond: %s", said)
	}
	s.add("bond", "--source", "bond0", "--erspan-version", "2")
	wire, c := s.capture(s.a, "eth0", ""), s.capture(s.collector, "eth0", "proto 47")
	s.ping(s.a, addrB, 3)
	s.fence()
	s.stop(wire)
	s.stop(c)
	sameFrames(t, "through the bond", s.inner(c, "erspan"), s.frames(wire))
	// Seen from the bond, a's requests leave the bridge.
	if n := len(s.inner(c, "icmp.type == 8 && erspan.direction == 1")); n != 3 {
		t.Errorf("%d requests with direction egress, want 3", n)
	}

	// Frames that come in through the other member, when it is the active one.
	s.appctl("bond/set-active-member", "bond0", "m1")
	c = s.capture(s.collector, "eth0", "proto 47")
	s.must(lab.SendRaw(s.ctx, s.b, "eth1", [][]byte{rawFrame(rawA, rawB, 1, 100), rawFrame(rawA, rawB, 2, 100)}, 0))
	s.waitCount(c, "erspan.direction == 0", 2)
	s.stop(c)
	sameFrames(t, "through the other member", s.rawCopies(c, ""), [][]byte{rawFrame(rawA, rawB, 1, 100), rawFrame(rawA, rawB, 2, 100)})
}

// A bridge's own port (LOCAL), through which the host itself talks, and an internal port beside it.
func TestInternalPortsAsSources(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.must(s.host.Underlay(s.ctx, "br0", 0, "10.0.0.254/24"))
	s.vsctl("add-port", "br0", "int0", "--", "set", "interface", "int0", "type=internal")
	_, _, err := s.host.Exec(s.ctx, "ip", "link", "set", "int0", "up")
	s.must(err)
	s.add("local", "--source", "br0", "--session-id", "1", "--erspan-version", "2")
	s.add("int", "--source", "int0", "--session-id", "2", "--erspan-version", "2")
	wire, c := s.capture(s.host.Node, "br0", "icmp"), s.capture(s.collector, "eth0", "proto 47")
	s.ping(s.a, "10.0.0.254", 3)
	raw := rawFrame(rawA, rawB, 1, 100)
	s.must(lab.SendRaw(s.ctx, s.host.Node, "int0", [][]byte{raw}, 0))
	s.waitCount(c, "erspan.spanid == 2 && erspan.direction == 0", 1)
	s.fence()
	s.stop(wire)
	s.stop(c)
	sameFrames(t, "LOCAL", s.inner(c, "erspan.spanid == 1 && icmp"), s.frames(wire))
	for direction, kind := range map[string]string{"1": "8", "0": "0"} { // requests go out of LOCAL to the host
		if n := len(s.inner(c, "erspan.spanid == 1 && icmp.type == "+kind+" && erspan.direction == "+direction)); n != 3 {
			t.Errorf("LOCAL: %d pings of type %s with direction %s, want 3", n, kind, direction)
		}
	}
	sameFrames(t, "internal port", s.rawCopies(c, "erspan.spanid == 2"), [][]byte{raw})
}

// A patch port copies nothing as a source, so it is refused, with the way out.
func TestPatchPortAsSourceIsRefused(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.must(s.host.AddBridge(s.ctx, "br-int"))
	s.vsctl("add-port", "br0", "to-int", "--", "set", "interface", "to-int", "type=patch", "options:peer=to-br0", "--",
		"add-port", "br-int", "to-br0", "--", "set", "interface", "to-br0", "type=patch", "options:peer=to-int")
	s.must(s.host.Attach(s.ctx, s.guest("c"), "br-int", "vnet9", lab.GuestIf{}))
	before, err := s.host.DumpRows(s.ctx)
	s.must(err)
	said := s.refused("session", "add", "web", "--bridge", "br0", "--source", "to-int", "--collector", collectorAddr)
	for _, want := range []string{"--source to-int (sources.ports[0]): is a patch port", `"br-int"`, "--bridge br-int", "vnet9"} {
		if !strings.Contains(said, want) {
			t.Errorf("a patch port as a source: refused without %s: %s", want, said)
		}
	}
	after, err := s.host.DumpRows(s.ctx)
	s.must(err)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the refused command changed the database (-before +after):\n%s", diff)
	}
}

// What the production bridge's own flows do to a frame, and what a copy of it shows. docs/what-a-copy-shows.md says it in
// words.
func TestWhatACopyShows(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.must(s.host.Underlay(s.ctx, "br0", 0, "10.0.0.254/24"))
	// Addresses are learned before anything is mirrored.
	s.ping(s.a, addrB, 1)
	s.ping(s.a, "10.0.0.254", 1)
	macA, err := s.a.MAC(s.ctx, "eth0")
	s.must(err)
	macB, err := s.b.MAC(s.ctx, "eth0")
	s.must(err)
	macLocal, err := s.host.MAC(s.ctx, "br0")
	s.must(err)
	s.add("from-a", "--source", "vnet0", "--session-id", "1", "--direction", "ingress")
	s.add("to-b", "--source", "vnet1", "--session-id", "2", "--direction", "egress")
	s.add("a-and-b", "--source", "vnet0,vnet1", "--session-id", "3")
	s.add("local", "--source", "br0", "--session-id", "4", "--direction", "egress")

	const other = "02:00:00:00:00:99"
	for _, test := range []struct {
		name  string
		flows []string
		to    string
		// By session id: destination and TTL of each request that was copied.
		want map[string][]string
	}{
		{
			name: "dropped by a flow", flows: []string{"priority=9,icmp,nw_src=" + addrA + ",actions=drop"}, to: addrB,
			want: map[string][]string{"1": {"B/64"}, "3": {"B/64"}},
		},
		{
			name: "rewritten by a flow", flows: []string{"priority=9,icmp,nw_src=" + addrA + ",actions=mod_dl_dst:" + other + ",mod_nw_ttl:7,output:vnet1"}, to: addrB,
			// What came in is as on a's wire, and what goes out as on b's.
			want: map[string][]string{"1": {"B/64"}, "2": {other + "/7"}, "3": {"B/64", other + "/7"}},
		},
		{
			name: "to LOCAL", to: "10.0.0.254",
			want: map[string][]string{"1": {"br0/64"}, "3": {"br0/64"}, "4": {"br0/64"}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.ofctl("del-flows", "br0")
			s.ofctl("add-flow", "br0", "priority=0,actions=NORMAL")
			for _, f := range test.flows {
				s.ofctl("add-flow", "br0", f)
			}
			s.must(s.host.WaitFlows(s.ctx))
			c := s.capture(s.collector, "eth0", "proto 47")
			request := rawPing(macB, macA, addrA, test.to)
			if test.to != addrB {
				request = rawPing(macLocal, macA, addrA, test.to)
			}
			s.must(lab.SendRaw(s.ctx, s.a, "eth0", [][]byte{request}, 0))
			s.waitCount(c, "icmp.type == 8", 1)
			s.fence()
			s.stop(c)
			names := strings.NewReplacer(macB.String(), "B", macLocal.String(), "br0")
			got := map[string][]string{}
			for _, row := range s.fields(c, "icmp.type == 8", "erspan.spanid", "eth.dst", "ip.ttl") {
				id := row[0]
				got[id] = append(got[id], innermost(names.Replace(row[1]))+"/"+innermost(row[2]))
			}
			for _, id := range []string{"1", "2", "3", "4"} {
				if !slices.Equal(got[id], test.want[id]) {
					t.Errorf("session id %s: copies of the request to %v, want %v", id, got[id], test.want[id])
				}
			}
		})
	}
}

// What a controller sends out (packet-out) is copied as it leaves, and as coming in where the controller names a source as
// the port that it came in by.
func TestPacketOutIsCopied(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.add("from-a", "--source", "vnet0", "--session-id", "1", "--direction", "ingress")
	s.add("to-b", "--source", "vnet1", "--session-id", "2", "--direction", "egress")
	c := s.capture(s.collector, "eth0", "proto 47")
	named, unnamed := rawFrame(rawB, rawA, 1, 100), rawFrame(rawB, rawA, 2, 100)
	s.ofctl("packet-out", "br0", fmt.Sprintf("in_port=vnet0 packet=%x actions=output:vnet1", named))
	s.ofctl("packet-out", "br0", fmt.Sprintf("in_port=controller packet=%x actions=output:vnet1", unnamed))
	s.waitCount(c, "erspan.spanid == 2", 2)
	s.fence()
	s.stop(c)
	sameFrames(t, "ingress", s.rawCopies(c, "erspan.spanid == 1"), [][]byte{named})
	sameFrames(t, "egress", s.rawCopies(c, "erspan.spanid == 2"), [][]byte{named, unnamed})
}

// innermost is the last of a field's values in a packet: the mirrored frame's.
func innermost(values string) string { return values[strings.LastIndex(values, ",")+1:] }

// rawPing is an echo request.
func rawPing(dst, src []byte, from, to string) []byte {
	ip := slices.Concat([]byte{0x45, 0, 0, 60, 0, 1, 0, 0, 64, 1, 0, 0}, netip.MustParseAddr(from).AsSlice(), netip.MustParseAddr(to).AsSlice())
	setChecksum(ip, 10)
	icmp := make([]byte, 40)
	icmp[0] = 8
	setChecksum(icmp, 2)
	return slices.Concat(dst, src, []byte{8, 0}, ip, icmp)
}

// setChecksum sets the Internet checksum (RFC 1071) of a header or packet, at an offset where it is zero.
func setChecksum(p []byte, at int) {
	sum := 0
	for i := 0; i < len(p); i += 2 {
		sum += int(p[i])<<8 | int(p[i+1])
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	p[at], p[at+1] = ^byte(sum>>8), ^byte(sum)
}

func (s *scene) vsctl(args ...string) {
	s.t.Helper()
	_, err := s.host.Vsctl(s.ctx, args...)
	s.must(err)
}

func (s *scene) ofctl(args ...string) {
	s.t.Helper()
	_, err := s.host.Ofctl(s.ctx, args...)
	s.must(err)
}

func (s *scene) appctl(args ...string) {
	s.t.Helper()
	_, err := s.host.Appctl(s.ctx, args...)
	s.must(err)
}
