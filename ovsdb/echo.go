package ovsdb

import (
	"context"
	"fmt"
	"time"
)

// EchoInterval is how often who keeps a connection asks ovsdb-server for a sign of life, and how long that may take. One that
// hangs keeps its connections open and says nothing, as one does that has nothing to tell.
const EchoInterval = 5 * time.Second

// echo asks every interval (RFC 7047, section 4.1.11), and ends the lifetime when the answer takes longer than that.
func (d *DB) echo(interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-d.lifetime.Done():
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(d.lifetime, interval)
		answer := make(chan error, 1)
		go func() { answer <- d.client.Echo(ctx) }() // it does not heed the context while it writes
		select {
		case err := <-answer:
			if err != nil {
				d.end(fmt.Errorf("ovsdb-server hangs: no answer to an echo in %s: %w", interval, err))
			}
		case <-ctx.Done():
			d.end(fmt.Errorf("ovsdb-server hangs: no answer to an echo in %s", interval))
		}
		cancel()
	}
}

// Lost says why the connection ended; nil while it lasts.
func (d *DB) Lost() error {
	if d.lifetime.Err() == nil {
		return nil
	}
	return d.disconnected()
}
