package flows

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/session"
)

const noSuchDevice = "could not open network device vnet9 (No such device)"

// TestAbsentDevice: what Open vSwitch writes where a port has no device, and where it has.
func TestAbsentDevice(t *testing.T) {
	there := &Interface{Name: "vnet0", OFPort: 1, MTU: 1500}
	refused := &Interface{Name: "vnet9", OFPort: -1, Error: noSuchDevice}
	for _, tt := range []struct {
		name       string
		interfaces []*Interface
		want       string
	}{
		{"there", []*Interface{there}, ""},
		{"being added", []*Interface{{Name: "vnet9"}}, ""},
		{"cannot be opened", []*Interface{refused}, noSuchDevice},
		{"cannot be opened, and has no number", []*Interface{{Name: "vnet9", Error: noSuchDevice}}, noSuchDevice},
		{"cannot be opened, without a word", []*Interface{{Name: "vnet9", OFPort: -1}}, "Open vSwitch cannot open device vnet9"},
		{"deleted under Open vSwitch", []*Interface{{Name: "vnet9", OFPort: 3}}, "device vnet9 is gone"},
		{"an internal port in another namespace", []*Interface{{Name: "eth0", Type: "internal", OFPort: 3}}, ""},
		{"a tunnel has no MTU", []*Interface{{Name: "vxlan0", Type: "vxlan", OFPort: 3}}, ""},
		{"a note beside a number", []*Interface{{Name: "vnet9", OFPort: 3, MTU: 1500, Error: "something"}}, ""},
		{"a bond with a member", []*Interface{refused, there}, ""},
		{"a bond whose member is being added", []*Interface{refused, {Name: "eth1"}}, ""},
		{"a bond without members", []*Interface{refused, {Name: "eth1", OFPort: -1, Error: "busy"}}, noSuchDevice + "; busy"},
	} {
		if got := AbsentDevice(&Port{Name: "p", Interfaces: tt.interfaces}); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestSourceWithoutDevice: a source that mirrors nothing is told of, and what is mirrored of the others goes on; of all ports
// of a bridge one is only left out. The Mirror keeps them all, so that copies come with the device.
func TestSourceWithoutDevice(t *testing.T) {
	for _, tt := range []struct {
		name    string
		sources session.Sources
		absent  []string
		state   session.State
		reason  string
		says    string
		ports   string
	}{
		{"one of one", session.Sources{Ports: []string{"vnet0"}}, []string{"vnet0"}, session.Pending, ReasonSourceMissing, "no source is there: vnet0: " + noSuchDevice, ""},
		{"one of two", session.Sources{Ports: []string{"vnet0", "vnet1"}}, []string{"vnet0"}, session.Degraded, ReasonSourceMissing, "not there: vnet0: " + noSuchDevice, "vnet1"},
		{"and one that is no port", session.Sources{Ports: []string{"vnet0", "vnet1", "vnet7"}}, []string{"vnet0"}, session.Degraded, ReasonSourceMissing, `not there: "vnet7"; vnet0: ` + noSuchDevice, "vnet1"},
		{"all that are ports", session.Sources{Ports: []string{"vnet0", "vnet7"}}, []string{"vnet0"}, session.Pending, ReasonSourceMissing, `no source is there: "vnet7"; vnet0: ` + noSuchDevice, ""},
		{"one of all", session.Sources{All: true}, []string{"vnet0"}, session.Active, ReasonInForce, "left out, for want of a device: vnet0: " + noSuchDevice, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := stored(1, "one", func(s *session.Session) { s.Sources = tt.sources })
			state := production()
			for _, name := range tt.absent {
				i := state.Bridges["br0"].Ports[name].Interfaces[0]
				i.OFPort, i.MTU, i.Error = -1, 0, noSuchDevice
			}
			p := Build(Input{State: state, Sessions: []session.Stored{s}, Paths: paths([]session.Stored{s})})
			out := p.Outcomes["one"]
			if out.State != tt.state || out.Reason != tt.reason || out.Message != tt.says {
				t.Errorf("%s, %s: %s", out.State, out.Reason, out.Message)
			}
			if slices.Contains(out.Ports, "vnet0") || tt.ports != "" && strings.Join(out.Ports, ",") != tt.ports {
				t.Errorf("mirrored now: %v", out.Ports)
			}
			if len(out.Taps) == 0 || !slices.Contains(out.Taps[0].Ports, "vnet0") {
				t.Error("the Mirror does not wait for the device")
			}
			err := CheckSource(s.Session, Host{State: state})
			var missing *MissingError
			if refused := errors.As(err, &missing); refused == tt.sources.All || refused && tt.absent[0] == missing.Value && !strings.Contains(err.Error(), noSuchDevice) {
				t.Errorf("the check of a new session: %v", err)
			}
		})
	}
	state := production()
	for _, p := range state.Bridges["br0"].Ports {
		p.Interfaces[0].OFPort, p.Interfaces[0].Error = -1, noSuchDevice
	}
	var missing *MissingError
	if err := CheckSource(stored(1, "one", func(s *session.Session) { s.Sources = session.Sources{All: true} }).Session, Host{State: state}); !errors.As(err, &missing) {
		t.Errorf("all ports of a bridge of which none has a device: %v", err)
	}
}

// TestOutputWithoutDevice: what a destination session delivers to, too.
func TestOutputWithoutDevice(t *testing.T) {
	state := production()
	port := state.Bridges["br0"].Ports["vnet0"]
	s := terminated(1, "back", func(s *session.Session) { s.OutputPort = "vnet0" })
	for _, tt := range []struct {
		i    Interface
		says string
	}{
		{Interface{Name: "vnet0", OFPort: -1, Error: noSuchDevice}, `output port "vnet0": ` + noSuchDevice},
		{Interface{Name: "vnet0", OFPort: 3}, `output port "vnet0": device vnet0 is gone`},
		{Interface{Name: "vnet0"}, `Open vSwitch has not opened port "vnet0" yet`},
	} {
		port.Interfaces[0] = &tt.i
		out := Build(Input{State: state, Sessions: []session.Stored{s}}).Outcomes["back"]
		if out.State != session.Pending || out.Reason != ReasonOutputMissing || out.Message != tt.says {
			t.Errorf("%+v: %s, %s: %s", tt.i, out.State, out.Reason, out.Message)
		}
		var missing *MissingError
		if err := CheckDestination(s.Session, Host{State: state}); errors.As(err, &missing) != (AbsentDevice(port) != "") {
			t.Errorf("the check of a new session: %+v: %v", tt.i, err)
		}
	}
}
