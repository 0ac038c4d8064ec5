//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// attached is a scene with an analyzer on a device of the host that is on no bridge, for sessions to attach.
type attached struct {
	*scene
	analyzer *lab.Node
	socket   net.PacketConn // of the host's, on 0.0.0.0
}

func newAttached(t *testing.T) *attached {
	s := newLab(t)
	s.must(s.host.AddBridge(s.ctx, "br-ul"))
	s.collector = s.guest("col")
	s.must(s.host.Attach(s.ctx, s.collector, "br-ul", "uplink", lab.GuestIf{Addrs: []string{collectorAddr + "/24"}}))
	s.must(s.host.Underlay(s.ctx, "br-ul", 0, hostAddr+"/24"))
	a := &attached{scene: s, analyzer: s.guest("an")}
	s.must(lab.Connect(s.ctx, s.host.Node, lab.NodeIf{Dev: "analyzer0", Addrs: []string{"fe80::1/64"}},
		a.analyzer, lab.NodeIf{Dev: "eth0", Addrs: []string{"203.0.113.2/24", "fe80::2/64"}}, 9000))
	_, _, err := a.analyzer.Exec(s.ctx, "ip", "route", "add", hostAddr+"/32", "dev", "eth0")
	s.must(err)
	s.must(s.host.Do(func() (err error) {
		a.socket, err = net.ListenPacket("udp4", "0.0.0.0:6767")
		return err
	}))
	t.Cleanup(func() { a.socket.Close() })
	return a
}

// whoAnswers has the analyzer's side ask for an address of the host (ARP), for the device's own (neighbour discovery), and
// send a broadcast to the socket: each once. It returns which of them the host's own stack got.
func (a *attached) whoAnswers(arrived func(ctx context.Context) error) (got string) {
	a.t.Helper()
	answers := a.capture(a.analyzer, "eth0", "arp[6:2] = 2 or (icmp6 and ip6[40] = 136)")
	_, _, err := a.analyzer.Exec(a.ctx, "ip", "neigh", "flush", "dev", "eth0")
	a.must(err)
	for _, to := range []string{hostAddr, "fe80::1%eth0"} {
		_, err := lab.Ping(a.ctx, a.analyzer, netip.MustParseAddr(to), lab.PingOptions{Count: 1, Wait: 100 * time.Millisecond})
		a.must(err)
	}
	_, _, err = a.analyzer.Exec(a.ctx, "/usr/bin/python3", "-c", `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
s.sendto(b"broadcast", ("255.255.255.255", 6767))`)
	a.must(err)
	a.must(lab.Until(a.ctx, "what the analyzer's side sends arrives", arrived))
	a.stop(answers)
	for filter, what := range map[string]string{"arp": "ARP ", "icmpv6": "ND "} {
		if n, err := answers.Count(a.ctx, filter); n > 0 {
			got += what
		} else {
			a.must(err)
		}
	}
	a.must(a.socket.SetReadDeadline(time.Now().Add(50 * time.Millisecond)))
	if n, _, err := a.socket.ReadFrom(make([]byte, 100)); err == nil && n > 0 {
		got += "broadcast "
	}
	return got
}

var packetsOf = regexp.MustCompile(`n_packets=(\d+)`)

// TestHostStackGetsNothing (trap 44): what arrives at a device that is attached to the tap bridge of the userspace datapath
// is dropped there, and the host's own stack gets nothing of it; of a device that is not attached, or no more, it gets all.
// Nor does the tap bridge's own port follow the device's MTU (trap 43).
func TestHostStackGetsNothing(t *testing.T) {
	t.Parallel()
	a := newAttached(t)
	anyhow := func(context.Context) error { return nil }
	const all = len("ARP ND broadcast ")
	if got := a.whoAnswers(anyhow); len(got) != all {
		t.Fatalf("before, the host's own stack gets only: %s", got)
	}
	a.ok("session", "add", "in", "--type", "destination", "--output-port", "analyzer0", "--from", "any", "--session-id", "7")
	a.nothingToDo()
	dropped := func(ctx context.Context) error {
		flows, err := a.host.Ofctl(ctx, "-O", "OpenFlow15", "--no-names", "dump-flows", tapBridge, "cookie=0/0,table=0")
		if err != nil {
			return err
		}
		sum := 0
		for line := range strings.Lines(flows) {
			if m := packetsOf.FindStringSubmatch(line); m != nil && strings.Contains(line, "priority=0") {
				n, _ := strconv.Atoi(m[1])
				sum += n
			}
		}
		if sum < 3 {
			return fmt.Errorf("%d packets are dropped in table 0:\n%s", sum, flows)
		}
		return nil
	}
	if got := a.whoAnswers(dropped); got != "" {
		t.Errorf("while the device is attached, the host's own stack gets: %s", got)
	}
	for port, want := range map[string]string{"analyzer0": "9000", tapBridge: "1500"} {
		got, err := a.host.Vsctl(a.ctx, "get", "interface", port, "mtu")
		a.must(err)
		if strings.TrimSpace(got) != want {
			t.Errorf("the MTU of port %s is %s, want %s", port, got, want)
		}
	}
	// A crash that leaves the device detached, and the stack kept from it.
	a.killAt("rows-last", "session", "remove", "in")
	a.ok("uninstall", "--yes")
	if got := a.whoAnswers(anyhow); len(got) != all {
		t.Errorf("afterwards, the host's own stack gets only: %s", got)
	}
	a.nothingToDo()
}
