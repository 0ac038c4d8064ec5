//go:build linux

package lab

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// pcapFile is a file with two frames, of 3 and 2 bytes, as a machine of that byte order writes it.
func pcapFile(order binary.AppendByteOrder, magic uint32, link uint32) []byte {
	b := order.AppendUint32(nil, magic)
	b = append(b, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0)
	b = order.AppendUint32(b, link)
	for _, frame := range []string{"abc", "de"} {
		b = order.AppendUint32(b, 1_000_000_000)
		b = order.AppendUint32(b, 5)
		b = order.AppendUint32(b, uint32(len(frame)))
		b = order.AppendUint32(b, 99)
		b = append(b, frame...)
	}
	return b
}

func TestReadPcap(t *testing.T) {
	for _, tt := range []struct {
		name  string
		order binary.AppendByteOrder
		magic uint32
		unit  time.Duration
	}{
		{"little endian, microseconds", binary.LittleEndian, pcapMicroseconds, time.Microsecond},
		{"little endian, nanoseconds", binary.LittleEndian, pcapNanoseconds, time.Nanosecond},
		{"big endian, microseconds", binary.BigEndian, pcapMicroseconds, time.Microsecond},
		{"big endian, nanoseconds", binary.BigEndian, pcapNanoseconds, time.Nanosecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := pcapFile(tt.order, tt.magic, 1)
			got, err := readPcap(bytes.NewReader(file))
			if err != nil {
				t.Fatal(err)
			}
			at := time.Unix(1_000_000_000, int64(5*tt.unit))
			if len(got) != 2 || string(got[0].Data) != "abc" || string(got[1].Data) != "de" || got[1].Length != 99 || !got[0].Time.Equal(at) {
				t.Errorf("frames are %+v", got)
			}
			// Every shorter file: the frames before the cut, and an error unless the cut is between frames.
			ends := map[int]int{24: 0, 24 + 19: 1}
			for n := range file {
				got, err := readPcap(bytes.NewReader(file[:n]))
				if whole, ok := ends[n]; ok {
					if err != nil || len(got) != whole {
						t.Errorf("%d bytes: %d frames, %v", n, len(got), err)
					}
				} else if n >= 24 && !errors.Is(err, io.ErrUnexpectedEOF) || err == nil {
					t.Errorf("%d bytes: error is %v", n, err)
				}
			}
		})
	}
	for _, tt := range []struct {
		name string
		file []byte
		want string
	}{
		{"not a capture", make([]byte, 24), "not a pcap file"},
		{"another link type", pcapFile(binary.LittleEndian, pcapMicroseconds, 113), "link type 113"},
		{"huge record", append(pcapFile(binary.LittleEndian, pcapMicroseconds, 1)[:24], bytes.Repeat([]byte{0xff}, 16)...), "claims 4294967295 bytes"},
	} {
		if _, err := readPcap(bytes.NewReader(tt.file)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error is %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestParseStats(t *testing.T) {
	for _, tt := range []struct {
		name, stderr string
		want         CaptureStats
		answers      int
	}{
		{"none", "tcpdump: listening on eth0, link-type EN10MB (Ethernet), snapshot length 262144 bytes\n", CaptureStats{}, 0},
		{"asked", "tcpdump: listening on eth0\ntcpdump: 1 packet captured, 3 packets received by filter, 0 packets dropped by kernel\n", CaptureStats{1, 3, 0}, 1},
		{"asked, and at the end", "tcpdump: 1 packet captured, 3 packets received by filter, 0 packets dropped by kernel\n4 packets captured\n5 packets received by filter\n1 packet dropped by kernel\n", CaptureStats{4, 5, 1}, 2},
	} {
		got, answers := parseStats(tt.stderr)
		if got != tt.want || answers != tt.answers {
			t.Errorf("%s: %+v and %d answers, want %+v and %d", tt.name, got, answers, tt.want, tt.answers)
		}
	}
}

func TestSnapshotWithout(t *testing.T) {
	rows := Rows{
		{Table: "Bridge", UUID: "b", Columns: columns(`{"external_ids":["map",[["x.y","1"],["ovs-erspanner","2"]]],"mirrors":["uuid","m"],"ports":["set",[["uuid","p"],["uuid","q"],["uuid","r"]]]}`)},
		{Table: "Mirror", UUID: "m", Columns: columns(`{"external_ids":["map",[["x","1"]]]}`)},
		{Table: "Port", UUID: "p", Columns: columns(`{"external_ids":["map",[]],"trunks":["set",[1,2]]}`)},
		{Table: "Port", UUID: "q", Columns: columns(`{"external_ids":["map",[["x",""],["z","1"]]]}`)},
		{Table: "Port", UUID: "r", Columns: columns(`{"external_ids":["map",[["x","1"]]]}`)},
	}
	got := strings.Join(rows.Without("x").Lines(), "\n")
	want := `Bridge  b: external_ids=["map",[["ovs-erspanner","2"]]]
Bridge  b: mirrors=["set",[]]
Bridge  b: ports=["uuid","p"]
Port  p: external_ids=["map",[]]
Port  p: trunks=["set",[1,2]]`
	if got != want {
		t.Errorf("without x:\n%s\nwant:\n%s", got, want)
	}
	if n := len(rows.Without("y")); n != len(rows) {
		t.Errorf("without y: %d rows of %d", n, len(rows))
	}
}

func columns(s string) map[string]json.RawMessage {
	var c map[string]json.RawMessage
	if err := json.Unmarshal([]byte(s), &c); err != nil {
		panic(err)
	}
	return c
}
