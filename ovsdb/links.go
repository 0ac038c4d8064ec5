package ovsdb

import (
	"context"
	"slices"

	lib "github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// Links are the states of these interfaces, by name, as ovs-vswitchd has noted them. They are asked for, not monitored: they
// change with each guest that comes or goes.
func (d *DB) Links(ctx context.Context, interfaces []string) (map[string]flows.Link, error) {
	t := &transaction{}
	for _, name := range interfaces {
		t.operations = append(t.operations, lib.Operation{
			Op: lib.OperationSelect, Table: tableInterface, Columns: []string{"admin_state", "link_state"},
			Where: []lib.Condition{lib.NewCondition("name", lib.ConditionEqual, name)},
		})
		t.about = append(t.about, "interface "+name)
	}
	if len(t.operations) == 0 {
		return nil, nil
	}
	results, err := d.commit(ctx, t)
	if err != nil {
		return nil, err
	}
	links := map[string]flows.Link{}
	for i, result := range results[:len(interfaces)] {
		if len(result.Rows) == 1 {
			links[interfaces[i]] = flows.Link{Admin: word(result.Rows[0]["admin_state"]), State: word(result.Rows[0]["link_state"])}
		}
	}
	return links, nil
}

// word is the value of an optional column of text: a string, or an empty set.
func word(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case lib.OvsSet:
		if i := slices.IndexFunc(v.GoSet, func(e any) bool { _, ok := e.(string); return ok }); i >= 0 {
			return v.GoSet[i].(string)
		}
	}
	return ""
}
