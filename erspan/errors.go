package erspan

import "fmt"

// Error is why a packet could not be decoded, or not wholly. It is a value of its own kind so that returning one
// costs no allocation; compare with == or errors.Is.
type Error uint8

// What can be wrong with a packet.
const (
	_ Error = iota

	ErrNotIP     // the outer Ethernet frame carries something else
	ErrNotGRE    // the outer IP packet carries something else
	ErrNotERSPAN // the GRE header names another protocol

	ErrShortEthernet // ends in the outer Ethernet header or its tags
	ErrShortIP       // ends in the outer IP header or its extensions
	ErrShortGRE      // ends in the GRE header
	ErrShortHeader   // ends in the ERSPAN header or its subheader
	ErrShortInner    // ends before the mirrored frame's own header is whole

	ErrIPVersion  // the IP version is neither 4 nor 6, or not the one asked for
	ErrIPHeader   // the IP header contradicts itself
	ErrGREVersion // the GRE version is not 0
	ErrGRERouting // the GRE source route has no end
	ErrFragment   // a fragment of an outer packet; decoded as far as a first fragment goes
)

var errorTexts = [...]string{
	ErrNotIP:         "not IP",
	ErrNotGRE:        "not GRE",
	ErrNotERSPAN:     "GRE, but not ERSPAN",
	ErrShortEthernet: "cut short in the outer Ethernet header",
	ErrShortIP:       "cut short in the outer IP header",
	ErrShortGRE:      "cut short in the GRE header",
	ErrShortHeader:   "cut short in the ERSPAN header",
	ErrShortInner:    "cut short in the mirrored frame's header",
	ErrIPVersion:     "not the IP version that was expected",
	ErrIPHeader:      "malformed outer IP header",
	ErrGREVersion:    "unknown GRE version",
	ErrGRERouting:    "malformed GRE source route",
	ErrFragment:      "fragment of an outer IP packet",
}

// Error implements error.
func (e Error) Error() string {
	if int(e) < len(errorTexts) && errorTexts[e] != "" {
		return errorTexts[e]
	}
	return fmt.Sprintf("ERSPAN decode error %d", uint8(e))
}

// Foreign reports whether the packet is well-formed traffic of another kind, rather than broken ERSPAN.
func (e Error) Foreign() bool { return e == ErrNotIP || e == ErrNotGRE || e == ErrNotERSPAN }

// RangeError is a value that does not fit its header field.
type RangeError struct {
	Field string // as the draft names it, such as "session id"
	Value uint64
	Max   uint64
}

// Error names the field, the value and what is allowed.
func (e *RangeError) Error() string {
	return fmt.Sprintf("ERSPAN %s %d: allowed are 0 to %d", e.Field, e.Value, e.Max)
}
