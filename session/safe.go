package session

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Safe is a text of others as it may be shown, on one line: what a terminal would act on, what hides or turns around what stands
// there, and new lines are escaped as in Go's strings. Everything that others have written, such as names of ports or keys of the
// store, goes through it, [SafeJSON] or [ShellWord].
func Safe(text string) string {
	text = strings.ToValidUTF8(text, "\ufffd")
	if strings.IndexFunc(text, func(r rune) bool { return !strconv.IsPrint(r) }) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

// ShellWord is a text as one word of a shell's command line, which may be pasted: as it is, in single quotes, or, where it has
// characters that are not shown, in bash's $'…'.
func ShellWord(text string) string {
	switch {
	case text != "" && strings.Trim(text, shellSafe) == "":
		return text
	case Safe(text) == text:
		return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
	}
	var b strings.Builder
	for _, c := range []byte(text) {
		switch {
		case c == '\'' || c == '\\':
			b.WriteString(`\` + string(rune(c)))
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	return "$'" + b.String() + "'"
}

// shellSafe are characters that no shell acts on.
const shellSafe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-"

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
