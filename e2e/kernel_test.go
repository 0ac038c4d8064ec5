//go:build linux

package e2e

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// onKernel skips a scenario where labs do not use the kernel's datapath: there it would test nothing.
func onKernel(t *testing.T) {
	t.Helper()
	if lab.Datapath() != lab.Kernel {
		t.Skip("needs the kernel's datapath and its ERSPAN devices: make test-kernel")
	}
}

// segment is a part of a TCP stream as one frame carried it.
type segment struct{ seq, length int }

// segments reads the data that frames from a carried, by tshark; of copies where inERSPAN is set.
func segments(s *scene, file string, inERSPAN bool) (all []segment, cut int) {
	s.t.Helper()
	filter := "tcp.len > 0 && ip.src == " + addrA
	fields := []string{"-e", "tcp.seq_raw", "-e", "tcp.len", "-e", "ip.len", "-e", "ip.hdr_len", "-e", "tcp.hdr_len", "-e", "erspan.truncated"}
	out, _, err := s.collector.Exec(s.ctx, append([]string{"tshark", "-n", "-r", file, "-o", "ip.defragment:TRUE", "-Y", filter, "-T", "fields", "-E", "separator=/t"}, fields...)...)
	s.must(err)
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		last := func(i int) int {
			values := strings.Split(f[i], ",")
			n, err := strconv.Atoi(values[len(values)-1])
			s.must(err)
			return n
		}
		// Of a copy that was cut, the inner IP header still says the length of the original.
		all = append(all, segment{last(0), last(2) - last(3) - last(4)})
		if inERSPAN && strings.Contains(f[5], "1") {
			cut++
		}
	}
	return all, cut
}

// missing is how many bytes of the stream no segment covers.
func missing(stream, copies []segment) int {
	covered := map[int]bool{}
	const grain = 4 // every 4th byte will do
	for _, c := range copies {
		for b := c.seq; b < c.seq+c.length; b++ {
			if b%grain == 0 {
				covered[b] = true
			}
		}
	}
	lost := 0
	for _, p := range stream {
		for b := p.seq; b < p.seq+p.length; b++ {
			if b%grain == 0 && !covered[b] {
				lost += grain
			}
		}
	}
	return lost
}

// TestSuperFrames: with TSO and GRO on, as everywhere on the kernel's datapath, the bridge carries frames of up to 64 kB;
// and a copy of every segment arrives, each cut to its snaplen, not one super-frame cut to one short copy.
func TestSuperFrames(t *testing.T) {
	t.Parallel()
	onKernel(t)
	const overhead, bytes = 36, 200000
	offloads := func(o *options) { o.aPort.Offloads, o.bPort.Offloads = true, true }
	s := newScene(t, offloads)
	s.ping(s.a, addrB, 1)
	s.add("one", "--source", "vnet0", "--session-id", "1", "--direction", "ingress")
	for _, test := range []struct {
		snaplen string
		frame   int // the longest copy, 0: whole
	}{{"auto", 0}, {"128", 128}, {"1464", 1500 - overhead}, {"off", 0}} {
		t.Run("snaplen "+test.snaplen, func(t *testing.T) {
			s := *s
			s.t = t
			s.ok("session", "set", "one", "--snaplen", test.snaplen)
			source := s.capture(s.b, "eth0", "tcp")
			wire := s.capture(s.collector, "eth0", "proto 47")
			s.must(lab.TCPTransfer(s.ctx, s.a, s.b, netip.MustParseAddr(addrB), bytes))
			s.ping(s.a, addrB, 1) // the last copy
			s.waitCount(wire, "icmp.type == 8", 1)
			s.stop(source)
			s.stop(wire)
			frames, err := source.Frames(s.ctx)
			s.must(err)
			largest := 0
			for _, f := range frames {
				largest = max(largest, len(f.Data))
			}
			if largest <= 1514 {
				t.Fatalf("the largest frame of the transfer has %d bytes: this is not what the scenario is about", largest)
			}
			stream, _ := segments(&s, source.File(), false)
			copies, cut := segments(&s, wire.File(), true)
			if lost := missing(stream, copies); lost > 0 {
				t.Errorf("%d bytes of the transfer are in no copy (%d copies of %d frames)", lost, len(copies), len(stream))
			}
			fragments, err := wire.Count(s.ctx, "ip.flags.mf == 1")
			s.must(err)
			if test.frame == 0 {
				if cut > 0 || fragments == 0 {
					t.Errorf("%d copies say that they are cut, %d left in fragments; want none and most", cut, fragments)
				}
				return
			}
			inner, err := wire.InnerFrames(s.ctx, "erspan && tcp.len > 0")
			s.must(err)
			longest := 0
			for _, f := range inner {
				longest = max(longest, len(f))
			}
			if longest != test.frame || cut == 0 || fragments > 0 {
				t.Errorf("the longest copy has %d bytes, want %d; %d say that they are cut; %d fragments", longest, test.frame, cut, fragments)
			}
		})
	}
}

// TestStreamIsReassembled: the receiver gives back every byte of a TCP stream of super-frames, from copies that left in
// fragments.
func TestStreamIsReassembled(t *testing.T) {
	t.Parallel()
	onKernel(t)
	const bytes = 100000
	s := newScene(t, func(o *options) { o.aPort.Offloads, o.bPort.Offloads = true, true })
	s.ping(s.a, addrB, 1)
	s.add("one", "--source", "vnet0", "--session-id", "1", "--direction", "ingress", "--snaplen", "off")
	file := filepath.Join(t.TempDir(), "inner.pcapng")
	receiver := s.startCapture("-w", file)
	source := s.capture(s.b, "eth0", "tcp")
	s.must(lab.TCPTransfer(s.ctx, s.a, s.b, netip.MustParseAddr(addrB), bytes))
	s.ping(s.a, addrB, 1)
	s.must(lab.Until(s.ctx, "the receiver has the last frame", func(ctx context.Context) error {
		out, _, _ := s.collector.Exec(ctx, "tshark", "-n", "-r", file, "-Y", "icmp.type == 8", "-T", "fields", "-e", "frame.number")
		if strings.TrimSpace(out) == "" {
			return fmt.Errorf("it has not")
		}
		return nil
	}))
	s.must(receiver.Stop(s.ctx))
	s.stop(source)
	if got, want := payload(s, file), payload(s, source.File()); got != want || len(want) != bytes {
		t.Errorf("%d bytes of %d, or other bytes, came out of the copies", len(got), len(want))
	}
}

// payload is the data of the TCP stream from a in a file, in the order of its sequence numbers, as tshark has it.
func payload(s *scene, file string) string {
	s.t.Helper()
	out, _, err := s.collector.Exec(s.ctx, "tshark", "-n", "-r", file, "-Y", "tcp.len > 0 && ip.src == "+addrA, "-T", "fields", "-E", "separator=/t", "-e", "tcp.seq", "-e", "tcp.payload")
	s.must(err)
	at := map[int]string{}
	for line := range strings.Lines(out) {
		seq, text, _ := strings.Cut(strings.TrimSpace(line), "\t")
		n, err := strconv.Atoi(seq)
		s.must(err)
		data, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
		s.must(err)
		at[n] = string(data)
	}
	var all strings.Builder
	for n := 1; ; n = 1 + all.Len() {
		data, ok := at[n]
		if !ok {
			return all.String()
		}
		all.WriteString(data)
	}
}

// linuxDevice is what makes a plain Linux device the other end of a session; id and remote have to be ours.
func linuxDevice(version int, remote, local string, id int) []string {
	kind := "erspan"
	if netip.MustParseAddr(remote).Is6() {
		kind = "ip6erspan"
	}
	// With "seq" for "oseq" it would also drop what overtook another packet on the way.
	args := []string{"ip", "link", "add", "ers0", "type", kind, "oseq", "key", strconv.Itoa(id), "local", local, "remote", remote, "erspan_ver", strconv.Itoa(version)}
	if version == 1 {
		return append(args, "erspan", "123") // the index that it sends
	}
	return append(args, "erspan_dir", "egress", "erspan_hwid", "17")
}

// TestLinuxDeviceReceives: a plain Linux ERSPAN device, and no Open vSwitch, takes our copies apart.
func TestLinuxDeviceReceives(t *testing.T) {
	t.Parallel()
	onKernel(t)
	s := newScene(t)
	s.ping(s.a, addrB, 1)
	for name, tt := range map[string]struct {
		version       int
		local, remote string
	}{
		"version 1, IPv4": {1, collectorAddr, hostAddr},
		"version 2, IPv4": {2, collectorAddr, hostAddr},
		"version 1, IPv6": {1, collector6, hostAddr6},
		"version 2, IPv6": {2, collector6, hostAddr6},
	} {
		t.Run(name, func(t *testing.T) {
			s := *s
			s.t = t
			_, _, err := s.collector.Exec(s.ctx, linuxDevice(tt.version, tt.remote, tt.local, 100)...)
			s.must(err)
			_, _, err = s.collector.Exec(s.ctx, "ip", "link", "set", "ers0", "up")
			s.must(err)
			s.ok("session", "add", "one", "--bridge", "br0", "--source", "vnet0", "--collector", tt.local, "--session-id", "100",
				"--erspan-version", strconv.Itoa(tt.version), "--snaplen", "auto")
			source, far := s.capture(s.a, "eth0", "icmp"), s.capture(s.collector, "ers0", "icmp")
			s.ping(s.a, addrB, 5)
			for _, size := range []int{1, 1000} {
				_, err := lab.Ping(s.ctx, s.a, netip.MustParseAddr(addrB), lab.PingOptions{Count: 2, Size: size})
				s.must(err)
			}
			s.waitCount(far, "icmp", 18)
			s.stop(source)
			s.stop(far)
			sameFrames(t, "what the device received", rawFramesOf(&s, far), rawFramesOf(&s, source))
			s.ok("session", "remove", "one")
			_, _, err = s.collector.Exec(s.ctx, "ip", "link", "del", "ers0")
			s.must(err)
		})
	}
}

func rawFramesOf(s *scene, c *lab.Capture) [][]byte {
	s.t.Helper()
	frames, err := c.Frames(s.ctx)
	s.must(err)
	var raw [][]byte
	for _, f := range frames {
		raw = append(raw, f.Data)
	}
	return raw
}

// TestLinuxDeviceSends: what a plain Linux ERSPAN device encapsulates, a destination session delivers; tagged frames too,
// whose VLAN Linux also writes into the header.
func TestLinuxDeviceSends(t *testing.T) {
	t.Parallel()
	onKernel(t)
	far := newFarEnd(t)
	sender := far.scene.guest("linux")
	far.must(far.host2.Attach(far.ctx, sender, "br-ul", "linux0", lab.GuestIf{Addrs: []string{"192.0.2.50/24", "2001:db8::50/64"}, MTU: 1600}))
	for name, tt := range map[string]struct {
		version       int
		local, remote string
		flags         []string
	}{
		"version 1, IPv4": {1, "192.0.2.50", farAddr, []string{"--index", "123"}},
		"version 2, IPv4": {2, "192.0.2.50", farAddr, []string{"--hwid", "17", "--direction", "egress"}},
		"version 1, IPv6": {1, "2001:db8::50", farAddr6, []string{"--index", "123"}},
		"version 2, IPv6": {2, "2001:db8::50", farAddr6, []string{"--hwid", "17", "--direction", "egress"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := far.in(t)
			_, _, err := sender.Exec(f.ctx, linuxDevice(tt.version, tt.remote, tt.local, 77)...)
			f.must(err)
			_, _, err = sender.Exec(f.ctx, "ip", "link", "set", "ers0", "up")
			f.must(err)
			f.receive("all", append([]string{"--from", tt.local, "--session-id", "77", "--erspan-version", strconv.Itoa(tt.version)}, tt.flags...)...)
			c := f.capture(f.analyzer, "eth0", "")
			wire := f.capture(sender, "eth0", "proto 47 or ip6")
			frames := [][]byte{rawFrame(rawB, rawA, 1, 60), rawFrame(rawB, rawA, 2, 900), rawFrame(rawB, rawA, 3, 64, 0x6000|10), rawFrame(rawB, rawA, 4, 1400)}
			f.must(lab.SendRaw(f.ctx, sender, "ers0", frames, 100))
			f.must(c.WaitCount(f.ctx, "", len(frames)))
			f.stop(c)
			f.stop(wire)
			sameFrames(t, "delivered", f.rawFrames(c), frames)
			// What a user of both datapaths sees differ, held here as the kernel does it (docs/compatibility.md).
			got := f.fields(wire, "erspan", "erspan.version", "erspan.spanid", "erspan.vlan", "erspan.truncated")
			v := strconv.Itoa(tt.version)
			want := [][]string{{v, "77", "0", "0"}, {v, "77", "0", "0"}, {v, "77", "10", "0"}, {v, "77", "0", "0"}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("headers that Linux made (-want +got):\n%s", diff)
			}
			f.far("session", "remove", "all")
			_, _, err = sender.Exec(f.ctx, "ip", "link", "del", "ers0")
			f.must(err)
		})
	}
}

// TestLinuxTypeI: what a Linux device sends as Type I (erspan_ver 0), which Open vSwitch cannot read, our receiver can.
func TestLinuxTypeI(t *testing.T) {
	t.Parallel()
	onKernel(t)
	s := newScene(t)
	sender := s.guest("linux")
	s.must(s.host.Attach(s.ctx, sender, "br-ul", "linux0", lab.GuestIf{Addrs: []string{"192.0.2.50/24"}, MTU: 1600}))
	for _, args := range [][]string{
		{"ip", "link", "add", "ers0", "type", "erspan", "local", "192.0.2.50", "remote", collectorAddr, "erspan_ver", "0"},
		{"ip", "link", "set", "ers0", "up"},
	} {
		_, _, err := sender.Exec(s.ctx, args...)
		s.must(err)
	}
	file := filepath.Join(t.TempDir(), "inner.pcapng")
	receiver := s.startCapture("-w", file)
	frames := [][]byte{rawFrame(rawB, rawA, 1, 60), rawFrame(rawB, rawA, 2, 900)}
	s.must(lab.SendRaw(s.ctx, sender, "ers0", frames, 100))
	s.waitFrames(file, len(frames))
	s.must(receiver.Stop(s.ctx))
	dump := s.frameDump(file)
	if len(dump) != len(frames) {
		t.Fatalf("%d frames, want %d", len(dump), len(frames))
	}
	out, _, err := s.collector.Exec(s.ctx, "tshark", "-n", "-r", file, "-T", "fields", "-e", "frame.len", "-e", "frame.interface_name", "-E", "separator=/t")
	s.must(err)
	// In any order: the first waits in ovs-vswitchd, and the next may overtake it.
	for _, f := range frames {
		if want := fmt.Sprintf("%d\t192.0.2.50", len(f)); strings.Count("\n"+out, "\n"+want) != 1 {
			t.Errorf("not one frame %q:\n%s", want, out)
		}
	}
}

// TestHeaderOfTheKernel: what the kernel's datapath writes into the header that the userspace datapath leaves 0: VLAN from
// the tag, COS from the inner IP header's DSCP (not from the tag), T where the frame was cut, En and BSO.
func TestHeaderOfTheKernel(t *testing.T) {
	t.Parallel()
	onKernel(t)
	s := newScene(t, func(o *options) { o.aPort.Trunks, o.bPort.Trunks = []int{0, 10}, []int{0, 10} })
	s.add("one", "--source", "vnet0", "--session-id", "1", "--direction", "ingress", "--snaplen", "200")
	s.add("two", "--source", "vnet0", "--session-id", "2", "--direction", "ingress", "--snaplen", "200", "--erspan-version", "2")
	// DSCP 46, of which the upper three bits are 5; in the tag, priority 3.
	datagram := func(size int, tags ...byte) []byte {
		frame := slices.Concat(rawB, rawA, tags, []byte{0x08, 0x00})
		ip := []byte{0x45, 46 << 2, byte(size >> 8), byte(size), 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}
		return slices.Concat(frame, ip, []byte{0x13, 0x88, 0x13, 0x88, byte((size - 20) >> 8), byte(size - 20), 0, 0}, make([]byte, size-28))
	}
	wire := s.capture(s.collector, "eth0", "proto 47")
	s.must(lab.SendRaw(s.ctx, s.a, "eth0", [][]byte{datagram(46), datagram(46, 0x81, 0, 0x60, 10), datagram(886), datagram(30)}, 50))
	s.waitCount(wire, "erspan && udp", 8)
	s.stop(wire)
	got := map[string][]string{}
	for _, row := range s.fields(wire, "erspan && udp", "erspan.spanid", "frame.len", "erspan.vlan", "erspan.cos", "erspan.truncated", "erspan.encap", "erspan.bso") {
		got[row[0]] = append(got[row[0]], strings.TrimSpace(strings.Join(row[1:], " ")))
	}
	// Length of the whole packet, VLAN, COS, T, and En of version 1 (3: the tag is in the frame) or BSO of version 2 (1: a
	// frame shorter than Ethernet's least).
	want := map[string][]string{
		"1": {"110 0 5 0 0", "114 10 5 0 3", "250 0 5 1 0", "94 0 5 0 0"},
		"2": {"114 0 5 0  0", "118 10 5 0  0", "254 0 5 1  0", "98 0 5 0  1"},
	}
	for id := range want {
		slices.Sort(got[id])
		slices.Sort(want[id])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("length, VLAN, COS, T, En and BSO by session id (-want +got):\n%s", diff)
	}
}

// TestSegmentedTap: the devices that take super-frames apart come with the session that needs them, come back when someone
// removes them, and go with it. Nothing but the Mirror uses them.
func TestSegmentedTap(t *testing.T) {
	t.Parallel()
	onKernel(t)
	s := newScene(t)
	s.ping(s.a, addrB, 1)
	devices := func() (names []string) {
		out, _, err := s.host.Exec(s.ctx, "ip", "-o", "link")
		s.must(err)
		for line := range strings.Lines(out) {
			name, _, _ := strings.Cut(strings.Fields(line)[1], "@")
			if name = strings.TrimSuffix(name, ":"); strings.HasPrefix(name, "es-") {
				names = append(names, name)
			}
		}
		return names
	}
	copies := func(what string, length int) {
		t.Helper()
		wire := s.capture(s.collector, "eth0", "proto 47")
		// A broadcast is what NORMAL floods: through the pair, if it could, and that would be a second copy.
		s.must(lab.SendRaw(s.ctx, s.a, "eth0", [][]byte{rawFrame([]byte{255, 255, 255, 255, 255, 255}, rawA, 1, 900)}, 0))
		s.ping(s.a, addrB, 1)
		s.waitCount(wire, "icmp.type == 8", 1)
		s.stop(wire)
		got := s.rawCopies(wire, "")
		if len(got) != 1 || len(got[0]) != length {
			t.Errorf("%s: %d copies of a broadcast, want one of %d bytes", what, len(got), length)
		}
	}
	s.add("one", "--source", "vnet0", "--session-id", "1", "--direction", "ingress", "--snaplen", "128")
	if d := devices(); len(d) != 2 {
		t.Fatalf("devices: %v, want a pair", d)
	}
	copies("at first", 128)
	for _, want := range []string{"a copy goes into the devices", "take it apart", "collector " + collectorAddr + " would get"} {
		if out := s.ok("session", "trace", "one", "--packet", "icmp,nw_src="+addrA+",nw_dst="+addrB); !strings.Contains(out, want) {
			t.Errorf("trace does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(s.host.Log(), "VLAN 0") {
		t.Errorf("log:\n%s", s.host.Log())
	}
	_, _, err := s.host.Exec(s.ctx, "ip", "link", "del", devices()[0])
	s.must(err)
	if r := s.oe("plan"); r.code != 3 || !strings.Contains(r.stdout, "+ devices es-") {
		t.Errorf("plan after the pair was removed: exit %d\n%s", r.code, r.stdout)
	}
	s.ok("run", "--once")
	copies("mended", 128)
	// Somebody else's device of that name stays, and the session says so.
	in := devices()[0]
	if strings.HasSuffix(in, "-s") {
		in = devices()[1]
	}
	for _, args := range [][]string{{"link", "del", in}, {"link", "add", in, "type", "dummy"}} {
		_, _, err := s.host.Exec(s.ctx, append([]string{"ip"}, args...)...)
		s.must(err)
	}
	s.oe("run", "--once")
	if v := s.show("one"); v.Status.Reason != "NameTaken" || !strings.Contains(v.Status.Message, "is not ours (dummy)") {
		t.Errorf("beside somebody else's device: %s, %s", v.Status.Reason, v.Status.Message)
	}
	_, _, err = s.host.Exec(s.ctx, "ip", "link", "del", in)
	s.must(err)
	s.ok("run", "--once")
	copies("mended again", 128)
	s.ok("session", "set", "one", "--snaplen", "auto")
	copies("whole", 900)
	if d := devices(); len(d) != 0 {
		t.Errorf("devices: %v, want none", d)
	}
	s.ok("session", "set", "one", "--snaplen", "100")
	copies("shorter", 100)
	s.ok("session", "remove", "one")
	add := []string{"session", "add", "one", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr, "--snaplen", "100"}
	for _, step := range []string{"devices", "flows"} {
		s.killAt(step, add...)
		s.ok("run", "--once")
		s.nothingToDo()
		if d := devices(); len(d) != 4 { // for each direction
			t.Errorf("killed at %s of add, mended: devices %v, want two pairs", step, d)
		}
		s.ok("session", "remove", "one")
	}
	for _, step := range []string{"rows-after", "devices"} {
		s.ok(append(add, "--may-exist")...)
		s.killAt(step, "session", "remove", "one")
		s.ok("run", "--once")
		s.nothingToDo()
		if d := devices(); len(d) != 0 {
			t.Errorf("killed at %s of remove, mended: devices %v", step, d)
		}
	}
	s.ok(add...)
	s.ok("uninstall", "--yes")
	if d := devices(); len(d) != 0 {
		t.Errorf("after uninstall: devices %v", d)
	}
	// Open vSwitch removes its own devices with the last port that uses them.
	out, _, err := s.host.Exec(s.ctx, "ip", "-o", "link")
	s.must(err)
	if strings.Contains(out, "erspan_sys") {
		t.Errorf("after uninstall Open vSwitch still has an ERSPAN device:\n%s", out)
	}
}

// TestFlowRestoreWait: Open vSwitch restarted as its init scripts do it, with flow-restore-wait until the saved flows are
// back: then copies go on, without a command of ours. Where nobody saved our flows, the next reconcile puts them right.
func TestFlowRestoreWait(t *testing.T) {
	t.Parallel()
	onKernel(t)
	for name, saved := range map[string]bool{"flows saved": true, "flows lost": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.ping(s.a, addrB, 1)
			s.add("one", "--source", "vnet0", "--session-id", "1", "--direction", "ingress")
			flows, err := s.host.Ofctl(s.ctx, "-O", "OpenFlow15", "--no-names", "--no-stats", "dump-flows", tapBridge)
			s.must(err)
			s.must(s.host.StopVswitchd(s.ctx))
			_, err = s.host.Vsctl(s.ctx, "--no-wait", "set", "open_vswitch", ".", "other_config:flow-restore-wait=true")
			s.must(err)
			s.must(s.host.StartVswitchd(s.ctx))
			if saved {
				_, _, err = s.host.Run(s.ctx, lab.Command{
					Args:  []string{"ovs-ofctl", "-O", "OpenFlow15", "--bundle", "add-flows", tapBridge, "-"},
					Stdin: strings.NewReader(flows),
				})
				s.must(err)
			}
			_, err = s.host.Vsctl(s.ctx, "remove", "open_vswitch", ".", "other_config", "flow-restore-wait")
			s.must(err)
			// ovs-vswitchd acknowledges a moment before it asks the kernel for packets again.
			s.must(lab.Until(s.ctx, "the guests reach each other", func(ctx context.Context) error {
				r, err := lab.Ping(ctx, s.a, netip.MustParseAddr(addrB), lab.PingOptions{Count: 1})
				if err == nil && r.Received != 1 {
					err = errors.New(r.Output)
				}
				return err
			}))
			s.ping(s.a, addrB, 5)
			if !saved {
				if r := s.oe("plan"); r.code != 3 {
					t.Errorf("plan: exit %d, want 3 (changes pending)\n%s", r.code, r.stdout)
				}
				s.ok("run", "--once")
			}
			wire := s.capture(s.collector, "eth0", "proto 47")
			s.ping(s.a, addrB, 3)
			s.waitCount(wire, "erspan && icmp.type == 8", 3)
			s.stop(wire)
			if saved {
				// What a bridge does with fragments is saved by nobody. Copies go on meanwhile.
				if r := s.oe("plan"); r.code != 3 || !strings.Contains(r.stdout, "set-frags nx-match") || strings.Contains(r.stdout, "priority=") {
					t.Errorf("plan: exit %d, want the setting for fragments alone\n%s", r.code, r.stdout)
				}
				s.ok("run", "--once")
			}
			if state, reason := s.state("one"); state != "Active" {
				t.Errorf("%s, %s", state, reason)
			}
			if r := s.oe("plan"); r.code != 0 {
				t.Errorf("plan: exit %d, want nothing to do\n%s", r.code, r.stdout)
			}
		})
	}
}
