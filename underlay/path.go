package underlay

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// Paths finds the path to each collector, as the kernel takes it. A collector without a route has a Path without a device;
// an error means that the kernel could not be asked.
func Paths(keys []flows.PathKey) (map[flows.PathKey]flows.Path, error) {
	return findAll(keys, func(q query, key flows.PathKey) (flows.Path, error) { return q.find(key) })
}

// Along completes the paths that Open vSwitch takes by its own route table: what the kernel knows of the device, of the next
// hop's link-layer address, and which of the collectors are this host. Tunnels may leave through any of the tunnel devices,
// as routes change: their addresses are all in Path.Local. A device that the kernel does not know has neither MTU nor
// neighbours here.
func Along(routes map[flows.PathKey]flows.Route, tunnels map[string]bool) (map[flows.PathKey]flows.Path, error) {
	local := []netip.Addr(nil)
	return findAll(slices.Collect(maps.Keys(routes)), func(q query, key flows.PathKey) (flows.Path, error) {
		if local == nil {
			var err error
			if local, err = q.addresses(tunnels); err != nil {
				return flows.Path{}, err
			}
		}
		path, err := q.along(routes[key])
		if path.Device != "" {
			path.Local = local
		}
		return path, err
	})
}

func findAll(keys []flows.PathKey, find func(query, flows.PathKey) (flows.Path, error)) (map[flows.PathKey]flows.Path, error) {
	paths := make(map[flows.PathKey]flows.Path, len(keys))
	if len(keys) == 0 {
		return paths, nil
	}
	handle, err := newHandle()
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	defer handle.Close()
	local, err := localAddresses(handle)
	if err != nil {
		return nil, err
	}
	q := query{handle, local, map[int]link{}, map[neighborsOf]map[netip.Addr]netlink.Neigh{}}
	for _, key := range keys {
		path, err := find(q, key)
		if err != nil {
			return nil, fmt.Errorf("path to %s: %w", key.Collector, err)
		}
		if !q.hasOrigin(key) {
			path.Source = netip.Addr{}
		}
		path.OwnAddress = slices.Contains(local, key.Collector)
		paths[key] = path
	}
	return paths, nil
}

// LocalAddresses are all addresses of this host, sorted.
func LocalAddresses() ([]netip.Addr, error) {
	handle, err := newHandle()
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	defer handle.Close()
	return localAddresses(handle)
}

func localAddresses(handle *netlink.Handle) ([]netip.Addr, error) {
	addrs, err := handle.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	return toAddrs(addrs), nil
}

func toAddrs(list []netlink.Addr) []netip.Addr {
	var addrs []netip.Addr
	for _, a := range list {
		if addr, ok := netip.AddrFromSlice(a.IP); ok {
			addrs = append(addrs, addr.Unmap())
		}
	}
	return compact(addrs)
}

// compact sorts the addresses and leaves each once.
func compact(addrs []netip.Addr) []netip.Addr {
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}

// link is what several paths share.
type link struct {
	name  string
	mtu   int
	addrs []netip.Addr
}

// query asks the kernel over one socket, and for what several paths share only once.
type query struct {
	*netlink.Handle
	local     []netip.Addr // every address of the host
	links     map[int]link
	neighbors map[neighborsOf]map[netip.Addr]netlink.Neigh
}

// neighborsOf is a list of neighbours: that of a device and a family.
type neighborsOf struct{ index, family int }

func (q query) find(key flows.PathKey) (flows.Path, error) {
	options := &netlink.RouteGetOptions{}
	if key.Origin.IsValid() && q.hasOrigin(key) { // the kernel has no route from an address of others
		options.SrcAddr = key.Origin.AsSlice()
	}
	routes, err := q.RouteGetWithOptions(key.Collector.AsSlice(), options)
	if noRoute(err) || err == nil && len(routes) == 0 {
		return flows.Path{}, nil
	}
	if err != nil {
		return flows.Path{}, err
	}
	r := routes[0]
	out, err := q.link(r.LinkIndex)
	if err != nil {
		return flows.Path{}, err
	}
	path := flows.Path{Device: out.name, Source: key.Origin, NextHop: key.Collector, MTU: out.mtu, Local: out.addrs}
	if r.MTU > 0 {
		path.MTU = min(path.MTU, r.MTU)
	}
	if gw, ok := netip.AddrFromSlice(r.Gw); ok {
		path.NextHop = gw.Unmap()
	} else if via, ok := r.Via.(*netlink.Via); ok {
		if gw, ok := netip.AddrFromSlice(via.Addr); ok {
			path.NextHop = gw.Unmap()
		}
	}
	if !path.Source.IsValid() {
		if src, ok := netip.AddrFromSlice(r.Src); ok {
			path.Source = src.Unmap()
		}
	}
	if err := q.siblings(key, &path); err != nil {
		return path, err
	}
	return path, q.ask(r.LinkIndex, &path)
}

// hasOrigin tells whether the host has the origin, where one is wished for.
func (q query) hasOrigin(key flows.PathKey) bool {
	return !key.Origin.IsValid() || slices.Contains(q.local, key.Origin)
}

// siblings takes in the other next hops of a multipath route: a copy may leave through each of them. Which one a packet
// takes depends on its header.
func (q query) siblings(key flows.PathKey, path *flows.Path) error {
	routes, err := q.RouteGetWithOptions(key.Collector.AsSlice(), &netlink.RouteGetOptions{FIBMatch: true})
	if err != nil { // a kernel without it (before 4.13), or the route has just gone
		return nil
	}
	for _, r := range routes {
		for _, hop := range r.MultiPath {
			l, err := q.link(hop.LinkIndex)
			if err != nil {
				return err
			}
			path.MTU = min(path.MTU, l.mtu)
			path.Local = compact(append(slices.Clone(path.Local), l.addrs...))
		}
	}
	return nil
}

// along is the path of a route that Open vSwitch has chosen.
func (q query) along(r flows.Route) (flows.Path, error) {
	path := flows.Path{Device: r.Device, Source: r.Source, NextHop: r.NextHop}
	if r.Device == "" {
		return flows.Path{}, nil
	}
	l, err := linkOf(q.Handle, r.Device)
	if err != nil || l == nil {
		return path, err
	}
	path.MTU = l.Attrs().MTU
	return path, q.ask(l.Attrs().Index, &path)
}

// ask notes what the kernel knows of the next hop.
func (q query) ask(index int, path *flows.Path) error {
	n, err := q.neighbor(index, path.NextHop)
	path.HasNeighbor = n.State&usable != 0
	if n.State&confirmed != 0 {
		path.Unnoticed = n.HardwareAddr.String() // the caller knows who has noticed
	}
	return err
}

// addresses are all addresses of the devices, sorted.
func (q query) addresses(devices map[string]bool) ([]netip.Addr, error) {
	var all []netip.Addr
	for name := range devices {
		l, err := linkOf(q.Handle, name)
		if err != nil {
			return nil, fmt.Errorf("device %s: %w", name, err)
		}
		if l == nil {
			continue // its row is there before the device, or it is in another network namespace
		}
		known, err := q.link(l.Attrs().Index)
		if err != nil {
			return nil, err
		}
		all = append(all, known.addrs...)
	}
	return compact(all), nil
}

// noRoute tells whether an error of the kernel says that there is no way to an address (rtnetlink(7)); EINVAL is what it
// says to a source address that is not its own.
func noRoute(err error) bool {
	return errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH) ||
		errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EACCES)
}

func (q query) link(index int) (link, error) {
	if known, ok := q.links[index]; ok {
		return known, nil
	}
	l, err := q.LinkByIndex(index)
	if err != nil {
		return link{}, fmt.Errorf("device %d: %w", index, err)
	}
	addrs, err := q.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return link{}, fmt.Errorf("addresses of %s: %w", l.Attrs().Name, err)
	}
	q.links[index] = link{l.Attrs().Name, l.Attrs().MTU, toAddrs(addrs)}
	return q.links[index], nil
}

// confirmed are the states in which the address is sure to be right.
const confirmed = unix.NUD_REACHABLE | unix.NUD_PERMANENT

// usable are the states of a neighbour whose link-layer address can be sent to (rtnetlink(7), NUD_*).
const usable = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE | unix.NUD_PERMANENT | unix.NUD_NOARP

// neighbor is what the kernel knows of a next hop; its State is 0 where it knows nothing.
func (q query) neighbor(index int, hop netip.Addr) (netlink.Neigh, error) {
	list := neighborsOf{index, netlink.FAMILY_V4}
	if hop.Is6() {
		list.family = netlink.FAMILY_V6
	}
	if known, ok := q.neighbors[list]; ok {
		return known[hop], nil
	}
	all, err := q.NeighList(list.index, list.family)
	if err != nil {
		return netlink.Neigh{}, fmt.Errorf("list neighbours: %w", err)
	}
	q.neighbors[list] = byAddress(all)
	return q.neighbors[list][hop], nil
}

// byAddress sorts neighbours by their IP addresses; what has none is left out.
func byAddress(all []netlink.Neigh) map[netip.Addr]netlink.Neigh {
	known := make(map[netip.Addr]netlink.Neigh, len(all))
	for _, n := range all {
		if a, ok := netip.AddrFromSlice(n.IP); ok {
			known[a.Unmap()] = n
		}
	}
	return known
}

// Prime makes the kernel resolve the next hop: it sends ARP requests or neighbour solicitations as it would before a
// packet, and no packet. Whoever watches the device, as Open vSwitch's native tunnels do, learns from the answer.
// It returns at once.
func Prime(path flows.Path) error {
	handle, err := newHandle()
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer handle.Close()
	l, err := handle.LinkByName(path.Device)
	if err != nil {
		return fmt.Errorf("device %s: %w", path.Device, err)
	}
	index := l.Attrs().Index
	known, err := query{handle, nil, nil, map[neighborsOf]map[netip.Addr]netlink.Neigh{}}.neighbor(index, path.NextHop)
	if err != nil {
		return err
	}
	n := &netlink.Neigh{LinkIndex: index, IP: net.IP(path.NextHop.AsSlice())}
	switch {
	case known.State&(unix.NUD_PERMANENT|unix.NUD_NOARP) != 0:
		return nil
	case known.State&usable != 0:
		// The kernel knows it and would ask nobody: have it verified.
		n.HardwareAddr, n.State = known.HardwareAddr, unix.NUD_PROBE
	default:
		n.State, n.Flags = unix.NUD_NONE, netlink.NTF_USE
	}
	if err := handle.NeighSet(n); err != nil {
		return fmt.Errorf("resolve %s on %s: %w", path.NextHop, path.Device, err)
	}
	return nil
}
