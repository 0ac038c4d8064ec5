package ovsdb

import (
	"context"
	"encoding/json"
	"fmt"

	lib "github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// proofsKey holds what self-tests of meters found, by datapath type.
const proofsKey = "ovs-erspan.meters"

// Proofs are what self-tests of meters found, by datapath type. What cannot be read is as good as none.
func (d *DB) Proofs() (map[string]flows.Proof, error) {
	root, err := d.root()
	if err != nil {
		return nil, err
	}
	var proofs map[string]flows.Proof
	if json.Unmarshal([]byte(root.ExternalIDs[proofsKey]), &proofs) != nil || proofs == nil {
		proofs = map[string]flows.Proof{}
	}
	return proofs, nil
}

// Prove keeps what a self-test found.
func (d *DB) Prove(ctx context.Context, datapath string, proof flows.Proof) error {
	root, err := d.root()
	if err != nil {
		return err
	}
	proofs, err := d.Proofs()
	if err != nil {
		return err
	}
	proofs[datapath] = proof
	text, err := canonical(proofs)
	if err != nil {
		return err
	}
	t := &transaction{}
	t.add("proof", lib.Operation{Op: lib.OperationMutate, Table: tableOpenVSwitch, Where: []lib.Condition{is(lib.UUID{GoUUID: root.UUID})},
		Mutations: []lib.Mutation{
			*lib.NewMutation("external_ids", lib.MutateOperationDelete, lib.OvsSet{GoSet: []any{proofsKey}}),
			*lib.NewMutation("external_ids", lib.MutateOperationInsert, mapping(map[string]string{proofsKey: text})),
		}})
	t.comment("meters tested on " + datapath)
	if _, err := d.commit(ctx, t); err != nil {
		return fmt.Errorf("session store: %w", err)
	}
	return nil
}
