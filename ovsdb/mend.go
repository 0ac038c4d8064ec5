package ovsdb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// restoredKey tells of the last accident of the store (a session.Restored), until the wish is changed.
const restoredKey = "ovs-erspan.restored"

// Mend makes the store whole: where its row was deleted, it is made anew from the copy in a tap bridge, or from what this
// connection remembers; keys of ours in Open_vSwitch.external_ids, of a version before or written by hand, are taken over.
// It is for who reconciles, before the wish is read. It returns what was lost and restored, nil for nothing.
func (d *DB) Mend(ctx context.Context, now time.Time) (*session.Restored, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	for {
		p, err := d.places()
		if err != nil {
			return nil, err
		}
		t, restored, err := p.mend(now)
		if t == nil || err != nil {
			return nil, err
		}
		if _, err = d.commit(ctx, t); err == nil {
			return restored, nil
		}
		if !errors.Is(err, ErrConflict) || ctx.Err() != nil {
			return nil, fmt.Errorf("session store: %w", err)
		}
	}
}

// mend is the transaction that does it, nil where there is nothing to do.
func (p places) mend(now time.Time) (*transaction, *session.Restored, error) {
	if !hasStoreKeys(p.keys) || p.row != nil && p.from == "" && len(p.posted)+len(p.others) == 0 {
		return nil, nil, nil
	}
	after := maps.Clone(p.keys)
	if p.takenOver {
		n, _ := readGeneration(after[generationKey])
		after[generationKey] = strconv.FormatUint(n+1, 10)
	}
	var restored *session.Restored
	if p.from != "" && wishes(p.keys) {
		restored = &session.Restored{At: now.UTC().Truncate(time.Second), From: p.from}
		text, err := canonical(restored)
		if err != nil {
			return nil, nil, err
		}
		after[restoredKey] = text
	}
	var old map[string]string
	if p.row != nil {
		old = map[string]string{}
		if g, ok := p.row.ExternalIDs[generationKey]; ok {
			old[generationKey] = g
		}
	}
	t := p.write(after, old)
	t.comment("the store is made whole")
	return t, restored, nil
}

func readRestored(keys map[string]string) *session.Restored {
	var r session.Restored
	if !decodeOther(keys, restoredKey, &r) {
		return nil
	}
	return &r
}
