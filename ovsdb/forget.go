package ovsdb

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	lib "github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// storePrefix begins every key of the store in Open_vSwitch.external_ids.
const storePrefix = "ovs-erspan."

// Forget removes every key of the store, the generations and statuses included, in one transaction. It is for an
// uninstall, when no session is left; ErrConflict says that one was added meanwhile.
func (d *DB) Forget(ctx context.Context) error {
	root, err := d.root()
	if err != nil {
		return err
	}
	var keys []any
	for _, key := range slices.Sorted(maps.Keys(root.ExternalIDs)) {
		if strings.HasPrefix(key, sessionPrefix) {
			return fmt.Errorf("session store: session %q is there: %w", strings.TrimPrefix(key, sessionPrefix), ErrConflict)
		}
		if strings.HasPrefix(key, storePrefix) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	row := is(lib.UUID{GoUUID: root.UUID})
	t := &transaction{}
	if g, ok := root.ExternalIDs[generationKey]; ok {
		t.wait("that nobody writes", tableOpenVSwitch, "_uuid", lib.UUID{GoUUID: root.UUID}, row,
			lib.NewCondition("external_ids", lib.ConditionIncludes, mapping(map[string]string{generationKey: g})))
	}
	t.add("forget", lib.Operation{Op: lib.OperationMutate, Table: tableOpenVSwitch, Where: []lib.Condition{row},
		Mutations: []lib.Mutation{*lib.NewMutation("external_ids", lib.MutateOperationDelete, lib.OvsSet{GoSet: keys})}})
	t.comment("uninstall")
	if _, err := d.commit(ctx, t); err != nil {
		return fmt.Errorf("session store: %w", err)
	}
	return nil
}
