package flows

import (
	"maps"
	"slices"
	"strings"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// ResolveSources is the ports of b that the session mirrors, sorted by name and each once, and the sources, as they are
// written in the session, that give no port: not there, an iface-id that several ports have, or a port that cannot be a
// source (see [UnfitSource] for why). A bond is taken by the name of its Port. With sources.all it is every port that
// can be a source, b's local port included, and nothing is missing.
//
// Ports in exclude are never a source: those that destination sessions deliver to, since what they deliver would be
// mirrored back. A nil bridge has no ports.
func ResolveSources(s session.Session, b *Bridge, exclude ...string) (found []*Port, missing []string) {
	if s.Sources.All {
		return fitSources(b, exclude), nil
	}
	for _, source := range s.Sources.Ports {
		candidates := namedBy(source, b)
		if len(candidates) != 1 || UnfitSource(candidates[0], b, exclude...) != "" {
			missing = append(missing, source)
			continue
		}
		found = append(found, candidates[0])
	}
	slices.SortFunc(found, func(a, b *Port) int { return strings.Compare(a.Name, b.Name) })
	return slices.Compact(found), missing
}

func fitSources(b *Bridge, exclude []string) []*Port {
	if b == nil {
		return nil
	}
	var fit []*Port
	for _, name := range slices.Sorted(maps.Keys(b.Ports)) {
		if p := b.Ports[name]; UnfitSource(p, b, exclude...) == "" {
			fit = append(fit, p)
		}
	}
	return fit
}

// namedBy is the ports of b that a source means: none, one, or, for an iface-id, several.
func namedBy(source string, b *Bridge) []*Port {
	if b == nil {
		return nil
	}
	id, isID := session.IfaceID(source)
	if !isID {
		if p := b.Ports[source]; p != nil {
			return []*Port{p}
		}
		return nil
	}
	var ports []*Port
	for _, name := range slices.Sorted(maps.Keys(b.Ports)) {
		if slices.ContainsFunc(b.Ports[name].Interfaces, func(i *Interface) bool { return id != "" && i.ExternalIDs["iface-id"] == id }) {
			ports = append(ports, b.Ports[name])
		}
	}
	return ports
}

// UnfitSource is why a port of b cannot be mirrored, or "". Tunnel ports, internal ports and bonds can.
func UnfitSource(p *Port, b *Bridge, exclude ...string) string {
	switch {
	case Ours(p.ExternalIDs):
		return "is a port of this program's own"
	case isPatch(p):
		// OVS mirrors at real devices; a patch port only joins two bridges.
		return "is a patch port, from which Open vSwitch copies nothing"
	case slices.Contains(exclude, p.Name):
		return "is where a destination session delivers, which would be mirrored again"
	}
	var mirrors []string // that have it as their output
	for uuid, m := range b.Mirrors {
		if m.OutputPort == p.Name {
			mirrors = append(mirrors, uuid)
		}
	}
	if len(mirrors) == 0 {
		return ""
	}
	return "is the output of mirror " + b.Mirrors[slices.Min(mirrors)].Name + ", and carries nothing but its copies"
}

func isPatch(p *Port) bool {
	return slices.ContainsFunc(p.Interfaces, func(i *Interface) bool { return i.Type == "patch" })
}
