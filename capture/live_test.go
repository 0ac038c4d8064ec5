//go:build linux

package capture

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/ovs-erspan/ovs-erspan/erspan"
)

// veth puts the test into a network namespace of its own, which dies with it, and makes a veth pair there.
func veth(t *testing.T) (left, right string) {
	t.Helper()
	skip := t.Skipf
	if os.Getenv("CI") == "true" {
		skip = t.Fatalf
	}
	if os.Geteuid() != 0 {
		skip("NOT RUN: it needs root, for a network namespace")
	}
	ip := tool(t, "ip")
	runtime.LockOSThread() // and never unlocked: the thread ends with the test, and takes the namespace along
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		skip("NOT RUN: no network namespace can be made: %v", err)
	}
	for _, args := range []string{"link add left type veth peer name right", "link set left up", "link set right up"} {
		if out, err := exec.Command(ip, strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", args, err, out)
		}
	}
	return "left", "right"
}

// tagged puts VLAN tags into a frame.
func tagged(frame []byte, tags string) []byte {
	return bytes.Join([][]byte{frame[:12], []byte(tags), frame[12:]}, nil)
}

// liveFrames are frames, and whether the kernel filter should let them pass.
func liveFrames(t testing.TB) (frames [][]byte, pass []bool) {
	add := func(want bool, f []byte) { frames, pass = append(frames, f), append(pass, want) }
	v4 := ether(typeII(t, 10, 3))
	v6 := ether(encode(t, erspan.Packet{
		Outer: erspan.Outer{Src: sender6, Dst: collector6, TTL: 64}, GRE: erspan.GREFor(erspan.TypeII, 1),
		Header: erspan.Header{Version: 1, SessionID: 11}, Inner: innerARP,
	}))
	options := bytes.Join([][]byte{v6[:20], {60}, v6[21:54], {47, 0, 4, 1, 4, 1, 1, 0}, v6[54:]}, nil)
	binary.BigEndian.PutUint16(options[18:], binary.BigEndian.Uint16(options[18:])+8)
	add(true, v4)
	add(true, v6)
	add(true, options)
	add(true, tagged(v4, "\x81\x00\x00\x05"))
	add(true, tagged(v4, "\x88\xa8\x00\x06\x81\x00\x00\x05"))
	add(true, tagged(v6, "\x91\x00\x00\x06\x81\x00\x00\x05"))
	for _, f := range fragmentsOf(typeII(t, 12, 1), 24) {
		add(true, ether(f))
	}
	for _, f := range fragmentsOf(v6[14:], 24) {
		add(true, ether(f))
	}
	add(false, innerTCP)
	add(false, innerARP)
	add(false, tagged(innerTCP, "\x81\x00\x00\x05"))
	udp6 := bytes.Clone(v6)
	udp6[20] = 17
	add(false, udp6)
	icmp := bytes.Clone(v4)
	icmp[23] = 1 // a protocol, not an error: what follows is no type 3 code 2
	add(false, icmp)
	add(false, unreachable(v4, 3, 1))       // host unreachable
	add(false, unreachable(innerTCP, 3, 3)) // about another protocol
	add(false, tagged(unreachable(udp6, 1, 4), "\x81\x00\x00\x05"))
	return frames, pass
}

// unreachable is an ICMP error about a frame's packet.
func unreachable(frame []byte, icmpType, code byte) []byte {
	icmp := append([]byte{icmpType, code, 0, 0, 0, 0, 0, 0}, frame[14:min(len(frame), 14+48)]...)
	if frame[14]>>4 == 4 {
		header := []byte("\x45\x00\x00\x00\x00\x00\x00\x00\x40\x01\x00\x00\xc0\x00\x02\x09\xc0\x00\x02\x01")
		binary.BigEndian.PutUint16(header[2:], uint16(len(header)+len(icmp)))
		return ether(append(header, icmp...))
	}
	header := make([]byte, 40)
	header[0], header[6], header[7] = 0x60, 58, 64
	binary.BigEndian.PutUint16(header[4:], uint16(len(icmp)))
	return ether(append(header, icmp...))
}

// unreachables are the errors by which hosts say that they want no GRE.
func unreachables(t testing.TB) [][]byte {
	frames, _ := liveFrames(t)
	v4, v6, options := frames[0], frames[1], frames[2]
	return [][]byte{
		unreachable(v4, 3, 2), unreachable(v4, 3, 3), tagged(unreachable(v4, 3, 2), "\x81\x00\x00\x05"),
		unreachable(v6, 4, 1), unreachable(v6, 1, 4), unreachable(options, 1, 4),
	}
}

func TestKernelFilter(t *testing.T) {
	raw, err := kernelFilter()
	if err != nil {
		t.Fatal(err)
	}
	instructions, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("the filter does not disassemble")
	}
	vm, err := bpf.NewVM(instructions)
	if err != nil {
		t.Fatal(err)
	}
	frames, pass := liveFrames(t)
	for _, f := range unreachables(t) {
		frames, pass = append(frames, f), append(pass, true)
	}
	for i, f := range frames {
		n, err := vm.Run(f)
		if err != nil || (n > 0) != pass[i] {
			t.Errorf("frame %d (%x): passes %d, %v, want %v", i, f[:34], n, err, pass[i])
		}
	}
}

// ours tells the frames of these tests from those that the kernel sends of its own: multicast reports pass the filter.
func ours(f *Frame) bool { return f.Data[6] == 0x02 && f.Data[7] == 0 }

func TestLive(t *testing.T) {
	left, right := veth(t)
	live, err := OpenLive(LiveOptions{Device: left, Buffer: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	out, err := NewInjector(right)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	send := func(frame []byte) {
		t.Helper()
		if err := out.Write(&Record{Packet: erspan.Packet{Inner: frame}}); err != nil {
			t.Fatal(err)
		}
	}
	frames, pass := liveFrames(t)
	var sent [][]byte // of which the filter lets pass
	for i, f := range frames {
		send(f)
		if pass[i] {
			sent = append(sent, f)
		}
	}
	errors := unreachables(t)
	for _, f := range errors {
		send(f)
	}
	send(make([]byte, 2000)) // longer than the device takes
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	d, records, idles := NewDecoder(Options{}), 0, 0
	var (
		last     Frame
		received [][]byte
	)
	err = live.Run(ctx, func(f *Frame) error {
		if time.Until(f.Time).Abs() > time.Minute || f.WireLen != len(f.Data) || f.Number != last.Number+1 {
			t.Errorf("%+v", *f)
		}
		last = *f
		if ours(f) {
			received = append(received, bytes.Clone(f.Data))
		}
		if r := d.Decode(f); r != nil {
			if r.Err != nil || !bytes.Equal(r.Packet.Inner, innerARP) {
				t.Errorf("frame %d: %v %x", r.Number, r.Err, r.Packet.Inner)
			}
			records++
		}
		return nil
	}, func() error {
		if idles++; idles == 5 { // the network has been quiet for half a second
			cancel()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if records != 8 {
		t.Errorf("%d records, want 8", records)
	}
	// Also those whose VLAN tag the kernel took out.
	if diff := cmp.Diff(sent, received); diff != "" {
		t.Errorf("frames (-sent +received):\n%s", diff)
	}
	s, err := live.Stats()
	if err != nil || s.Dropped != 0 || s.Received < uint64(len(sent)+len(errors)) || s.Unreachable != uint64(len(errors)) {
		t.Errorf("%+v, %v, want %d received", s, err, len(sent)+len(errors))
	}
	if out.TooLong != 1 || out.Sent != uint64(len(frames)+len(errors)) {
		t.Errorf("sent %d, too long %d", out.Sent, out.TooLong)
	}
	if h := strings.Join(s.Hints(8, 0), "\n"); !strings.Contains(h, "protocol or port unreachable") {
		t.Errorf("hints %q", h)
	}
}

func TestLiveRefuses(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: it needs root")
	}
	if _, err := OpenLive(LiveOptions{Device: "no-such-device"}); err == nil || !strings.Contains(err.Error(), `no network device "no-such-device"`) {
		t.Errorf("%v", err)
	}
	if _, err := NewInjector("no-such-device"); err == nil {
		t.Error("an injector for no device")
	}
}

// A device that goes down and comes up again ends nothing, one that goes away ends the run.
func TestLiveDeviceDown(t *testing.T) {
	left, right := veth(t)
	ip := func(args string) {
		t.Helper()
		if out, err := exec.Command(tool(t, "ip"), strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", args, err, out)
		}
	}
	live, err := OpenLive(LiveOptions{Device: left, Buffer: 2 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	send := func() {
		out, err := NewInjector(right)
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		if err := out.Write(&Record{Packet: erspan.Packet{Inner: ether(typeII(t, 1, 1))}}); err != nil {
			t.Fatal(err)
		}
	}
	idles, frames := 0, 0
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = live.Run(ctx, func(f *Frame) error {
		if !ours(f) {
			return nil
		}
		if frames++; frames == 2 {
			ip("link del left")
		}
		return nil
	}, func() error {
		switch idles++; {
		case idles == 1:
			send()
		case frames == 1 && idles%2 == 0:
			ip("link set left down")
		case frames == 1:
			ip("link set left up")
			send()
		}
		return nil
	})
	if frames < 2 || err == nil || err.Error() != "the network device left is gone" {
		t.Errorf("after %d frames: %v", frames, err)
	}
}
