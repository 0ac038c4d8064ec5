package underlay

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// What the userspace datapath reads from a device it reads through a packet socket, and the host's own stack goes on with
// the frame: it answers ARP, its sockets get broadcasts, it takes router advertisements. A chain of nftables at the device's
// ingress, which comes after packet sockets and has nothing but the policy drop, ends that. It changes nothing of the device,
// and what others have there, before it, stays.

// isolation is a table of ours: of one Open vSwitch, because a host may have several.
type isolation struct{ table *nftables.Table }

func isolationOf(openVSwitch string) isolation {
	return isolation{&nftables.Table{Family: nftables.TableFamilyNetdev, Name: fmt.Sprintf("ovs-erspan-%.8s", openVSwitch)}}
}

// chainOf names the chain of a device by its number: another device of the same name is another.
func chainOf(index int) string { return fmt.Sprintf("ifindex-%d", index) }

// isolationChanges is what has to come and to go.
type isolationChanges struct {
	add    map[string]string // device by chain
	remove []string          // chains
	none   bool              // the table as a whole goes
}

// compare finds the changes from the chains that are there, and whether they drop, to the devices, which have numbers.
func compareIsolation(table bool, there map[string]bool, devices map[string]int) isolationChanges {
	c := isolationChanges{add: map[string]string{}, none: table && len(devices) == 0}
	wished := map[string]bool{}
	for device, index := range devices {
		wished[chainOf(index)] = true
		if !there[chainOf(index)] {
			c.add[chainOf(index)] = device
		}
	}
	for chain, drops := range there {
		if !wished[chain] || !drops {
			c.remove = append(c.remove, chain)
		}
	}
	slices.Sort(c.remove)
	return c
}

func (c isolationChanges) empty() bool { return len(c.add)+len(c.remove) == 0 && !c.none }

// changes looks at what is there. A device that is not there needs nothing.
func (i isolation) changes(conn *nftables.Conn, devices []string) (c isolationChanges, err error) {
	indices := map[string]int{}
	handle, err := newHandle()
	if err != nil {
		return c, fmt.Errorf("netlink: %w", err)
	}
	defer handle.Close()
	for _, name := range devices {
		l, err := linkOf(handle, name)
		if err != nil {
			return c, fmt.Errorf("device %s: %w", name, err)
		}
		if l != nil {
			indices[name] = l.Attrs().Index
		}
	}
	tables, err := conn.ListTablesOfFamily(i.table.Family)
	if err != nil {
		return c, fmt.Errorf("list nftables' tables: %w", err)
	}
	there := map[string]bool{}
	ours := slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == i.table.Name })
	if ours {
		chains, err := conn.ListChainsOfTableFamily(i.table.Family)
		if err != nil {
			return c, fmt.Errorf("list nftables' chains: %w", err)
		}
		for _, chain := range chains {
			if chain.Table.Name == i.table.Name {
				there[chain.Name] = chain.Policy != nil && *chain.Policy == nftables.ChainPolicyDrop
			}
		}
	}
	return compareIsolation(ours, there, indices), nil
}

// Isolation is what has to change, for people, until the host's own stack gets nothing of what arrives at the devices, and
// all of what arrives elsewhere; it changes nothing.
func Isolation(openVSwitch string, devices []string) (changes []string, err error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	i := isolationOf(openVSwitch)
	c, err := i.changes(conn, devices)
	if err != nil {
		return nil, err
	}
	for _, device := range c.add {
		changes = append(changes, fmt.Sprintf("+ table netdev %s: the host's own stack gets nothing of what arrives at device %s", i.table.Name, device))
	}
	for _, chain := range c.remove {
		changes = append(changes, fmt.Sprintf("- table netdev %s: chain %s", i.table.Name, chain))
	}
	if c.none && len(c.remove) == 0 {
		changes = append(changes, fmt.Sprintf("- table netdev %s", i.table.Name))
	}
	slices.Sort(changes)
	return changes, nil
}

// Isolate makes it so, in one transaction, and says how much changed.
func Isolate(openVSwitch string, devices []string) (changed int, err error) {
	conn, err := nftables.New()
	if err != nil {
		return 0, fmt.Errorf("nftables: %w", err)
	}
	i := isolationOf(openVSwitch)
	c, err := i.changes(conn, devices)
	if err != nil || c.empty() {
		return 0, err
	}
	if c.none {
		conn.DelTable(i.table)
		c.remove, changed = nil, 1
	} else {
		conn.AddTable(i.table)
	}
	for _, chain := range c.remove {
		conn.DelChain(&nftables.Chain{Table: i.table, Name: chain})
	}
	policy, hook := nftables.ChainPolicyDrop, *nftables.ChainHookIngress
	for chain, device := range c.add {
		conn.AddChain(&nftables.Chain{Table: i.table, Name: chain, Type: nftables.ChainTypeFilter, Hooknum: &hook,
			Priority: nftables.ChainPriorityRef(lastPriority), Policy: &policy, Device: device})
	}
	if err := conn.Flush(); err != nil {
		return 0, fmt.Errorf("nftables, table netdev %s: %w%s", i.table.Name, err, unsupported(err))
	}
	return changed + len(c.remove) + len(c.add), nil
}

// lastPriority has our chain come after those of others, which see each frame as ever.
const lastPriority nftables.ChainPriority = 1 << 30

func unsupported(err error) string {
	if errors.Is(err, unix.EOPNOTSUPP) || strings.Contains(err.Error(), unix.EOPNOTSUPP.Error()) {
		return " (a kernel without the family netdev, CONFIG_NF_TABLES_NETDEV)"
	}
	return ""
}
