//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

// Node is a machine of the lab: a guest, a router, a collector, or the machine that a [Host] is.
type Node struct {
	lab   *Lab
	name  string
	kind  string // "guest" or "host", for errors
	netns *os.File
	env   []string

	mu    sync.Mutex
	addrs []nodeAddr
}

type nodeAddr struct {
	dev    string
	prefix netip.Prefix
}

// Name is the name that the node was made with.
func (n *Node) Name() string { return n.name }

func (n *Node) String() string { return fmt.Sprintf("%s %q", n.kind, n.name) }

// NetNS is a path that opens the node's network namespace, such as nsenter --net= takes, while the lab lives.
func (n *Node) NetNS() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.netns.Fd()) }

// Exec runs a program on the node to its end. When ctx ends first, the program and its children are killed. A program
// that fails is an error that wraps *exec.ExitError and quotes its standard error.
func (n *Node) Exec(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	return n.Run(ctx, Command{Args: args})
}

// Run is Exec with input, environment and working directory.
func (n *Node) Run(ctx context.Context, c Command) (stdout, stderr string, err error) {
	return n.lab.run(ctx, n.netns, n.String(), n.env, c)
}

// Start starts a program on the node that runs until it ends, until its Stop, or until the lab is closed.
// The context is for the start only.
func (n *Node) Start(ctx context.Context, c Command) (*Process, error) {
	return n.lab.start(ctx, n.netns, n.String(), n.env, c)
}

// Do runs f on a thread inside the node's network namespace: a socket that f opens stays there, also after f. What f
// hands to other goroutines runs outside.
func (n *Node) Do(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		if err := setns(n.netns); err != nil {
			result <- err
			return
		}
		result <- f()
	}()
	if err := <-result; err != nil {
		return fmt.Errorf("%s: %w", n, err)
	}
	return nil
}

// Addrs lists the addresses that the lab gave to the node.
func (n *Node) Addrs() []netip.Prefix {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []netip.Prefix
	for _, a := range n.addrs {
		all = append(all, a.prefix)
	}
	return all
}

// Addr is the first IPv4 address that the lab gave to the node, or else the first address; the zero Addr if it has none.
func (n *Node) Addr() netip.Addr {
	all := n.Addrs()
	for _, p := range all {
		if p.Addr().Is4() {
			return p.Addr()
		}
	}
	if len(all) > 0 {
		return all[0].Addr()
	}
	return netip.Addr{}
}

// Addr6 is the first IPv6 address that the lab gave to the node, or the zero Addr.
func (n *Node) Addr6() netip.Addr {
	for _, p := range n.Addrs() {
		if p.Addr().Is6() {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

// MAC is the hardware address of a device of the node.
func (n *Node) MAC(_ context.Context, dev string) (net.HardwareAddr, error) {
	var mac net.HardwareAddr
	err := n.Do(func() error {
		iface, err := net.InterfaceByName(dev)
		if err != nil {
			return fmt.Errorf("device %q: %w", dev, err)
		}
		mac = iface.HardwareAddr
		return nil
	})
	return mac, err
}

// Route adds or replaces a route: dst is a prefix or "default", via the gateway's address.
func (n *Node) Route(ctx context.Context, dst string, via netip.Addr) error {
	return n.ip(ctx, fmt.Sprintf("route replace %s via %s", dst, via))
}

// Forward makes the node a router, for IPv4 and IPv6.
func (n *Node) Forward(_ context.Context) error {
	return n.sysctl(
		"net/ipv4/ip_forward=1",
		"net/ipv6/conf/all/forwarding=1",
	)
}

// setUp gives a device its addresses, sets it up, and keeps it quiet: no segmentation or checksum offload unless they are
// to stay, IPv6 only where it has an IPv6 address.
func (n *Node) setUp(ctx context.Context, dev string, addrs []string, offloads bool) error {
	prefixes, err := parsePrefixes(addrs)
	if err != nil {
		return fmt.Errorf("%s: device %q: %w", n, dev, err)
	}
	var lines []string
	for _, p := range prefixes {
		line := fmt.Sprintf("addr replace %s dev %s", p, dev)
		if p.Addr().Is6() {
			if err := n.sysctl("net/ipv6/conf/" + dev + "/disable_ipv6=0"); err != nil {
				return err
			}
			line += " nodad"
		}
		lines = append(lines, line)
	}
	lines = append(lines, "link set "+dev+" up")
	if !offloads {
		if err := n.plain(ctx, dev); err != nil {
			return err
		}
	}
	if err := n.ip(ctx, lines...); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.forget(dev)
	for _, p := range prefixes {
		n.addrs = append(n.addrs, nodeAddr{dev, p})
	}
	return nil
}

// forget drops the noted addresses of a device. The caller holds n.mu.
func (n *Node) forget(dev string) {
	kept := n.addrs[:0]
	for _, a := range n.addrs {
		if a.dev != dev {
			kept = append(kept, a)
		}
	}
	n.addrs = kept
}

// plain turns off what would let frames on a virtual device differ from frames on a wire. With it on, the userspace
// datapath receives 64 kB super frames with partial checksums from a local sender, and libpcap, which sizes its ring
// for such frames, has room for a few only.
func (n *Node) plain(ctx context.Context, dev string) error {
	ctx, cancel := bounded(ctx, toolTimeout)
	defer cancel()
	_, _, err := n.Exec(ctx, "ethtool", "-K", dev, "rx", "off", "tx", "off", "tso", "off", "gso", "off", "gro", "off")
	return err
}

// ip runs commands of ip(8) on the node, as one batch.
func (n *Node) ip(ctx context.Context, lines ...string) error {
	ctx, cancel := bounded(ctx, toolTimeout)
	defer cancel()
	_, _, err := n.Run(ctx, Command{
		Args:  []string{"ip", "-batch", "-"},
		Stdin: strings.NewReader(strings.Join(lines, "\n") + "\n"),
	})
	if err != nil {
		return fmt.Errorf("%w (commands: %s)", err, strings.Join(lines, "; "))
	}
	return nil
}

// sysctl writes settings of the node, each as "net/…=value".
func (n *Node) sysctl(settings ...string) error {
	return n.Do(func() error { return writeSysctls(settings...) })
}

// writeSysctls writes settings of the calling thread's network namespace. Defaults for IPv6 that a kernel without IPv6
// lacks are left out.
func writeSysctls(settings ...string) error {
	for _, s := range settings {
		path, value, _ := strings.Cut(s, "=")
		err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0)
		if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(path, "net/ipv6/conf/default/") {
			if _, statErr := os.Stat("/proc/sys/net/ipv6"); errors.Is(statErr, fs.ErrNotExist) {
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("set sysctl %s: %w", s, err)
		}
	}
	return nil
}

// quietDefaults makes devices that come into the calling thread's namespace silent: no IPv6 until it is asked for, then
// without duplicate address detection, router solicitation and (for days) multicast listener reports; and it makes
// forwarding independent of what the machine has as its defaults.
func quietDefaults() error {
	const v6 = "net/ipv6/conf/default/"
	return writeSysctls(
		v6+"disable_ipv6=1",
		v6+"accept_dad=0",
		v6+"accept_ra=0",
		v6+"autoconf=0",
		v6+"router_solicitations=0",
		v6+"mldv1_unsolicited_report_interval=1000000000",
		v6+"mldv2_unsolicited_report_interval=1000000000",
		"net/ipv4/conf/all/rp_filter=0",
		"net/ipv4/conf/default/rp_filter=0",
	)
}

func parsePrefixes(cidrs []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, s := range cidrs {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("address %q: %w", s, err)
		}
		all = append(all, p)
	}
	return all, nil
}

// checkDevice refuses what the kernel or a batch of ip(8) would not take as one device name.
func checkDevice(name string) error {
	if name == "" || len(name) > 15 || strings.ContainsAny(name, "/: \t\n\"'\\;#") || name == "." || name == ".." {
		return fmt.Errorf("device name %q: want 1 to 15 characters, no blanks, quotes, slashes or colons", name)
	}
	return nil
}
