package capture

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/erspan"
)

func TestAppendDecimal(t *testing.T) {
	numbers := []uint32{math.MaxUint32}
	for n := uint64(1); n <= math.MaxUint32; n *= 10 {
		numbers = append(numbers, uint32(n-1), uint32(n), uint32(n+1), uint32(n*9/2))
	}
	for _, n := range numbers {
		if got, want := string(appendDecimal([]byte("n "), n)), "n "+strconv.Itoa(int(n)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// fieldsOf are fields of a file's frames, as tshark reads them.
func fieldsOf(t *testing.T, file []byte, fields ...string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f.pcapng")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-n", "-r", path, "-T", "fields", "-E", "separator=|"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	cmd := exec.Command(tool(t, "tshark"), args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, stderr.String())
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// Most of a comment is kept from one packet to the next; whatever changes in between, each tells its own packet.
func TestCommentsFollowTheHeader(t *testing.T) {
	type packet struct {
		to       int // which of two collectors
		sequence uint32
		header   erspan.Header
		want     string
	}
	h := erspan.Header{Version: 2, SessionID: 1, HardwareID: 7, Timestamp: uint32(start.UnixMicro() / 100)}
	with := func(change func(*erspan.Header)) erspan.Header { h := h; change(&h); return h }
	at := fmt.Sprintf("timestamp %d (absolute)", h.Timestamp)
	packets := []packet{
		{0, 0, h, "ERSPAN III hwid 7, seq 0, " + at},
		{0, 9, h, "ERSPAN III hwid 7, seq 9, " + at},
		{0, 9_999, h, "ERSPAN III hwid 7, seq 9999, " + at},
		{0, 10_000, h, "ERSPAN III hwid 7, seq 10000, " + at},
		{0, 10_203, h, "ERSPAN III hwid 7, seq 10203, " + at},
		{0, 20_003, h, "ERSPAN III hwid 7, seq 20003, " + at},
		{0, math.MaxUint32, h, "ERSPAN III hwid 7, seq 4294967295, " + at},
		{0, 3, h, "ERSPAN III hwid 7, seq 3, " + at},
		{1, 3, h, "ERSPAN III hwid 7, to %s, seq 3, " + at},
		{0, 4, with(func(h *erspan.Header) { h.Timestamp++ }), fmt.Sprintf("ERSPAN III hwid 7, seq 4, timestamp %d (absolute)", h.Timestamp+1)},
		{0, 5, with(func(h *erspan.Header) { h.HardwareID = 8 }), "ERSPAN III hwid 8, seq 5, " + at},
		{0, 6, with(func(h *erspan.Header) { h.VLAN, h.COS = 10, 3 }), "ERSPAN III hwid 7, vlan 10, cos 3, seq 6, " + at},
		{0, 7, with(func(h *erspan.Header) { h.SGT, h.BSO, h.P, h.Truncated = 5, 1, true, true }),
			"ERSPAN III hwid 7, truncated 1, bso 1 (short), sgt 5, p 1, seq 7, " + at},
		{0, 8, with(func(h *erspan.Header) { h.O, h.HasSubheader, h.Subheader = true, true, 1<<58|2 }),
			"ERSPAN III hwid 7, o 1, platform 1, vsm domain 0, port 2, seq 8, " + at},
		{0, 9, with(func(h *erspan.Header) { h.O, h.HasSubheader, h.Subheader = true, true, 1<<58|3 }),
			"ERSPAN III hwid 7, o 1, platform 1, vsm domain 0, port 3, seq 9, " + at},
		{1, 10, h, "ERSPAN III hwid 7, to %s, seq 10, " + at}, // as the next file's first, but for "to"
	}
	d := NewDecoder(Options{})
	// The second file's comments do not lean on the first's: its interface leads to the other collector.
	collectors := []netip.Addr{collector, netip.MustParseAddr("192.0.2.10")}
	for range 2 {
		var b bytes.Buffer
		w := NewPcapngWriter(&b)
		var want []string
		for _, p := range packets {
			data := encode(t, erspan.Packet{
				Outer: erspan.Outer{Src: sender, Dst: collectors[p.to], TTL: 64}, GRE: erspan.GREFor(erspan.TypeIII, p.sequence), Header: p.header, Inner: innerTCP,
			})
			if err := w.Write(d.Decode(&Frame{Time: start, Link: LinkRaw, Data: data, WireLen: len(data)})); err != nil {
				t.Fatal(err)
			}
			want = append(want, "192.0.2.1 session 1 ingress|"+strings.Replace(p.want, "%s", collectors[1].String(), 1))
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, fieldsOf(t, b.Bytes(), "frame.interface_name", "frame.comment")); diff != "" {
			t.Errorf("(-want +tshark):\n%s", diff)
		}
		slices.Reverse(collectors)
	}
}

// A file describes so many interfaces and no more, however many senders there are; what finds no room is kept all the
// same, and says in its comment whose it is.
func TestInterfaceBounds(t *testing.T) {
	var b bytes.Buffer
	w, d := NewPcapngWriter(&b), NewDecoder(Options{})
	const senders = maxOutputInterfaces + 500
	write := func(i int) {
		t.Helper()
		p := erspan.Packet{
			Outer: erspan.Outer{Src: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), Dst: collector},
			GRE:   erspan.GREFor(erspan.TypeII, uint32(i)), Header: erspan.Header{Version: 1, SessionID: 3, Index: 4}, Inner: innerARP,
		}
		data := encode(t, p)
		if err := w.Write(d.Decode(&Frame{Time: start, Link: LinkRaw, Data: data, WireLen: len(data)})); err != nil {
			t.Fatal(err)
		}
	}
	for i := range senders {
		write(i)
	}
	write(1)
	write(senders - 1)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := len(w.collectors); n != maxOutputInterfaces || len(w.names) != maxOutputInterfaces-1 {
		t.Errorf("%d interfaces, %d names, want %d", n, len(w.names), maxOutputInterfaces)
	}
	lines := fieldsOf(t, b.Bytes(), "frame.interface_id", "frame.interface_name", "frame.comment")
	if len(lines) != senders+2 {
		t.Fatalf("%d frames, want %d", len(lines), senders+2)
	}
	for at, want := range map[int]string{
		0:                       "1|10.0.0.0 session 3|ERSPAN II index 4, seq 0",
		maxOutputInterfaces - 2: "4095|10.0.15.254 session 3|ERSPAN II index 4, seq 4094",
		maxOutputInterfaces - 1: "0|others|ERSPAN II session 3 index 4, 10.0.15.255 > 192.0.2.9, seq 4095",
		senders - 1:             "0|others|ERSPAN II session 3 index 4, 10.0.17.243 > 192.0.2.9, seq 4595",
		senders:                 "2|10.0.0.1 session 3|ERSPAN II index 4, seq 1",
		senders + 1:             "0|others|ERSPAN II session 3 index 4, 10.0.17.243 > 192.0.2.9, seq 4595",
	} {
		if lines[at] != want {
			t.Errorf("frame %d: %q, want %q", at+1, lines[at], want)
		}
	}
}

// The comments of all senders together cost no more than the streams that are remembered.
func TestManySendersMemory(t *testing.T) {
	d, w := NewDecoder(Options{}), NewPcapngWriter(io.Discard)
	p := erspan.Packet{GRE: erspan.GREFor(erspan.TypeIII, 1), Inner: innerARP}
	var buf []byte
	send := func(n int) {
		for i := range n {
			// Senders, sessions, engines and directions as they come; a third are fragments that wait for the rest.
			p.Outer = erspan.Outer{Src: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), Dst: collector}
			p.Header = erspan.Header{Version: 2, SessionID: uint16(i) & erspan.MaxSessionID, HardwareID: uint8(i>>3) & 63, Direction: erspan.Direction(i & 1)}
			p.GRE.Sequence = uint32(i)
			var err error
			if buf, err = p.AppendIP(buf[:0]); err != nil {
				t.Fatal(err)
			}
			if i%3 == 0 {
				buf[4], buf[5], buf[6] = byte(i>>8), byte(i), 0x20
				d.Decode(&Frame{Time: start.Add(time.Duration(i)), Link: LinkRaw, Data: buf[:len(buf)-len(innerARP)%8], WireLen: len(buf)})
				continue
			}
			if r := d.Decode(&Frame{Time: start.Add(time.Duration(i)), Link: LinkRaw, Data: buf, WireLen: len(buf)}); r == nil || w.Write(r) != nil {
				t.Fatal("not taken")
			}
		}
	}
	const round = 40_000
	send(round) // all tables are full
	before := heap()
	for range 2 {
		send(round)
	}
	if after := heap(); after > before+before/4 || after > 64<<20 {
		t.Errorf("%d bytes of heap after %d packets, %d after %d", before, round, after, 3*round)
	}
	if s := d.Stats(); s.Evicted == 0 || s.Fragments.Abandoned == 0 {
		t.Errorf("the tables were not full: %d streams evicted, %d fragments given up", s.Evicted, s.Fragments.Abandoned)
	}
}

// heap is how many bytes of memory are in use.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Every field but the timestamp makes a header another one: also those that are yet to come.
func TestSameButTime(t *testing.T) {
	kind := reflect.TypeFor[erspan.Header]()
	for i := range kind.NumField() {
		var a, b erspan.Header
		switch f := reflect.ValueOf(&b).Elem().Field(i); f.Kind() {
		case reflect.Bool:
			f.SetBool(true)
		default:
			f.SetUint(1)
		}
		name := kind.Field(i).Name
		if got, want := sameButTime(&a, &b), name == "Timestamp"; got != want {
			t.Errorf("headers that differ in %s: the same is %t, want %t", name, got, want)
		}
	}
}
