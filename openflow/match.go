package openflow

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
)

const (
	etherIP4  = 0x0800
	etherARP  = 0x0806
	etherRARP = 0x8035
	etherIP6  = 0x86dd

	protoICMP  = 1
	protoTCP   = 6
	protoUDP   = 17
	protoICMP6 = 58
	protoSCTP  = 132
)

// protocolWord is a word of a match that stands for an Ethernet type and an IP protocol (0: any).
type protocolWord struct {
	word  string
	ether uint16
	proto byte
}

// protocolWords: in decoding the first that fits is the one, so those with an IP protocol come first.
var protocolWords = []protocolWord{
	{"icmp", etherIP4, protoICMP}, {"tcp", etherIP4, protoTCP}, {"udp", etherIP4, protoUDP}, {"sctp", etherIP4, protoSCTP},
	{"icmp6", etherIP6, protoICMP6}, {"tcp6", etherIP6, protoTCP}, {"udp6", etherIP6, protoUDP}, {"sctp6", etherIP6, protoSCTP},
	{"ip", etherIP4, 0}, {"arp", etherARP, 0}, {"rarp", etherRARP, 0}, {"ipv6", etherIP6, 0},
}

// encodeMatch makes an ofp_match (OpenFlow 1.4.1 section 7.2.3.1) of a match in text. Masked-out bits are cleared, as Open
// vSwitch does it. What Open vSwitch would refuse, or read otherwise than it says, is not known here.
func encodeMatch(match string) ([]byte, error) {
	b := []byte{0, 1, 0, 0} // OFPMT_OXM, and the length to come
	var seen layers
	put := func(f field, value, mask []byte) error {
		if slices.Contains(seen.fields, f.oxm) {
			return notNative("%s twice", f.name)
		}
		if !seen.allow(f) {
			return notNative("%s without the protocol that it belongs to", f.name)
		}
		seen.add(f, value)
		b = f.put(b, value, mask)
		return nil
	}
	for _, part := range splitFields(match) {
		name, text, hasValue := strings.Cut(part, "=")
		if !hasValue {
			i := slices.IndexFunc(protocolWords, func(w protocolWord) bool { return w.word == name })
			if i < 0 {
				return nil, notNative("%q", name)
			}
			w := protocolWords[i]
			if err := put(ethernetType, []byte{byte(w.ether >> 8), byte(w.ether)}, nil); err != nil {
				return nil, err
			}
			if w.proto != 0 {
				if err := put(ipProtocol, []byte{w.proto}, nil); err != nil {
					return nil, err
				}
			}
			continue
		}
		if part == anyTag {
			if err := put(vlan, anyTagBits, anyTagBits); err != nil {
				return nil, err
			}
			continue
		}
		f, err := fieldNamed(name, seen.proto)
		if err != nil {
			return nil, err
		}
		value, mask, err := f.valueAndMask(text)
		if err != nil {
			return nil, err
		}
		if mask != nil && (f.oxm == ethernetType.oxm || f.oxm == ipProtocol.oxm) {
			return nil, notNative("%s with a mask", f.name)
		}
		if err := put(f, value, mask); err != nil {
			return nil, err
		}
	}
	if slices.Contains(seen.fields, recirculation.oxm) && seen.frame {
		return nil, errRecirculatedFrame
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return pad8(b), nil
}

// layers is what a match has named so far, for the prerequisites of what follows (ovs-fields(7)).
type layers struct {
	fields []oxm
	frame  bool // some of them are of the frame
	ether  uint16
	proto  byte
	icmp   byte
}

func (l *layers) add(f field, value []byte) {
	l.fields = append(l.fields, f.oxm)
	l.frame = l.frame || f.ofFrame()
	switch {
	case f.oxm == ethernetType.oxm:
		l.ether = binary.BigEndian.Uint16(value)
	case f.oxm == ipProtocol.oxm:
		l.proto = value[0]
	case f.name == "icmp_type":
		l.icmp = value[0]
	}
}

func (l *layers) allow(f field) bool {
	ip := l.ether == etherIP4 || l.ether == etherIP6
	switch {
	case f.name == "nd_target":
		return l.ether == etherIP6 && (l.icmp == 135 || l.icmp == 136)
	case f.proto == protoICMP:
		return l.ether == etherIP4
	case f.proto == protoICMP6:
		return l.ether == etherIP6
	case f.proto != 0:
		return ip
	case f.name == "nw_src" || f.name == "nw_dst":
		return l.ether == etherIP4
	case f.name == "ipv6_src" || f.name == "ipv6_dst":
		return l.ether == etherIP6
	case strings.HasPrefix(f.name, "nw_"):
		return ip
	case strings.HasPrefix(f.name, "arp_"):
		return l.ether == etherARP
	case f.name == "dl_vlan_pcp":
		return slices.Contains(l.fields, vlan.oxm) // alone it also says that there is a tag
	}
	return true
}

// errRecirculatedFrame: beside recirc_id and fields of the frame Open vSwitch writes "eth", too.
var errRecirculatedFrame = notNative("recirc_id beside fields of the frame")

// ofFrame tells whether the field is one of the frame, not of where it came from or what is known of it.
func (f field) ofFrame() bool {
	return f.name != recirculation.name && f.name != "in_port" && !strings.HasPrefix(f.name, "reg") && !strings.HasPrefix(f.name, "tun_")
}

// anyTag matches frames with a VLAN tag, whichever: the bit OFPVID_PRESENT alone.
const anyTag = "vlan_tci=0x1000/0x1000"

var anyTagBits = []byte{0x10, 0}

var (
	ethernetType, _ = fieldNamed("dl_type", 0)
	ipProtocol, _   = fieldNamed("nw_proto", 0)
	vlan, _         = fieldNamed("dl_vlan", 0)

	recirculation, _ = fieldNamed("recirc_id", 0)
)

// decodeMatch writes the fields of an ofp_match, without its header and padding, as canonical text.
func decodeMatch(b []byte) (string, error) {
	type found struct {
		field
		place       int
		value, mask []byte
	}
	var all []found
	for len(b) > 0 {
		f, place, value, mask, rest, err := takeField(b)
		if err != nil {
			return "", err
		}
		all = append(all, found{f, place, value, mask})
		b = rest
	}
	take := func(f field) []byte {
		i := slices.IndexFunc(all, func(x found) bool { return x.oxm == f.oxm && x.mask == nil })
		if i < 0 {
			return nil
		}
		return all[i].value
	}
	var parts []string
	ether, proto := take(ethernetType), take(ipProtocol)
	if take(recirculation) != nil && slices.ContainsFunc(all, func(x found) bool { return x.ofFrame() }) {
		return "", errRecirculatedFrame
	}
	for _, w := range protocolWords {
		if ether == nil || binary.BigEndian.Uint16(ether) != w.ether || w.proto != 0 && !bytes.Equal(proto, []byte{w.proto}) {
			continue
		}
		parts = append(parts, w.word)
		all = slices.DeleteFunc(all, func(x found) bool {
			return x.oxm == ethernetType.oxm || w.proto != 0 && x.oxm == ipProtocol.oxm
		})
		break
	}
	slices.SortFunc(all, func(a, b found) int { return a.place - b.place })
	for _, f := range all {
		if f.oxm == vlan.oxm && bytes.Equal(f.value, anyTagBits) && bytes.Equal(f.mask, anyTagBits) {
			parts = append(parts, anyTag)
			continue
		}
		text, err := f.text(f.value, f.mask)
		if err != nil {
			return "", err
		}
		parts = append(parts, f.name+"="+text)
	}
	return strings.Join(parts, ","), nil
}

// canonicalMatch is a match as Open vSwitch writes it.
func canonicalMatch(match string) (string, error) {
	b, err := encodeMatch(match)
	if err != nil {
		return "", err
	}
	return decodeMatch(b[4:binary.BigEndian.Uint16(b[2:])])
}

// pad8 fills up to a multiple of eight bytes, counted from the start of b.
func pad8(b []byte) []byte {
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	return b
}
