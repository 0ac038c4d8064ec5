//go:build linux

package e2e

import (
	"testing"
)

func TestVersion1OnTheWire(t *testing.T) {
	s := newScene(t)
	t.Log(s.ok("session", "add", "web", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr, "--session-id", "100", "--index", "10", "-v"))
	c := s.capture(s.collector, "eth0", "proto 47")
	s.ping(s.a, addrB, 5)
	s.waitCount(c, "erspan", 10)
	s.stop(c)
	for _, r := range s.fields(c, "erspan", "gre.proto", "gre.flags.sequence_number", "erspan.version", "erspan.spanid", "erspan.direction", "frame.len", "ip.src") {
		t.Log(r)
	}
	t.Log(s.ok("session", "show", "web"))
	t.Log(s.ok("session", "list"))
	t.Log(s.ok("session", "remove", "web"))
	t.Log(s.host.Vsctl(s.ctx, "show"))
}
