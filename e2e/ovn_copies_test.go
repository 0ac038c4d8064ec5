//go:build linux && ovn

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// throughOVN sends from a what OVN's pipeline is for. None of it may be lost.
func (s *ovnScene) throughOVN() {
	s.t.Helper()
	s.ping(s.a, lr0Addr, 2) // the router answers itself
	s.ping(s.a, addrD, 2)   // on this host
	s.ping(s.a, addrB, 2)   // through geneve
	s.ping(s.b, addrA, 2)
	s.ping(s.a, addrC, 2)   // and a router
	s.ping(s.a, ovnVIP, 2)  // and a load balancer
	s.ping(s.a, addrE, 2)   // and NAT
	s.ping(s.e, publicA, 2) // and its other way
	s.ping(s.c, addrE, 2)   // NAT on the other host
	s.must(lab.TCPTransfer(s.ctx, s.a, s.c, s.c.Addr(), 20000))
	// Nobody listens there: what comes back is a RST.
	s.knock(s.a, ovnVIP, 81)
	s.must(s.hairpin())
	// A client of DHCP, which ovn-controller answers.
	if _, stderr, err := s.a.Exec(s.ctx, "busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "3", "-s", "/bin/true"); err != nil {
		s.t.Errorf("DHCP: %v: %s", err, stderr)
	}
	s.must(s.a.Do(func() error {
		for _, to := range []string{addrB + ":9", addrD + ":9", addrB + ":7"} { // the ACLs drop two, and reject the third
			c, err := net.Dial("udp4", to)
			if err != nil {
				return err
			}
			defer c.Close()
			if _, err := fmt.Fprint(c, "to ", to); err != nil {
				return err
			}
			if strings.HasSuffix(to, ":7") { // ovn-controller answers, in its own time
				_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
					return fmt.Errorf("a datagram that an ACL rejects: %w", err)
				}
			}
		}
		return nil
	}))
}

// hairpin has a talk to itself, through a load balancer.
func (s *ovnScene) hairpin() error {
	var l net.Listener
	err := s.a.Do(func() (err error) {
		l, err = net.Listen("tcp4", addrA+":90")
		return err
	})
	if err != nil {
		return err
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			fmt.Fprint(c, "hairpin")
			c.Close()
		}
	}()
	return s.a.Do(func() error {
		c, err := net.Dial("tcp4", ovnHairpinVIP)
		if err != nil {
			return err
		}
		defer c.Close()
		text := make([]byte, 16)
		n, err := c.Read(text)
		if err != nil || string(text[:n]) != "hairpin" {
			return fmt.Errorf("a got %q of itself: %w", text[:n], err)
		}
		return nil
	})
}

// TestOVNCopies: each frame of the wire of an OVN guest is copied once in its direction, byte for byte, and nothing else is:
// with both versions, on both hosts, whatever OVN's pipeline makes of it (connections tracked, addresses translated, frames
// turned around, answered by ovn-controller, dropped, sent through geneve), to a collector behind a router of the underlay.
func TestOVNCopies(t *testing.T) {
	t.Parallel()
	s := newOVNScene(t)
	s.throughOVN() // ARP entries and connections
	s.addOn(s.host, "v1", "--source", "iface-id=a", "--session-id", "1")
	s.addOn(s.host, "v2", "--source", "iface-id=a", "--session-id", "2", "--erspan-version", "2")
	s.addOn(s.host, "in", "--source", "vif-a", "--session-id", "3", "--direction", "ingress")
	s.addOn(s.host, "out", "--source", "vif-a", "--session-id", "4", "--direction", "egress")
	s.addOn(s.host, "two", "--source", "vif-a,vif-d", "--session-id", "5", "--erspan-version", "2")
	s.addOn(s.h2, "v1", "--source", "iface-id=b", "--session-id", "6")
	s.addOn(s.h2, "v2", "--source", "iface-id=c", "--session-id", "7", "--erspan-version", "2")

	type wire struct{ sent, got *lab.Capture }
	wires := map[string]wire{}
	for _, guest := range []*lab.Node{s.a, s.b, s.c, s.d} {
		sent, got := s.wire(guest, "")
		wires[guest.Name()] = wire{sent, got}
	}
	c := s.capture(s.collector, "eth0", "proto 47")
	s.throughOVN()
	s.fences()
	sent, got := map[string][][]byte{}, map[string][][]byte{}
	s.stop(c)
	for name, w := range wires {
		s.stop(w.sent)
		s.stop(w.got)
		sent[name], got[name] = s.frames(w.sent), s.frames(w.got)
	}
	if len(sent["a"]) < 50 || len(got["a"]) < 40 || len(sent["c"]) < 10 {
		t.Errorf("a sent %d frames and got %d, c sent %d: OVN's network is not what it was", len(sent["a"]), len(got["a"]), len(sent["c"]))
	}
	copies, err := c.Copies(s.ctx, "")
	s.must(err)
	of := func(id, direction string) (frames [][]byte) {
		for _, m := range copies {
			if m.Fields["erspan.spanid"] == id && (direction == "" || m.Fields["erspan.direction"] == direction) {
				frames = append(frames, m.Inner)
			}
		}
		return frames
	}
	both := func(name string) [][]byte { return slices.Concat(sent[name], got[name]) }
	sameFrames(t, "version 1", of("1", ""), both("a"))
	sameFrames(t, "version 2, ingress", of("2", "0"), sent["a"])
	sameFrames(t, "version 2, egress", of("2", "1"), got["a"])
	sameFrames(t, "ingress alone", of("3", ""), sent["a"])
	sameFrames(t, "egress alone", of("4", ""), got["a"])
	sameFrames(t, "two sources, ingress", of("5", "0"), slices.Concat(sent["a"], sent["d"]))
	sameFrames(t, "two sources, egress", of("5", "1"), slices.Concat(got["a"], got["d"]))
	sameFrames(t, "the other host, version 1", of("6", ""), both("b"))
	sameFrames(t, "the other host, version 2, ingress", of("7", "0"), sent["c"])
	sameFrames(t, "the other host, version 2, egress", of("7", "1"), got["c"])
	for origin, ids := range map[string][]string{hostAddr: {"1", "2", "3", "4", "5"}, host2Addr: {"6", "7"}} {
		for _, m := range copies {
			if slices.Contains(ids, m.Fields["erspan.spanid"]) != (m.Fields["ip.src"] == origin) {
				t.Fatalf("a copy of session id %s comes from %s", m.Fields["erspan.spanid"], m.Fields["ip.src"])
			}
		}
	}
}

// TestOVNAllPorts: of a whole br-int, what crosses hosts is copied at the guest's port and at the tunnel's, without geneve's
// header; what leaves through a patch port, to a network outside of OVN, at the guest's port alone.
func TestOVNAllPorts(t *testing.T) {
	t.Parallel()
	s := newOVNScene(t)
	s.addOn(s.host, "all", "--all-ports", "--direction", "both", "--erspan-version", "2")
	for _, test := range []struct {
		to   string
		want map[string]int // by direction and type of ICMP
	}{
		{addrB, map[string]int{"0 type 8": 3, "1 type 8": 3, "0 type 0": 3, "1 type 0": 3}},
		{addrE, map[string]int{"0 type 8": 3, "1 type 0": 3}},
	} {
		sent, got := s.wire(s.a, "icmp")
		c := s.capture(s.collector, "eth0", "proto 47")
		s.ping(s.a, test.to, 3)
		s.fences()
		for _, capture := range []*lab.Capture{sent, got, c} {
			s.stop(capture)
		}
		counts := map[string]int{}
		for _, row := range s.fields(c, "icmp", "erspan.direction", "icmp.type") {
			counts[row[0]+" type "+row[1]]++
		}
		if diff := cmp.Diff(test.want, counts); diff != "" {
			t.Errorf("copies of pings to %s, by direction (-want +got):\n%s", test.to, diff)
		}
		// The frames are the same at both ports: nothing on this way changes them.
		for _, frame := range s.frames(sent) {
			if !slices.ContainsFunc(s.inner(c, "icmp"), func(m []byte) bool { return bytes.Equal(m, frame) }) {
				t.Errorf("%s: no copy of a frame of a's wire: %x", test.to, frame)
			}
		}
	}
}

// TestOVNUnderlay: of the underlay, what geneve carries is copied once each way, and ERSPAN of this host and of another is not.
func TestOVNUnderlay(t *testing.T) {
	t.Parallel()
	s := newOVNScene(t)
	s.addOn(s.host, "guest", "--source", "iface-id=a", "--session-id", "1")
	s.addOn(s.h2, "guest", "--source", "iface-id=b", "--session-id", "2")
	s.ok("session", "add", "underlay", "--bridge", "br-ul", "--source", "to-h2", "--collector", farCollector, "--session-id", "3", "--erspan-version", "2")
	const geneve = "udp port 6081"
	in, err := s.host.Capture(s.ctx, "to-h2", geneve, "-Q", "in")
	s.must(err)
	out, err := s.host.Capture(s.ctx, "to-h2", geneve, "-Q", "out")
	s.must(err)
	gre := s.capture(s.host.Node, "to-h2", "proto 47")
	c := s.capture(s.collector, "eth0", "proto 47")
	s.ping(s.a, addrB, 5)
	s.fences()
	for _, capture := range []*lab.Capture{in, out, gre, c} {
		s.stop(capture)
	}
	if n := len(s.frames(gre)); n != 10 {
		t.Errorf("%d copies of the other host's passed the underlay, want 10", n)
	}
	if n := len(s.frames(in)); n != 5 {
		t.Errorf("%d frames of geneve came in, want 5", n)
	}
	sameFrames(t, "geneve, ingress", s.inner(c, "erspan.spanid == 3 && erspan.direction == 0 && geneve"), s.frames(in))
	sameFrames(t, "geneve, egress", s.inner(c, "erspan.spanid == 3 && erspan.direction == 1 && geneve"), s.frames(out))
	for _, row := range s.fields(c, "erspan.spanid == 3", "gre.proto") {
		if strings.Contains(row[0], ",") {
			t.Errorf("a copy of a copy: %v", row)
		}
	}
}
