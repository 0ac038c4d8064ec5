package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// largeMTU is where a port begins to cost: ovs-vswitchd has 32 buffers of the MTU ready each time that it looks at the port,
// and from 128 kB on glibc gives them back to the kernel each time (docs/cost.md).
const largeMTU = 4000

// keepMemory is how ovs-vswitchd is to be started so that glibc does not.
const keepMemory = "GLIBC_TUNABLES=glibc.malloc.trim_threshold=67108864:glibc.malloc.mmap_threshold=67108864"

// checkLargeMTU looks for ports of the kernel's devices with a large MTU on bridges of the userspace datapath, anybody's: each
// makes every packet of this ovs-vswitchd dearer, also while nothing passes it. DPDK's own ports have their buffers for good.
func checkLargeMTU(s *Snapshot) []Result {
	var large []string
	userspace := false
	for _, bridge := range slices.Sorted(maps.Keys(s.State.Bridges)) {
		b := s.State.Bridges[bridge]
		if b.NormalDatapathType() != "netdev" {
			continue
		}
		userspace = true
		for _, port := range slices.Sorted(maps.Keys(b.Ports)) {
			for _, i := range b.Ports[port].Interfaces {
				if (i.Type == "" || i.Type == "system") && i.MTU >= largeMTU {
					large = append(large, fmt.Sprintf("%s of %s (%d)", i.Name, bridge, i.MTU))
				}
			}
		}
	}
	const few = 4
	saw := strings.Join(large, ", ")
	if len(large) > few {
		saw = fmt.Sprintf("%s and %d more", strings.Join(large[:few], ", "), len(large)-few)
	}
	switch {
	case !userspace:
		return nil
	case len(large) == 0:
		return []Result{ok(fmt.Sprintf("no device of the kernel that is a port of the userspace datapath has an MTU of %d or more", largeMTU))}
	case s.KeepsMemory:
		return []Result{ok("ports with a large MTU: " + saw + "; ovs-vswitchd was started with GLIBC_TUNABLES, so that they cost less")}
	}
	return []Result{warning(fmt.Sprintf("%s: each packet of this ovs-vswitchd costs 1.2 (MTU 4000) to 1.7 times (9000) the CPU for it, also while the port is idle", saw),
		"lower the MTU of ports that need no large frames, or start ovs-vswitchd with "+keepMemory)}
}

// checkHostStack tells where the host's own stack also gets what arrives at a device that a session attached.
func checkHostStack(s *Snapshot) []Result {
	switch {
	case s.IsolationError != "" && len(s.destinations()) > 0:
		return []Result{skipped("nftables cannot be asked: " + s.IsolationError)}
	case len(s.Isolation) > 0:
		return []Result{warning(strings.Join(s.Isolation, "; ")+": until then the host's own stack answers what arrives at an attached device, such as ARP requests, or is kept from a device that is attached no more",
			"'ovs-erspan run --once' does it, and says why where it cannot: it needs CAP_NET_ADMIN and a kernel with nftables' family netdev")}
	case len(s.destinations()) == 0:
		return nil
	}
	return []Result{ok("it gets nothing of what the userspace datapath reads there")}
}
