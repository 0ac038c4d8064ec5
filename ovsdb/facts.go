package ovsdb

import (
	"context"
	"fmt"

	lib "github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// Facts are columns that planning does not need and that are therefore not watched (vswitchd.conf.db(5)).
type Facts struct {
	IfaceTypes []string              // Open_vSwitch.iface_types, sorted as the database has them
	Bridges    map[string]BridgeFact // by name
	Bonds      map[string]BondFact   // by port, those with more than one interface
}

// BridgeFact is what a bridge exports of its traffic, and how many OpenFlow controllers it has.
type BridgeFact struct {
	NetFlow, SFlow, IPFIX bool
	Controllers           int
}

// BondFact is how a bond shares its traffic: bond_mode and lacp.
type BondFact struct{ Mode, LACP string }

// Facts reads them once.
func (d *DB) Facts(ctx context.Context) (Facts, error) {
	f := Facts{Bridges: map[string]BridgeFact{}, Bonds: map[string]BondFact{}}
	t := &transaction{}
	sel := func(table string, columns ...string) int {
		return t.add("read table "+table, lib.Operation{Op: lib.OperationSelect, Table: table, Where: []lib.Condition{}, Columns: columns})
	}
	root := sel(tableOpenVSwitch, "iface_types")
	bridges := sel(tableBridge, "name", "netflow", "sflow", "ipfix", "controller")
	ports := sel(tablePort, "name", "interfaces", "bond_mode", "lacp")
	results, err := d.commit(ctx, t)
	if err != nil {
		return f, fmt.Errorf("read facts: %w", err)
	}
	for _, row := range results[root].Rows {
		for _, v := range elements(row["iface_types"]) {
			if text, ok := v.(string); ok {
				f.IfaceTypes = append(f.IfaceTypes, text)
			}
		}
	}
	has := func(row lib.Row, column string) bool { return len(elements(row[column])) > 0 }
	for _, row := range results[bridges].Rows {
		if name, ok := row["name"].(string); ok {
			f.Bridges[name] = BridgeFact{NetFlow: has(row, "netflow"), SFlow: has(row, "sflow"), IPFIX: has(row, "ipfix"), Controllers: len(elements(row["controller"]))}
		}
	}
	for _, row := range results[ports].Rows {
		name, ok := row["name"].(string)
		if !ok || len(elements(row["interfaces"])) < 2 {
			continue
		}
		f.Bonds[name] = BondFact{Mode: first(row["bond_mode"]), LACP: first(row["lacp"])}
	}
	return f, nil
}

// elements are a column's values: of a set, or the one value that stands for a set of one (RFC 7047, section 5.1).
func elements(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case lib.OvsSet:
		return v.GoSet
	}
	return []any{v}
}

func first(v any) string {
	for _, e := range elements(v) {
		if text, ok := e.(string); ok {
			return text
		}
	}
	return ""
}
