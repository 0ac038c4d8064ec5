package flows

import (
	"slices"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// TestNoCopyIsLast: on the kernel's datapath what a tap hands out ends with letGo, so that no copy is the packet itself with
// its sender's socket (docs/adr/0014); in userspace, where packets belong to no socket, it costs nothing.
func TestNoCopyIsLast(t *testing.T) {
	tap := &Tap{Bridge: "br0", Ports: []string{"vnet1"}, Direction: session.Egress, Strip: 10, OFPort: 2, Slots: []uint32{1, 2}}
	into := func(slot uint32) Action { return cloneInto(TableEncapsulate, slot) }
	for datapath, want := range map[string]bool{"system": true, "netdev": false} {
		handed := 0
		for _, f := range tap.flows(datapath, into) {
			if f.Table != TableGuard {
				continue
			}
			handed++
			last := f.Actions[len(f.Actions)-1]
			if (last == letGo) != want || slices.Contains(f.Actions[:len(f.Actions)-1], letGo) {
				t.Errorf("%s: %v", datapath, f.Actions)
			}
		}
		if handed != 2 {
			t.Errorf("%s: %d flows hand copies out, want 2", datapath, handed)
		}
	}
}
