package ovsdb

import "context"

// Generations are that of the wish and the one that was last reconciled. It is cheaper than Wish.
func (d *DB) Generations() (wished, inForce uint64, err error) {
	p, err := d.places()
	if err != nil {
		return 0, 0, err
	}
	inForce, _ = readGeneration(p.keys[inForceKey])
	wished, _ = readGeneration(p.keys[generationKey])
	return max(wished, inForce), inForce, nil
}

// AwaitInForce returns when somebody has reported the generation, or a later one, as reconciled; or with the error of ctx
// or of the connection.
func (d *DB) AwaitInForce(ctx context.Context, generation uint64) error {
	return d.await(ctx, func() bool {
		_, inForce, err := d.Generations()
		return err == nil && inForce >= generation
	})
}
