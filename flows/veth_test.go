package flows

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// TestKnownVeths: pairs are those that taps need and those that ports of ours name, by either end; a patch port, a port that
// is not ours and a device of the host are none.
func TestKnownVeths(t *testing.T) {
	ours := map[string]string{OwnerKey: "tap"}
	port := func(name, kind string, ids map[string]string) *Port {
		return &Port{Name: name, ExternalIDs: ids, Interfaces: []*Interface{{Name: name, Type: kind}}}
	}
	ports := map[string]*Port{}
	for _, p := range []*Port{
		port("es-aaaaaaaaaa-p", "", ours), port("es-aaaaaaaaaa-t", "", ours), // both ends
		port("es-bbbbbbbbbb-t", "", ours),      // somebody deleted the other row
		port("es-cccccccccc-p", "patch", ours), // a patch
		port("es-dddddddddd-p", "", nil),       // not ours
		port("vnet0", "", nil), port("es-tun", "erspan", ours),
	} {
		ports[p.Name] = p
	}
	state := State{Bridges: map[string]*Bridge{"br0": {Name: "br0", Ports: ports}}}
	needed := Program{TapBridges: []*TapBridge{{Taps: []*Tap{
		{ProductionPort: "es-eeeeeeeeee-p", TapPort: "es-eeeeeeeeee-t", Segmented: true},
		{ProductionPort: "es-ffffffffff-p", TapPort: "es-ffffffffff-t"},
	}}}}
	want := []Veth{{"es-aaaaaaaaaa-p", "es-aaaaaaaaaa-t"}, {"es-bbbbbbbbbb-p", "es-bbbbbbbbbb-t"}, {"es-eeeeeeeeee-p", "es-eeeeeeeeee-t"}}
	known := KnownVeths(state, needed)
	if !slices.Equal(known, want) {
		t.Errorf("known: %v, want %v", known, want)
	}
	broken := Veth{Production: "es-eeeeeeeeee-p"}
	got := ChangeVeths([]Veth{want[0], broken}, needed)
	if !slices.Equal(got.Add, want[2:]) || !slices.Equal(got.Delete, want[:1]) {
		t.Errorf("changes: %+v", got)
	}
}

// TestVethNamesTaken: where others have a device or a port of the name of one that a session needs, the session is failed,
// with that name; nothing of it is programmed.
func TestVethNamesTaken(t *testing.T) {
	s := stored(1, "one", func(s *session.Session) { s.Snaplen = session.SnaplenBytes(64) })
	state := production()
	for _, b := range state.Bridges {
		b.DatapathType = "system"
	}
	in := Input{State: state, Sessions: []session.Stored{s}, Paths: paths([]session.Stored{s})}
	tap := Build(in).TapBridges[0].Taps[0]
	if !tap.Segmented {
		t.Fatal("the tap of a session that cuts has no pair of devices")
	}
	for _, name := range []string{tap.ProductionPort, tap.TapPort} {
		device, port := in, in
		device.Devices = map[string]string{name: "dummy"}
		port.State.Bridges = maps.Clone(state.Bridges)
		port.State.Bridges["br9"] = &Bridge{Name: "br9", Ports: map[string]*Port{name: {Name: name}}}
		for what, in := range map[string]Input{"device": device, "port": port} {
			p := Build(in)
			out := p.Outcomes["one"]
			if out.State != session.Failed || out.Reason != ReasonNameTaken || !strings.Contains(out.Message, name) || len(p.TapBridges) > 0 {
				t.Errorf("%s %s taken: %s, %s (%s), %d tap bridges", what, name, out.State, out.Reason, out.Message, len(p.TapBridges))
			}
		}
	}
}
