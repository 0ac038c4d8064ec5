package controller

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// TestLedger: what is counted as lost is never more than what was sent while copies vanished, whenever the counters come.
func TestLedger(t *testing.T) {
	collector := netip.MustParseAddr("192.0.2.9")
	program := func(reason string) flows.Program {
		co := flows.CollectorOutcome{Address: collector, MaxLen: 1400, State: session.Degraded, Reason: reason}
		if reason == "" {
			co.State, co.Reason = session.Active, flows.ReasonInForce
		}
		return flows.Program{Outcomes: map[string]*flows.Outcome{"web": {Slot: 1, TapBridge: "br-erspan-nd", Collectors: []flows.CollectorOutcome{co}}}}
	}
	l := &Ledger{}
	wish := session.Wish{Sessions: []session.Stored{{Slot: 1, Session: session.Session{Name: "web"}}}}
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	look := func(reason string, sent uint64, wantLost uint64) {
		t.Helper()
		now = now.Add(600 * time.Millisecond)
		l.load(wish)
		l.look(program(reason), map[string][]flows.Entry{"br-erspan-nd": {{Line: flows.Line{Cookie: flows.NewCookie(flows.StageSent, 1)}, Packets: sent, Bytes: 100 * sent}}}, now)
		if got := l.Lost("web", 1, collector); got.Packets != wantLost || got.Bytes != 100*wantLost {
			t.Errorf("%s, %d sent: %v lost, want %d", reason, sent, got, wantLost)
		}
	}
	look("", 10, 0)
	look(flows.ReasonNoNeighbor, 15, 0) // which of the five are lost nobody knows
	look(flows.ReasonNoNeighbor, 20, 0) // the counters may lag
	look(flows.ReasonNoNeighbor, 30, 0) // the way may be whole by now
	look(flows.ReasonCopiesEnd, 31, 10)
	look(flows.ReasonCopiesEnd, 31, 11)
	look(flows.ReasonCopiesEnd, 40, 11)
	look("", 50, 11)
	look("", 60, 11)

	// It is stored, and an earlier daemon's is taken over; what was sent since then is not counted.
	status := map[string]session.Status{"web": {Collectors: []session.CollectorStatus{{Address: collector.String()}}}}
	l.note(wish, status)
	if got := status["web"].Collectors[0].Lost; got == nil || got.Packets != 11 || got.Counting {
		t.Fatalf("stored: %+v", got)
	}
	wish.Status = status
	l = &Ledger{}
	look("", 70, 11)
	look(flows.ReasonNoNeighbor, 80, 11)

	// A flow that begins anew does not count backwards.
	look(flows.ReasonNoNeighbor, 2, 0)
	look("", 5, 0)

	var none *Ledger
	none.note(wish, status)
	if got := status["web"].Collectors[0].Lost; got == nil || got.Packets != 11 {
		t.Errorf("without a ledger what was counted is %+v", got)
	}
	l.look(flows.Program{}, nil, now)
	if got := l.Lost("web", 1, collector); got.Packets != 0 {
		t.Errorf("a session that is gone has lost %v", got)
	}
}
