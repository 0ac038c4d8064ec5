package ovsdb

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// proofsKey holds what self-tests of meters found, by datapath type.
const proofsKey = "ovs-erspan.meters"

// Proofs are what self-tests of meters found, by datapath type. What cannot be read is as good as none.
func (d *DB) Proofs() (map[string]flows.Proof, error) {
	p, err := d.places()
	if err != nil {
		return nil, err
	}
	return readProofs(p.keys), nil
}

func readProofs(keys map[string]string) map[string]flows.Proof {
	var proofs map[string]flows.Proof
	if !decodeOther(keys, proofsKey, &proofs) || proofs == nil {
		proofs = map[string]flows.Proof{}
	}
	return proofs
}

// Prove keeps what a self-test found.
func (d *DB) Prove(ctx context.Context, datapath string, proof flows.Proof) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	for {
		p, err := d.places()
		if err != nil {
			return err
		}
		p = p.withoutPosted()
		proofs := readProofs(p.keys)
		proofs[datapath] = proof
		text, err := canonical(proofs)
		if err != nil {
			return err
		}
		after := map[string]string{}
		maps.Copy(after, p.keys)
		after[proofsKey] = text
		t := p.write(after, nil)
		if len(t.operations) == 0 {
			return nil
		}
		t.comment("meters tested on " + datapath)
		if _, err = d.commit(ctx, t); err == nil {
			return nil
		}
		if !errors.Is(err, ErrConflict) || ctx.Err() != nil {
			return fmt.Errorf("session store: %w", err)
		}
	}
}
