//go:build linux

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// farEnd is a scene with a second host, h2 (192.0.2.2, 2001:db8::2), on the same underlay: a's and b's frames are sent
// there. An analyzer is the guest "an" on h2's bridge br0 (port analyzer0), beside another guest (port vnet9).
type farEnd struct {
	*scene
	host2           *lab.Host
	analyzer, other *lab.Node
}

const (
	farAddr  = "192.0.2.2"
	farAddr6 = "2001:db8::2"
)

func newFarEnd(t testing.TB) *farEnd {
	t.Helper()
	s := newLab(t)
	f := &farEnd{scene: s}
	s.must(s.host.AddBridge(s.ctx, "br0"))
	s.must(s.host.AddBridge(s.ctx, "br-ul"))
	s.a, s.b = s.guest("a"), s.guest("b")
	s.must(s.host.Attach(s.ctx, s.a, "br0", "vnet0", lab.GuestIf{Addrs: []string{addrA + "/24"}}))
	s.must(s.host.Attach(s.ctx, s.b, "br0", "vnet1", lab.GuestIf{Addrs: []string{addrB + "/24"}}))
	var err error
	f.host2, err = s.lab.Host(s.ctx, "h2")
	s.must(err)
	s.must(f.host2.AddBridge(s.ctx, "br0"))
	s.must(f.host2.AddBridge(s.ctx, "br-ul"))
	f.analyzer, f.other = s.guest("an"), s.guest("other")
	s.must(f.host2.Attach(s.ctx, f.analyzer, "br0", "analyzer0", lab.GuestIf{}))
	s.must(f.host2.Attach(s.ctx, f.other, "br0", "vnet9", lab.GuestIf{}))
	mtu := 1600
	if lab.DPDK() {
		mtu = 1500 // the most that its driver af_packet takes
	}
	s.must(lab.Link(s.ctx, s.host, "br-ul", "uplink", f.host2, "br-ul", "uplink", mtu))
	s.must(s.host.Underlay(s.ctx, "br-ul", mtu, hostAddr+"/24", hostAddr6+"/64"))
	s.must(f.host2.Underlay(s.ctx, "br-ul", mtu, farAddr+"/24", farAddr6+"/64"))
	return f
}

// in is the scene for a subtest, whose failures are its own.
func (f *farEnd) in(t testing.TB) *farEnd {
	s := *f.scene
	s.t = t
	sub := *f
	sub.scene = &s
	return &sub
}

// far runs ovs-erspan on h2, which must succeed.
func (f *farEnd) far(args ...string) string {
	f.t.Helper()
	r := f.oeOn(f.host2, lab.Command{}, args...)
	if r.code != 0 {
		f.t.Fatalf("on h2: ovs-erspan %s: exit %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// receive adds a destination session on h2 that delivers to the analyzer's port.
func (f *farEnd) receive(name string, args ...string) {
	f.t.Helper()
	f.far(append([]string{"session", "add", name, "--type", "destination", "--bridge", "br0", "--output-port", "analyzer0"}, args...)...)
}

// send adds a source session on h1 that copies to h2.
func (f *farEnd) send(name string, args ...string) {
	f.t.Helper()
	f.ok(append([]string{"session", "add", name, "--bridge", "br0"}, args...)...)
}

// mac is a device's address.
func (f *scene) mac(n *lab.Node, dev string) (mac net.HardwareAddr) {
	f.t.Helper()
	f.must(n.Do(func() error {
		i, err := net.InterfaceByName(dev)
		if err == nil {
			mac = i.HardwareAddr
		}
		return err
	}))
	return mac
}

// frames are the frames that a capture holds.
func (f *farEnd) frames(c *lab.Capture) [][]byte {
	f.t.Helper()
	frames, err := c.Frames(f.ctx)
	f.must(err)
	var data [][]byte
	for _, frame := range frames {
		data = append(data, frame.Data)
	}
	return data
}

// TestDelivered: what a port of one host carries arrives at the analyzer of the other as it was, in order, and nowhere
// else; the bridge that it is delivered on learns nothing of it, and its flows are the same but for one.
func TestDelivered(t *testing.T) {
	t.Parallel()
	far := newFarEnd(t)
	for name, tt := range map[string]struct{ collector, from, version string }{
		"version 1, IPv4": {farAddr, hostAddr, "1"},
		"version 2, IPv4": {farAddr, hostAddr, "2"},
		"version 1, IPv6": {farAddr6, hostAddr6, "1"},
		"version 2, IPv6": {farAddr6, hostAddr6, "2"},
	} {
		t.Run(name, func(t *testing.T) {
			f := far.in(t)
			flowsBefore, err := f.host2.DumpFlows(f.ctx, "br0")
			f.must(err)
			f.receive("in", "--from", tt.from, "--session-id", "7", "--erspan-version", tt.version)
			f.send("out", "--source", "vnet0", "--collector", tt.collector, "--session-id", "7", "--erspan-version", tt.version)
			atSource := f.capture(f.a, "eth0", "icmp")
			atAnalyzer := f.capture(f.analyzer, "eth0", "icmp")
			elsewhere := f.capture(f.other, "eth0", "icmp")
			_, err = lab.Ping(f.ctx, f.a, netip.MustParseAddr(addrB), lab.PingOptions{Count: 10})
			f.must(err)
			_, err = lab.Ping(f.ctx, f.a, netip.MustParseAddr(addrB), lab.PingOptions{Count: 3, Size: 1472})
			f.must(err)
			f.waitCount(atAnalyzer, "icmp", 26)
			f.stop(atSource)
			f.stop(atAnalyzer)
			f.stop(elsewhere)
			source, analyzer := f.frames(atSource), f.frames(atAnalyzer)
			// Their order is not promised: a reply can overtake the copy of its request, which leaves after the request itself.
			slices.SortFunc(source, bytes.Compare)
			slices.SortFunc(analyzer, bytes.Compare)
			if diff := cmp.Diff(source, analyzer); diff != "" {
				t.Errorf("the frames differ (-at the source +at the analyzer):\n%s", diff)
			}
			if n := elsewhere.Stats().Captured; n != 0 {
				t.Errorf("%d frames arrived at another port", n)
			}
			fdb, err := f.host2.Appctl(f.ctx, "fdb/show", "br0")
			f.must(err)
			if strings.Contains(fdb, f.mac(f.a, "eth0").String()) {
				t.Errorf("br0 learned an address of what was delivered:\n%s", fdb)
			}
			flows, err := f.host2.Ofctl(f.ctx, "-O", "OpenFlow15", "dump-flows", "br0", "cookie=0xe25a000000000000/0xffff000000000000")
			f.must(err)
			if n := strings.Count(flows, "cookie="); n != 1 || !strings.Contains(flows, "in_port=") {
				t.Errorf("%d flows of ours on the production bridge, want 1:\n%s", n, flows)
			}
			f.far("session", "remove", "in")
			after, err := f.host2.DumpFlows(f.ctx, "br0")
			f.must(err)
			if diff := cmp.Diff(flowsBefore, after); diff != "" {
				t.Errorf("flows of br0 (-before +after):\n%s", diff)
			}
			f.ok("session", "remove", "out")
		})
	}
}

// TestBothFamiliesArriveAtOnce: senders of both families, whichever session came first, and also when the other has gone: of
// two tunnel ports, one for each family, the userspace datapath would give everything to the first.
func TestBothFamiliesArriveAtOnce(t *testing.T) {
	t.Parallel()
	f := newFarEnd(t)
	sender := map[string]string{"7": hostAddr, "8": hostAddr6}
	receive := func(id string) { f.receive("in"+id, "--from", sender[id], "--session-id", id) }
	f.send("out7", "--source", "vnet0", "--collector", farAddr, "--session-id", "7")
	f.send("out8", "--source", "vnet1", "--collector", farAddr6, "--session-id", "8")
	f.ping(f.a, addrB, 1) // ARP is done
	arrive := func(what string, want int) {
		t.Helper()
		c := f.capture(f.analyzer, "eth0", "icmp")
		f.ping(f.a, addrB, 5)
		f.ping(f.host.Node, farAddr, 3) // what was sent before is there
		f.stop(c)
		if n := c.Stats().Captured; n != want {
			t.Errorf("%s: %d frames arrived, want %d", what, n, want)
		}
	}
	for _, order := range [][2]string{{"7", "8"}, {"8", "7"}} {
		receive(order[0])
		arrive("only "+order[0], 10)
		receive(order[1])
		arrive("after it "+order[1], 20)
		f.far("session", "remove", "in"+order[0])
		arrive("without "+order[0], 10)
		f.far("session", "remove", "in"+order[1])
	}
}

// TestDeliveredToADevice: without a bridge the output port is a device that is attached to the tap bridge while the
// session lives.
func TestDeliveredToADevice(t *testing.T) {
	t.Parallel()
	f := newFarEnd(t)
	_, _, err := f.host2.Exec(f.ctx, "ip", "link", "add", "tap-an", "type", "veth", "peer", "name", "tap-an-peer")
	f.must(err)
	for _, d := range []string{"tap-an", "tap-an-peer"} {
		_, _, err := f.host2.Exec(f.ctx, "ip", "link", "set", d, "up")
		f.must(err)
	}
	f.far("session", "add", "in", "--type", "destination", "--output-port", "tap-an", "--from", "any", "--session-id", "7")
	f.send("out", "--source", "vnet0", "--collector", farAddr, "--session-id", "7")
	atAnalyzer := f.capture(f.host2.Node, "tap-an-peer", "icmp")
	f.ping(f.a, addrB, 3)
	f.waitCount(atAnalyzer, "icmp", 6)
	f.stop(atAnalyzer)
	f.far("session", "remove", "in")
	bridges, err := f.host2.Vsctl(f.ctx, "list-br")
	f.must(err)
	if strings.Contains(bridges, "erspan") {
		t.Errorf("left over: %s", bridges)
	}
	for args, says := range map[string]string{
		"--output-port nothere":                 "no such device",
		"--output-port br-ul":                   `on bridge "br-ul"`,
		"--output-port vnet9":                   "--bridge br0",
		"--output-port lo":                      "loopback",
		"--bridge br0 --output-port anlyzer0":   `did you mean "analyzer0"`,
		"--bridge nobr --output-port x":         "no such bridge",
		"--output-port tap-an --from 192.0.2.2": "address of this host",
	} {
		r := f.oeOn(f.host2, lab.Command{}, append([]string{"session", "add", "x", "--type", "destination", "--from", "any", "--session-id", "1"}, strings.Fields(args)...)...)
		if r.code != 2 || !strings.Contains(r.stderr, says) {
			t.Errorf("%s: exit %d, %s, want %q in it", args, r.code, r.stderr, says)
		}
	}
}

// TestDeliveryFlowGoesWithoutItsPort: the flow on the production bridge goes with the session also where somebody has deleted
// the port that tells of it.
func TestDeliveryFlowGoesWithoutItsPort(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string][]string{
		"removed": {"session", "remove", "in"}, "disabled": {"session", "disable", "in"}, "uninstalled": {"uninstall", "--yes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			before, err := s.host.DumpFlows(s.ctx, "br0")
			s.must(err)
			s.ok("session", "add", "in", "--type", "destination", "--bridge", "br0", "--output-port", "vnet1", "--from", "any", "--session-id", "7")
			ports, err := s.host.Vsctl(s.ctx, "list-ports", "br0")
			s.must(err)
			for _, port := range strings.Fields(ports) {
				if strings.HasPrefix(port, "es-") {
					s.vsctl("del-port", "br0", port)
				}
			}
			s.vsctl("del-br", "br-erspan-nd")
			s.ok(stop...)
			after, err := s.host.DumpFlows(s.ctx, "br0")
			s.must(err)
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("flows of br0 (-before +after):\n%s", diff)
			}
			ids, err := s.host.Vsctl(s.ctx, "--columns=external_ids", "find", "queue", "external_ids:ovs-erspan=store")
			s.must(err)
			if strings.Contains(ids, "delivered") {
				t.Errorf("the store still tells of a flow: %s", ids)
			}
		})
	}
}

// TestUnmatched: what arrives and is no session's shows, with sender, session id and version.
func TestUnmatched(t *testing.T) {
	t.Parallel()
	f := newFarEnd(t)
	f.receive("in", "--from", hostAddr, "--session-id", "8")
	f.send("out", "--source", "vnet0", "--collector", farAddr, "--session-id", "9")
	f.must(lab.Until(f.ctx, "the wrong number shows", func(context.Context) error {
		f.ping(f.a, addrB, 2)
		list := f.far("session", "list")
		for _, want := range []string{"(unmatched)", "from " + hostAddr, "session id 9", "version 1 (Type II)"} {
			if !strings.Contains(list, want) {
				return fmt.Errorf("no %q in\n%s", want, list)
			}
		}
		return nil
	}))
}

// TestDeliveryIsRemovedWhileItRuns: delivery stops before the command returns.
func TestDeliveryIsRemovedWhileItRuns(t *testing.T) {
	t.Parallel()
	f := newFarEnd(t)
	f.receive("in", "--from", hostAddr, "--session-id", "7")
	f.send("out", "--source", "vnet0", "--collector", farAddr, "--session-id", "7", "--match", "udp")
	wire := f.capture(f.analyzer, "eth0", "udp port 9999")
	st := startStream(f.scene)
	f.waitCount(wire, "udp.port == 9999", 20)
	f.far("session", "remove", "in")
	stopped := st.sent()
	st.waitSent(stopped + 100)
	f.must(st.process.Kill(f.ctx))
	f.stop(wire)
	for _, frame := range f.frames(wire) {
		var n int
		if _, err := fmt.Sscanf(string(bytes.TrimLeft(frame[14+20+8:][:8], "0")), "%d", &n); err == nil && n > stopped+1 {
			t.Errorf("datagram %d was delivered, sent after the command returned at %d", n, stopped)
		}
	}
}
