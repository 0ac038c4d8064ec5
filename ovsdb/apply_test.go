package ovsdb_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/ovsdb"
	"github.com/ovs-erspan/ovs-erspan/ovsdb/ovsdbtest"
)

var ours = map[string]string{flows.OwnerKey: "test"}

func connect(t testing.TB, s *ovsdbtest.Server) *ovsdb.DB {
	t.Helper()
	db, err := ovsdb.Connect(context.Background(), s.RunDir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

func state(t testing.TB, db *ovsdb.DB) flows.State {
	t.Helper()
	s, err := db.State()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSmoke(t *testing.T) {
	s := ovsdbtest.Start(t)
	s.StartVswitchd()
	s.Vsctl("--wait", "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=dummy",
		"--", "add-port", "br0", "p1", "--", "set", "interface", "p1", "type=dummy")
	started := time.Now()
	db := connect(t, s)
	st := state(t, db)
	fmt.Println("connect+state", time.Since(started))
	fmt.Printf("%+v\n", st.Bridges["br0"].Ports["p1"].Interfaces[0])
	ops := []flows.RowOp{
		{Bridge: "br-erspan", AddBridge: &flows.Bridge{Name: "br-erspan", DatapathType: "dummy", FailMode: "secure", ExternalIDs: ours}},
		{Bridge: "br-erspan", AddPort: &flows.Port{Name: "es1", ExternalIDs: ours, Interfaces: []*flows.Interface{{Name: "es1", Type: "patch", Options: map[string]string{"peer": "es2"}}}}},
		{Bridge: "br0", AddPort: &flows.Port{Name: "es2", ExternalIDs: ours, Trunks: []int{4095}, Interfaces: []*flows.Interface{{Name: "es2", Type: "patch", Options: map[string]string{"peer": "es1"}}}}},
		{Bridge: "br0", AddMirror: &flows.Mirror{Name: "m", ExternalIDs: ours, SelectSrcPort: []string{"p1"}, OutputPort: "es2"}},
	}
	started = time.Now()
	if err := db.Apply(context.Background(), ops); err != nil {
		fmt.Println(s.Vsctl("list", "open_vswitch"))
		t.Fatal(err)
	}
	fmt.Println("apply", time.Since(started))
	fmt.Println(s.Vsctl("show"))
	err := db.Apply(context.Background(), []flows.RowOp{{Bridge: "br0", AddPort: &flows.Port{Name: "bad", ExternalIDs: ours, Interfaces: []*flows.Interface{{Name: "bad", Type: "bogus"}}}}})
	fmt.Println(err)
	var e *ovsdb.InterfaceError
	if !errors.As(err, &e) {
		t.Error(err)
	}
}
