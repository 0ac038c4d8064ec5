package session

import (
	"maps"
	"slices"
)

// Clone is s with lists and numbers of its own: what is done to the one leaves the other as it is.
func (s Session) Clone() Session {
	s.Sources.Ports = slices.Clone(s.Sources.Ports)
	s.VLANs = slices.Clone(s.VLANs)
	s.Collectors = slices.Clone(s.Collectors)
	s.Match = slices.Clone(s.Match)
	s.DSCP, s.TTL = clonePointer(s.DSCP), clonePointer(s.TTL)
	s.ERSPAN.SessionID = clonePointer(s.ERSPAN.SessionID)
	s.ERSPAN.Index, s.ERSPAN.HardwareID = clonePointer(s.ERSPAN.Index), clonePointer(s.ERSPAN.HardwareID)
	s.ExpiresAt = clonePointer(s.ExpiresAt)
	return s
}

// Clone is s with lists, numbers and identities of its own.
func (s Stored) Clone() Stored {
	s.Session = s.Session.Clone()
	s.Identities = maps.Clone(s.Identities)
	return s
}

func clonePointer[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}
