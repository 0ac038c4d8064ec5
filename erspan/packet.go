package erspan

import (
	"encoding/binary"
	"net/netip"
)

// Numbers that name the next header.
const (
	ProtocolGRE    = 47     // IP protocol, RFC 2784
	ProtocolTypeII = 0x88BE // GRE protocol type of ERSPAN Types I and II (draft-foschiano-erspan-03, sections 4.1, 4.2)
	ProtocolIII    = 0x22EB // GRE protocol type of ERSPAN Type III (section 4.3)
)

// Packet is one ERSPAN packet, read from the wire or to be written to it.
//
// It is made to be reused: each Decode call overwrites all of it, also when it fails, so that nothing of an earlier
// packet can shine through. After an error, what was read before the error is set and the rest is zero. Inner and
// GRE.Routing point into the decoded bytes, and are valid as long as those are.
type Packet struct {
	Outer  Outer
	GRE    GRE
	Header Header

	// Inner is the mirrored frame, or IP packet (see [Packet.InnerIsIP]), as far as it was captured. No frame check
	// sequence is taken off: the draft draws one, senders do not send one.
	Inner []byte
	// InnerLen is the length in bytes that Inner had on the wire by the outer IP header's account. It is greater than
	// len(Inner) where the capture was cut short. Encoding ignores it.
	InnerLen int
}

// Outer is what is kept of the outer IP header. Src and Dst are of one family. DecodeGRE leaves it zero.
type Outer struct {
	Src, Dst netip.Addr
	TOS      uint8 // IPv4 TOS or IPv6 traffic class: DSCP and ECN
	TTL      uint8 // IPv4 TTL or IPv6 hop limit
}

// GRE is the GRE header.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-----+---------+-----+-------------------------------+
//	|C|R|K|S|s|Recur| Reserved| Ver |         Protocol Type         |
//	+-+-+-+-+-+-----+---------+-----+-------------------------------+
//	|      Checksum (C or R)        |        Offset (C or R)        |
//	+-------------------------------+-------------------------------+
//	|                            Key (K)                            |
//	+---------------------------------------------------------------+
//	|                      Sequence Number (S)                      |
//	+---------------------------------------------------------------+
//	|                 Routing (R), variable length                  |
//	+---------------------------------------------------------------+
//
// C, K, S: RFC 2784 and RFC 2890. R, s, Recur: RFC 1701, which no ERSPAN sender is known to use.
type GRE struct {
	Flags    uint16 // the first 16 bits, with all reserved bits
	Protocol uint16 // ProtocolTypeII or ProtocolIII
	Checksum uint16 // if C (meaningless if only R); see [ChecksumOK]
	Offset   uint16 // if C or R; "Reserved1" in RFC 2784
	Key      uint32 // if K
	Sequence uint32 // if S; wraps at 2^32. Open vSwitch counts it per datapath, not per session.
	Routing  []byte // if R: the source route entries with the closing null entry
}

// Bits of GRE.Flags. The low three bits are GRE's version, 0.
const (
	FlagChecksum uint16 = 0x8000
	FlagRouting  uint16 = 0x4000
	FlagKey      uint16 = 0x2000
	FlagSequence uint16 = 0x1000

	greVersionMask uint16 = 0x0007
)

// HasSequence reports whether the packet carries a sequence number. Type I has none.
func (g *GRE) HasSequence() bool { return g.Flags&FlagSequence != 0 }

// HasKey reports whether the packet carries a GRE key. ERSPAN senders do not use it.
func (g *GRE) HasKey() bool { return g.Flags&FlagKey != 0 }

// HasChecksum reports whether the packet carries a GRE checksum.
func (g *GRE) HasChecksum() bool { return g.Flags&FlagChecksum != 0 }

// GREFor is the GRE header with which senders carry version v: Type I without a sequence number, Types II and III
// with one.
func GREFor(v Version, sequence uint32) GRE {
	switch v {
	case TypeI:
		return GRE{Protocol: ProtocolTypeII}
	case TypeIII:
		return GRE{Flags: FlagSequence, Protocol: ProtocolIII, Sequence: sequence}
	default:
		return GRE{Flags: FlagSequence, Protocol: ProtocolTypeII, Sequence: sequence}
	}
}

// Header is the ERSPAN header. All of it is zero for Type I, which has none.
//
// Type II (draft-foschiano-erspan-03, section 4.2):
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-------+-----------------------+-----+---+-+-------------------+
//	|  Ver  |         VLAN          | COS |En |T|    Session ID     |
//	+-------+-----------------------+-----+---+-+-------------------+
//	|       Reserved        |                 Index                 |
//	+-----------------------+---------------------------------------+
//
// Type III (section 4.3):
//
//	+-------+-----------------------+-----+---+-+-------------------+
//	|  Ver  |         VLAN          | COS |BSO|T|    Session ID     |
//	+-------+-----------------------+-----+---+-+-------------------+
//	|                           Timestamp                           |
//	+-------------------------------+-+---------+-----------+-+---+-+
//	|              SGT              |P|   FT    |   Hw ID   |D|Gra|O|
//	+-------------------------------+-+---------+-----------+-+---+-+
//	|            Platform subheader (8 bytes, if O = 1)             |
//	|                                                               |
//	+---------------------------------------------------------------+
type Header struct {
	Version   Version // Ver, 4 bits; what [Packet.Layout] is not is an unknown version
	COS       uint8   // class of service, 3 bits
	Encap     Encap   // En, 2 bits, Type II: how the frame came in over a trunk
	BSO       BSO     // bad, short or oversized, 2 bits, Type III
	VLAN      uint16  // VLAN of the frame, 12 bits, 0 where the sender does not say
	SessionID uint16  // 10 bits
	Truncated bool    // T: the sender cut the frame

	// Type II
	Reserved uint16 // 12 bits, kept as received
	Index    uint32 // 20 bits, the sender's own meaning: source port and direction

	// Type III
	Timestamp    uint32      // in units of Granularity; see [Clock]
	SGT          uint16      // security group tag
	P            bool        // the payload is an Ethernet protocol data unit; many senders leave it 0
	FrameType    FrameType   // FT, 5 bits
	HardwareID   uint8       // 6 bits: the sender's engine
	Direction    Direction   // D, 1 bit
	Granularity  Granularity // Gra, 2 bits
	O            bool        // an optional subheader follows
	HasSubheader bool        // one does: as O, but for a sender that forgets O (see [Packet.Notes])
	Subheader    Subheader   // if HasSubheader
}

// Encap is Type II's En field: the trunk encapsulation of the frame when it came to the sender. It does not say that
// a tag is missing from the frame: real senders set EncapDot1Q with the tag still in place.
type Encap uint8

// Values of Encap.
const (
	EncapNone      Encap = 0 // untagged
	EncapISL       Encap = 1 // Cisco ISL
	EncapDot1Q     Encap = 2 // IEEE 802.1Q
	EncapPreserved Encap = 3 // the VLAN tag is preserved in the frame
)

// BSO is Type III's judgement of the frame: good, bad, short or oversized.
type BSO uint8

// Values of BSO.
const (
	BSOGood      BSO = 0 // good, or unknown
	BSOShort     BSO = 1
	BSOOversized BSO = 2
	BSOBad       BSO = 3 // CRC or alignment error
)

// FrameType is Type III's FT field. Values other than these are reserved, and are read as Ethernet.
type FrameType uint8

// Values of FrameType.
const (
	FrameEthernet FrameType = 0
	FrameIP       FrameType = 2
)

// Direction is Type III's D bit: which way the frame went past the mirrored port.
type Direction uint8

// Values of Direction.
const (
	Ingress Direction = 0 // arriving at the switch from the port, rx
	Egress  Direction = 1 // leaving the switch towards the port, tx
)

// String is "ingress" or "egress".
func (d Direction) String() string {
	if d == Ingress {
		return "ingress"
	}
	return "egress"
}

// Granularity is the unit of Type III's timestamp, the Gra field.
type Granularity uint8

// Values of Granularity.
const (
	Gra100us  Granularity = 0 // 100 microseconds
	Gra100ns  Granularity = 1 // 100 nanoseconds
	Gra1588   Granularity = 2 // IEEE 1588: nanoseconds, with seconds in the subheader
	GraCustom Granularity = 3 // by agreement; often one nanosecond
)

// Subheader is Type III's platform subheader as its eight bytes, the first in the most significant place. What the
// bits mean depends on the platform id in the top six (draft-foschiano-erspan-03, section 4.3).
type Subheader uint64

// Platform ids with a known layout.
//
//	id     6                        32                            64
//	1      reserved 14, VSM domain 12, port index 32
//	3      reserved 12, port 14,       upper timestamp 32
//	4      reserved 26,                reserved 32
//	5, 6   switch id 10, port 16,      seconds 32
//	7, 0   reserved 6, source index 20, upper timestamp 32
const (
	PlatformVSM      = 1
	PlatformPort     = 3
	PlatformReserved = 4
	PlatformSwitch   = 5
	PlatformSwitch6  = 6 // laid out as PlatformSwitch
	PlatformSource   = 7
	PlatformSource0  = 0 // an alias of PlatformSource
)

// PlatformID is the top six bits, 0 to 63.
func (s Subheader) PlatformID() uint8 { return uint8(s >> 58) }

// Known reports whether the platform id is one whose layout is known.
func (s Subheader) Known() bool {
	switch s.PlatformID() {
	case PlatformSource0, PlatformVSM, PlatformPort, PlatformReserved, PlatformSwitch, PlatformSwitch6, PlatformSource:
		return true
	}
	return false
}

// VSMDomain is the 12-bit VSM domain of platform id 1.
func (s Subheader) VSMDomain() (domain uint16, ok bool) {
	return uint16(s>>32) & 0xfff, s.PlatformID() == PlatformVSM
}

// Port is the port (or port index) of platform ids 1 (32 bits), 3 (14 bits), 5 and 6 (16 bits).
func (s Subheader) Port() (port uint32, ok bool) {
	switch s.PlatformID() {
	case PlatformVSM:
		return uint32(s), true
	case PlatformPort:
		return uint32(s>>32) & 0x3fff, true
	case PlatformSwitch, PlatformSwitch6:
		return uint32(s>>32) & 0xffff, true
	}
	return 0, false
}

// SwitchID is the 10-bit switch id of platform ids 5 and 6.
func (s Subheader) SwitchID() (id uint16, ok bool) {
	switch s.PlatformID() {
	case PlatformSwitch, PlatformSwitch6:
		return uint16(s>>48) & 0x3ff, true
	}
	return 0, false
}

// SourceIndex is the 20-bit source index of platform ids 7 and 0.
func (s Subheader) SourceIndex() (index uint32, ok bool) {
	switch s.PlatformID() {
	case PlatformSource, PlatformSource0:
		return uint32(s>>32) & 0xfffff, true
	}
	return 0, false
}

// UpperTimestamp is the upper half of a 64-bit timestamp, in platform ids 3, 7 and 0.
func (s Subheader) UpperTimestamp() (upper uint32, ok bool) {
	switch s.PlatformID() {
	case PlatformPort, PlatformSource, PlatformSource0:
		return uint32(s), true
	}
	return 0, false
}

// Seconds is the seconds part of an IEEE 1588 time, in platform ids 5 and 6.
func (s Subheader) Seconds() (seconds uint32, ok bool) {
	switch s.PlatformID() {
	case PlatformSwitch, PlatformSwitch6:
		return uint32(s), true
	}
	return 0, false
}

// Layout is the type by which the packet's header is laid out. It is decided by the header's Ver where that is known,
// whatever the GRE protocol says (Linux sends Ver 2 under 0x88BE), else by the GRE protocol. GRE protocol 0x88BE
// without a sequence number is always Type I, of which the sequence number's absence is the only sign.
func (p *Packet) Layout() Version {
	if p.GRE.Protocol == ProtocolTypeII && !p.GRE.HasSequence() {
		return TypeI
	}
	switch {
	case p.Header.Version == TypeII || p.Header.Version == TypeIII:
		return p.Header.Version
	case p.GRE.Protocol == ProtocolIII:
		return TypeIII
	}
	return TypeII
}

// InnerIsIP reports whether Inner begins with an IP header instead of an Ethernet header: Type III with FT=2.
func (p *Packet) InnerIsIP() bool {
	return p.Header.FrameType == FrameIP && p.Layout() == TypeIII
}

// HeaderLen is the length in bytes of the ERSPAN header with its subheader: 0, 8, 12 or 20.
func (p *Packet) HeaderLen() int {
	switch p.Layout() {
	case TypeI:
		return 0
	case TypeII:
		return TypeIIHeaderLen
	}
	if p.Header.HasSubheader {
		return TypeIIIHeaderLen + SubheaderLen
	}
	return TypeIIIHeaderLen
}

// Notes says what is odd about a packet that could be decoded all the same.
func (p *Packet) Notes() Notes {
	var n Notes
	layout := p.Layout()
	if layout != p.Header.Version {
		n |= NoteUnknownVersion
	}
	if layout == TypeIII && p.GRE.Protocol != ProtocolIII || layout == TypeII && p.GRE.Protocol != ProtocolTypeII {
		n |= NoteProtocol
	}
	if layout == TypeIII && !p.GRE.HasSequence() {
		n |= NoteNoSequence
	}
	if layout == TypeIII && p.Header.FrameType != FrameEthernet && p.Header.FrameType != FrameIP {
		n |= NoteFrameType
	}
	if p.Header.HasSubheader && !p.Header.O {
		n |= NoteHiddenSubheader
	}
	if p.Header.HasSubheader && !p.Header.Subheader.Known() {
		n |= NotePlatform
	}
	if len(p.Inner) < p.InnerLen {
		n |= NoteCut
	}
	return n
}

// Notes is a set of oddities.
type Notes uint8

// The oddities.
const (
	NoteUnknownVersion  Notes = 1 << iota // Ver is none of 1 and 2; the header was read by the GRE protocol's layout
	NoteProtocol                          // Type III under 0x88BE, or Type II under 0x22EB
	NoteNoSequence                        // Type III without a GRE sequence number
	NoteFrameType                         // FT is a reserved value; read as Ethernet
	NoteHiddenSubheader                   // a platform subheader although O=0
	NotePlatform                          // a platform id of unknown layout
	NoteCut                               // the capture holds less than the wire did
)

var noteTexts = [...]string{
	"unknown ERSPAN version", "version does not go with the GRE protocol", "no GRE sequence number",
	"reserved frame type", "subheader without the O bit", "unknown platform id", "cut by the capture",
}

// Strings are the oddities in words, in a fixed order; nil where there are none.
func (n Notes) Strings() []string {
	var s []string
	for i, text := range noteTexts {
		if n&(1<<i) != 0 {
			s = append(s, text)
		}
	}
	return s
}

// ChecksumOK verifies the GRE checksum of a packet that begins with its GRE header: RFC 2784's, over the GRE header
// and all that follows it. A packet without a checksum verifies, one that was cut short does not.
func ChecksumOK(gre []byte) bool {
	if len(gre) < GREHeaderLen || binary.BigEndian.Uint16(gre)&FlagChecksum == 0 {
		return true
	}
	return checksum(gre) == 0
}

// checksum is the Internet checksum of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint64
	for ; len(b) >= 2; b = b[2:] {
		sum += uint64(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint64(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
