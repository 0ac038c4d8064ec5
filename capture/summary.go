package capture

import (
	"encoding/binary"
	"net/netip"
	"strconv"

	"github.com/ovs-erspan/ovs-erspan/erspan"
)

// appendSummary appends one line about a mirrored frame, in the words that tcpdump uses. It takes whatever is there of
// the frame.
func appendSummary(b []byte, p *erspan.Packet) []byte {
	frame := p.Inner
	if p.InnerIsIP() {
		return appendIP(b, frame)
	}
	if b, ok := appendProbe(b, p); ok {
		return b
	}
	if len(frame) < erspan.EthernetHeaderLen {
		b = append(b, "[|ether] length "...)
		return strconv.AppendInt(b, int64(p.InnerLen), 10)
	}
	etherType, rest := binary.BigEndian.Uint16(frame[12:]), frame[14:]
	for (etherType == 0x8100 || etherType == 0x88a8 || etherType == 0x9100) && len(rest) >= 4 {
		b = append(b, "vlan "...)
		b = strconv.AppendUint(b, uint64(binary.BigEndian.Uint16(rest)&0xfff), 10)
		b = append(b, ", "...)
		etherType, rest = binary.BigEndian.Uint16(rest[2:]), rest[4:]
	}
	switch etherType {
	case 0x0800, 0x86dd:
		return appendIP(b, rest)
	case 0x0806:
		return appendARP(b, rest)
	}
	b = appendMAC(b, frame[6:12])
	b = append(b, " > "...)
	b = appendMAC(b, frame[0:6])
	if etherType <= 1500 {
		b = append(b, ", 802.3"...)
		if len(rest) >= 3 && rest[0] == 0x42 && rest[1] == 0x42 {
			b = append(b, " STP"...)
		}
	} else {
		b = append(b, ", ethertype "...)
		if name := etherTypeNames[etherType]; name != "" {
			b = append(b, name...)
		} else {
			b = appendHex(b, uint64(etherType), 4)
		}
	}
	b = append(b, ", length "...)
	return strconv.AppendInt(b, int64(p.InnerLen), 10)
}

var etherTypeNames = map[uint16]string{
	0x8035: "Reverse ARP", 0x8809: "Slow Protocols", 0x8847: "MPLS unicast", 0x8848: "MPLS multicast",
	0x8863: "PPPoE D", 0x8864: "PPPoE S", 0x888e: "EAPOL", 0x88cc: "LLDP", 0x88e5: "MACsec", 0x88f7: "PTP",
	0x8902: "CFM", 0x8906: "FCoE", 0x8915: "RoCE", 0x9000: "Loopback",
}

// appendARP appends what an ARP packet says (RFC 826).
func appendARP(b, arp []byte) []byte {
	if len(arp) < 28 || binary.BigEndian.Uint16(arp[2:]) != 0x0800 {
		return append(b, "ARP"...)
	}
	sender, target := netip.AddrFrom4([4]byte(arp[14:])), netip.AddrFrom4([4]byte(arp[24:]))
	switch binary.BigEndian.Uint16(arp[6:]) {
	case 1:
		b = append(b, "ARP, Request who-has "...)
		b = target.AppendTo(b)
		b = append(b, " tell "...)
		return sender.AppendTo(b)
	case 2:
		b = append(b, "ARP, Reply "...)
		b = sender.AppendTo(b)
		b = append(b, " is-at "...)
		return appendMAC(b, arp[8:14])
	}
	return append(b, "ARP"...)
}

// appendIP appends addresses, ports and what the transport header says.
func appendIP(b, ip []byte) []byte {
	var (
		src, dst netip.Addr
		protocol byte
		payload  []byte
		length   int // of payload, on the wire
		later    bool
	)
	switch {
	case len(ip) >= 20 && ip[0]>>4 == 4 && int(ip[0]&0xf)*4 >= 20:
		header := int(ip[0]&0xf) * 4
		src, dst, protocol = netip.AddrFrom4([4]byte(ip[12:])), netip.AddrFrom4([4]byte(ip[16:])), ip[9]
		length = int(binary.BigEndian.Uint16(ip[2:])) - header
		later = binary.BigEndian.Uint16(ip[6:])&0x1fff != 0
		payload = ip[min(header, len(ip)):]
		b = append(b, "IP "...)
	case len(ip) >= 40 && ip[0]>>4 == 6:
		src, dst, protocol = netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:])), ip[6]
		length, payload = int(binary.BigEndian.Uint16(ip[4:])), ip[40:]
		for len(payload) >= 8 && (protocol == 0 || protocol == 43 || protocol == 60 || protocol == 44) {
			n := (int(payload[1]) + 1) * 8
			if protocol == 44 {
				n = 8
				later = binary.BigEndian.Uint16(payload[2:])&0xfff8 != 0
			}
			protocol, payload, length = payload[0], payload[min(n, len(payload)):], length-n
			if later {
				break
			}
		}
		b = append(b, "IP6 "...)
	default:
		return append(b, "[|ip]"...)
	}
	ports := !later && len(payload) >= 4 && (protocol == 6 || protocol == 17 || protocol == 132)
	b = src.AppendTo(b)
	if ports {
		b = append(b, '.')
		b = strconv.AppendUint(b, uint64(binary.BigEndian.Uint16(payload)), 10)
	}
	b = append(b, " > "...)
	b = dst.AppendTo(b)
	if ports {
		b = append(b, '.')
		b = strconv.AppendUint(b, uint64(binary.BigEndian.Uint16(payload[2:])), 10)
	}
	b = append(b, ": "...)
	if later {
		protocol = 0xff
	}
	switch protocol {
	case 6:
		return appendTCP(b, payload, length)
	case 17:
		b = append(b, "UDP"...)
		length = max(0, length-8)
	case 132:
		b = append(b, "SCTP"...)
	case 1, 58:
		b = appendICMP(b, payload, protocol)
	case 47:
		b = append(b, "GRE"...)
	case 50:
		b = append(b, "ESP"...)
	case 0xff:
		b = append(b, "later fragment"...)
	default:
		b = append(b, "protocol "...)
		b = strconv.AppendUint(b, uint64(protocol), 10)
	}
	b = append(b, ", length "...)
	return strconv.AppendInt(b, int64(length), 10)
}

// appendTCP appends flags and numbers (RFC 9293).
func appendTCP(b, tcp []byte, length int) []byte {
	if len(tcp) < 20 {
		return append(b, "[|tcp]"...)
	}
	b = append(b, "Flags ["...)
	flags := tcp[13]
	for _, f := range [...]struct {
		bit  byte
		sign byte
	}{{0x02, 'S'}, {0x01, 'F'}, {0x04, 'R'}, {0x08, 'P'}, {0x20, 'U'}, {0x40, 'E'}, {0x80, 'W'}, {0x10, '.'}} {
		if flags&f.bit != 0 {
			b = append(b, f.sign)
		}
	}
	b = append(b, "], seq "...)
	b = strconv.AppendUint(b, uint64(binary.BigEndian.Uint32(tcp[4:])), 10)
	if flags&0x10 != 0 {
		b = append(b, ", ack "...)
		b = strconv.AppendUint(b, uint64(binary.BigEndian.Uint32(tcp[8:])), 10)
	}
	b = append(b, ", win "...)
	b = strconv.AppendUint(b, uint64(binary.BigEndian.Uint16(tcp[14:])), 10)
	b = append(b, ", length "...)
	return strconv.AppendInt(b, int64(max(0, length-int(tcp[12]>>4)*4)), 10)
}

// appendICMP appends the kind of an ICMP or ICMPv6 message.
func appendICMP(b, icmp []byte, protocol byte) []byte {
	name, separator, names := "ICMP", " ", icmpNames
	if protocol == 58 {
		name, separator, names = "ICMP6", ", ", icmp6Names
	}
	b = append(b, name...)
	if len(icmp) < 8 {
		return b
	}
	b = append(b, separator...)
	if text := names[icmp[0]]; text != "" {
		b = append(b, text...)
	} else {
		b = append(b, "type "...)
		b = strconv.AppendUint(b, uint64(icmp[0]), 10)
	}
	switch {
	case protocol == 1 && (icmp[0] == 0 || icmp[0] == 8), protocol == 58 && (icmp[0] == 128 || icmp[0] == 129):
		b = append(b, ", id "...)
		b = strconv.AppendUint(b, uint64(binary.BigEndian.Uint16(icmp[4:])), 10)
		b = append(b, ", seq "...)
		b = strconv.AppendUint(b, uint64(binary.BigEndian.Uint16(icmp[6:])), 10)
	}
	return b
}

var (
	icmpNames = map[byte]string{
		0: "echo reply", 3: "unreachable", 5: "redirect", 8: "echo request", 11: "time exceeded",
	}
	icmp6Names = map[byte]string{
		1: "destination unreachable", 2: "packet too big", 3: "time exceeded", 128: "echo request", 129: "echo reply",
		133: "router solicitation", 134: "router advertisement", 135: "neighbor solicitation",
		136: "neighbor advertisement", 143: "multicast listener report v2",
	}
)

// appendMAC appends an Ethernet address.
func appendMAC(b, mac []byte) []byte {
	for i, v := range mac {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, hexDigits[v>>4], hexDigits[v&0xf])
	}
	return b
}

const hexDigits = "0123456789abcdef"

// appendHex appends 0x and at least digits digits.
func appendHex(b []byte, v uint64, digits int) []byte {
	b = append(b, "0x"...)
	for i := digits - 1; i >= 0; i-- {
		b = append(b, hexDigits[v>>(4*i)&0xf])
	}
	return b
}
