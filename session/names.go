package session

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Longest texts, in bytes for names and in characters for the description.
const (
	MaxNameLen        = 63
	MaxDescriptionLen = 256
	// MaxPortNameLen is the longest name of a bridge or port that is taken. Kernel devices have at most 15 characters
	// (IFNAMSIZ less its terminator); ports that only Open vSwitch knows may have more.
	MaxPortNameLen = 255
	// maxDeviceNameLen is Linux's IFNAMSIZ less the terminating zero.
	maxDeviceNameLen = 15
)

// IfaceIDPrefix begins a source that names its port by Interface.external_ids:iface-id.
const IfaceIDPrefix = "iface-id="

// IfaceID is the identity that a source asks for, and whether it asks for one rather than for a port's name.
func IfaceID(source string) (id string, ok bool) { return strings.CutPrefix(source, IfaceIDPrefix) }

// allowedNames is what [CheckName] allows, for errors.
const allowedNames = "1 to 63 characters out of a-z, 0-9, '-' and '.', the first one a letter or digit"

// CheckName reports what is wrong with a session's name. Names are this narrow because they become part of OVSDB keys,
// port names and files.
func CheckName(name string) error {
	if isName(name) {
		return nil
	}
	e := &FieldError{Field: "name", Value: name, Allowed: allowedNames}
	if name == "" {
		e.Reason = "is required"
	}
	if lower := strings.ToLower(name); lower != name && isName(lower) {
		e.Remedy = "write " + lower
	}
	return e
}

func isName(text string) bool {
	const first, rest = "abcdefghijklmnopqrstuvwxyz0123456789", ".-"
	return text != "" && len(text) <= MaxNameLen && strings.Contains(first, text[:1]) && strings.Trim(text, first+rest) == ""
}

// portNameFault is why Open vSwitch could not have a bridge or port of that name, or "".
func portNameFault(name string) string {
	switch {
	case !utf8.ValidString(name):
		return "is not UTF-8"
	case len(name) > MaxPortNameLen:
		return "is longer than any port's name"
	case strings.ContainsFunc(name, unicode.IsSpace):
		return "has white space in it, which no port's name has"
	case strings.ContainsFunc(name, unprintable):
		return "has a control character in it"
	case strings.Contains(name, "/"):
		return "has a '/' in it, which no port's name has"
	}
	return ""
}

// unprintable holds for characters that could break a line or disguise what stands on it.
func unprintable(r rune) bool { return !unicode.IsPrint(r) }
