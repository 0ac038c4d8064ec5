package flows

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Veth is a pair of devices of ours, in the place of a tap's patch pair where copies are cut on the kernel's datapath
// (docs/adr/0011). The kernel hands Open vSwitch what TSO and GRO make of TCP, super-frames of up to 64 kB, and a
// super-frame that is cut (max_len) is lost whole. A device without segmentation offload has it taken apart first.
type Veth struct {
	Production, Tap string // the names of its ends
}

// VethOf is the pair that a device is the production side of, by its name; ok is false where the name is not one of ours.
func VethOf(device string) (v Veth, ok bool) {
	id, isName := strings.CutPrefix(device, "es-")
	id, isProduction := strings.CutSuffix(id, "-p")
	ok = isName && isProduction && len(id) == 10 && strings.Trim(id, "0123456789abcdef") == "" // see patchNames
	return Veth{Production: device, Tap: strings.TrimSuffix(device, "p") + "t"}, ok
}

// String says it as `plan` shows it.
func (v Veth) String() string {
	return fmt.Sprintf("devices %s and %s (veth, without segmentation offload)", v.Production, v.Tap)
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
	for _, tb := range p.TapBridges {
		for _, t := range slices.Concat(tb.Taps, tb.Retiring) {
			if t.Segmented {
				known[Veth{Production: t.ProductionPort, Tap: t.TapPort}] = true
			}
		}
	}
	for _, b := range state.Bridges {
		for name, port := range b.Ports {
			// Either end will do: somebody may have deleted the other's row.
			if end, isTap := strings.CutSuffix(name, "-t"); isTap {
				name = end + "-p"
			}
			v, named := VethOf(name)
			if named && Ours(port.ExternalIDs) && len(port.Interfaces) == 1 && port.Interfaces[0].Type == "" {
				known[v] = true
			}
		}
	}
	return sorted(slices.Collect(maps.Keys(known)), func(Veth) bool { return true })
}

// ChangeVeths compares the pairs that are there with what the program needs. One that is there but broken (its Tap is empty)
// is made anew.
func ChangeVeths(there []Veth, p Program) VethChanges {
	var wished []Veth
	for _, tb := range p.TapBridges {
		for _, t := range slices.Concat(tb.Taps, tb.Retiring) {
			if t.Segmented {
				wished = append(wished, Veth{Production: t.ProductionPort, Tap: t.TapPort})
			}
		}
	}
	named := func(v Veth) bool {
		return slices.ContainsFunc(wished, func(w Veth) bool { return w.Production == v.Production })
	}
	missing := func(from []Veth) func(Veth) bool {
		return func(v Veth) bool { return !slices.Contains(from, v) }
	}
	return VethChanges{Add: sorted(wished, missing(there)), Delete: sorted(there, func(v Veth) bool { return !named(v) })}
}

func sorted(all []Veth, keep func(Veth) bool) []Veth {
	kept := slices.DeleteFunc(slices.Clone(all), func(v Veth) bool { return !keep(v) })
	slices.SortFunc(kept, func(a, b Veth) int { return cmp.Compare(a.Production, b.Production) })
	return kept
}
