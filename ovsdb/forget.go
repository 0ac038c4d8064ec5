package ovsdb

import (
	"context"
	"fmt"
	"strings"

	lib "github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// Forget removes the store and every copy of it, the generations and statuses included, in one transaction. It is for an
// uninstall, when no session is left; ErrConflict says that one was added meanwhile.
func (d *DB) Forget(ctx context.Context) error {
	p, err := d.places()
	if err != nil {
		return err
	}
	for key := range p.keys {
		if name, is := strings.CutPrefix(key, sessionPrefix); is {
			return fmt.Errorf("session store: session %q is there: %w", name, ErrConflict)
		}
	}
	var old map[string]string
	if p.row != nil {
		old = map[string]string{}
		if g, ok := p.row.ExternalIDs[generationKey]; ok {
			old[generationKey] = g
		}
	}
	t := p.write(nil, old)
	if p.row != nil {
		t.add("forget", lib.Operation{Op: lib.OperationDelete, Table: tableQueue, Where: []lib.Condition{is(lib.UUID{GoUUID: p.row.UUID})}})
	}
	if len(t.operations) == 0 {
		return nil
	}
	t.comment("uninstall")
	if _, err := d.commit(ctx, t); err != nil {
		return fmt.Errorf("session store: %w", err)
	}
	return nil
}
