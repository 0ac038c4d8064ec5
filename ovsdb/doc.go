// Package ovsdb observes and changes one Open vSwitch through its database, and keeps the sessions that users wish for
// in it. It is the only package that knows libovsdb.
//
// A DB is one connection to the ovsdb-server of a host, with a copy of the rows that ovs-erspan needs kept current by a
// monitor (RFC 7047, section 4.1.5). State is a snapshot of that copy in the words of package flows. Apply changes rows,
// all of one call in one transaction, and returns when ovs-vswitchd has made the change true. Wish, Update and Report
// are the store of sessions, kept in a row of its own (places.go); Mend makes it whole, and Forget takes it away.
//
// The package must not know what a session or a tap is for: it neither plans nor decides. Nothing reconnects by itself:
// when Done is closed, the caller connects anew and looks at everything again.
//
//	db, err := ovsdb.Connect(ctx, "/var/run/openvswitch")
//	if err != nil {
//		return err
//	}
//	defer db.Close()
//	state, err := db.State()
//	…
//	changes := flows.RowChanges(state, program)
//	err = db.Apply(ctx, changes.Before)
package ovsdb
