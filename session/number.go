package session

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ParseNumber reads an integer as people write it: decimal, or hexadecimal with 0x, and nothing else. In particular
// 010 is refused: it is 8 to C, 10 to a reader, and 16 to some of Open vSwitch's options, and a wrong session id is
// only noticed at the far end.
func ParseNumber(text string) (int, error) {
	digits, negative := strings.CutPrefix(text, "-")
	base := 10
	if hex, ok := cutHexPrefix(digits); ok {
		digits, base = hex, 16
	} else if len(digits) > 1 && digits[0] == '0' && strings.Trim(digits, "0123456789") == "" {
		plain := strings.TrimLeft(digits, "0")
		if plain == "" {
			plain = "0"
		}
		return 0, fmt.Errorf("%q has a leading zero: write %s for decimal or 0x%s for hexadecimal; octal is not read", text, plain, plain)
	}
	n, err := strconv.ParseUint(digits, base, 63) // one bit short: the sign is ours
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("%q is too large", text)
	case err != nil:
		return 0, fmt.Errorf("%q is not a number: write it in decimal, or in hexadecimal with 0x", text)
	case negative:
		return -int(n), nil
	}
	return int(n), nil
}

func cutHexPrefix(s string) (string, bool) {
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		return hex, true
	}
	return strings.CutPrefix(s, "0X")
}
