package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Rate bounds the copies of a session: packets, or bits of the mirrored frames, per second. Its zero value is no bound. In
// JSON and YAML it is text such as "1000pps" or "50Mbps".
type Rate struct {
	n    uint64 // packets or bits per second
	bits bool
}

// Limits of a rate. A meter's band counts in packets or in 1000 bits per second, in 32 bits (OpenFlow 1.4.1 section
// 7.3.4.5.1).
const (
	MaxPacketRate = math.MaxUint32
	MinBitRate    = 1000
	MaxBitRate    = math.MaxUint32 * 1000
)

// allowedRate is what [ParseRate] allows, for errors.
const allowedRate = "packets per second, 1pps to 4294967295pps, or bits per second, 1kbps to 4294967295kbps, with k, M or G for thousands, such as 1000pps or 50Mbps"

// PacketsPerSecond and BitsPerSecond make rates. Bits are whole thousands.
func PacketsPerSecond(n uint64) Rate { return Rate{n: n} }

// BitsPerSecond is a rate of n bits per second.
func BitsPerSecond(n uint64) Rate { return Rate{n: n, bits: true} }

// Divided is the rate for each of n, not less than the least there is.
func (r Rate) Divided(n int) Rate {
	switch {
	case r.IsZero() || n < 2:
		return r
	case r.bits:
		return BitsPerSecond(max(r.n/1000/uint64(n), 1) * 1000)
	}
	return PacketsPerSecond(max(r.n/uint64(n), 1))
}

// IsZero reports whether there is no bound.
func (r Rate) IsZero() bool { return r == Rate{} }

// Packets is the number of packets per second; ok is false for a rate in bits, and for none.
func (r Rate) Packets() (n uint64, ok bool) { return r.n, r.n > 0 && !r.bits }

// Bits is the number of bits per second; ok is false for a rate in packets, and for none.
func (r Rate) Bits() (n uint64, ok bool) { return r.n, r.n > 0 && r.bits }

// String writes the rate with the largest of k, M and G that leaves a whole number; nothing for none.
func (r Rate) String() string {
	if r.IsZero() {
		return ""
	}
	n, prefix := r.n, ""
	for _, p := range []string{"k", "M", "G"} {
		if n%1000 != 0 {
			break
		}
		n, prefix = n/1000, p
	}
	unit := "pps"
	if r.bits {
		unit = "bps"
	}
	return strconv.FormatUint(n, 10) + prefix + unit
}

// ParseRate reads a rate: a whole decimal number, k, M or G (thousands), and pps or bps.
func ParseRate(text string) (Rate, error) {
	r, err := parseRate(text)
	if err != nil {
		return Rate{}, fmt.Errorf("rate %s: want %s", Quote(text), allowedRate)
	}
	return r, nil
}

var errRate = errors.New("no rate")

func parseRate(text string) (Rate, error) {
	var r Rate
	number, packets := strings.CutSuffix(text, "pps")
	if !packets {
		if number, r.bits = strings.CutSuffix(text, "bps"); !r.bits {
			return Rate{}, errRate
		}
	}
	n, err := parseCount(number)
	switch {
	case err != nil:
		return Rate{}, err
	case r.bits && (n < MinBitRate || n > MaxBitRate || n%1000 != 0), packets && (n < 1 || n > MaxPacketRate):
		return Rate{}, errRate
	}
	r.n = n
	return r, nil
}

// parseCount reads a whole decimal number with k, M, G or T for thousands. A leading zero is refused as everywhere
// ([ParseNumber]).
func parseCount(text string) (uint64, error) {
	factor := uint64(1)
	for i, prefix := range []string{"k", "M", "G", "T"} {
		if digits, ok := strings.CutSuffix(text, prefix); ok {
			text = digits
			for range i + 1 {
				factor *= 1000
			}
			break
		}
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || text[0] == '0' && len(text) > 1 || text[0] == '+' || n > math.MaxInt64/factor {
		return 0, errRate
	}
	return n * factor, nil
}

// MarshalJSON writes the rate as text.
func (r Rate) MarshalJSON() ([]byte, error) { return json.Marshal(r.String()) }

// UnmarshalJSON reads what MarshalJSON writes. A null changes nothing, as everywhere in encoding/json.
func (r *Rate) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return errors.New("rate " + quoteValue(string(data)) + ": want " + allowedRate)
	}
	parsed, err := ParseRate(text)
	if err != nil {
		return err
	}
	*r = parsed
	return nil
}
