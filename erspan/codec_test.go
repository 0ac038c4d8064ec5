package erspan

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// compare tells packets apart by value; empty and nil slices are the same on the wire.
var compare = cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmpopts.EquateEmpty()}

// Addresses and a mirrored frame (an ARP request) that tests share.
var (
	src4, dst4 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.9")
	src6, dst6 = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::9")
	frame      = unhex("ffffffffffff 020000000001 0806 0001 0800 0604 0001 020000000001 0a000001 000000000000 0a000002")
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// known are packets from the GRE header on with what they mean, both written by hand from the draft's diagrams.
var known = []struct {
	name  string
	bytes []byte
	want  Packet
	notes Notes
}{
	{
		name:  "Type I",
		bytes: join(unhex("0000 88be"), frame),
		want:  Packet{GRE: GRE{Protocol: 0x88be}, Inner: frame},
	},
	{
		name: "Type II, every field its own value",
		// Ver 1, VLAN 0x123, COS 5, En 2, T 1, session 0x155, reserved 0xabc, index 0x54321
		bytes: join(unhex("1000 88be 01020304 1123 b555 abc5 4321"), frame),
		want: Packet{
			GRE: GRE{Flags: 0x1000, Protocol: 0x88be, Sequence: 0x01020304},
			Header: Header{
				Version: 1, VLAN: 0x123, COS: 5, Encap: EncapDot1Q, Truncated: true, SessionID: 0x155,
				Reserved: 0xabc, Index: 0x54321,
			},
			Inner: frame,
		},
	},
	{
		name:  "Type II, every field at its limit",
		bytes: join(unhex("1000 88be ffffffff 1fff ffff ffff ffff"), frame),
		want: Packet{
			GRE: GRE{Flags: 0x1000, Protocol: 0x88be, Sequence: 1<<32 - 1},
			Header: Header{
				Version: 1, VLAN: 4095, COS: 7, Encap: EncapPreserved, Truncated: true, SessionID: MaxSessionID,
				Reserved: 4095, Index: MaxIndex,
			},
			Inner: frame,
		},
	},
	{
		name: "Type III, every field its own value",
		// Ver 2, VLAN 0x123, COS 5, BSO 1, T 0, session 0x155, SGT 0x89ab, P 1, FT 0, HW 0x2a, D 1, Gra 2, O 0
		bytes: join(unhex("1000 22eb 00000007 2123 a955 deadbeef 89ab 82ac"), frame),
		want: Packet{
			GRE: GRE{Flags: 0x1000, Protocol: 0x22eb, Sequence: 7},
			Header: Header{
				Version: 2, VLAN: 0x123, COS: 5, BSO: BSOShort, SessionID: 0x155, Timestamp: 0xdeadbeef,
				SGT: 0x89ab, P: true, HardwareID: 0x2a, Direction: Egress, Granularity: Gra1588,
			},
			Inner: frame,
		},
	},
	{
		name:  "Type III, every field at its limit, FT and BSO out of range",
		bytes: join(unhex("1000 22eb 00000000 2fff ffff ffffffff ffff ffff 1fff ffff ffff ffff"), frame),
		want: Packet{
			GRE: GRE{Flags: 0x1000, Protocol: 0x22eb},
			Header: Header{
				Version: 2, VLAN: 4095, COS: 7, BSO: BSOBad, Truncated: true, SessionID: MaxSessionID,
				Timestamp: 1<<32 - 1, SGT: 0xffff, P: true, FrameType: 31, HardwareID: MaxHardwareID,
				Direction: Egress, Granularity: GraCustom, O: true, HasSubheader: true,
				Subheader: 0x1fff_ffff_ffff_ffff,
			},
			Inner: frame,
		},
		notes: NoteFrameType,
	},
	{
		name:  "Type III without a sequence number, as Nexus sends it",
		bytes: join(unhex("0000 22eb 2014 0000 a3595bff 0000 0006"), frame),
		want: Packet{
			GRE:    GRE{Protocol: 0x22eb},
			Header: Header{Version: 2, VLAN: 0x14, Timestamp: 0xa3595bff, Granularity: GraCustom},
			Inner:  frame,
		},
		notes: NoteNoSequence,
	},
	{
		name:  "0x88BE with Ver 2, as Linux sent it",
		bytes: join(unhex("1000 88be 00000006 2000 0001 6f54b417 0000 8078"), frame),
		want: Packet{
			GRE: GRE{Flags: 0x1000, Protocol: 0x88be, Sequence: 6},
			Header: Header{
				Version: 2, SessionID: 1, Timestamp: 0x6f54b417, P: true, HardwareID: 7, Direction: Egress,
			},
			Inner: frame,
		},
		notes: NoteProtocol,
	},
	{
		name:  "0x22EB with Ver 1",
		bytes: join(unhex("1000 22eb 00000006 1000 0001 0000 0007"), frame),
		want: Packet{
			GRE:    GRE{Flags: 0x1000, Protocol: 0x22eb, Sequence: 6},
			Header: Header{Version: 1, SessionID: 1, Index: 7},
			Inner:  frame,
		},
		notes: NoteProtocol,
	},
	{
		name:  "Type I by the absence of S, although the frame looks like Ver 1",
		bytes: join(unhex("0000 88be 100000000001 020000000002 0800"), make([]byte, 46)),
		want: Packet{
			GRE:   GRE{Protocol: 0x88be},
			Inner: join(unhex("100000000001 020000000002 0800"), make([]byte, 46)),
		},
	},
	{
		name:  "En=2 with the tag still in the frame: nothing is inserted, nothing taken off",
		bytes: join(unhex("1000 88be 00000000 1064 1001 0000 0000"), frame[:12], unhex("8100 0064"), frame[12:]),
		want: Packet{
			GRE:    GRE{Flags: 0x1000, Protocol: 0x88be},
			Header: Header{Version: 1, VLAN: 100, Encap: EncapDot1Q, SessionID: 1},
			Inner:  join(frame[:12], unhex("8100 0064"), frame[12:]),
		},
	},
	{
		name:  "session 0, constant sequence 0",
		bytes: join(unhex("1000 88be 00000000 1000 0000 0000 0000"), frame),
		want:  Packet{GRE: GRE{Flags: 0x1000, Protocol: 0x88be}, Header: Header{Version: 1}, Inner: frame},
	},
	{
		name:  "FT=2: the payload is an IP packet",
		bytes: join(unhex("1000 22eb 00000000 2000 0001 00000000 0000 0800"), unhex("4500 0014 0000 4000 4001 0000 0a000001 0a000002")),
		want: Packet{
			GRE:    GRE{Flags: 0x1000, Protocol: 0x22eb},
			Header: Header{Version: 2, SessionID: 1, FrameType: FrameIP},
			Inner:  unhex("4500 0014 0000 4000 4001 0000 0a000001 0a000002"),
		},
	},
	{
		name:  "FT=7 without the O bit but with a subheader, as a Cisco switch sends it",
		bytes: join(unhex("1000 22eb 0000bade 2001 1865 34760b01 0000 1e00 0000abc5 00004b87"), frame),
		want: Packet{
			GRE: GRE{Flags: 0x1000, Protocol: 0x22eb, Sequence: 0xbade},
			Header: Header{
				Version: 2, VLAN: 1, BSO: BSOBad, SessionID: 101, Timestamp: 0x34760b01, FrameType: 7,
				HardwareID: 32, HasSubheader: true, Subheader: 0x0000abc5_00004b87,
			},
			Inner: frame,
		},
		notes: NoteFrameType | NoteHiddenSubheader,
	},
	{
		name:  "FT=7 without the O bit and without a subheader",
		bytes: join(unhex("1000 22eb 00000001 2001 0065 00000001 0000 1c00"), frame),
		want: Packet{
			GRE:    GRE{Flags: 0x1000, Protocol: 0x22eb, Sequence: 1},
			Header: Header{Version: 2, VLAN: 1, SessionID: 101, Timestamp: 1, FrameType: 7},
			Inner:  frame,
		},
		notes: NoteFrameType,
	},
	{
		name:  "unknown version under 0x88BE is read by Type II's layout",
		bytes: join(unhex("1000 88be 00000001 7001 0065 0000 0009"), frame),
		want: Packet{
			GRE:    GRE{Flags: 0x1000, Protocol: 0x88be, Sequence: 1},
			Header: Header{Version: 7, VLAN: 1, SessionID: 101, Index: 9},
			Inner:  frame,
		},
		notes: NoteUnknownVersion,
	},
	{
		name:  "version 0 with a sequence number is not Type I",
		bytes: join(unhex("1000 88be 00000000 0000 004d 0000 0001"), frame),
		want: Packet{
			GRE:    GRE{Flags: 0x1000, Protocol: 0x88be},
			Header: Header{SessionID: 77, Index: 1},
			Inner:  frame,
		},
		notes: NoteUnknownVersion,
	},
	{
		name:  "unknown version under 0x22EB is read by Type III's layout",
		bytes: join(unhex("1000 22eb 00000001 f001 0065 00000005 0000 0001 fc00 0000 0000 0001"), frame),
		want: Packet{
			GRE: GRE{Flags: 0x1000, Protocol: 0x22eb, Sequence: 1},
			Header: Header{
				Version: 15, VLAN: 1, SessionID: 101, Timestamp: 5, O: true, HasSubheader: true,
				Subheader: 0xfc00_0000_0000_0001,
			},
			Inner: frame,
		},
		notes: NoteUnknownVersion | NotePlatform,
	},
	{
		name: "every optional GRE word, reserved bits and a source route",
		bytes: join(unhex("f7f8 88be 1111 2222 33333333 44444444"), unhex("0800 0004 0a000001 0000 0000"),
			unhex("1000 0001 0000 0002"), frame),
		want: Packet{
			GRE: GRE{
				Flags: 0xf7f8, Protocol: 0x88be, Checksum: 0x1111, Offset: 0x2222, Key: 0x33333333,
				Sequence: 0x44444444, Routing: unhex("0800 0004 0a000001 0000 0000"),
			},
			Header: Header{Version: 1, SessionID: 1, Index: 2},
			Inner:  frame,
		},
	},
	{
		name:  "a key and no sequence number",
		bytes: join(unhex("2000 88be 00000005"), frame),
		want:  Packet{GRE: GRE{Flags: 0x2000, Protocol: 0x88be, Key: 5}, Inner: frame},
	},
}

func TestKnownBytes(t *testing.T) {
	for _, c := range known {
		t.Run(c.name, func(t *testing.T) {
			want := c.want
			want.InnerLen = len(want.Inner)
			got := dirty()
			if err := got.DecodeGRE(c.bytes); err != nil {
				t.Fatalf("decode: %v", err)
			}
			if diff := cmp.Diff(want, got, compare); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
			if got.Notes() != c.notes {
				t.Errorf("notes = %q, want %q", got.Notes().Strings(), c.notes.Strings())
			}
			encoded, err := c.want.AppendGRE([]byte("before"))
			if err != nil {
				t.Fatalf("encode: %v", err)
			}
			if want := join([]byte("before"), c.bytes); !bytes.Equal(encoded, want) {
				t.Errorf("encoded\n%x, want\n%x", encoded, want)
			}
		})
	}
}

// dirty is a packet with every field set, so that a decoder that leaves one alone is caught.
func dirty() Packet {
	b := []byte("stale")
	return Packet{
		Outer: Outer{Src: src6, Dst: src4, TOS: 0xaa, TTL: 0xaa},
		GRE: GRE{
			Flags: 0xaaaa, Protocol: 0xaaaa, Checksum: 0xaaaa, Offset: 0xaaaa, Key: 0xaaaaaaaa, Sequence: 0xaaaaaaaa,
			Routing: b,
		},
		Header: Header{
			Version: 0xaa, COS: 0xaa, Encap: 0xaa, BSO: 0xaa, VLAN: 0xaaaa, SessionID: 0xaaaa, Truncated: true,
			Reserved: 0xaaaa, Index: 0xaaaaaaaa, Timestamp: 0xaaaaaaaa, SGT: 0xaaaa, P: true, FrameType: 0xaa,
			HardwareID: 0xaa, Direction: 0xaa, Granularity: 0xaa, O: true, HasSubheader: true, Subheader: 0xaaaa,
		},
		Inner: b, InnerLen: 0xaaaa,
	}
}

// Every prefix of every known packet fails cleanly, leaves nothing stale, and ends as the whole packet does.
func TestEveryPrefix(t *testing.T) {
	for _, c := range known {
		t.Run(c.name, func(t *testing.T) {
			for n := range c.bytes {
				fresh, reused := Packet{}, dirty()
				err := fresh.DecodeGRE(c.bytes[:n])
				if again := reused.DecodeGRE(c.bytes[:n]); again != err {
					t.Fatalf("%d bytes: %v into a fresh packet, %v into a used one", n, err, again)
				}
				if diff := cmp.Diff(fresh, reused, compare); diff != "" {
					t.Fatalf("%d bytes: stale fields (-fresh +reused):\n%s", n, diff)
				}
				header := len(c.bytes) - len(c.want.Inner)
				switch {
				case c.notes&NoteHiddenSubheader != 0: // cannot be told before the frame behind it is there
				case n < header && err != ErrShortGRE && err != ErrShortHeader:
					t.Errorf("%d bytes, the headers take %d: %v", n, header, err)
				case n >= header && n < header+EthernetHeaderLen && err != ErrShortInner && !fresh.InnerIsIP():
					t.Errorf("%d bytes, in the inner Ethernet header: %v", n, err)
				}
			}
		})
	}
}

// Every short prefix of the outer headers, likewise.
func TestEveryOuterPrefix(t *testing.T) {
	gre := join(unhex("1000 88be 00000000 1000 0001 0000 0002"), frame)
	for name, whole := range map[string][]byte{
		"IPv4 with options": ethernet(0x0800, ipv4(gre, unhex("94040000 01010101"))),
		"QinQ":              ethernet(0x88a8, unhex("0001 9100 0003 8100 0002 0800"), ipv4(gre, nil)),
		"IPv6 with every extension header": ethernet(0x86dd, ipv6(0, gre,
			unhex("2b00 0102 00000000"),   // hop by hop, then routing
			unhex("3c00 0000 00000000"),   // routing, then destination options
			unhex("3300 0104 00000000"),   // destination options, then authentication
			unhex("8701 0000 00000000"),   // authentication, 12 bytes
			unhex("00000000"),             // its last word
			unhex("8b00 0000 00000000"),   // mobility, then HIP
			unhex("8c00 0000 00000000"),   // HIP, then shim6
			unhex("2c00 0000 00000000"),   // shim6, then a fragment header of a whole packet
			unhex("2f00 0000 00000000"))), // and GRE
		"IPv6 with destination options": ethernet(0x86dd, ipv6(60, gre, unhex("2f00 0401 0401 0100"))), // as ip6erspan
	} {
		t.Run(name, func(t *testing.T) {
			want := Packet{
				GRE:    GRE{Flags: 0x1000, Protocol: 0x88be},
				Header: Header{Version: 1, SessionID: 1, Index: 2},
				Inner:  frame, InnerLen: len(frame),
			}
			got := dirty()
			if err := got.DecodeEthernet(whole); err != nil {
				t.Fatalf("decode: %v", err)
			}
			if got.Outer.TTL != 64 || got.Outer.TOS != 0xb8 {
				t.Errorf("TTL %d, TOS %#x, want 64 and 0xb8", got.Outer.TTL, got.Outer.TOS)
			}
			if o := got.Outer; (o.Src != src4 || o.Dst != dst4) && (o.Src != src6 || o.Dst != dst6) {
				t.Errorf("addresses %v and %v", o.Src, o.Dst)
			}
			got.Outer = Outer{}
			if diff := cmp.Diff(want, got, compare); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
			for n := range whole {
				fresh, reused := Packet{}, dirty()
				err := fresh.DecodeEthernet(whole[:n])
				reused.DecodeEthernet(whole[:n])
				if diff := cmp.Diff(fresh, reused, compare); diff != "" {
					t.Fatalf("%d bytes: stale fields (-fresh +reused):\n%s", n, diff)
				}
				if err == nil && (n < len(whole)-len(frame)+EthernetHeaderLen || fresh.Notes() != NoteCut) {
					t.Errorf("%d of %d bytes: no error, notes %q", n, len(whole), fresh.Notes().Strings())
				}
			}
		})
	}
}

// ethernet is an Ethernet frame.
func ethernet(etherType uint16, payload ...[]byte) []byte {
	return join(unhex("020000000009 020000000001"), binary.BigEndian.AppendUint16(nil, etherType), join(payload...))
}

// ipv4 is an IPv4 packet that carries GRE.
func ipv4(gre, options []byte) []byte {
	b := unhex("45b8 0000 0000 4000 402f 0000 c0000201 c0000209")
	b[0] += byte(len(options) / 4)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)+len(options)+len(gre)))
	return join(b, options, gre)
}

// ipv6 is an IPv6 packet whose first next header is next.
func ipv6(next byte, gre []byte, extensions ...[]byte) []byte {
	payload := join(join(extensions...), gre)
	b := join(unhex("6b80 0000 0000 00 40"), src6.AsSlice(), dst6.AsSlice(), payload)
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	b[6] = next
	return b
}

func TestErrors(t *testing.T) {
	gre := join(unhex("1000 88be 00000000 1000 0001 0000 0002"), frame)
	patch := func(b []byte, at int, with ...byte) []byte {
		b = bytes.Clone(b)
		copy(b[at:], with)
		return b
	}
	for _, c := range []struct {
		name  string
		frame []byte
		want  error
	}{
		{"ARP", ethernet(0x0806, make([]byte, 46)), ErrNotIP},
		{"nothing", nil, ErrShortEthernet},
		{"IPv4 says it is IPv6", ethernet(0x0800, patch(ipv4(gre, nil), 0, 0x65)), ErrIPVersion},
		{"IPv6 says it is IPv4", ethernet(0x86dd, patch(ipv6(47, gre), 0, 0x45)), ErrIPVersion},
		{"IPv4 header of 16 bytes", ethernet(0x0800, patch(ipv4(gre, nil), 0, 0x44)), ErrIPHeader},
		{"IPv4 total length within the header", ethernet(0x0800, patch(ipv4(gre, nil), 2, 0, 19)), ErrIPHeader},
		{"IPv4 options beyond the end", ethernet(0x0800, patch(ipv4(gre, nil), 0, 0x4f)[:40]), ErrShortIP},
		{"UDP over IPv4", ethernet(0x0800, patch(ipv4(gre, nil), 9, 17)), ErrNotGRE},
		{"TCP over IPv6", ethernet(0x86dd, ipv6(6, gre)), ErrNotGRE},
		{"IPv6 with no next header", ethernet(0x86dd, ipv6(59, gre)), ErrNotGRE},
		{"first IPv4 fragment", ethernet(0x0800, patch(ipv4(gre, nil), 6, 0x20, 0)), ErrFragment},
		{"later IPv4 fragment", ethernet(0x0800, patch(ipv4(gre, nil), 6, 0, 1)), ErrFragment},
		{"first IPv6 fragment", ethernet(0x86dd, ipv6(44, gre, unhex("2f00 0001 00000000"))), ErrFragment},
		{"later IPv6 fragment", ethernet(0x86dd, ipv6(44, gre, unhex("2f00 0008 00000000"))), ErrFragment},
		{"GRE with IP in it", ethernet(0x0800, ipv4(patch(gre, 2, 0x08, 0x00), nil)), ErrNotERSPAN},
		{"GRE with plain Ethernet in it", ethernet(0x0800, ipv4(patch(gre, 2, 0x65, 0x58), nil)), ErrNotERSPAN},
		{"GRE version 1 (PPTP)", ethernet(0x0800, ipv4(patch(gre, 0, 0x10, 0x01), nil)), ErrGREVersion},
		{"GRE source route without an end",
			ethernet(0x0800, ipv4(unhex("4000 88be 0000 0000 0800 0000 00000000"), nil)), ErrGRERouting},
		{"total length 0, as segmentation offload leaves it", ethernet(0x0800, patch(ipv4(gre, nil), 2, 0, 0)), nil},
		{"payload length 0", ethernet(0x86dd, patch(ipv6(47, gre), 4, 0, 0)), nil},
		{"padding after a short packet", ethernet(0x0800, ipv4(gre, nil), make([]byte, 20)), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := dirty()
			err := p.DecodeEthernet(c.frame)
			if !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if err == nil && !bytes.Equal(p.Inner, frame) {
				t.Errorf("inner frame %x, want %x", p.Inner, frame)
			}
			if e, ok := err.(Error); ok && e.Foreign() != (e == ErrNotIP || e == ErrNotGRE || e == ErrNotERSPAN) {
				t.Errorf("Foreign() = %v for %v", e.Foreign(), e)
			}
		})
	}
	// A first fragment is decoded as far as it goes, so that its session can be named.
	var p Packet
	p.DecodeIP(patch(ipv4(gre, nil), 6, 0x20, 0))
	if p.Header.SessionID != 1 || !bytes.Equal(p.Inner, frame) {
		t.Errorf("first fragment: header %+v", p.Header)
	}
	for e := Error(0); e < 20; e++ {
		if e.Error() == "" {
			t.Errorf("error %d has no text", uint8(e))
		}
	}
}

// Each field takes its limit and refuses the next value, by name.
func TestEncodeLimits(t *testing.T) {
	for _, c := range []struct {
		field string
		v     Version
		max   uint64
		set   func(*Header, uint64)
	}{
		{"version", 7, 15, func(h *Header, v uint64) { h.Version = Version(v) }},
		{"VLAN", TypeII, 4095, func(h *Header, v uint64) { h.VLAN = uint16(v) }},
		{"COS", TypeII, 7, func(h *Header, v uint64) { h.COS = uint8(v) }},
		{"session id", TypeII, 1023, func(h *Header, v uint64) { h.SessionID = uint16(v) }},
		{"encapsulation", TypeII, 3, func(h *Header, v uint64) { h.Encap = Encap(v) }},
		{"reserved bits", TypeII, 4095, func(h *Header, v uint64) { h.Reserved = uint16(v) }},
		{"index", TypeII, 1048575, func(h *Header, v uint64) { h.Index = uint32(v) }},
		{"VLAN", TypeIII, 4095, func(h *Header, v uint64) { h.VLAN = uint16(v) }},
		{"COS", TypeIII, 7, func(h *Header, v uint64) { h.COS = uint8(v) }},
		{"session id", TypeIII, 1023, func(h *Header, v uint64) { h.SessionID = uint16(v) }},
		{"BSO", TypeIII, 3, func(h *Header, v uint64) { h.BSO = BSO(v) }},
		{"frame type", TypeIII, 31, func(h *Header, v uint64) { h.FrameType = FrameType(v) }},
		{"hardware id", TypeIII, 63, func(h *Header, v uint64) { h.HardwareID = uint8(v) }},
		{"direction", TypeIII, 1, func(h *Header, v uint64) { h.Direction = Direction(v) }},
		{"granularity", TypeIII, 3, func(h *Header, v uint64) { h.Granularity = Granularity(v) }},
	} {
		p := Packet{GRE: GREFor(c.v, 1), Header: Header{Version: c.v}, Inner: frame}
		c.set(&p.Header, c.max)
		want := p
		want.InnerLen = len(frame)
		b, err := p.AppendGRE(nil)
		if err != nil {
			t.Errorf("%v, %s %d: %v", c.v, c.field, c.max, err)
			continue
		}
		var got Packet
		if err := got.DecodeGRE(b); err != nil {
			t.Errorf("%v, %s %d: decode: %v", c.v, c.field, c.max, err)
		}
		if diff := cmp.Diff(want, got, compare); diff != "" {
			t.Errorf("%v, %s %d (-want +got):\n%s", c.v, c.field, c.max, diff)
		}
		c.set(&p.Header, c.max+1)
		b, err = p.AppendGRE([]byte("x"))
		var r *RangeError
		if !errors.As(err, &r) || *r != (RangeError{c.field, c.max + 1, c.max}) {
			t.Errorf("%v, %s %d: error %v", c.v, c.field, c.max+1, err)
		}
		if string(b) != "x" {
			t.Errorf("%v, %s %d: refused, but appended %x", c.v, c.field, c.max+1, b)
		}
	}
}

// What would not read back as it is is refused.
func TestEncodeRefuses(t *testing.T) {
	ok := func() Packet { return Packet{GRE: GREFor(TypeIII, 1), Header: Header{Version: TypeIII}, Inner: frame} }
	for _, c := range []struct {
		name   string
		change func(*Packet)
		want   error
	}{
		{"another protocol", func(p *Packet) { p.GRE.Protocol = 0x6558 }, ErrNotERSPAN},
		{"GRE version 1", func(p *Packet) { p.GRE.Flags |= 1 }, ErrGREVersion},
		{"a source route without an end", func(p *Packet) { p.GRE.Flags |= FlagRouting }, ErrGRERouting},
		{"a source route with more behind it",
			func(p *Packet) { p.GRE.Flags |= FlagRouting; p.GRE.Routing = make([]byte, 8) }, ErrGRERouting},
		{"Type III that would read as Type I", func(p *Packet) { p.GRE = GREFor(TypeI, 0) }, ErrAmbiguous},
		{"O without a subheader", func(p *Packet) { p.Header.O = true }, ErrAmbiguous},
		{"a subheader without O", func(p *Packet) { p.Header.HasSubheader = true }, ErrAmbiguous},
		{"no outer addresses", func(p *Packet) { p.Outer = Outer{} }, ErrFamily},
		{"outer addresses of two families", func(p *Packet) { p.Outer.Src = src6 }, ErrFamily},
	} {
		p := ok()
		p.Outer = Outer{Src: src4, Dst: dst4}
		c.change(&p)
		if b, err := p.AppendIP([]byte("x")); !errors.Is(err, c.want) || string(b) != "x" {
			t.Errorf("%s: appended %x, error %v, want %v", c.name, b[1:], err, c.want)
		}
	}
	for _, family := range []Outer{{Src: src4, Dst: dst4}, {Src: src6, Dst: dst6}} {
		p := ok()
		p.Outer, p.Inner = family, make([]byte, 65536)
		var r *RangeError
		if _, err := p.AppendIP(nil); !errors.As(err, &r) {
			t.Errorf("a frame of 64 KiB over %v: %v", family.Src, err)
		}
	}
}

func TestSubheaders(t *testing.T) {
	type values struct{ VSMDomain, Port, SwitchID, SourceIndex, Upper, Seconds int64 }
	const none = -1
	for _, c := range []struct {
		bytes string
		id    uint8
		known bool
		want  values
	}{
		{"0400 0def 89abcdef", 1, true, values{0xdef, 0x89abcdef, none, none, none, none}},
		{"0fff 3def 89abcdef", 3, true, values{none, 0x3def, none, none, 0x89abcdef, none}},
		{"13ff ffff ffffffff", 4, true, values{none, none, none, none, none, none}},
		{"16ab cdef 65538a00", 5, true, values{none, 0xcdef, 0x2ab, none, none, 0x65538a00}},
		{"1aab cdef 65538a00", 6, true, values{none, 0xcdef, 0x2ab, none, none, 0x65538a00}},
		{"1ffb cdef 65538a00", 7, true, values{none, none, none, 0xbcdef, 0x65538a00, none}},
		{"03fb cdef 65538a00", 0, true, values{none, none, none, 0xbcdef, 0x65538a00, none}},
		{"0bff ffff ffffffff", 2, false, values{none, none, none, none, none, none}},
		{"ffff ffff ffffffff", 63, false, values{none, none, none, none, none, none}},
	} {
		s := Subheader(binary.BigEndian.Uint64(unhex(c.bytes)))
		got := values{none, none, none, none, none, none}
		if v, ok := s.VSMDomain(); ok {
			got.VSMDomain = int64(v)
		}
		if v, ok := s.Port(); ok {
			got.Port = int64(v)
		}
		if v, ok := s.SwitchID(); ok {
			got.SwitchID = int64(v)
		}
		if v, ok := s.SourceIndex(); ok {
			got.SourceIndex = int64(v)
		}
		if v, ok := s.UpperTimestamp(); ok {
			got.Upper = int64(v)
		}
		if v, ok := s.Seconds(); ok {
			got.Seconds = int64(v)
		}
		if s.PlatformID() != c.id || s.Known() != c.known {
			t.Errorf("%s: platform id %d, known %v, want %d, %v", c.bytes, s.PlatformID(), s.Known(), c.id, c.known)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.bytes, diff)
		}
	}
}

func TestChecksum(t *testing.T) {
	for _, inner := range [][]byte{frame, frame[:len(frame)-1]} {
		p := Packet{GRE: GREFor(TypeIII, 9), Header: Header{Version: TypeIII}, Inner: inner}
		p.GRE.Flags |= FlagChecksum
		b, err := p.AppendGRE(nil)
		if err != nil {
			t.Fatal(err)
		}
		if ChecksumOK(b) {
			t.Error("a checksum of 0 verifies")
		}
		SetChecksum(b)
		if !ChecksumOK(b) {
			t.Errorf("checksum %x does not verify", b[4:6])
		}
		b[len(b)-1] ^= 1
		if ChecksumOK(b) {
			t.Error("a damaged packet verifies")
		}
	}
	if !ChecksumOK(nil) || !ChecksumOK(unhex("1000 88be")) {
		t.Error("a packet without a checksum does not verify")
	}
	SetChecksum(nil)
}

// drawPacket draws any packet that can be encoded.
func drawPacket(t *rapid.T) Packet {
	bits := func(label string, n int) uint64 { return rapid.Uint64Range(0, 1<<n-1).Draw(t, label) }
	flag := func(label string) bool { return rapid.Bool().Draw(t, label) }
	p := Packet{
		Outer: rapid.SampledFrom([]Outer{
			{Src: src4, Dst: dst4, TOS: 3, TTL: 1}, {Src: src6, Dst: dst6, TOS: 0xfe, TTL: 255},
		}).Draw(t, "outer"),
		GRE: GRE{
			Flags:    uint16(bits("flags", 16)) &^ greVersionMask,
			Protocol: rapid.SampledFrom([]uint16{ProtocolTypeII, ProtocolIII}).Draw(t, "protocol"),
		},
		Inner: rapid.SliceOfN(rapid.Byte(), EthernetHeaderLen, 200).Draw(t, "inner"),
	}
	p.InnerLen = len(p.Inner)
	g, h := &p.GRE, &p.Header
	if g.Flags&(FlagChecksum|FlagRouting) != 0 {
		g.Checksum, g.Offset = uint16(bits("checksum", 16)), uint16(bits("offset", 16))
	}
	if g.HasKey() {
		g.Key = uint32(bits("key", 32))
	}
	if g.HasSequence() {
		g.Sequence = uint32(bits("sequence", 32))
	}
	if g.Flags&FlagRouting != 0 {
		for range rapid.IntRange(0, 2).Draw(t, "routes") {
			address := rapid.SliceOfN(rapid.Byte(), 1, 255).Draw(t, "route")
			g.Routing = append(append(g.Routing, 8, 0, 0, byte(len(address))), address...)
		}
		g.Routing = append(g.Routing, 0, 0, byte(bits("route offset", 8)), 0)
	}
	if g.Protocol == ProtocolTypeII && !g.HasSequence() {
		return p
	}
	h.Version = Version(bits("version", 4))
	h.VLAN, h.COS = uint16(bits("vlan", 12)), uint8(bits("cos", 3))
	h.Truncated, h.SessionID = flag("truncated"), uint16(bits("session", 10))
	if p.Layout() == TypeII {
		h.Encap, h.Reserved, h.Index = Encap(bits("encap", 2)), uint16(bits("reserved", 12)), uint32(bits("index", 20))
		return p
	}
	h.BSO, h.Timestamp, h.SGT, h.P = BSO(bits("bso", 2)), uint32(bits("time", 32)), uint16(bits("sgt", 16)), flag("p")
	h.FrameType, h.HardwareID = FrameType(bits("ft", 5)), uint8(bits("hwid", 6))
	h.Direction, h.Granularity, h.O = Direction(bits("dir", 1)), Granularity(bits("gra", 2)), flag("o")
	if h.O {
		h.HasSubheader, h.Subheader = true, Subheader(rapid.Uint64().Draw(t, "subheader"))
	} else if h.FrameType != FrameEthernet && h.FrameType != FrameIP && hiddenSubheader(p.Inner) {
		h.FrameType = FrameEthernet
	}
	return p
}

func TestDecodeEncodeProperty(t *testing.T) {
	got := dirty()
	rapid.Check(t, func(t *rapid.T) {
		want := drawPacket(t)
		b, err := want.AppendIP(nil)
		if err != nil {
			t.Fatalf("encode: %v", err)
		}
		if err := got.DecodeIP(b); err != nil {
			t.Fatalf("decode: %v", err)
		}
		if diff := cmp.Diff(want, got, compare); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		general := dirty()
		if err := general.decodeIP(b); err != nil {
			t.Fatalf("decode without a short cut: %v", err)
		}
		if diff := cmp.Diff(want, general, compare); diff != "" {
			t.Fatalf("without a short cut (-want +got):\n%s", diff)
		}
		if want, got := len(b)-len(got.Inner), outerLen(got); want != got {
			t.Fatalf("headers take %d bytes, HeaderLen accounts for %d", want, got)
		}
	})
}

// outerLen is what stands in front of the inner frame by the packet's own account.
func outerLen(p Packet) int {
	n := IPv6HeaderLen
	if p.Outer.Src.Is4() {
		n = IPv4HeaderLen
	}
	n += GREHeaderLen + len(p.GRE.Routing) + p.HeaderLen()
	for _, flag := range []uint16{FlagChecksum | FlagRouting, FlagKey, FlagSequence} {
		if p.GRE.Flags&flag != 0 {
			n += GREWordLen
		}
	}
	return n
}

// FuzzDecode: no input panics or leaves stale fields, what decodes can be encoded to the same bytes, and the short cut
// for plain packets reads what the long way reads.
func FuzzDecode(f *testing.F) {
	for _, c := range known {
		f.Add(ethernet(0x0800, ipv4(c.bytes, nil)))
		f.Add(ethernet(0x86dd, ipv6(60, c.bytes, unhex("2f00 0401 0401 0100"))))
		f.Add(c.bytes)
		f.Add(ipv4(c.bytes, nil))
		f.Add(ipv6(ProtocolGRE, c.bytes))
	}
	f.Add(ethernet(0x88a8, unhex("0001 8100 0002 0800"), ipv4(known[1].bytes, unhex("01010101"))))
	f.Fuzz(func(t *testing.T, b []byte) {
		short, long := dirty(), dirty()
		if err, again := short.DecodeIP(b), long.decodeIP(b); err != again || !reflect.DeepEqual(short, long) {
			t.Fatalf("%v %+v, the long way %v %+v", err, short, again, long)
		}
		for _, decode := range []func(*Packet, []byte) error{
			(*Packet).DecodeEthernet, (*Packet).DecodeIP, (*Packet).DecodeIPv4, (*Packet).DecodeIPv6, (*Packet).DecodeGRE,
		} {
			fresh, reused := Packet{}, dirty()
			err := decode(&fresh, b)
			if again := decode(&reused, b); again != err {
				t.Fatalf("%v, then %v", err, again)
			}
			if !reflect.DeepEqual(fresh, reused) { // cmp.Diff would take most of the fuzzer's time
				t.Fatalf("stale fields: %+v fresh, %+v reused", fresh, reused)
			}
			if len(fresh.Inner) > fresh.InnerLen {
				t.Fatalf("inner frame of %d bytes, on the wire %d", len(fresh.Inner), fresh.InnerLen)
			}
			fresh.Notes().Strings()
			if err != nil {
				continue
			}
			encoded, err := fresh.AppendGRE(nil)
			if err != nil {
				t.Fatalf("decoded, but does not encode: %v\n%+v", err, fresh)
			}
			if !bytes.Contains(b, encoded) {
				t.Fatalf("encodes to other bytes: %x from %x", encoded, b)
			}
		}
	})
}

func TestDecodeAllocatesNothing(t *testing.T) {
	inputs := [][]byte{nil, ethernet(0x0806, make([]byte, 46))}
	for _, c := range known {
		whole := ethernet(0x0800, ipv4(c.bytes, nil))
		for n := range whole {
			inputs = append(inputs, whole[:n])
		}
		inputs = append(inputs, whole, ethernet(0x86dd, ipv6(60, c.bytes, unhex("2f00 0401 0401 0100"))))
	}
	var p Packet
	if n := testing.AllocsPerRun(10, func() {
		for _, b := range inputs {
			p.DecodeEthernet(b)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
