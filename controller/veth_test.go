package controller

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// noVeth is a host on which no pair of devices can be made.
type noVeth struct{ Underlay }

func (noVeth) AddVeth(flows.Veth) error { return errors.New("no room") }

// TestVethFailureHoldsUpItsBridgeOnly: where a pair of devices cannot be made, the tap bridge that needs it failed, and no
// other.
func TestVethFailureHoldsUpItsBridgeOnly(t *testing.T) {
	c := &Controller{Underlay: noVeth{}, Log: slog.New(slog.DiscardHandler)}
	plan := Plan{
		Program: flows.Program{TapBridges: []*flows.TapBridge{
			{Name: "br-erspan", Taps: []*flows.Tap{{}, {Segmented: true}}},
			{Name: "br-erspan-nd", Taps: []*flows.Tap{{}}},
		}},
		Veths: flows.VethChanges{Add: []flows.Veth{{In: "es-0123456789-q", Out: "es-0123456789-s"}}},
	}
	result := Result{Failed: map[string]error{}}
	if _, err := c.applyBefore(t.Context(), session.Wish{}, plan, &result); err != nil {
		t.Fatal(err)
	}
	if len(result.Failed) != 1 || result.Failed["br-erspan"] == nil {
		t.Errorf("failed: %v", result.Failed)
	}
}
