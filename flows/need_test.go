package flows

import "testing"

// TestNeeds: every row that carries a session's copies is one that it needs, the devices of a segmented tap too.
func TestNeeds(t *testing.T) {
	plain := &Tap{Key: "plain"}
	plain.ProductionPort, plain.TapPort = patchNames(plain.Key)
	cut := &Tap{Key: "cut", Segmented: true, Devices: deviceNames("cut")}
	cut.ProductionPort, cut.TapPort = patchNames(cut.Key)
	out := &Outcome{Taps: []*Tap{plain, cut}, Collectors: []CollectorOutcome{{tunnel: "es-tun"}}, receives: []string{"es-in"}}
	for _, row := range []string{plain.MirrorName(), plain.ProductionPort, plain.TapPort, cut.ProductionPort, cut.TapPort, cut.Devices.In, cut.Devices.Out, "es-tun", "es-in"} {
		if !out.Needs(row) {
			t.Errorf("%s is needed", row)
		}
	}
	other := &Tap{Key: "other", Devices: deviceNames("other")}
	for _, row := range []string{other.MirrorName(), other.Devices.In, "vnet0"} {
		if out.Needs(row) {
			t.Errorf("%s is not needed", row)
		}
	}
}
