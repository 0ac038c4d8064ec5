//go:build linux

package lab

import (
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AttachBPF lets a program (its descriptor, of type BPF_PROG_TYPE_SCHED_CLS) see each packet that a device of the node
// receives, or with egress sends (tc-bpf(8), clsact, direct action). It stays until the device goes.
func (n *Node) AttachBPF(dev string, egress bool, fd int) error {
	return n.Do(func() error {
		fail := func(err error) error { return fmt.Errorf("attach a BPF program to device %q: %w", dev, err) }
		link, err := netlink.LinkByName(dev)
		if err != nil {
			return fail(err)
		}
		err = netlink.QdiscReplace(&netlink.GenericQdisc{
			QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
			QdiscType:  "clsact",
		})
		if err != nil {
			return fail(err)
		}
		parent := uint32(netlink.HANDLE_MIN_INGRESS)
		if egress {
			parent = netlink.HANDLE_MIN_EGRESS
		}
		err = netlink.FilterReplace(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: link.Attrs().Index, Parent: parent, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
			Fd:          fd, Name: "lab", DirectAction: true,
		})
		if err != nil {
			return fail(err)
		}
		return nil
	})
}
