//go:build linux

package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// TestFragments: rules on ports judge whole packets and first fragments; of later ones, which have no ports, those are copied
// that may be meant, and none is denied. What is on the wire is told apart by tcpdump.
func TestFragments(t *testing.T) {
	t.Parallel()
	const (
		later4  = "(ip[6:2] & 0x1fff != 0)"
		later6  = "(ip6[6] = 44 and ip6[42:2] & 0xfff8 != 0)"
		first6  = "(ip6[6] = 44 and ip6[42:2] & 0xfff8 = 0)"
		to5000  = "(ip and udp dst port 5000)" // tcpdump asks no later fragment for ports
		to5000v = "((ip6 and udp dst port 5000) or (" + first6 + " and ip6[50:2] = 5000))"
	)
	tests := []struct {
		rules  []string
		onWire string
	}{
		{[]string{"--match", "udp,tp_dst=5000"}, to5000 + " or (udp and " + later4 + ")"},
		{[]string{"--deny", "udp,tp_dst=5000"}, "not " + to5000},
		{[]string{"--match", "udp,tp_dst=0"}, "udp and " + later4},
		{[]string{"--deny", "udp,tp_dst=0x0/0xff00"}, "ip or ip6"},
		{[]string{"--match-both-ways", "udp,nw_src=10.1.0.2,tp_src=5000"}, to5000 + " or (udp and " + later4 + ")"},
		{[]string{"--match", "udp,nw_dst=10.1.0.3,tp_dst=5000"}, "less 1"}, // another's
		{[]string{"--match", "udp,tp_dst=5000,ip_frag=first"}, to5000 + " and ip[6:2] & 0x2000 != 0"},
		{[]string{"--match", "icmp,icmp_type=0"}, "icmp and " + later4},
		{[]string{"--deny", "icmp,icmp_type=0"}, "ip or ip6"},
		{[]string{"--match", "udp6,tp_dst=5000"}, to5000v + " or " + later6},
		{[]string{"--match", "udp6"}, "ip6"},
		{[]string{"--deny", "udp6,tp_dst=5000"}, "not " + to5000v},
		{[]string{"--match", "udp6,tp_dst=0", "--deny", "udp"}, later6},
	}
	s := newScene(t)
	c, d := s.guest("c"), s.guest("d")
	s.must(s.host.Attach(s.ctx, c, "br0", "vnet2", lab.GuestIf{Addrs: []string{"10.1.0.1/24", "2001:db8:1::1/64"}, MTU: 1400})) // whole frames fit
	s.must(s.host.Attach(s.ctx, d, "br0", "vnet3", lab.GuestIf{Addrs: []string{"10.1.0.2/24", "2001:db8:1::2/64"}, MTU: 1400}))
	for i, test := range tests {
		s.add(fmt.Sprint("s", i), append([]string{"--source", "vnet2", "--direction", "ingress", "--session-id", fmt.Sprint(i + 1)}, test.rules...)...)
	}

	// Somebody undoes the setting: it is seen, told, and mended.
	s.ofctl("set-frags", tapBridge, "normal")
	if r := s.oe("plan"); r.code != 3 || !strings.Contains(r.stdout, "~ set-frags nx-match") {
		t.Errorf("plan, exit %d:\n%s%s", r.code, r.stdout, r.stderr)
	}
	s.ok("run", "--once")
	frags, err := s.host.Ofctl(s.ctx, "get-frags", tapBridge)
	s.must(err)
	if strings.TrimSpace(frags) != "nx-match" {
		t.Errorf("get-frags after run --once: %q", frags)
	}
	s.nothingToDo()

	col := s.capture(s.collector, "eth0", "proto 47")
	// Not what a host asks and says of itself.
	wire, err := c.Capture(s.ctx, "eth0", "ip or ip6 proto 17 or ip6 proto 44", "-Q", "out")
	s.must(err)
	s.must(c.Do(func() error {
		for _, to := range []string{"10.1.0.2", "2001:db8:1::2"} {
			for _, port := range []string{"5000", "6000"} {
				out, err := net.Dial("udp", net.JoinHostPort(to, port))
				if err != nil {
					return err
				}
				for _, size := range []int{40, 4000, 2000} {
					// The answer to one before, that nobody listens, may be this one's error.
					if _, err := out.Write(make([]byte, size)); err != nil && !strings.Contains(err.Error(), "refused") {
						return err
					}
				}
				out.Close()
			}
		}
		return nil
	}))
	r, err := lab.Ping(s.ctx, c, d.Addr(), lab.PingOptions{Count: 2, Size: 3000})
	s.must(err)
	if r.Received != 2 {
		t.Fatalf("%d of 2 pings:\n%s", r.Received, r.Output)
	}
	s.fence()
	s.stop(wire)
	s.stop(col)
	copies, err := col.Copies(s.ctx, "")
	s.must(err)
	for i, test := range tests {
		match, err := wire.Matching(s.ctx, test.onWire)
		s.must(err)
		var got [][]byte
		for _, m := range copies {
			if m.Fields["erspan.spanid"] == fmt.Sprint(i+1) && isTraffic(m.Inner) {
				got = append(got, m.Inner)
			}
		}
		sameFrames(t, strings.Join(test.rules, " "), got, s.frames(match))
		if len(got) == 0 && test.onWire != "less 1" {
			t.Errorf("%v: nothing is copied", test.rules)
		}
	}
	v := s.show("s0").Status
	if v.Matched.Packets != v.Sent.Packets || v.Matched.Packets == 0 || v.Filtered.Packets+v.Matched.Packets != v.Tapped.Packets-v.Guarded.Packets {
		t.Errorf("counted: %+v", v)
	}
}

// isTraffic is what the wire is captured with.
func isTraffic(frame []byte) bool {
	const udp, fragment = 17, 44
	switch ether := int(frame[12])<<8 | int(frame[13]); ether {
	case 0x0800:
		return true
	case 0x86dd:
		return frame[20] == udp || frame[20] == fragment
	}
	return false
}
