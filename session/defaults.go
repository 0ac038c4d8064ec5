package session

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ovs-erspan/ovs-erspan/erspan"
)

// Defaulted is s with the fields that were left out filled in. It changes nothing that was given, shares no list with
// s that it would change, and doing it twice is doing it once. A source session's id is not chosen here, since that
// needs the other sessions: see [AssignSessionIDs].
func (s Session) Defaulted() Session {
	if s.Type == "" {
		s.Type = Source
	}
	if s.Type != Source {
		return s // a destination session's empty fields mean "any", and stay empty
	}
	if s.Direction == "" {
		s.Direction = Both
		if s.Sources.All {
			// With every port tapped, both directions would copy each frame twice.
			s.Direction = Ingress
		}
	}
	if s.ERSPAN.Version == 0 {
		s.ERSPAN.Version = int(erspan.Version1)
	}
	return s
}

// Expired reports whether the session's time is over at now.
func (s Session) Expired(now time.Time) bool {
	return s.ExpiresAt != nil && !now.Before(*s.ExpiresAt)
}

// ErrNoFreeSessionID says that 1..1023 are all taken on this host.
var ErrNoFreeSessionID = errors.New("no free session id")

// AssignSessionIDs is all with a session id for each source session that has none: the lowest from 1 that no source
// session of the host has, disabled ones included, in the order of the list. 0 is a valid id, but one that is often
// taken for "none", so it is used only where a user asks for it. The result has the order of all and shares what
// need not change.
//
// The error is [ErrNoFreeSessionID], wrapped, when 1..1023 are all taken.
func AssignSessionIDs(all []Session) ([]Session, error) {
	var used [erspan.MaxSessionID + 1]bool
	for _, s := range all {
		if id := s.ERSPAN.SessionID; id != nil && s.isSource() && *id >= 0 && *id <= erspan.MaxSessionID {
			used[*id] = true
		}
	}
	out := slices.Clone(all)
	next := 1
	for i := range out {
		if !out[i].isSource() || out[i].ERSPAN.SessionID != nil {
			continue
		}
		for next <= erspan.MaxSessionID && used[next] {
			next++
		}
		if next > erspan.MaxSessionID {
			return nil, fmt.Errorf("session %q: %w: 1..%d are all in use on this host; give a session id that another session uses with other collectors",
				out[i].Name, ErrNoFreeSessionID, erspan.MaxSessionID)
		}
		id := next
		out[i].ERSPAN.SessionID = &id
		next++
	}
	return out, nil
}

// isSource also holds for a session whose type was left out.
func (s Session) isSource() bool { return s.Type == Source || s.Type == "" }
