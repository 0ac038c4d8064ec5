//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

var flowCounters = regexp.MustCompile(`n_packets=\d+, n_bytes=\d+`)

var portCounters = regexp.MustCompile(`(rx|tx) pkts=(\d+), bytes=(\d+)`)

// production are the counters of the production bridge that frames of one kind move: its flow's, and those of the port
// that they leave through.
func production(s *scene) []string {
	s.t.Helper()
	flows, err := s.host.Ofctl(s.ctx, "dump-flows", "br0", "dl_type=0x88b5")
	s.must(err)
	ports, err := s.host.Ofctl(s.ctx, "dump-ports", "br0", "vnet1")
	s.must(err)
	return append(flowCounters.FindAllString(flows, -1), portCounters.FindAllString(ports, -1)...)
}

// TestProductionsCounters: production's flows and ports count with sessions what they count without, bytes too.
func TestProductionsCounters(t *testing.T) {
	t.Parallel()
	var want []string
	for _, sessions := range []int{0, 1, 20} {
		s := newScene(t)
		// The first flow is counted before what is mirrored on arrival leaves, the second after it.
		s.ofctl("add-flow", "br0", "priority=10,dl_type=0x88b5,actions=resubmit(,1)")
		s.ofctl("add-flow", "br0", "table=1,priority=10,dl_type=0x88b5,actions=output:vnet1")
		for n := range sessions {
			s.add(fmt.Sprintf("s%d", n), "--source", "vnet0,vnet1", "--erspan-version", fmt.Sprint(1+n%2))
		}
		macA, err := s.a.MAC(s.ctx, "eth0")
		s.must(err)
		macB, err := s.b.MAC(s.ctx, "eth0")
		s.must(err)
		seen := s.capture(s.b, "eth0", "ether proto 0x88b5")
		var frames [][]byte
		for n := range 50 {
			frames = append(frames, slices.Concat(macB, macA, []byte{0x88, 0xb5}, make([]byte, 46+10*n)))
		}
		s.must(lab.SendRaw(s.ctx, s.a, "eth0", frames, 500))
		s.waitCount(seen, "", 50)
		s.stop(seen)
		// Counters follow within a second or so.
		var got []string
		s.must(lab.Until(s.ctx, "both flows have counted 50 packets", func(context.Context) error {
			got = production(s)
			if !strings.HasPrefix(got[0], "n_packets=50,") || !strings.HasPrefix(got[1], "n_packets=50,") {
				return fmt.Errorf("%v", got)
			}
			return nil
		}))
		if sessions == 0 {
			want = got
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("with %d sessions (-without +with):\n%s", sessions, diff)
		}
	}
}

// TestDeadCollectorCutsNoOriginal: copies to a collector that does not answer, or whose route goes, come to nothing, and the
// cut that was meant for them does not befall production's frames, nor the copies for collectors that live.
func TestDeadCollectorCutsNoOriginal(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.ping(s.a, addrB, 1) // so that ARP is done
	const dead = "192.0.2.77"
	for name, flags := range map[string][]string{
		"short": {"--source", "vnet0", "--collector", dead, "--snaplen", "64"},
		"auto":  {"--source", "vnet0,vnet1", "--collector", dead, "--collector", "2001:db8::77", "--erspan-version", "2"},
		"own":   {"--source", "vnet0", "--collector", dead, "--dscp", "10", "--snaplen", "64", "--direction", "ingress"},
		"half":  {"--source", "vnet0", "--collector", dead, "--collector", collectorAddr, "--snaplen", "128", "--session-id", "500"},
	} {
		if r := s.oe(append([]string{"session", "add", name, "--bridge", "br0"}, flags...)...); r.code != 3 {
			t.Fatalf("%s: exit %d: %s%s", name, r.code, r.stdout, r.stderr)
		}
	}
	whole := func(when string) {
		t.Helper()
		seen := s.capture(s.b, "eth0", "icmp[icmptype] == icmp-echo")
		back := s.capture(s.a, "eth0", "icmp[icmptype] == icmp-echoreply")
		r, err := lab.Ping(s.ctx, s.a, netip.MustParseAddr(addrB), lab.PingOptions{Count: 20, Interval: 5 * time.Millisecond, Size: 1472})
		s.must(err)
		if r.Received != 20 {
			t.Errorf("%s: %d of 20 full-size pings were answered", when, r.Received)
		}
		s.stop(seen)
		s.stop(back)
		for _, c := range []*lab.Capture{seen, back} {
			rows := s.fields(c, "", "frame.len", "ip.len")
			if len(rows) != 20 {
				t.Errorf("%s: %s has %d frames of 20", when, c, len(rows))
			}
			for _, row := range rows {
				if row[0] != "1514" || row[1] != "1500" {
					t.Fatalf("%s: %s has a frame of %s bytes that says it has %s and 14", when, c, row[0], row[1])
				}
			}
		}
	}
	copies := s.capture(s.collector, "eth0", "proto gre")
	whole("nobody answers")
	s.waitCount(copies, "icmp", 40)
	s.stop(copies)
	for _, row := range s.fields(copies, "icmp", "ip.len", "erspan.spanid") {
		if outer, _, _ := strings.Cut(row[0], ","); outer != fmt.Sprint(20+8+8+128) || row[1] != "500" {
			t.Errorf("a copy with ip.len %s, session %s; want 128 bytes of the frame", row[0], row[1])
		}
	}
	_, _, err := s.host.Exec(s.ctx, "ip", "addr", "flush", "dev", "br-ul")
	s.must(err)
	whole("the route is gone")
}

// TestDeadCollectorHoldsNoSender: copies that wait in vain for a collector's link-layer address do not fill the buffers of
// the sockets that sent the originals, as they would where a copy is the last thing that becomes of a packet.
func TestDeadCollectorHoldsNoSender(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.ping(s.a, addrB, 1) // so that ARP is done
	add := func(name string, flags ...string) {
		if r := s.oe(append([]string{"session", "add", name, "--bridge", "br0", "--collector", "192.0.2.77"}, flags...)...); r.code != 3 {
			t.Fatalf("%s: exit %d: %s%s", name, r.code, r.stdout, r.stderr)
		}
	}
	// ping gives its socket room for few packets of this size.
	pings := func(what string) {
		for range 2 {
			r, err := lab.Ping(s.ctx, s.a, netip.MustParseAddr(addrB), lab.PingOptions{Count: 20, Interval: 10 * time.Millisecond, Size: 1472})
			s.must(err)
			if r.Received != 20 {
				t.Errorf("%s: %d of 20 pings were answered", what, r.Received)
			}
		}
	}
	add("out", "--source", "vnet1", "--direction", "egress")
	add("both", "--source", "vnet0,vnet1", "--erspan-version", "2")
	pings("whole copies")
	s.must(lab.TCPTransfer(s.ctx, s.a, s.b, netip.MustParseAddr(addrB), 1<<18))
	// On the kernel's datapath these pass devices, which leave a packet to its socket.
	s.ok("session", "remove", "out", "both")
	add("cut", "--source", "vnet1", "--direction", "egress", "--snaplen", "1000")
	pings("copies that are cut")
}

// TestPatchIsClosed: production's floods do not enter our patch, what someone sends into its other end does not enter
// production, and the bridge learns nothing there.
func TestPatchIsClosed(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	c := s.guest("c")
	s.must(s.host.Attach(s.ctx, c, "br0", "vnet2", lab.GuestIf{}))
	s.add("quiet", "--source", "vnet2", "--direction", "ingress") // c says nothing
	macA, err := s.a.MAC(s.ctx, "eth0")
	s.must(err)
	plain := append([]byte{0x88, 0xb5}, make([]byte, 46)...) // an experimental EtherType
	// Unknown unicast and broadcast, untagged and tagged, also in the VLAN that closes the patch.
	var frames [][]byte
	for _, dst := range [][]byte{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {2, 0, 0, 0, 0x77, 0x77}} {
		frames = append(frames, slices.Concat(dst, macA, plain), slices.Concat(dst, macA, []byte{0x81, 0, 0, 10}, plain),
			slices.Concat(dst, macA, []byte{0x81, 0, 0x0f, 0xfe}, plain))
	}
	flooded := s.capture(s.b, "eth0", "ether src "+macA.String())
	s.must(lab.SendRaw(s.ctx, s.a, "eth0", frames, 200))
	s.waitCount(flooded, "", len(frames))
	s.stop(flooded)
	if v := s.show("quiet").Status; v.Tapped.Packets != 0 {
		t.Errorf("%d flooded frames entered the patch", v.Tapped.Packets)
	}

	ports, err := s.host.Vsctl(s.ctx, "--bare", "--columns=name", "find", "interface", "type=patch")
	s.must(err)
	entered := s.capture(s.b, "eth0", "ether src 02:00:00:00:88:88")
	for _, p := range strings.Fields(ports) {
		if !strings.HasSuffix(p, "-t") {
			continue
		}
		for range 3 {
			_, err := s.host.Ofctl(s.ctx, "packet-out", tapBridge, "in_port=controller packet=ffffffffffff02000000888888b5"+strings.Repeat("ab", 46)+" actions=output:"+p)
			s.must(err)
		}
	}
	s.ping(s.a, addrB, 3) // what was sent before has arrived by now
	s.stop(entered)
	if n, err := entered.Count(s.ctx, ""); err != nil || n != 0 {
		t.Errorf("%d frames entered production through the patch, %v", n, err)
	}
	fdb, err := s.host.Appctl(s.ctx, "fdb/show", "br0")
	s.must(err)
	if strings.Contains(fdb, "02:00:00:00:88:88") {
		t.Errorf("the bridge learned from the patch:\n%s", fdb)
	}
}

// many writes a YAML document of n sessions on vnet0 and returns its name.
func many(s *scene, n int, direction func(int) string) string {
	s.t.Helper()
	var text strings.Builder
	text.WriteString("apiVersion: ovs-erspan/v1\nsessions:\n")
	for i := range n {
		fmt.Fprintf(&text, "- {name: s%d, bridge: br0, sources: {ports: [vnet0]}, direction: %s, collectors: [%s]}\n", i, direction(i), collectorAddr)
	}
	file := filepath.Join(s.lab.Dir(), "many.yaml")
	s.must(os.WriteFile(file, []byte(text.String()), 0o600))
	return file
}

// TestPacketBudget: 256 sessions on one port are in force and production is unharmed; the next is refused with the reason,
// also where the port belongs to two taps.
func TestPacketBudget(t *testing.T) {
	alone(t, "256 copies of each packet take all that the machine has")
	for name, direction := range map[string]func(int) string{
		"one tap":  func(int) string { return "egress" },
		"two taps": func(i int) string { return []string{"ingress", "egress"}[i%2] },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.ok("apply", "-f", many(s, 256, direction), "--timeout", "60s")
			wire := s.capture(s.collector, "eth0", "proto 47")
			s.ping(s.a, addrB, 20)
			burst, err := lab.UDPBurst(s.ctx, s.a, s.b, lab.Burst{Count: 200, PPS: 100, Dst: netip.MustParseAddr(addrB)})
			s.must(err)
			if burst.Received != 200 || len(burst.Altered) > 0 {
				t.Errorf("production received %d of 200 datagrams, %d altered", burst.Received, len(burst.Altered))
			}
			_ = wire.Stop(s.ctx) // so many copies that the capture may miss some
			if wire.Stats().Received < 256 {
				t.Errorf("%d copies: the sessions are not in force", wire.Stats().Received)
			}
			before := s.ok("export")
			said := s.refused("session", "add", "one-more", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr, "--direction", "egress")
			if !strings.Contains(said, "257") || !strings.Contains(said, "256") {
				t.Errorf("the refusal does not say how many and how many are allowed: %s", said)
			}
			if s.ok("export") != before {
				t.Error("a refused session is stored")
			}
		})
	}
}

// TestMirrorsOfABridge: the tap that does not fit among a bridge's 32 mirrors, those of others included, is refused before
// anything is changed.
func TestMirrorsOfABridge(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	args := []string{"--", "add-port", "br0", "out", "--", "set", "interface", "out", "type=internal", "--", "--id=@o", "get", "port", "out"}
	for n := range 30 { // both directions need two
		args = append(args, "--", fmt.Sprintf("--id=@m%d", n), "create", "mirror", fmt.Sprintf("name=theirs%d", n), "output_port=@o", "--", "add", "bridge", "br0", "mirrors", fmt.Sprintf("@m%d", n))
	}
	_, err := s.host.Vsctl(s.ctx, args[1:]...)
	s.must(err)
	s.add("fits", "--source", "vnet0")
	s.add("shares", "--source", "vnet0", "--session-id", "9")
	before, err := s.host.DumpRows(s.ctx)
	s.must(err)
	said := s.refused("session", "add", "third", "--bridge", "br0", "--source", "vnet1", "--collector", collectorAddr)
	if !strings.Contains(said, "32") || !strings.Contains(said, "0 are left") {
		t.Errorf("the refusal does not say how many there are and how many are left: %s", said)
	}
	after, err := s.host.DumpRows(s.ctx)
	s.must(err)
	if diff := cmp.Diff(before.Lines(), after.Lines()); diff != "" {
		t.Errorf("a refused session changed rows:\n%s", diff)
	}
}

// TestForeignTunnelPort: someone else's flow-mode ERSPAN port, of which a datapath takes one, is named.
func TestForeignTunnelPort(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	_, err := s.host.Vsctl(s.ctx, "add-port", "br-ul", "theirs", "--", "set", "interface", "theirs", "type=erspan",
		"options:remote_ip=flow", "options:key=flow", "options:erspan_ver=flow")
	s.must(err)
	said := s.refused("session", "add", "one", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr)
	if !strings.Contains(said, `"theirs"`) || !strings.Contains(said, `"br-ul"`) {
		t.Errorf("the refusal does not name the port and its bridge: %s", said)
	}
	said = s.refused("session", "add", "in", "--type", "destination", "--bridge", "br0", "--output-port", "vnet1", "--from", "any", "--session-id", "7")
	if !strings.Contains(said, `"theirs"`) || !strings.Contains(said, `"br-ul"`) {
		t.Errorf("the refusal of a destination does not name the port and its bridge: %s", said)
	}
	if bridges, err := s.host.Vsctl(s.ctx, "list-br"); err != nil || strings.Contains(bridges, "erspan") {
		t.Errorf("a refused session made bridges: %s %v", bridges, err)
	}
}
