package ovsdb

import (
	"sync"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// memo keeps what entries of the store say, for as long as their text stays the same: who reconciles reads the store
// again and again, and reading a thousand sessions takes longer than planning for them.
type memo struct {
	mu       sync.Mutex
	sessions map[string]sessionEntry // by key
	statuses map[string]statusEntry
}

type sessionEntry struct {
	text   string
	stored session.Stored
	err    error
}

type statusEntry struct {
	text   string
	status session.Status
	ok     bool
}

// begin returns a reader of one version of the store. What that version does not have is forgotten.
func (m *memo) begin() *memoReader {
	m.mu.Lock()
	return &memoReader{m, make(map[string]sessionEntry, len(m.sessions)), make(map[string]statusEntry, len(m.statuses))}
}

type memoReader struct {
	memo     *memo
	sessions map[string]sessionEntry
	statuses map[string]statusEntry
}

func (r *memoReader) end() {
	r.memo.sessions, r.memo.statuses = r.sessions, r.statuses
	r.memo.mu.Unlock()
}

// session is readSession. A nil reader remembers nothing.
func (r *memoReader) session(key, name, text string) (session.Stored, error) {
	if r == nil {
		return readSession(name, text)
	}
	e, ok := r.memo.sessions[key]
	if !ok || e.text != text {
		e.text = text
		e.stored, e.err = readSession(name, text)
	}
	r.sessions[key] = e
	return e.stored, e.err
}

// learn reads a session that is about to be written, for who reads it afterwards.
func (m *memo) learn(key, name, text string) error {
	stored, err := readSession(name, text)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions[key] = sessionEntry{text: text, stored: stored}
	return nil
}

// status is readStatus. A nil reader remembers nothing.
func (r *memoReader) status(key, text string) (session.Status, bool) {
	if r == nil {
		return readStatus(text)
	}
	e, ok := r.memo.statuses[key]
	if !ok || e.text != text {
		e.text = text
		e.status, e.ok = readStatus(text)
	}
	r.statuses[key] = e
	return e.status, e.ok
}
