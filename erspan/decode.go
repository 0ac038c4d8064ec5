package erspan

import (
	"encoding/binary"
	"net/netip"
)

// EtherTypes of what can stand around the outer IP header (IEEE 802).
const (
	etherTypeIPv4   = 0x0800
	etherTypeIPv6   = 0x86DD
	etherTypeDot1Q  = 0x8100 // IEEE 802.1Q
	etherTypeDot1ad = 0x88A8 // IEEE 802.1ad, QinQ's outer tag
	etherTypeQinQ   = 0x9100 // QinQ's outer tag before 802.1ad
)

// IPv6 extension headers (RFC 8200 section 4, RFC 4302, RFC 6275, RFC 7401, RFC 5533).
const (
	extHopByHop    = 0
	extRouting     = 43
	extFragment    = 44
	extAuth        = 51
	extDestination = 60
	extMobility    = 135
	extHIP         = 139
	extShim6       = 140
)

// DecodeEthernet reads an Ethernet frame, with any number of VLAN tags, that carries ERSPAN over IPv4 or IPv6.
func (p *Packet) DecodeEthernet(b []byte) error {
	if len(b) < EthernetHeaderLen {
		*p = Packet{}
		return ErrShortEthernet
	}
	ip, err := NetworkLayer(binary.BigEndian.Uint16(b[12:]), b[EthernetHeaderLen:])
	if err != nil {
		*p = Packet{}
		return err
	}
	return p.DecodeIP(ip)
}

// NetworkLayer is the IP packet in what follows an EtherType, behind any number of VLAN tags.
func NetworkLayer(etherType uint16, b []byte) ([]byte, error) {
	for {
		switch etherType {
		case etherTypeIPv4, etherTypeIPv6:
			if len(b) > 0 && (b[0]>>4 == 6) != (etherType == etherTypeIPv6) {
				return nil, ErrIPVersion
			}
			return b, nil
		case etherTypeDot1Q, etherTypeDot1ad, etherTypeQinQ:
			if len(b) < 4 {
				return nil, ErrShortEthernet
			}
			etherType, b = binary.BigEndian.Uint16(b[2:]), b[4:]
		default:
			return nil, ErrNotIP
		}
	}
}

// DecodeIPv4 reads an IPv4 packet, with or without options. What follows the packet by its own total length (padding
// of a short Ethernet frame) is no part of it.
func (p *Packet) DecodeIPv4(b []byte) error {
	*p = Packet{}
	if len(b) < IPv4HeaderLen {
		return ErrShortIP
	}
	if b[0]>>4 != 4 {
		return ErrIPVersion
	}
	// Field by field: a composite literal goes through a temporary, whose copy stalls and doubles the time of it all.
	p.Outer.Src = netip.AddrFrom4([4]byte(b[12:16]))
	p.Outer.Dst = netip.AddrFrom4([4]byte(b[16:20]))
	p.Outer.TOS, p.Outer.TTL = b[1], b[8]
	header, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	if total == 0 {
		total = len(b) // left to the network card by segmentation offload
	}
	if header < IPv4HeaderLen || header > total {
		return ErrIPHeader
	}
	fragment := binary.BigEndian.Uint16(b[6:]) & 0x3fff // more fragments, and the offset
	switch {
	case b[9] != ProtocolGRE:
		return ErrNotGRE
	case fragment&0x1fff != 0:
		return ErrFragment
	case header > len(b):
		return ErrShortIP
	case total < len(b):
		b = b[:total]
	}
	err := p.decodeGRE(b[header:], total-header)
	if fragment != 0 {
		return ErrFragment
	}
	return err
}

// DecodeIPv6 reads an IPv6 packet, through its extension headers.
func (p *Packet) DecodeIPv6(b []byte) error {
	*p = Packet{}
	if len(b) < IPv6HeaderLen {
		return ErrShortIP
	}
	if b[0]>>4 != 6 {
		return ErrIPVersion
	}
	p.Outer.Src = netip.AddrFrom16([16]byte(b[8:24]))
	p.Outer.Dst = netip.AddrFrom16([16]byte(b[24:40]))
	p.Outer.TOS, p.Outer.TTL = b[0]<<4|b[1]>>4, b[7]
	wire := int(binary.BigEndian.Uint16(b[4:]))
	next := b[6]
	b = b[IPv6HeaderLen:]
	if wire == 0 {
		wire = len(b) // a jumbogram, or left to the network card
	} else if wire < len(b) {
		b = b[:wire]
	}
	fragment := false
	for next != ProtocolGRE {
		switch next {
		case extHopByHop, extRouting, extDestination, extMobility, extHIP, extShim6, extAuth, extFragment:
		default:
			return ErrNotGRE
		}
		if len(b) < 8 {
			return ErrShortIP
		}
		n := (int(b[1]) + 1) * 8
		switch next {
		case extAuth:
			n = (int(b[1]) + 2) * 4
		case extFragment:
			n = 8
			offset := binary.BigEndian.Uint16(b[2:])
			if offset&0xfff8 != 0 {
				return ErrFragment
			}
			fragment = fragment || offset&1 != 0
		}
		if len(b) < n {
			return ErrShortIP
		}
		next, b, wire = b[0], b[n:], wire-n
	}
	err := p.decodeGRE(b, wire)
	if fragment {
		return ErrFragment
	}
	return err
}

// DecodeGRE reads a packet that begins with its GRE header, the payload of an IP packet.
func (p *Packet) DecodeGRE(b []byte) error {
	*p = Packet{}
	return p.decodeGRE(b, len(b))
}

// decodeGRE reads b into p, which is zero but for Outer. wire is b's length before the capture cut it.
func (p *Packet) decodeGRE(b []byte, wire int) error {
	if len(b) < GREHeaderLen {
		return ErrShortGRE
	}
	first := binary.BigEndian.Uint32(b)
	flags, protocol := uint16(first>>16), uint16(first)
	p.GRE.Flags, p.GRE.Protocol = flags, protocol
	if protocol != ProtocolTypeII && protocol != ProtocolIII {
		return ErrNotERSPAN
	}
	off := GREHeaderLen
	if flags == FlagSequence { // as nearly all packets are
		if len(b) < GREHeaderLen+GREWordLen {
			return ErrShortGRE
		}
		p.GRE.Sequence = binary.BigEndian.Uint32(b[GREHeaderLen:])
		off += GREWordLen
	} else if flags != 0 {
		n, err := p.GRE.decodeWords(b)
		if err != nil {
			return err
		}
		off = n
	}
	b, wire = b[off:], wire-off

	if protocol == ProtocolTypeII && flags&FlagSequence == 0 {
		return p.setInner(b, wire)
	}
	if len(b) < TypeIIHeaderLen {
		return ErrShortHeader
	}
	h, w := &p.Header, binary.BigEndian.Uint64(b)
	version := Version(w >> 60)
	h.Version = version
	h.VLAN = uint16(w>>48) & 0xfff
	h.COS = uint8(w>>45) & 7
	h.Truncated = w>>42&1 != 0
	h.SessionID = uint16(w>>32) & MaxSessionID
	if version == TypeII || version != TypeIII && protocol == ProtocolTypeII { // as Layout has it
		h.Encap = Encap(w>>43) & 3
		h.Reserved = uint16(w>>20) & 0xfff
		h.Index = uint32(w) & MaxIndex
		return p.setInner(b[TypeIIHeaderLen:], wire-TypeIIHeaderLen)
	}
	h.BSO = BSO(w>>43) & 3
	h.Timestamp = uint32(w)
	if len(b) < TypeIIIHeaderLen {
		return ErrShortHeader
	}
	t := binary.BigEndian.Uint32(b[8:])
	h.SGT = uint16(t >> 16)
	h.P = t&0x8000 != 0
	h.FrameType = FrameType(t>>10) & 0x1f
	h.HardwareID = uint8(t>>4) & MaxHardwareID
	h.Direction = Direction(t>>3) & 1
	h.Granularity = Granularity(t>>1) & 3
	h.O = t&1 != 0
	b, wire = b[TypeIIIHeaderLen:], wire-TypeIIIHeaderLen
	if h.O || h.FrameType != FrameEthernet && h.FrameType != FrameIP && hiddenSubheader(b) {
		if len(b) < SubheaderLen {
			return ErrShortHeader
		}
		h.HasSubheader = true
		h.Subheader = Subheader(binary.BigEndian.Uint64(b))
		b, wire = b[SubheaderLen:], wire-SubheaderLen
	}
	return p.setInner(b, wire)
}

// decodeWords reads the optional words of the GRE header that b begins with, and returns the header's length.
func (g *GRE) decodeWords(b []byte) (int, error) {
	if g.Flags&greVersionMask != 0 {
		return 0, ErrGREVersion
	}
	off := GREHeaderLen
	for _, flag := range [...]uint16{FlagChecksum | FlagRouting, FlagKey, FlagSequence} {
		if g.Flags&flag == 0 {
			continue
		}
		if len(b) < off+GREWordLen {
			return 0, ErrShortGRE
		}
		switch w := binary.BigEndian.Uint32(b[off:]); flag {
		case FlagKey:
			g.Key = w
		case FlagSequence:
			g.Sequence = w
		default:
			g.Checksum, g.Offset = uint16(w>>16), uint16(w)
		}
		off += GREWordLen
	}
	if g.Flags&FlagRouting == 0 {
		return off, nil
	}
	n, err := routingLen(b[off:])
	if err != nil {
		return 0, err
	}
	g.Routing = b[off : off+n : off+n]
	return off + n, nil
}

// routingLen is the length of the source route entries that b begins with, the closing null entry included (RFC 1701:
// address family 2 bytes, offset 1, length 1, then as many bytes; the null entry has address family and length 0).
func routingLen(b []byte) (int, error) {
	for off := 0; len(b) >= off+4; {
		family, n := binary.BigEndian.Uint16(b[off:]), int(b[off+3])
		off += 4 + n
		switch {
		case off > len(b):
			return 0, ErrShortGRE
		case family == 0 && n == 0:
			return off, nil
		case n == 0:
			return 0, ErrGRERouting // an entry without an address leads nowhere
		}
	}
	return 0, ErrShortGRE
}

// setInner takes b for the mirrored frame.
func (p *Packet) setInner(b []byte, wire int) error {
	p.Inner, p.InnerLen = b, wire
	if len(b) >= EthernetHeaderLen {
		return nil
	}
	return p.checkShort()
}

// checkShort is the verdict on an inner frame that is shorter than an Ethernet header.
func (p *Packet) checkShort() error {
	if p.InnerIsIP() && len(p.Inner) > 0 {
		return nil
	}
	return ErrShortInner
}

// hiddenSubheader tells whether eight bytes of platform subheader stand before the frame in b although the header
// says O=0. A Cisco sender is known that does this, with the reserved frame type 7. The frame is where an EtherType or
// a length makes sense.
func hiddenSubheader(b []byte) bool {
	if len(b) < SubheaderLen+EthernetHeaderLen || plausibleFrame(b) {
		return false
	}
	return Subheader(binary.BigEndian.Uint64(b)).Known() && plausibleFrame(b[SubheaderLen:])
}

// plausibleFrame reports whether b looks like an Ethernet frame: an IEEE 802.3 length that fits, or one of the
// EtherTypes that a network is full of.
func plausibleFrame(b []byte) bool {
	if len(b) < EthernetHeaderLen {
		return false
	}
	switch t := binary.BigEndian.Uint16(b[12:]); t {
	case etherTypeIPv4, etherTypeIPv6, etherTypeDot1Q, etherTypeDot1ad, etherTypeQinQ,
		0x0806, // ARP
		0x8035, // RARP
		0x8809, // slow protocols: LACP
		0x8847, // MPLS
		0x8848, // MPLS multicast
		0x8863, // PPPoE discovery
		0x8864, // PPPoE session
		0x888E, // 802.1X
		0x88CC, // LLDP
		0x88E5, // MACsec
		0x88F7, // PTP
		0x8902, // connectivity fault management
		0x8906, // FCoE
		0x8914, // FCoE initialization
		0x9000: // loopback test
		return true
	default:
		return t > 0 && t <= 1500 && int(t) <= len(b)-EthernetHeaderLen
	}
}
