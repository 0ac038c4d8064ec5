package controller

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// netdev is the userspace datapath, whose tunnels take a way of their own.
const netdev = "netdev"

// paths observes the way to each collector, and holds those that were lost a moment ago.
func (c *Controller) paths(ctx context.Context, state flows.State, sessions []session.Stored) (map[flows.PathKey]flows.Path, error) {
	keys := flows.PathKeys(sessions, state)
	if len(keys) == 0 {
		return nil, nil
	}
	paths, err := c.rawPaths(ctx, state, keys)
	if err == nil {
		c.hold(paths)
	}
	return paths, err
}

// rawPaths are the paths as they are now. Who sends is asked: the kernel for its datapath, Open vSwitch's own route table
// and neighbours for the userspace datapath.
func (c *Controller) rawPaths(ctx context.Context, state flows.State, keys []flows.PathKey) (map[flows.PathKey]flows.Path, error) {
	var kernels, natives []flows.PathKey
	for _, key := range keys {
		if key.Datapath == netdev {
			natives = append(natives, key)
		} else {
			kernels = append(kernels, key)
		}
	}
	paths, err := c.kernelPaths(kernels)
	if err != nil {
		return nil, err
	}
	native, err := c.nativePaths(ctx, state, natives)
	maps.Copy(paths, native)
	if err == nil {
		err = c.guardSenders(state, paths)
	}
	return paths, err
}

// kernelPaths are those that the kernel takes; it needs no telling of what it knows itself.
func (c *Controller) kernelPaths(keys []flows.PathKey) (map[flows.PathKey]flows.Path, error) {
	paths, err := c.Underlay.Paths(keys)
	for key, p := range paths {
		p.Unnoticed = ""
		if key.Sender {
			p.NextHop = netip.Addr{}
		}
		paths[key] = p
	}
	return paths, err
}

// routes are what Open vSwitch's route table says of the keys' collectors.
func (c *Controller) routes(ctx context.Context, keys []flows.PathKey) (map[flows.PathKey]flows.Route, error) {
	to := map[netip.Addr]bool{}
	for _, key := range keys {
		to[key.Collector] = true
	}
	known, err := c.Vswitchd.Routes(ctx, slices.SortedFunc(maps.Keys(to), netip.Addr.Compare))
	if err != nil {
		return nil, fmt.Errorf("ask for routes: %w", err)
	}
	routes := make(map[flows.PathKey]flows.Route, len(keys))
	for _, key := range keys {
		r := known[key.Collector]
		// An origin is the tunnel's local_ip. For IPv6 Open vSwitch may take the route's address all the same (sourceTaken).
		if r.Device != "" && key.Origin.Is4() {
			r.Source = key.Origin
		}
		routes[key] = r
	}
	return routes, nil
}

// nativePaths are the paths of the userspace datapath's tunnels.
func (c *Controller) nativePaths(ctx context.Context, state flows.State, keys []flows.PathKey) (map[flows.PathKey]flows.Path, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	// An ovs-vswitchd that began to hang since it was asked whether it lives must not hold up what is to stop.
	ctx, cancel := share(ctx, AliveTime)
	defer cancel()
	routes, err := c.routes(ctx, keys)
	if err != nil {
		return nil, err
	}
	devices := flows.TunnelDevices(state)
	for _, r := range routes {
		if r.Device != "" {
			devices[r.Device] = true
		}
	}
	paths, err := c.along(ctx, state, routes, devices)
	for key, p := range paths {
		if p.Bridge != "" && key.Origin.Is6() && key.Origin != p.Source {
			p.Source = c.sourceTaken(ctx, state, key, p.Source)
			paths[key] = p
		}
	}
	return paths, err
}

// along completes the paths of these routes: with the devices' addresses, and with whose neighbours are known.
func (c *Controller) along(ctx context.Context, state flows.State, routes map[flows.PathKey]flows.Route, devices map[string]bool) (map[flows.PathKey]flows.Path, error) {
	paths, err := c.Underlay.Along(routes, devices)
	if err != nil {
		return nil, err
	}
	known, err := c.Vswitchd.Neighbors(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for neighbours: %w", err)
	}
	for key, p := range paths {
		p.Bridge = flows.TunnelBridge(state, p.Device)
		if p.HasNeighbor = known[p.Bridge][p.NextHop]; p.HasNeighbor || p.Bridge == "" {
			p.Unnoticed = ""
		}
		paths[key] = p
	}
	return paths, nil
}

// neighborsOf are the paths of these keys with the neighbours as they are now. Where the paths lead is not asked anew: this is
// looked at hundreds of times within a second.
func (c *Controller) neighborsOf(ctx context.Context, state flows.State, was map[flows.PathKey]flows.Path, keys []flows.PathKey) (map[flows.PathKey]flows.Path, error) {
	var kernels []flows.PathKey
	natives := map[flows.PathKey]flows.Route{}
	for _, key := range keys {
		if p := was[key]; key.Datapath == netdev {
			natives[key] = flows.Route{Device: p.Device, Source: p.Source, NextHop: p.NextHop}
		} else {
			kernels = append(kernels, key)
		}
	}
	paths, err := c.kernelPaths(kernels)
	if err != nil || len(natives) == 0 {
		return paths, err
	}
	native, err := c.along(ctx, state, natives, nil)
	maps.Copy(paths, native)
	return paths, err
}

// guardSenders gives the paths from senders the addresses at which a userspace datapath takes what they send.
func (c *Controller) guardSenders(state flows.State, paths map[flows.PathKey]flows.Path) error {
	senders := map[flows.PathKey]flows.Route{}
	for key, p := range paths {
		if key.Sender && flows.TunnelBridge(state, p.Device) != "" {
			senders[key] = flows.Route{Device: p.Device, Source: p.Source}
		}
	}
	if len(senders) == 0 {
		return nil
	}
	devices := flows.TunnelDevices(state)
	for _, r := range senders {
		devices[r.Device] = true
	}
	natives, err := c.Underlay.Along(senders, devices)
	for key, native := range natives {
		p := paths[key]
		p.Local = native.Local
		paths[key] = p
	}
	return err
}
