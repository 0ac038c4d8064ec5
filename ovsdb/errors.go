package ovsdb

import (
	"errors"
	"fmt"
)

var (
	// ErrDisconnected says that the connection to ovsdb-server is lost or closed. The caller connects anew and looks at
	// everything again.
	ErrDisconnected = errors.New("not connected to ovsdb-server")

	// ErrConflict says that rows are no longer as they were when the change was planned, and that nothing was changed.
	// The caller looks again and plans anew.
	ErrConflict = errors.New("it changed meanwhile, nothing was done")

	// ErrNotOurs says that an op would change or remove a row that does not carry our mark (flows.OwnerKey), or add one
	// without it, and that nothing was changed.
	ErrNotOurs = errors.New("not marked as ovs-erspan's, nothing was done")

	// ErrOutcomeUnknown says that the connection or the time ran out between sending a transaction and its answer:
	// ovsdb-server may or may not have committed it.
	ErrOutcomeUnknown = errors.New("whether it was committed is not known")

	// ErrNoVswitchd says that rows were committed, but ovs-vswitchd did not acknowledge them in time.
	ErrNoVswitchd = errors.New("ovs-vswitchd does not answer (is it running?)")
)

// InterfaceError says that ovs-vswitchd could not open an interface as its row asks. The row is committed and stays.
type InterfaceError struct {
	Bridge, Port, Interface string
	// OFPort is Interface.ofport: -1 where the interface could not be opened, 0 where ovs-vswitchd gave it no OpenFlow
	// port at all.
	OFPort int
	// Text is OVS's own: Interface.error, "" where there is none.
	Text string
}

func (e *InterfaceError) Error() string {
	name := fmt.Sprintf("port %q", e.Port)
	if e.Interface != e.Port {
		name += fmt.Sprintf(" (interface %q)", e.Interface)
	}
	switch {
	case e.Text != "":
		return fmt.Sprintf("bridge %q: %s: ovs-vswitchd: %s", e.Bridge, name, e.Text)
	case e.OFPort < 0:
		return fmt.Sprintf("bridge %q: %s: ovs-vswitchd could not open it; its log says why", e.Bridge, name)
	default:
		return fmt.Sprintf("bridge %q: %s: ovs-vswitchd gave it no OpenFlow port; its log says why", e.Bridge, name)
	}
}
