package flows

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/session"
)

func checkPort(name, kind string, options ...string) *Port {
	i := &Interface{Name: name, Type: kind, Options: map[string]string{}, ExternalIDs: map[string]string{}}
	for n := 0; n+1 < len(options); n += 2 {
		if options[n] == "iface-id" {
			i.ExternalIDs[options[n]] = options[n+1]
		} else {
			i.Options[options[n]] = options[n+1]
		}
	}
	return &Port{Name: name, Interfaces: []*Interface{i}}
}

func checkBridge(name string, ports ...*Port) *Bridge {
	b := &Bridge{Name: name, Ports: map[string]*Port{name: checkPort(name, "internal")}, Mirrors: map[string]*Mirror{}}
	for _, p := range ports {
		b.Ports[p.Name] = p
	}
	return b
}

// checkHost has a bridge with one port of each kind, its neighbour behind a patch, and the tap bridge.
func checkHost() Host {
	ours := checkPort("es-1-p", "patch", "peer", "es-1-t")
	ours.ExternalIDs = map[string]string{OwnerKey: "tap"}
	bond := checkPort("bond0", "")
	bond.Interfaces = []*Interface{{Name: "eth0"}, {Name: "eth1"}}
	br0 := checkBridge("br0", checkPort("vnet0", "", "iface-id", "vm0"), checkPort("vnet1", "", "iface-id", "twin"), checkPort("vnet2", "", "iface-id", "twin"),
		checkPort("rspan", ""), checkPort("vxlan0", "vxlan"), checkPort("to-ex", "patch", "peer", "to-0"), checkPort("loose", "patch", "peer", "nowhere"), bond, ours)
	br0.Mirrors["m1"] = &Mirror{UUID: "m1", Name: "theirs", OutputPort: "rspan"}
	ex := checkBridge("br-ex", checkPort("eth2", "", "iface-id", "uplink"), checkPort("to-0", "patch", "peer", "to-ex"))
	tap := checkBridge("br-erspan", checkPort("es-tun", "erspan"))
	tap.ExternalIDs = map[string]string{OwnerKey: "tap bridge"}
	return Host{
		State:      State{Bridges: map[string]*Bridge{"br0": br0, "br-ex": ex, "br-erspan": tap}},
		LocalAddrs: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fe80::1")},
	}
}

func checkSession(bridge string, sources ...string) session.Session {
	return session.Session{Name: "web", Bridge: bridge, Sources: session.Sources{Ports: sources}, Collectors: []netip.Addr{netip.MustParseAddr("192.0.2.9")}}
}

func TestCheckSource(t *testing.T) {
	const ok, missing, refused = "", "missing", "refused"
	toSelf := checkSession("br0", "vnet0")
	toSelf.Collectors = append(toSelf.Collectors, netip.MustParseAddr("2001:db8::1"))
	badOrigin := checkSession("br0", "vnet0")
	badOrigin.Origin = netip.MustParseAddr("192.0.2.7")
	goodOrigin := checkSession("br0", "vnet0")
	goodOrigin.Origin = netip.MustParseAddr("192.0.2.1")
	all := checkSession("br0")
	all.Sources.All = true
	for _, c := range []struct {
		name string
		s    session.Session
		kind string
		want []string // parts of the one error
	}{
		{"a port", checkSession("br0", "vnet0"), ok, nil},
		{"a bond, a tunnel, the local port and an identity", checkSession("br0", "bond0", "vxlan0", "br0", "iface-id=vm0"), ok, nil},
		{"all ports", all, ok, nil},
		{"an origin of this host", goodOrigin, ok, nil},
		{"no such bridge", checkSession("br1", "vnet0"), missing, []string{`session "web": bridge br1: there is no such bridge`, "did you mean", "br0"}},
		{"our bridge", checkSession("br-erspan", "es-tun"), refused, []string{"bridge br-erspan: is a tap bridge of this program's own"}},
		{"no such port", checkSession("br0", "vnet0", "vent0"), missing, []string{`sources.ports[1] vent0: bridge "br0" has no such port`, "did you mean", "vnet0", "--allow-missing"}},
		{"like nothing there", checkSession("br0", "qqqqqq"), missing, []string{"its ports: ", "bond0", " more"}},
		{"no such identity", checkSession("br0", "iface-id=vm9"), missing, []string{`sources.ports[0] iface-id=vm9: no port of bridge "br0" has it`}},
		{"an identity of two", checkSession("br0", "iface-id=twin"), refused, []string{"several ports have it", "vnet1", "vnet2"}},
		{"an identity elsewhere", checkSession("br0", "iface-id=uplink"), refused, []string{`is port "eth2" on bridge "br-ex", not on "br0"`, "use --bridge br-ex"}},
		{"a bond's member", checkSession("br0", "eth1"), refused, []string{`is a member of bond "bond0"`, "name the bond"}},
		{"a port on another bridge", checkSession("br0", "eth2"), refused, []string{`is on bridge "br-ex", not on "br0"`, "use --bridge br-ex"}},
		{"the tap bridge", checkSession("br0", "br-erspan"), refused, []string{`is on "br-erspan", a tap bridge of this program's own`}},
		{"a port of the tap bridge", checkSession("br0", "es-tun"), refused, []string{"a tap bridge of this program's own", "name a port of bridge br0"}},
		{"a port of ours", checkSession("br0", "es-1-p"), refused, []string{"is a port of this program's own"}},
		{"a patch", checkSession("br0", "to-ex"), refused, []string{"is a patch port", `mirror the ports of bridge "br-ex" at its other end`, "eth2"}},
		{"a patch to nowhere", checkSession("br0", "loose"), refused, []string{"is a patch port", "at its other end"}},
		{"a mirror's output", checkSession("br0", "rspan"), refused, []string{"is the output of mirror theirs"}},
		{"a collector that is this host", toSelf, refused, []string{"collectors[1] 2001:db8::1: is an address of this host"}},
		{"an origin that is not", badOrigin, refused, []string{"origin 192.0.2.7: is not an address of this host; want one of 192.0.2.1; leave it out"}},
	} {
		errs := session.Flatten(CheckSource(c.s, checkHost()))
		if c.kind == ok {
			if len(errs) > 0 {
				t.Errorf("%s: %v", c.name, errs)
			}
			continue
		}
		if len(errs) != 1 {
			t.Errorf("%s: %d faults, want one: %v", c.name, len(errs), errs)
			continue
		}
		var m *MissingError
		if got := errors.As(errs[0], &m); got != (c.kind == missing) {
			t.Errorf("%s: missing is %v, want %s", c.name, got, c.kind)
		}
		var f *session.FieldError
		if !errors.As(errs[0], &f) || f.Session != "web" {
			t.Errorf("%s: no FieldError of the session: %v", c.name, errs[0])
		}
		for _, want := range c.want {
			if !strings.Contains(errs[0].Error(), want) {
				t.Errorf("%s: %q lacks %q", c.name, errs[0], want)
			}
		}
	}
}

// TestCheckSourceTellsAll: what is missing does not hide what is wrong.
func TestCheckSourceTellsAll(t *testing.T) {
	s := checkSession("br0", "gone", "rspan", "vnet0", "eth0")
	s.Collectors = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	var fields []string
	for _, err := range session.Flatten(CheckSource(s, checkHost())) {
		var f *session.FieldError
		if errors.As(err, &f) {
			fields = append(fields, f.Field)
		}
	}
	if diff := cmp.Diff([]string{"collectors[0]", "sources.ports[0]", "sources.ports[1]", "sources.ports[3]"}, fields); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	empty := checkHost()
	empty.State.Bridges["br0"] = &Bridge{Name: "br0"}
	s = checkSession("br0")
	s.Sources.All = true
	var m *MissingError
	if err := CheckSource(s, empty); !errors.As(err, &m) || m.Field != "sources.all" {
		t.Errorf("all ports of a bridge without any: %v, want a MissingError", err)
	}
	// An origin of a family that the host does not have lists no addresses.
	s = checkSession("br0", "vnet0")
	s.Origin = netip.MustParseAddr("192.0.2.7")
	if err := CheckSource(s, Host{State: checkHost().State}); err == nil || strings.Contains(err.Error(), "want") {
		t.Errorf("an origin on a host without addresses: %v", err)
	}
}

func TestResolveSources(t *testing.T) {
	everything := session.Session{Sources: session.Sources{All: true}}
	for _, c := range []struct {
		name    string
		s       session.Session
		bridge  string
		exclude []string
		found   []string
		missing []string
	}{
		{"all", everything, "br0", nil, []string{"bond0", "br0", "vnet0", "vnet1", "vnet2", "vxlan0"}, nil},
		{"all but where is delivered", everything, "br0", []string{"vnet1"}, []string{"bond0", "br0", "vnet0", "vnet2", "vxlan0"}, nil},
		{"all of no bridge", everything, "br9", nil, nil, nil},
		{"of no bridge", checkSession("br9", "vnet0", "iface-id=vm0"), "br9", nil, nil, []string{"vnet0", "iface-id=vm0"}},
		{"sorted, each once", checkSession("br0", "vnet2", "iface-id=vm0", "vnet0", "br0"), "br0", nil, []string{"br0", "vnet0", "vnet2"}, nil},
		{"what cannot be a source", checkSession("br0", "rspan", "to-ex", "es-1-p", "eth0", "iface-id=twin", "iface-id=", "vnet0", "vnet1"), "br0", []string{"vnet1"},
			[]string{"vnet0"}, []string{"rspan", "to-ex", "es-1-p", "eth0", "iface-id=twin", "iface-id=", "vnet1"}},
	} {
		ports, missing := ResolveSources(c.s, checkHost().State.Bridges[c.bridge], c.exclude...)
		var found []string
		for _, p := range ports {
			found = append(found, p.Name)
		}
		if diff := cmp.Diff(fmt.Sprint(c.found, c.missing), fmt.Sprint(found, missing)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}
