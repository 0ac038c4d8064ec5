package openflow

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// Types of actions and instructions (OpenFlow 1.4.1 sections 7.2.4 and 7.2.5), and subtypes of Open vSwitch's own
// (lib/ofp-actions.c).
const (
	actionOutput       = 0
	actionPopVLAN      = 18
	actionSetField     = 25
	actionExperimenter = 0xffff

	niciraMove        = 6
	niciraResubmit    = 14 // to a table
	niciraOutputTrunc = 39
	niciraClone       = 42
	niciraPktLarger   = 49

	instructionGoto  = 1
	instructionApply = 4
	instructionMeter = 6

	inPortNumber = 0xfff8 // OFPP_IN_PORT of OpenFlow 1.0
	localPort    = "port=65534"
)

// encodeActions makes the instructions of actions in canonical text. "drop" is none.
func encodeActions(text string) ([]byte, error) {
	if text == "drop" {
		return nil, nil
	}
	var b, actions, goTo []byte
	for _, a := range splitActions(text) {
		if table, ok := strings.CutPrefix(a, "goto_table:"); ok {
			n, err := strconv.ParseUint(table, 10, 8)
			if err != nil {
				return nil, notNative("%q", a)
			}
			goTo = []byte{0, instructionGoto, 0, 8, byte(n), 0, 0, 0}
			continue
		}
		if goTo != nil {
			return nil, notNative("actions after goto_table")
		}
		if meter, ok := strings.CutPrefix(a, "meter:"); ok {
			n, err := strconv.ParseUint(meter, 10, 32)
			if err != nil || len(b)+len(actions) > 0 { // an instruction, and the first that is carried out
				return nil, notNative("%q", a)
			}
			b = binary.BigEndian.AppendUint32([]byte{0, instructionMeter, 0, 8}, uint32(n))
			continue
		}
		var err error
		if actions, err = appendAction(actions, a); err != nil {
			return nil, err
		}
	}
	if len(actions) > 0 {
		if len(actions) > 0xffff-8 {
			return nil, notNative("%d bytes of actions", len(actions))
		}
		b = append(b, 0, instructionApply, byte((len(actions)+8)>>8), byte(len(actions)+8), 0, 0, 0, 0)
		b = append(b, actions...)
	}
	return append(b, goTo...), nil
}

// splitActions splits at the commas that are not within parentheses.
func splitActions(text string) []string {
	var parts []string
	depth, start := 0, 0
	for i, r := range text {
		switch {
		case r == '(':
			depth++
		case r == ')':
			depth--
		case r == ',' && depth == 0:
			parts, start = append(parts, text[start:i]), i+1
		}
	}
	return append(parts, text[start:])
}

func appendAction(b []byte, text string) ([]byte, error) {
	start := len(b)
	var err error
	switch {
	case text == "pop_vlan":
		b = append(b, 0, actionPopVLAN, 0, 0, 0, 0, 0, 0)
	case strings.HasPrefix(text, "set_field:"):
		b, err = appendSetField(b, text)
	case strings.HasPrefix(text, "move:"):
		b, err = appendMove(b, text)
	case strings.HasPrefix(text, "check_pkt_larger("):
		b, err = appendPktLarger(b, text)
	case strings.HasPrefix(text, "resubmit(,"):
		var table byte
		if _, err := fmt.Sscanf(text, "resubmit(,%d)", &table); err != nil {
			return nil, notNative("%q", text)
		}
		b = nicira(b, niciraResubmit)
		b = binary.BigEndian.AppendUint16(b, inPortNumber)
		b = append(b, table, 0, 0, 0)
	case strings.HasPrefix(text, "output(port="):
		var port uint16
		var maxLen uint32
		if _, err := fmt.Sscanf(strings.Replace(text, "port=LOCAL", localPort, 1), "output(port=%d,max_len=%d)", &port, &maxLen); err != nil {
			return nil, notNative("%q", text)
		}
		b = nicira(b, niciraOutputTrunc)
		b = binary.BigEndian.AppendUint16(b, port)
		b = binary.BigEndian.AppendUint32(b, maxLen)
	case strings.HasPrefix(text, "output:"):
		n, perr := strconv.ParseUint(strings.TrimPrefix(text, "output:"), 10, 16)
		if perr != nil {
			return nil, notNative("%q", text)
		}
		b = append(b, 0, actionOutput, 0, 0)
		b = binary.BigEndian.AppendUint32(b, uint32(n))
		b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	case strings.HasPrefix(text, "clone(") && strings.HasSuffix(text, ")"):
		b = append(nicira(b, niciraClone), 0, 0, 0, 0, 0, 0)
		for _, inner := range splitActions(text[len("clone(") : len(text)-1]) {
			if b, err = appendAction(b, inner); err != nil {
				return nil, err
			}
		}
	default:
		return nil, notNative("action %q", text)
	}
	if err != nil {
		return nil, err
	}
	for (len(b)-start)%8 != 0 {
		b = append(b, 0)
	}
	if len(b)-start > 0xffff {
		return nil, notNative("an action of %d bytes", len(b)-start)
	}
	binary.BigEndian.PutUint16(b[start+2:], uint16(len(b)-start))
	return b, nil
}

// nicira begins one of Open vSwitch's own actions; its length comes later.
func nicira(b []byte, subtype uint16) []byte {
	b = append(b, 0xff, 0xff, 0, 0)
	b = binary.BigEndian.AppendUint32(b, vendorNicira)
	return binary.BigEndian.AppendUint16(b, subtype)
}

// appendSetField: "set_field:VALUE->FIELD", the whole field.
func appendSetField(b []byte, text string) ([]byte, error) {
	value, name, ok := strings.Cut(strings.TrimPrefix(text, "set_field:"), "->")
	if !ok || strings.Contains(value, "/") {
		return nil, notNative("%q", text)
	}
	f, err := fieldNamed(name, 0)
	if err != nil {
		return nil, err
	}
	v, err := f.value(value, false)
	if err != nil {
		return nil, err
	}
	return f.put(append(b, 0, actionSetField, 0, 0), v, nil), nil
}

// bitRange is a part of a field: "NXM_NX_REG0[0..5]", "NXM_NX_REG0[]".
type bitRange struct {
	field
	first, bits int
}

func parseBitRange(text string) (bitRange, error) {
	name, span, ok := strings.Cut(text, "[")
	r := bitRange{}
	known := false
	for _, f := range fields {
		if moveName(f) == name {
			r.field, known = f, true
		}
	}
	if !ok || !known || !strings.HasSuffix(span, "]") {
		return r, notNative("%q", text)
	}
	r.bits = fieldBits(r.field)
	if span = strings.TrimSuffix(span, "]"); span == "" {
		return r, nil
	}
	last := 0
	if n, _ := fmt.Sscanf(span, "%d..%d", &r.first, &last); n == 1 {
		last = r.first
	} else if n != 2 {
		return r, notNative("%q", text)
	}
	r.bits = last - r.first + 1
	return r, nil
}

func (r bitRange) String() string {
	switch {
	case r.first == 0 && r.bits == fieldBits(r.field):
		return moveName(r.field) + "[]"
	case r.bits == 1:
		return fmt.Sprintf("%s[%d]", moveName(r.field), r.first)
	}
	return fmt.Sprintf("%s[%d..%d]", moveName(r.field), r.first, r.first+r.bits-1)
}

// moveName is the name by which "move" knows a field, "" where we never move it.
func moveName(f field) string {
	switch {
	case f.oxm.class == classExperimenter:
		return "NXOXM_ET_" + strings.ToUpper(strings.TrimPrefix(f.name, "tun_"))
	case strings.HasPrefix(f.name, "reg"):
		return "NXM_NX_" + strings.ToUpper(f.name)
	}
	return ""
}

// fieldBits is how many bits a field that we move has.
func fieldBits(f field) int {
	switch f.name {
	case "tun_erspan_idx":
		return 20
	case "tun_erspan_ver":
		return 4
	case "tun_erspan_dir":
		return 1
	case "tun_erspan_hwid":
		return 6
	}
	return 8 * f.size
}

func appendMove(b []byte, text string) ([]byte, error) {
	from, to, _ := strings.Cut(strings.TrimPrefix(text, "move:"), "->")
	src, err := parseBitRange(from)
	if err != nil {
		return nil, err
	}
	dst, err := parseBitRange(to)
	if err != nil {
		return nil, err
	}
	if src.bits != dst.bits {
		return nil, notNative("%q", text)
	}
	b = nicira(b, niciraMove)
	for _, n := range []int{src.bits, src.first, dst.first} {
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	}
	return header(header(b, src.field), dst.field), nil
}

// appendPktLarger: "check_pkt_larger(SIZE)->FIELD[BIT]".
func appendPktLarger(b []byte, text string) ([]byte, error) {
	size, to, _ := strings.Cut(strings.TrimPrefix(text, "check_pkt_larger("), ")->")
	n, err := strconv.ParseUint(size, 10, 16)
	if err != nil {
		return nil, notNative("%q", text)
	}
	dst, err := parseBitRange(to)
	if err != nil {
		return nil, err
	}
	if dst.bits != 1 {
		return nil, notNative("%q", text)
	}
	b = nicira(b, niciraPktLarger)
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	return header(binary.BigEndian.AppendUint16(b, uint16(dst.first)), dst.field), nil
}

// header writes a field's header alone: its length is that of the value that is not there.
func header(b []byte, f field) []byte {
	whole := f.put(nil, make([]byte, f.size), nil)
	return append(b, whole[:len(whole)-f.size]...)
}

// decodeInstructions writes instructions as canonical text.
func decodeInstructions(b []byte) (string, error) {
	var parts []string
	for len(b) > 0 {
		if len(b) < 8 || len(b) < int(binary.BigEndian.Uint16(b[2:])) || binary.BigEndian.Uint16(b[2:]) < 8 {
			return "", fmt.Errorf("instruction cut short: % x", b)
		}
		body := b[:binary.BigEndian.Uint16(b[2:])]
		switch kind := binary.BigEndian.Uint16(b); kind {
		case instructionGoto:
			parts = append(parts, fmt.Sprintf("goto_table:%d", body[4]))
		case instructionMeter:
			parts = append(parts, fmt.Sprintf("meter:%d", binary.BigEndian.Uint32(body[4:])))
		case instructionApply:
			actions, err := decodeActions(body[8:])
			if err != nil {
				return "", err
			}
			parts = append(parts, actions...)
		default:
			return "", notNative("instruction %d", kind)
		}
		b = b[len(body):]
	}
	if len(parts) == 0 {
		return "drop", nil
	}
	return strings.Join(parts, ","), nil
}

func decodeActions(b []byte) ([]string, error) {
	var parts []string
	for len(b) > 0 {
		if len(b) < 8 || len(b) < int(binary.BigEndian.Uint16(b[2:])) || binary.BigEndian.Uint16(b[2:]) < 8 {
			return nil, fmt.Errorf("action cut short: % x", b)
		}
		body := b[:binary.BigEndian.Uint16(b[2:])]
		text, err := decodeAction(body)
		if err != nil {
			return nil, err
		}
		parts, b = append(parts, text), b[len(body):]
	}
	return parts, nil
}

func decodeAction(b []byte) (string, error) {
	switch kind := binary.BigEndian.Uint16(b); kind {
	case actionPopVLAN:
		return "pop_vlan", nil
	case actionOutput:
		if port := binary.BigEndian.Uint32(b[4:]); len(b) == 16 && port < firstReservedPort {
			return fmt.Sprintf("output:%d", port), nil
		}
		return "", notNative("output to a reserved port")
	case actionSetField:
		f, _, value, mask, _, err := takeField(b[4:])
		if err != nil {
			return "", err
		}
		if mask != nil {
			return "", notNative("set_field with a mask")
		}
		text, err := f.text(value, nil)
		return "set_field:" + text + "->" + f.name, err
	case actionExperimenter:
		if len(b) < 16 || binary.BigEndian.Uint32(b[4:]) != vendorNicira {
			return "", notNative("an experimenter's action")
		}
		return decodeNicira(b)
	default:
		return "", notNative("action %d", kind)
	}
}

func decodeNicira(b []byte) (string, error) {
	switch subtype := binary.BigEndian.Uint16(b[8:]); subtype {
	case niciraResubmit:
		if binary.BigEndian.Uint16(b[10:]) != inPortNumber {
			return "", notNative("resubmit with a port")
		}
		return fmt.Sprintf("resubmit(,%d)", b[12]), nil
	case niciraOutputTrunc:
		text := fmt.Sprintf("output(port=%d,max_len=%d)", binary.BigEndian.Uint16(b[10:]), binary.BigEndian.Uint32(b[12:]))
		return strings.Replace(text, localPort, "port=LOCAL", 1), nil
	case niciraClone:
		inner, err := decodeActions(b[16:])
		if err != nil {
			return "", err
		}
		return "clone(" + strings.Join(inner, ",") + ")", nil
	case niciraMove:
		return decodeMove(b)
	case niciraPktLarger:
		dst, _, err := takeHeader(b[14:])
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("check_pkt_larger(%d)->%s", binary.BigEndian.Uint16(b[10:]), bitRange{dst, int(binary.BigEndian.Uint16(b[12:])), 1}), nil
	default:
		return "", notNative("action %d of Open vSwitch", subtype)
	}
}

func decodeMove(b []byte) (string, error) {
	bits := int(binary.BigEndian.Uint16(b[10:]))
	src, rest, err := takeHeader(b[16:])
	if err != nil {
		return "", err
	}
	dst, _, err := takeHeader(rest)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("move:%s->%s", bitRange{src, int(binary.BigEndian.Uint16(b[12:])), bits}, bitRange{dst, int(binary.BigEndian.Uint16(b[14:])), bits}), nil
}

// takeHeader takes a field's header, without a value, off the front of b.
func takeHeader(b []byte) (field, []byte, error) {
	if len(b) < 4 {
		return field{}, nil, fmt.Errorf("move cut short")
	}
	id, length := oxm{binary.BigEndian.Uint16(b), b[2] >> 1}, 4
	if id.class == classExperimenter {
		length = 8
		if len(b) < length || binary.BigEndian.Uint32(b[4:]) != vendorNicira {
			return field{}, nil, notNative("an experimenter's OXM field")
		}
	}
	f, _, err := fieldOf(id)
	if err == nil && moveName(f) == "" {
		err = notNative("move of %s", f.name)
	}
	return f, b[length:], err
}
