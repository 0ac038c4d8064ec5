//go:build linux

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// The keys of taps as releases before have left them of session "one" on vnet0.
const (
	keyOfBoth    = "br0|vnet0|[]|both|0"              // one Mirror for both directions
	keyOfDevices = "br0|vnet0|[]|ingress|0|segmented" // devices in the place of the patch pair
)

// asBefore makes of session "one", with slot 1, what such a release has left: one Mirror, one pair of ports and its flows.
func (s *scene) asBefore(key string) (mirror string) {
	s.t.Helper()
	ip := func(args ...string) {
		_, _, err := s.host.Exec(s.ctx, append([]string{"ip"}, args...)...)
		s.must(err)
	}
	sum := sha256.Sum256([]byte(key))
	id := hex.EncodeToString(sum[:5])
	production, tap, mirror := "es-"+id+"-p", "es-"+id+"-t", "ovs-erspan-"+id
	args := []string{"clear", "bridge", "br0", "mirrors"}
	for _, bridge := range []string{"br0", tapBridge} {
		ports, err := s.host.Vsctl(s.ctx, "list-ports", bridge)
		s.must(err)
		for _, port := range strings.Fields(ports) {
			if strings.HasSuffix(port, "-q") {
				defer ip("link", "del", port)
			}
			if strings.Contains("-p-t-q-s", port[max(0, len(port)-2):]) {
				args = append(args, "--", "del-port", bridge, port)
			}
		}
	}
	pair := func(bridge, name, peer string) {
		args = append(args, "--", "add-port", bridge, name, "--", "set", "interface", name, "external_ids:ovs-erspan=tap")
		if key != keyOfDevices {
			args = append(args, "type=patch", "options:peer="+peer)
		}
		args = append(args, "--", "set", "port", name, "external_ids:ovs-erspan=tap", `external_ids:ovs-erspan-tap="`+key+`"`)
	}
	if key == keyOfDevices {
		ip("link", "add", production, "up", "type", "veth", "peer", "name", tap)
		ip("link", "set", tap, "up")
	}
	pair("br0", production, tap)
	args = append(args, "trunks=4095", "other_config:rstp-enable=false", "other_config:stp-enable=false", "other_config:priority-tags=always")
	pair(tapBridge, tap, production)
	selectDst := "select_dst_port=@in"
	if key == keyOfDevices {
		selectDst = "select_dst_port=[]"
	}
	args = append(args, "--", "set", "interface", tap, "ofport_request=9",
		"--", "--id=@in", "get", "port", "vnet0", "--", "--id=@out", "get", "port", production,
		"--", "--id=@m", "create", "mirror", "name="+mirror, "select_src_port=@in", selectDst, "output_port=@out",
		"external_ids:ovs-erspan=tap", `external_ids:ovs-erspan-tap="`+key+`"`, "--", "add", "bridge", "br0", "mirrors", "@m")
	s.vsctl(args...)
	letGo := ""
	if lab.Datapath() == lab.Kernel {
		letGo = ",clone(output(port=LOCAL,max_len=14))"
	}
	s.ofctl("-O", "OpenFlow15", "del-flows", tapBridge, "cookie=0xe25a000100000000/0xffffffff00000000")
	s.ofctl("-O", "OpenFlow15", "del-flows", tapBridge, "cookie=0xe25a000300000000/0xffffffff00000000")
	s.ofctl("-O", "OpenFlow15", "add-flow", tapBridge, "cookie=0xe25a000100000009,table=0,priority=100,in_port=9,actions=goto_table:5")
	s.ofctl("-O", "OpenFlow15", "add-flow", tapBridge, "cookie=0xe25a000300000009,table=5,priority=100,in_port=9,actions=clone(set_field:0x1->reg0,resubmit(,30))"+letGo)
	s.must(s.host.WaitFlows(s.ctx))
	return mirror
}

// TestTwoMirrorsTakeOver: a host that comes from a release with one Mirror for both directions gets two in its place while
// traffic runs, each packet with its copy, also where the bridge has place for one more Mirror only.
func TestTwoMirrorsTakeOver(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.ping(s.a, addrB, 1)
	s.add("one", "--source", "vnet0", "--session-id", "1")
	s.takeOver(keyOfBoth, 2)
}

// TestDevicesTakeOver: the same for one whose devices were in the place of the patch pair.
func TestDevicesTakeOver(t *testing.T) {
	t.Parallel()
	onKernel(t)
	s := newScene(t)
	s.ping(s.a, addrB, 1)
	s.add("one", "--source", "vnet0", "--session-id", "1", "--direction", "ingress", "--snaplen", "100")
	s.takeOver(keyOfDevices, 1)
	out, _, err := s.host.Exec(s.ctx, "ip", "-o", "link", "show", "type", "veth")
	s.must(err)
	if strings.Count(out, ": es-") != 2 || strings.Contains(out, "-p@") {
		t.Errorf("devices, want one pair, not the former:\n%s", out)
	}
}

// takeOver changes over while traffic runs from what a release before has left, to as many Mirrors.
func (s *scene) takeOver(key string, wanted int) {
	s.t.Helper()
	t := s.t
	was := s.asBefore(key)
	args := []string{"add-port", "br0", "out", "--", "set", "interface", "out", "type=internal", "--", "--id=@o", "get", "port", "out"}
	for n := range 30 {
		args = append(args, "--", fmt.Sprintf("--id=@m%d", n), "create", "mirror", fmt.Sprintf("name=theirs%d", n), "output_port=@o", "--", "add", "bridge", "br0", "mirrors", fmt.Sprintf("@m%d", n))
	}
	s.vsctl(args...)

	const size, pps = 200, 1000
	count := 8000 // longer than the change takes on a slow machine
	if lab.Datapath() == lab.Kernel {
		count = 3000 // which the emulated one sends no quicker than it changes
	}
	c := s.capture(s.collector, "eth0", "proto 47")
	type outcome struct {
		lab.BurstResult
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		r, err := lab.UDPBurst(s.ctx, s.a, s.b, lab.Burst{Dst: netip.MustParseAddr(addrB), Count: count, Size: size, PPS: pps})
		done <- outcome{r, err}
	}()
	s.waitCount(c, "udp", 100) // the old Mirror copies
	s.ok("run", "--once")
	select {
	case <-done:
		t.Fatal("the burst ended before the change: nothing is proved")
	default:
	}
	r := <-done
	s.must(r.err)
	s.whole(r.BurstResult, count)
	s.fence()
	s.stop(c)
	copies := map[string]int{}
	for _, row := range s.fields(c, "udp", "udp.payload") {
		copies[row[0]]++
	}
	if len(copies) != count {
		t.Errorf("%d of %d datagrams were copied", len(copies), count)
	}
	doubled := 0
	for _, n := range copies {
		if n > 1 {
			doubled++
		}
	}
	t.Logf("%d datagrams were copied twice", doubled)
	mirrors, err := s.host.Vsctl(s.ctx, "--bare", "--columns=name", "find", "mirror", "external_ids:ovs-erspan=tap")
	s.must(err)
	if strings.Contains(mirrors, was) || len(strings.Fields(mirrors)) != wanted {
		t.Errorf("mirrors of ours: %s", mirrors)
	}
	s.nothingToDo()
	if state, reason := s.state("one"); state != "Active" {
		t.Errorf("%s, %s", state, reason)
	}
}
