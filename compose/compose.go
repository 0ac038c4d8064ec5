package compose

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Options are what fields do not say.
type Options struct {
	// Destination and Source are the Ethernet addresses of a frame whose fields name none.
	Destination, Source net.HardwareAddr
	// EtherType is that of a frame whose fields name none.
	EtherType uint16
	Payload   []byte
}

// packet is what the fields say.
type packet struct {
	destination, source net.HardwareAddr
	etherType           uint16
	vlan                *layers.Dot1Q
	from, to            netip.Addr
	protocol            uint8
	tos, ttl            uint8
	fromPort, toPort    uint16
	icmpType, icmpCode  uint8
	tcpFlags            uint16
	// port, icmp and flags tell that a field of that kind was named.
	ports, icmp, flags, ipSet, protocolSet bool
}

// words are the short forms of ovs-fields(7): EtherType, and IP protocol where they name one.
var words = map[string]struct {
	etherType uint16
	protocol  uint8
	whole     bool // the protocol is named too
}{
	"ip": {0x0800, 0, false}, "ipv6": {0x86dd, 0, false}, "arp": {0x0806, 0, false}, "rarp": {0x8035, 0, false},
	"icmp": {0x0800, 1, true}, "tcp": {0x0800, 6, true}, "udp": {0x0800, 17, true}, "sctp": {0x0800, 132, true},
	"icmp6": {0x86dd, 58, true}, "tcp6": {0x86dd, 6, true}, "udp6": {0x86dd, 17, true}, "sctp6": {0x86dd, 132, true},
	"mpls": {0x8847, 0, false}, "mplsm": {0x8848, 0, false}, "eth": {}, "ether": {},
}

// Frame makes a frame that fits a match: of a field with a mask, the bits that are asked for are set and the others zero.
// A field that it cannot put into a frame is an error that names it. The frame has the length of an Ethernet frame at
// least. The flow is the frame as Open vSwitch reads it, as fields with exact values.
func Frame(match string, o Options) (frame []byte, flow string, err error) {
	p := packet{destination: o.Destination, source: o.Source, etherType: o.EtherType, ttl: 64}
	fields := strings.FieldsFunc(match, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
	for _, f := range fields {
		name, value, valued := strings.Cut(f, "=")
		if !valued {
			if err := p.word(name); err != nil {
				return nil, "", err
			}
			continue
		}
		if err := p.set(name, value); err != nil {
			return nil, "", fmt.Errorf("%s: %w", f, err)
		}
	}
	frame, err = p.frame(o.Payload)
	return frame, p.flow(), err
}

// flow is the packet as fields with exact values. It is right once frame has filled in what was left open.
func (p *packet) flow() string {
	fields := []string{"dl_src=" + p.source.String(), "dl_dst=" + p.destination.String(), fmt.Sprintf("dl_type=%#04x", p.etherType)}
	add := func(format string, args ...any) { fields = append(fields, fmt.Sprintf(format, args...)) }
	if p.vlan != nil {
		add("vlan_tci=%#04x", uint16(p.vlan.Priority)<<13|0x1000|p.vlan.VLANIdentifier)
	}
	family := ""
	switch p.etherType {
	case 0x0800:
		add("nw_src=%s,nw_dst=%s", p.from, p.to)
	case 0x86dd:
		family = "v6"
		add("ipv6_src=%s,ipv6_dst=%s", p.from, p.to)
	default:
		return strings.Join(fields, ",")
	}
	add("nw_proto=%d,nw_tos=%d,nw_ecn=%d,nw_ttl=%d", p.protocol, p.tos&^3, p.tos&3, p.ttl)
	switch p.protocol {
	case 6:
		add("tcp_src=%d,tcp_dst=%d,tcp_flags=%#x", p.fromPort, p.toPort, p.tcpFlags)
	case 17:
		add("udp_src=%d,udp_dst=%d", p.fromPort, p.toPort)
	case 132:
		add("sctp_src=%d,sctp_dst=%d", p.fromPort, p.toPort)
	case 1, 58:
		add("icmp%s_type=%d,icmp%s_code=%d", family, p.icmpType, family, p.icmpCode)
	}
	return strings.Join(fields, ",")
}

func (p *packet) word(name string) error {
	w, ok := words[name]
	if !ok {
		return fmt.Errorf("%s: no frame can be made of this word", name)
	}
	if w.etherType != 0 {
		p.etherType = w.etherType
	}
	if w.whole {
		p.protocol, p.protocolSet = w.protocol, true
	}
	return nil
}

func (p *packet) set(name, value string) (err error) {
	value, mask, masked := strings.Cut(value, "/")
	number := func(bits int) uint64 {
		n, perr := strconv.ParseUint(value, 0, bits)
		if perr != nil && err == nil {
			err = fmt.Errorf("want a number of %d bits", bits)
		}
		return n
	}
	address := func() (a netip.Addr) {
		a, err = netip.ParseAddr(value)
		p.ipSet = p.ipSet || err == nil
		return a
	}
	switch name {
	case "dl_dst", "eth_dst":
		p.destination, err = net.ParseMAC(value)
	case "dl_src", "eth_src":
		p.source, err = net.ParseMAC(value)
	case "dl_type", "eth_type":
		p.etherType = uint16(number(16))
	case "dl_vlan", "vlan_vid":
		if n := uint16(number(16)); n != 0xffff { // 0xffff: none
			p.tag().VLANIdentifier = n & 0xfff
		}
	case "dl_vlan_pcp", "vlan_pcp":
		p.tag().Priority = uint8(number(3))
	case "vlan_tci", "vlan_tci1":
		if n := uint16(number(16)); n&0x1000 != 0 {
			p.tag().VLANIdentifier, p.tag().Priority = n&0xfff, uint8(n>>13)
		}
	case "nw_src", "ip_src", "ipv6_src":
		p.from = address()
	case "nw_dst", "ip_dst", "ipv6_dst":
		p.to = address()
	case "nw_proto", "ip_proto":
		p.protocol, p.protocolSet = uint8(number(8)), true
	case "nw_tos":
		p.tos = uint8(number(8)) &^ 3
	case "ip_dscp":
		p.tos |= uint8(number(6)) << 2
	case "nw_ecn", "ip_ecn":
		p.tos |= uint8(number(2))
	case "nw_ttl":
		p.ttl = uint8(number(8))
	case "nw_frag", "ip_frag":
		if value != "no" && value != "not_later" {
			err = fmt.Errorf("no frame can be made of a fragment")
		}
	case "tp_src", "tcp_src", "udp_src", "sctp_src":
		p.fromPort, p.ports = uint16(number(16)), true
	case "tp_dst", "tcp_dst", "udp_dst", "sctp_dst":
		p.toPort, p.ports = uint16(number(16)), true
	case "icmp_type", "icmpv6_type":
		p.icmpType, p.icmp = uint8(number(8)), true
	case "icmp_code", "icmpv6_code":
		p.icmpCode, p.icmp = uint8(number(8)), true
	case "tcp_flags":
		p.tcpFlags, err = tcpFlags(value)
		p.flags = true
	default:
		err = fmt.Errorf("no frame can be made of this field")
	}
	if err == nil && masked && mask == "" {
		err = fmt.Errorf("the mask is empty")
	}
	return err
}

func (p *packet) tag() *layers.Dot1Q {
	if p.vlan == nil {
		p.vlan = &layers.Dot1Q{}
	}
	return p.vlan
}

// tcpFlagBits are the names of ovs-fields(7), from the lowest bit.
var tcpFlagBits = []string{"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns"}

// tcpFlags reads "syn|ack", "+syn-ack" (those that have to be there) or a number.
func tcpFlags(text string) (uint16, error) {
	if n, err := strconv.ParseUint(text, 0, 12); err == nil {
		return uint16(n), nil
	}
	var flags uint16
	sign := byte('+')
	for rest := text; rest != ""; {
		if c := rest[0]; c == '+' || c == '-' || c == '|' {
			sign, rest = c, rest[1:]
			continue
		}
		end := strings.IndexAny(rest, "+-|")
		if end < 0 {
			end = len(rest)
		}
		bit := -1
		for i, name := range tcpFlagBits {
			if name == rest[:end] {
				bit = i
			}
		}
		if bit < 0 {
			return 0, fmt.Errorf("%s is no flag of TCP", rest[:end])
		}
		if sign != '-' {
			flags |= 1 << bit
		}
		rest = rest[end:]
	}
	return flags, nil
}

// frame puts the frame together.
func (p *packet) frame(payload []byte) ([]byte, error) {
	list := []gopacket.SerializableLayer{&layers.Ethernet{DstMAC: p.destination, SrcMAC: p.source, EthernetType: layers.EthernetType(p.etherType)}}
	if len(p.destination) != 6 || len(p.source) != 6 {
		return nil, fmt.Errorf("addresses of %d and %d bytes", len(p.destination), len(p.source))
	}
	if p.vlan != nil {
		list[0].(*layers.Ethernet).EthernetType = layers.EthernetTypeDot1Q
		p.vlan.Type = layers.EthernetType(p.etherType)
		list = append(list, p.vlan)
	}
	upper, err := p.upper(len(payload))
	if err != nil {
		return nil, err
	}
	if p.protocol == 132 { // chunks are padded to four bytes
		payload = append(payload[:len(payload):len(payload)], make([]byte, (4-len(payload)%4)%4)...)
	}
	list = append(append(list, upper...), gopacket.Payload(payload))
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, list...); err != nil {
		return nil, err
	}
	frame := buf.Bytes()
	const minFrame = 60
	return append(frame, make([]byte, max(0, minFrame-len(frame)))...), nil
}

// upper are the layers above Ethernet, over a payload of some length.
func (p *packet) upper(length int) ([]gopacket.SerializableLayer, error) {
	if p.etherType != 0x0800 && p.etherType != 0x86dd {
		switch {
		case p.ipSet, p.protocolSet, p.ports, p.icmp:
			return nil, fmt.Errorf("fields of IP in a frame that is not IP: name the protocol, such as tcp")
		case p.etherType < 0x600:
			return nil, fmt.Errorf("%#x is no EtherType", p.etherType)
		}
		return nil, nil
	}
	var network gopacket.NetworkLayer
	var list []gopacket.SerializableLayer
	if p.etherType == 0x0800 {
		if p.from.Is6() || p.to.Is6() {
			return nil, fmt.Errorf("an address of IPv6 in a packet of IPv4")
		}
		orExample(&p.from, "192.0.2.1")
		orExample(&p.to, "192.0.2.2")
		ip := &layers.IPv4{Version: 4, TOS: p.tos, TTL: p.ttl, Protocol: layers.IPProtocol(p.protocol), SrcIP: p.from.AsSlice(), DstIP: p.to.AsSlice()}
		network, list = ip, append(list, ip)
	} else {
		if p.from.Is4() || p.to.Is4() {
			return nil, fmt.Errorf("an address of IPv4 in a packet of IPv6")
		}
		orExample(&p.from, "2001:db8::1")
		orExample(&p.to, "2001:db8::2")
		ip := &layers.IPv6{Version: 6, TrafficClass: p.tos, HopLimit: p.ttl, NextHeader: layers.IPProtocol(p.protocol), SrcIP: p.from.AsSlice(), DstIP: p.to.AsSlice()}
		network, list = ip, append(list, ip)
	}
	if !p.protocolSet {
		// 253 is for experiments (RFC 3692).
		const experiment = 253
		p.protocol = experiment
		switch ip := network.(type) {
		case *layers.IPv4:
			ip.Protocol = experiment
		case *layers.IPv6:
			ip.NextHeader = experiment
		}
	}
	switch p.protocol {
	case 6:
		t := &layers.TCP{SrcPort: layers.TCPPort(p.fromPort), DstPort: layers.TCPPort(p.toPort), Window: 1}
		if !p.flags {
			p.tcpFlags = 1 << 4 // ACK
		}
		flags := p.tcpFlags
		t.FIN, t.SYN, t.RST, t.PSH, t.ACK = flags&1 != 0, flags&2 != 0, flags&4 != 0, flags&8 != 0, flags&16 != 0
		t.URG, t.ECE, t.CWR, t.NS = flags&32 != 0, flags&64 != 0, flags&128 != 0, flags&256 != 0
		return append(list, t), t.SetNetworkLayerForChecksum(network)
	case 17:
		u := &layers.UDP{SrcPort: layers.UDPPort(p.fromPort), DstPort: layers.UDPPort(p.toPort)}
		return append(list, u), u.SetNetworkLayerForChecksum(network)
	case 132:
		data := make([]byte, 16) // a DATA chunk (RFC 9260 section 3.3.1) to stand the payload in
		data[1] = 3              // beginning and end of a message
		binary.BigEndian.PutUint16(data[2:], uint16(len(data)+length))
		binary.BigEndian.PutUint32(data[4:], 1)
		s := &layers.SCTP{SrcPort: layers.SCTPPort(p.fromPort), DstPort: layers.SCTPPort(p.toPort)}
		return append(list, s, gopacket.Payload(data)), nil
	case 1:
		return append(list, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(p.icmpType, p.icmpCode)}), nil
	case 58:
		i := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(p.icmpType, p.icmpCode)}
		// The four bytes behind the checksum are the message's own.
		return append(list, i, gopacket.Payload(make([]byte, 4))), i.SetNetworkLayerForChecksum(network)
	}
	if p.ports || p.icmp {
		return nil, fmt.Errorf("ports or an ICMP type in IP protocol %d", p.protocol)
	}
	return list, nil
}

// orExample makes an address that was not named one for documentation (RFC 5737, RFC 3849).
func orExample(a *netip.Addr, example string) {
	if !a.IsValid() {
		*a = netip.MustParseAddr(example)
	}
}
