package ovsdb

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// TestStatusRoundTrip: whatever is written of a status is read again, however much of it is said once only.
func TestStatusRoundTrip(t *testing.T) {
	states := rapid.SampledFrom([]session.State{session.Active, session.Degraded, session.Pending, session.Failed})
	word := rapid.SampledFrom([]string{"", "a", "b <&> \"ä\""})
	collector := rapid.Custom(func(r *rapid.T) session.CollectorStatus {
		return session.CollectorStatus{
			Address: "192.0.2.9", State: states.Draw(r, "state"), Reason: word.Draw(r, "reason"), Message: word.Draw(r, "message"),
			Snaplen: rapid.IntRange(0, 1).Draw(r, "snaplen"), SnaplenReason: word.Draw(r, "why"), Origin: word.Draw(r, "origin"), Device: word.Draw(r, "device"),
		}
	})
	rapid.Check(t, func(r *rapid.T) {
		s := session.Status{
			State: states.Draw(r, "state"), Reason: word.Draw(r, "reason"), Message: word.Draw(r, "message"), Since: time.Unix(1, 0).UTC(),
		}
		for range rapid.IntRange(0, 2).Draw(r, "collectors") {
			s.Collectors = append(s.Collectors, collector.Draw(r, "collector"))
		}
		if rapid.Bool().Draw(r, "effective") {
			s.Effective = &session.Effective{SessionID: 7, Ports: []string{"vnet0"}}
			if len(s.Collectors) > 0 && rapid.Bool().Draw(r, "as the first") {
				*s.Effective = ofFirst(*s.Effective, s.Collectors[0])
			} else {
				s.Effective.Snaplen, s.Effective.Device = rapid.IntRange(0, 1).Draw(r, "snaplen"), word.Draw(r, "device")
			}
		}
		if rapid.Bool().Draw(r, "stopped") {
			s.Counted = &session.Counted{Until: time.Unix(2, 0).UTC(), Stages: map[string]session.Counts{"sent": {Packets: 1, Bytes: rapid.Uint64().Draw(r, "bytes")}}}
		}
		text, err := writeStatus(s)
		if err != nil {
			r.Fatal(err)
		}
		got, ok := readStatus(text)
		if diff := cmp.Diff(s, got); !ok || diff != "" {
			r.Errorf("%s (-written +read):\n%s", text, diff)
		}
	})
}

// TestStatusSaysThingsOnce: the usual status of a session, in force to one collector, says nothing twice; and one that an older
// version wrote is read as it is.
func TestStatusSaysThingsOnce(t *testing.T) {
	const why = "auto: MTU 1500 of br-ul less 36"
	c := session.CollectorStatus{Address: "192.0.2.9", State: session.Active, Reason: "InForce", Snaplen: 1464, SnaplenReason: why, Origin: "192.0.2.1", Device: "br-ul"}
	s := session.Status{State: session.Active, Reason: "InForce", Since: time.Unix(1, 0).UTC(), Collectors: []session.CollectorStatus{c}}
	e := ofFirst(session.Effective{SessionID: 1, Ports: []string{"p0"}}, c)
	s.Effective = &e
	text, err := writeStatus(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, once := range []string{why, "192.0.2.1\"", "br-ul\"", "Active", "InForce"} {
		if n := strings.Count(text, once); n != 1 {
			t.Errorf("%q is there %d times: %s", once, n, text)
		}
	}
	old, err := canonical(s)
	if err != nil {
		t.Fatal(err)
	}
	got, ok := readStatus(old)
	if diff := cmp.Diff(s, got); !ok || diff != "" {
		t.Errorf("%s (-written +read):\n%s", old, diff)
	}
}
