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
	sign, digits := "", text
	if rest, ok := strings.CutPrefix(text, "-"); ok {
		sign, digits = "-", rest
	}
	base := 10
	if hex, ok := cutHexPrefix(digits); ok {
		digits, base = hex, 16
	} else if len(digits) > 1 && digits[0] == '0' && strings.Trim(digits, "0123456789") == "" {
		plain := strings.TrimLeft(digits[:len(digits)-1], "0") + digits[len(digits)-1:]
		return 0, fmt.Errorf("%s has a leading zero: write %s for decimal or 0x%s for hexadecimal; octal is not read", Quote(text), shorten(plain), shorten(plain))
	}
	if strings.HasPrefix(digits, "-") || strings.HasPrefix(digits, "+") {
		digits = "" // strconv would take a second sign
	}
	n, err := strconv.ParseInt(sign+digits, base, strconv.IntSize)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("%s is out of every range", Quote(text))
	case err != nil:
		return 0, fmt.Errorf("%s is not a number: write it in decimal, or in hexadecimal with 0x", Quote(text))
	}
	return int(n), nil
}

func cutHexPrefix(s string) (string, bool) {
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		return hex, true
	}
	return strings.CutPrefix(s, "0X")
}
