package ovsdb_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/ovsdb"
	"github.com/ovs-erspan/ovs-erspan/ovsdb/ovsdbtest"
)

var ours = map[string]string{flows.OwnerKey: "test"}

// addPatch adds a patch port of ours.
func addPatch(bridge, name, peer string) flows.RowOp {
	return flows.RowOp{Bridge: bridge, AddPort: &flows.Port{Name: name, ExternalIDs: ours, Interfaces: []*flows.Interface{
		{Name: name, Type: "patch", Options: map[string]string{"peer": peer}},
	}}}
}

func apply(t testing.TB, db *ovsdb.DB, ops ...flows.RowOp) {
	t.Helper()
	if err := db.Apply(context.Background(), ops); err != nil {
		t.Fatal(err)
	}
}

// production makes a bridge of somebody else's, with everything in it that must stay as it is.
func production(t testing.TB, s *ovsdbtest.Server) {
	t.Helper()
	s.Vsctl("--wait", "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=dummy", "external_ids:theirs=1", "other_config:mac-table-size=99",
		"--", "add-port", "br0", "vnet0", "tag=10", "--", "set", "interface", "vnet0", "type=dummy", "external_ids:iface-id=vm1",
		"--", "add-port", "br0", "vnet1", "--", "set", "interface", "vnet1", "type=dummy",
		"--", "add-port", "br0", "span", "--", "set", "interface", "span", "type=dummy",
		"--", "--id=@v", "get", "port", "vnet0", "--", "--id=@o", "get", "port", "span",
		"--", "--id=@m", "create", "mirror", "name=theirs", "select_src_port=@v", "output_port=@o", "--", "set", "bridge", "br0", "mirrors=@m",
		"--", "set", "open_vswitch", ".", "external_ids:hostname=h", "other_config:vlan-limit=2")
}

// volatile are columns that ovs-vswitchd writes all the time.
var volatile = regexp.MustCompile(`(?m)^(statistics|status|_version|next_cfg|cur_cfg|ifindex|lldp|link_.*) *:.*\n`)

func foreign(s *ovsdbtest.Server) string {
	return volatile.ReplaceAllString(s.Dump(), "")
}

// sessionRows are all that one session needs, for two transactions.
func sessionRows() (up, mirrors []flows.RowOp) {
	up = []flows.RowOp{
		{Bridge: "br-erspan", AddBridge: &flows.Bridge{
			Name: "br-erspan", DatapathType: "dummy", FailMode: "secure", Protocols: []string{"OpenFlow10", "OpenFlow15"},
			ExternalIDs: ours, OtherConfig: map[string]string{"disable-in-band": "true"}, MTURequest: 1400,
		}},
		{Bridge: "br-erspan", AddPort: &flows.Port{Name: "es-tun", ExternalIDs: ours, Interfaces: []*flows.Interface{{
			Name: "es-tun", Type: "erspan", OFPortRequest: 1000, ExternalIDs: ours,
			Options: map[string]string{"remote_ip": "flow", "key": "flow", "erspan_ver": "flow"},
		}}}},
		addPatch("br-erspan", "es-t1", "es-p1"),
		{Bridge: "br0", AddPort: &flows.Port{
			Name: "es-p1", ExternalIDs: ours, Trunks: []int{4095}, OtherConfig: map[string]string{"rstp-enable": "false", "stp-enable": "false", "priority-tags": "always"},
			Interfaces: []*flows.Interface{{Name: "es-p1", Type: "patch", Options: map[string]string{"peer": "es-t1"}}},
		}},
	}
	mirrors = []flows.RowOp{
		{Bridge: "br0", AddMirror: &flows.Mirror{Name: "es-m1", ExternalIDs: ours, SelectSrcPort: []string{"vnet0", "vnet1"}, SelectDstPort: []string{"vnet1"}, SelectVLAN: []int{10, 20}, OutputPort: "es-p1"}},
	}
	return up, mirrors
}

func TestApply(t *testing.T) {
	s := ovsdbtest.Start(t)
	s.StartVswitchd()
	production(t, s)
	before := foreign(s)
	db := connect(t, s)
	up, mirrors := sessionRows()
	apply(t, db)                               // nothing
	apply(t, db, append(up, mirrors...)...)    // the mirror names a port of the same transaction
	want := withoutUUIDs(state(t, db)).Bridges // filled in below: what others made is as observed

	want["br-erspan"] = &flows.Bridge{
		Name: "br-erspan", DatapathType: "dummy", FailMode: "secure", Protocols: []string{"OpenFlow10", "OpenFlow15"},
		ExternalIDs: ours, OtherConfig: map[string]string{"disable-in-band": "true"}, MTURequest: 1400,
		Ports: map[string]*flows.Port{
			"br-erspan": local("br-erspan"),
			"es-tun": {Name: "es-tun", ExternalIDs: ours, Interfaces: []*flows.Interface{{
				Name: "es-tun", Type: "erspan", OFPort: 1000, OFPortRequest: 1000, ExternalIDs: ours, MTU: 65464,
				Options: map[string]string{"remote_ip": "flow", "key": "flow", "erspan_ver": "flow"},
			}}},
			"es-t1": {Name: "es-t1", ExternalIDs: ours, Interfaces: []*flows.Interface{{Name: "es-t1", Type: "patch", OFPort: 1, Options: map[string]string{"peer": "es-p1"}}}},
		},
		Mirrors: map[string]*flows.Mirror{},
	}
	marked := want["br-erspan"].Ports["br-erspan"]
	marked.ExternalIDs, marked.Interfaces[0].ExternalIDs, marked.Interfaces[0].MTU = ours, ours, 1400
	want["br0"].Ports["es-p1"] = &flows.Port{
		Name: "es-p1", ExternalIDs: ours, Trunks: []int{4095}, OtherConfig: map[string]string{"rstp-enable": "false", "stp-enable": "false", "priority-tags": "always"},
		Interfaces: []*flows.Interface{{Name: "es-p1", Type: "patch", OFPort: 4, Options: map[string]string{"peer": "es-t1"}}},
	}
	want["br0"].Mirrors["es-m1"] = &flows.Mirror{
		Name: "es-m1", ExternalIDs: ours, SelectSrcPort: []string{"vnet0", "vnet1"}, SelectDstPort: []string{"vnet1"}, SelectVLAN: []int{10, 20}, OutputPort: "es-p1",
	}
	got := withoutUUIDs(state(t, db)).Bridges
	// OpenFlow ports and MTUs of tunnels and patches are OVS's to choose.
	for bridge, name := range map[string]string{"br-erspan": "es-t1", "br0": "es-p1"} {
		want[bridge].Ports[name].Interfaces[0].OFPort = got[bridge].Ports[name].Interfaces[0].OFPort
	}
	want["br-erspan"].Ports["es-tun"].Interfaces[0].MTU = got["br-erspan"].Ports["es-tun"].Interfaces[0].MTU
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("added (-want +got):\n%s", diff)
	}

	// Change everything.
	mirror := func() *flows.Mirror {
		for _, m := range state(t, db).Bridges["br0"].Mirrors {
			if m.Name == "es-m1" {
				return m
			}
		}
		t.Fatal("no mirror es-m1")
		return nil
	}
	changed := &flows.Mirror{
		UUID: mirror().UUID, Name: "es-m1", ExternalIDs: map[string]string{flows.OwnerKey: "changed"},
		SelectDstPort: []string{"vnet0"}, OutputPort: "es-p1", Snaplen: ptr(64),
	}
	changedPort := &flows.Port{
		Name: "es-p1", ExternalIDs: map[string]string{flows.OwnerKey: "changed", "a": "b"}, Tag: ptr(7), VLANMode: "access",
		Interfaces: []*flows.Interface{{Name: "es-p1", Type: "patch", OFPortRequest: 77, Options: map[string]string{"peer": "es-t1"}, ExternalIDs: ours}},
	}
	changedBridge := &flows.Bridge{Name: "br-erspan", FailMode: "standalone", ExternalIDs: map[string]string{flows.OwnerKey: "changed"}, MTURequest: 1300}
	apply(t, db, flows.RowOp{Bridge: "br0", SetMirror: changed}, flows.RowOp{Bridge: "br0", SetPort: changedPort}, flows.RowOp{Bridge: "br-erspan", SetBridge: changedBridge})
	now := state(t, db)
	if diff := cmp.Diff(changed, mirror()); diff != "" {
		t.Errorf("set mirror (-want +got):\n%s", diff)
	}
	changedPort.Interfaces[0].OFPort = 77
	if diff := cmp.Diff(changedPort, withoutUUIDs(now).Bridges["br0"].Ports["es-p1"]); diff != "" {
		t.Errorf("set port (-want +got):\n%s", diff)
	}
	changedBridge.DatapathType, changedBridge.Ports, changedBridge.Mirrors = "dummy", now.Bridges["br-erspan"].Ports, now.Bridges["br-erspan"].Mirrors
	if diff := cmp.Diff(changedBridge, now.Bridges["br-erspan"]); diff != "" {
		t.Errorf("set bridge (-want +got):\n%s", diff)
	}

	// A port may be taken away and added again, and a mirror, in one transaction.
	apply(t, db, flows.RowOp{Bridge: "br0", DelMirror: changed.UUID}, flows.RowOp{Bridge: "br0", DelPort: "es-p1"}, up[3], mirrors[0])
	if got := mirror(); got.UUID == changed.UUID || got.OutputPort != "es-p1" {
		t.Errorf("mirror after it was added anew: %+v", got)
	}

	// Take everything away: what is others' is byte for byte as before.
	apply(t, db,
		flows.RowOp{Bridge: "br0", DelMirror: mirror().UUID}, flows.RowOp{Bridge: "br0", DelPort: "es-p1"},
		flows.RowOp{Bridge: "br-erspan", DelPort: "es-t1"}, flows.RowOp{Bridge: "br-erspan", DelBridge: true})
	if diff := cmp.Diff(before, foreign(s)); diff != "" {
		t.Errorf("others' rows (-before +after):\n%s", diff)
	}
	// A bridge can be replaced in one transaction.
	apply(t, db, up...)
	old := state(t, db).Bridges["br-erspan"].UUID
	apply(t, db, append([]flows.RowOp{{Bridge: "br-erspan", DelBridge: true}}, up[:3]...)...)
	if b := state(t, db).Bridges["br-erspan"]; b.UUID == old || len(b.Ports) != 3 {
		t.Errorf("bridge after it was replaced: %+v", b)
	}
	if log := s.Run("ovsdb-tool", "-mm", "show-log", s.RunDir+"/conf.db"); !strings.Contains(log, "ovs-erspan: + bridge br-erspan (datapath dummy, fail mode secure) (and 4 more)") {
		t.Error("no comment in the database's log")
	}
}

func TestApplyRefusesAndDoesNothing(t *testing.T) {
	s := ovsdbtest.Start(t)
	s.StartVswitchd()
	production(t, s)
	db := connect(t, s)
	up, mirrors := sessionRows()
	apply(t, db, append(up, mirrors...)...)
	s.Vsctl("--wait", "add-br", "br-mixed", "--", "set", "bridge", "br-mixed", "datapath_type=dummy", "external_ids:ovs-erspan=x",
		"--", "add-port", "br-mixed", "theirs1", "--", "set", "interface", "theirs1", "type=dummy",
		"--", "add-br", "br-mixed2", "--", "set", "bridge", "br-mixed2", "datapath_type=dummy", "external_ids:ovs-erspan=x",
		"--", "--id=@m", "create", "mirror", "name=theirs2", "--", "set", "bridge", "br-mixed2", "mirrors=@m")
	ovsdbtest.Eventually(t, "all is seen", func() bool { return state(t, db).Bridges["br-mixed2"] != nil })
	theirs, mine := "", ""
	for uuid, m := range state(t, db).Bridges["br0"].Mirrors {
		if m.Name == "theirs" {
			theirs = uuid
		} else {
			mine = uuid
		}
	}
	port := func(name string) *flows.Port {
		return &flows.Port{Name: name, ExternalIDs: ours, Interfaces: []*flows.Interface{{Name: name, Type: "dummy"}}}
	}
	unmarked := port("new")
	unmarked.ExternalIDs = nil
	for name, c := range map[string]struct {
		op   flows.RowOp
		is   error
		text string
	}{
		"bridge that exists":               {flows.RowOp{Bridge: "br-erspan", AddBridge: &flows.Bridge{ExternalIDs: ours}}, ovsdb.ErrConflict, `bridge "br-erspan" exists`},
		"bridge named as a port":           {flows.RowOp{Bridge: "vnet0", AddBridge: &flows.Bridge{ExternalIDs: ours}}, ovsdb.ErrConflict, `a port "vnet0" exists on bridge "br0"`},
		"bridge without mark":              {flows.RowOp{Bridge: "new", AddBridge: &flows.Bridge{}}, ovsdb.ErrNotOurs, "+ bridge new"},
		"set bridge, none":                 {flows.RowOp{Bridge: "none", SetBridge: &flows.Bridge{ExternalIDs: ours}}, ovsdb.ErrConflict, `bridge "none" does not exist`},
		"set bridge, theirs":               {flows.RowOp{Bridge: "br0", SetBridge: &flows.Bridge{ExternalIDs: ours}}, ovsdb.ErrNotOurs, "~ bridge br0"},
		"set bridge, losing mark":          {flows.RowOp{Bridge: "br-erspan", SetBridge: &flows.Bridge{}}, ovsdb.ErrNotOurs, "~ bridge br-erspan"},
		"delete bridge, theirs":            {flows.RowOp{Bridge: "br0", DelBridge: true}, ovsdb.ErrNotOurs, "- bridge br0"},
		"delete bridge, their port":        {flows.RowOp{Bridge: "br-mixed", DelBridge: true}, ovsdb.ErrNotOurs, `its port "theirs1"`},
		"delete bridge, their mirror":      {flows.RowOp{Bridge: "br-mixed2", DelBridge: true}, ovsdb.ErrNotOurs, `its mirror "theirs2"`},
		"add port to no bridge":            {flows.RowOp{Bridge: "none", AddPort: port("new")}, ovsdb.ErrConflict, `bridge "none" does not exist`},
		"add port that exists":             {flows.RowOp{Bridge: "br0", AddPort: port("es-p1")}, ovsdb.ErrConflict, `port "es-p1" exists on bridge "br0"`},
		"add port that is elsewhere":       {flows.RowOp{Bridge: "br0", AddPort: port("es-t1")}, ovsdb.ErrConflict, `port "es-t1" exists on bridge "br-erspan"`},
		"add port without mark":            {flows.RowOp{Bridge: "br0", AddPort: unmarked}, ovsdb.ErrNotOurs, "+ port new on br0"},
		"add port without interface":       {flows.RowOp{Bridge: "br0", AddPort: &flows.Port{Name: "new", ExternalIDs: ours}}, nil, "no interface"},
		"set port, none":                   {flows.RowOp{Bridge: "br0", SetPort: port("none")}, ovsdb.ErrConflict, `no port "none"`},
		"set port on another bridge":       {flows.RowOp{Bridge: "br0", SetPort: port("es-t1")}, ovsdb.ErrConflict, `bridge "br0" has no port "es-t1"`},
		"set port, theirs":                 {flows.RowOp{Bridge: "br0", SetPort: port("vnet0")}, ovsdb.ErrNotOurs, "~ port vnet0 on br0"},
		"set port, local":                  {flows.RowOp{Bridge: "br-erspan", SetPort: port("br-erspan")}, ovsdb.ErrNotOurs, "~ port br-erspan"},
		"set port, other interface":        {flows.RowOp{Bridge: "br0", SetPort: &flows.Port{Name: "es-p1", ExternalIDs: ours, Interfaces: []*flows.Interface{{Name: "x"}}}}, ovsdb.ErrConflict, `no interface "x"`},
		"delete port, none":                {flows.RowOp{Bridge: "br0", DelPort: "none"}, ovsdb.ErrConflict, `no port "none"`},
		"delete port, theirs":              {flows.RowOp{Bridge: "br0", DelPort: "vnet0"}, ovsdb.ErrNotOurs, "- port vnet0 on br0"},
		"add mirror of a missing port":     {flows.RowOp{Bridge: "br0", AddMirror: &flows.Mirror{ExternalIDs: ours, SelectSrcPort: []string{"none"}, OutputPort: "es-p1"}}, ovsdb.ErrConflict, `no port "none"`},
		"add mirror to a missing port":     {flows.RowOp{Bridge: "br0", AddMirror: &flows.Mirror{ExternalIDs: ours, SelectSrcPort: []string{"vnet0"}, OutputPort: "none"}}, ovsdb.ErrConflict, `no port "none"`},
		"add mirror to a port elsewhere":   {flows.RowOp{Bridge: "br0", AddMirror: &flows.Mirror{ExternalIDs: ours, SelectSrcPort: []string{"vnet0"}, OutputPort: "es-t1"}}, ovsdb.ErrConflict, `no port "es-t1"`},
		"add mirror without mark":          {flows.RowOp{Bridge: "br0", AddMirror: &flows.Mirror{Name: "x"}}, ovsdb.ErrNotOurs, "+ mirror x"},
		"set mirror, theirs":               {flows.RowOp{Bridge: "br0", SetMirror: &flows.Mirror{UUID: theirs, ExternalIDs: ours}}, ovsdb.ErrNotOurs, "~ mirror"},
		"set mirror, none":                 {flows.RowOp{Bridge: "br0", SetMirror: &flows.Mirror{UUID: "x", ExternalIDs: ours}}, ovsdb.ErrConflict, "no mirror x"},
		"set mirror of another bridge":     {flows.RowOp{Bridge: "br-erspan", SetMirror: &flows.Mirror{UUID: mine, ExternalIDs: ours}}, ovsdb.ErrConflict, "no mirror"},
		"delete mirror, theirs":            {flows.RowOp{Bridge: "br0", DelMirror: theirs}, ovsdb.ErrNotOurs, "- mirror"},
		"delete mirror, none":              {flows.RowOp{Bridge: "br0", DelMirror: "x"}, ovsdb.ErrConflict, "no mirror x"},
		"nothing":                          {flows.RowOp{Bridge: "br0"}, nil, "says nothing"},
		"value that the schema refuses":    {flows.RowOp{Bridge: "br0", AddPort: &flows.Port{Name: "new", Tag: ptr(4096), ExternalIDs: ours, Interfaces: []*flows.Interface{{Name: "new", Type: "dummy"}}}}, nil, "4096"},
		"name of an interface that exists": {flows.RowOp{Bridge: "br0", AddPort: &flows.Port{Name: "new", ExternalIDs: ours, Interfaces: []*flows.Interface{{Name: "vnet0", Type: "dummy"}}}}, ovsdb.ErrConflict, "vnet0"},
	} {
		t.Run(name, func(t *testing.T) {
			before := foreign(s)
			// The first op is fine, and must not be done either.
			err := db.Apply(context.Background(), []flows.RowOp{{Bridge: "br0", AddPort: port("fine")}, c.op})
			wantError(t, err, c.is, c.text)
			if diff := cmp.Diff(before, foreign(s)); diff != "" {
				t.Errorf("rows (-before +after):\n%s", diff)
			}
		})
	}
}

func TestApplyReportsInterfaces(t *testing.T) {
	s := ovsdbtest.Start(t)
	s.StartVswitchd()
	production(t, s)
	db := connect(t, s)
	tunnel := func(name string, options ...string) *flows.Port {
		p := &flows.Port{Name: name, ExternalIDs: ours, Interfaces: []*flows.Interface{{Name: name, Type: "erspan", Options: map[string]string{"remote_ip": "192.0.2.9", "key": "1", "erspan_ver": "1"}}}}
		for _, option := range options {
			key, v, _ := strings.Cut(option, "=")
			p.Interfaces[0].Options[key] = v
		}
		return p
	}
	faults := func(ops ...flows.RowOp) []*ovsdb.InterfaceError {
		t.Helper()
		err := db.Apply(context.Background(), ops)
		var found []*ovsdb.InterfaceError
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, err := range joined.Unwrap() {
				var e *ovsdb.InterfaceError
				if !errors.As(err, &e) {
					t.Fatal(err)
				}
				found = append(found, e)
			}
		} else if err != nil {
			t.Fatal(err)
		}
		return found
	}
	want := func(got []*ovsdb.InterfaceError, want ...ovsdb.InterfaceError) {
		t.Helper()
		var plain []ovsdb.InterfaceError
		for _, e := range got {
			plain = append(plain, *e)
		}
		if diff := cmp.Diff(want, plain); diff != "" {
			t.Errorf("interface errors (-want +got):\n%s", diff)
		}
	}
	invalid := ovsdb.InterfaceError{Bridge: "br0", Port: "es1", Interface: "es1", OFPort: -1, Text: "es1: invalid erspan version: 9"}

	// Added with what OVS refuses; the good one beside it is fine. Then set right, and wrong again (facts, trap 13).
	want(faults(flows.RowOp{Bridge: "br0", AddPort: tunnel("es1", "erspan_ver=9")}, flows.RowOp{Bridge: "br0", AddPort: tunnel("es2", "key=2")}), invalid)
	for range 20 {
		want(faults(flows.RowOp{Bridge: "br0", SetPort: tunnel("es1")}))
		if got := state(t, db).Bridges["br0"].Ports["es1"].Interfaces[0]; got.OFPort <= 0 || got.Error != "" {
			t.Fatalf("set right: %+v", got)
		}
		want(faults(flows.RowOp{Bridge: "br0", SetPort: tunnel("es1", "erspan_ver=9")}), invalid)
	}
	if text := invalid.Error(); text != `bridge "br0": port "es1": ovs-vswitchd: es1: invalid erspan version: 9` {
		t.Error(text)
	}

	// A patch port whose peer comes later has an error only until then, or for a moment longer.
	apply(t, db, flows.RowOp{Bridge: "br-erspan", AddBridge: &flows.Bridge{DatapathType: "dummy", ExternalIDs: ours}})
	for range 30 {
		s.Vsctl("add-port", "br0", "early", "--", "set", "port", "early", "external_ids:ovs-erspan=x", "--", "set", "interface", "early", "type=patch", "options:peer=late")
		ovsdbtest.Eventually(t, "the patch port misses its peer", func() bool {
			p := state(t, db).Bridges["br0"].Ports["early"]
			return p != nil && p.Interfaces[0].Error != ""
		})
		set := addPatch("br0", "early", "late")
		set.AddPort, set.SetPort = nil, set.AddPort
		want(faults(addPatch("br-erspan", "late", "early"), set))
		apply(t, db, flows.RowOp{Bridge: "br0", DelPort: "early"}, flows.RowOp{Bridge: "br-erspan", DelPort: "late"})
	}

	// A bridge that cannot be opened: its interfaces get no OpenFlow port.
	got := faults(flows.RowOp{Bridge: "br-bad", AddBridge: &flows.Bridge{DatapathType: "nonsense", ExternalIDs: ours}})
	if len(got) != 1 || got[0].Port != "br-bad" || got[0].OFPort > 0 {
		t.Errorf("bridge with a datapath type that does not exist: %v", got)
	}
}

func TestApplyWithoutVswitchd(t *testing.T) {
	s := ovsdbtest.Start(t)
	s.Vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=dummy")
	db := connect(t, s)
	err := db.Apply(within(t, 100*time.Millisecond), []flows.RowOp{addPatch("br0", "p1", "p2"), addPatch("br0", "p2", "p1")})
	wantError(t, err, ovsdb.ErrNoVswitchd, "the rows were committed", "configuration 1", "is it running?")
	if len(state(t, db).Bridges["br0"].Ports) != 3 {
		t.Error("the rows are not there")
	}

	s.StartVswitchd()
	apply(t, db, flows.RowOp{Bridge: "br0", DelPort: "p1"})
	s.SignalVswitchd(syscall.SIGSTOP)
	ctx, cancel := context.WithCancel(context.Background())
	interrupted := make(chan error, 1)
	go func() { interrupted <- db.Apply(ctx, []flows.RowOp{{Bridge: "br0", DelPort: "p2"}}) }()
	ovsdbtest.Eventually(t, "it waits", waitsForVswitchd)
	cancel()
	err = <-interrupted
	wantError(t, err, context.Canceled, "the rows were committed")
	if errors.Is(err, ovsdb.ErrNoVswitchd) {
		t.Error("an interrupted wait says nothing of ovs-vswitchd")
	}
	s.SignalVswitchd(syscall.SIGCONT)
	apply(t, db, addPatch("br0", "p1", "p2"), addPatch("br0", "p2", "p1"))
}

func thousand() (add, del []flows.RowOp) {
	for i := range 1000 {
		name := fmt.Sprintf("es%d", i)
		add = append(add, flows.RowOp{Bridge: "br0", AddPort: &flows.Port{Name: name, ExternalIDs: ours, Interfaces: []*flows.Interface{{
			Name: name, Type: "erspan",
			Options: map[string]string{"remote_ip": fmt.Sprintf("10.0.%d.%d", i/250, i%250+1), "key": "flow", "erspan_ver": "1", "erspan_idx": "0x5"},
		}}}})
		del = append(del, flows.RowOp{Bridge: "br0", DelPort: name})
	}
	return add, del
}

func TestApplyThousand(t *testing.T) {
	s := ovsdbtest.Start(t)
	s.StartVswitchd()
	production(t, s)
	before := foreign(s)
	db := connect(t, s)
	add, del := thousand()
	started := time.Now()
	apply(t, db, add...)
	t.Logf("1000 ports added and acknowledged in %v", time.Since(started))
	if got := len(state(t, db).Bridges["br0"].Ports); got != 1004 {
		t.Errorf("%d ports", got)
	}
	apply(t, db, del...)
	if diff := cmp.Diff(before, foreign(s)); diff != "" {
		t.Errorf("others' rows (-before +after):\n%s", diff)
	}
}

func BenchmarkConnectState(b *testing.B) {
	s := ovsdbtest.Start(b)
	s.StartVswitchd()
	production(b, s)
	for b.Loop() {
		db, err := ovsdb.Connect(context.Background(), s.RunDir)
		if err != nil {
			b.Fatal(err)
		}
		state(b, db)
		db.Close()
	}
}

func BenchmarkApplySession(b *testing.B) {
	s := ovsdbtest.Start(b)
	s.StartVswitchd()
	production(b, s)
	db := connect(b, s)
	up, mirrors := sessionRows()
	apply(b, db, up[0], up[1])
	for b.Loop() {
		apply(b, db, append(up[2:], mirrors...)...)
		b.StopTimer()
		for uuid, m := range state(b, db).Bridges["br0"].Mirrors {
			if flows.Ours(m.ExternalIDs) {
				apply(b, db, flows.RowOp{Bridge: "br0", DelMirror: uuid}, flows.RowOp{Bridge: "br0", DelPort: "es-p1"}, flows.RowOp{Bridge: "br-erspan", DelPort: "es-t1"})
			}
		}
		b.StartTimer()
	}
}
