package underlay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// Paths finds the path to each collector. A collector without a route has a Path without a device; an error means that
// the kernel could not be asked.
func Paths(keys []flows.PathKey) (map[flows.PathKey]flows.Path, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	defer handle.Close()
	local, err := localAddresses(handle)
	if err != nil {
		return nil, err
	}
	q := query{handle, map[int]link{}, map[neighborsOf]map[netip.Addr]netlink.Neigh{}}
	paths := make(map[flows.PathKey]flows.Path, len(keys))
	for _, key := range keys {
		path, err := q.find(key)
		if err != nil {
			return nil, fmt.Errorf("path to %s: %w", key.Collector, err)
		}
		path.OwnAddress = slices.Contains(local, key.Collector)
		paths[key] = path
	}
	return paths, nil
}

// LocalAddresses are all addresses of this host, sorted.
func LocalAddresses() ([]netip.Addr, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
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
	links     map[int]link
	neighbors map[neighborsOf]map[netip.Addr]netlink.Neigh
}

// neighborsOf is a list of neighbours: that of a device and a family.
type neighborsOf struct{ index, family int }

func (q query) find(key flows.PathKey) (flows.Path, error) {
	options := &netlink.RouteGetOptions{}
	if key.Origin.IsValid() {
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
	n, err := q.neighbor(r.LinkIndex, path.NextHop)
	path.HasNeighbor = n.State&usable != 0
	if n.State&confirmed != 0 {
		path.Unnoticed = n.HardwareAddr.String() // the caller knows who has noticed
	}
	return path, err
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
	known := make(map[netip.Addr]netlink.Neigh, len(all))
	for _, n := range all {
		if a, ok := netip.AddrFromSlice(n.IP); ok {
			known[a.Unmap()] = n
		}
	}
	q.neighbors[list] = known
	return known[hop], nil
}

// Prime makes the kernel resolve the next hop: it sends ARP requests or neighbour solicitations as it would before a
// packet, and no packet. Whoever watches the device, as Open vSwitch's native tunnels do, learns from the answer.
// It returns at once.
func Prime(path flows.Path) error {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer handle.Close()
	l, err := handle.LinkByName(path.Device)
	if err != nil {
		return fmt.Errorf("device %s: %w", path.Device, err)
	}
	index := l.Attrs().Index
	known, err := query{handle, nil, map[neighborsOf]map[netip.Addr]netlink.Neigh{}}.neighbor(index, path.NextHop)
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
