//go:build linux

package e2e

import (
	"context"
	wire "encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// newWire is a scene with nothing but a sender (s.a) and a collector, each with an eth0 on one wire.
func newWire(t testing.TB) *scene {
	t.Helper()
	s := newLab(t)
	s.a, s.collector = s.guest("sender"), s.guest("col")
	s.must(lab.Connect(s.ctx, s.a, lab.NodeIf{Dev: "eth0", Addrs: []string{hostAddr + "/24"}},
		s.collector, lab.NodeIf{Dev: "eth0", Addrs: []string{collectorAddr + "/24"}}, 1500))
	return s
}

// sent is an ERSPAN packet of version 1, made by hand: what it is made with stands nowhere else.
type sent struct {
	from     [4]byte // zero is hostAddr
	session  uint16
	sequence uint32
	inner    []byte
}

// innerFrame is a mirrored frame: UDP between two hosts, with a number in its payload.
func innerFrame(number uint32, port uint16) []byte {
	b := unhex("020000000002 020000000001 0800" +
		"4500 0030 0000 4000 4011 0000 0a000001 0a000002" +
		"04d2 0000 001c 0000" + "00000000 000000000000000000000000 00000000")
	wire.BigEndian.PutUint16(b[36:], port)
	wire.BigEndian.PutUint32(b[42:], number)
	wire.BigEndian.PutUint16(b[24:], internetChecksum(b[14:34]))
	return b
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// internetChecksum is that of an IPv4 header (RFC 1071) whose own is 0.
func internetChecksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(wire.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum + sum>>16)
}

// erspanFrames are whole frames to a hardware address that is not the collector's, so that its kernel does not answer
// them: the receiver sees what is on the wire.
func erspanFrames(packets ...sent) (frames [][]byte) {
	for _, p := range packets {
		b := unhex("020000000009 020000000001 0800" +
			"4500 0000 0000 4000 402f 0000 c0000201 c0000209" +
			"1000 88be 00000000" + "1000 0000 0000 0005")
		wire.BigEndian.PutUint16(b[16:], uint16(len(b)-14+len(p.inner)))
		if p.from != [4]byte{} {
			copy(b[26:], p.from[:])
		}
		wire.BigEndian.PutUint16(b[24:], internetChecksum(b[14:34]))
		wire.BigEndian.PutUint32(b[38:], p.sequence)
		wire.BigEndian.PutUint16(b[44:], p.session)
		frames = append(frames, append(b, p.inner...))
	}
	return frames
}

// numbered are n packets of a session with sequence numbers from first on.
func numbered(session uint16, first uint32, n int) (packets []sent) {
	for i := range uint32(n) {
		packets = append(packets, sent{session: session, sequence: first + i, inner: innerFrame(first+i, 443)})
	}
	return packets
}

func (s *scene) send(pps int, packets ...sent) {
	s.t.Helper()
	s.must(lab.SendRaw(s.ctx, s.a, "eth0", erspanFrames(packets...), pps))
}

// says waits until a process has printed what matches.
func (s *scene) says(p *lab.Process, pattern string) {
	s.t.Helper()
	re := regexp.MustCompile(pattern)
	s.must(lab.Until(s.ctx, fmt.Sprintf("%q is said", pattern), func(context.Context) error {
		if text := p.Stdout() + p.Stderr(); !re.MatchString(text) {
			return fmt.Errorf("said so far:\n%s", text)
		}
		return nil
	}))
}

// What is counted is what was sent: gaps, late packets, duplicates, by sender and session; on SIGUSR1 while it runs, and at
// the end.
func TestCaptureCounts(t *testing.T) {
	t.Parallel()
	s := newWire(t)
	p := s.startCapture()
	other := [4]byte{192, 0, 2, 77}
	s.send(0,
		sent{session: 100, sequence: 1, inner: innerFrame(1, 443)},
		sent{session: 100, sequence: 2, inner: innerFrame(2, 443)},
		sent{session: 100, sequence: 6, inner: innerFrame(6, 443)}, // 3, 4, 5 are missing
		sent{session: 100, sequence: 5, inner: innerFrame(5, 443)}, // 5 is late
		sent{session: 100, sequence: 5, inner: innerFrame(5, 443)}, // and comes twice
		sent{from: other, session: 1023, sequence: 9, inner: innerFrame(9, 443)},
	)
	s.says(p, `(?s)(seq \d+.*){6}`)
	s.must(p.Signal(syscall.SIGUSR1))
	first := `192\.0\.2\.1 +100 +1 \(Type II\) +5 +310 +\S+ +\S+ +2 missing in 1 gaps \(lost, or sent elsewhere.*\), 1 late, 1 twice\n` +
		`192\.0\.2\.77 +1023 +1 \(Type II\) +1 +62 +\S+ +\S+ +complete\n`
	s.says(p, `6 packets received by the filter, 0 dropped by the kernel\n6 frames, 6 ERSPAN\n.*\n`+first)
	s.send(0, sent{session: 100, sequence: 7, inner: innerFrame(7, 443)})
	s.says(p, `seq 7: IP 10\.0\.0\.1\.1234 > 10\.0\.0\.2\.443: UDP, length 20\n`)
	s.must(p.Stop(s.ctx))
	if e := p.Stderr(); !regexp.MustCompile(`(?s)7 packets received by the filter.*192\.0\.2\.1 +100 +1 \(Type II\) +6 +372 `).MatchString(e) {
		t.Errorf("at the end:\n%s", e)
	}
}

// Open vSwitch counts with one number for all that it sends: what went elsewhere is not called lost, and what a session
// lacks because the sender's other session has it is not missing.
func TestCaptureIsHonestAboutSharedCounts(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for name, flags := range map[string][]string{
		"one": {"--collector", collectorAddr, "--session-id", "1"}, "two": {"--collector", collectorAddr, "--session-id", "2"},
	} {
		s.ok(append([]string{"session", "add", name, "--bridge", "br0", "--source", "vnet0"}, flags...)...)
	}
	p := s.startCapture("--session-id", "1") // the other is not asked for, and counts all the same
	s.ping(s.a, addrB, 5)
	s.says(p, `(?s)(ICMP echo.*){10}`)
	s.must(p.Stop(s.ctx))
	if e := p.Stderr(); strings.Count(e, "complete (numbers shared with the sender's other sessions)") != 2 || strings.Contains(e, "missing") || strings.Contains(e, "lost") {
		t.Errorf("two sessions to one place:\n%s", e)
	}
	// A third copy goes to another collector, of which only the numbers that it took show here.
	elsewhere := s.secondCollector()
	s.ok("session", "set", "two", "--collector", elsewhere.Addr().String())
	p = s.startCapture()
	s.ping(s.a, addrB, 5)
	s.says(p, `(?s)(ICMP echo.*){10}`)
	s.must(p.Stop(s.ctx))
	if e := p.Stderr(); !regexp.MustCompile(`\d+ missing in \d+ gaps \(lost, or sent elsewhere`).MatchString(e) {
		t.Errorf("one of two sessions goes elsewhere:\n%s", e)
	}
}

// The frames that are asked for, and no others, from real senders of both versions; -c ends it, and so does --duration.
func TestCaptureChooses(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.add("two", "--source", "vnet0", "--session-id", "7", "--erspan-version", "2", "--hwid", "3")
	s.add("one", "--source", "vnet0", "--session-id", "8", "--index", "5")
	for _, test := range []struct {
		args []string
		want string // of each line
	}{
		{[]string{"--session-id", "7", "--direction", "egress"}, "III 7 egress " + addrB},
		{[]string{"--erspan-version", "2", "--direction", "ingress", "--from", hostAddr}, "III 7 ingress " + addrA},
		{[]string{"--erspan-version", "II"}, "II 8  "},
		{[]string{"--session-id", "0x8"}, "II 8  "},
	} {
		p := s.startCapture(append(test.args, "-c", "4", "-o", "json")...)
		s.must(lab.Until(s.ctx, "capture ends after four packets", func(context.Context) error {
			select {
			case <-p.Done():
				return nil
			default:
			}
			s.ping(s.a, addrB, 1)
			return errors.New(p.Stderr())
		}))
		s.must(p.Wait(s.ctx))
		lines := strings.Split(strings.TrimSpace(p.Stdout()), "\n")
		for _, line := range lines {
			var r struct {
				Outer  struct{ Src, Dst string }
				ERSPAN struct {
					Type, Direction string
					SessionID       int
				}
				Inner struct{ Summary string }
			}
			s.must(json.Unmarshal([]byte(line), &r))
			got := fmt.Sprintf("%s %d %s ", r.ERSPAN.Type, r.ERSPAN.SessionID, r.ERSPAN.Direction)
			if !strings.HasPrefix(r.Inner.Summary, "IP ") {
				continue // ARP
			}
			if r.ERSPAN.Direction != "" {
				got += strings.Fields(r.Inner.Summary)[1]
			} else {
				got += " "
			}
			if r.Outer.Src != hostAddr || r.Outer.Dst != collectorAddr || strings.TrimSpace(got) != strings.TrimSpace(test.want) {
				t.Errorf("%q: %s, want %s", test.args, line, test.want)
			}
		}
		if len(lines) != 4 {
			t.Errorf("%q: %d lines", test.args, len(lines))
		}
	}
	began := time.Now()
	p := s.startCapture("--duration", "1s", "--from", "192.0.2.200")
	s.must(p.Wait(s.ctx))
	if took := time.Since(began); took < time.Second {
		t.Errorf("--duration 1s took %v", took)
	}
	if p.Stdout() != "" {
		t.Errorf("from another sender:\n%s", p.Stdout())
	}
}

// The times of frames are those of the sender, which counts in units of 100 µs, unless those of arrival are asked for.
func TestCaptureTimes(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.add("web", "--source", "vnet0", "--session-id", "7", "--erspan-version", "2")
	s.ping(s.a, addrB, 1)
	const frames = 12
	for _, test := range []struct {
		args   []string
		coarse bool
	}{{nil, true}, {[]string{"--time", "receive"}, false}} {
		file := filepath.Join(t.TempDir(), "inner.pcapng")
		p := s.startCapture(append(test.args, "-w", file)...)
		before := time.Now()
		s.ping(s.a, addrB, frames/2)
		s.waitFrames(file, frames)
		after := time.Now()
		s.must(p.Stop(s.ctx))
		out, _, err := s.collector.Exec(s.ctx, "tshark", "-n", "-r", file, "-T", "fields", "-e", "frame.time_epoch", "-e", "frame.comment")
		s.must(err)
		coarse := 0
		for line := range strings.Lines(out) {
			at, comment, _ := strings.Cut(strings.TrimSpace(line), "\t")
			when := seconds(t, at)
			if when.UnixNano()%100_000 == 0 {
				coarse++
			}
			if when.Before(before.Add(-time.Second)) || when.After(after.Add(time.Second)) || !strings.HasSuffix(comment, " (absolute)") {
				t.Errorf("%q: %s %s", test.args, when, comment)
			}
		}
		if n := strings.Count(out, "\n"); n < frames || (coarse == n) != test.coarse {
			t.Errorf("%q: %d of %d times are whole units of the sender's:\n%s", test.args, coarse, n, out)
		}
	}
}

// What the kernel drops because nobody reads is counted, to the packet.
func TestCaptureCountsWhatTheKernelDrops(t *testing.T) {
	t.Parallel()
	s := newWire(t)
	file := filepath.Join(t.TempDir(), "inner.pcapng")
	p := s.startCapture("--buffer", "2", "-w", file)
	s.must(p.Signal(syscall.SIGSTOP))
	const frames = 20_000 // of which 2 MiB hold less than half
	s.send(200_000, numbered(100, 0, frames)...)
	s.must(p.Signal(syscall.SIGCONT))
	s.waitFrames(file, 1)
	s.must(p.Stop(s.ctx))
	m := regexp.MustCompile(`(\d+) packets received by the filter, (\d+) dropped by the kernel\n(\d+) frames, `).FindStringSubmatch(p.Stderr())
	if m == nil {
		t.Fatalf("it said:\n%s", p.Stderr())
	}
	number := func(i int) int { n, _ := strconv.Atoi(m[i]); return n }
	received, dropped, kept := number(1), number(2), number(3)
	if received != frames || dropped == 0 || kept != received-dropped {
		t.Errorf("%d received, %d dropped, %d kept, of %d", received, dropped, kept, frames)
	}
	if !strings.Contains(p.Stderr(), fmt.Sprintf("hint: %d packets were dropped by the kernel", dropped)) {
		t.Errorf("no hint:\n%s", p.Stderr())
	}
	out, _, err := s.collector.Exec(s.ctx, "capinfos", "-M", "-c", file)
	s.must(err)
	if !regexp.MustCompile(fmt.Sprintf(`Number of packets: +%d\n`, kept)).MatchString(out) {
		t.Errorf("%d were kept, but capinfos says\n%s", kept, out)
	}
	// So does the file.
	b, err := os.ReadFile(file)
	s.must(err)
	if !strings.Contains(string(b), string(wire.LittleEndian.AppendUint64([]byte{5, 0, 8, 0}, uint64(dropped)))) { // isb_ifdrop
		t.Errorf("the file does not tell of %d dropped packets", dropped)
	}
}

// A file is readable whenever the receiver is killed, with all that had been written by then.
func TestCaptureFileOutlivesTheReceiver(t *testing.T) {
	alone(t, "the receiver must keep up with 100,000 packets a second")
	s := newWire(t)
	file := filepath.Join(t.TempDir(), "inner.pcapng")
	p := s.startCapture("-w", file)
	s.send(0, numbered(100, 0, 100)...)
	s.waitFrames(file, 100) // the network went quiet: they are written
	done := make(chan error, 1)
	frames := erspanFrames(numbered(100, 100, 60_000)...)
	go func() { done <- lab.SendRaw(s.ctx, s.a, "eth0", frames, 100_000) }()
	s.must(lab.Until(s.ctx, "a part of the load is written", func(context.Context) error {
		if info, err := os.Stat(file); err != nil || info.Size() < 1<<20 {
			return fmt.Errorf("%v, %v", info.Size(), err)
		}
		return nil
	}))
	s.must(p.Signal(syscall.SIGKILL))
	<-p.Done()
	s.must(<-done)
	out, stderr, err := s.collector.Exec(s.ctx, "tshark", "-n", "-r", file, "-T", "fields", "-e", "frame.packet_id", "-e", "udp.dstport")
	// The kernel may cut the last write where the kill found it; nothing before that is lost.
	if err != nil && !strings.Contains(stderr, "cut short in the middle of a packet") {
		t.Fatalf("tshark: %v\n%s", err, stderr)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for i, line := range lines {
		if line != fmt.Sprintf("%d\t443", i) {
			t.Fatalf("frame %d is %q", i+1, line)
		}
	}
	if len(lines) < 5000 {
		t.Errorf("%d frames were kept of a file of more than 1 MB", len(lines))
	}
}

// A full disk ends the capture with an error that says so, and the file is whole up to its last frame.
func TestCaptureFullDisk(t *testing.T) {
	t.Parallel()
	s := newWire(t)
	disk := t.TempDir()
	s.must(unix.Mount("tmpfs", disk, "tmpfs", 0, "size=256k"))
	t.Cleanup(func() {
		if err := unix.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	file := filepath.Join(disk, "inner.pcapng")
	p := s.startCapture("-w", file)
	s.must(lab.Until(s.ctx, "the disk is full", func(context.Context) error {
		select {
		case <-p.Done():
			return nil
		default:
		}
		s.send(0, numbered(100, 0, 200)...)
		return errors.New("it goes on")
	}))
	if err := p.Wait(s.ctx); err == nil || !strings.Contains(p.Stderr(), "no space left on device") {
		t.Errorf("it ended with %v:\n%s", err, p.Stderr())
	}
	out, stderr, err := s.collector.Exec(s.ctx, "tshark", "-n", "-r", file, "-T", "fields", "-e", "udp.dstport")
	if err != nil || stderr != "" && !strings.Contains(stderr, "Running as user") || strings.Count(out, "443\n") < 500 {
		t.Errorf("tshark: %v, %s, %d frames", err, stderr, strings.Count(out, "443\n"))
	}
}

// A ring of files keeps the newest, each whole.
func TestCaptureRing(t *testing.T) {
	t.Parallel()
	s := newWire(t)
	dir := t.TempDir()
	p := s.startCapture("-w", filepath.Join(dir, "r.pcapng"), "-b", "packets:10", "-b", "files:3", "-c", "45")
	s.send(0, numbered(100, 0, 60)...)
	s.must(p.Wait(s.ctx))
	if e := p.Stderr(); !strings.Contains(e, "\n45 frames, 45 ERSPAN\n") { // and none of those behind
		t.Errorf("it said:\n%s", e)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	s.must(err)
	var got []string
	for _, f := range files {
		if !regexp.MustCompile(`/r_0000[345]_20\d{12}\.pcapng$`).MatchString(f) {
			t.Errorf("file %s", f)
		}
		out, _, err := s.collector.Exec(s.ctx, "tshark", "-n", "-r", f, "-T", "fields", "-e", "frame.packet_id")
		s.must(err)
		got = append(got, strings.Fields(out)...)
	}
	var want []string
	for i := 20; i < 45; i++ {
		want = append(want, strconv.Itoa(i))
	}
	if len(files) != 3 || !slices.Equal(got, want) {
		t.Errorf("%d files with %q", len(files), got)
	}
}

// Frames go on to a device, on which what cannot decode ERSPAN sees them as they passed at the source: one end of a veth
// pair, and a TAP that a program reads.
func TestCaptureToADevice(t *testing.T) {
	t.Parallel()
	s := newWire(t)
	// As docs/receiver.md has it, but for the MTU.
	_, _, err := s.collector.Exec(s.ctx, "sh", "-ec", `
ip link add mirror type veth peer name sensor
for d in mirror sensor; do
  sysctl -qw net.ipv6.conf.$d.disable_ipv6=1
  ip link set $d up mtu 1400 arp off multicast off
done`)
	s.must(err)
	tap := s.tap("tap0")
	seen := s.capture(s.collector, "sensor", "")
	file := filepath.Join(t.TempDir(), "inner.pcapng")
	toVeth, toTAP := s.startCapture("--to", "mirror", "-w", file), s.startCapture("--to", "tap0")
	packets := numbered(100, 0, 20)
	packets = append(packets, sent{session: 100, sequence: 20, inner: append(innerFrame(20, 443), make([]byte, 1380)...)}) // too long for the devices
	// Something that the host would answer, were it not told to leave these devices alone: who has its address?
	packets[3].inner = unhex("ffffffffffff 020000000001 0806 0001 0800 0604 0001 020000000001 c00002fe 000000000000 c0000209" +
		"000000000000000000000000000000000000")
	s.send(0, packets...)
	s.waitFrames(file, len(packets))
	s.waitCount(seen, "udp.port==443 or arp", 20)
	s.stop(seen)
	for i := range 20 {
		b := make([]byte, 2000)
		s.must(tap.SetReadDeadline(time.Now().Add(time.Minute)))
		n, err := tap.Read(b)
		s.must(err)
		if string(b[:n]) != string(packets[i].inner) {
			t.Errorf("frame %d on the TAP is %x, want %x", i, b[:n], packets[i].inner)
		}
	}
	s.must(toTAP.Stop(s.ctx))
	s.must(toVeth.Stop(s.ctx))
	got := s.frames(seen)
	if len(got) != 20 {
		t.Errorf("%d frames on the veth, want no more than the mirrored ones, 20", len(got))
	}
	for i, f := range got[:min(len(got), 20)] {
		if string(f) != string(packets[i].inner) {
			t.Errorf("frame %d on the veth is %x, want %x", i, f, packets[i].inner)
		}
	}
	for _, p := range []*lab.Process{toVeth, toTAP} {
		if !strings.Contains(p.Stderr(), "20 frames sent on, 1 too long for the device, 0 dropped") {
			t.Errorf("it said:\n%s", p.Stderr())
		}
	}
}

// tap is a TAP device of the collector that this test reads, up.
func (s *scene) tap(name string) *os.File {
	s.t.Helper()
	var tap *os.File
	s.must(s.collector.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		var req struct {
			name  [16]byte
			flags uint16
			_     [22]byte
		}
		copy(req.name[:], name)
		req.flags = unix.IFF_TAP | unix.IFF_NO_PI
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(&req))); errno != 0 {
			unix.Close(fd)
			return errno
		}
		tap = os.NewFile(uintptr(fd), name)
		_, err = net.InterfaceByName(name)
		return err
	}))
	s.t.Cleanup(func() { tap.Close() })
	_, _, err := s.collector.Exec(s.ctx, "ip", "link", "set", name, "up", "mtu", "1400", "arp", "off", "multicast", "off")
	s.must(err)
	return tap
}

// A collector that knows no GRE tells the senders so, which capture sees, and says how to silence it; and that works. Where
// nothing comes it says what may be wrong.
func TestCaptureHints(t *testing.T) {
	t.Parallel()
	s := newWire(t)
	mac, err := s.collector.MAC(s.ctx, "eth0")
	s.must(err)
	// send is as s.send, to the collector's own hardware address.
	send := func(packets ...sent) {
		t.Helper()
		frames := erspanFrames(packets...)
		for _, f := range frames {
			copy(f, mac)
		}
		s.must(lab.SendRaw(s.ctx, s.a, "eth0", frames, 0))
	}
	p := s.startCapture()
	send(numbered(100, 0, 3)...)
	s.says(p, `seq 2: `)
	s.must(p.Stop(s.ctx))
	m := regexp.MustCompile(`hint: \d+ times this network told a sender that GRE is not wanted here.*Silence it with: (iptables \S+ \S+ -p gre -j DROP),`).FindStringSubmatch(p.Stderr())
	if m == nil {
		t.Fatalf("no hint:\n%s", p.Stderr())
	}
	_, _, err = s.collector.Exec(s.ctx, strings.Fields(m[1])...)
	s.must(err)
	p = s.startCapture()
	send(numbered(100, 3, 3)...)
	s.says(p, `seq 5: `)
	s.must(p.Stop(s.ctx))
	if e := p.Stderr(); strings.Contains(e, "hint:") {
		t.Errorf("after the hint was followed:\n%s", e)
	}
	p = s.startCapture("--duration", "200ms")
	s.must(p.Wait(s.ctx))
	if e := p.Stderr(); !strings.Contains(e, "hint: no ERSPAN came in: ") {
		t.Errorf("nothing came:\n%s", e)
	}
}

// However many senders there are, memory stays what it is.
func TestCaptureOfManySendersStaysSmall(t *testing.T) {
	alone(t, "the receiver must keep up with 100,000 packets a second")
	s := newWire(t)
	file := filepath.Join(t.TempDir(), "inner.pcapng")
	p, err := s.collector.Start(s.ctx, lab.Command{
		Args: []string{plainBinary, "capture", "-i", "eth0", "-w", file},
		Env:  []string{"GOGC=10"}, // little that waits to be collected
	})
	s.must(err)
	s.says(p, "receiving on")
	round := func(n byte) (kB int) {
		packets := make([]sent, 0, 40_000)
		for i := range cap(packets) {
			packets = append(packets, sent{from: [4]byte{10, n, byte(i >> 8), byte(i)}, session: uint16(i) & 1023, sequence: uint32(i), inner: innerFrame(uint32(i), 443)})
		}
		s.send(100_000, packets...)
		want := (int(n) + 1) * cap(packets)
		s.must(lab.Until(s.ctx, "all are in the file", func(ctx context.Context) error {
			out, _, err := s.collector.Exec(ctx, "capinfos", "-T", "-M", "-c", "-r", file)
			if fields := strings.Fields(out); err != nil || fields[len(fields)-1] != strconv.Itoa(want) {
				return fmt.Errorf("%q, %v", out, err)
			}
			return nil
		}))
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
		s.must(err)
		_, err = fmt.Sscanf(string(status[strings.Index(string(status), "RssAnon:"):]), "RssAnon: %d kB", &kB)
		s.must(err)
		return kB
	}
	first := round(0)
	round(1)
	if last := round(2); last > first+first/2 { // unbounded, it would be three times as much
		t.Errorf("%d kB after 40,000 senders, %d kB after 120,000", first, last)
	}
	s.must(p.Stop(s.ctx))
	if !strings.Contains(p.Stderr(), "streams forgotten: too many") {
		t.Errorf("it said:\n%s", tail(p.Stderr(), 5))
	}
}

// The pipes of docs/receiver.md: tcpdump and tshark (which reads a pipe as Wireshark does) show the mirrored frames while
// they come in, with filters on them, and from a file.
func TestReceiverPipes(t *testing.T) {
	t.Parallel()
	s := newWire(t)
	dir := t.TempDir()
	packets := numbered(100, 0, 10)
	for i := range packets {
		packets[i].inner = innerFrame(uint32(i), uint16(443+i%2))
	}
	other := regexp.MustCompile(`\b444\b`) // the other port, and no part of a time
	wire := s.capture(s.collector, "eth0", "")
	for _, test := range []struct{ reader, ready, want string }{
		{"tcpdump -l -n -r - port 443", "receiving on", `(?s)(IP 10\.0\.0\.1\.1234 > 10\.0\.0\.2\.443: UDP, length 20\n.*){5}`},
		{"tshark -l -n -i - -Y udp.port==443 -T fields -e frame.interface_name -e udp.dstport", "Capture started|Capturing on", `(?s)(192\.0\.2\.1 session 100\t443\n.*){5}`},
	} {
		p, err := s.collector.Start(s.ctx, lab.Command{Args: []string{"sh", "-c", plainBinary + " capture -i eth0 -w - | " + test.reader}})
		s.must(err)
		s.says(p, "receiving on")
		s.says(p, test.ready)
		s.send(0, packets...)
		s.says(p, test.want) // while it runs
		if other.MatchString(p.Stdout()) {
			t.Errorf("%s: frames to another port:\n%s", test.reader, p.Stdout())
		}
		s.must(p.Stop(s.ctx))
	}
	s.waitCount(wire, "gre", 20)
	s.stop(wire)
	out, stderr, err := s.collector.Exec(s.ctx, "sh", "-c", plainBinary+" decode -w - "+wire.File()+" | tcpdump -n -r - port 443")
	s.must(err)
	if n := strings.Count(out, "IP 10.0.0.1.1234 > 10.0.0.2.443: UDP, length 20\n"); n != 10 || other.MatchString(out) {
		t.Errorf("decode | tcpdump:\n%s%s", out, stderr)
	}
	inner := filepath.Join(dir, "inner.pcapng")
	out, stderr, err = s.collector.Exec(s.ctx, "sh", "-c", plainBinary+" decode -w "+inner+" "+wire.File()+" && tshark -n -r "+inner+" -T fields -e frame.packet_id -e udp.dstport")
	s.must(err)
	if !strings.HasPrefix(out, "0\t443\n1\t444\n2\t443\n") || strings.Count(out, "\n") != 20 {
		t.Errorf("decode && tshark:\n%s%s", out, stderr)
	}
	// A reader that has enough ends what writes into the pipe.
	p, err := s.collector.Start(s.ctx, lab.Command{Args: []string{"sh", "-c", plainBinary + " capture -i eth0 | head -3"}})
	s.must(err)
	s.says(p, "receiving on")
	s.must(lab.Until(s.ctx, "capture ends when head has", func(context.Context) error {
		select {
		case <-p.Done():
			return nil
		default:
		}
		s.send(0, packets...)
		return errors.New("it goes on")
	}))
	s.must(p.Wait(s.ctx))
}
