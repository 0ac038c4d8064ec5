package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ovs-erspan/ovs-erspan/controller"
	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/openflow"
	"github.com/ovs-erspan/ovs-erspan/ovsdb"
	"github.com/ovs-erspan/ovs-erspan/session"
	"github.com/ovs-erspan/ovs-erspan/underlay"
	"github.com/ovs-erspan/ovs-erspan/vswitchd"
)

// host is the Open vSwitch that a command works on.
type host struct {
	app        *app
	db         *ovsdb.DB
	ofctl      *openflow.Client
	ctl        *vswitchd.Client
	controller *controller.Controller
	// altered are the sessions that this command added or altered, as they are stored now.
	altered []session.Stored
	// changes tells what became of the named sessions, and of those that are gone, by what this command stored.
	changes func(names []string) []session.Change
	// unattended is set when this command itself put a change in force: no daemon runs.
	unattended bool
}

// withHost connects, runs the command under the timeout, and disconnects.
func (a *app) withHost(ctx context.Context, run func(ctx context.Context, h *host) error) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	db, err := ovsdb.Open(ctx, a.database())
	if err != nil {
		return err
	}
	defer db.Close()
	h := &host{app: a, db: db, ofctl: openflow.New(a.rundir), ctl: a.vswitchd(func() *ovsdb.DB { return db })}
	h.controller = newController(db, h.ofctl, h.ctl)
	h.controller.Log = a.logger()
	err = run(ctx, h)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		return withCode(exitCode(err), fmt.Errorf("%w (after %s; --timeout gives it longer)", err, a.timeout))
	}
	return err
}

// newController makes a controller without a log.
func newController(db *ovsdb.DB, ofctl *openflow.Client, ctl *vswitchd.Client) *controller.Controller {
	return &controller.Controller{
		DB: db, OpenFlow: ofctl, Vswitchd: ctl, Underlay: kernel{},
		Now: time.Now, Reached: reached,
		Stale:       func(err error) bool { return errors.Is(err, ovsdb.ErrConflict) },
		PortNotOpen: func(err error) bool { var failed *ovsdb.InterfaceError; return errors.As(err, &failed) },
	}
}

// vswitchd is the ovs-vswitchd that the flags name; the database, where it is connected to, knows its bridges.
func (a *app) vswitchd(database func() *ovsdb.DB) *vswitchd.Client {
	return vswitchd.Open(vswitchd.Options{RunDir: a.rundir, Control: a.control, Known: func() (known vswitchd.Known) {
		db := database()
		if db == nil {
			return known
		}
		state, err := db.State()
		if err != nil {
			return known
		}
		known.Bridges = slices.Sorted(maps.Keys(state.Bridges))
		for _, b := range state.Bridges {
			for _, p := range b.Ports {
				for _, i := range p.Interfaces {
					known.Ports = append(known.Ports, i.Name)
				}
			}
		}
		return known
	}})
}

// view is the host as checks of the sessions see it. The kernel's devices, of which there may be thousands, matter to
// deliveries only.
func (h *host) view(sessions []session.Stored) (flows.Host, error) {
	state, err := h.db.State()
	if err != nil {
		return flows.Host{}, err
	}
	local, err := underlay.LocalAddresses()
	if err != nil {
		return flows.Host{}, err
	}
	view := flows.Host{State: state, LocalAddrs: local}
	if slices.ContainsFunc(sessions, func(s session.Stored) bool { return s.Type == session.Destination }) {
		view.Devices, err = underlay.Devices()
	}
	return view, err
}

// kernel is the underlay as the running kernel tells it.
type kernel struct{}

func (kernel) Paths(keys []flows.PathKey) (map[flows.PathKey]flows.Path, error) {
	return underlay.Paths(keys)
}
func (kernel) Along(routes map[flows.PathKey]flows.Route, tunnels map[string]bool) (map[flows.PathKey]flows.Path, error) {
	return underlay.Along(routes, tunnels)
}
func (kernel) Prime(path flows.Path) error { return underlay.Prime(path) }
func (kernel) Veths(known []flows.Veth) ([]flows.Veth, map[string]string, error) {
	return underlay.Veths(known)
}
func (kernel) AddVeth(v flows.Veth) error    { return underlay.AddVeth(v) }
func (kernel) DeleteVeth(v flows.Veth) error { return underlay.DeleteVeth(v) }
func (kernel) Isolation(openVSwitch string, devices []string) ([]string, error) {
	return underlay.Isolation(openVSwitch, devices)
}
func (kernel) Isolate(openVSwitch string, devices []string) (int, error) {
	return underlay.Isolate(openVSwitch, devices)
}

// reached tells tests how far a change has come.
func (h *host) reached(step string) {
	if h.controller.Reached != nil {
		h.controller.Reached(step)
	}
}
