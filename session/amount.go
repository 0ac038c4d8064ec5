package session

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Amount bounds how many packets or bytes a session copies in all; 0 is no bound. In JSON and YAML it is a number, or text
// with k, M, G or T for thousands, such as "10G".
type Amount uint64

// MaxAmount is the largest number that every program reads exactly out of JSON (RFC 8259 section 6).
const MaxAmount Amount = 1<<53 - 1

// allowedAmount is what [ParseAmount] allows, for errors.
var allowedAmount = fmt.Sprintf("a whole number in 1..%d, with k, M, G or T for thousands", MaxAmount)

// ParseAmount reads an amount.
func ParseAmount(text string) (Amount, error) {
	n, err := parseCount(text)
	if err != nil || n < 1 || n > uint64(MaxAmount) {
		return 0, fmt.Errorf("%s: want %s", Quote(text), allowedAmount)
	}
	return Amount(n), nil
}

// String is the plain number; nothing for no bound.
func (a Amount) String() string {
	if a == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(a), 10)
}

// UnmarshalJSON reads a number, or text as [ParseAmount] does. A null changes nothing, as everywhere in encoding/json.
func (a *Amount) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	text := string(data)
	if data[0] == '"' {
		if err := json.Unmarshal(data, &text); err != nil {
			return err
		}
	}
	n, err := ParseAmount(text)
	if err != nil {
		return err
	}
	*a = n
	return nil
}

// Used is what of a session's MaxPackets and MaxBytes is used up. It is kept in the session's status, and carries on where
// Open vSwitch, whose counters it is taken from, begins anew.
type Used struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
	// Round is that of the session as counted; another means that counting begins anew.
	Round uint64 `json:"round,omitempty"`
	// Seen are the counters as they were when they were last looked at, and At when that was, in nanoseconds of Unix time.
	SeenPackets uint64 `json:"seenPackets"`
	SeenBytes   uint64 `json:"seenBytes"`
	At          int64  `json:"at,omitempty"`
}

// Bounded tells whether the session ends after so many packets or bytes.
func (s Session) Bounded() bool { return s.MaxPackets > 0 || s.MaxBytes > 0 }

// LimitReached says which of its bounds the session has reached; "" where none.
func (s Stored) LimitReached() string {
	switch {
	case s.MaxPackets > 0 && s.Used.Packets >= uint64(s.MaxPackets):
		return fmt.Sprintf("%d packets of at most %d (maxPackets)", s.Used.Packets, s.MaxPackets)
	case s.MaxBytes > 0 && s.Used.Bytes >= uint64(s.MaxBytes):
		return fmt.Sprintf("%d bytes of at most %d (maxBytes)", s.Used.Bytes, s.MaxBytes)
	}
	return ""
}

// Stopped tells whether the session is to do nothing: the user disabled it, or it has reached a bound.
func (s Stored) Stopped() bool { return s.Disabled || s.LimitReached() != "" }
