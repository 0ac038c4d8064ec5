package erspan

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The judge of this codec is never the codec itself, but the decoders that others wrote: tshark, tcpdump, scapy.

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

// judged are packets of all types, with each field at its limits and in between, and each platform id.
func judged() []Packet {
	var packets []Packet
	add := func(g GRE, h Header) {
		outer := Outer{Src: src4, Dst: dst4, TTL: 64}
		if len(packets)%2 == 1 {
			outer.Src, outer.Dst = src6, dst6
		}
		packets = append(packets, Packet{Outer: outer, GRE: g, Header: h, Inner: frame, InnerLen: len(frame)})
	}
	add(GREFor(TypeI, 0), Header{})
	add(GREFor(TypeI, 0), Header{})
	for _, session := range []uint16{0, 1, 341, 682, MaxSessionID} {
		add(GREFor(TypeII, 1<<32-1), Header{Version: TypeII, SessionID: session, Index: uint32(session) * 1025})
		add(GREFor(TypeIII, 0), Header{Version: TypeIII, SessionID: session, HardwareID: uint8(session) & MaxHardwareID})
	}
	for i := range uint8(4) {
		add(GREFor(TypeII, uint32(i)), Header{
			Version: TypeII, VLAN: 1365 * uint16(i), COS: 2*i + 1, Encap: Encap(i), Truncated: i&1 == 1, SessionID: 7,
			Index: MaxIndex >> i, Reserved: 4095 >> i,
		})
		add(GREFor(TypeIII, uint32(i)), Header{
			Version: TypeIII, VLAN: 1365 * uint16(i), COS: 2*i + 1, BSO: BSO(i), Truncated: i&1 == 1, SessionID: 8,
			Timestamp: 0xdeadbeef, SGT: 0xffff >> i, P: i&1 == 1, HardwareID: MaxHardwareID >> i,
			Direction: Direction(i & 1), Granularity: Granularity(i),
		})
		linux := GREFor(TypeII, 5)
		add(linux, Header{Version: TypeIII, SessionID: 9, Timestamp: 5, Direction: Direction(i & 1)})
		nexus := GRE{Protocol: ProtocolIII}
		add(nexus, Header{Version: TypeIII, SessionID: 10, Timestamp: 5, Granularity: Granularity(i)})
	}
	for id := range Subheader(10) {
		for _, rest := range []Subheader{0, 1<<58 - 1, 0x2aa_aaaa_5555_5555, 0x155_5555_aaaa_aaaa} {
			add(GREFor(TypeIII, 1), Header{
				Version: TypeIII, SessionID: uint16(id), Granularity: Gra1588, O: true, HasSubheader: true,
				Subheader: id<<58 | rest,
			})
		}
	}
	for _, flags := range []uint16{FlagChecksum, FlagKey, FlagChecksum | FlagKey} {
		add(GRE{Flags: flags | FlagSequence, Protocol: ProtocolTypeII, Key: 0xabcdef01, Sequence: 3},
			Header{Version: TypeII, SessionID: 11, Index: 12})
	}
	return packets
}

// pcapOf is a pcap file (Ethernet, microseconds) of the packets.
func pcapOf(t *testing.T, packets []Packet) []byte {
	t.Helper()
	file := unhex("d4c3b2a1 0200 0400 00000000 00000000 00000400 01000000")
	for i, p := range packets {
		b, err := p.AppendIP(nil)
		if err != nil {
			t.Fatalf("packet %d: %v", i+1, err)
		}
		etherType, header := uint16(0x0800), IPv4HeaderLen
		if p.Outer.Src.Is6() {
			etherType, header = 0x86dd, IPv6HeaderLen
		}
		SetChecksum(b[header:])
		b = ethernet(etherType, b)
		file = binary.LittleEndian.AppendUint32(file, 1_700_000_000)
		file = binary.LittleEndian.AppendUint32(file, uint32(i))
		file = binary.LittleEndian.AppendUint32(file, uint32(len(b)))
		file = binary.LittleEndian.AppendUint32(file, uint32(len(b)))
		file = append(file, b...)
	}
	return file
}

// tsharkFields are the fields that tshark has for GRE and ERSPAN, first the ones that every packet has.
var tsharkFields = []string{
	"frame.number", "gre.flags_and_version", "gre.proto", "gre.key", "gre.sequence_number",
	"erspan.version", "erspan.vlan", "erspan.cos", "erspan.encap", "erspan.bso", "erspan.truncated", "erspan.spanid",
	"erspan.reserved", "erspan.index", "erspan.timestamp", "erspan.sgt", "erspan.p", "erspan.ft", "erspan.hw",
	"erspan.direction", "erspan.gra", "erspan.o", "erspan.platid", "erspan.pid1.vsmid", "erspan.pid1.port_index",
	"erspan.pid3.port_index", "erspan.pid3.timestamp", "erspan.pid5.switchid", "erspan.pid5.port_index",
	"erspan.pid5.timestamp", "erspan.pid7.source_index", "erspan.pid7.timestamp",
}

// tshark reads a capture file into one map a frame, of those fields that it found.
func tshark(t *testing.T, file string) []map[string]string {
	t.Helper()
	// The checksum status says whether what SetChecksum wrote is right.
	args := []string{"-n", "-r", file, "-o", "ip.check_checksum:TRUE", "-T", "fields", "-E", "separator=/t", "-E", "occurrence=f"}
	fields := append([]string{"gre.checksum.status", "ip.checksum.status"}, tsharkFields...)
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	cmd := exec.Command(tool(t, "tshark"), args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark %s: %v\n%s", file, err, stderr.String())
	}
	var rows []map[string]string
	for line := range strings.Lines(string(out)) {
		row := map[string]string{}
		for i, v := range strings.Split(strings.TrimRight(line, "\n"), "\t") {
			if v != "" {
				row[fields[i]] = v
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// tsharkRow is what tshark should find in the packet.
func tsharkRow(number int, p Packet) map[string]string {
	row := map[string]string{}
	set := func(name string, v uint64) { row[name] = strconv.FormatUint(v, 10) }
	row["frame.number"] = strconv.Itoa(number)
	row["gre.flags_and_version"] = fmt.Sprintf("0x%04x", p.GRE.Flags)
	row["gre.proto"] = fmt.Sprintf("0x%04x", p.GRE.Protocol)
	if p.GRE.HasKey() {
		row["gre.key"] = fmt.Sprintf("0x%08x", p.GRE.Key)
	}
	if p.GRE.HasSequence() {
		set("gre.sequence_number", uint64(p.GRE.Sequence))
	}
	h := p.Header
	switch p.Layout() {
	case TypeII:
		set("erspan.encap", uint64(h.Encap))
		set("erspan.reserved", uint64(h.Reserved))
		set("erspan.index", uint64(h.Index))
	case TypeIII:
		set("erspan.bso", uint64(h.BSO))
		set("erspan.timestamp", uint64(h.Timestamp))
		set("erspan.sgt", uint64(h.SGT))
		set("erspan.p", uint64(bit(h.P)))
		set("erspan.ft", uint64(h.FrameType))
		set("erspan.hw", uint64(h.HardwareID))
		set("erspan.direction", uint64(h.Direction))
		set("erspan.gra", uint64(h.Granularity))
		set("erspan.o", uint64(bit(h.O)))
	default:
		return row
	}
	set("erspan.version", uint64(h.Version))
	set("erspan.vlan", uint64(h.VLAN))
	set("erspan.cos", uint64(h.COS))
	set("erspan.truncated", uint64(bit(h.Truncated)))
	set("erspan.spanid", uint64(h.SessionID))
	if !h.O || !h.HasSubheader { // tshark does not see a subheader that O does not announce
		return row
	}
	id, s := h.Subheader.PlatformID(), h.Subheader
	set("erspan.platid", uint64(id))
	if v, ok := s.VSMDomain(); ok {
		set("erspan.pid1.vsmid", uint64(v))
	}
	if v, ok := s.Port(); ok {
		name := map[uint8]string{1: "erspan.pid1.port_index", 3: "erspan.pid3.port_index"}[id]
		if name == "" {
			name = "erspan.pid5.port_index"
		}
		set(name, uint64(v))
	}
	if v, ok := s.UpperTimestamp(); ok {
		name := "erspan.pid7.timestamp"
		if id == 3 {
			name = "erspan.pid3.timestamp"
		}
		set(name, uint64(v))
	}
	if v, ok := s.SwitchID(); ok {
		set("erspan.pid5.switchid", uint64(v))
	}
	if v, ok := s.Seconds(); ok {
		set("erspan.pid5.timestamp", uint64(v))
	}
	if v, ok := s.SourceIndex(); ok {
		set("erspan.pid7.source_index", uint64(v))
	}
	return row
}

func TestTsharkReadsWhatWeWrite(t *testing.T) {
	packets := judged()
	file := filepath.Join(t.TempDir(), "ours.pcap")
	if err := os.WriteFile(file, pcapOf(t, packets), 0o600); err != nil {
		t.Fatal(err)
	}
	rows := tshark(t, file)
	if len(rows) != len(packets) {
		t.Fatalf("tshark read %d frames of %d", len(rows), len(packets))
	}
	for i, p := range packets {
		want := tsharkRow(i+1, p)
		if p.GRE.HasChecksum() {
			want["gre.checksum.status"] = "1" // good
		}
		if p.Outer.Src.Is4() {
			want["ip.checksum.status"] = "1"
		}
		if diff := cmp.Diff(want, rows[i]); diff != "" {
			t.Errorf("frame %d (-ours +tshark):\n%s", i+1, diff)
		}
	}
}

// tcpdumpLine is what tcpdump 5 prints of the ERSPAN header; "" for what it does not know. It goes by the GRE protocol
// alone, so that Linux's Type III under 0x88BE is not known to it.
func tcpdumpLine(p *Packet) string {
	h := &p.Header
	switch p.Layout() {
	case TypeII:
		return fmt.Sprintf("erspan type2 session %d", h.SessionID)
	case TypeIII:
		if p.GRE.Protocol != ProtocolIII {
			break
		}
		frameType := map[FrameType]string{FrameEthernet: "Ethernet", FrameIP: "IP"}[h.FrameType]
		if frameType == "" {
			frameType = fmt.Sprintf("unknown %d", h.FrameType)
		}
		return fmt.Sprintf("erspan type3 session %d bso %s cos %d ft %s", h.SessionID,
			[]string{"Good/unknown", "Short", "Oversized", "Bad"}[h.BSO], h.COS, frameType)
	}
	return ""
}

// inOrder reports the first of the texts that is not found behind the one before it.
func inOrder(text string, want []string) (missing string) {
	for _, w := range want {
		i := strings.Index(text, w)
		if i < 0 {
			return w
		}
		text = text[i+len(w):]
	}
	return ""
}

// tcpdump 4 knows GRE but not ERSPAN; tcpdump 5 shows part of the ERSPAN header too.
func TestTcpdumpReadsWhatWeWrite(t *testing.T) {
	packets := judged()
	cmd := exec.Command(tool(t, "tcpdump"), "-n", "-v", "-t", "-r", "-")
	cmd.Stdin = bytes.NewReader(pcapOf(t, packets))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tcpdump: %v", err)
	}
	text := string(out)
	knows := strings.Contains(text, "erspan type")
	var want []string
	for i := range packets {
		p := &packets[i]
		want = append(want, fmt.Sprintf("%v > %v: GREv0, Flags [", p.Outer.Src, p.Outer.Dst))
		if p.GRE.HasChecksum() {
			want = append(want, "checksum present")
		}
		if p.GRE.HasKey() {
			want = append(want, fmt.Sprintf("key=0x%x", p.GRE.Key))
		}
		if p.GRE.HasSequence() {
			want = append(want, fmt.Sprintf("seq %d,", p.GRE.Sequence))
		}
		if line := tcpdumpLine(p); line != "" && knows {
			want = append(want, line)
		}
	}
	if missing := inOrder(text, want); missing != "" {
		t.Errorf("tcpdump does not show, or not in this order, %q in:\n%s", missing, text)
	}
	if strings.Contains(text, "bad cksum") || strings.Contains(text, "wrong cksum") {
		t.Errorf("tcpdump finds a wrong checksum in:\n%s", text)
	}
	t.Logf("this tcpdump knows ERSPAN: %v", knows)
}

// What tcpdump's own tests expect of its captures.
func TestVectorsAsTcpdumpReadsThem(t *testing.T) {
	dir := os.Getenv("OVS_ERSPAN_VECTORS")
	if dir == "" {
		t.Skip("NOT RUN: OVS_ERSPAN_VECTORS names no folder with captures of other implementations")
	}
	outs, err := filepath.Glob(filepath.Join(dir, "oracle", "tcpdump__*.out"))
	if err != nil || len(outs) == 0 {
		t.Fatalf("no readings in %s (%v)", dir, err)
	}
	for _, out := range outs {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(out), "tcpdump__"), ".out")
		text, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(dir, "erspan", "*__"+name+".pcap"))
		if err != nil || len(files) != 1 {
			t.Fatalf("%s: captures %v, %v", name, files, err)
		}
		var want []string
		for _, b := range readPcap(t, files[0]) {
			var p Packet
			if p.DecodeEthernet(b) == ErrNotIP {
				p.DecodeIP(b)
			}
			if p.GRE.Protocol == ProtocolTypeII || p.GRE.Protocol == ProtocolIII {
				want = append(want, "GREv0, Flags [", tcpdumpLine(&p))
			}
		}
		if missing := inOrder(string(text), want); missing != "" || len(want) == 0 {
			t.Errorf("%s: tcpdump does not show, or not in this order, %q", name, missing)
		}
	}
}

// scapyReads prints, for each frame, the header fields that scapy finds.
const scapyReads = `
import io, json, sys
from scapy.all import rdpcap
from scapy.contrib.erspan import *
names = {"ERSPAN_I": 0, "ERSPAN_II": 1, "ERSPAN_III": 2, "ERSPAN_III_PlatformSpecific": 2}
rows = []
for p in rdpcap(io.BytesIO(sys.stdin.buffer.read())):
    row = {}
    for layer in ERSPAN_II, ERSPAN_III:
        if layer in p:
            l = p[layer]
            for f in "ver", "vlan", "cos", "en", "bso", "t", "session_id", "index", "timestamp", "sgt_other", "p", "ft", "hw", "d", "gra", "o":
                if hasattr(l, f) and isinstance(getattr(l, f), int):
                    row[f] = getattr(l, f)
    rows.append(row)
print(json.dumps(rows))
`

func TestScapyReadsWhatWeWrite(t *testing.T) {
	const python = "/usr/bin/python3" // Debian's: another python3 does not see Debian's scapy
	if err := exec.Command(python, "-c", "import scapy.contrib.erspan").Run(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("scapy is not installed, and in CI it has to be")
		}
		t.Skip("NOT RUN: scapy is not installed (scripts/setup.sh installs it)")
	}
	packets := judged()
	cmd := exec.Command(python, "-c", scapyReads)
	cmd.Stdin = bytes.NewReader(pcapOf(t, packets))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("scapy: %v\n%s", err, stderr.String())
	}
	var rows []map[string]int
	if err := json.Unmarshal(out, &rows); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for i, p := range packets {
		row := rows[i]
		h := p.Header
		want := map[string]int{"vlan": int(h.VLAN), "cos": int(h.COS), "t": int(bit(h.Truncated)), "session_id": int(h.SessionID)}
		switch {
		case p.Layout() == TypeII:
			want["en"], want["index"] = int(h.Encap), int(h.Index)
		case p.Layout() == TypeIII && p.GRE.Protocol == ProtocolIII:
			want["bso"], want["timestamp"], want["hw"] = int(h.BSO), int(int64(h.Timestamp)), int(h.HardwareID)
			want["p"], want["ft"], want["d"] = int(bit(h.P)), int(h.FrameType), int(h.Direction)
			want["gra"], want["o"] = int(h.Granularity), int(bit(h.O))
		default:
			continue
		}
		if len(row) == 0 {
			t.Errorf("frame %d: scapy finds no ERSPAN", i+1)
			continue
		}
		seen++
		for name, v := range want {
			if got, ok := row[name]; ok && got != v {
				t.Errorf("frame %d: scapy reads %s=%d, written %d", i+1, name, got, v)
			}
		}
	}
	if t.Logf("scapy read %d headers", seen); seen < len(packets)*3/4 {
		t.Errorf("scapy read only %d headers of %d packets", seen, len(packets))
	}
}

// Other implementations' captures, where the environment names a folder with them; they are not ours to hand on.
func TestVectors(t *testing.T) {
	dir := os.Getenv("OVS_ERSPAN_VECTORS")
	if dir == "" {
		t.Skip("NOT RUN: OVS_ERSPAN_VECTORS names no folder with captures of other implementations")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.pcap"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no captures in %s (%v)", dir, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			rows := tshark(t, file)
			found := 0
			for i, b := range readPcap(t, file) {
				row := rows[i]
				delete(row, "gre.checksum.status")
				delete(row, "ip.checksum.status")
				var p Packet
				err := p.DecodeEthernet(b)
				if err == ErrNotIP && strings.Contains(file, "pb-1") { // raw IP
					err = p.DecodeIP(b)
				}
				_, version := row["erspan.version"]
				if e, ok := err.(Error); ok && e.Foreign() && !version {
					continue
				}
				found++
				if err != nil {
					t.Logf("frame %d: %v", i+1, err)
				}
				want := row
				if p.Notes()&NoteUnknownVersion != 0 { // of which tshark shows the version only
					want = map[string]string{}
					for _, k := range []string{"frame.number", "gre.flags_and_version", "gre.proto", "gre.sequence_number", "erspan.version"} {
						want[k] = row[k]
					}
				}
				got := tsharkRow(i+1, p)
				if p.Notes()&NoteUnknownVersion != 0 {
					for k := range got {
						if _, ok := want[k]; !ok {
							delete(got, k)
						}
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("frame %d (-tshark +ours), notes %q:\n%s", i+1, p.Notes().Strings(), diff)
				}
			}
			t.Logf("%d ERSPAN frames of %d", found, len(rows))
		})
	}
}

// readPcap is the frames of a little-endian pcap file.
func readPcap(t *testing.T, file string) (frames [][]byte) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for b = b[24:]; len(b) > 0; {
		n := binary.LittleEndian.Uint32(b[8:])
		frames, b = append(frames, b[16:16+n]), b[16+n:]
	}
	return frames
}
