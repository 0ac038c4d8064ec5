package openflow

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// errNotNative says that something is beyond the native connection, which knows only what our own flows and usual matches
// need. ovs-ofctl knows everything, so it takes over.
type errNotNative struct{ what string }

func (e *errNotNative) Error() string { return "not known to the native connection: " + e.what }

func notNative(format string, args ...any) error { return &errNotNative{fmt.Sprintf(format, args...)} }

// Classes of OXM (OpenFlow 1.4.1 section 7.2.3.3; include/openvswitch/meta-flow.h of Open vSwitch).
const (
	classNicira       = 0x0001
	classBasic        = 0x8000
	classExperimenter = 0xffff
	vendorNicira      = 0x00002320 // the experimenter of Open vSwitch's own extensions
)

// oxm is the identity of a field on the wire. Fields of class 0xffff are all of vendorNicira.
type oxm struct {
	class  uint16
	number byte
}

// kind is how a field's value is written in text.
type kind int

const (
	decimal kind = iota // in decimal; with a mask, both in hexadecimal
	hexadecimal
	macAddress
	ip4
	ip6
	vlanID   // in decimal; on the wire with bit 0x1000, "a tag is present"
	dscp     // text has the whole byte, the wire its upper six bits
	fragment // in words, each for a value and its mask
)

// field is a field of a match or a set_field (ovs-fields(7)).
type field struct {
	name  string
	oxm   oxm
	size  int // bytes of the value
	kind  kind
	proto byte // the IP protocol that it belongs to, 0: any. "tp_src" is another field for each
}

// fields in the order in which Open vSwitch writes them (match_format in lib/match.c).
var fields = []field{
	{"recirc_id", oxm{classNicira, 36}, 4, hexadecimal, 0},
	{"reg0", oxm{classNicira, 0}, 4, hexadecimal, 0},
	{"reg1", oxm{classNicira, 1}, 4, hexadecimal, 0},
	{"reg2", oxm{classNicira, 2}, 4, hexadecimal, 0},
	{"reg3", oxm{classNicira, 3}, 4, hexadecimal, 0},
	{"reg4", oxm{classNicira, 4}, 4, hexadecimal, 0},
	{"reg5", oxm{classNicira, 5}, 4, hexadecimal, 0},
	{"reg6", oxm{classNicira, 6}, 4, hexadecimal, 0},
	{"reg7", oxm{classNicira, 7}, 4, hexadecimal, 0},
	{"pkt_mark", oxm{classNicira, 33}, 4, hexadecimal, 0},
	{"tun_id", oxm{classBasic, 38}, 8, hexadecimal, 0},
	{"tun_src", oxm{classNicira, 31}, 4, ip4, 0},
	{"tun_dst", oxm{classNicira, 32}, 4, ip4, 0},
	{"tun_ipv6_src", oxm{classNicira, 109}, 16, ip6, 0},
	{"tun_ipv6_dst", oxm{classNicira, 110}, 16, ip6, 0},
	{"tun_erspan_ver", oxm{classExperimenter, 12}, 1, decimal, 0},
	{"tun_erspan_idx", oxm{classExperimenter, 11}, 4, hexadecimal, 0},
	{"tun_erspan_dir", oxm{classExperimenter, 13}, 1, decimal, 0},
	{"tun_erspan_hwid", oxm{classExperimenter, 14}, 1, hexadecimal, 0},
	{"in_port", oxm{classBasic, 0}, 4, decimal, 0},
	{"dl_vlan", oxm{classBasic, 6}, 2, vlanID, 0},
	{"dl_vlan_pcp", oxm{classBasic, 7}, 1, decimal, 0},
	{"dl_src", oxm{classBasic, 4}, 6, macAddress, 0},
	{"dl_dst", oxm{classBasic, 3}, 6, macAddress, 0},
	{"dl_type", oxm{classBasic, 5}, 2, hexadecimal, 0},
	{"ipv6_src", oxm{classBasic, 26}, 16, ip6, 0},
	{"ipv6_dst", oxm{classBasic, 27}, 16, ip6, 0},
	{"nw_src", oxm{classBasic, 11}, 4, ip4, 0},
	{"nw_dst", oxm{classBasic, 12}, 4, ip4, 0},
	{"arp_spa", oxm{classBasic, 22}, 4, ip4, 0},
	{"arp_tpa", oxm{classBasic, 23}, 4, ip4, 0},
	{"nw_proto", oxm{classBasic, 10}, 1, decimal, 0},
	{"arp_op", oxm{classBasic, 21}, 2, decimal, 0},
	{"nw_tos", oxm{classBasic, 8}, 1, dscp, 0},
	{"nw_ecn", oxm{classBasic, 9}, 1, decimal, 0},
	{"nw_ttl", oxm{classNicira, 29}, 1, decimal, 0},
	{"nw_frag", oxm{classNicira, 26}, 1, fragment, 0},
	{"icmp_type", oxm{classBasic, 19}, 1, decimal, protoICMP},
	{"icmp_code", oxm{classBasic, 20}, 1, decimal, protoICMP},
	{"icmp_type", oxm{classBasic, 29}, 1, decimal, protoICMP6},
	{"icmp_code", oxm{classBasic, 30}, 1, decimal, protoICMP6},
	{"nd_target", oxm{classBasic, 31}, 16, ip6, protoICMP6},
	{"tp_src", oxm{classBasic, 13}, 2, decimal, protoTCP},
	{"tp_dst", oxm{classBasic, 14}, 2, decimal, protoTCP},
	{"tp_src", oxm{classBasic, 15}, 2, decimal, protoUDP},
	{"tp_dst", oxm{classBasic, 16}, 2, decimal, protoUDP},
	{"tp_src", oxm{classBasic, 17}, 2, decimal, protoSCTP},
	{"tp_dst", oxm{classBasic, 18}, 2, decimal, protoSCTP},
}

// fieldNamed finds a field by its name in text; the IP protocol tells apart those that share one.
func fieldNamed(name string, proto byte) (field, error) {
	for _, f := range fields {
		if f.name == name && (f.proto == 0 || f.proto == proto) {
			return f, nil
		}
	}
	return field{}, notNative("field %q", name)
}

// fieldOf finds a field by its identity on the wire, and its place in the order of writing.
func fieldOf(id oxm) (field, int, error) {
	for i, f := range fields {
		if f.oxm == id {
			return f, i, nil
		}
	}
	return field{}, 0, notNative("OXM field %d of class %#x", id.number, id.class)
}

// value reads a value or a mask of the field from text, without its mask.
func (f field) value(text string, isMask bool) ([]byte, error) {
	b := make([]byte, f.size)
	switch f.kind {
	case ip4, ip6:
		a, err := netip.ParseAddr(text)
		if err != nil || a.BitLen() != 8*f.size {
			return nil, notNative("%s=%q", f.name, text)
		}
		copy(b, a.AsSlice())
		return b, nil
	case macAddress:
		var m [6]byte
		n, err := fmt.Sscanf(text, "%02x:%02x:%02x:%02x:%02x:%02x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5])
		if err != nil || n != len(m) || len(text) != 17 {
			return nil, notNative("%s=%q", f.name, text)
		}
		copy(b, m[:])
		return b, nil
	}
	n, err := strconv.ParseUint(text, 0, 8*f.size)
	if err != nil {
		return nil, notNative("%s=%q", f.name, text)
	}
	switch {
	case f.kind == vlanID && (isMask || n >= 4095):
		return nil, notNative("%s=%q", f.name, text)
	case f.kind == vlanID:
		n |= vlanPresent
	case f.kind == dscp && (isMask || n&3 != 0):
		return nil, notNative("%s=%q", f.name, text)
	case f.kind == dscp:
		n >>= 2
	}
	var wide [8]byte
	binary.BigEndian.PutUint64(wide[:], n)
	copy(b, wide[8-f.size:])
	return b, nil
}

// vlanPresent is OFPVID_PRESENT.
const vlanPresent = 0x1000

// mask reads a mask: for IP addresses also the length of a prefix.
func (f field) mask(text string) ([]byte, error) {
	if f.kind == ip4 || f.kind == ip6 {
		if bits, err := strconv.Atoi(text); err == nil {
			if bits < 0 || bits > 8*f.size {
				return nil, notNative("%s: /%s", f.name, text)
			}
			b := make([]byte, f.size)
			for i := range bits {
				b[i/8] |= 0x80 >> (i % 8)
			}
			return b, nil
		}
	}
	return f.value(text, true)
}

// valueAndMask reads "value" or "value/mask". The mask is nil where it covers all.
func (f field) valueAndMask(text string) (value, mask []byte, err error) {
	if f.kind == fragment {
		for _, w := range fragmentWords {
			if w.word == text {
				return []byte{w.value}, w.maskBytes(), nil
			}
		}
		return nil, nil, notNative("%s=%q", f.name, text)
	}
	plain, maskText, masked := strings.Cut(text, "/")
	if value, err = f.value(plain, false); err != nil || !masked {
		return value, nil, err
	}
	if mask, err = f.mask(maskText); err != nil {
		return nil, nil, err
	}
	any, all := false, true
	for i := range mask {
		value[i] &= mask[i]
		any, all = any || mask[i] != 0, all && mask[i] == 0xff
	}
	switch {
	case !any:
		return nil, nil, notNative("%s=%q matches anything", f.name, text)
	case all:
		return value, nil, nil
	}
	return value, mask, nil
}

// text writes a value, with its mask where there is one.
func (f field) text(value, mask []byte) (string, error) {
	if mask != nil && (f.kind == vlanID || f.kind == dscp) {
		return "", notNative("%s with a mask", f.name)
	}
	switch f.kind {
	case fragment:
		for _, w := range fragmentWords {
			if bytes.Equal(value, []byte{w.value}) && bytes.Equal(mask, w.maskBytes()) {
				return w.word, nil
			}
		}
		return "", notNative("%s % x/% x", f.name, value, mask)
	case ip4, ip6:
		a, _ := netip.AddrFromSlice(value)
		if mask == nil {
			return a.String(), nil
		}
		if bits, ok := prefixLen(mask); ok {
			return fmt.Sprintf("%s/%d", a, bits), nil
		}
		m, _ := netip.AddrFromSlice(mask)
		return a.String() + "/" + m.String(), nil
	case macAddress:
		if mask == nil {
			return macText(value), nil
		}
		return macText(value) + "/" + macText(mask), nil
	}
	n := number(value)
	switch {
	case mask != nil && f.name == "tun_erspan_ver" && n == number(mask):
		// Open vSwitch takes the value for the mask, and writes it without (lib/match.c, to 3.7 at least).
		return strconv.FormatUint(n, 10), nil
	case mask != nil:
		return hexText(n) + "/" + hexText(number(mask)), nil
	case f.name == "in_port" && n >= firstReservedPort:
		return "", notNative("in_port %#x", n)
	case f.kind == vlanID && n&vlanPresent == 0:
		return "", notNative("dl_vlan %#x", n)
	case f.kind == vlanID:
		return strconv.FormatUint(n&^vlanPresent, 10), nil
	case f.kind == dscp:
		return strconv.FormatUint(n<<2, 10), nil
	case f.kind == hexadecimal && f.name == "dl_type":
		return fmt.Sprintf("0x%04x", n), nil
	case f.kind == hexadecimal:
		return hexText(n), nil
	}
	return strconv.FormatUint(n, 10), nil
}

// fragmentWords are the words of nw_frag with their bits: 1, a fragment; 2, a later one (ovs-fields(7), ip_frag; in the order
// of lib/meta-flow.c). Both bits together are the whole field, and go without a mask.
var fragmentWords = []fragmentWord{{"no", 0, 3}, {"first", 1, 3}, {"later", 3, 3}, {"no", 0, 1}, {"yes", 1, 1}, {"not_later", 0, 2}, {"later", 2, 2}}

type fragmentWord struct {
	word        string
	value, mask byte
}

func (w fragmentWord) maskBytes() []byte {
	if w.mask == 3 {
		return nil
	}
	return []byte{w.mask}
}

// firstReservedPort is the first port number of OpenFlow 1.1 and later that is a name, such as LOCAL.
const firstReservedPort = 0xffffff00

func macText(b []byte) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5])
}

// hexText is how Open vSwitch writes numbers in hexadecimal: 0 without 0x.
func hexText(n uint64) string {
	if n == 0 {
		return "0"
	}
	return "0x" + strconv.FormatUint(n, 16)
}

func number(b []byte) uint64 {
	var n uint64
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	return n
}

// prefixLen is the length of the prefix that a mask is, if it is one.
func prefixLen(mask []byte) (int, bool) {
	bits := 0
	for bits < 8*len(mask) && mask[bits/8]&(0x80>>(bits%8)) != 0 {
		bits++
	}
	for i := bits; i < 8*len(mask); i++ {
		if mask[i/8]&(0x80>>(i%8)) != 0 {
			return 0, false
		}
	}
	return bits, true
}

// put writes the field with its header, and mask where it has one.
func (f field) put(b []byte, value, mask []byte) []byte {
	length := len(value) + len(mask)
	if f.oxm.class == classExperimenter {
		length += 4
	}
	number := f.oxm.number << 1
	if mask != nil {
		number |= 1
	}
	b = binary.BigEndian.AppendUint16(b, f.oxm.class)
	b = append(b, number, byte(length))
	if f.oxm.class == classExperimenter {
		b = binary.BigEndian.AppendUint32(b, vendorNicira)
	}
	return append(append(b, value...), mask...)
}

// takeField takes one field off the front of b.
func takeField(b []byte) (f field, place int, value, mask, rest []byte, err error) {
	if len(b) < 4 || len(b) < 4+int(b[3]) {
		return f, 0, nil, nil, nil, fmt.Errorf("OXM field cut short: % x", b)
	}
	id, body, rest := oxm{binary.BigEndian.Uint16(b), b[2] >> 1}, b[4:4+int(b[3])], b[4+int(b[3]):]
	masked := b[2]&1 != 0
	if id.class == classExperimenter {
		if len(body) < 4 || binary.BigEndian.Uint32(body) != vendorNicira {
			return f, 0, nil, nil, nil, notNative("an experimenter's OXM field")
		}
		body = body[4:]
	}
	if f, place, err = fieldOf(id); err != nil {
		return f, 0, nil, nil, nil, err
	}
	want := f.size
	if masked {
		want *= 2
	}
	if len(body) != want {
		return f, 0, nil, nil, nil, fmt.Errorf("OXM field %s has %d bytes, not %d", f.name, len(body), want)
	}
	value = body[:f.size]
	if masked {
		mask = body[f.size:]
	}
	return f, place, value, mask, rest, nil
}

// splitFields splits a match at its commas.
func splitFields(match string) []string {
	if match == "" {
		return nil
	}
	return strings.Split(match, ",")
}
