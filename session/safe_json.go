package session

import (
	"fmt"
	"strconv"
	"unicode/utf8"
)

// SafeJSON is JSON with every character escaped that a terminal could act on, or that hides what stands there: control
// characters up to U+009F, and marks that change the direction of writing. It means the same.
func SafeJSON(data []byte) []byte {
	safe := data[:0:0]
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == '\n' || strconv.IsPrint(r) || r > 0xffff: // parsers of YAML take no pair of escapes for one character
			safe = append(safe, data[i:i+size]...)
		default:
			safe = fmt.Appendf(safe, `\u%04x`, r)
		}
		i += size
	}
	return safe
}
