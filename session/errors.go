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
	// Flag is what the user typed for the field, such as "--session-id"; "" where no flag caused the error.
	Flag string `json:"flag,omitempty"`
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
//	--session-id 1024 (erspan.sessionID): want 0..1023
func (e *FieldError) Error() string {
	var b strings.Builder
	if e.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", e.Line)
	}
	if e.Session != "" && e.Flag == "" { // else it is the one that was typed beside the flag
		fmt.Fprintf(&b, "session %s: ", Quote(e.Session))
	}
	what := e.Flag
	if what == "" {
		what = quoteValue(e.Field) // a file may give its fields any name
	}
	b.WriteString(what)
	if e.Value != "" {
		b.WriteString(" " + quoteValue(e.Value))
	}
	if e.Flag != "" {
		b.WriteString(" (" + quoteValue(e.Field) + ")")
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

// About is the session at fault, "" where it is not told of, and the fault without its name and place.
func (e *FieldError) About() (session, fault string) {
	if e.Flag != "" {
		return "", e.Error()
	}
	alone := *e
	alone.Session, alone.Line = "", 0
	return e.Session, alone.Error()
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
	v = shorten(v)
	for _, r := range v {
		if r <= ' ' || r == '"' || r == ';' || r == utf8.RuneError || !strconv.IsPrint(r) {
			return strconv.Quote(v)
		}
	}
	return v
}

// Quote shows a text of someone else's in quotes, on one line and not all of a long one.
func Quote(text string) string { return strconv.Quote(shorten(text)) }

func shorten(v string) string { return shortenTo(v, longestValue) }

func shortenTo(v string, longest int) string {
	if len(v) <= longest {
		return v
	}
	cut := longest
	for cut > 0 && !utf8.RuneStart(v[cut]) {
		cut--
	}
	return v[:cut] + "…"
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

// Summary says on one line, and not a long one, what is wrong: the first faults that are joined in err, and how many
// more there are.
func Summary(err error) string {
	const few, longest = 3, 500
	all := Flatten(err)
	var texts []string
	for _, e := range all[:min(few, len(all))] {
		texts = append(texts, shortenTo(strings.Join(strings.Fields(e.Error()), " "), longest))
	}
	if len(all) > few {
		texts = append(texts, fmt.Sprintf("and %d more faults", len(all)-few))
	}
	return strings.Join(texts, "; ")
}

// faults collects what is wrong with one session, and no more than is of help ([maxFaults]).
type faults struct {
	session string
	list    []error
}

func (f *faults) add(e FieldError) {
	switch {
	case len(f.list) > maxFaults:
		return
	case len(f.list) == maxFaults:
		e = FieldError{Field: e.Field, Reason: "has more faults, from here on", Remedy: "put those before right first"}
	}
	e.Session = f.session
	f.list = append(f.list, &e)
}

// err is nil when nothing was collected.
func (f *faults) err() error { return errors.Join(f.list...) }
