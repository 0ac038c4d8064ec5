package session

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestDefaulted(t *testing.T) {
	for _, c := range []struct {
		name     string
		in, want Session
	}{
		{"source", Session{}, Session{Type: Source, Direction: Both, ERSPAN: ERSPAN{Version: 1}}},
		{"all ports", Session{Sources: Sources{All: true}}, Session{Type: Source, Sources: Sources{All: true}, Direction: Ingress, ERSPAN: ERSPAN{Version: 1}}},
		{"what is given stays", Session{Type: Source, Sources: Sources{All: true}, Direction: Both, ERSPAN: ERSPAN{Version: 2}},
			Session{Type: Source, Sources: Sources{All: true}, Direction: Both, ERSPAN: ERSPAN{Version: 2}}},
		{"destination", Session{Type: Destination}, Session{Type: Destination}},
		{"unknown type", Session{Type: "tap"}, Session{Type: "tap"}},
	} {
		if diff := cmp.Diff(c.want, c.in.Defaulted(), same); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestDefaultedTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySession().Draw(t, "session")
		once := s.Defaulted()
		if diff := cmp.Diff(once, once.Defaulted(), same); diff != "" {
			t.Fatalf("defaulting again changes (-once +twice):\n%s", diff)
		}
	})
}

func TestExpired(t *testing.T) {
	at := time.Date(2030, 1, 31, 18, 0, 0, 0, time.UTC)
	s := Session{ExpiresAt: &at}
	for now, want := range map[time.Time]bool{at.Add(-1): false, at: true, at.Add(1): true} {
		if got := s.Expired(now); got != want {
			t.Errorf("Expired(%v) = %v, want %v", now, got, want)
		}
	}
	if (Session{}).Expired(at) {
		t.Error("a session without expiresAt is expired")
	}
}

func TestAssignSessionIDs(t *testing.T) {
	all := []Session{
		{Name: "a"},
		{Name: "b", ERSPAN: ERSPAN{SessionID: new(1)}},
		{Name: "d", Type: Destination, ERSPAN: ERSPAN{SessionID: new(2)}},
		{Name: "c", Type: Source, Disabled: true, ERSPAN: ERSPAN{SessionID: new(3)}},
		{Name: "e", Type: Source},
		{Name: "f", Type: Destination},
		{Name: "g", ERSPAN: ERSPAN{SessionID: new(2000)}},
	}
	got, err := AssignSessionIDs(all)
	if err != nil {
		t.Fatal(err)
	}
	var ids []int
	for _, s := range got {
		if s.ERSPAN.SessionID == nil {
			ids = append(ids, -1)
		} else {
			ids = append(ids, *s.ERSPAN.SessionID)
		}
	}
	// Ids of destination sessions are the senders': they take none of ours.
	if diff := cmp.Diff([]int{2, 1, 2, 3, 4, -1, 2000}, ids); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
	if all[0].ERSPAN.SessionID != nil {
		t.Error("the list that was given was changed")
	}

	full := make([]Session, 1023)
	full, err = AssignSessionIDs(full)
	if err != nil || *full[0].ERSPAN.SessionID != 1 || *full[1022].ERSPAN.SessionID != 1023 {
		t.Fatalf("1023 sessions: %v", err)
	}
	if _, err = AssignSessionIDs(append(full, Session{Name: "one-more"})); !errors.Is(err, ErrNoFreeSessionID) {
		t.Errorf("1024 sessions: %v, want %v", err, ErrNoFreeSessionID)
	}
}
