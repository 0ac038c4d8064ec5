package ovsdb_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/ovsdb"
	"github.com/ovs-erspan/ovs-erspan/ovsdb/ovsdbtest"
)

func state(t testing.TB, db *ovsdb.DB) flows.State {
	t.Helper()
	s, err := db.State()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// withoutUUIDs empties what no test can know beforehand.
func withoutUUIDs(s flows.State) flows.State {
	s.UUID = ""
	for _, b := range s.Bridges {
		b.UUID = ""
		for _, p := range b.Ports {
			p.UUID = ""
			for _, i := range p.Interfaces {
				i.UUID = ""
			}
		}
		mirrors := make(map[string]*flows.Mirror)
		for _, m := range b.Mirrors {
			m.UUID = ""
			mirrors[m.Name] = m
		}
		b.Mirrors = mirrors
	}
	return s
}

func ptr[T any](v T) *T { return &v }

// local is a bridge's local port, as ovs-vsctl add-br and a dummy datapath make it.
func local(name string) *flows.Port {
	return &flows.Port{Name: name, Interfaces: []*flows.Interface{{Name: name, Type: "internal", OFPort: 65534, MTU: 1500}}}
}

func TestStateIsWhatOvsVsctlMade(t *testing.T) {
	s := ovsdbtest.Start(t)
	s.StartVswitchd()
	early := connect(t, s) // follows the changes; late reads the result
	s.Vsctl("--wait", "set", "open_vswitch", ".", "ovs_version=3.1.0", "other_config:vlan-limit=2", "other_config:gone=1",
		"--", "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=dummy", "fail_mode=standalone",
		"protocols=OpenFlow13,OpenFlow10", "other_config:hwaddr=aa:55:aa:55:00:01", "external_ids:note=\"a, \\\"b\\\" = ü\"",
		"--", "add-port", "br0", "acc", "tag=10", "--", "set", "interface", "acc", "type=dummy", "ofport_request=7", "external_ids:iface-id=vm1",
		"--", "add-port", "br0", "trk", "trunks=30,20", "vlan_mode=native-untagged", "tag=5", "--", "set", "interface", "trk", "type=dummy",
		"--", "add-bond", "br0", "bond", "bb", "ba", "--", "set", "interface", "bb", "type=dummy", "--", "set", "interface", "ba", "type=dummy",
		"--", "add-port", "br0", "out", "--", "set", "interface", "out", "type=dummy",
		"--", "add-port", "br0", "bad", "--", "set", "interface", "bad", "type=nonsense",
		"--", "--id=@acc", "get", "port", "acc", "--", "--id=@trk", "get", "port", "trk", "--", "--id=@out", "get", "port", "out",
		"--", "--id=@m", "create", "mirror", "name=m1", "select_src_port=@trk,@acc", "select_dst_port=@acc", "select_vlan=7,3",
		"output_port=@out", "snaplen=100", "external_ids:x=y", "--", "--id=@n", "create", "mirror", "name=m2", "select_all=true", "output_vlan=99",
		"--", "set", "bridge", "br0", "mirrors=@m,@n",
		"--", "add-br", "br1", "--", "set", "bridge", "br1", "datapath_type=dummy")
	// Optional columns and members of sets and maps that come, change and go again.
	s.Vsctl("--wait", "set", "port", "acc", "tag=11", "--", "clear", "bridge", "br0", "fail_mode", "--", "remove", "open_vswitch", ".", "other_config", "gone",
		"--", "add", "port", "trk", "trunks", "10", "--", "remove", "port", "trk", "trunks", "30", "--", "set", "interface", "acc", "external_ids:iface-id=vm2", "external_ids:b=c")
	s.Vsctl("--wait", "clear", "port", "trk", "tag", "--", "clear", "bridge", "br0", "protocols", "--", "remove", "interface", "acc", "external_ids", "b",
		"--", "set", "bridge", "br0", "fail_mode=secure")

	dummy := func(name string, ofport int) []*flows.Interface {
		return []*flows.Interface{{Name: name, Type: "dummy", OFPort: ofport, MTU: 1500}}
	}
	want := flows.State{
		OVSVersion:  "3.1.0",
		OtherConfig: map[string]string{"vlan-limit": "2"},
		Bridges: map[string]*flows.Bridge{
			"br0": {
				Name: "br0", DatapathType: "dummy", FailMode: "secure",
				ExternalIDs: map[string]string{"note": `a, "b" = ü`}, OtherConfig: map[string]string{"hwaddr": "aa:55:aa:55:00:01"},
				Ports: map[string]*flows.Port{
					"br0": local("br0"),
					"acc": {Name: "acc", Tag: ptr(11), Interfaces: []*flows.Interface{
						{Name: "acc", Type: "dummy", OFPort: 7, OFPortRequest: 7, MTU: 1500, ExternalIDs: map[string]string{"iface-id": "vm2"}},
					}},
					"trk":  {Name: "trk", Trunks: []int{10, 20}, VLANMode: "native-untagged", Interfaces: dummy("trk", 0)},
					"bond": {Name: "bond", Interfaces: append(dummy("ba", 0), dummy("bb", 0)...)},
					"out":  {Name: "out", Interfaces: dummy("out", 0)},
					"bad": {Name: "bad", Interfaces: []*flows.Interface{
						{Name: "bad", Type: "nonsense", OFPort: -1, Error: "could not open network device bad (Address family not supported by protocol)"},
					}},
				},
				Mirrors: map[string]*flows.Mirror{
					"m1": {
						Name: "m1", SelectSrcPort: []string{"acc", "trk"}, SelectDstPort: []string{"acc"}, SelectVLAN: []int{3, 7},
						OutputPort: "out", Snaplen: ptr(100), ExternalIDs: map[string]string{"x": "y"},
					},
					"m2": {Name: "m2", SelectAll: true, OutputVLAN: ptr(99)},
				},
			},
			"br1": {
				Name: "br1", DatapathType: "dummy",
				Ports: map[string]*flows.Port{"br1": local("br1")}, Mirrors: map[string]*flows.Mirror{},
			},
		},
	}
	late := connect(t, s)
	got := state(t, late)
	// OpenFlow ports that nobody asked for are as they come.
	for _, name := range []string{"trk", "out", "bond"} {
		for n, i := range got.Bridges["br0"].Ports[name].Interfaces {
			want.Bridges["br0"].Ports[name].Interfaces[n].OFPort = i.OFPort
			if i.OFPort <= 0 {
				t.Errorf("interface %s: OpenFlow port %d", i.Name, i.OFPort)
			}
		}
	}
	if diff := cmp.Diff(want, withoutUUIDs(got)); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	ovsdbtest.Eventually(t, "who followed the changes sees the same", func() bool {
		return cmp.Equal(state(t, early), state(t, late))
	})
	for uuid, m := range state(t, late).Bridges["br0"].Mirrors {
		if uuid == "" || uuid != m.UUID {
			t.Errorf("mirror %q is under %q", m.UUID, uuid)
		}
	}

	// A snapshot is the caller's.
	before := state(t, early)
	spoilt := state(t, late)
	b := spoilt.Bridges["br0"]
	b.ExternalIDs["note"], b.OtherConfig["hwaddr"] = "spoilt", "spoilt"
	*b.Ports["acc"].Tag = 1
	b.Ports["trk"].Trunks[0] = 1
	b.Ports["acc"].Interfaces[0].ExternalIDs["iface-id"] = "spoilt"
	for _, m := range b.Mirrors {
		m.Name = "spoilt"
		if m.OutputVLAN != nil {
			*m.OutputVLAN = 1
		} else {
			m.SelectSrcPort[0], m.SelectVLAN[0], m.ExternalIDs["x"] = "spoilt", 1, "spoilt"
		}
	}
	spoilt.OtherConfig["vlan-limit"] = "spoilt"
	delete(spoilt.Bridges, "br1")
	if diff := cmp.Diff(before, state(t, late)); diff != "" {
		t.Errorf("writing to a snapshot changed the next (-before +after):\n%s", diff)
	}

	// A port that goes, goes from the mirrors.
	s.Vsctl("--wait", "del-port", "acc", "--", "del-br", "br1")
	ovsdbtest.Eventually(t, "port and bridge are gone", func() bool {
		now := withoutUUIDs(state(t, early))
		m := now.Bridges["br0"].Mirrors["m1"]
		return now.Bridges["br1"] == nil && now.Bridges["br0"].Ports["acc"] == nil && len(m.SelectDstPort) == 0 && cmp.Equal(m.SelectSrcPort, []string{"trk"})
	})
}

// TestStateIsNeverHalf looks while others change rows of several tables, each time in one transaction.
func TestStateIsNeverHalf(t *testing.T) {
	s := ovsdbtest.Start(t)
	s.StartVswitchd()
	writer, reader := connect(t, s), connect(t, s)
	const ports = 30
	add := []flows.RowOp{{Bridge: "br-x", AddBridge: &flows.Bridge{DatapathType: "dummy", ExternalIDs: ours}}}
	for i := range ports {
		name := fmt.Sprintf("p%d", i)
		add = append(add, flows.RowOp{Bridge: "br-x", AddPort: &flows.Port{Name: name, ExternalIDs: ours, Interfaces: []*flows.Interface{{Name: name, Type: "dummy"}}}},
			flows.RowOp{Bridge: "br-x", AddMirror: &flows.Mirror{Name: name, ExternalIDs: ours, SelectSrcPort: []string{name}, OutputPort: "p0"}})
	}
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		defer close(done)
		for range 20 {
			for _, ops := range [][]flows.RowOp{add, {{Bridge: "br-x", DelBridge: true}}} {
				if err := writer.Apply(context.Background(), ops); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	looks, seen := 0, 0
	for running := true; running; looks++ {
		select {
		case <-done:
			running = false
		default:
		}
		got, err := reader.State()
		if err != nil {
			t.Fatal(err)
		}
		b := got.Bridges["br-x"]
		if b == nil {
			continue
		}
		seen++
		if len(b.Ports) != ports+1 || len(b.Mirrors) != ports {
			t.Fatalf("%d ports and %d mirrors", len(b.Ports), len(b.Mirrors))
		}
		for name, p := range b.Ports {
			if len(p.Interfaces) != 1 {
				t.Fatalf("port %s without interface", name)
			}
		}
		for _, m := range b.Mirrors {
			if len(m.SelectSrcPort) != 1 || m.OutputPort != "p0" {
				t.Fatalf("mirror %+v", m)
			}
		}
	}
	wg.Wait()
	t.Logf("saw the bridge %d times in %d looks", seen, looks)
	if seen == 0 {
		t.Error("never saw the bridge")
	}
}
