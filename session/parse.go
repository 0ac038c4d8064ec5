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

	"go.yaml.in/yaml/v3"
)

// APIVersion is what a YAML file of sessions begins with.
const APIVersion = "ovs-erspan/v1"

// MaxFileLen is the largest YAML file that Parse takes, in bytes: some 30,000 sessions, thirty times as many as a host
// is built for.
const MaxFileLen = 8 << 20

// Parse reads the sessions of a YAML or JSON document:
//
//	apiVersion: ovs-erspan/v1
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
func Parse(data []byte) ([]Session, error) {
	root, err := parseDocument(data)
	if err != nil {
		return nil, err
	}
	d := &decoder{}
	sessions := d.document(root)
	slices.SortStableFunc(d.errs, func(a, b *FieldError) int { return cmp.Compare(a.Line, b.Line) })
	var errs []error
	for _, e := range d.errs {
		errs = append(errs, e)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return sessions, nil
}

// parseDocument is the root of the one document that data holds.
func parseDocument(data []byte) (*yaml.Node, error) {
	const field = "YAML"
	if len(data) > MaxFileLen {
		return nil, &FieldError{Field: field, Reason: fmt.Sprintf("has %d bytes", len(data)), Allowed: fmt.Sprintf("at most %d", MaxFileLen), Remedy: "split the file"}
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, &FieldError{Field: field, Reason: "is empty", Allowed: "apiVersion: " + APIVersion + " and a list of sessions"}
	case err != nil:
		return nil, syntaxFault(err)
	}
	var second yaml.Node
	switch err := dec.Decode(&second); {
	case errors.Is(err, io.EOF):
		return doc.Content[0], nil
	case err != nil:
		return nil, syntaxFault(err)
	}
	return nil, &FieldError{Field: field, Line: second.Line, Reason: "has a second document", Remedy: "put all sessions into the list of the first"}
}

var syntaxLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// syntaxFault is the YAML parser's error as ours. Its line is near the fault, not always on it.
func syntaxFault(err error) error {
	e := &FieldError{Field: "YAML", Reason: err.Error()}
	if m := syntaxLine.FindStringSubmatch(err.Error()); m != nil {
		e.Line, _ = strconv.Atoi(m[1])
		e.Reason = m[2]
	}
	return e
}
