//go:build linux

package underlay_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/underlay"
)

// host is a network namespace of its own, set up by a shell script.
func host(t *testing.T, script string) (context.Context, *lab.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	l, err := lab.New(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	node, err := l.Guest(ctx, "host")
	if err == nil {
		_, _, err = node.Exec(ctx, "sh", "-ec", script)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ctx, node
}

const network = `
ip link set lo up; echo 0 > /proc/sys/net/ipv6/conf/default/disable_ipv6; echo 0 > /proc/sys/net/ipv6/conf/all/disable_ipv6
ip link add up0 mtu 1500 type veth peer name up0-peer
ip link add free0 type veth peer name free0-peer
ip link add brx type bridge
ip link add port0 type veth peer name port0-peer
ip link set port0 master brx
ip link set up0 up; ip link set up0-peer up; ip link set free0 up
ip addr add 192.0.2.1/24 dev up0
ip addr add 2001:db8::1/64 dev up0 nodad
ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev up0 nud permanent
ip neigh add 2001:db8::9 lladdr 02:00:00:00:00:09 dev up0 nud permanent
ip route add 198.51.100.0/24 via 192.0.2.254
ip route add 203.0.113.0/24 via 192.0.2.9 mtu 1400
`

func TestPaths(t *testing.T) {
	_, node := host(t, network)
	addr := netip.MustParseAddr
	want := map[string]flows.Path{
		"192.0.2.9":    {Device: "up0", Source: addr("192.0.2.1"), NextHop: addr("192.0.2.9"), MTU: 1500, HasNeighbor: true},
		"192.0.2.10":   {Device: "up0", Source: addr("192.0.2.1"), NextHop: addr("192.0.2.10"), MTU: 1500},
		"2001:db8::9":  {Device: "up0", Source: addr("2001:db8::1"), NextHop: addr("2001:db8::9"), MTU: 1500, HasNeighbor: true},
		"198.51.100.5": {Device: "up0", Source: addr("192.0.2.1"), NextHop: addr("192.0.2.254"), MTU: 1500},
		"203.0.113.5":  {Device: "up0", Source: addr("192.0.2.1"), NextHop: addr("192.0.2.9"), MTU: 1400, HasNeighbor: true},
		"10.9.9.9":     {},
		"2001:db9::1":  {},
	}
	var keys []flows.PathKey
	for a := range want {
		keys = append(keys, flows.PathKey{Collector: addr(a)})
	}
	own := flows.PathKey{Collector: addr("192.0.2.1")}
	strange := flows.PathKey{Collector: addr("192.0.2.9"), Origin: addr("10.1.1.1")} // not an address of this host
	var got map[flows.PathKey]flows.Path
	if err := node.Do(func() (err error) {
		got, err = underlay.Paths(append(keys, own, strange))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for text, w := range want {
		p := got[flows.PathKey{Collector: addr(text)}]
		if p.Device != w.Device || p.Source != w.Source || p.NextHop != w.NextHop || p.MTU != w.MTU || p.HasNeighbor != w.HasNeighbor || p.OwnAddress {
			t.Errorf("path to %s: %+v, want %+v", text, p, w)
		}
		if w.Device != "" && (!slices.Contains(p.Local, addr("192.0.2.1")) || !slices.Contains(p.Local, addr("2001:db8::1"))) {
			t.Errorf("path to %s: local addresses %v", text, p.Local)
		}
	}
	if !got[own].OwnAddress {
		t.Errorf("own address: %+v", got[own])
	}
	if p := got[strange]; p.Device != "up0" || p.Source.IsValid() {
		t.Errorf("an origin that the host does not have: %+v", got[strange])
	}
}

// TestAlong: Open vSwitch's route says where to, the kernel what it knows of the device and the next hop.
func TestAlong(t *testing.T) {
	_, node := host(t, network+"\nip addr add 203.0.113.1/24 dev free0")
	addr := netip.MustParseAddr
	key := func(a string) flows.PathKey { return flows.PathKey{Collector: addr(a), Datapath: "netdev"} }
	routes := map[flows.PathKey]flows.Route{
		key("192.0.2.9"): {Device: "up0", Source: addr("192.0.2.1"), NextHop: addr("192.0.2.9")},
		key("10.9.9.9"):  {Device: "up0", Source: addr("192.0.2.1"), NextHop: addr("192.0.2.77")}, // the kernel has no route
		key("10.9.9.8"):  {Device: "elsewhere", Source: addr("192.0.2.1"), NextHop: addr("192.0.2.9")},
		key("10.9.9.7"):  {},
		key("192.0.2.1"): {Device: "up0", Source: addr("192.0.2.1"), NextHop: addr("192.0.2.1")},
	}
	var got map[flows.PathKey]flows.Path
	if err := node.Do(func() (err error) {
		got, err = underlay.Along(routes, map[string]bool{"up0": true, "free0": true, "elsewhere": true})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for to, want := range map[string]struct {
		mtu       int
		neighbor  bool
		own, here bool
	}{
		"192.0.2.9": {1500, true, false, true}, "10.9.9.9": {1500, false, false, true}, "10.9.9.8": {0, false, false, true},
		"10.9.9.7": {0, false, false, false}, "192.0.2.1": {1500, false, true, true},
	} {
		p, r := got[key(to)], routes[key(to)]
		if p.Device != r.Device || p.Source != r.Source || p.NextHop != r.NextHop || p.MTU != want.mtu || p.HasNeighbor != want.neighbor || p.OwnAddress != want.own {
			t.Errorf("%s: %+v, want %+v", to, p, want)
		}
		for _, local := range []string{"192.0.2.1", "2001:db8::1", "203.0.113.1"} {
			if slices.Contains(p.Local, addr(local)) != want.here {
				t.Errorf("%s: local addresses %v", to, p.Local)
			}
		}
	}
}

// TestMultipath: a copy may leave by each next hop, so the guard has the addresses of all, and the smallest MTU counts.
func TestMultipath(t *testing.T) {
	_, node := host(t, network+`
ip link set free0 mtu 1400; ip link set free0-peer up; ip addr add 203.0.113.1/24 dev free0
ip route add 10.8.0.0/16 nexthop via 192.0.2.9 nexthop via 203.0.113.9
ip nexthop add id 1 via 192.0.2.9 dev up0; ip nexthop add id 2 via 203.0.113.9 dev free0; ip nexthop add id 3 group 1/2
ip route add 10.7.0.0/16 nhid 3`)
	for _, to := range []string{"10.8.0.1", "10.7.0.1"} {
		key := flows.PathKey{Collector: netip.MustParseAddr(to), Datapath: "system"}
		if err := node.Do(func() error {
			got, err := underlay.Paths([]flows.PathKey{key})
			p := got[key]
			if p.MTU != 1400 || !slices.Contains(p.Local, netip.MustParseAddr("192.0.2.1")) || !slices.Contains(p.Local, netip.MustParseAddr("203.0.113.1")) {
				t.Errorf("%s: %+v", to, p)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	}
}

func TestDevices(t *testing.T) {
	_, node := host(t, network)
	if err := node.Do(func() error {
		devices, err := underlay.Devices()
		for name, says := range map[string]string{"lo": "loopback", "up0": "has the address", "port0": "belongs to another bridge"} {
			if !strings.Contains(devices[name].Taken, says) {
				t.Errorf("%s: %q, want %q in it", name, devices[name].Taken, says)
			}
		}
		for _, name := range []string{"free0", "free0-peer"} {
			if d, ok := devices[name]; !ok || d.Taken != "" {
				t.Errorf("%s: %v, %q", name, ok, d.Taken)
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// TestPrime: the kernel asks for a next hop that it does not know; who answers is known then.
func TestPrime(t *testing.T) {
	ctx, node := host(t, network)
	path := flows.Path{Device: "up0", NextHop: netip.MustParseAddr("192.0.2.77")}
	if err := node.Do(func() error { return underlay.Prime(path) }); err != nil {
		t.Fatal(err)
	}
	if err := lab.Until(ctx, "the kernel asks", func(ctx context.Context) error {
		out, _, err := node.Exec(ctx, "ip", "neigh", "show", "192.0.2.77")
		if err == nil && !strings.Contains(out, "192.0.2.77") {
			err = context.DeadlineExceeded
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	if err := node.Do(func() error { return underlay.Prime(flows.Path{Device: "nothere", NextHop: path.NextHop}) }); err == nil {
		t.Error("no error for a device that is not there")
	}
}
