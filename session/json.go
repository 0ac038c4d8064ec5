package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// DecodeJSON reads one session in JSON, as json.Marshal wrote it, strictly: an unknown field or anything behind the
// object is an error. A session that a later version of this program stored with a field of its own is thus reported
// instead of done by halves. It does not validate: see [Session.Validate].
func DecodeJSON(data []byte) (Session, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var s Session
	if err := dec.Decode(&s); err != nil {
		return Session{}, fmt.Errorf("session in JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Session{}, errors.New("session in JSON: something stands behind the object")
	}
	return s, nil
}

// ExplainJSON says in the words of [Parse] what is wrong with a session in JSON that [DecodeJSON] refuses: encoding/json
// names neither the value nor what is allowed. Where Parse would take it (numbers in quotes), or it is too long to look at,
// the error is given back.
func ExplainJSON(data []byte, err error) error {
	const longest, mostParts = 2 << 20, 64 << 10
	if len(data) > longest || parts(data) > mostParts {
		return err
	}
	root, syntax := parseDocument(data)
	if syntax != nil {
		return err
	}
	d := &decoder{}
	d.readSession(root, "")
	var faults []error
	for _, e := range d.errs {
		e.Line = 0 // of a text that has none
		faults = append(faults, e)
	}
	if len(faults) == 0 {
		return err
	}
	return errors.Join(faults...)
}
