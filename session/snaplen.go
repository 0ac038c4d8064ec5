package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// Snaplen says how many bytes of each frame are sent. Its zero value is SnaplenAuto. In JSON and YAML it is "auto",
// "off" or a number.
type Snaplen struct{ bytes int }

var (
	// SnaplenAuto sends what the path to the collector takes.
	SnaplenAuto = Snaplen{}
	// SnaplenOff sends whole frames.
	SnaplenOff = Snaplen{bytes: -1}
)

// Limits of a snaplen in bytes. OVS truncates to no less than an Ethernet header (ovs-actions(7), output: max_len), and
// a frame on the wire is at most 65535 bytes long.
const (
	MinSnaplen = 14
	MaxSnaplen = 65535
)

// allowedSnaplen is what [ParseSnaplen] allows, for errors.
var allowedSnaplen = fmt.Sprintf("auto, off, or a number of bytes in %d..%d", MinSnaplen, MaxSnaplen)

// SnaplenBytes is a snaplen of n bytes.
func SnaplenBytes(n int) Snaplen { return Snaplen{bytes: n} }

// Bytes is the number that the user set; ok is false for auto and off.
func (s Snaplen) Bytes() (n int, ok bool) { return s.bytes, s.bytes > 0 }

// String is "auto", "off" or the number.
func (s Snaplen) String() string {
	switch s {
	case SnaplenAuto:
		return "auto"
	case SnaplenOff:
		return "off"
	}
	return strconv.Itoa(s.bytes)
}

// IsZero reports whether s is the default, SnaplenAuto.
func (s Snaplen) IsZero() bool { return s == SnaplenAuto }

// ParseSnaplen reads "auto", "off", or a number of bytes, MinSnaplen..MaxSnaplen, as [ParseNumber] does.
func ParseSnaplen(text string) (Snaplen, error) {
	switch text {
	case "auto":
		return SnaplenAuto, nil
	case "off":
		return SnaplenOff, nil
	}
	n, err := ParseNumber(text)
	if err != nil {
		return Snaplen{}, fmt.Errorf("snaplen %w; want %s", err, allowedSnaplen)
	}
	if n < MinSnaplen || n > MaxSnaplen {
		return Snaplen{}, fmt.Errorf("snaplen %s: want %s", Quote(text), allowedSnaplen)
	}
	return SnaplenBytes(n), nil
}

// MarshalJSON writes "auto", "off" or a number.
func (s Snaplen) MarshalJSON() ([]byte, error) {
	if n, ok := s.Bytes(); ok {
		return json.Marshal(n)
	}
	return json.Marshal(s.String())
}

// UnmarshalJSON reads what MarshalJSON writes. A null changes nothing, as everywhere in encoding/json.
func (s *Snaplen) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	var text string
	if data[0] == '"' {
		if err := json.Unmarshal(data, &text); err != nil {
			return err
		}
	} else {
		var n int
		if err := json.Unmarshal(data, &n); err != nil {
			return errors.New("snaplen " + quoteValue(string(data)) + ": want " + allowedSnaplen)
		}
		text = strconv.Itoa(n)
	}
	parsed, err := ParseSnaplen(text)
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}
