package session

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxMatchLen is the longest match expression in bytes. OVS has no limit of its own; every field of it fits here
// several times over.
const MaxMatchLen = 4096

// MatchError says why a match expression was refused.
type MatchError struct {
	// Word is the part that is wrong; "" where it is the whole.
	Word string
	// Reason is why.
	Reason string
}

func (e *MatchError) Error() string {
	if e.Word == "" {
		return "the match " + e.Reason
	}
	return quoteValue(e.Word) + ": " + e.Reason
}

// CheckMatch reports what can be seen, without Open vSwitch, to be wrong with a match expression. A match is a list of
// protocols (tcp) and FIELD=VALUE, as in ovs-fields(7), separated by commas or spaces; subfields (ip_src[0..7]=1) are
// allowed.
//
// It refuses what would not stay a match inside a flow, and what OVS would silently read as something else than is
// written there: words that are no part of the frame, other parts of a flow, a field without a value, a protocol with
// one, a protocol that replaces another (in "ipv6,tcp", tcp is TCP over IPv4), a field given twice, of which OVS takes
// the last. The names and values of fields are for OVS to judge.
//
// The error is a [MatchError].
func CheckMatch(expr string) error {
	_, err := parseMatch(expr)
	if err != nil {
		return err // not nil in an interface
	}
	return nil
}

// term is one part of a match: a protocol, or a field and its value.
type term struct {
	name     string // as written, without the bits of a subfield
	bits     string // "[0..3]", or ""
	value    string
	hasValue bool
}

func (t term) String() string {
	if !t.hasValue {
		return t.name + t.bits
	}
	return t.name + t.bits + "=" + t.value
}

func parseMatch(expr string) ([]term, *MatchError) {
	if err := checkMatchText(expr); err != nil {
		return nil, err
	}
	var terms []term
	for _, text := range strings.FieldsFunc(expr, func(r rune) bool { return r == ',' || r == ' ' }) {
		t, err := parseTerm(text)
		if err != nil {
			return nil, err
		}
		terms = append(terms, t)
	}
	if len(terms) == 0 {
		return nil, &MatchError{Reason: "is empty: leave the rule out to take all traffic"}
	}
	if err := checkContradictions(terms); err != nil {
		return nil, err
	}
	return terms, nil
}

// checkMatchText looks at the characters. What is left is what OVS's matches are written with; all else is refused
// because it could end the line or the match, or begin a comment, on the way to OVS.
func checkMatchText(expr string) *MatchError {
	if len(expr) > MaxMatchLen {
		return &MatchError{Reason: fmt.Sprintf("is %d bytes long: at most %d are taken", len(expr), MaxMatchLen)}
	}
	for i, r := range expr {
		switch {
		case r == '\n' || r == '\r':
			return &MatchError{Reason: "has a line break in it: write one rule for each match"}
		case unprintable(r):
			return &MatchError{Word: expr[i : i+runeLen(expr[i:])], Reason: "control characters have no place in a match"}
		case r == '#':
			return &MatchError{Word: "#", Reason: "begins a comment in OVS's flow files"}
		case r == '(' || r == ')':
			return &MatchError{Word: string(r), Reason: "write FIELD=VALUE, without parentheses"}
		case !strings.ContainsRune(" _,.:=/+-|[]*", r) && (r > 'z' || !isAlphanumeric(byte(r))):
			return &MatchError{Word: string(r), Reason: "is not a character that matches are written with"}
		}
	}
	// OVS cuts a flow in two at the first "action", even within a word.
	if strings.Contains(strings.ToLower(expr), "action") {
		return &MatchError{Word: "action", Reason: reasonNotMatch}
	}
	return nil
}

func parseTerm(text string) (term, *MatchError) {
	var t term
	t.name, t.value, t.hasValue = strings.Cut(text, "=")
	if i := strings.IndexByte(t.name, '['); i >= 0 {
		t.name, t.bits = t.name[:i], t.name[i:]
	}
	if t.name == "" {
		return t, &MatchError{Word: text, Reason: "has no field before '=': write FIELD=VALUE, without spaces around '='"}
	}
	lower := strings.ToLower(t.name)
	if reason := foreignWord(strings.TrimRight(cutAtColon(lower), "]")); reason != "" {
		return t, &MatchError{Word: t.name, Reason: reason}
	}
	switch {
	case strings.ContainsRune(t.name, ':'):
		return t, &MatchError{Word: text, Reason: "write FIELD=VALUE, with '=' instead of ':'"}
	case strings.Trim(lower, "abcdefghijklmnopqrstuvwxyz0123456789_") != "":
		return t, &MatchError{Word: text, Reason: "is not a field's name"}
	case lower != t.name:
		return t, &MatchError{Word: t.name, Reason: "names are in lower case: write " + lower}
	}
	_, isProtocol := protocols[t.name]
	switch {
	case isProtocol && (t.hasValue || t.bits != ""):
		return t, &MatchError{Word: text, Reason: t.name + " takes no value: OVS would ignore it"}
	case !isProtocol && !t.hasValue:
		return t, &MatchError{Word: text, Reason: "has no value: write FIELD=VALUE, without spaces around '='; only the protocols stand alone, which are " + protocolNames}
	case t.hasValue && t.value == "":
		return t, &MatchError{Word: text, Reason: "has no value: write FIELD=VALUE, without spaces around '='"}
	}
	return t, checkValue(t)
}

// narrow are the fields of a part of a byte, with their largest value: of more, OVS silently takes the low bits, and
// ip_dscp=64 would match all that has no DSCP (ovs-fields(7), "Width"; measured on 3.1).
var narrow = map[string]uint64{
	"vlan_pcp": 7, "dl_vlan_pcp": 7, "ip_dscp": 63, "ip_ecn": 3, "nw_ecn": 3, "mpls_tc": 7, "mpls_bos": 1, "mpls_label": 1<<20 - 1, "ipv6_label": 1<<20 - 1, "arp_op": 255,
}

// checkValue refuses values that OVS would read as others.
func checkValue(t term) *MatchError {
	n, err := strconv.ParseUint(t.value, 0, 64)
	if err != nil || t.bits != "" {
		return checkVLAN(t)
	}
	if most, ok := narrow[t.name]; ok && n > most {
		return &MatchError{Word: t.String(), Reason: fmt.Sprintf("want 0..%d: OVS would read it as another one", most)}
	}
	if t.name == "nw_tos" && n <= 255 && n&3 != 0 {
		return &MatchError{Word: t.String(), Reason: "nw_tos is the DSCP times 4: write ip_dscp and ip_ecn"}
	}
	return checkVLAN(t)
}

// checkVLAN refuses VLANs that OVS would read as others: it takes the low 12 bits, dl_vlan=4096 for VLAN 0.
func checkVLAN(t term) *MatchError {
	if t.name != "dl_vlan" && t.name != "vlan_vid" || t.bits != "" {
		return nil
	}
	// dl_vlan=0xffff is how ovs-fields(7) writes "no VLAN"; vlan_vid has the bit 0x1000 for "a VLAN", and takes a mask.
	const untagged, present = 0xffff, 0x1000
	n, err := strconv.ParseUint(t.value, 0, 64)
	if err != nil || n < present || t.name == "dl_vlan" && n == untagged || t.name == "vlan_vid" && n < 2*present {
		return nil
	}
	return &MatchError{Word: t.String(), Reason: "VLANs are 0..4095: OVS would read it as another one"}
}

// checkContradictions refuses what OVS would resolve silently, by taking the last.
func checkContradictions(terms []term) *MatchError {
	seen := map[string]string{} // canonical field -> as written
	var stack protocol
	var last string // the protocol that set stack
	for _, t := range terms {
		p, isProtocol := protocols[t.name]
		if !isProtocol {
			field := canonicalField(t.name)
			if field == "eth_type" && stack.etherType != 0 || field == "nw_proto" && stack.ipProto != 0 {
				return &MatchError{Word: t.String(), Reason: last + " already says that, and OVS takes the last: leave one of them out"}
			}
			if before, ok := seen[field]; ok && t.bits == "" {
				return &MatchError{Word: t.String(), Reason: before + " is the same field, of which OVS takes the last: write one rule for each"}
			}
			if t.bits == "" {
				seen[field] = t.String()
			}
			continue
		}
		if p.etherType == 0 {
			continue
		}
		if given := seen["eth_type"]; given != "" {
			return &MatchError{Word: t.name, Reason: given + " already says that, and OVS takes the last: leave one of them out"}
		}
		if given := seen["nw_proto"]; given != "" && p.ipProto != 0 {
			return &MatchError{Word: t.name, Reason: given + " already says that, and OVS takes the last: leave one of them out"}
		}
		if clash(stack, p) {
			return &MatchError{Word: t.name, Reason: replaces(last, t.name)}
		}
		if stack.ipProto == 0 {
			stack, last = p, t.name
		}
	}
	return checkICMPPorts(terms)
}

// checkICMPPorts refuses ports of ICMP: there tp_src and tp_dst are type and code, which nobody expects.
func checkICMPPorts(terms []term) *MatchError {
	if !isICMP(terms) {
		return nil
	}
	for _, t := range terms {
		if instead, ok := map[string]string{"tp_src": "icmp_type", "tp_dst": "icmp_code"}[canonicalField(t.name)]; ok {
			return &MatchError{Word: t.String(), Reason: "ICMP has no ports: write " + instead + " (icmpv6_type, icmpv6_code with icmp6)"}
		}
	}
	return nil
}

func isICMP(terms []term) bool {
	const icmp4, icmp6 = 1, 58 // IANA protocol numbers
	for _, t := range terms {
		p := int(protocols[t.name].ipProto)
		if canonicalField(t.name) == "nw_proto" && t.hasValue {
			p = t.number()
		}
		if p == icmp4 || p == icmp6 {
			return true
		}
	}
	return false
}

// clash holds when a frame cannot be of both protocols.
func clash(a, b protocol) bool {
	return a.etherType != 0 && a.etherType != b.etherType || a.ipProto != 0 && b.ipProto != 0 && a.ipProto != b.ipProto
}

func replaces(before, after string) string {
	reason := fmt.Sprintf("OVS would take it instead of %s, not with it: write one rule for each", before)
	if _, ok := protocols[after+"6"]; ok && before == "ipv6" {
		reason = fmt.Sprintf("%s is IPv4 to OVS: write %s6 for IPv6", after, after)
	}
	return reason
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func cutAtColon(s string) string {
	before, _, _ := strings.Cut(s, ":")
	return before
}

// runeLen is the number of bytes of the first character of s, 1 for a byte that is not UTF-8.
func runeLen(s string) int {
	for i := range s {
		if i > 0 {
			return i
		}
	}
	return len(s)
}

// number reads a value of nw_proto, 0x allowed; -1 if it is not a plain number.
func (t term) number() int {
	n, err := strconv.ParseInt(t.value, 0, 32)
	if err != nil {
		return -1
	}
	return int(n)
}
