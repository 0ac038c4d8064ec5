package capture

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/erspan"
)

// tool finds a program. A machine without it skips the test, and says so; in CI that is a failure.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed, and in CI it has to be", name)
	}
	if err != nil {
		t.Skipf("NOT RUN: %s is not installed (scripts/setup.sh installs it)", name)
	}
	return path
}

var (
	sender, collector   = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.9")
	sender6, collector6 = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::9")
	start               = time.Unix(1_767_366_245, 123_456_000).UTC() // 2026-01-02 15:04:05.123456
	innerARP            = []byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01\x02\x00\x00\x00\x00\x01\x0a\x00\x00\x01\x00\x00\x00\x00\x00\x00\x0a\x00\x00\x02")
	innerTCP            = []byte("\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00\x45\x00\x00\x28\x00\x00\x40\x00\x40\x06\x26\xce\x0a\x00\x00\x01\x0a\x00\x00\x02\x04\xd2\x00\x50\x00\x00\x00\x01\x00\x00\x00\x02\x50\x12\x20\x00\x00\x00\x00\x00")
)

// packet is an ERSPAN packet of ours, from the outer IP header on.
func packet(t testing.TB, g erspan.GRE, h erspan.Header, inner []byte) []byte {
	t.Helper()
	p := erspan.Packet{Outer: erspan.Outer{Src: sender, Dst: collector, TTL: 64}, GRE: g, Header: h, Inner: inner}
	return encode(t, p)
}

func encode(t testing.TB, p erspan.Packet) []byte {
	t.Helper()
	b, err := p.AppendIP(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// typeII and typeIII are packets with little in them.
func typeII(t testing.TB, session uint16, sequence uint32) []byte {
	return packet(t, erspan.GREFor(erspan.TypeII, sequence), erspan.Header{Version: 1, SessionID: session, Index: 5}, innerARP)
}

func typeIII(t testing.TB, session uint16, sequence uint32, at time.Time, d erspan.Direction) []byte {
	return packet(t, erspan.GREFor(erspan.TypeIII, sequence), erspan.Header{
		Version: 2, SessionID: session, HardwareID: 7, Direction: d, Timestamp: uint32(at.UnixMicro() / 100),
	}, innerTCP)
}

// ether puts an IP packet into an Ethernet frame.
func ether(ip []byte) []byte {
	header := []byte("\x02\x00\x00\x00\x00\x09\x02\x00\x00\x00\x00\x01\x08\x00")
	if ip[0]>>4 == 6 {
		header[12], header[13] = 0x86, 0xdd
	}
	return append(header, ip...)
}

// pcap is a pcap file.
func pcap(order binary.ByteOrder, magic uint32, link LinkType, frames ...[]byte) []byte {
	u32 := func(b []byte, v ...uint32) []byte {
		for _, v := range v {
			var x [4]byte
			order.PutUint32(x[:], v)
			b = append(b, x[:]...)
		}
		return b
	}
	b := u32(nil, magic)
	var x [4]byte
	order.PutUint16(x[0:], 2)
	order.PutUint16(x[2:], 4)
	b = u32(append(b, x[:]...), 0, 0, maxFrame, uint32(link))
	fraction := uint32(start.Nanosecond())
	if magic == pcapMicro {
		fraction /= 1000
	}
	for _, f := range frames {
		b = append(u32(b, uint32(start.Unix()), fraction, uint32(len(f)), uint32(len(f))), f...)
	}
	return b
}

// decodeAll reads a file to the end, and prints its records with print.
func decodeAll(t testing.TB, file []byte, o Options, sink func(io.Writer) Sink) (out string, reports []string, d *Decoder) {
	t.Helper()
	f, err := NewFileReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	d = NewDecoder(o)
	err = DecodeFile(f, d, sink(&b), 0, func(err error) { reports = append(reports, err.Error()) })
	if err != nil {
		reports = append(reports, err.Error())
	}
	return b.String(), reports, d
}

func text(w io.Writer) Sink    { return NewTextSink(w, TextOptions{Location: time.UTC}) }
func verbose(w io.Writer) Sink { return NewTextSink(w, TextOptions{Location: time.UTC, Verbose: true}) }

const arpText = "15:04:05.123456000 192.0.2.1 > 192.0.2.9: ERSPAN II session 10 index 5 seq 3: ARP, Request who-has 10.0.0.2 tell 10.0.0.1\n"

func TestLinkTypesAndByteOrders(t *testing.T) {
	ip := typeII(t, 10, 3)
	sll := append([]byte("\x00\x00\x00\x01\x00\x06\x02\x00\x00\x00\x00\x01\x00\x00\x08\x00"), ip...)
	sllTagged := append([]byte("\x00\x00\x00\x01\x00\x06\x02\x00\x00\x00\x00\x01\x00\x00\x81\x00\x00\x64\x08\x00"), ip...)
	sll2 := append([]byte("\x08\x00\x00\x00\x00\x00\x00\x02\x00\x01\x00\x06\x02\x00\x00\x00\x00\x01\x00\x00"), ip...)
	for name, file := range map[string][]byte{
		"little-endian, microseconds": pcap(binary.LittleEndian, pcapMicro, LinkEthernet, ether(ip)),
		"big-endian, microseconds":    pcap(binary.BigEndian, pcapMicro, LinkEthernet, ether(ip)),
		"little-endian, nanoseconds":  pcap(binary.LittleEndian, pcapNano, LinkEthernet, ether(ip)),
		"big-endian, nanoseconds":     pcap(binary.BigEndian, pcapNano, LinkEthernet, ether(ip)),
		"Linux cooked":                pcap(binary.LittleEndian, pcapMicro, LinkLinuxSLL, sll),
		"Linux cooked, tagged":        pcap(binary.LittleEndian, pcapMicro, LinkLinuxSLL, sllTagged),
		"Linux cooked v2":             pcap(binary.LittleEndian, pcapMicro, LinkLinuxSLL2, sll2),
		"raw IP":                      pcap(binary.LittleEndian, pcapMicro, LinkRaw, ip),
		"raw IPv4":                    pcap(binary.LittleEndian, pcapMicro, LinkIPv4, ip),
		"BSD loopback":                pcap(binary.LittleEndian, pcapMicro, LinkNull, append([]byte{2, 0, 0, 0}, ip...)),
	} {
		out, reports, _ := decodeAll(t, file, Options{}, text)
		if out != arpText || reports != nil {
			t.Errorf("%s: %q %q, want %q", name, out, reports, arpText)
		}
	}
	_, reports, _ := decodeAll(t, pcap(binary.LittleEndian, pcapMicro, 105, ip), Options{}, text)
	if len(reports) != 1 || !strings.Contains(reports[0], "link type 105") {
		t.Errorf("IEEE 802.11: %q", reports)
	}
}

// mixed are frames of all kinds, broken ones among them.
func mixed(t testing.TB) [][]byte {
	sent := start.Add(-1500 * time.Microsecond)
	whole := typeIII(t, 100, 4, sent, erspan.Egress)
	truncated := ether(typeIII(t, 100, 5, sent, erspan.Egress)[:20+8+6])
	binary.BigEndian.PutUint16(truncated[16:], uint16(len(truncated)-14))
	ipInner := packet(t, erspan.GREFor(erspan.TypeIII, 6), erspan.Header{Version: 2, SessionID: 1, FrameType: erspan.FrameIP}, innerTCP[14:])
	sub := erspan.Header{Version: 2, SessionID: 2, O: true, HasSubheader: true, Subheader: 5<<58 | 0x2ab<<48 | 0xcdef<<32 | 1767366245,
		Granularity: erspan.Gra1588, Timestamp: 5}
	checksum := packet(t, erspan.GRE{Flags: 0xb000, Protocol: 0x88be, Key: 0xabc, Sequence: 7}, erspan.Header{Version: 1, SessionID: 3}, innerARP)
	erspan.SetChecksum(checksum[20:])
	wrong := bytes.Clone(checksum)
	wrong[24] ^= 1
	return [][]byte{
		ether(packet(t, erspan.GREFor(erspan.TypeI, 0), erspan.Header{}, innerARP)),
		ether(typeII(t, 10, 3)),
		innerARP, // not ERSPAN
		ether(whole),
		truncated,
		ether(ipInner),
		ether(packet(t, erspan.GREFor(erspan.TypeIII, 8), sub, innerTCP)),
		ether(checksum),
		ether(wrong),
		ether(packet(t, erspan.GREFor(erspan.TypeII, 9), erspan.Header{Version: 7, SessionID: 4, Truncated: true}, innerARP)),
		ether(typeII(t, 10, 4))[:60],
	}
}

func TestText(t *testing.T) {
	out, reports, _ := decodeAll(t, pcap(binary.LittleEndian, pcapNano, LinkEthernet, mixed(t)...), Options{}, text)
	want := `15:04:05.123456000 192.0.2.1 > 192.0.2.9: ERSPAN I: ARP, Request who-has 10.0.0.2 tell 10.0.0.1
` + arpText + `15:04:05.121900000 192.0.2.1 > 192.0.2.9: ERSPAN III session 100 egress hwid 7 seq 4: IP 10.0.0.1.1234 > 10.0.0.2.80: Flags [S.], seq 1, ack 2, win 8192, length 0
15:04:05.123456000 192.0.2.1 > 192.0.2.9: ERSPAN: [frame 5: cut short in the ERSPAN header]
15:04:05.123456000 192.0.2.1 > 192.0.2.9: ERSPAN III session 1 ingress hwid 0 seq 6: IP 10.0.0.1.1234 > 10.0.0.2.80: Flags [S.], seq 1, ack 2, win 8192, length 0
15:04:05.000000005 192.0.2.1 > 192.0.2.9: ERSPAN III session 2 ingress hwid 0 seq 8: IP 10.0.0.1.1234 > 10.0.0.2.80: Flags [S.], seq 1, ack 2, win 8192, length 0
15:04:05.123456000 192.0.2.1 > 192.0.2.9: ERSPAN II session 3 index 0 seq 7: ARP, Request who-has 10.0.0.2 tell 10.0.0.1
15:04:05.123456000 192.0.2.1 > 192.0.2.9: ERSPAN II session 3 index 0 seq 7: ARP, Request who-has 10.0.0.2 tell 10.0.0.1
15:04:05.123456000 192.0.2.1 > 192.0.2.9: ERSPAN version 7 session 4 index 0 seq 9 truncated: ARP, Request who-has 10.0.0.2 tell 10.0.0.1
15:04:05.123456000 192.0.2.1 > 192.0.2.9: ERSPAN II session 10 index 5 seq 4: [|ether] length 42 [frame 11: cut short in the mirrored frame's header]
`
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	wantReports := []string{
		"frame 5: cut short in the ERSPAN header", "frame 11: cut short in the mirrored frame's header",
	}
	if diff := cmp.Diff(wantReports, reports); diff != "" {
		t.Errorf("reports (-want +got):\n%s", diff)
	}
}

func TestVerboseText(t *testing.T) {
	frames := mixed(t)
	out, _, _ := decodeAll(t, pcap(binary.LittleEndian, pcapNano, LinkEthernet, frames[3], frames[6], frames[8], frames[9]), Options{}, verbose)
	var got []string
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "    ") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	want := []string{
		"frame 1, received 2026-01-02 15:04:05.123456000, sent 2026-01-02 15:04:05.121900000 (absolute), tos 0, ttl 64",
		"gre 0x22eb, flags 0x1000, sequence 4",
		fmt.Sprintf("erspan version 2 (Type III), vlan 0, cos 0, truncated 0, bso 0 (good or unknown), granularity 0 (100 us), sgt 0, p 0, frame type 0, o 0, timestamp %d",
			uint32(start.Add(-1500*time.Microsecond).UnixMicro()/100)),
		"inner length 54",
		"frame 2, received 2026-01-02 15:04:05.123456000, sent 2026-01-02 15:04:05.000000005 (absolute), tos 0, ttl 64",
		"gre 0x22eb, flags 0x1000, sequence 8",
		"erspan version 2 (Type III), vlan 0, cos 0, truncated 0, bso 0 (good or unknown), granularity 2 (IEEE 1588), sgt 0, p 0, frame type 0, o 1, platform 5, switch 683, port 52719, seconds 1767366245, timestamp 5",
		"inner length 54",
		"frame 3, received 2026-01-02 15:04:05.123456000, tos 0, ttl 64",
		"gre 0x88be, flags 0xb000, checksum 0xCHECK (wrong), key 0x00000abc, sequence 7",
		"erspan version 1 (Type II), vlan 0, cos 0, truncated 0, encap 0 (untagged)",
		"inner length 42",
		"frame 4, received 2026-01-02 15:04:05.123456000, tos 0, ttl 64",
		"gre 0x88be, flags 0x1000, sequence 9",
		"erspan version 7 (unknown), vlan 0, cos 0, truncated 1, encap 0 (untagged)",
		"inner length 42; unknown ERSPAN version",
	}
	want[9] = strings.Replace(want[9], "CHECK", fmt.Sprintf("%x", frames[8][14+24:14+26]), 1)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestJSON(t *testing.T) {
	out, _, _ := decodeAll(t, pcap(binary.LittleEndian, pcapNano, LinkEthernet, mixed(t)...), Options{}, NewJSONSink)
	var got []map[string]any
	for line := range strings.Lines(out) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		got = append(got, m)
	}
	if len(got) != 10 {
		t.Fatalf("%d lines:\n%s", len(got), out)
	}
	type object = map[string]any
	when := "2026-01-02T15:04:05.123456Z"
	outer := object{"src": "192.0.2.1", "dst": "192.0.2.9", "tos": 0., "ttl": 64.}
	arp := object{"length": 42., "summary": "ARP, Request who-has 10.0.0.2 tell 10.0.0.1"}
	tcp := "IP 10.0.0.1.1234 > 10.0.0.2.80: Flags [S.], seq 1, ack 2, win 8192, length 0"
	for i, want := range map[int]object{
		0: {"number": 1., "time": when, "received": when, "outer": outer, "gre": object{"protocol": "0x88be", "flags": "0x0000"},
			"erspan": object{"type": "I", "version": 0.}, "inner": arp},
		1: {"number": 2., "time": when, "received": when, "outer": outer, "gre": object{"protocol": "0x88be", "flags": "0x1000", "sequence": 3.},
			"erspan": object{"type": "II", "version": 1., "vlan": 0., "cos": 0., "truncated": false, "sessionID": 10., "encap": 0.,
				"reserved": 0., "index": 5.}, "inner": arp},
		2: {"number": 4., "time": "2026-01-02T15:04:05.1219Z", "received": when, "sent": "2026-01-02T15:04:05.1219Z", "sentKind": "absolute",
			"outer": outer, "gre": object{"protocol": "0x22eb", "flags": "0x1000", "sequence": 4.},
			"erspan": object{"type": "III", "version": 2., "vlan": 0., "cos": 0., "truncated": false, "sessionID": 100., "bso": 0.,
				"timestamp": float64(uint32(start.Add(-1500*time.Microsecond).UnixMicro() / 100)), "sgt": 0., "p": false, "frameType": 0.,
				"hardwareID": 7., "direction": "egress", "granularity": 0., "o": false},
			"inner": object{"length": 54., "summary": tcp}},
		3: {"number": 5., "time": when, "received": when, "outer": outer, "gre": object{"protocol": "0x22eb", "flags": "0x1000", "sequence": 5.},
			"error": "cut short in the ERSPAN header"},
		6: {"number": 8., "time": when, "received": when, "outer": outer, "gre": object{"protocol": "0x88be", "flags": "0xb000", "sequence": 7.,
			"key": 2748., "checksum": fmt.Sprintf("0x%x", mixed(t)[7][38:40]), "checksumOK": true},
			"erspan": object{"type": "II", "version": 1., "vlan": 0., "cos": 0., "truncated": false, "sessionID": 3., "encap": 0.,
				"reserved": 0., "index": 0.}, "inner": arp},
		8: {"number": 10., "time": when, "received": when, "outer": outer, "gre": object{"protocol": "0x88be", "flags": "0x1000", "sequence": 9.},
			"erspan": object{"version": 7., "vlan": 0., "cos": 0., "truncated": true, "sessionID": 4., "encap": 0., "reserved": 0., "index": 0.},
			"inner":  arp, "notes": []any{"unknown ERSPAN version"}},
	} {
		if diff := cmp.Diff(want, got[i]); diff != "" {
			t.Errorf("line %d (-want +got):\n%s", i, diff)
		}
	}
	subheader := got[5]["erspan"].(object)["subheader"]
	if diff := cmp.Diff(object{"platformID": 5., "switchID": 683., "port": 52719., "seconds": 1767366245., "raw": "0x16abcdef6957de65"}, subheader); diff != "" {
		t.Errorf("subheader (-want +got):\n%s", diff)
	}
	if got[4]["inner"].(object)["ip"] != true || got[7]["gre"].(object)["checksumOK"] != false {
		t.Errorf("inner IP %v, checksum %v", got[4]["inner"], got[7]["gre"])
	}
}

func TestFilter(t *testing.T) {
	egress, ingress := erspan.Egress, erspan.Ingress
	file := pcap(binary.LittleEndian, pcapNano, LinkEthernet, mixed(t)...)
	for _, c := range []struct {
		name   string
		filter Filter
		want   []uint64 // frames
	}{
		{"sender", Filter{From: []netip.Addr{sender}}, []uint64{1, 2, 4, 5, 6, 7, 8, 9, 10, 11}},
		{"another sender", Filter{From: []netip.Addr{collector}}, nil},
		{"session", Filter{SessionIDs: []uint16{10, 3}}, []uint64{2, 8, 9, 11}},
		{"session 0 is not Type I's", Filter{SessionIDs: []uint16{0}}, nil},
		{"version 0", Filter{Versions: []erspan.Version{0}}, []uint64{1}},
		{"version 1, of unknown versions those laid out so", Filter{Versions: []erspan.Version{1}}, []uint64{2, 8, 9, 10, 11}},
		{"egress", Filter{Direction: &egress}, []uint64{4}},
		{"ingress", Filter{Direction: &ingress, SessionIDs: []uint16{1, 2, 3}}, []uint64{6, 7}},
	} {
		out, _, d := decodeAll(t, file, Options{Filter: c.filter}, NewJSONSink)
		var got []uint64
		for line := range strings.Lines(out) {
			var m struct{ Number uint64 }
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatal(err)
			}
			got = append(got, m.Number)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		if s := d.Stats(); s.ERSPAN != 10 || s.Foreign != 1 || s.Filtered != uint64(10-len(c.want)) {
			t.Errorf("%s: %+v", c.name, s)
		}
	}
}

func TestReceiveTime(t *testing.T) {
	file := pcap(binary.LittleEndian, pcapNano, LinkEthernet, mixed(t)[3])
	out, _, _ := decodeAll(t, file, Options{ReceiveTime: true}, text)
	if !strings.HasPrefix(out, "15:04:05.123456000 ") {
		t.Errorf("%q", out)
	}
}

// A file that ends anywhere is read up to there, and says where it ended; a damaged one never panics or hangs.
func TestTruncatedFiles(t *testing.T) {
	ng := pcapngOf(t, mixed(t)...)
	for name, file := range map[string][]byte{
		"pcap":   pcap(binary.LittleEndian, pcapMicro, LinkEthernet, mixed(t)...),
		"pcapng": ng,
	} {
		whole, _, _ := decodeAll(t, file, Options{}, text)
		if name == "pcapng" && strings.Count(whole, "\n") != 0 { // inner frames, no ERSPAN in them
			t.Errorf("%s: %q", name, whole)
		}
		for n := range file {
			f, err := NewFileReader(bytes.NewReader(file[:n]))
			if err != nil {
				if n >= 24 {
					t.Errorf("%s, %d bytes: %v", name, n, err)
				}
				continue
			}
			var out bytes.Buffer
			err = DecodeFile(f, NewDecoder(Options{}), text(&out), 0, func(error) {})
			if !strings.HasPrefix(whole, out.String()) {
				t.Fatalf("%s, %d bytes: %q is not the beginning of %q", name, n, out.String(), whole)
			}
			if err != nil && !errors.Is(err, errTruncated) {
				t.Errorf("%s, %d bytes: %v", name, n, err)
			}
		}
	}
	for _, file := range []string{"", "x", "hello, world", "\x1f\x8b\x08\x00 gzip"} {
		if _, err := NewFileReader(strings.NewReader(file)); err == nil {
			t.Errorf("%q is taken for a capture file", file)
		}
	}
}

// pcapngOf is the mirrored frames of a capture as our pcapng.
func pcapngOf(t testing.TB, frames ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewPcapngWriter(&b)
	f, err := NewFileReader(bytes.NewReader(pcap(binary.LittleEndian, pcapNano, LinkEthernet, frames...)))
	if err != nil {
		t.Fatal(err)
	}
	if err := DecodeFile(f, NewDecoder(Options{}), w, 0, func(error) {}); err != nil {
		t.Fatal(err)
	}
	w.WriteStatistics(start, 11, 3)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func FuzzFile(f *testing.F) {
	f.Add(pcap(binary.LittleEndian, pcapMicro, LinkEthernet, mixed(f)...))
	f.Add(pcap(binary.BigEndian, pcapNano, LinkLinuxSLL, append([]byte("\x00\x00\x00\x01\x00\x06\x02\x00\x00\x00\x00\x01\x00\x00\x08\x00"), typeII(f, 1, 1)...)))
	f.Add(pcapngOf(f, mixed(f)...))
	for _, fragment := range fragmentsOf(typeIII(f, 1, 1, start, 0), 24) {
		f.Add(pcap(binary.LittleEndian, pcapMicro, LinkRaw, fragment))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := NewFileReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		d := NewDecoder(Options{})
		sinks := MultiSink{NewTextSink(io.Discard, TextOptions{Verbose: true}), NewJSONSink(io.Discard), NewPcapngWriter(io.Discard)}
		DecodeFile(file, d, sinks, 0, func(error) {})
		s := d.Stats()
		s.Write(io.Discard)
	})
}

// What the pcapng holds is what tshark and tcpdump say it does.
func TestPcapngAsTsharkReadsIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inner.pcapng")
	if err := os.WriteFile(file, pcapngOf(t, mixed(t)...), 0o600); err != nil {
		t.Fatal(err)
	}
	fields := []string{"frame.time_epoch", "frame.interface_name", "frame.interface_description", "frame.packet_flags_direction", "frame.packet_id", "frame.len", "frame.protocols", "frame.comment"}
	args := []string{"-n", "-r", file, "-T", "fields", "-E", "separator=|"}
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
	stamp := uint32(start.Add(-1500*time.Microsecond).UnixMicro() / 100)
	one, two := "ERSPAN version 1 (Type II) to 192.0.2.9", "ERSPAN version 2 (Type III) to 192.0.2.9"
	want := []string{
		"1767366245.123456000|192.0.2.1|ERSPAN version 0 (Type I) to 192.0.2.9|||42|eth:ethertype:arp|ERSPAN I",
		"1767366245.123456000|192.0.2.1 session 10|" + one + "||3|42|eth:ethertype:arp|ERSPAN II index 5, seq 3",
		"1767366245.121900000|192.0.2.1 session 100 egress|" + two + "|0x00000002|4|54|eth:ethertype:ip:tcp|ERSPAN III hwid 7" +
			fmt.Sprintf(", seq 4, timestamp %d (absolute)", stamp),
		"1767366245.123456000|192.0.2.1 session 1 ingress|" + two + "|0x00000001|6|54|eth:ethertype:ip:tcp|ERSPAN III hwid 0" +
			", frame type 2, seq 6, timestamp 0 (relative); the Ethernet header is made up: the sender mirrored the IP packet alone",
		"1767366245.000000005|192.0.2.1 session 2 ingress|" + two + "|0x00000001|8|54|eth:ethertype:ip:tcp|ERSPAN III hwid 0" +
			", granularity 2 (IEEE 1588), o 1, platform 5, switch 683, port 52719, seconds 1767366245, seq 8, timestamp 5 (absolute)",
		"1767366245.123456000|192.0.2.1 session 3|" + one + "||7|42|eth:ethertype:arp|ERSPAN II index 0, seq 7",
		"1767366245.123456000|192.0.2.1 session 3|" + one + "||7|42|eth:ethertype:arp|ERSPAN II index 0, seq 7",
		"1767366245.123456000|192.0.2.1 session 4|" + one + "||9|42|eth:ethertype:arp|ERSPAN version 7 index 0, truncated 1, seq 9",
		"1767366245.123456000|192.0.2.1 session 10|" + one + "||4|42|eth|ERSPAN II index 5, seq 4",
	}
	got := strings.Split(strings.TrimSpace(string(out)), "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +tshark):\n%s", diff)
	}
	out, err = exec.Command(tool(t, "tcpdump"), "-n", "-t", "-r", file, "tcp", "port", "80").Output()
	if err != nil || strings.Count(string(out), "IP 10.0.0.1.1234 > 10.0.0.2.80: Flags [S.], seq 1, ack 2, win 8192, length 0") != 3 {
		t.Errorf("tcpdump: %v\n%s", err, out)
	}
}
