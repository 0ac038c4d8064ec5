//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// GuestIf says how a guest is attached to a bridge.
type GuestIf struct {
	Dev   string   // the guest's device; "eth0" if empty
	MAC   string   // of the guest's device; empty lets the kernel choose
	Addrs []string // as 10.0.0.1/24 or 2001:db8::1/64; IPv6 is off where there is none of IPv6
	MTU   int      // of both ends; 0 is 1500
	// Offloads leaves segmentation and checksum offloads on at both ends, so that TCP sends frames of up to 64 kB, as guests
	// of a kernel's datapath do. The userspace datapath does not take such frames.
	Offloads bool

	// Of the OVS port:
	Tag         int // 0 is none
	Trunks      []int
	VLANMode    string
	ExternalIDs map[string]string // of the Interface row
	OFPort      int               // ofport_request; 0 is none
}

// Attach connects a guest to a bridge of the host by a veth pair: device dev in the guest, and the port, a device of
// that name, on the bridge. Both ends are without offloads, unless asked for.
func (h *Host) Attach(ctx context.Context, guest *Node, bridge, port string, g GuestIf) error {
	if g.Dev == "" {
		g.Dev = "eth0"
	}
	if err := h.attach(ctx, guest, bridge, port, g); err != nil {
		return fmt.Errorf("attach %s to port %q of bridge %q: %w", guest, port, bridge, err)
	}
	return nil
}

func (h *Host) attach(ctx context.Context, guest *Node, bridge, port string, g GuestIf) error {
	if err := h.lab.veth(ctx, end{node: h.Node, dev: h.Device(port), offloads: g.Offloads}, end{node: guest, dev: g.Dev, mac: g.MAC, addrs: g.Addrs, offloads: g.Offloads}, g.MTU); err != nil {
		return err
	}
	args := []string{"add-port", bridge, port}
	if g.Tag != 0 {
		args = append(args, "tag="+strconv.Itoa(g.Tag))
	}
	if len(g.Trunks) > 0 {
		args = append(args, "trunks="+strings.Trim(strings.Join(strings.Fields(fmt.Sprint(g.Trunks)), ","), "[]"))
	}
	if g.VLANMode != "" {
		args = append(args, "vlan_mode="+g.VLANMode)
	}
	settings := h.interfaceOf(port, g.MTU)
	for _, k := range slices.Sorted(maps.Keys(g.ExternalIDs)) {
		settings = append(settings, fmt.Sprintf("external_ids:%s=%s", strconv.Quote(k), strconv.Quote(g.ExternalIDs[k])))
	}
	if g.OFPort != 0 {
		settings = append(settings, "ofport_request="+strconv.Itoa(g.OFPort))
	}
	if len(settings) > 0 {
		args = append(append(args, "--", "set", "interface", port), settings...)
	}
	return h.addPort(ctx, port, args, attachment{bridge: bridge, peer: guest, dev: g.Dev})
}

// addPort adds a device of the host to a bridge, and removes the device where that fails.
func (h *Host) addPort(ctx context.Context, port string, args []string, a attachment) error {
	_, err := h.Vsctl(ctx, args...)
	if err == nil {
		err = h.checkPort(ctx, port)
	}
	if err == nil {
		err = h.catchUp(ctx) // see WaitReady
	}
	if err != nil {
		return errors.Join(err, h.ip(context.WithoutCancel(ctx), "link del "+h.Device(port)))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ports[port] = a
	return nil
}

// Detach removes a port that Attach or Link made, and both ends of its veth pair.
func (h *Host) Detach(ctx context.Context, port string) error {
	h.mu.Lock()
	a, ok := h.ports[port]
	delete(h.ports, port)
	h.mu.Unlock()
	if !ok {
		return fmt.Errorf("%s: detach port %q: nothing was attached there", h, port)
	}
	if _, err := h.Vsctl(ctx, "--if-exists", "del-port", a.bridge, port); err != nil {
		return fmt.Errorf("detach port %q: %w", port, err)
	}
	if far := a.far; far != nil { // the other end of a Link is a port as well
		far.mu.Lock()
		delete(far.ports, a.dev)
		far.mu.Unlock()
		if _, err := far.Vsctl(ctx, "--if-exists", "del-port", a.dev); err != nil {
			return fmt.Errorf("detach port %q: %w", port, err)
		}
	}
	if err := h.ip(ctx, "link del "+h.Device(port)); err != nil {
		return fmt.Errorf("detach port %q: %w", port, err)
	}
	a.peer.mu.Lock()
	defer a.peer.mu.Unlock()
	a.peer.forget(a.dev)
	return nil
}

// end is one end of a veth pair.
type end struct {
	node  *Node
	dev   string
	mac   string
	addrs []string

	offloads bool // stay on
}

// veth connects two nodes.
func (l *Lab) veth(ctx context.Context, a, b end, mtu int) error {
	if err := errors.Join(checkDevice(a.dev), checkDevice(b.dev)); err != nil {
		return err
	}
	size := ""
	if mtu != 0 {
		size = fmt.Sprintf(" mtu %d", mtu)
	}
	address := func(e end) string {
		if e.mac == "" {
			return ""
		}
		return " address " + e.mac
	}
	err := a.node.ip(ctx, fmt.Sprintf("link add name %s%s%s type veth peer name %s%s%s netns %s",
		a.dev, address(a), size, b.dev, address(b), size, b.node.NetNS()))
	if err != nil {
		return err
	}
	if err := errors.Join(a.node.setUp(ctx, a.dev, a.addrs, a.offloads), b.node.setUp(ctx, b.dev, b.addrs, b.offloads)); err != nil {
		return errors.Join(err, a.node.ip(context.WithoutCancel(ctx), "link del "+a.dev))
	}
	return nil
}

// NodeIf is a device of a node.
type NodeIf struct {
	Dev   string
	MAC   string
	Addrs []string
}

// Connect puts a cable (a veth pair) between two nodes, past any Open vSwitch.
func Connect(ctx context.Context, a *Node, aIf NodeIf, b *Node, bIf NodeIf, mtu int) error {
	err := a.lab.veth(ctx, end{node: a, dev: aIf.Dev, mac: aIf.MAC, addrs: aIf.Addrs}, end{node: b, dev: bIf.Dev, mac: bIf.MAC, addrs: bIf.Addrs}, mtu)
	if err != nil {
		return fmt.Errorf("connect %s and %s: %w", a, b, err)
	}
	return nil
}

// Link puts a cable between bridges of two hosts; each end is a port of its bridge. MTU 0 is 1500.
func Link(ctx context.Context, a *Host, bridgeA, portA string, b *Host, bridgeB, portB string, mtu int) error {
	err := a.lab.veth(ctx, end{node: a.Node, dev: a.Device(portA)}, end{node: b.Node, dev: b.Device(portB)}, mtu)
	if err != nil {
		return fmt.Errorf("link %s and %s: %w", a, b, err)
	}
	for _, e := range []struct {
		h, peer           *Host
		bridge, port, dev string
	}{{a, b, bridgeA, portA, portB}, {b, a, bridgeB, portB, portA}} {
		args := []string{"add-port", e.bridge, e.port}
		if settings := e.h.interfaceOf(e.port, mtu); len(settings) > 0 {
			args = append(append(args, "--", "set", "interface", e.port), settings...)
		}
		err := e.h.addPort(ctx, e.port, args, attachment{bridge: e.bridge, peer: e.peer.Node, dev: e.dev, far: e.peer})
		if err != nil {
			return fmt.Errorf("link %s and %s: %w", a, b, err)
		}
	}
	return nil
}

// Underlay gives a bridge's own port addresses, as userspace tunnels need, and waits until ovs-vswitchd has seen them.
// They are there again after StartVswitchd. MTU 0 leaves it to OVS (the least of the bridge's ports).
func (h *Host) Underlay(ctx context.Context, bridge string, mtu int, addrs ...string) error {
	u := underlay{bridge: bridge, mtu: mtu, addrs: addrs}
	if err := h.underlay(ctx, u); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.nets = append(slices.DeleteFunc(h.nets, func(o underlay) bool { return o.bridge == bridge }), u)
	return nil
}

func (h *Host) underlay(ctx context.Context, u underlay) error {
	fail := func(err error) error { return fmt.Errorf("underlay on bridge %q: %w", u.bridge, err) }
	prefixes, err := parsePrefixes(u.addrs)
	if err != nil {
		return fail(err)
	}
	if err := h.setUp(ctx, u.bridge, u.addrs, false); err != nil {
		return fail(err)
	}
	if u.mtu != 0 {
		if _, err := h.Vsctl(ctx, "set", "interface", u.bridge, fmt.Sprintf("mtu_request=%d", u.mtu)); err != nil {
			return fail(err)
		}
	}
	for _, p := range prefixes {
		if err := h.waitRoute(ctx, netip.PrefixFrom(p.Addr(), p.Addr().BitLen()), u.bridge); err != nil {
			return fail(err)
		}
		if err := h.waitRoute(ctx, p.Masked(), u.bridge); err != nil {
			return fail(err)
		}
	}
	return nil
}

// Route adds or replaces a route and waits until ovs-vswitchd has seen it. It is there again after StartVswitchd.
func (h *Host) Route(ctx context.Context, dst string, via netip.Addr) error {
	r := hostRoute{dst: dst, via: via}
	if err := h.route(ctx, r); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.routes = append(slices.DeleteFunc(h.routes, func(o hostRoute) bool { return o.dst == dst }), r)
	return nil
}

func (h *Host) route(ctx context.Context, r hostRoute) error {
	if err := h.Node.Route(ctx, r.dst, r.via); err != nil {
		return err
	}
	prefix := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if r.via.Is6() {
		prefix = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	if r.dst != "default" {
		var err error
		if prefix, err = netip.ParsePrefix(r.dst); err != nil {
			return fmt.Errorf("%s: route to %q: %w", h, r.dst, err)
		}
	}
	return h.waitRoute(ctx, prefix, "")
}

// waitRoute waits until ovs-vswitchd has a route to a prefix, through a device unless that is empty.
func (h *Host) waitRoute(ctx context.Context, prefix netip.Prefix, dev string) error {
	return Until(ctx, fmt.Sprintf("ovs-vswitchd of %s has the route to %s", h, prefix), func(ctx context.Context) error {
		out, err := h.Appctl(ctx, "ovs/route/show")
		if err != nil {
			return err
		}
		// "Cached: 192.0.2.1/32 dev br-ul SRC 192.0.2.1 local"
		for line := range strings.Lines(out) {
			f := strings.Fields(line)
			if len(f) < 2 {
				continue
			}
			if p, err := netip.ParsePrefix(f[1]); err != nil || p != prefix {
				continue
			}
			if i := slices.Index(f, "dev"); dev == "" || i >= 0 && i+1 < len(f) && f[i+1] == dev {
				return nil
			}
		}
		return fmt.Errorf("it has:\n%s", out)
	})
}

// Neighbor makes ovs-vswitchd learn the hardware address of a directly reachable collector or gateway, and waits until
// it has: in userspace the first packet to an unknown neighbour is lost. It learns only while it has a tunnel port.
func (h *Host) Neighbor(ctx context.Context, addr netip.Addr) error {
	ctx, cancel := bounded(ctx, toolTimeout)
	defer cancel()
	return Until(ctx, fmt.Sprintf("ovs-vswitchd of %s knows the neighbour %s", h, addr), func(ctx context.Context) error {
		if _, err := Ping(ctx, h.Node, addr, PingOptions{Count: 1}); err != nil {
			return err
		}
		out, err := h.Appctl(ctx, "tnl/neigh/show")
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) > 0 && f[0] == addr.String() {
				return nil
			}
		}
		return fmt.Errorf("it has:\n%s", out)
	})
}
