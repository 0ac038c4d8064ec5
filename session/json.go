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
