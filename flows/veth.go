package flows

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Veth is a pair of devices of ours that a tap's copies pass where they are cut on the kernel's datapath (docs/adr/0011).
// The kernel hands Open vSwitch what TSO and GRO make of TCP, super-frames of up to 64 kB, and a super-frame that is cut
// (max_len) is lost whole. A device without segmentation offload has it taken apart first. Both are ports of the tap bridge.
type Veth struct {
	In, Out string // the names of its ends: copies go in at the one, and come out of the other
}

// vethEnds are how the names of a pair's ends end. Earlier releases had the pair in the place of the patch pair, with its names.
var vethEnds = [][2]string{{"-q", "-s"}, {"-p", "-t"}}

// VethOf is the pair that a device is an end of, by its name; ok is false where the name is not one of ours.
func VethOf(device string) (v Veth, ok bool) {
	for _, ends := range vethEnds {
		for _, end := range ends {
			id, isEnd := strings.CutSuffix(device, end)
			hash, isName := strings.CutPrefix(id, "es-")
			if isEnd && isName && len(hash) == 10 && strings.Trim(hash, "0123456789abcdef") == "" { // see portID
				return Veth{In: id + ends[0], Out: id + ends[1]}, true
			}
		}
	}
	return Veth{}, false
}

// deviceNames are the names of a segmented tap's pair.
func deviceNames(key string) Veth {
	id := "es-" + portID(key)
	return Veth{In: id + vethEnds[0][0], Out: id + vethEnds[0][1]}
}

// String says it as `plan` shows it.
func (v Veth) String() string {
	return fmt.Sprintf("devices %s and %s (veth, without segmentation offload)", v.In, v.Out)
}

// VethChanges are pairs that have to come, before there are rows for them, and that have to go, after the rows are gone.
type VethChanges struct{ Add, Delete []Veth }

// Empty tells that every pair is as planned.
func (c VethChanges) Empty() bool { return len(c.Add)+len(c.Delete) == 0 }

// KnownVeths are the pairs that the program needs, and those that our ports in OVSDB name: by these, and not by what devices
// the host has, so that nothing of another Open vSwitch on this host is meant, and a host of thousands of devices need not
// be asked for them all.
func KnownVeths(state State, p Program) []Veth {
	known := map[Veth]bool{}
	for _, v := range p.veths() {
		known[v] = true
	}
	for _, b := range state.Bridges {
		for name, port := range b.Ports {
			// Either end will do: somebody may have deleted the other's row.
			v, named := VethOf(name)
			if named && Ours(port.ExternalIDs) && len(port.Interfaces) == 1 && port.Interfaces[0].Type == "" {
				known[v] = true
			}
		}
	}
	return sorted(slices.Collect(maps.Keys(known)), func(Veth) bool { return true })
}

// veths are the pairs that the program needs.
func (p Program) veths() (needed []Veth) {
	for _, tb := range p.TapBridges {
		for _, t := range tb.Taps {
			if t.Segmented {
				needed = append(needed, t.Devices)
			}
		}
	}
	return needed
}

// ChangeVeths compares the pairs that are there with what the program needs. One that is there but broken (its Out is empty)
// is made anew. That of a retiring tap stays until running flows have followed its successor.
func ChangeVeths(there []Veth, p Program) VethChanges {
	wished := p.veths()
	named := func(v Veth) bool {
		return slices.ContainsFunc(wished, func(w Veth) bool { return w.In == v.In })
	}
	missing := func(from []Veth) func(Veth) bool {
		return func(v Veth) bool { return !slices.Contains(from, v) }
	}
	retires := func(v Veth) bool {
		return slices.ContainsFunc(p.TapBridges, func(tb *TapBridge) bool {
			return slices.ContainsFunc(tb.Retiring, func(t *Tap) bool { return t.ProductionPort == v.In })
		})
	}
	return VethChanges{Add: sorted(wished, missing(there)), Delete: sorted(there, func(v Veth) bool { return !named(v) && !retires(v) })}
}

func sorted(all []Veth, keep func(Veth) bool) []Veth {
	kept := slices.DeleteFunc(slices.Clone(all), func(v Veth) bool { return !keep(v) })
	slices.SortFunc(kept, func(a, b Veth) int { return cmp.Compare(a.In, b.In) })
	return kept
}
