package erspan

import (
	"encoding/binary"
	"net/netip"
)

// Nearly all packets have one shape: no IP options or extension headers, no fragment, GRE with nothing but the sequence
// number that its type has, the type's own GRE protocol, no subheader, and a frame that is at least an Ethernet header
// long. What has this shape is read here, at fixed places and with each field written once; everything else in decode.go,
// which would read these the same (a test compares), but with a check at every step.

// plainLen is the least length of such a packet from its GRE header on.
const plainLen = GREHeaderLen + GREWordLen + TypeIIIHeaderLen + EthernetHeaderLen

// DecodeIP reads an IP packet of either version.
func (p *Packet) DecodeIP(b []byte) error {
	if len(b) < IPv4HeaderLen+plainLen {
		return p.decodeIP(b)
	}
	ip := (*[IPv4HeaderLen]byte)(b)
	// Version, header length and all of the fragment fields but "don't fragment" and the one reserved bit.
	if binary.BigEndian.Uint64(ip[:])&0xff000000_00003fff == 0x45000000_00000000 {
		total := int(binary.BigEndian.Uint16(ip[2:]))
		if ip[9] != ProtocolGRE || total < IPv4HeaderLen+plainLen {
			return p.decodeIP(b)
		}
		p.Outer.Src = netip.AddrFrom4([4]byte(ip[12:16]))
		p.Outer.Dst = netip.AddrFrom4([4]byte(ip[16:20]))
		p.Outer.TOS, p.Outer.TTL = ip[1], ip[8]
		if p.decodePlainGRE(b[IPv4HeaderLen:min(total, len(b))], total-IPv4HeaderLen) {
			return nil
		}
		return p.decodeIP(b)
	}
	if ip[0]>>4 != 6 || ip[6] != ProtocolGRE || len(b) < IPv6HeaderLen+plainLen {
		return p.decodeIP(b)
	}
	payload := int(binary.BigEndian.Uint16(ip[4:]))
	if payload < plainLen {
		return p.decodeIP(b)
	}
	p.Outer.Src = netip.AddrFrom16([16]byte(b[8:24]))
	p.Outer.Dst = netip.AddrFrom16([16]byte(b[24:40]))
	p.Outer.TOS, p.Outer.TTL = ip[0]<<4|ip[1]>>4, ip[7]
	if p.decodePlainGRE(b[IPv6HeaderLen:min(IPv6HeaderLen+payload, len(b))], payload) {
		return nil
	}
	return p.decodeIP(b)
}

// decodeIP reads an IP packet of any shape.
func (p *Packet) decodeIP(b []byte) error {
	if len(b) > 0 && b[0]>>4 == 6 {
		return p.DecodeIPv6(b)
	}
	return p.DecodeIPv4(b)
}

// decodePlainGRE reads the GRE packet b, which is at least plainLen long, if its shape is plain; else the packet is to be
// read anew. wire is its length before the capture cut it.
func (p *Packet) decodePlainGRE(b []byte, wire int) bool {
	a := (*[GREHeaderLen + GREWordLen + TypeIIIHeaderLen]byte)(b)
	g, h := &p.GRE, &p.Header
	w := binary.BigEndian.Uint64(a[8:])
	switch binary.BigEndian.Uint32(a[:]) {
	case uint32(FlagSequence)<<16 | ProtocolTypeII:
		if Version(w>>60) != TypeII {
			return false
		}
		g.Protocol = ProtocolTypeII
		h.Version, h.Encap, h.BSO = TypeII, Encap(w>>43)&3, 0
		h.Reserved, h.Index = uint16(w>>20)&0xfff, uint32(w)&MaxIndex
		h.Timestamp, h.SGT, h.P, h.FrameType = 0, 0, false, 0
		h.HardwareID, h.Direction, h.Granularity, h.O = 0, 0, 0, false
		p.Inner, p.InnerLen = b[GREHeaderLen+GREWordLen+TypeIIHeaderLen:], wire-(GREHeaderLen+GREWordLen+TypeIIHeaderLen)
	case uint32(FlagSequence)<<16 | ProtocolIII:
		t := binary.BigEndian.Uint32(a[16:])
		if Version(w>>60) != TypeIII || t>>10&0x1f != uint32(FrameEthernet) || t&1 != 0 {
			return false
		}
		g.Protocol = ProtocolIII
		h.Version, h.Encap, h.BSO = TypeIII, 0, BSO(w>>43)&3
		h.Reserved, h.Index = 0, 0
		h.Timestamp, h.SGT, h.P, h.FrameType = uint32(w), uint16(t>>16), t&0x8000 != 0, FrameEthernet
		h.HardwareID, h.Direction, h.Granularity, h.O = uint8(t>>4)&MaxHardwareID, Direction(t>>3)&1, Granularity(t>>1)&3, false
		p.Inner, p.InnerLen = b[GREHeaderLen+GREWordLen+TypeIIIHeaderLen:], wire-(GREHeaderLen+GREWordLen+TypeIIIHeaderLen)
	case ProtocolTypeII: // without a sequence number: Type I
		g.Flags, g.Protocol, g.Sequence = 0, ProtocolTypeII, 0
		g.Checksum, g.Offset, g.Key, g.Routing = 0, 0, 0, nil
		*h = Header{}
		p.Inner, p.InnerLen = b[GREHeaderLen:], wire-GREHeaderLen
		return true
	default:
		return false
	}
	g.Flags, g.Sequence = FlagSequence, binary.BigEndian.Uint32(a[4:])
	g.Checksum, g.Offset, g.Key, g.Routing = 0, 0, 0, nil
	h.VLAN, h.COS = uint16(w>>48)&0xfff, uint8(w>>45)&7
	h.Truncated, h.SessionID = w>>42&1 != 0, uint16(w>>32)&MaxSessionID
	h.HasSubheader, h.Subheader = false, 0
	return true
}
