package controller

import (
	"context"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// wish is what the store holds, made whole before: an accident of the store must not look like a wish to remove all.
func (c *Controller) wish(ctx context.Context) (session.Wish, error) {
	restored, err := c.DB.Mend(ctx, c.Now())
	if err != nil {
		return session.Wish{}, err
	}
	if restored != nil {
		c.Log.Warn("somebody deleted the session store; it is restored", "from", restored.From)
	}
	return c.DB.Wish()
}
