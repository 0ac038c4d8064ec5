package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseRing(t *testing.T) {
	got, err := ParseRing([]string{"filesize:100", "duration:1.5", "files:3", "packets:7"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&Ring{FileSize: 100_000, Duration: 1500 * time.Millisecond, Files: 3, Packets: 7}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, bad := range []string{"", "filesize", "filesize:", "filesize:0", "filesize:-1", "size:1", "duration:x", "files:3", "filesize:99999999999"} {
		if r, err := ParseRing([]string{bad}); err == nil {
			t.Errorf("%q is taken for %+v", bad, r)
		}
	}
	if r, err := ParseRing(nil); r != nil || err != nil {
		t.Errorf("no ring: %+v, %v", r, err)
	}
}

// A ring keeps the newest files, each readable by itself, and together they hold each frame once.
func TestRingFiles(t *testing.T) {
	dir := t.TempDir()
	now := start
	out, err := NewOutput(filepath.Join(dir, "a.pcapng"), OutputOptions{
		Ring: &Ring{Packets: 2, Files: 3}, Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	d := NewDecoder(Options{})
	for i := range uint32(9) {
		now = now.Add(time.Second)
		data := ether(typeII(t, uint16(i%3), i))
		if err := out.Write(d.Decode(&Frame{Time: now, Link: LinkEthernet, Data: data, WireLen: len(data)})); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(9, 0); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	frames := 0
	for _, e := range entries {
		names = append(names, e.Name())
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		frames += countFrames(t, b)
	}
	stamp := func(after time.Duration) string { return start.Add(after).Format("20060102150405") }
	want := []string{
		"a_00003_" + stamp(5*time.Second) + ".pcapng", "a_00004_" + stamp(7*time.Second) + ".pcapng",
		"a_00005_" + stamp(9*time.Second) + ".pcapng",
	}
	if diff := cmp.Diff(want, names); diff != "" || frames != 5 {
		t.Errorf("%d frames in (-want +got):\n%s", frames, diff)
	}
	for _, r := range []Ring{{FileSize: 1000}, {Duration: time.Minute}} {
		o := Output{ring: &r, now: func() time.Time { return now }, packets: 1, began: now.Add(-time.Hour), writer: NewPcapngWriter(io.Discard)}
		o.writer.written = 2000
		if !o.full() {
			t.Errorf("%+v is not full", r)
		}
	}
}

// countFrames reads a whole capture file.
func countFrames(t *testing.T, b []byte) (n int) {
	t.Helper()
	f, err := NewFileReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for ; ; n++ {
		if _, err := f.Next(); err == io.EOF {
			return n
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// fullDisk is a file on a disk with room for so many bytes.
type fullDisk struct {
	bytes.Buffer
	room int
}

func (d *fullDisk) Write(b []byte) (int, error) {
	if n := d.room - d.Len(); len(b) > n {
		d.Buffer.Write(b[:n])
		return n, syscall.ENOSPC
	}
	return d.Buffer.Write(b)
}

func (d *fullDisk) Truncate(size int64) error { d.Buffer.Truncate(int(size)); return nil }

// Wherever the disk becomes full, the error says so and the file is readable, with every frame that found room.
func TestDiskFull(t *testing.T) {
	frames := mixed(t)
	whole := pcapngOf(t, frames...)
	for room := 200; room < len(whole); room += 7 {
		disk := &fullDisk{room: room}
		w := NewPcapngWriter(disk)
		f, err := NewFileReader(bytes.NewReader(pcap(binary.LittleEndian, pcapNano, LinkEthernet, frames...)))
		if err != nil {
			t.Fatal(err)
		}
		if err := DecodeFile(f, NewDecoder(Options{}), w, 0, func(error) {}); err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("room for %d bytes: %v", room, err)
		}
		w.WriteStatistics(start, 1, 0)
		w.Flush()
		if w.Flush() == nil && disk.Len() > room {
			t.Fatalf("room for %d bytes: no error", room)
		}
		countFrames(t, disk.Bytes())
	}
}

func TestSequence(t *testing.T) {
	for _, c := range []struct {
		name    string
		numbers []uint32
		want    SequenceStats
	}{
		{"in order, across the wrap", []uint32{1<<32 - 2, 1<<32 - 1, 0, 1}, SequenceStats{Numbered: 4}},
		{"a gap", []uint32{1, 2, 5, 6}, SequenceStats{Numbered: 4, Gaps: 1, Missing: 2}},
		{"a late one fills its gap", []uint32{1, 2, 4, 3, 5}, SequenceStats{Numbered: 5, Gaps: 1, Reordered: 1}},
		{"one comes twice", []uint32{1, 2, 2, 3, 1}, SequenceStats{Numbered: 5, Duplicates: 2}},
		{"the sender starts again", []uint32{5_000_000, 5_000_001, 0, 1, 2}, SequenceStats{Numbered: 5, Restarts: 1}},
		{"always the same", []uint32{0, 0, 0}, SequenceStats{Numbered: 3, Duplicates: 2, Constant: true}},
		{"a gap wider than the window", []uint32{1, 3000, 2999, 3000}, SequenceStats{Numbered: 4, Gaps: 1, Missing: 2997, Reordered: 1, Duplicates: 1}},
	} {
		var s sequence
		for _, n := range c.numbers {
			s.add(n)
		}
		if diff := cmp.Diff(c.want, s.SequenceStats); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// A gap is called loss only where all that the sender sends is known to come here.
func TestVerdicts(t *testing.T) {
	type sent struct {
		session  uint16
		sequence uint32
	}
	shared := []sent{{1, 0}, {2, 1}, {1, 2}, {2, 3}}
	gap := []sent{{1, 0}, {1, 1}, {1, 5}}
	for _, c := range []struct {
		name    string
		packets []sent
		options Options
		want    []Verdict
		text    string
	}{
		{"one count for two sessions", shared, Options{}, []Verdict{VerdictShared, VerdictShared}, "numbers shared with the sender's other sessions"},
		{"one of them asked for, both seen", shared, Options{Filter: Filter{SessionIDs: []uint16{2}}}, []Verdict{VerdictShared, VerdictShared}, "not asked for"},
		{"a gap", gap, Options{}, []Verdict{VerdictUncertain}, "3 missing in 1 gaps (lost, or sent elsewhere"},
		{"a gap where all is seen", gap, Options{SendersComplete: true}, []Verdict{VerdictLost}, "3 lost in 1 gaps"},
		{"all there", []sent{{1, 0}, {1, 1}}, Options{}, []Verdict{VerdictComplete}, "complete"},
		{"no count", []sent{{1, 7}, {1, 7}}, Options{}, []Verdict{VerdictNone}, "always the same number"},
	} {
		d := NewDecoder(c.options)
		for i, p := range c.packets {
			data := typeII(t, p.session, p.sequence)
			d.Decode(&Frame{Number: uint64(i), Time: start, Link: LinkRaw, Data: data, WireLen: len(data)})
		}
		s := d.Stats()
		var got []Verdict
		for i := range s.Streams {
			got = append(got, s.Verdict(i))
		}
		var b strings.Builder
		s.Write(&b)
		if diff := cmp.Diff(c.want, got); diff != "" || !strings.Contains(b.String(), c.text) {
			t.Errorf("%s (-want +got):\n%s\n%s", c.name, diff, b.String())
		}
	}
}

// TestOutputFiles: what was mirrored can be read by nobody else, whatever the umask.
func TestOutputFiles(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	dir := t.TempDir()
	for _, ring := range []*Ring{nil, {Packets: 1}} {
		out, err := NewOutput(filepath.Join(dir, "a.pcapng"), OutputOptions{Ring: ring, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		if err := out.Close(0, 0); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Fatalf("%d files, %v", len(entries), err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: mode %v, %v, want 0600", e.Name(), info.Mode(), err)
		}
	}
}
