package main

import "strings"

// commaList is the value of a flag that is repeated, or that lists values with commas. pflag's own reads it as a line of
// CSV: it would drop what stands behind a line break, and quotes.
type commaList []string

func (l *commaList) Set(text string) error {
	*l = append(*l, strings.Split(text, ",")...)
	return nil
}

func (l *commaList) String() string { return strings.Join(*l, ",") }
func (l *commaList) Type() string   { return "strings" }

// Append, Replace and GetSlice make it a pflag.SliceValue, so that completion offers the flag again.
func (l *commaList) Append(text string) error { return l.Set(text) }
func (l *commaList) Replace(all []string) error {
	*l = all
	return nil
}
func (l *commaList) GetSlice() []string { return *l }
