package session

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// FieldError says that one field of a session cannot be what it is, so that a user can put it right without looking
// anything up: the field, its value, why it was refused, what is allowed, and what to do. Allowed and Remedy are left
// out where Reason says it all.
type FieldError struct {
	// Session is the session's name; "" for a value that belongs to none.
	Session string `json:"session,omitempty"`
	// Line is where the field stands in a YAML file, from 1; 0 where there is none.
	Line int `json:"line,omitempty"`
	// Field is the path as in YAML, such as "erspan.sessionID" or "sources.ports[1]".
	Field string `json:"field"`
	// Value is what the field held, as text; "" where it held nothing.
	Value string `json:"value,omitempty"`
	// Reason is why it was refused.
	Reason string `json:"reason,omitempty"`
	// Allowed is what the field may hold.
	Allowed string `json:"allowed,omitempty"`
	// Remedy is what to do.
	Remedy string `json:"remedy,omitempty"`
}

// Error is one line, such as
//
//	session "web": erspan.version 3: want 1 (Type II) or 2 (Type III); ERSPAN Type III is version 2
func (e *FieldError) Error() string {
	var b strings.Builder
	if e.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", e.Line)
	}
	if e.Session != "" {
		fmt.Fprintf(&b, "session %q: ", e.Session)
	}
	b.WriteString(e.Field)
	if e.Value != "" {
		b.WriteString(" " + quoteValue(e.Value))
	}
	separator := ": "
	for _, part := range []string{e.Reason, prefixed("want ", e.Allowed), e.Remedy} {
		if part != "" {
			b.WriteString(separator + part)
			separator = "; "
		}
	}
	return b.String()
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

// longestValue is how much of a value an error repeats, in bytes: enough to recognise it, and still one line.
const longestValue = 80

// quoteValue shows a value as it was typed, in quotes where it would otherwise run into the sentence or the terminal.
func quoteValue(v string) string {
	if len(v) > longestValue {
		cut := longestValue
		for cut > 0 && !utf8.RuneStart(v[cut]) {
			cut--
		}
		v = v[:cut] + "…"
	}
	for _, r := range v {
		if r <= ' ' || r == '"' || r == ';' || r == utf8.RuneError || !strconv.IsPrint(r) {
			return strconv.Quote(v)
		}
	}
	return v
}

// Flatten lists the errors that were joined in err, depth first, so that each can be printed on a line of its own. An
// error that joins nothing, or that wraps several in a sentence of its own, is a list of one; nil is an empty list.
func Flatten(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || err.Error() != errors.Join(joined.Unwrap()...).Error() {
		return []error{err}
	}
	var list []error
	for _, e := range joined.Unwrap() {
		list = append(list, Flatten(e)...)
	}
	return list
}

// faults collects what is wrong with one session.
type faults struct {
	session string
	list    []error
}

func (f *faults) add(e FieldError) {
	e.Session = f.session
	f.list = append(f.list, &e)
}

// err is nil when nothing was collected.
func (f *faults) err() error { return errors.Join(f.list...) }
