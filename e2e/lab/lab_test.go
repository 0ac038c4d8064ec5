//go:build linux

package lab_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// childEnv makes the test binary play another part: the owner of a lab that is to be killed, or a user who is not root.
const childEnv = "LAB_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "owner":
		fmt.Fprintln(os.Stderr, ownLab())
		os.Exit(1)
	case "nobody":
		_, err := lab.New(context.Background(), "")
		fmt.Println(errors.Is(err, lab.ErrNotRoot), err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// newLab makes a lab that ends with the test. It fails, and does not skip, without root: a test that silently did not
// run proves nothing.
func newLab(t *testing.T) (context.Context, *lab.Lab) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	l, err := lab.New(ctx, "")
	if err != nil {
		t.Fatalf("new lab: %v", err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return ctx, l
}

// must and check end the test at an error.
func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		check(t, err)
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// twoGuests is a host with a bridge br0 and guests a and b on vnet0 and vnet1.
func twoGuests(t *testing.T, ctx context.Context, l *lab.Lab, name string) (h *lab.Host, a, b *lab.Node) {
	t.Helper()
	h = must(l.Host(ctx, name))(t)
	t.Cleanup(func() {
		if t.Failed() {
			lines := strings.Split(h.Log(), "\n")
			t.Logf("log of %s ends:\n%s", name, strings.Join(lines[max(0, len(lines)-15):], "\n"))
		}
	})
	check(t, h.AddBridge(ctx, "br0"))
	a, b = must(l.Guest(ctx, name+"-a"))(t), must(l.Guest(ctx, name+"-b"))(t)
	check(t, h.Attach(ctx, a, "br0", "vnet0", lab.GuestIf{Addrs: []string{"10.0.0.1/24", "fd00::1/64"}}))
	check(t, h.Attach(ctx, b, "br0", "vnet1", lab.GuestIf{Addrs: []string{"10.0.0.2/24", "fd00::2/64"}}))
	return h, a, b
}

// underlay adds a bridge br-ul with addresses of h and a collector on it.
func underlay(t *testing.T, ctx context.Context, l *lab.Lab, h *lab.Host) (collector *lab.Node) {
	t.Helper()
	check(t, h.AddBridge(ctx, "br-ul"))
	collector = must(l.Guest(ctx, h.Name()+"-collector"))(t)
	check(t, h.Attach(ctx, collector, "br-ul", "col0", lab.GuestIf{Addrs: []string{"192.0.2.9/24", "2001:db8::9/64"}, MTU: 1600}))
	check(t, h.Underlay(ctx, "br-ul", 1600, "192.0.2.1/24", "2001:db8::1/64"))
	return collector
}

func pingAll(t *testing.T, ctx context.Context, from *lab.Node, dst netip.Addr, o lab.PingOptions) {
	t.Helper()
	res := must(lab.Ping(ctx, from, dst, o))(t)
	if res.Sent != max(o.Count, 1) || res.Received != res.Sent || res.Duplicates != 0 || res.Errors != 0 {
		t.Fatalf("ping from %s: want %d replies:\n%s", from, max(o.Count, 1), res.Output)
	}
}

// TestGuestsPing: two guests reach each other through a bridge, and a capture sees their packets and nothing else: what
// the lab makes is silent by itself.
func TestGuestsPing(t *testing.T) {
	t.Parallel()
	ctx, l := newLab(t)
	start := time.Now()
	h, a, b := twoGuests(t, ctx, l, "h1")
	t.Logf("a host with a bridge and two guests is up after %v", time.Since(start).Round(time.Millisecond))

	c := must(b.Capture(ctx, "eth0", ""))(t)
	pingAll(t, ctx, a, b.Addr(), lab.PingOptions{Count: 3})
	pingAll(t, ctx, a, b.Addr6(), lab.PingOptions{Count: 2, Size: 1000})
	check(t, c.Stop(ctx))
	if s := c.Stats(); s.Captured != s.Received || s.Dropped != 0 {
		t.Errorf("the capture is not whole: %+v", s)
	}

	got := must(c.Fields(ctx, "icmp || icmpv6.type == 128 || icmpv6.type == 129", "ip.src", "icmp.seq", "ipv6.src", "icmpv6.echo.sequence_number", "frame.len"))(t)
	want := [][]string{
		{"10.0.0.1", "1", "", "", "98"}, {"10.0.0.2", "1", "", "", "98"},
		{"10.0.0.1", "2", "", "", "98"}, {"10.0.0.2", "2", "", "", "98"},
		{"10.0.0.1", "3", "", "", "98"}, {"10.0.0.2", "3", "", "", "98"},
		{"", "", "fd00::1", "1", "1062"}, {"", "", "fd00::2", "1", "1062"},
		{"", "", "fd00::1", "2", "1062"}, {"", "", "fd00::2", "2", "1062"},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("tshark sees\n%v\nwant\n%v", got, want)
	}
	resolving := "arp || icmpv6.type == 135 || icmpv6.type == 136"
	if n := must(c.Count(ctx, "!icmp && !(icmpv6.type == 128 || icmpv6.type == 129) && !("+resolving+")"))(t); n != 0 {
		t.Errorf("%d packets that no one asked for:\n%s", n, must(c.Tcpdump(ctx, "-e"))(t))
	}
	if mac := must(a.MAC(ctx, "eth0"))(t); len(mac) != 6 {
		t.Errorf("MAC of eth0 is %q", mac)
	}
	if got := must(h.Vsctl(ctx, "get", "bridge", "br0", "datapath_type"))(t); got != "netdev\n" {
		t.Errorf("datapath_type of br0 is %q", got)
	}
}

// TestErspanByHand: a tunnel made with ovs-vsctl carries what a mirror copies, and tshark decodes it; the mirrored
// frames are byte for byte what the source sent.
func TestErspanByHand(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		collector string
		options   []string
		fields    []string // erspan.version, erspan.spanid, erspan.index, erspan.hw, erspan.direction, gre.proto
		overhead  int
	}{
		{"Type II over IPv4", "192.0.2.9", []string{"erspan_ver=1", "key=100", "erspan_idx=0x2a"}, []string{"1", "100", "42", "", "", "0x88be"}, 50},
		{"Type III over IPv4", "192.0.2.9", []string{"erspan_ver=2", "key=1023", "erspan_dir=1", "erspan_hwid=0x7"}, []string{"2", "1023", "", "7", "1", "0x22eb"}, 54},
		{"Type II over IPv6", "2001:db8::9", []string{"erspan_ver=1", "key=5", "erspan_idx=0x1"}, []string{"1", "5", "1", "", "", "0x88be"}, 70},
		{"Type III over IPv6", "2001:db8::9", []string{"erspan_ver=2", "key=6", "erspan_dir=0", "erspan_hwid=0x3f"}, []string{"2", "6", "", "63", "0", "0x22eb"}, 74},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, l := newLab(t)
			h, a, b := twoGuests(t, ctx, l, "h1")
			collector := underlay(t, ctx, l, h)
			set := []string{"add-port", "br0", "es0", "--", "set", "interface", "es0", "type=erspan", "options:remote_ip=" + quote(tt.collector)}
			for _, o := range tt.options {
				set = append(set, "options:"+o)
			}
			must(h.Vsctl(ctx, set...))(t)
			check(t, h.Neighbor(ctx, netip.MustParseAddr(tt.collector)))
			must(h.Vsctl(ctx,
				"--", "--id=@out", "get", "port", "es0", "--", "--id=@src", "get", "port", "vnet0",
				"--", "--id=@m", "create", "mirror", "name=m0", "select_src_port=@src", "output_port=@out",
				"--", "set", "bridge", "br0", "mirrors=@m"))(t)

			// Only what the test sends: a slow machine adds neighbour probes.
			source := must(a.Capture(ctx, "eth0", "icmp or ether dst 02:00:00:00:00:99", "-Q", "out"))(t)
			const ours = "erspan && (icmp || eth.dst == 02:00:00:00:00:99)"
			wire := must(collector.Capture(ctx, "eth0", "proto gre or ip6 proto 47"))(t)
			pingAll(t, ctx, a, b.Addr(), lab.PingOptions{Count: 5})
			check(t, lab.SendRaw(ctx, a, "eth0", oddFrames(), 0))
			sent := 5 + len(oddFrames())
			check(t, wire.WaitCount(ctx, ours, sent))
			check(t, source.Stop(ctx))
			check(t, wire.Stop(ctx))

			got := must(wire.Fields(ctx, ours, "erspan.version", "erspan.spanid", "erspan.index", "erspan.hw", "erspan.direction", "gre.proto", "frame.len"))(t)
			for i := range got {
				if len(got) != sent || !slices.Equal(got[i][:6], tt.fields) {
					t.Fatalf("of %d frames tshark sees\n%v\nwant each with\n%v", sent, got, tt.fields)
				}
			}
			frames := data(must(source.Frames(ctx))(t))
			inner := must(wire.InnerFrames(ctx, ours))(t)
			sameFrames(t, inner, frames)
			for i := range min(len(inner), len(got)) {
				if size := strconv.Itoa(len(inner[i]) + tt.overhead); got[i][6] != size {
					t.Errorf("packet %d has %s bytes with a mirrored frame of %d: want %s", i, got[i][6], len(inner[i]), size)
				}
			}
		})
	}
}

func data(frames []lab.Frame) [][]byte {
	var all [][]byte
	for _, f := range frames {
		all = append(all, f.Data)
	}
	return all
}

// sameFrames compares frames without their order: OVS keeps it within a flow only.
func sameFrames(t *testing.T, got, want [][]byte) {
	t.Helper()
	got, want = slices.Clone(got), slices.Clone(want)
	slices.SortFunc(got, bytes.Compare)
	slices.SortFunc(want, bytes.Compare)
	if !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("frames are\n% x\nwant\n% x", got, want)
	}
}

func quote(s string) string { return `"` + s + `"` }

// oddFrames are frames that a decoder may stumble over: the shortest, one with a VLAN tag, an LLC frame, one with the
// Ethernet type of ERSPAN, and a full one. Their destination is no one's.
func oddFrames() [][]byte {
	head := []byte{0x02, 0, 0, 0, 0, 0x99, 0x02, 0, 0, 0, 0, 0x01}
	frame := func(size int, rest ...byte) []byte {
		f := append(slices.Clone(head), rest...)
		for i := len(f); i < size; i++ {
			f = append(f, byte(i))
		}
		return f
	}
	return [][]byte{
		frame(14, 0x88, 0xb5),
		frame(60, 0x88, 0xb5),
		frame(64, 0x81, 0x00, 0x60, 0x0a, 0x88, 0xb5), // a port without a tag is a trunk
		frame(60, 0x00, 0x2e, 0xaa, 0xaa, 0x03),
		frame(60, 0x22, 0xeb),
		frame(1514, 0x88, 0xb5),
	}
}

// TestTraffic: what is sent arrives and is counted rightly, also where it does not arrive.
func TestTraffic(t *testing.T) {
	t.Parallel()
	ctx, l := newLab(t)
	h, a, b := twoGuests(t, ctx, l, "h1")

	t.Run("raw", func(t *testing.T) {
		c := must(b.Capture(ctx, "eth0", "ether host 02:00:00:00:00:99"))(t)
		check(t, lab.SendRaw(ctx, a, "eth0", oddFrames(), 0))
		check(t, c.WaitCount(ctx, "", len(oddFrames())))
		check(t, c.Stop(ctx))
		sameFrames(t, data(must(c.Frames(ctx))(t)), oddFrames())
		if err := lab.SendRaw(ctx, a, "eth7", oddFrames(), 0); err == nil {
			t.Error("sending from a device that does not exist is no error")
		}
	})
	t.Run("burst", func(t *testing.T) {
		for _, dst := range []netip.Addr{b.Addr(), b.Addr6()} {
			c := must(b.Capture(ctx, "eth0", "udp"))(t)
			got := must(lab.UDPBurst(ctx, a, b, lab.Burst{Dst: dst, Count: 300, Size: 700, PPS: 3000, TOS: 0x28}))(t)
			want := lab.BurstResult{Sent: 300, Received: 300}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("burst to %s: %+v, want %+v", dst, got, want)
			}
			check(t, c.Stop(ctx))
			if n := must(c.Count(ctx, "udp && (ip.dsfield == 0x28 || ipv6.tclass == 0x28) && udp.length == 708"))(t); n != 300 {
				t.Errorf("tshark sees %d of 300 datagrams to %s", n, dst)
			}
		}
	})
	t.Run("burst over a bridge that drops, doubles and truncates", func(t *testing.T) {
		for _, tt := range []struct {
			name, actions string
			ok            func(lab.BurstResult) bool
		}{
			{"drop", "drop", func(r lab.BurstResult) bool { return r.Received == 0 && len(r.Missing) == 40 }},
			{"double", "normal,normal", func(r lab.BurstResult) bool { return r.Received == 40 && r.Duplicates == 40 }},
			{"truncate", "output(port=vnet1,max_len=60)", func(r lab.BurstResult) bool { return r.Received == 0 && len(r.Missing) == 40 }},
		} {
			must(h.Ofctl(ctx, "add-flow", "br0", "priority=9,udp,in_port=vnet0,actions="+tt.actions))(t)
			check(t, h.WaitFlows(ctx))
			got := must(lab.UDPBurst(ctx, a, b, lab.Burst{Count: 40, Linger: 100 * time.Millisecond}))(t)
			if got.Sent != 40 || !tt.ok(got) {
				t.Errorf("%s: %+v", tt.name, got)
			}
		}
		must(h.Ofctl(ctx, "del-flows", "br0", "udp"))(t)
	})
	t.Run("transfer", func(t *testing.T) {
		check(t, lab.TCPTransfer(ctx, a, b, netip.Addr{}, 3<<20))
		check(t, lab.TCPTransfer(ctx, b, a, a.Addr6(), 1<<20))
		short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		must(h.Ofctl(ctx, "add-flow", "br0", "priority=9,tcp,actions=drop"))(t)
		check(t, h.WaitFlows(ctx))
		if err := lab.TCPTransfer(short, a, b, netip.Addr{}, 10); err == nil {
			t.Error("a transfer over a bridge that drops is no error")
		}
		must(h.Ofctl(ctx, "del-flows", "br0", "tcp"))(t)
	})
	t.Run("ping into the void", func(t *testing.T) {
		res := must(lab.Ping(ctx, a, netip.MustParseAddr("10.0.0.77"), lab.PingOptions{Count: 2, Wait: 50 * time.Millisecond}))(t)
		if res.Sent != 2 || res.Received != 0 {
			t.Errorf("ping of no one: %+v", res)
		}
		if _, err := lab.Ping(ctx, a, netip.MustParseAddr("203.0.113.1"), lab.PingOptions{}); err == nil {
			t.Error("ping without a route is no error")
		}
	})
}

// TestRestarts: daemons can stop, crash and come back; bridges' addresses come back with ovs-vswitchd.
func TestRestarts(t *testing.T) {
	t.Parallel()
	ctx, l := newLab(t)
	h, a, b := twoGuests(t, ctx, l, "h1")
	collector := underlay(t, ctx, l, h)
	check(t, h.Route(ctx, "198.51.100.0/24", collector.Addr()))

	pid := h.VswitchdPID()
	check(t, h.KillVswitchd(ctx))
	if h.VswitchdPID() != 0 {
		t.Error("ovs-vswitchd has a process number after it was killed")
	}
	if err := h.StopVswitchd(ctx); err == nil {
		t.Error("stopping what does not run is no error")
	}
	check(t, h.StartVswitchd(ctx))
	if now := h.VswitchdPID(); now == pid || now == 0 {
		t.Errorf("process number of ovs-vswitchd was %d and is %d", pid, now)
	}
	pingAll(t, ctx, a, b.Addr(), lab.PingOptions{})
	pingAll(t, ctx, h.Node, collector.Addr(), lab.PingOptions{})
	check(t, h.Route(ctx, "198.51.100.0/24", collector.Addr()))

	check(t, h.StopVswitchd(ctx))
	check(t, h.StartVswitchd(ctx))
	pingAll(t, ctx, h.Node, collector.Addr6(), lab.PingOptions{})

	check(t, h.StopDB(ctx))
	if _, err := h.DumpRows(ctx); err == nil {
		t.Error("a database that does not run can be read")
	}
	check(t, h.StartDB(ctx))
	check(t, h.WaitReady(ctx))
	check(t, h.AddBridge(ctx, "br1"))

	check(t, h.KillDB(ctx))
	check(t, h.StartDB(ctx))
	check(t, h.DelBridge(ctx, "br1"))
	if got := must(h.Vsctl(ctx, "list-br"))(t); got != "br-ul\nbr0\n" {
		t.Errorf("bridges are %q", got)
	}

	check(t, h.PauseVswitchd())
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if err := h.WaitReady(short); err == nil || !strings.Contains(err.Error(), "cur_cfg") {
		t.Errorf("waiting for a frozen ovs-vswitchd: %v", err)
	}
	check(t, h.ResumeVswitchd())
	check(t, h.WaitReady(ctx))
}

// TestTopology: two hosts over a cable, a collector behind a router, VLANs, and a guest that is detached.
func TestTopology(t *testing.T) {
	t.Parallel()
	ctx, l := newLab(t)
	h1, a, _ := twoGuests(t, ctx, l, "h1")
	h2 := must(l.Host(ctx, "h2"))(t)
	check(t, h2.AddBridge(ctx, "br0", "fail-mode=standalone"))
	c := must(l.Guest(ctx, "c"))(t)
	check(t, h2.Attach(ctx, c, "br0", "vnet0", lab.GuestIf{Dev: "ens3", MAC: "02:00:00:00:00:0c", Addrs: []string{"10.0.0.3/24"},
		ExternalIDs: map[string]string{"iface-id": "id of c", "attached-mac": "02:00:00:00:00:0c"}, OFPort: 17}))
	check(t, lab.Link(ctx, h1, "br0", "up0", h2, "br0", "up0", 1500))
	pingAll(t, ctx, a, c.Addr(), lab.PingOptions{Count: 2, Size: 1472})
	if got := must(h2.Vsctl(ctx, "get", "interface", "vnet0", "ofport", "external_ids"))(t); got != "17\n{attached-mac=\"02:00:00:00:00:0c\", iface-id=\"id of c\"}\n" {
		t.Errorf("vnet0 of h2 has %q", got)
	}
	if mac := must(c.MAC(ctx, "ens3"))(t); mac.String() != "02:00:00:00:00:0c" {
		t.Errorf("MAC of c is %s", mac)
	}

	// A collector behind a router.
	check(t, h1.AddBridge(ctx, "br-ul"))
	router, far := must(l.Guest(ctx, "router"))(t), must(l.Guest(ctx, "far"))(t)
	check(t, h1.Attach(ctx, router, "br-ul", "r0", lab.GuestIf{Addrs: []string{"192.0.2.254/24", "2001:db8::fe/64"}}))
	check(t, lab.Connect(ctx, router, lab.NodeIf{Dev: "eth1", Addrs: []string{"198.51.100.254/24", "2001:db8:1::fe/64"}},
		far, lab.NodeIf{Dev: "eth0", Addrs: []string{"198.51.100.9/24", "2001:db8:1::9/64"}}, 0))
	check(t, router.Forward(ctx))
	check(t, far.Route(ctx, "default", netip.MustParseAddr("198.51.100.254")))
	check(t, far.Route(ctx, "default", netip.MustParseAddr("2001:db8:1::fe")))
	check(t, h1.Underlay(ctx, "br-ul", 0, "192.0.2.1/24", "2001:db8::1/64"))
	check(t, h1.Route(ctx, "198.51.100.0/24", netip.MustParseAddr("192.0.2.254")))
	check(t, h1.Route(ctx, "default", netip.MustParseAddr("2001:db8::fe")))
	pingAll(t, ctx, h1.Node, far.Addr(), lab.PingOptions{})
	pingAll(t, ctx, h1.Node, far.Addr6(), lab.PingOptions{})
	must(h1.Vsctl(ctx, "add-port", "br0", "es0", "--", "set", "interface", "es0", "type=erspan", "options:remote_ip=198.51.100.9", "options:erspan_ver=1"))(t)
	check(t, h1.Neighbor(ctx, netip.MustParseAddr("192.0.2.254")))

	// A trunk with VLANs 10 and 20, and an access port in VLAN 10.
	trunk, access := must(l.Guest(ctx, "trunk"))(t), must(l.Guest(ctx, "access"))(t)
	check(t, h1.Attach(ctx, trunk, "br0", "vnet10", lab.GuestIf{Trunks: []int{10, 20}, VLANMode: "trunk"}))
	check(t, h1.Attach(ctx, access, "br0", "vnet11", lab.GuestIf{Addrs: []string{"10.10.0.2/24"}, Tag: 10}))
	tagged := must(trunk.Capture(ctx, "eth0", "vlan"))(t)
	untagged := must(access.Capture(ctx, "eth0", "ether proto 0x88b5"))(t)
	for _, vid := range []byte{20, 10} {
		frame := slices.Concat(oddFrames()[0][:12], []byte{0x81, 0, 0, vid, 0x88, 0xb5}, make([]byte, 46))
		check(t, lab.SendRaw(ctx, trunk, "eth0", [][]byte{frame}, 0))
	}
	check(t, untagged.WaitCount(ctx, "!vlan && eth.type == 0x88b5", 1))
	if _, err := lab.Ping(ctx, access, netip.MustParseAddr("10.10.0.1"), lab.PingOptions{Wait: 10 * time.Millisecond}); err != nil {
		t.Error(err)
	}
	check(t, tagged.WaitCount(ctx, "vlan.id == 10 && arp", 1))
	check(t, tagged.Stop(ctx))
	check(t, untagged.Stop(ctx))
	if n := must(untagged.Count(ctx, ""))(t); n != 1 {
		t.Errorf("%d frames on the access port: want that of VLAN 10 only:\n%s", n, must(untagged.Tcpdump(ctx, "-e"))(t))
	}

	check(t, h1.Detach(ctx, "vnet11"))
	if out, _, err := access.Exec(ctx, "ip", "link", "show", "eth0"); err == nil {
		t.Errorf("the device is still there after it was detached: %s", out)
	}
	if got := must(h1.Vsctl(ctx, "list-ports", "br0"))(t); strings.Contains(got, "vnet11") || access.Addr().IsValid() {
		t.Errorf("after detaching, the ports are %q and the address %v", got, access.Addr())
	}
	check(t, h1.Detach(ctx, "up0"))
	if got := must(h2.Vsctl(ctx, "list-ports", "br0"))(t); got != "vnet0\n" {
		t.Errorf("after the link was detached, the other host has ports %q", got)
	}
	if err := h1.Attach(ctx, trunk, "br7", "vnet12", lab.GuestIf{Dev: "eth1"}); err == nil {
		t.Error("attaching to a bridge that does not exist is no error")
	}
	if out, _, err := trunk.Exec(ctx, "ip", "link", "show", "eth1"); err == nil {
		t.Errorf("the device of a failed attachment stays: %s", out)
	}
	if err := h1.Detach(ctx, "vnet11"); err == nil {
		t.Error("detaching twice is no error")
	}
}

// TestSnapshots: what an owner adds and removes does not show, what it changes of others does.
func TestSnapshots(t *testing.T) {
	t.Parallel()
	ctx, l := newLab(t)
	h, a, b := twoGuests(t, ctx, l, "h1")
	must(h.Ofctl(ctx, "add-flow", "br0", "cookie=0x77,priority=5,icmp,actions=normal"))(t)

	flows := must(h.DumpFlows(ctx, "br0"))(t)
	if want := []string{"cookie=0x77, priority=5,icmp actions=NORMAL", "priority=0 actions=NORMAL"}; !slices.Equal(flows, want) {
		t.Errorf("flows are %q, want %q", flows, want)
	}
	before := must(h.DumpRows(ctx))(t)
	for _, r := range before {
		for _, c := range []string{"_version", "statistics", "ifindex", "link_state", "cur_cfg"} {
			if _, ok := r.Columns[c]; ok {
				t.Errorf("row %s %q has the volatile column %s", r.Table, r.Name, c)
			}
		}
	}
	pingAll(t, ctx, a, b.Addr(), lab.PingOptions{Count: 3})
	if again := must(h.DumpRows(ctx))(t); !slices.Equal(again.Lines(), before.Lines()) {
		t.Errorf("rows change by traffic:\n%s", diff(before.Lines(), again.Lines()))
	}
	if again := must(h.DumpFlows(ctx, "br0"))(t); !slices.Equal(again, flows) {
		t.Errorf("flows change by traffic: %q", again)
	}

	must(h.Vsctl(ctx, "add-port", "br0", "p0", "--", "set", "port", "p0", "external_ids:ovs-erspan=x",
		"--", "set", "interface", "p0", "type=patch", "options:peer=p1", "external_ids:ovs-erspan=x",
		"--", "--id=@p", "get", "port", "p0", "--", "--id=@m", "create", "mirror", "name=m", "output_port=@p", "external_ids:ovs-erspan=x",
		"--", "set", "bridge", "br0", "mirrors=@m",
		"--", "set", "open_vswitch", ".", "external_ids:ovs-erspan.session.x=1"))(t)
	during := must(h.DumpRows(ctx))(t)
	if len(during) != len(before)+3 {
		t.Errorf("%d rows became %d: want 3 more", len(before), len(during))
	}
	if got := during.Without("ovs-erspan"); !slices.Equal(got.Lines(), before.Lines()) {
		t.Errorf("without the owner's, rows differ:\n%s", diff(before.Lines(), got.Lines()))
	}
	must(h.Vsctl(ctx, "set", "interface", "vnet0", "external_ids:foreign=1"))(t)
	if got := must(h.DumpRows(ctx))(t).Without("ovs-erspan"); slices.Equal(got.Lines(), before.Lines()) {
		t.Error("a change of another's row does not show")
	}
}

func diff(a, b []string) string {
	var out strings.Builder
	for _, l := range a {
		if !slices.Contains(b, l) {
			fmt.Fprintln(&out, "-", l)
		}
	}
	for _, l := range b {
		if !slices.Contains(a, l) {
			fmt.Fprintln(&out, "+", l)
		}
	}
	return out.String()
}

// TestProcesses: programs on a node, their ends and their errors.
func TestProcesses(t *testing.T) {
	t.Parallel()
	ctx, l := newLab(t)
	n := must(l.Guest(ctx, "n"))(t)

	out, stderr, err := n.Run(ctx, lab.Command{Args: []string{"sh", "-c", `cat; echo "$X" >&2; exit 3`}, Env: []string{"X=why"}, Stdin: strings.NewReader("in")})
	var exit *exec.ExitError
	if out != "in" || stderr != "why\n" || !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(err.Error(), `guest "n": sh -c`) || !strings.HasSuffix(err.Error(), "why") {
		t.Errorf("a program that fails: %q, %q, %v", out, stderr, err)
	}
	if _, _, err := n.Exec(ctx, "no-such-program"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("a program that does not exist: %v", err)
	}

	// The child of the shell must go as well: it would hold the pipes.
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if _, _, err := n.Exec(short, "sh", "-c", "sleep 60; true"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a program that takes too long: %v", err)
	}

	p := must(n.Start(ctx, lab.Command{Args: []string{"sleep", "60"}}))(t)
	if got := must(os.Readlink(fmt.Sprintf("/proc/%d/ns/net", p.PID())))(t); got != must(os.Readlink(n.NetNS()))(t) {
		t.Errorf("the process is in %s", got)
	}
	if here := must(os.Readlink("/proc/self/ns/net"))(t); here == must(os.Readlink(n.NetNS()))(t) {
		t.Error("the node is in the caller's namespace")
	}
	check(t, p.Stop(ctx))
	select {
	case <-p.Done():
	default:
		t.Error("the process is not done after Stop")
	}
	stubborn := must(n.Start(ctx, lab.Command{Args: []string{"sh", "-c", `trap "" TERM; echo ready; while :; do sleep 60; done`}}))(t)
	check(t, lab.Until(ctx, "the shell is ready", func(context.Context) error {
		if stubborn.Stdout() == "" {
			return errors.New("it says nothing")
		}
		return nil
	}))
	short, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := stubborn.Stop(short); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("stopping a process that ignores SIGTERM: %v", err)
	}

	failed := must(n.Start(ctx, lab.Command{Args: []string{"false"}}))(t)
	if err := failed.Wait(ctx); !errors.As(err, &exit) {
		t.Errorf("waiting for a process that fails: %v", err)
	}
}

// TestRefusals: errors say what failed.
func TestRefusals(t *testing.T) {
	t.Parallel()
	ctx, l := newLab(t)
	must(l.Guest(ctx, "n"))(t)
	for _, tt := range []struct {
		name string
		do   func() error
		want string
	}{
		{"name taken", func() error { _, err := l.Guest(ctx, "n"); return err }, `guest "n": the name is taken`},
		{"bad name", func() error { _, err := l.Host(ctx, "a/b"); return err }, `host "a/b": a name is`},
		{"directory missing", func() error { _, err := lab.New(ctx, filepath.Join(l.Dir(), "none")); return err }, "no such file"},
		{"long directory", func() error {
			dir := filepath.Join(l.Dir(), strings.Repeat("x", 90))
			check(t, os.Mkdir(dir, 0o755))
			long := must(lab.New(ctx, dir))(t)
			_, err := long.Host(ctx, "h")
			return errors.Join(err, long.Close())
		}, "too long for the path of a Unix socket"},
		{"ended context", func() error {
			ended, cancel := context.WithCancel(ctx)
			cancel()
			_, err := lab.New(ended, "")
			return err
		}, "context canceled"},
		{"port that OVS refuses", func() error {
			h := must(l.Host(ctx, "h"))(t)
			check(t, h.AddBridge(ctx, "br0"))
			return h.AddBridge(ctx, "br0")
		}, "br0"},
		{"device name", func() error {
			n := must(l.Guest(ctx, "m"))(t)
			return lab.Connect(ctx, n, lab.NodeIf{Dev: "a b"}, n, lab.NodeIf{Dev: "c"}, 0)
		}, `device name "a b"`},
		{"capture of a device that is not there", func() error {
			n := must(l.Guest(ctx, "k"))(t)
			_, err := n.Capture(ctx, "eth9", "")
			return err
		}, "eth9"},
		{"closed", func() error {
			other := must(lab.New(ctx, ""))(t)
			check(t, other.Close())
			check(t, other.Close())
			_, err := other.Guest(ctx, "n")
			return err
		}, "the lab is closed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.do(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %q", err, tt.want)
			}
		})
	}
}

// TestNotRoot: a user who is not root gets a clear answer.
func TestNotRoot(t *testing.T) {
	t.Parallel()
	// The test binary's directory is closed to others: hand over a copy.
	dir := must(os.MkdirTemp("", "oe"))(t)
	t.Cleanup(func() { os.RemoveAll(dir) })
	check(t, os.Chmod(dir, 0o755))
	self := must(os.ReadFile(must(os.Executable())(t)))(t)
	check(t, os.WriteFile(filepath.Join(dir, "lab.test"), self, 0o755))
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "lab.test"))
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), childEnv+"=nobody")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "true a lab needs root") {
		t.Errorf("as nobody: %v, %q", err, out)
	}
}

// belongings is what a lab has outside its own memory.
type belongings struct {
	Dir        string
	PIDs       []int
	Namespaces []string
}

// everything builds a lab with one of each and lists what it has.
func everything(ctx context.Context, l *lab.Lab) (belongings, error) {
	got := belongings{Dir: l.Dir()}
	h, err := l.Host(ctx, "h")
	if err != nil {
		return got, err
	}
	g, err := l.Guest(ctx, "g")
	if err != nil {
		return got, err
	}
	if err := h.AddBridge(ctx, "br0"); err != nil {
		return got, err
	}
	if err := h.Attach(ctx, g, "br0", "vnet0", lab.GuestIf{Addrs: []string{"10.0.0.1/24"}}); err != nil {
		return got, err
	}
	if _, err := g.Capture(ctx, "eth0", ""); err != nil {
		return got, err
	}
	if _, err := h.Capture(ctx, "vnet0", ""); err != nil {
		return got, err
	}
	for _, args := range [][]string{{"sleep", "600"}, {"nsenter", "--net=" + h.NetNS(), "sleep", "600"}} {
		if _, err := g.Start(ctx, lab.Command{Args: args}); err != nil {
			return got, err
		}
	}
	for _, n := range []*lab.Node{h.Node, g} {
		ns, err := os.Readlink(n.NetNS())
		if err != nil {
			return got, err
		}
		got.Namespaces = append(got.Namespaces, ns)
	}
	// All children, whoever started them: also the watcher of the directory.
	err = lab.Until(ctx, "all processes run", func(context.Context) error {
		got.PIDs = got.PIDs[:0]
		names := []string{}
		for _, p := range processes() {
			if p.parent == os.Getpid() {
				got.PIDs = append(got.PIDs, p.pid)
				names = append(names, p.name)
			}
		}
		slices.Sort(names)
		if fmt.Sprint(names) != "[ovs-vswitchd ovsdb-server sh sleep sleep tcpdump tcpdump]" {
			return fmt.Errorf("there are %v", names)
		}
		return nil
	})
	return got, err
}

type process struct {
	pid, parent int
	name        string
}

// processes lists what runs on this machine and is not already dead.
func processes() []process {
	var all []process
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		// "123 (name) S 1 …"; the name may hold anything.
		s := string(b)
		open, end := strings.Index(s, "("), strings.LastIndex(s, ")")
		if open < 0 || end < 0 {
			continue
		}
		p := process{name: s[open+1 : end]}
		var state string
		if _, err := fmt.Sscanf(s[:open], "%d", &p.pid); err != nil {
			continue
		}
		if _, err := fmt.Sscanf(s[end+1:], "%s %d", &state, &p.parent); err != nil {
			continue
		}
		if state != "Z" && state != "X" {
			all = append(all, p)
		}
	}
	return all
}

// left says what is left of a lab, nil if nothing is.
func (b belongings) left() error {
	var errs []error
	if _, err := os.Stat(b.Dir); err == nil {
		errs = append(errs, fmt.Errorf("directory %s", b.Dir))
	}
	for _, p := range processes() {
		if slices.Contains(b.PIDs, p.pid) {
			errs = append(errs, fmt.Errorf("process %d, %s", p.pid, p.name))
		}
	}
	// A namespace lives as long as a process is in it, or has it open, or it is mounted.
	links, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, l := range append(links, fds...) {
		if target, err := os.Readlink(l); err == nil && slices.Contains(b.Namespaces, target) {
			errs = append(errs, fmt.Errorf("namespace %s by %s", target, l))
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for _, ns := range b.Namespaces {
		if strings.Contains(string(mounts), ns) {
			errs = append(errs, fmt.Errorf("namespace %s is mounted", ns))
		}
	}
	return errors.Join(errs...)
}

// ownLab is the part of a child that holds a lab, tells what it has, and waits to be killed.
func ownLab() error {
	ctx := context.Background()
	l, err := lab.New(ctx, "")
	if err != nil {
		return err
	}
	got, err := everything(ctx, l)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	if os.Getenv(childEnv+"_CLOSE") != "" {
		if err := l.Close(); err != nil {
			return err
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(got); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin) // until killed, or until the test that started this is gone
	return errors.Join(err, l.Close())
}

// TestNothingIsLeft: after Close nothing of a lab is left while its owner still lives, and nothing after SIGKILL of the
// owner.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"closed", "killed"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, must(os.Executable())(t))
			cmd.Env = append(os.Environ(), childEnv+"=owner")
			if how == "closed" {
				cmd.Env = append(cmd.Env, childEnv+"_CLOSE=1")
			}
			cmd.Stderr = os.Stderr
			stdin := must(cmd.StdinPipe())(t)
			defer stdin.Close()
			stdout := must(cmd.StdoutPipe())(t)
			check(t, cmd.Start())
			defer cmd.Process.Kill()
			var got belongings
			check(t, json.NewDecoder(stdout).Decode(&got))
			if len(got.PIDs) != 7 || len(got.Namespaces) != 2 || got.Dir == "" {
				t.Fatalf("the lab has %+v", got)
			}
			if how == "closed" {
				// The owner lives on, so what it has left stays; but the number of a namespace that is gone may be another lab's
				// by now, for a while.
				check(t, lab.Until(ctx, "nothing is left", func(context.Context) error { return got.left() }))
				return
			}
			if err := got.left(); err == nil {
				t.Fatal("nothing is there even before the kill: this test sees nothing")
			}
			check(t, cmd.Process.Kill())
			check(t, lab.Until(ctx, "nothing is left", func(context.Context) error { return got.left() }))
		})
	}
}

// TestDo: a socket that is opened inside a node stays there.
func TestDo(t *testing.T) {
	t.Parallel()
	ctx, l := newLab(t)
	n := must(l.Guest(ctx, "n"))(t)
	var socket net.Listener
	check(t, n.Do(func() (err error) { socket, err = net.Listen("tcp", "127.0.0.1:9"); return err }))
	defer socket.Close()
	out, _, err := n.Exec(ctx, "cat", "/proc/net/tcp")
	check(t, err)
	if !strings.Contains(out, "0100007F:0009") {
		t.Errorf("no socket in the namespace:\n%s", out)
	}
}
