package controller

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// TestNothingIsMirroredToABridgeThatFailed: where the flows of a tap bridge could not be written, the guard may be missing, so
// that no mirror comes that feeds it or changes; what stops copies is done, and other bridges go on.
func TestNothingIsMirroredToABridgeThatFailed(t *testing.T) {
	mirror := &flows.Mirror{Name: "m"}
	stops := []flows.RowOp{{Bridge: "br0", DelMirror: "old"}, {Bridge: "br0", DelPort: "es-old-p"}}
	// One that is set to copy less than it does only stops, too.
	less := &flows.Mirror{UUID: "less", OutputPort: "out", SelectSrcPort: []string{"a"}}
	stops = append(stops, flows.RowOp{Bridge: "br0", SetMirror: less})
	more := &flows.Mirror{UUID: "less", OutputPort: "out", SelectSrcPort: []string{"a", "b", "c"}}
	other := []flows.RowOp{{Bridge: "br1", AddMirror: mirror}}
	state := flows.State{Bridges: map[string]*flows.Bridge{"br0": {Mirrors: map[string]*flows.Mirror{"less": {UUID: "less", OutputPort: "out", SelectSrcPort: []string{"a", "b"}}}}}}
	plan := Plan{
		Input: flows.Input{State: state},
		Program: flows.Program{TapBridges: []*flows.TapBridge{
			{Name: "br-erspan", Taps: []*flows.Tap{{Bridge: "br1"}}},
			{Name: "br-erspan-nd", Taps: []*flows.Tap{{Bridge: "br0"}}},
		}},
		Rows: flows.Changes{After: append(append([]flows.RowOp{{Bridge: "br0", AddMirror: mirror}, {Bridge: "br0", SetMirror: mirror}, {Bridge: "br0", SetMirror: more}}, stops...), other...)},
	}
	failed := map[string]error{"br-erspan-nd": errors.New("does not answer")}
	if diff := cmp.Diff(append(stops, other...), reachable(plan, failed)); diff != "" {
		t.Errorf("row changes after the flows of br-erspan-nd failed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(plan.Rows.After, reachable(plan, nil)); diff != "" {
		t.Errorf("row changes where nothing failed (-want +got):\n%s", diff)
	}
}
