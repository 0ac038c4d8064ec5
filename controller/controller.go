package controller

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// DB is Open vSwitch's database (package ovsdb).
type DB interface {
	// State is what was last observed.
	State() (flows.State, error)
	// Apply commits the changes in one transaction and returns when ovs-vswitchd has taken them over.
	Apply(ctx context.Context, ops []flows.RowOp) error
	// Mend makes the store whole, before the wish is read; it tells what was lost and restored, nil for nothing.
	Mend(ctx context.Context, now time.Time) (*session.Restored, error)
	// Commit is Apply that does not wait.
	Commit(ctx context.Context, ops []flows.RowOp) error
	// Wish is what the store holds.
	Wish() (session.Wish, error)
	// Generations are that of the wish and the one that was last reported as in force.
	Generations() (wished, inForce uint64, err error)
	// Update changes the wish, with a new generation, or fails and changes nothing.
	Update(ctx context.Context, change func(*session.Wish) error) (generation uint64, err error)
	// Report keeps each session's status, and the generation that they belong to, where commands find them.
	Report(ctx context.Context, inForce uint64, status map[string]session.Status) error
	// Proofs are what self-tests of meters found, by datapath type, and Prove keeps one.
	Proofs() (map[string]flows.Proof, error)
	Prove(ctx context.Context, datapath string, proof flows.Proof) error
	// Links are the states of interfaces, by name.
	Links(ctx context.Context, interfaces []string) (map[string]flows.Link, error)
}

// OpenFlow moves flows to and from bridges (package openflow).
type OpenFlow interface {
	Dump(ctx context.Context, bridge string) ([]flows.Entry, error)
	// Canonical renders flows as Dump shows them; a *flows.BadMatchError names a user's match that cannot be.
	Canonical(ctx context.Context, all []flows.Flow) ([]flows.Line, error)
	Apply(ctx context.Context, bridge string, changes flows.FlowChanges) error
	Touch(ctx context.Context, bridge string) error
	// Fragments is what the bridge does with IP fragments.
	Fragments(ctx context.Context, bridge string) (flows.FragmentMode, error)
	// Meters are the bridge's meters, MeterCounts what they have counted.
	Meters(ctx context.Context, bridge string) ([]flows.Meter, error)
	MeterCounts(ctx context.Context, bridge string) ([]flows.MeterCount, error)
	// DumpOurs, AddOurs and DeleteOurs are for the flows with our cookie on production bridges.
	DumpOurs(ctx context.Context, bridge string) ([]flows.Entry, error)
	AddOurs(ctx context.Context, bridge string, lines []flows.Line) error
	DeleteOurs(ctx context.Context, bridge string, lines []flows.Line) error
}

// Vswitchd answers what only ovs-vswitchd knows (package vswitchd).
type Vswitchd interface {
	// Alive fails where ovs-vswitchd does not answer.
	Alive(ctx context.Context) error
	// Instance names the process that answered last: while it stays, ovs-vswitchd was not started anew.
	Instance() string
	// Version is that of the ovs-vswitchd that runs.
	Version(ctx context.Context) (string, error)
	// Trace has it tell what it would do with a packet.
	Trace(ctx context.Context, bridge, flow string) (string, error)
	WaitRevalidated(ctx context.Context, touch func(context.Context) error) error
	// SetNeighbor has native tunnels know the link-layer address of a next hop that is reached through a bridge.
	SetNeighbor(ctx context.Context, bridge string, hop netip.Addr, address string) error
	// Routes are what its route table says of each address.
	Routes(ctx context.Context, to []netip.Addr) (map[netip.Addr]flows.Route, error)
	// TunnelSource is the address that a native tunnel would send from, invalid where that is not known.
	TunnelSource(ctx context.Context, bridge, actions string) (netip.Addr, error)
	// Leaving tells what becomes of the copies of each way out.
	Leaving(ctx context.Context, ways []flows.WayOut) (map[flows.WayOut]flows.Leaving, error)
	// Neighbors by the bridge that they are reached through.
	Neighbors(ctx context.Context) (map[string]map[netip.Addr]bool, error)
}

// Underlay is the host's network towards collectors (package underlay).
type Underlay interface {
	// Paths are those that the kernel takes, Along completes those that Open vSwitch takes, whose tunnels may have the
	// addresses of the devices.
	Paths(keys []flows.PathKey) (map[flows.PathKey]flows.Path, error)
	Along(routes map[flows.PathKey]flows.Route, tunnels map[string]bool) (map[flows.PathKey]flows.Path, error)
	Prime(path flows.Path) error
	// Veths are those of the pairs that are there, and by name the kinds of the devices of others that have their
	// names; the devices of what AddVeth makes come without segmentation and checksum offloads, and up.
	Veths(known []flows.Veth) (there []flows.Veth, others map[string]string, err error)
	AddVeth(v flows.Veth) error
	DeleteVeth(v flows.Veth) error
	// Isolation is what has to change, for people, until the host's own stack gets nothing of what arrives at these devices,
	// and all of what arrives at others; Isolate makes it so, and says how much changed. Both are about one Open vSwitch.
	Isolation(openVSwitch string, devices []string) (changes []string, err error)
	Isolate(openVSwitch string, devices []string) (changed int, err error)
}

// Controller reconciles one Open vSwitch. One at a time may: the caller holds the lock.
type Controller struct {
	DB       DB
	OpenFlow OpenFlow
	Vswitchd Vswitchd
	Underlay Underlay
	Now      func() time.Time
	Log      *slog.Logger
	// Stale tells of an error of DB that it means "rows changed meanwhile, nothing was done: look again".
	Stale func(error) bool
	// PortNotOpen tells of an error of DB that the rows are committed, but that Open vSwitch could not open a port: what
	// that means for each session is seen in what is observed next.
	PortNotOpen func(error) bool
	// Reached, where set, is told of each step before it is taken. Tests end the process there.
	Reached func(step string)
	// Skip holds the tap bridges that are left alone this time, with what happened last time (the loop's backoff).
	Skip map[string]error
	// RouteHold is for how long what is programmed for a collector stays when the route to it goes: a network that comes
	// and goes, as it does when ovs-vswitchd restarts, should not tear sessions down. 0: not at all.
	RouteHold time.Duration
	// Ledger, where set, counts lost copies. Only a daemon looks often enough to have one.
	Ledger *Ledger

	disputes   sync.Mutex // of contest
	contest    contest
	hung       map[string]bool // bridges that did not answer in time when they were asked last
	reconciled uint64          // the generation of the wish that was reconciled last
	// unproven is why the last reconcile could not find out whether meters are harmless; nil where it could.
	unproven error
	ways     map[flows.PathKey]way // what this controller saw of the underlay last time
	// nextRoute is where RoutesChanged goes on.
	nextRoute int
	leak      string // why the last reconcile could not isolate devices, "" where it could

	waysOut map[flows.WayOut]bool          // of the last reconcile
	leaving map[flows.WayOut]flows.Leaving // what was said of them last, and in which turn
	asked   map[flows.WayOut]uint64
	turn    uint64
	// What the last reconcile made, for those who count lost copies.
	last     Plan
	lastWish session.Wish
}

// NeighborWait bounds how long a reconcile waits for next hops that do not answer.
const NeighborWait = time.Second

func (c *Controller) reached(step string) {
	c.Log.Debug("step", "name", step)
	if c.Reached != nil {
		c.Reached(step)
	}
}
