package session

import (
	"fmt"
	"slices"
)

// How destination sessions share what arrives.
//
// A destination session takes the frames whose header agrees with every field that it fixes: always the session id,
// and of sender, version, index, hardware id and direction those that were given. Where two sessions take the same
// frame, the one that fixes more fields gets it; which fields they are makes no difference, so that the order can be
// told by counting. Two that fix equally many and can meet in one frame cannot be ordered, and are refused together.

// Specificity is the number of header fields that a destination session fixes besides its session id: 0 (all of one
// id) to 4 (sender, version 2, hardware id, direction). The session with the higher number gets the frame.
func (s Session) Specificity() int {
	n := 0
	for _, fixed := range []bool{
		s.From != "" && s.From != AnySender,
		s.ERSPAN.Version != 0,
		s.ERSPAN.Index != nil,
		s.ERSPAN.HardwareID != nil,
		s.Direction != "",
	} {
		if fixed {
			n++
		}
	}
	return n
}

// meet reports whether one frame can agree with both destination sessions. Index, hardware id and direction need no
// thought for the version: a session that fixes one of them fixes its version as well.
func meet(a, b Session) bool {
	from := func(s Session) string {
		if s.From == AnySender {
			return ""
		}
		return s.From
	}
	return agree(a.ERSPAN.SessionID, b.ERSPAN.SessionID) &&
		agree(a.ERSPAN.Index, b.ERSPAN.Index) &&
		agree(a.ERSPAN.HardwareID, b.ERSPAN.HardwareID) &&
		agreeOrAny(from(a), from(b), "") &&
		agreeOrAny(a.ERSPAN.Version, b.ERSPAN.Version, 0) &&
		agreeOrAny(a.Direction, b.Direction, "")
}

// agree compares two fields of which nil takes anything.
func agree(a, b *int) bool { return a == nil || b == nil || *a == *b }

func agreeOrAny[T comparable](a, b, anything T) bool { return a == anything || b == anything || a == b }

// checkOrder refuses destination sessions that take the same frames and cannot be ordered. Disabled ones count: they
// could not be enabled otherwise.
func checkOrder(all []Session) []error {
	byID := map[int][]Session{}
	var errs []error
	for _, s := range all {
		if s.Type != Destination || s.ERSPAN.SessionID == nil {
			continue
		}
		id := *s.ERSPAN.SessionID
		i := slices.IndexFunc(byID[id], func(other Session) bool { return other.Specificity() == s.Specificity() && meet(other, s) })
		if i >= 0 {
			errs = append(errs, tie(byID[id][i], s))
			continue
		}
		byID[id] = append(byID[id], s)
	}
	return errs
}

func tie(first, second Session) error {
	e := &FieldError{
		Session: second.Name, Field: "erspan.sessionID", Value: number(second.ERSPAN.SessionID),
		Reason: fmt.Sprintf("session %q takes the same frames, and neither is more specific", first.Name),
		Remedy: "give one of them a further field (from, version, index, hardwareID, direction)",
	}
	if sameHeader(first, second) {
		e.Reason = fmt.Sprintf("session %q takes exactly the same frames", first.Name)
		e.Remedy = "remove one of them, or give them different headers"
	}
	return e
}

// sameHeader holds for two sessions that meet and fix the same fields.
func sameHeader(a, b Session) bool {
	return (a.From == AnySender) == (b.From == AnySender) &&
		(a.ERSPAN.Version == 0) == (b.ERSPAN.Version == 0) &&
		(a.ERSPAN.Index == nil) == (b.ERSPAN.Index == nil) &&
		(a.ERSPAN.HardwareID == nil) == (b.ERSPAN.HardwareID == nil) &&
		(a.Direction == "") == (b.Direction == "")
}
