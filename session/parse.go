package session

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// APIVersion is what a YAML file of sessions begins with.
const APIVersion = "ovs-erspan/v1"

// The largest YAML file that Parse takes: some 10,000 sessions, ten times as many as a host is built for. Without the
// second limit, 8 MB of brackets would become 3 GB of memory, and that on a host whose Open vSwitch needs it.
const (
	MaxFileLen   = 8 << 20 // bytes
	MaxFileParts = 400_000 // characters that YAML is put together with (see [parts])
)

// File is what a YAML document holds.
type File struct {
	// Host is what is wished for all sessions together; nil where the document does not say.
	Host     *Host
	Sessions []Session
}

// Parse is [ParseFile] for a document of sessions alone: what else it says is left out.
func Parse(data []byte) ([]Session, error) {
	f, err := ParseFile(data)
	return f.Sessions, err
}

// ParseFile reads a YAML or JSON document:
//
//	apiVersion: ovs-erspan/v1
//	host: {maxRate: 1Gbps}
//	sessions:
//	- name: web
//	  …
//
// It is strict, since a field that is silently left out is a session that silently does something else: unknown fields,
// fields given twice, values of the wrong kind, fields without a value, a second document, anchors, aliases and tags
// are refused. Numbers are decimal or 0x… ([ParseNumber]), also in quotes; 010 is refused. Text need not be quoted.
//
// It checks the form, and that each session has a name of its own; call [Session.Validate] for the rest. Each fault is a
// [FieldError] with its line; they are joined (see [Flatten]).
func ParseFile(data []byte) (File, error) {
	root, err := parseDocument(data)
	if err != nil {
		return File{}, err
	}
	d := &decoder{}
	file := d.document(root)
	slices.SortStableFunc(d.errs, func(a, b *FieldError) int { return cmp.Compare(a.Line, b.Line) })
	var errs []error
	for _, e := range d.errs {
		errs = append(errs, e)
	}
	if err := errors.Join(errs...); err != nil {
		return File{}, err
	}
	return file, nil
}

// parseDocument is the root of the one document that data holds.
func parseDocument(data []byte) (*yaml.Node, error) {
	const field = "YAML"
	if len(data) > MaxFileLen {
		return nil, &FieldError{Field: field, Reason: fmt.Sprintf("has %d bytes", len(data)), Allowed: fmt.Sprintf("at most %d", MaxFileLen), Remedy: "split the file"}
	}
	if n := parts(data); n > MaxFileParts {
		return nil, &FieldError{Field: field, Reason: fmt.Sprintf("has %d separators, indicators and lines", n), Allowed: fmt.Sprintf("at most %d", MaxFileParts), Remedy: "split the file"}
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, &FieldError{Field: field, Reason: "is empty", Allowed: "apiVersion: " + APIVersion + " and a list of sessions"}
	case err != nil:
		return nil, syntaxFault(data, err)
	}
	var second yaml.Node
	switch err := dec.Decode(&second); {
	case errors.Is(err, io.EOF):
		return doc.Content[0], nil
	case err != nil:
		return nil, syntaxFault(data, err)
	}
	return nil, &FieldError{Field: field, Line: second.Line, Reason: "has a second document", Remedy: "put all sessions into the list of the first"}
}

var syntaxLine = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`) })

// syntaxFault is the YAML parser's error as ours. Its line is near the fault, not always on it.
func syntaxFault(data []byte, err error) error {
	e := &FieldError{Field: "YAML", Reason: err.Error()}
	if m := syntaxLine().FindStringSubmatch(err.Error()); m != nil {
		e.Line, _ = strconv.Atoi(m[1])
		e.Reason = m[2]
	}
	// Of control characters the parser does not say where.
	forbidden := func(r rune) bool { return r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0x7f }
	if i := bytes.IndexFunc(data, forbidden); e.Line == 0 && i >= 0 && strings.Contains(e.Reason, "control characters") {
		e.Line, e.Value = 1+bytes.Count(data[:i], []byte("\n")), string(data[i])
		e.Remedy = "take it out"
	}
	return e
}

// parts counts what YAML makes nodes of: each but the first stands behind one of these characters, and no more than two
// behind the same.
func parts(data []byte) int {
	n := 0
	for _, c := range data {
		switch c {
		case ',', ':', '-', '?', '[', '{', '\n', '\r', 0x85, 0xa8, 0xa9: // the last are of UTF-8's other line breaks
			n++
		}
	}
	return n
}
