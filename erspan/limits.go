package erspan

import (
	"fmt"
	"strconv"
	"strings"
)

// Largest values of the header fields that a user may choose. All count from 0, and 0 is a valid value of each.
// Source: draft-foschiano-erspan-03, sections 4.2 (Type II) and 4.3 (Type III): the width of each field.
const (
	MaxSessionID  = 1<<10 - 1 // 1023: Session ID, 10 bits, Types II and III
	MaxIndex      = 1<<20 - 1 // 1048575: Index, 20 bits, Type II
	MaxHardwareID = 1<<6 - 1  // 63: Hw ID, 6 bits, Type III
)

// Header lengths in bytes, from which [Overhead] is derived.
const (
	EthernetHeaderLen = 14 // IEEE 802.3 without a tag and without the frame check sequence
	IPv4HeaderLen     = 20 // RFC 791, without options
	IPv6HeaderLen     = 40 // RFC 8200, without extension headers
	GREHeaderLen      = 4  // RFC 2784, without optional words
	GREWordLen        = 4  // RFC 2784 and 2890: each of checksum+reserved, key and sequence number
	TypeIIHeaderLen   = 8  // draft-foschiano-erspan-03, section 4.2
	TypeIIIHeaderLen  = 12 // draft-foschiano-erspan-03, section 4.3, without the platform subheader
	SubheaderLen      = 8  // draft-foschiano-erspan-03, section 4.3: present where O=1
)

// Version is an ERSPAN header format, counted as Open vSwitch's erspan_ver and Linux's erspan_ver count it: Type I
// is 0, Type II is 1, Type III is 2. For Types II and III this is also what the header's Ver field holds; Type I has
// no header. Ver is 4 bits wide, so that a decoded Version can be anything up to 15.
type Version uint8

// The versions that exist. Types and versions are the same thing under two names, one apart.
const (
	Version0 Version = 0 // no ERSPAN header
	Version1 Version = 1 // 8-byte header with an index
	Version2 Version = 2 // 12-byte header with timestamp, hardware id and direction

	TypeI   = Version0
	TypeII  = Version1
	TypeIII = Version2
)

// Known reports whether v is one of Types I, II and III.
func (v Version) Known() bool { return v <= Version2 }

// Type is the Roman numeral of the type: "I", "II" or "III", and "" for a version without one.
func (v Version) Type() string {
	switch v {
	case TypeI:
		return "I"
	case TypeII:
		return "II"
	case TypeIII:
		return "III"
	}
	return ""
}

// String names version and type together, such as "2 (Type III)": half of the world counts versions, the other half
// types, and they are off by one. A version without a type is "7 (unknown)".
func (v Version) String() string {
	if t := v.Type(); t != "" {
		return fmt.Sprintf("%d (Type %s)", uint8(v), t)
	}
	return fmt.Sprintf("%d (unknown)", uint8(v))
}

// ParseVersion reads a version as people write it: the number (0, 1, 2), the type's Roman numeral (I, II, III), with
// or without the word "Type", in any case, and what [Version.String] prints. An Arabic number is always the version,
// never the type: "2" is Type III. "Type 2" could mean either and is refused. A caller that does not send Type I
// refuses Version0 itself.
func ParseVersion(s string) (Version, error) {
	word := strings.ToUpper(strings.TrimSpace(s))
	for _, v := range []Version{Version0, Version1, Version2} {
		switch word {
		case strconv.Itoa(int(v)), v.Type(), "TYPE " + v.Type(), strings.ToUpper(v.String()):
			return v, nil
		}
	}
	return 0, fmt.Errorf("ERSPAN version %q: allowed are 0 (Type I), 1 (Type II), 2 (Type III), or I, II, III", s)
}

// Overhead is how many bytes ERSPAN of version v adds in front of a mirrored frame: the outer Ethernet, IP and GRE
// headers and the ERSPAN header, as Open vSwitch sends them (no VLAN tag, no IP options, no platform subheader). It
// is 50 (Type II) or 54 (Type III) over IPv4 and 70 or 74 over IPv6; 38 and 58 for Type I. A sender that puts an IPv6
// destination-options header first (Linux's ip6erspan, for the tunnel encapsulation limit) adds 8 more. An unknown
// version counts as Type III, the longest.
//
// What an outer link MTU must hold is the frame and Overhead less [EthernetHeaderLen].
func Overhead(v Version, ipv6 bool) int {
	n := EthernetHeaderLen + IPv4HeaderLen
	if ipv6 {
		n = EthernetHeaderLen + IPv6HeaderLen
	}
	return n + GREHeaderLen + headerLen(v)
}

// headerLen is what follows the first four bytes of GRE, up to the mirrored frame.
func headerLen(v Version) int {
	switch v {
	case TypeI:
		return 0
	case TypeII:
		return GREWordLen + TypeIIHeaderLen
	default:
		return GREWordLen + TypeIIIHeaderLen
	}
}
