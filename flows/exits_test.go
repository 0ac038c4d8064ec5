package flows

import "testing"

// port is a port of one interface.
func port(name, kind string, mtu int, change func(*Interface)) *Port {
	i := &Interface{Name: name, Type: kind, MTU: mtu, OFPort: 1}
	if change != nil {
		change(i)
	}
	return &Port{Name: name, Interfaces: []*Interface{i}}
}

func bridgeOf(name string, ports ...*Port) *Bridge {
	b := &Bridge{Name: name, DatapathType: "netdev", Ports: map[string]*Port{name: port(name, "internal", 9000, nil)}}
	for _, p := range ports {
		b.Ports[p.Name] = p
	}
	return b
}

func patchTo(name, peer string) *Port {
	return port(name, "patch", 0, func(i *Interface) { i.Options = map[string]string{"peer": peer} })
}

func TestExits(t *testing.T) {
	ours := port("es-x-p", "", 100, nil)
	ours.ExternalIDs = map[string]string{OwnerKey: "tap"}
	bond := &Port{Name: "bond0", Interfaces: []*Interface{{Name: "u1", MTU: 9000, OFPort: 1}, {Name: "u2", MTU: 1500, OFPort: 2}}}
	for name, tt := range map[string]struct {
		bridges     []*Bridge
		device      string
		mtu         int // of the device
		least, most int // what userspace and the kernel's datapath take
		port        string
	}{
		"its own port is the smallest": {[]*Bridge{bridgeOf("br", port("up", "", 9000, nil))}, "br", 1500, 1500, 1500, ""},
		"a smaller uplink":             {[]*Bridge{bridgeOf("br", port("up", "", 1500, nil))}, "br", 9000, 1500, 1500, "up"},
		"guests beside the uplink":     {[]*Bridge{bridgeOf("br", port("up", "", 9000, nil), port("vnet0", "", 1400, nil))}, "br", 9000, 1400, 9000, "vnet0"},
		"a member of a bond":           {[]*Bridge{bridgeOf("br", bond)}, "br", 9000, 1500, 9000, "u2"},
		"behind a patch": {[]*Bridge{bridgeOf("br", patchTo("a", "b")), bridgeOf("br2", patchTo("b", "a"), port("up", "", 1500, nil))},
			"br", 9000, 1500, 1500, "up"},
		"behind two patches, in a circle": {[]*Bridge{bridgeOf("br", patchTo("a", "b"), patchTo("f", "e")), bridgeOf("br2", patchTo("b", "a"), patchTo("c", "d")),
			bridgeOf("br3", patchTo("d", "c"), patchTo("e", "f"), port("up", "", 1500, nil))}, "br", 9000, 1500, 1500, "up"},
		"an internal port has the address": {[]*Bridge{bridgeOf("br", port("vtep0", "internal", 9000, nil), port("up", "", 1500, nil))}, "vtep0", 9000, 1500, 1500, "up"},
		"no way out for it: internal, tunnel, not open, not known, ours": {[]*Bridge{bridgeOf("br", port("int0", "internal", 100, nil), ours, port("new", "", 0, nil),
			port("vx", "vxlan", 100, func(i *Interface) { i.Options = map[string]string{"remote_ip": "192.0.2.1"} }),
			port("gone", "", 100, func(i *Interface) { i.OFPort = -1 }))}, "br", 9000, 9000, 9000, ""},
		"on no bridge":                {[]*Bridge{bridgeOf("br", port("up", "", 1500, nil))}, "eth0", 9000, 9000, 9000, ""},
		"the kernel does not know it": {[]*Bridge{bridgeOf("br")}, "br", 0, 9000, 9000, ""},
		"the device's is not known":   {[]*Bridge{bridgeOf("br", port("up", "", 1500, nil))}, "br", 0, 1500, 1500, "up"},
	} {
		t.Run(name, func(t *testing.T) {
			state := State{Bridges: map[string]*Bridge{}}
			for _, b := range tt.bridges {
				state.Bridges[b.Name] = b
			}
			e := newExits(state)
			path := Path{Device: tt.device, MTU: tt.mtu}
			if mtu, limit := e.narrowest(path, "netdev"); mtu != tt.least {
				t.Errorf("userspace: %d (%s), want %d", mtu, limit, tt.least)
			}
			if mtu, limit := e.narrowest(path, "system"); mtu != tt.most {
				t.Errorf("kernel: %d (%s), want %d", mtu, limit, tt.most)
			}
			if got := e.from(tt.device).least.port; tt.port != "" && got != tt.port {
				t.Errorf("the smallest is %q, want %q", got, tt.port)
			}
		})
	}
}
