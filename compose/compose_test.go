package compose

import (
	"bytes"
	"encoding/binary"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var plain = Options{
	Destination: net.HardwareAddr{2, 0xe2, 0x5a, 0, 0, 1}, Source: net.HardwareAddr{6, 0xe2, 0, 0, 0, 1}, EtherType: 0x88b5, Payload: []byte("oe-probe and more"),
}

// matches that a session may have, and what Open vSwitch says of the frame that is made for each (`ovs-ofctl parse-pcap`).
var fit = map[string]string{
	"":                       "dl_src=06:e2:00:00:00:01,dl_dst=02:e2:5a:00:00:01,dl_type=0x88b5",
	"tcp,tp_dst=443":         "tcp,nw_src=192.0.2.1,nw_dst=192.0.2.2,nw_tos=0,nw_ecn=0,nw_ttl=64,tp_src=0,tp_dst=443,tcp_flags=ack",
	"tcp,tcp_flags=+syn-ack": "tcp,tcp_flags=syn",
	"tcp6,ipv6_src=2001:db8::/32,tp_src=0x50/0xf0":        "tcp6,ipv6_src=2001:db8::,ipv6_dst=2001:db8::2,tp_src=80",
	"udp,nw_src=10.0.0.0/8,nw_tos=184,nw_ecn=1,tp_dst=53": "udp,nw_src=10.0.0.0,nw_tos=184,nw_ecn=1,tp_dst=53",
	"udp6,tp_dst=53":               "udp6,tp_src=0,tp_dst=53",
	"sctp,sctp_dst=5060":           "sctp,tp_dst=5060",
	"icmp,icmp_type=8":             "icmp,icmp_type=8,icmp_code=0",
	"icmp6,icmp_type=128":          "icmp6,icmp_type=128",
	"ip":                           "ip,nw_proto=253",
	"ip,nw_proto=47":               "nw_proto=47",
	"ip,nw_ttl=1":                  "nw_ttl=1",
	"dl_vlan=10,dl_vlan_pcp=3,tcp": "tcp,dl_vlan=10,dl_vlan_pcp=3",
	"vlan_tci=0x1000/0x1000":       "dl_vlan=0",
	"dl_type=0x88cc":               "dl_type=0x88cc",
	"dl_src=50:54:00:00:00:05,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00": "dl_src=50:54:00:00:00:05,dl_dst=01:00:00:00:00:00",
}

// TestFrame: Open vSwitch and tshark read each frame as it was meant, checksums included, and the flow says the same.
func TestFrame(t *testing.T) {
	var frames [][]byte
	for match, want := range fit {
		frame, flow, err := Frame(match, plain)
		if err != nil {
			t.Errorf("%q: %v", match, err)
			continue
		}
		if len(frame) < 60 || !bytes.Contains(frame, plain.Payload) {
			t.Errorf("%q: a frame of %d bytes, with its payload %v", match, len(frame), bytes.Contains(frame, plain.Payload))
		}
		file := filepath.Join(t.TempDir(), "frame.pcap")
		if err := os.WriteFile(file, pcap(frame), 0o600); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(flow, "dl_src=") {
			t.Errorf("%q: flow %s", match, flow)
		}
		read := strings.TrimSpace(run(t, "ovs-ofctl", "parse-pcap", file))
		for part := range strings.SplitSeq(want, ",") {
			if !strings.Contains(","+strings.ReplaceAll(read, " ", ",")+",", ","+part+",") {
				t.Errorf("%q: Open vSwitch reads %s, want %s", match, read, part)
			}
		}
		frames = append(frames, frame)
	}
	file := filepath.Join(t.TempDir(), "frames.pcap")
	if err := os.WriteFile(file, pcap(frames...), 0o600); err != nil {
		t.Fatal(err)
	}
	out := run(t, "tshark", "-n", "-r", file, "-V", "-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE")
	for _, bad := range []string{"Checksum Status: Bad", "incorrect, should be", "Malformed Packet: IP", "Malformed Packet: SCTP"} {
		if i := strings.Index(out, bad); i >= 0 {
			t.Errorf("tshark says %q:\n%s", bad, out[max(0, i-1500):i+100])
		}
	}
	if !strings.Contains(out, "[Checksum Status: Good]") {
		t.Error("tshark has checked no checksum: this proves nothing")
	}
}

func TestNoFrame(t *testing.T) {
	for match, says := range map[string]string{
		"tcp,nw_src=hello":         "nw_src=hello",
		"tcp,ct_state=+trk":        "ct_state",
		"tcp,nw_src=2001:db8::1":   "IPv6 in a packet of IPv4",
		"tcp6,nw_src=192.0.2.1":    "IPv4 in a packet of IPv6",
		"tp_dst=443":               "name the protocol",
		"udp,tp_dst=70000":         "16 bits",
		"tcp,tcp_flags=+nothing":   "nothing is no flag",
		"ip,nw_frag=later":         "fragment",
		"ip,nw_proto=47,tp_dst=80": "ports",
		"whatever":                 "whatever",
		"dl_type=0x05":             "no EtherType",
		"metadata=5":               "metadata",
	} {
		if _, _, err := Frame(match, plain); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", match, err, says)
		}
	}
}

func FuzzFrame(f *testing.F) {
	for match := range fit {
		f.Add(match)
	}
	f.Fuzz(func(t *testing.T, match string) {
		if frame, _, err := Frame(match, plain); err == nil && len(frame) < 60 {
			t.Errorf("%q: %d bytes", match, len(frame))
		}
	})
}

func run(t *testing.T, command string, args ...string) string {
	t.Helper()
	out, err := exec.Command(command, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", command, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// pcap is a capture file of Ethernet frames.
func pcap(frames ...[]byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0)
	for _, frame := range frames {
		b = append(b, make([]byte, 8)...)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(frame)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(frame)))
		b = append(b, frame...)
	}
	return b
}
