package flows

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/erspan"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// TestEveryUserspaceOutputCuts: in userspace each output to a tunnel has a max_len that the path takes, also where no frame
// of the sources is as long: with a source whose MTU rises some would be, and take production's packets with them.
func TestEveryUserspaceOutputCuts(t *testing.T) {
	anOutput := regexp.MustCompile(`output(?::\d+|\(port=\d+(?:,max_len=(\d+))?\))`)
	for _, underlay := range []int{1500, 9000} {
		for _, snaplen := range []session.Snaplen{session.SnaplenAuto, session.SnaplenOff, session.SnaplenBytes(64), session.SnaplenBytes(session.MaxSnaplen)} {
			for _, version := range []int{1, 2} {
				collectors := []netip.Addr{addr("192.0.2.9"), addr("2001:db8::9")}
				s := stored(1, "one", func(s *session.Session) {
					s.Collectors, s.Snaplen, s.ERSPAN.Version = collectors, snaplen, version
				})
				p := paths([]session.Stored{s})
				for k, path := range p {
					path.MTU = underlay
					p[k] = path
				}
				state := production()
				largest := largestFrame(state.Bridges["br0"].Ports["vnet0"])
				name := fmt.Sprintf("underlay %d, snaplen %s, version %d", underlay, snaplen, version)
				outputs := 0
				for _, f := range Build(Input{State: state, Sessions: []session.Stored{s}, Paths: p}).TapBridges[0].Flows {
					if f.Table != TableEncapsulate {
						continue
					}
					for n, found := range anOutput.FindAllStringSubmatch(f.Line().Actions, -1) {
						outputs++
						cut, _ := strconv.Atoi(found[1])
						fits := underlay - erspan.Overhead(erspan.Version(version), collectors[n].Is6()) + erspan.EthernetHeaderLen
						if cut == 0 || cut > fits {
							t.Errorf("%s: %s for %s: %d bytes fit, and frames are up to %d long", name, found[0], collectors[n], fits, largest)
						}
					}
				}
				if outputs != len(collectors) {
					t.Errorf("%s: %d outputs, want %d", name, outputs, len(collectors))
				}
			}
		}
	}
}

// TestDeliveryHasItsOwnPatch: what is delivered to a bridge does not come through the patch of a tap of that bridge: that is a
// Mirror's output port, at which Open vSwitch discards all that arrives.
func TestDeliveryHasItsOwnPatch(t *testing.T) {
	state := production()
	sessions := []session.Stored{stored(1, "out", func(s *session.Session) { s.Direction = session.Ingress }), terminated(2, "in", func(*session.Session) {})}
	program := build(state, sessions...)
	tb := program.TapBridges[0]
	if len(tb.Taps) != 1 || len(tb.Deliveries) != 1 {
		t.Fatalf("%d taps and %d deliveries, want one of each", len(tb.Taps), len(tb.Deliveries))
	}
	d := tb.Deliveries[0]
	changes := RowChanges(state, program)
	mirrors := 0
	for _, op := range changes.Before {
		if op.AddMirror == nil {
			continue
		}
		mirrors++
		if op.AddMirror.OutputPort == d.ProductionPort {
			t.Errorf("mirror %s is put out at %s, where %s is delivered", op.AddMirror.Name, d.ProductionPort, "in")
		}
	}
	pair := map[string]string{}
	for _, op := range changes.Before {
		if op.AddPort != nil && op.AddPort.Interfaces[0].Type == "patch" {
			pair[op.AddPort.Name] = op.AddPort.Interfaces[0].Options["peer"]
		}
	}
	if mirrors != 1 || len(pair) != 4 || pair[d.ProductionPort] != d.TapPort || pair[d.TapPort] != d.ProductionPort {
		t.Errorf("%d mirrors, and the patch ports %v; the delivery's are %s and %s", mirrors, pair, d.ProductionPort, d.TapPort)
	}
}
