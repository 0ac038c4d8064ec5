//go:build linux

package e2e

import (
	"bytes"
	"context"
	be "encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// These scenarios send ERSPAN that no Open vSwitch made: the packets are put together here, byte for byte
// (draft-foschiano-erspan-03).

// header is an ERSPAN header as some sender might write it.
type header struct {
	from               string
	version, sessionID int
	index, hwid, d     int
	vlan, cos, bso     int
	t, p, sgt          int
	sequence           uint32
}

// packet is the whole frame: outer Ethernet, IPv4, GRE with a sequence number, ERSPAN, and the inner frame.
func (h header) packet(dst, src net.HardwareAddr, inner []byte) []byte {
	gre := []byte{0x10, 0, 0x88, 0xbe}
	var erspan []byte
	first := uint32(h.version)<<28 | uint32(h.vlan)<<16 | uint32(h.cos)<<13 | uint32(h.bso)<<11 | uint32(h.t)<<10 | uint32(h.sessionID)
	erspan = be.BigEndian.AppendUint32(erspan, first)
	if h.version == 1 {
		erspan = be.BigEndian.AppendUint32(erspan, uint32(h.index))
	} else {
		gre[2], gre[3] = 0x22, 0xeb
		erspan = be.BigEndian.AppendUint32(erspan, 0x01020304) // timestamp
		erspan = be.BigEndian.AppendUint16(erspan, uint16(h.sgt))
		erspan = be.BigEndian.AppendUint16(erspan, uint16(h.p<<15|h.hwid<<4|h.d<<3))
	}
	gre = be.BigEndian.AppendUint32(gre, h.sequence)
	return outer(dst, src, h.from, append(append(gre, erspan...), inner...))
}

// outer puts an IPv4 packet with protocol 47 from a sender to h2 around a payload.
func outer(dst, src net.HardwareAddr, from string, payload []byte) []byte {
	ip := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 47, 0, 0}
	be.BigEndian.PutUint16(ip[2:], uint16(20+len(payload)))
	ip = append(ip, netip.MustParseAddr(from).AsSlice()...)
	ip = append(ip, netip.MustParseAddr(farAddr).AsSlice()...)
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(be.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	be.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	frame := append(append(append([]byte{}, dst...), src...), 0x08, 0x00)
	return append(append(frame, ip...), payload...)
}

// marked is an inner frame that says what it is.
func marked(text string, size int, tags ...uint16) []byte {
	f := []byte{0x02, 0, 0, 0, 0, 0xaa, 0x02, 0, 0, 0, 0, 0xbb}
	for _, t := range tags {
		f = append(f, 0x81, 0, byte(t>>8), byte(t))
	}
	f = append(f, 0x88, 0xb5)
	f = append(f, text...)
	return append(f, make([]byte, max(0, size-len(f)))...)
}

// foreigner is a guest on h2's underlay that sends raw packets to h2.
type foreigner struct {
	*farEnd
	guest    *lab.Node
	dst, src net.HardwareAddr
}

func newForeigner(t *testing.T) *foreigner {
	f := &foreigner{farEnd: newFarEnd(t)}
	f.guest = f.scene.guest("foreign")
	f.must(f.host2.Attach(f.ctx, f.guest, "br-ul", "foreign0", lab.GuestIf{Addrs: []string{"192.0.2.50/24"}, MTU: 1600}))
	f.dst, f.src = f.mac(f.host2.Node, "br-ul"), f.mac(f.guest, "eth0")
	return f
}

func (f *foreigner) sends(packets [][]byte) {
	f.t.Helper()
	f.must(lab.SendRaw(f.ctx, f.guest, "eth0", packets, 0))
}

// devices makes veth pairs on h2, and returns a capture of each one's far end.
func (f *foreigner) devices(n int) []*lab.Capture {
	f.t.Helper()
	var script strings.Builder
	for i := range n {
		fmt.Fprintf(&script, "ip link add o%d mtu 1600 type veth peer name o%d-peer mtu 1600; ip link set o%d up; ip link set o%d-peer up\n", i, i, i, i)
	}
	_, _, err := f.host2.Exec(f.ctx, "sh", "-ec", script.String())
	f.must(err)
	captures := make([]*lab.Capture, n)
	for i := range n {
		captures[i] = f.capture(f.host2.Node, fmt.Sprintf("o%d-peer", i), "ether proto 0x88b5 or vlan")
	}
	return captures
}

// TestSessionsThatDifferInOneField: nine sessions, interleaved; each frame arrives at its own port and none elsewhere.
// Values of 0 are values, and hardware id 4 takes no 6; what has no session is delivered nowhere.
//
// On the kernel's datapath sessions of one version only can be in force, and the frames of the other version are nobody's.
func TestSessionsThatDifferInOneField(t *testing.T) {
	t.Parallel()
	if lab.Datapath() == lab.Kernel {
		for _, version := range []int{1, 2} {
			t.Run(fmt.Sprint("version ", version), func(t *testing.T) { differInOneField(t, version) })
		}
		return
	}
	differInOneField(t, 0)
}

// differInOneField has sessions of one version, or with 0 of both.
func differInOneField(t *testing.T, version int) {
	f := newForeigner(t)
	kinds := []struct {
		header
		flags string // of the session; "" has none
	}{
		{header{from: "192.0.2.50", version: 1, sessionID: 7, index: 5}, "--from 192.0.2.50 --session-id 7 --erspan-version 1 --index 5"},
		{header{from: "192.0.2.51", version: 1, sessionID: 7, index: 5}, "--from 192.0.2.51 --session-id 7 --erspan-version 1 --index 5"},
		{header{from: "192.0.2.50", version: 1, sessionID: 8, index: 5}, "--from 192.0.2.50 --session-id 8 --erspan-version 1 --index 5"},
		{header{from: "192.0.2.50", version: 1, sessionID: 7, index: 0}, "--from 192.0.2.50 --session-id 7 --erspan-version 1 --index 0"},
		{header{from: "192.0.2.50", version: 2, sessionID: 7, hwid: 0, d: 0}, "--from 192.0.2.50 --session-id 7 --erspan-version 2 --hwid 0 --direction ingress"},
		{header{from: "192.0.2.50", version: 2, sessionID: 7, hwid: 4, d: 0}, "--from 192.0.2.50 --session-id 7 --erspan-version 2 --hwid 4 --direction ingress"},
		{header{from: "192.0.2.50", version: 2, sessionID: 7, hwid: 6, d: 0}, "--from 192.0.2.50 --session-id 7 --erspan-version 2 --hwid 6 --direction ingress"},
		{header{from: "192.0.2.50", version: 2, sessionID: 7, hwid: 0, d: 1}, "--from 192.0.2.50 --session-id 7 --erspan-version 2 --hwid 0 --direction egress"},
		{header{from: "192.0.2.50", version: 2, sessionID: 8, hwid: 9, d: 1}, "--from any --session-id 8 --erspan-version 2"}, // less specific
		{header{from: "192.0.2.50", version: 1, sessionID: 7, index: 4}, ""},
		{header{from: "192.0.2.50", version: 2, sessionID: 7, hwid: 2, d: 0}, ""},
		{header{from: "192.0.2.50", version: 2, sessionID: 7, hwid: 4, d: 1}, ""},
		{header{from: "192.0.2.52", version: 1, sessionID: 7, index: 5}, ""},
	}
	captures := f.devices(9)
	for i, k := range kinds {
		if version != 0 && k.version != version {
			kinds[i].flags = ""
		}
		if kinds[i].flags != "" {
			f.far(append([]string{"session", "add", fmt.Sprintf("s%d", i), "--type", "destination", "--output-port", fmt.Sprintf("o%d", i)}, strings.Fields(k.flags)...)...)
		}
	}
	const rounds = 60
	var packets [][]byte
	for n := range rounds {
		for i, k := range kinds {
			k.sequence = uint32(n)
			packets = append(packets, k.packet(f.dst, f.src, marked(fmt.Sprintf("kind %d.", i), 60)))
		}
	}
	f.sends(packets)
	wanted := 0
	for _, k := range kinds {
		if k.flags != "" {
			wanted += rounds
		}
	}
	// First all that will come, so that a frame at a wrong port is told of as that, and not as missing at its own.
	f.must(lab.Until(f.ctx, "every frame has arrived somewhere", func(ctx context.Context) error {
		all := 0
		for _, c := range captures {
			if err := c.Flush(ctx); err != nil {
				return lab.Permanent(err)
			}
			all += c.Stats().Captured
		}
		if all < wanted {
			return fmt.Errorf("%d of %d have", all, wanted)
		}
		return nil
	}))
	for i, c := range captures {
		f.stop(c)
		frames := f.frames(c)
		want, wrong := rounds, 0
		if kinds[i].flags == "" {
			want = 0
		}
		for _, frame := range frames {
			if !bytes.Equal(frame, marked(fmt.Sprintf("kind %d.", i), 60)) {
				wrong++
			}
		}
		if len(frames) != want || wrong > 0 {
			t.Errorf("port o%d: %d frames, %d of them not its own; want %d", i, len(frames), wrong, want)
		}
	}
	of, field := strconv.Itoa(max(version, 1)), "--index"
	if version == 2 {
		field = "--hwid"
	}
	f.far("session", "add", "tie", "--type", "destination", "--output-port", "o0", "--from", "any", "--session-id", "9", "--erspan-version", of, field, "5")
	r := f.oeOn(f.host2, lab.Command{}, "session", "add", "tie2", "--type", "destination", "--output-port", "o1", "--from", "192.0.2.50", "--session-id", "9", "--erspan-version", of)
	if r.code != 2 || !strings.Contains(r.stderr, `"tie"`) || !strings.Contains(r.stderr, "--session-id 9 (erspan.sessionID)") {
		t.Errorf("a tie: exit %d, %s", r.code, r.stderr)
	}
	if version == 0 {
		return
	}
	// Sessions of the other version, or of any, would be mixed up with these.
	for _, other := range [][]string{{"--erspan-version", strconv.Itoa(3 - version)}, nil} {
		r := f.oeOn(f.host2, lab.Command{}, append([]string{"session", "add", "mixed", "--type", "destination", "--output-port", "o1", "--from", "192.0.2.99", "--session-id", "10"}, other...)...)
		if r.code != 2 || !strings.Contains(r.stderr, "same ERSPAN version") {
			t.Errorf("another version %v: exit %d, %s", other, r.code, r.stderr)
		}
	}
}

// TestForeignSenders: headers with every field set that Open vSwitch itself never sends, at their limits, with a sequence
// that jumps back; tagged and large frames; all arrive as they were.
func TestForeignSenders(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	c := f.devices(1)[0]
	f.far("session", "add", "all", "--type", "destination", "--output-port", "o0", "--from", "any", "--session-id", "1023")
	var packets, inner [][]byte
	sequence := uint32(5)
	for i, h := range []header{
		{version: 1, index: 0}, {version: 1, index: 0xfffff}, {version: 1, index: 0xfff00005}, // reserved bits set
		{version: 1, vlan: 4095, cos: 7, bso: 3, t: 1, index: 1}, {version: 1, vlan: 1, cos: 1, bso: 1, index: 1},
		{version: 2}, {version: 2, hwid: 63, d: 1}, {version: 2, vlan: 4095, cos: 7, bso: 3, t: 1, p: 1, sgt: 0xffff, hwid: 63, d: 1},
		{version: 2, vlan: 10, cos: 3, sgt: 1, p: 0, hwid: 1},
	} {
		for _, frame := range [][]byte{
			marked(fmt.Sprintf("header %d", i), 60), marked("a tag", 64, 10), marked("two tags", 68, 20, 10),
			marked("priority tag", 64, 0x6000), marked("large", 1514), marked("large and tagged", 1518, 0x200a), {0x02},
		} {
			h.from, h.sessionID, h.sequence = "192.0.2.50", 1023, sequence
			sequence = sequence*1664525 + 1013904223 // back and forth
			packets = append(packets, h.packet(f.dst, f.src, frame))
			if len(frame) >= 14 {
				inner = append(inner, frame)
			}
		}
	}
	f.sends(packets)
	f.waitCount(c, "", len(inner))
	f.stop(c)
	// Open vSwitch orders the frames of one batch by their megaflows, so that only those of one flow keep their order.
	got := f.frames(c)
	slices.SortFunc(got, bytes.Compare)
	slices.SortFunc(inner, bytes.Compare)
	if len(got) != len(inner) {
		t.Errorf("%d frames, want %d", len(got), len(inner))
	}
	for i := range min(len(got), len(inner)) {
		if !bytes.Equal(got[i], inner[i]) {
			t.Fatalf("frame %d:\n% x\nwant\n% x", i, got[i], inner[i])
		}
	}
}

// TestMalformed: 10,000 malformed packets. None is delivered, Open vSwitch and the controller live, production goes on.
func TestMalformed(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	f.daemonOn(f.host2, lab.Command{}).ready()
	c := f.devices(1)[0]
	f.far("session", "add", "in", "--type", "destination", "--output-port", "o0", "--from", "192.0.2.50", "--session-id", "7", "--erspan-version", "1")
	random := rand.New(rand.NewPCG(1, 2))
	var packets [][]byte
	valid := header{from: "192.0.2.50", version: 1, sessionID: 7}
	for len(packets) < 10_000 {
		h := valid
		p := h.packet(f.dst, f.src, marked("must not arrive", 60))
		const ip, gre, erspan = 14, 34, 42
		switch random.IntN(7) {
		case 0: // another session id, whatever else
			h.sessionID = (7 + 1 + random.IntN(1022)) % 1024
			h.vlan, h.cos, h.bso, h.t, h.index = random.IntN(4096), random.IntN(8), random.IntN(4), random.IntN(2), random.IntN(1<<20)
			p = h.packet(f.dst, f.src, marked("must not arrive", 60))
		case 1: // another version
			p[erspan] = byte(2+random.IntN(14))<<4 | p[erspan]&0xf
		case 2: // cut within the headers, the length of IP with it or without
			p = p[:gre+random.IntN(12)]
			if random.IntN(2) == 0 {
				p = outer(f.dst, f.src, h.from, p[gre:])
			}
		case 3: // GRE's flags and version
			p[gre], p[gre+1] = byte(random.IntN(256))|0x80, byte(random.IntN(256))
		case 4: // GRE's protocol
			p[gre+2], p[gre+3] = byte(random.IntN(256)), byte(random.IntN(256))
			if p[gre+2] == 0x88 || p[gre+2] == 0x22 || p[gre+2] == 0x65 {
				continue
			}
		case 5: // another sender
			h.from = fmt.Sprintf("192.0.2.%d", 60+random.IntN(100))
			p = h.packet(f.dst, f.src, marked("must not arrive", 60))
		case 6: // only noise
			noise := make([]byte, random.IntN(200))
			for i := range noise {
				noise[i] = byte(random.IntN(256))
			}
			if len(noise) > 0 {
				noise[0] |= 0x40 // a routing word that ERSPAN never has
			}
			p = outer(f.dst, f.src, h.from, noise)
		}
		packets = append(packets, p)
	}
	f.must(lab.SendRaw(f.ctx, f.guest, "eth0", packets, 5000))
	f.ping(f.a, addrB, 3)
	f.sends([][]byte{valid.packet(f.dst, f.src, marked("the last", 60))})
	f.waitCount(c, "", 1)
	f.stop(c)
	for _, frame := range f.frames(c) {
		if !bytes.Contains(frame, []byte("the last")) {
			t.Errorf("delivered: % x", frame)
			break
		}
	}
	if _, err := f.host2.Appctl(f.ctx, "version"); err != nil {
		t.Error(err)
	}
	f.far("session", "show", "in")
}

// TestNoLoop: each of two hosts mirrors a whole bridge to the other and delivers on that same bridge what the other sends.
// What is delivered is not mirrored; a delivery port is no source, whoever is first.
func TestNoLoop(t *testing.T) {
	t.Parallel()
	f := newFarEnd(t)
	c := f.scene.guest("c") // h1's analyzer
	f.must(f.host.Attach(f.ctx, c, "br0", "analyzer0", lab.GuestIf{}))
	d, e := f.scene.guest("d"), f.scene.guest("e") // production on h2
	f.must(f.host2.Attach(f.ctx, d, "br0", "vnet2", lab.GuestIf{Addrs: []string{"10.0.1.1/24"}}))
	f.must(f.host2.Attach(f.ctx, e, "br0", "vnet3", lab.GuestIf{Addrs: []string{"10.0.1.2/24"}}))
	f.ok("session", "add", "in", "--type", "destination", "--bridge", "br0", "--output-port", "analyzer0", "--from", farAddr, "--session-id", "2")
	f.receive("in", "--from", hostAddr, "--session-id", "1")
	f.ok("session", "add", "out", "--bridge", "br0", "--all-ports", "--direction", "both", "--collector", farAddr, "--session-id", "1")
	f.far("session", "add", "out", "--bridge", "br0", "--all-ports", "--direction", "both", "--collector", hostAddr, "--session-id", "2")
	wire := f.capture(f.host.Node, "uplink", "proto 47")
	atFar, atNear := f.capture(f.analyzer, "eth0", "icmp"), f.capture(c, "eth0", "icmp")
	f.ping(f.a, addrB, 5)
	f.ping(d, "10.0.1.2", 5)
	f.waitCount(atFar, "icmp", 10)
	f.waitCount(atNear, "icmp", 10)
	f.ping(f.a, addrB, 20) // time in which a loop would show
	_ = wire.Stop(f.ctx)   // a loop may be more than it can take
	if n := wire.Stats().Captured; n > 300 {
		t.Fatalf("%d copies between the hosts for 30 pings", n)
	}
	f.stop(atFar)
	f.stop(atNear)
	r := f.oeOn(f.host2, lab.Command{}, "session", "add", "bad", "--bridge", "br0", "--source", "analyzer0,vnet2", "--collector", hostAddr)
	if r.code != 2 || !strings.Contains(r.stderr, "would be mirrored again") {
		t.Errorf("a delivery port as a source: exit %d, %s", r.code, r.stderr)
	}
	f.far("session", "add", "src", "--bridge", "br0", "--source", "vnet2", "--collector", hostAddr)
	r = f.oeOn(f.host2, lab.Command{}, "session", "add", "bad", "--type", "destination", "--bridge", "br0", "--output-port", "vnet2", "--from", "any", "--session-id", "3")
	if r.code != 2 || !strings.Contains(r.stderr, "would be mirrored again") {
		t.Errorf("a source as a delivery port: exit %d, %s", r.code, r.stderr)
	}
}

// TestTooLargeForThePort: frames that the output port does not take are dropped and counted before they get there, and
// production's frames to the same port are not lost with them.
func TestTooLargeForThePort(t *testing.T) {
	t.Parallel()
	f := newFarEnd(t)
	prod := f.scene.guest("prod")
	f.must(f.host2.Attach(f.ctx, prod, "br0", "vnet2", lab.GuestIf{Addrs: []string{"10.0.9.1/24"}}))
	small := f.scene.guest("small")
	f.must(f.host2.Attach(f.ctx, small, "br0", "small0", lab.GuestIf{Addrs: []string{"10.0.9.2/24"}, MTU: 1200}))
	f.far("session", "add", "in", "--type", "destination", "--bridge", "br0", "--output-port", "small0", "--from", hostAddr, "--session-id", "7")
	f.send("out", "--source", "vnet0", "--collector", farAddr, "--session-id", "7", "--match", "udp")
	large := make(chan error, 1)
	go func() {
		// Never more than the sockets hold from which Open vSwitch takes them: what is answered comes behind them.
		for range 16 {
			_, err := lab.UDPBurst(f.ctx, f.a, f.b, lab.Burst{Count: 50, Size: 1400})
			if err == nil {
				_, err = lab.Ping(f.ctx, f.host.Node, netip.MustParseAddr(farAddr), lab.PingOptions{Wait: 10 * time.Second})
			}
			if err != nil {
				large <- err
				return
			}
		}
		large <- nil
	}()
	got, err := lab.UDPBurst(f.ctx, prod, small, lab.Burst{Count: 800})
	f.must(err)
	f.must(<-large)
	if len(got.Missing) > 0 {
		t.Errorf("production lost %d of %d", len(got.Missing), got.Sent)
	}
	counted := func(delivered, oversize int) {
		t.Helper()
		f.must(lab.Until(f.ctx, fmt.Sprintf("%d frames are delivered and %d are too large", delivered, oversize), func(context.Context) error {
			text := strings.Join(strings.Fields(f.far("session", "show", "in", "-o", "json")), "")
			if !strings.Contains(text, fmt.Sprintf(`"delivered":{"packets":%d,`, delivered)) || !strings.Contains(text, fmt.Sprintf(`"oversize":{"packets":%d,`, oversize)) {
				return fmt.Errorf("%s", text)
			}
			return nil
		}))
	}
	counted(0, 800)
	// Of frames of both kinds in one flow each is counted as what it is.
	for _, size := range []int{1400, 100} {
		_, err := lab.UDPBurst(f.ctx, f.a, f.b, lab.Burst{Count: 50, Size: size})
		f.must(err)
	}
	counted(50, 850)
}

// TestFlowContested: the one flow on the production bridge is put back when somebody takes it away, five times within a
// minute; then the state says so and nobody fights. Flows of others stay as they are.
func TestFlowContested(t *testing.T) {
	t.Parallel()
	f := newFarEnd(t)
	f.daemonOn(f.host2, lab.Command{}).ready()
	f.receive("in", "--from", hostAddr, "--session-id", "7")
	ours := func() int {
		out, err := f.host2.Ofctl(f.ctx, "-O", "OpenFlow15", "dump-flows", "br0", "cookie=0xe25a000000000000/0xffff000000000000")
		f.must(err)
		return strings.Count(out, "cookie=")
	}
	others := "table=0,priority=5,cookie=0x77,actions=NORMAL"
	for n := range 5 {
		_, err := f.host2.Ofctl(f.ctx, "-O", "OpenFlow15", "del-flows", "br0")
		f.must(err)
		_, err = f.host2.Ofctl(f.ctx, "-O", "OpenFlow15", "add-flow", "br0", others)
		f.must(err)
		f.must(lab.Until(f.ctx, fmt.Sprintf("the flow is put back the %d. time", n+1), func(context.Context) error {
			if ours() != 1 {
				return fmt.Errorf("%d flows of ours", ours())
			}
			return nil
		}))
	}
	_, err := f.host2.Ofctl(f.ctx, "-O", "OpenFlow15", "del-flows", "br0", "cookie=0xe25a000000000000/0xffff000000000000")
	f.must(err)
	f.must(lab.Until(f.ctx, "the state says FlowContested", func(context.Context) error {
		row, err := f.host2.Vsctl(f.ctx, "--columns=external_ids", "find", "queue", "external_ids:ovs-erspan=store")
		if err == nil && !strings.Contains(row, "FlowContested") {
			err = fmt.Errorf("%s", row)
		}
		return err
	}))
	if n := ours(); n != 0 {
		t.Errorf("it fights: %d flows", n)
	}
	rest, err := f.host2.Ofctl(f.ctx, "-O", "OpenFlow15", "--no-stats", "dump-flows", "br0")
	f.must(err)
	if !strings.Contains(rest, "cookie=0x77") {
		t.Errorf("somebody else's flow is gone:\n%s", rest)
	}
}

// TestTypeI: Type I has no header that Open vSwitch could read; that it arrives shows, with the advice to use the receiver.
func TestTypeI(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	f.receive("in", "--from", "any", "--session-id", "7")
	atAnalyzer := f.capture(f.analyzer, "eth0", "ether proto 0x88b5")
	packet := outer(f.dst, f.src, "192.0.2.50", append([]byte{0, 0, 0x88, 0xbe}, marked("type I", 60)...))
	f.must(lab.Until(f.ctx, "it shows that Type I arrives", func(context.Context) error {
		f.sends([][]byte{packet, packet, packet})
		list := f.far("session", "list")
		if !strings.Contains(list, "(unmatched)") || !strings.Contains(list, "capture --to") {
			return fmt.Errorf("%s", list)
		}
		return nil
	}))
	f.stop(atAnalyzer)
	if n := atAnalyzer.Stats().Captured; n > 0 {
		t.Errorf("%d frames were delivered", n)
	}
}

// TestWhatCannotBeStripped: `doctor --sample` tells who sends Type I, and Type III with a platform subheader, of which Open
// vSwitch's counters say nothing or not who; other ERSPAN it leaves alone.
func TestWhatCannotBeStripped(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	f.receive("in", "--from", "any", "--session-id", "7")
	withSubheader := header{from: "192.0.2.51", version: 2, sessionID: 7}.packet(f.dst, f.src, append(make([]byte, 8), marked("after the subheader", 60)...))
	withSubheader[14+20+8+11] |= 1 // O, the last bit of the header
	packets := [][]byte{
		outer(f.dst, f.src, "192.0.2.50", append([]byte{0, 0, 0x88, 0xbe}, marked("type I", 60)...)),
		withSubheader,
		header{from: "192.0.2.52", version: 2, sessionID: 7}.packet(f.dst, f.src, marked("plain", 60)),
	}
	done := make(chan result)
	go func() { done <- f.oeOn(f.host2, lab.Command{}, "doctor", "--sample", "10s") }()
	for {
		select {
		case r := <-done:
			if r.code == 0 {
				t.Errorf("exit 0, want a warning")
			}
			for _, want := range []string{"192.0.2.50 sends Type I,", "192.0.2.51 sends Type III with a platform subheader (O=1) with session id 7", "capture --to"} {
				if !strings.Contains(r.stdout, want) {
					t.Errorf("%q is missing in\n%s%s", want, r.stdout, r.stderr)
				}
			}
			if strings.Contains(r.stdout, "192.0.2.52") {
				t.Errorf("a sender of plain Type III is named:\n%s", r.stdout)
			}
			return
		default:
			f.sends(packets)
		}
	}
}

// TestBothDirectionsWithATunnelOfItsOwn: a host sends to another with a tunnel port of the session's own (fixed remote_ip
// and key), and receives from that very host with the same session id: what arrives at either tunnel port is read.
func TestBothDirectionsWithATunnelOfItsOwn(t *testing.T) {
	t.Parallel()
	f := newFarEnd(t)
	d, e := f.scene.guest("d"), f.scene.guest("e")
	f.must(f.host2.Attach(f.ctx, d, "br0", "vnet2", lab.GuestIf{Addrs: []string{"10.0.1.1/24"}}))
	f.must(f.host2.Attach(f.ctx, e, "br0", "vnet3", lab.GuestIf{Addrs: []string{"10.0.1.2/24"}}))
	near := f.scene.guest("near")
	f.must(f.host.Attach(f.ctx, near, "br0", "analyzer0", lab.GuestIf{}))
	f.ok("session", "add", "in", "--type", "destination", "--bridge", "br0", "--output-port", "analyzer0", "--from", farAddr, "--session-id", "5")
	f.send("out", "--source", "vnet0", "--collector", farAddr, "--session-id", "5", "--dscp", "10")
	f.receive("in", "--from", hostAddr, "--session-id", "5")
	f.far("session", "add", "out", "--bridge", "br0", "--source", "vnet2", "--collector", hostAddr, "--session-id", "5", "--dscp", "12")
	atFar, atNear := f.capture(f.analyzer, "eth0", "icmp"), f.capture(near, "eth0", "icmp")
	f.ping(f.a, addrB, 3)
	f.ping(d, "10.0.1.2", 3)
	f.waitCount(atFar, "icmp", 6)
	f.waitCount(atNear, "icmp", 6)
	f.stop(atFar)
	f.stop(atNear)
}
