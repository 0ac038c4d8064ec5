//go:build linux

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// TestSourceWithoutDevice: a port whose device is not there mirrors nothing, and its session says so, with Open vSwitch's own
// words, until the device comes: then copies leave, with nobody reconciling. The same when it goes under Open vSwitch.
func TestSourceWithoutDevice(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	_, err := s.host.Vsctl(s.ctx, "--no-wait", "add-port", "br0", "vnet9", "--", "add-bond", "br0", "bond9", "m0", "m1")
	s.must(err)
	_, err = s.host.Vsctl(s.ctx, "--timeout=5", "wait-until", "interface", "vnet9", "ofport=-1", "--", "wait-until", "interface", "m1", "ofport=-1")
	s.must(err)
	const noSuch = "could not open network device vnet9 (No such device)"
	add := func(name string, flags ...string) []string {
		return append([]string{"session", "add", name, "--bridge", "br0", "--collector", collectorAddr}, flags...)
	}
	if said := s.refused(add("one", "--source", "vnet9")...); !strings.Contains(said, noSuch) {
		t.Errorf("refused without Open vSwitch's words: %s", said)
	}
	want := func(name, state, reason, says string) {
		t.Helper()
		s.must(lab.Until(s.ctx, "session "+name+" is "+state, func(context.Context) error {
			got := s.show(name).Status
			if got.State != state || reason != "" && got.Reason != reason || !strings.Contains(got.Message, says) {
				return fmt.Errorf("it is %s, %s: %s", got.State, got.Reason, got.Message)
			}
			return nil
		}))
	}
	for name, sources := range map[string]string{"one": "vnet9", "two": "vnet9,vnet0", "bond": "bond9"} {
		if r := s.oe(add(name, "--allow-missing", "--source", sources)...); r.code != 3 {
			t.Errorf("%s: exit %d, want 3: %s", name, r.code, r.stderr)
		}
	}
	s.ok(add("all", "--all-ports")...)
	want("one", "Pending", "SourceMissing", "vnet9: "+noSuch)
	want("two", "Degraded", "SourceMissing", "vnet9: "+noSuch)
	want("bond", "Pending", "SourceMissing", "network device m1")
	want("all", "Active", "", "left out, for want of a device: bond9: ")

	// An internal port in another network namespace carries packets, and Open vSwitch does not see its MTU.
	guest := s.guest("late")
	_, err = s.host.Vsctl(s.ctx, "add-port", "br0", "inner", "--", "set", "interface", "inner", "type=internal")
	s.must(err)
	_, _, err = s.host.Exec(s.ctx, "ip", "link", "set", "inner", "netns", guest.NetNS())
	s.must(err)
	_, err = s.host.Vsctl(s.ctx, "--timeout=5", "wait-until", "interface", "inner", "mtu=[]")
	s.must(err)
	s.ok(add("inner", "--source", "inner")...)
	want("inner", "Active", "", "")
	s.ok("session", "remove", "inner")

	s.must(lab.Connect(s.ctx, s.host.Node, lab.NodeIf{Dev: "vnet9"}, guest, lab.NodeIf{Dev: "eth0"}, 1500))
	want("one", "Active", "", "")
	want("two", "Active", "", "")
	wire := s.capture(s.collector, "eth0", "proto 47")
	s.must(lab.SendRaw(s.ctx, guest, "eth0", [][]byte{marked("late", 60)}, 0))
	s.waitCount(wire, "erspan", 3) // one, two, all
	s.stop(wire)

	_, _, err = s.host.Exec(s.ctx, "ip", "link", "del", "vnet9")
	s.must(err)
	want("one", "Pending", "SourceMissing", "device vnet9 is gone")
	want("two", "Degraded", "SourceMissing", "device vnet9 is gone")
}
