package ovsdb

import (
	"maps"
	"slices"
	"strings"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// State is what the database holds of bridges, ports and mirrors, as it was at one moment between two transactions. It is
// the caller's to change. It fails only when the connection is lost (ErrDisconnected).
func (d *DB) State() (flows.State, error) {
	s, err := d.snapshot()
	if err != nil {
		return flows.State{}, err
	}
	store, err := d.places()
	if err != nil {
		return flows.State{}, err
	}
	state := flows.State{
		UUID:        s.root.UUID,
		Bridges:     make(map[string]*flows.Bridge, len(s.bridges)),
		OVSVersion:  value(s.root.OVSVersion),
		OtherConfig: clonedMap(s.root.OtherConfig),
		Delivered:   readDelivered(store.keys),
	}
	for _, row := range s.bridges {
		state.Bridges[row.Name] = s.bridge(row)
	}
	return state, nil
}

func (s snapshot) bridge(row *bridgeRow) *flows.Bridge {
	b := &flows.Bridge{
		UUID:         row.UUID,
		Name:         row.Name,
		DatapathType: row.DatapathType,
		FailMode:     value(row.FailMode),
		Protocols:    sorted(row.Protocols),
		ExternalIDs:  clonedMap(withoutStore(row.ExternalIDs)),
		OtherConfig:  clonedMap(row.OtherConfig),
		Ports:        make(map[string]*flows.Port, len(row.Ports)),
		Mirrors:      make(map[string]*flows.Mirror, len(row.Mirrors)),
	}
	for _, uuid := range row.Ports {
		if port := s.ports[uuid]; port != nil {
			b.Ports[port.Name] = s.port(port)
			if i := s.localInterface(row.Name, port); i != nil {
				b.MTURequest = value(i.MTURequest)
			}
		}
	}
	for _, uuid := range row.Mirrors {
		if mirror := s.mirrors[uuid]; mirror != nil {
			b.Mirrors[uuid] = s.mirror(mirror)
		}
	}
	return b
}

// localInterface is the interface of a port where that is the bridge's local port, else nil.
func (s snapshot) localInterface(bridge string, port *portRow) *interfaceRow {
	if port.Name != bridge || len(port.Interfaces) != 1 {
		return nil
	}
	return s.interfaces[port.Interfaces[0]]
}

// withoutStore leaves out the copy of the store that our tap bridges have: planning sees none of it.
func withoutStore(externalIDs map[string]string) map[string]string {
	rest := maps.Clone(externalIDs)
	maps.DeleteFunc(rest, func(key, _ string) bool { return isStoreKey(key) })
	return rest
}

func (s snapshot) port(row *portRow) *flows.Port {
	p := &flows.Port{
		UUID:        row.UUID,
		Name:        row.Name,
		Tag:         copied(row.Tag),
		Trunks:      sorted(row.Trunks),
		VLANMode:    value(row.VLANMode),
		ExternalIDs: clonedMap(row.ExternalIDs),
		OtherConfig: clonedMap(row.OtherConfig),
	}
	for _, uuid := range row.Interfaces {
		i := s.interfaces[uuid]
		if i == nil {
			continue
		}
		p.Interfaces = append(p.Interfaces, &flows.Interface{
			UUID:          i.UUID,
			Name:          i.Name,
			Type:          i.Type,
			Options:       clonedMap(i.Options),
			ExternalIDs:   clonedMap(i.ExternalIDs),
			OFPort:        value(i.OFPort),
			OFPortRequest: value(i.OFPortRequest),
			MTU:           value(i.MTU),
			Error:         value(i.Error),
		})
	}
	slices.SortFunc(p.Interfaces, func(a, b *flows.Interface) int { return strings.Compare(a.Name, b.Name) })
	return p
}

func (s snapshot) mirror(row *mirrorRow) *flows.Mirror {
	m := &flows.Mirror{
		UUID:          row.UUID,
		Name:          row.Name,
		SelectAll:     row.SelectAll,
		SelectSrcPort: s.portNames(row.SelectSrcPort),
		SelectDstPort: s.portNames(row.SelectDstPort),
		SelectVLAN:    sorted(row.SelectVLAN),
		OutputVLAN:    copied(row.OutputVLAN),
		Snaplen:       copied(row.Snaplen),
		ExternalIDs:   clonedMap(row.ExternalIDs),
	}
	if row.OutputPort != nil {
		if port := s.ports[*row.OutputPort]; port != nil {
			m.OutputPort = port.Name
		}
	}
	return m
}

func (s snapshot) portNames(uuids []string) []string {
	var names []string
	for _, uuid := range uuids {
		if port := s.ports[uuid]; port != nil {
			names = append(names, port.Name)
		}
	}
	slices.Sort(names)
	return names
}

// clonedMap is a copy that the cache does not share, nil for an empty one: the cache has either, as the row's past was.
func clonedMap(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return maps.Clone(m)
}

// copied is a copy that the cache does not share.
func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}
