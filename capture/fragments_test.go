package capture

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/erspan"
)

// fragmentsOf cuts an IP packet into fragments with at most size bytes of payload, a multiple of 8.
func fragmentsOf(ip []byte, size int) (out [][]byte) {
	header, v6 := 20, ip[0]>>4 == 6
	if v6 {
		header = 40
	}
	payload := ip[header:]
	for at := 0; at < len(payload); at += size {
		end := min(at+size, len(payload))
		more := end < len(payload)
		f := bytes.Clone(ip[:header])
		if v6 {
			field := uint16(at)
			if more {
				field |= 1
			}
			f[6] = 44
			f = append(f, ip[6], 0)
			f = binary.BigEndian.AppendUint16(f, field)
			f = append(f, 0, 0, 0x12, 0x34)
			f = append(f, payload[at:end]...)
			binary.BigEndian.PutUint16(f[4:], uint16(len(f)-40))
		} else {
			field := uint16(at / 8)
			if more {
				field |= 0x2000
			}
			f[4], f[5] = 0x12, 0x34
			binary.BigEndian.PutUint16(f[6:], field)
			f = append(f, payload[at:end]...)
			binary.BigEndian.PutUint16(f[2:], uint16(len(f)))
		}
		out = append(out, f)
	}
	return out
}

func TestReassembly(t *testing.T) {
	v4 := typeIII(t, 100, 4, start, erspan.Egress)
	v6 := encode(t, erspan.Packet{
		Outer: erspan.Outer{Src: sender6, Dst: collector6, TTL: 64}, GRE: erspan.GREFor(erspan.TypeII, 1),
		Header: erspan.Header{Version: 1, SessionID: 10}, Inner: innerTCP,
	})
	for name, ip := range map[string][]byte{"IPv4": v4, "IPv6": v6} {
		for _, size := range []int{8, 16, 24, 40, 64} {
			for order := range 4 {
				fragments := fragmentsOf(ip, size)
				switch order {
				case 1: // backwards
					for i, j := 0, len(fragments)-1; i < j; i, j = i+1, j-1 {
						fragments[i], fragments[j] = fragments[j], fragments[i]
					}
				case 2: // the first one last
					fragments = append(fragments[1:], fragments[0])
				case 3: // every other one first
					var even, odd [][]byte
					for i, f := range fragments {
						if i%2 == 0 {
							even = append(even, f)
						} else {
							odd = append(odd, f)
						}
					}
					fragments = append(odd, even...)
				}
				d := NewDecoder(Options{})
				var last *Record
				for i, f := range fragments {
					r := d.Decode(&Frame{Number: uint64(i), Time: start, Link: LinkRaw, Data: f, WireLen: len(f)})
					if (r != nil) != (i == len(fragments)-1) {
						t.Fatalf("%s in %d bytes, order %d: fragment %d of %d gives %v", name, size, order, i, len(fragments), r)
					}
					last = r
				}
				if last.Err != nil || !last.Reassembled || !bytes.Equal(last.Packet.Inner, innerTCP) {
					t.Errorf("%s in %d bytes, order %d: %v %x", name, size, order, last.Err, last.Packet.Inner)
				}
				if s := d.Stats(); s.Fragments != (FragmentStats{uint64(len(fragments)), 1, 0}) || s.Incomplete != 0 {
					t.Errorf("%s in %d bytes, order %d: %+v", name, size, order, s)
				}
			}
		}
	}
}

// The kernel's and tshark's idea of fragments is the same: tshark finds the same session in them.
func TestReassemblyAsTsharkDoesIt(t *testing.T) {
	var frames [][]byte
	for _, f := range fragmentsOf(typeII(t, 77, 1), 24) {
		frames = append(frames, ether(f))
	}
	file := filepath.Join(t.TempDir(), "fragments.pcap")
	if err := os.WriteFile(file, pcap(binary.LittleEndian, pcapMicro, LinkEthernet, frames...), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tool(t, "tshark"), "-n", "-r", file, "-T", "fields", "-e", "erspan.spanid", "-e", "arp.src.proto_ipv4").Output()
	if err != nil || strings.TrimSpace(string(out)) != "77\t10.0.0.1" {
		t.Errorf("tshark: %v %q", err, out)
	}
}

func TestFragmentsThatMakeNoPacket(t *testing.T) {
	whole := fragmentsOf(typeIII(t, 100, 4, start, erspan.Egress), 24)
	change := func(i int, f func(b []byte) []byte) [][]byte {
		out := make([][]byte, len(whole))
		for j := range whole {
			out[j] = bytes.Clone(whole[j])
		}
		out[i] = f(out[i])
		return out
	}
	for name, fragments := range map[string][][]byte{
		"overlap": change(1, func(b []byte) []byte { b[7]--; return b }),
		"a fragment whose length is no multiple of eight": change(1, func(b []byte) []byte { b[3]--; return b[:len(b)-1] }),
		"nothing in it":        change(1, func(b []byte) []byte { b[3] = 20; return b[:20] }),
		"beyond 64 KiB":        change(1, func(b []byte) []byte { b[6] |= 0x1f; b[7] = 0xff; return b }),
		"cut by the capture":   change(1, func(b []byte) []byte { return b[:len(b)-2] }),
		"an end before others": {whole[0], whole[2], change(1, func(b []byte) []byte { b[6] &^= 0x20; return b })[1]},
		"the same one twice":   {whole[0], whole[0], whole[1], whole[2], whole[3]},
	} {
		d := NewDecoder(Options{})
		for i, f := range fragments {
			if r := d.Decode(&Frame{Number: uint64(i), Time: start, Link: LinkRaw, Data: f, WireLen: len(f)}); r != nil {
				t.Errorf("%s: fragment %d gives %+v", name, i, r.Packet)
			}
		}
		if s := d.Stats(); s.Fragments.Abandoned == 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// Fragments of many packets, or that come too late, cost no more than the bounds say.
func TestFragmentBounds(t *testing.T) {
	d := NewDecoder(Options{})
	first := fragmentsOf(typeIII(t, 100, 4, start, erspan.Egress), 24)[0]
	for i := range 4 * maxFragmented {
		f := bytes.Clone(first)
		binary.BigEndian.PutUint16(f[4:], uint16(i))
		d.Decode(&Frame{Time: start.Add(time.Duration(i)), Link: LinkRaw, Data: f, WireLen: len(f)})
	}
	if s := d.Stats(); s.Incomplete != maxFragmented || s.Fragments.Abandoned != 3*maxFragmented {
		t.Errorf("%+v", s)
	}
	d = NewDecoder(Options{})
	for i, f := range fragmentsOf(typeIII(t, 100, 4, start, erspan.Egress), 24) {
		if d.Decode(&Frame{Time: start.Add(time.Duration(i) * 20 * time.Second), Link: LinkRaw, Data: f, WireLen: len(f)}) != nil {
			t.Error("fragments a minute apart were put together")
		}
	}
}

// Streams and senders are bounded too.
func TestStreamBounds(t *testing.T) {
	d := NewDecoder(Options{})
	p := erspan.Packet{GRE: erspan.GREFor(erspan.TypeII, 1), Header: erspan.Header{Version: 1}, Inner: innerARP}
	var buf []byte
	for i := range uint32(maxStreams + 1000) {
		p.Outer = erspan.Outer{Src: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), Dst: collector}
		var err error
		if buf, err = p.AppendIP(buf[:0]); err != nil {
			t.Fatal(err)
		}
		if d.Decode(&Frame{Time: start, Link: LinkRaw, Data: buf, WireLen: len(buf)}) == nil {
			t.Fatal("not decoded")
		}
	}
	if s := d.Stats(); len(s.Streams) != maxStreams || s.Evicted != 1000 {
		t.Errorf("%d streams, %d evicted", len(s.Streams), s.Evicted)
	}
	if n := len(d.senders.entries); n != maxSenders {
		t.Errorf("%d senders", n)
	}
}
