// Package openflow carries flows to and from a bridge. It writes through go-openvswitch, which executes ovs-ofctl(8), and
// reads with a parser of its own: go-openvswitch's drops what it does not know, tunnel fields and registers included.
//
// It knows nothing of sessions; it moves flows.Line.
//
//	ofctl := openflow.New(rundir)
//	there, err := ofctl.Dump(ctx, "br-erspan")
//	err = ofctl.Apply(ctx, "br-erspan", flows.Compare(flows.Lines(there), wished))
package openflow
