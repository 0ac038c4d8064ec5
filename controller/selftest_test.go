package controller_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/controller"
	"github.com/ovs-erspan/ovs-erspan/openflow"
	"github.com/ovs-erspan/ovs-erspan/ovsdb"
	"github.com/ovs-erspan/ovs-erspan/ovsdb/ovsdbtest"
	"github.com/ovs-erspan/ovs-erspan/session"
	"github.com/ovs-erspan/ovs-erspan/vswitchd"
)

// altered is an ovs-vswitchd whose answers to ofproto/trace, and whose version, can be others.
type altered struct {
	*vswitchd.Client
	trace   func(string, error) (string, error)
	version string
	traces  int
	before  func() // of a trace
}

func (a *altered) Trace(ctx context.Context, bridge, flow string) (string, error) {
	a.traces++
	if a.before != nil {
		a.before()
	}
	return a.trace(a.Client.Trace(ctx, bridge, flow))
}

func (a *altered) Version(context.Context) (string, error) { return a.version, nil }

// TestSelfTest: Open vSwitch itself (the dummy datapath's) says that the flows of a limited session are harmless; one that
// said otherwise is believed; what was found is remembered for its version; and no bridge is left.
func TestSelfTest(t *testing.T) {
	s := ovsdbtest.Start(t)
	s.StartVswitchd()
	s.Run("ovs-vsctl", "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=dummy")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	db, err := ovsdb.Connect(ctx, s.RunDir)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ofc := openflow.New(s.RunDir)
	defer ofc.Close()
	real := func(out string, err error) (string, error) { return out, err }
	v := &altered{vswitchd.New(s.RunDir), real, "3.1.0", 0, nil}
	c := &controller.Controller{DB: db, OpenFlow: ofc, Vswitchd: v, Now: time.Now, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	limited := []session.Stored{{Slot: 1, Session: session.Session{Name: "few", Bridge: "br0", MaxRate: session.PacketsPerSecond(1)}}}
	before := s.Run("ovs-vsctl", "list-br")
	prove := func(keep bool, wantTraces int, wantHarm string) {
		t.Helper()
		v.traces = 0
		unsafe, err := c.ProveLimits(ctx, limited, keep)
		harm := unsafe["dummy"]
		if err != nil || v.traces != wantTraces || (harm == "") != (wantHarm == "") || !strings.Contains(harm, wantHarm) {
			t.Errorf("%v, %v after %d traces; want %q after %d", unsafe, err, v.traces, wantHarm, wantTraces)
		}
		if after := s.Run("ovs-vsctl", "list-br"); after != before {
			t.Errorf("bridges %q, before %q", after, before)
		}
	}
	prove(false, 1, "") // as a command does
	prove(true, 1, "")  // as a reconcile does
	prove(true, 0, "")
	v.version = "3.1.1"
	v.trace = func(out string, err error) (string, error) {
		return strings.Replace(out, "clone(meter(", "meter((", 1), err
	}
	prove(true, 1, "would drop production's own packets")
	prove(true, 0, "would drop production's own packets")

	// With the form that is not harmless the very Open vSwitch says so, if it is one that has the fault (3.1 is).
	v.version = "3.1.1b"
	v.before = func() {
		s.Run("ovs-ofctl", "-O", "OpenFlow15", "add-flow", "es-limits-b", "priority=100,in_port=2,actions=clone(set_field:1->reg0,resubmit(,25)),clone(set_field:2->reg0,resubmit(,30))")
	}
	harmless := false
	v.trace = func(out string, err error) (string, error) {
		harmless = strings.Contains(out, "clone(meter(")
		return out, err
	}
	if unsafe, err := c.ProveLimits(ctx, limited, false); err != nil || (unsafe["dummy"] == "") != harmless {
		t.Errorf("the other form: %v, %v", unsafe, err)
	}
	v.before = nil

	v.version, v.trace = "3.1.2", func(string, error) (string, error) { return "", errors.New("no such command") }
	if _, err := c.ProveLimits(ctx, limited, true); err == nil || !strings.Contains(err.Error(), "no such command") {
		t.Errorf("a trace that fails: %v", err)
	}
	if after := s.Run("ovs-vsctl", "list-br"); after != before {
		t.Errorf("bridges %q, before %q", after, before)
	}
	v.trace, limited[0].Disabled = real, true
	prove(true, 0, "")
}
