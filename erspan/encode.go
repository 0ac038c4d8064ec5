package erspan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Errors of encoding that callers may want to tell apart from a [RangeError].
var (
	// ErrAmbiguous is a packet that a receiver would read as another: a version that its GRE header contradicts.
	ErrAmbiguous = errors.New("GRE header and ERSPAN version contradict each other")
	// ErrFamily is an outer packet without two addresses of one family.
	ErrFamily = errors.New("outer addresses are not of one family")
)

// AppendGRE appends the packet from its GRE header on: GRE with the words that its flags name, the ERSPAN header and
// Inner. It writes every field as it is, also a GRE checksum (see [SetChecksum]) and reserved bits. A field that does
// not fit is a [RangeError]; nothing is appended then. Fields that the layout does not have are ignored.
//
// What it appended decodes to the same packet.
func (p *Packet) AppendGRE(b []byte) ([]byte, error) {
	if err := p.check(); err != nil {
		return b, err
	}
	g, h := &p.GRE, &p.Header
	b = binary.BigEndian.AppendUint16(b, g.Flags)
	b = binary.BigEndian.AppendUint16(b, g.Protocol)
	if g.Flags&(FlagChecksum|FlagRouting) != 0 {
		b = binary.BigEndian.AppendUint16(b, g.Checksum)
		b = binary.BigEndian.AppendUint16(b, g.Offset)
	}
	if g.Flags&FlagKey != 0 {
		b = binary.BigEndian.AppendUint32(b, g.Key)
	}
	if g.Flags&FlagSequence != 0 {
		b = binary.BigEndian.AppendUint32(b, g.Sequence)
	}
	if g.Flags&FlagRouting != 0 {
		b = append(b, g.Routing...)
	}
	layout := p.Layout()
	if layout == TypeI {
		return append(b, p.Inner...), nil
	}
	w := uint32(h.Version)<<28 | uint32(h.VLAN)<<16 | uint32(h.COS)<<13 | bit(h.Truncated)<<10 | uint32(h.SessionID)
	if layout == TypeII {
		b = binary.BigEndian.AppendUint32(b, w|uint32(h.Encap)<<11)
		b = binary.BigEndian.AppendUint32(b, uint32(h.Reserved)<<20|h.Index)
		return append(b, p.Inner...), nil
	}
	b = binary.BigEndian.AppendUint32(b, w|uint32(h.BSO)<<11)
	b = binary.BigEndian.AppendUint32(b, h.Timestamp)
	b = binary.BigEndian.AppendUint32(b, uint32(h.SGT)<<16|bit(h.P)<<15|uint32(h.FrameType)<<10|
		uint32(h.HardwareID)<<4|uint32(h.Direction)<<3|uint32(h.Granularity)<<1|bit(h.O))
	if h.HasSubheader {
		b = binary.BigEndian.AppendUint64(b, uint64(h.Subheader))
	}
	return append(b, p.Inner...), nil
}

// AppendIP appends the packet from its outer IP header on: IPv4 (without options, with its checksum, unfragmented,
// DF set) or IPv6 (without extensions) by the family of Outer's addresses, then what [Packet.AppendGRE] appends.
func (p *Packet) AppendIP(b []byte) ([]byte, error) {
	o, start := &p.Outer, len(b)
	header := IPv6HeaderLen
	switch {
	case o.Src.Is4() && o.Dst.Is4():
		header = IPv4HeaderLen
	case o.Src.Is6() && o.Dst.Is6():
	default:
		return b, fmt.Errorf("%w: %v and %v", ErrFamily, o.Src, o.Dst)
	}
	whole, err := p.AppendGRE(append(b, make([]byte, header)...))
	if err != nil {
		return b, err
	}
	ip := whole[start:]
	if header == IPv4HeaderLen {
		if len(ip) > math.MaxUint16 {
			return b, &RangeError{"outer IPv4 total length", uint64(len(ip)), math.MaxUint16}
		}
		src, dst := o.Src.As4(), o.Dst.As4()
		ip[0], ip[1] = 4<<4|IPv4HeaderLen/4, o.TOS
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		ip[6] = 0x40 // DF
		ip[8], ip[9] = o.TTL, ProtocolGRE
		copy(ip[12:], src[:])
		copy(ip[16:], dst[:])
		binary.BigEndian.PutUint16(ip[10:], checksum(ip[:IPv4HeaderLen]))
		return whole, nil
	}
	if len(ip)-IPv6HeaderLen > math.MaxUint16 {
		return b, &RangeError{"outer IPv6 payload length", uint64(len(ip) - IPv6HeaderLen), math.MaxUint16}
	}
	src, dst := o.Src.As16(), o.Dst.As16()
	ip[0], ip[1] = 6<<4|o.TOS>>4, o.TOS<<4
	binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-IPv6HeaderLen))
	ip[6], ip[7] = ProtocolGRE, o.TTL
	copy(ip[8:], src[:])
	copy(ip[24:], dst[:])
	return whole, nil
}

// SetChecksum computes the GRE checksum of a packet that begins with its GRE header, and writes it there. Without the
// checksum flag it does nothing.
func SetChecksum(gre []byte) {
	const at = GREHeaderLen
	if len(gre) < GREHeaderLen+GREWordLen || binary.BigEndian.Uint16(gre)&FlagChecksum == 0 {
		return
	}
	gre[at], gre[at+1] = 0, 0
	binary.BigEndian.PutUint16(gre[at:], checksum(gre))
}

// check says why the packet cannot be written so that it reads back as it is.
func (p *Packet) check() error {
	g, h := &p.GRE, &p.Header
	if g.Protocol != ProtocolTypeII && g.Protocol != ProtocolIII {
		return fmt.Errorf("%w: protocol 0x%04x", ErrNotERSPAN, g.Protocol)
	}
	if g.Flags&greVersionMask != 0 {
		return ErrGREVersion
	}
	if g.Flags&FlagRouting != 0 {
		if n, err := routingLen(g.Routing); err != nil || n != len(g.Routing) {
			return ErrGRERouting
		}
	}
	layout := p.Layout()
	if layout == TypeI {
		if h.Version != TypeI {
			return fmt.Errorf("%w: version %v without a sequence number reads as Type I", ErrAmbiguous, h.Version)
		}
		return nil
	}
	fields := [...]struct {
		name  string
		value uint64
		max   uint64
	}{
		{"version", uint64(h.Version), 15},
		{"VLAN", uint64(h.VLAN), 4095},
		{"COS", uint64(h.COS), 7},
		{"session id", uint64(h.SessionID), MaxSessionID},
		// Type II
		{"encapsulation", uint64(h.Encap), 3},
		{"reserved bits", uint64(h.Reserved), 4095},
		{"index", uint64(h.Index), MaxIndex},
		// Type III
		{"BSO", uint64(h.BSO), 3},
		{"frame type", uint64(h.FrameType), 31},
		{"hardware id", uint64(h.HardwareID), MaxHardwareID},
		{"direction", uint64(h.Direction), 1},
		{"granularity", uint64(h.Granularity), 3},
	}
	const common, typeIII = 4, 7 // where the fields of one layout only begin
	for i, f := range fields {
		if i >= common && (i >= typeIII) != (layout == TypeIII) {
			continue
		}
		if f.value > f.max {
			return &RangeError{f.name, f.value, f.max}
		}
	}
	if layout != TypeIII {
		return nil
	}
	if h.O && !h.HasSubheader {
		return fmt.Errorf("%w: O is set and there is no subheader", ErrAmbiguous)
	}
	if !h.O && h.HasSubheader && !p.hiddenSubheaderReads() {
		return fmt.Errorf("%w: a subheader without O would read as the frame", ErrAmbiguous)
	}
	return nil
}

// hiddenSubheaderReads reports whether a decoder would find the subheader that O does not announce.
func (p *Packet) hiddenSubheaderReads() bool {
	h := &p.Header
	if h.FrameType == FrameEthernet || h.FrameType == FrameIP {
		return false
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(h.Subheader))
	return hiddenSubheader(append(b, p.Inner...))
}

// bit is b as a number.
func bit(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}
