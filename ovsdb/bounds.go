package ovsdb

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// Anybody who may write to the database may write keys of the store, of any length and number. What is parsed of them is
// bounded; what goes beyond is told, and harms no other session.
const (
	maxSessions    = 10_000               // read at all
	maxSessionLen  = session.MaxFileLen   // bytes of one
	maxStatusLen   = 2 << 20              // a status names each port and collector
	maxStoreLen    = 64 << 20             // bytes of all sessions, and of all statuses, together
	maxOtherLen    = 1 << 20              // of any other key
	maxParts       = session.MaxFileParts // of one, see parts
	maxStatusParts = 100_000              // of a status, whose lists are of larger things
)

// unread is the name in Wish.Broken of all that is too many to be read. No session can have it.
const unread = "(more)"

// parts bounds how many values a JSON text can have. Each takes more memory than its text: a "{}" of a list of structs a hundred
// times as much.
func parts(text string) (n int) {
	for i := range len(text) {
		switch text[i] {
		case ',', ':', '{', '[':
			n++
		}
	}
	return n
}

// tooLarge says why a text is not parsed; nil where it is.
func tooLarge(text string, most, mostParts int) error {
	if len(text) > most {
		return fmt.Errorf("has %d bytes: want at most %d", len(text), most)
	}
	if n := parts(text); n > mostParts {
		return fmt.Errorf("has %d values: want at most %d", n, mostParts)
	}
	return nil
}

// decodeOther reads a key of which there is one; one that is too large is as good as none.
func decodeOther(keys map[string]string, key string, to any) bool {
	text, ok := keys[key]
	return ok && tooLarge(text, maxOtherLen, maxParts) == nil && json.Unmarshal([]byte(text), to) == nil
}

// within are the names of the keys with the prefix that are read, sorted, and how many are not. Where they are too many, sessions
// with a status and statuses with a session come first: those were in force, and a flood of others takes nothing from them.
func within(keys map[string]string, prefix string) (names []string, left int) {
	beside := statusPrefix
	if prefix == statusPrefix {
		beside = sessionPrefix
	}
	reported := make(map[string]bool)
	for key := range keys {
		name, ok := strings.CutPrefix(key, prefix)
		switch {
		case !ok:
		case len(name) > session.MaxNameLen*4: // no name that can be told, or given to a command
			left++
		default:
			names = append(names, name)
			reported[name] = false
		}
	}
	for name := range reported {
		if len(names) > maxSessions {
			_, reported[name] = keys[beside+name]
		}
	}
	first := func(name string) int {
		if reported[name] {
			return 0
		}
		return 1
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(first(a), first(b)), cmp.Compare(a, b)) })
	total := 0
	for i, name := range names {
		// One that is too large by itself is not parsed, and told by its name.
		if n := len(keys[prefix+name]); n <= maxSessionLen {
			total += n
		}
		if i == maxSessions || total > maxStoreLen {
			left += len(names) - i
			names = names[:i]
			break
		}
	}
	slices.Sort(names)
	return names, left
}

// endedOf is what a session had used up when it reached its limit: who deletes its status starts no session anew.
func endedOf(keys map[string]string, name string) *session.Used {
	var used session.Used
	if !decodeOther(keys, endedPrefix+name, &used) {
		return nil
	}
	return &used
}

// noteEnded keeps that of the sessions that were reported so, and of no other.
func noteEnded(after map[string]string, status map[string]session.Status) error {
	for name, s := range status {
		key := endedPrefix + name
		if s.Reason != flows.ReasonLimitReached || s.Used == nil {
			delete(after, key)
			continue
		}
		text, err := canonical(s.Used)
		if err != nil {
			return err
		}
		if _, is := after[sessionPrefix+name]; is {
			after[key] = text
		}
	}
	for key := range maps.Clone(after) {
		if name, is := strings.CutPrefix(key, endedPrefix); is {
			if _, is := after[sessionPrefix+name]; !is {
				delete(after, key)
			}
		}
	}
	return nil
}
