package ovsdb

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	lib "github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// The store is in the external_ids of a row of its own: one of the table Queue that no port uses. Rows of that table stay
// although nothing refers to them, make no device, and wake neither ovs-vswitchd nor agents of others when they change
// (docs/adr/0019-where-the-wish-lives.md). What must not be lost of it is in the rows of our tap bridges as well.
//
// Keys of ours in Open_vSwitch.external_ids, where versions before had the store, are taken over and removed there.

// storeMark is the value of flows.OwnerKey in the store's row.
const storeMark = "store"

// isStore is the condition that a row of the table Queue is the store's.
func isStore() lib.Condition {
	return lib.NewCondition("external_ids", lib.ConditionIncludes, mapping(map[string]string{flows.OwnerKey: storeMark}))
}

// isStoreKey tells the store's keys from others of the same row.
func isStoreKey(key string) bool { return strings.HasPrefix(key, storePrefix) }

// isWishKey tells the keys that must not be lost, and of which our tap bridges have a copy, from those that the next report
// brings back.
func isWishKey(key string) bool {
	return key == generationKey || key == hostKey || key == deliveredKey || strings.HasPrefix(key, endedPrefix) || strings.HasPrefix(key, sessionPrefix)
}

// wishes tells whether keys wish for anything.
func wishes(keys map[string]string) bool {
	for key := range keys {
		if key == hostKey || strings.HasPrefix(key, sessionPrefix) {
			return true
		}
	}
	return false
}

// places are where the store is, or was, at one moment.
type places struct {
	root   *openVSwitchRow
	row    *queueRow    // nil: there is none
	others []*queueRow  // more that claim to be it
	copies []*bridgeRow // our tap bridges, sorted by name
	lost   *queueRow    // what this connection remembers; only without row
	posted map[string]string

	// keys are what the store says, all places taken together, and stored without what is posted. Neither is written to.
	keys, stored map[string]string
	// from is where the wish in keys is from, "" for the store's row; takenOver that posted keys changed it.
	from      string
	takenOver bool
}

// places reads them from the cache.
func (d *DB) places() (places, error) {
	for waited := false; ; {
		p, err := d.readPlaces()
		if err != nil {
			return places{}, err
		}
		if p.row == nil && !waited && d.memory.knowsRow() {
			// Whether it went with sessions in it will be told of in a moment.
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_ = d.await(ctx, func() bool { return !d.memory.knowsRow() })
			cancel()
			waited = true
			continue
		}
		if p.row == nil {
			p.lost = d.memory.lostRow()
		}
		p.combine()
		return p, nil
	}
}

// readPlaces reads rows as they were at once (see snapshot).
func (d *DB) readPlaces() (places, error) {
	for {
		var p places
		queues := rows[queueRow](d.cache, tableQueue)
		for _, row := range queues {
			p.others = append(p.others, row)
		}
		for _, row := range rows[bridgeRow](d.cache, tableBridge) {
			if flows.Ours(row.ExternalIDs) && slices.Contains(flows.TapBridgeNames(), row.Name) {
				p.copies = append(p.copies, row)
			}
		}
		var err error
		if p.root, err = d.root(); err != nil {
			return p, err
		}
		if !sameRows(queues, rows[queueRow](d.cache, tableQueue)) {
			continue
		}
		slices.SortFunc(p.copies, func(a, b *bridgeRow) int { return strings.Compare(a.Name, b.Name) })
		slices.SortFunc(p.others, func(a, b *queueRow) int {
			if older := byGeneration(b.ExternalIDs, a.ExternalIDs); older != 0 {
				return older
			}
			return strings.Compare(a.UUID, b.UUID)
		})
		if len(p.others) > 0 {
			p.row, p.others = p.others[0], p.others[1:]
		}
		return p, nil
	}
}

func byGeneration(a, b map[string]string) int {
	x, _ := readGeneration(a[generationKey])
	y, _ := readGeneration(b[generationKey])
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// combine finds out what the store says: what the place with the highest generation does, the store's own row first, and
// what is posted in Open_vSwitch.external_ids over it.
func (p *places) combine() {
	if p.row != nil {
		p.keys = p.row.ExternalIDs
	} else if p.lost != nil {
		p.keys, p.from = p.lost.ExternalIDs, "the daemon's memory"
	}
	for _, b := range p.copies {
		if _, is := readGeneration(b.ExternalIDs[generationKey]); !is || byGeneration(b.ExternalIDs, p.keys) <= 0 {
			continue
		}
		reports := p.keys
		p.keys, p.from = map[string]string{}, "bridge "+b.Name
		for key, text := range reports {
			if isStoreKey(key) && !isWishKey(key) {
				p.keys[key] = text
			}
		}
		for key, text := range b.ExternalIDs {
			if isWishKey(key) {
				p.keys[key] = text
			}
		}
	}
	p.stored = p.keys
	p.posted = map[string]string{}
	for key, text := range p.root.ExternalIDs {
		if isStoreKey(key) {
			p.posted[key] = text
		}
	}
	if len(p.posted) == 0 {
		return
	}
	if p.keys == nil {
		p.keys = p.posted // the whole store of a version before
		return
	}
	p.keys = maps.Clone(p.keys)
	for key, text := range p.posted {
		_, there := p.keys[key]
		switch {
		case key == deliveredKey:
			both := compact(append(readDelivered(p.keys), readDelivered(p.posted)...))
			if text, err := canonical(both); err == nil && len(both) > 0 {
				p.keys[key] = text
			}
		case key == generationKey:
			if byGeneration(p.keys, p.posted) < 0 {
				p.keys[key] = text
			}
		case isWishKey(key), !there:
			p.takenOver = p.takenOver || p.keys[key] != text && isWishKey(key)
			p.keys[key] = text
		}
	}
}

// withoutPosted is for who writes no wish, and so takes nothing over.
func (p places) withoutPosted() places {
	p.keys, p.posted, p.takenOver = p.stored, nil, false
	return p
}

// write has the store's row say what after does, our tap bridges have their copies of it, and nothing of ours be in
// Open_vSwitch.external_ids any more, provided that old is as it was, and, with writing of copies or of a row that is not
// there yet, the generation. after may hold keys that are not the store's, which are left out.
func (p places) write(after, old map[string]string) *transaction {
	t := &transaction{}
	root := lib.UUID{GoUUID: p.root.UUID}
	if len(p.posted) > 0 {
		t.wait("what was read of Open_vSwitch", tableOpenVSwitch, "_uuid", root, is(root), lib.NewCondition("external_ids", lib.ConditionIncludes, mapping(p.posted)))
		t.add("take over", lib.Operation{Op: lib.OperationMutate, Table: tableOpenVSwitch, Where: []lib.Condition{is(root)},
			Mutations: []lib.Mutation{*lib.NewMutation("external_ids", lib.MutateOperationDelete, keySet(p.posted))}})
	}
	copied := map[string]string{}
	for key, text := range after {
		if isWishKey(key) {
			copied[key] = text
		}
	}
	var bridges []lib.Operation
	for _, b := range p.copies {
		mutations := difference(b.ExternalIDs, copied)
		if len(mutations) == 0 {
			continue
		}
		mark, err := marked(b.ExternalIDs)
		if err != nil {
			continue
		}
		bridges = append(bridges, lib.Operation{Op: lib.OperationMutate, Table: tableBridge, Where: []lib.Condition{is(lib.UUID{GoUUID: b.UUID}), mark}, Mutations: mutations})
	}
	switch anything := hasStoreKeys(after); {
	case p.row == nil && anything:
		p.insert(t, after)
	case p.row != nil:
		p.mutate(t, after, old, len(bridges) > 0)
	}
	for _, op := range bridges {
		t.add("copy", op)
	}
	for _, other := range p.others {
		t.add("delete a second store", lib.Operation{Op: lib.OperationDelete, Table: tableQueue, Where: []lib.Condition{is(lib.UUID{GoUUID: other.UUID})}})
	}
	return t
}

// insert makes the store's row, where nobody else has made one meanwhile.
func (p places) insert(t *transaction, after map[string]string) {
	if p.lost != nil { // of a row that lost its mark only, something is left
		t.add("clear what was the store", lib.Operation{Op: lib.OperationDelete, Table: tableQueue,
			Where: []lib.Condition{is(lib.UUID{GoUUID: p.lost.UUID}), lib.NewCondition("external_ids", lib.ConditionEqual, mapping(nil))}})
	}
	all := map[string]string{flows.OwnerKey: storeMark}
	for key, text := range after {
		if isStoreKey(key) {
			all[key] = text
		}
	}
	id := lib.UUID{GoUUID: storeMark}
	t.add("make the store", lib.Operation{Op: lib.OperationInsert, Table: tableQueue, UUIDName: id.GoUUID, Row: lib.Row{"external_ids": mapping(all)}})
	t.wait("that there is no other store", tableQueue, "_uuid", id, isStore())
}

// mutate changes the store's row.
func (p places) mutate(t *transaction, after, old map[string]string, copies bool) {
	id := lib.UUID{GoUUID: p.row.UUID}
	before := p.row.ExternalIDs
	old = maps.Clone(old)
	if text, ok := before[generationKey]; ok && copies {
		if old == nil {
			old = map[string]string{}
		}
		old[generationKey] = text
	}
	if len(old) > 0 {
		t.wait("what was read", tableQueue, "_uuid", id, is(id), lib.NewCondition("external_ids", lib.ConditionIncludes, mapping(old)))
	}
	mutations := difference(before, after)
	if len(mutations) == 0 {
		return
	}
	t.add("write", lib.Operation{Op: lib.OperationMutate, Table: tableQueue, Where: []lib.Condition{is(id)}, Mutations: mutations})
}

// difference makes the store's keys of one map those of another, and leaves all others alone.
func difference(before, after map[string]string) []lib.Mutation {
	put, remove := map[string]string{}, map[string]string{}
	for key, text := range after {
		if was, ok := before[key]; isStoreKey(key) && (!ok || was != text) {
			put[key] = text
		}
	}
	for key, text := range before {
		now, ok := after[key]
		if isStoreKey(key) && (!ok || now != text) {
			remove[key] = text
		}
	}
	var mutations []lib.Mutation
	if len(remove) > 0 {
		mutations = append(mutations, *lib.NewMutation("external_ids", lib.MutateOperationDelete, keySet(remove)))
	}
	if len(put) > 0 {
		mutations = append(mutations, *lib.NewMutation("external_ids", lib.MutateOperationInsert, mapping(put)))
	}
	return mutations
}

// hasStoreKeys tells whether keys say anything at all.
func hasStoreKeys(keys map[string]string) bool {
	for key := range keys {
		if isStoreKey(key) {
			return true
		}
	}
	return false
}

// keySet has the keys of a map, sorted, as an argument of a mutation.
func keySet(m map[string]string) lib.OvsSet { return set(slices.Sorted(maps.Keys(m))) }
