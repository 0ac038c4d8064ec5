package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ovs-erspan/ovs-erspan/controller"
	"github.com/ovs-erspan/ovs-erspan/session"
	"github.com/ovs-erspan/ovs-erspan/vswitchd"
)

// lockRetry is how often a command that waits for another process looks whether that is still there.
const lockRetry = 100 * time.Millisecond

// enforce sees to it that the generation is in force: by reconciling, or, where another process does that, by waiting for
// it. It returns the statuses, at least of the sessions that it is about, and what is wrong with bridges that could not be
// programmed.
//
// What only stops copies (stops) waits for no daemon that hangs, but is done in spite of its lock: whatever of an older wish
// the daemon does when it goes on, it undoes again, because it finds this generation then, and a row that changed under it
// it does not touch (controller.Stale).
func (h *host) enforce(ctx context.Context, generation uint64, stops bool, about func() []string) (status map[string]session.Status, failed map[string]string, err error) {
	for {
		held, err := tryLock(h.app.rundir)
		if err == nil {
			defer held.release()
			h.unattended = true
			return h.reconcile(ctx, stops)
		}
		if !errors.Is(err, errLocked) {
			return nil, nil, err
		}
		wait, cancel := context.WithTimeout(ctx, lockRetry)
		err = h.db.AwaitInForce(wait, generation)
		cancel()
		if err == nil {
			status, err := h.statuses(about)
			return status, nil, err
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			return nil, nil, err
		}
		d, isDaemon := readSign(h.app.rundir)
		switch {
		case isDaemon && d.hung() && stops:
			fmt.Fprintf(h.app.err, "note: the daemon (process %d) hangs: this command stops the copies itself; restart the daemon (systemctl restart ovs-erspan)\n", d.PID)
			return h.reconcile(ctx, stops)
		case isDaemon && d.hung():
			return nil, nil, fmt.Errorf("the daemon (process %d) holds %s and has given no sign of life for %s: it hangs; restart it (systemctl restart ovs-erspan)",
				d.PID, lockName, time.Since(d.At).Round(time.Second))
		case isDaemon && stops && d.Trouble != "" && d.Tried >= generation:
			return nil, nil, fmt.Errorf("%s: %s", stoppedInDatabase, d.Trouble)
		case isDaemon && d.Reconciled >= generation && len(d.Failed) > 0:
			status, err := h.statuses(about)
			return status, d.Failed, err
		case ctx.Err() != nil && isDaemon && d.Trouble != "":
			return nil, nil, fmt.Errorf("the daemon (process %d) goes on trying: %s: %w", d.PID, d.Trouble, ctx.Err())
		case ctx.Err() != nil && isDaemon:
			return nil, nil, fmt.Errorf("the daemon (process %d) is not done yet, and goes on: %w", d.PID, ctx.Err())
		case ctx.Err() != nil:
			return nil, nil, fmt.Errorf("another command holds %s: %w", lockName, ctx.Err())
		}
	}
}

// stoppedInDatabase says what is done where ovs-vswitchd is not there, or hangs.
const stoppedInDatabase = "what was to stop is out of Open vSwitch's database, but ovs-vswitchd does not answer: copies may go on until it goes on or is started anew"

// alive fails where ovs-vswitchd does not answer in time.
func (h *host) alive(ctx context.Context) error {
	_, err := h.app.versionOf(ctx, h.ctl)
	return err
}

// versionOf is what ovs-vswitchd says that it is; it fails where it does not answer in time.
func (a *app) versionOf(ctx context.Context, ctl *vswitchd.Client) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, min(controller.AliveTime, a.timeout/3))
	defer cancel()
	return ctl.Version(ctx)
}

// reconcile puts the wish in force. Where there is no ovs-vswitchd to do it with, what is to stop is at least taken out of
// the database.
func (h *host) reconcile(ctx context.Context, stops bool) (status map[string]session.Status, failed map[string]string, err error) {
	if away := h.alive(ctx); away != nil {
		if _, err := h.controller.Stop(ctx); err != nil {
			return nil, nil, errors.Join(away, err)
		}
		if stops {
			return nil, nil, fmt.Errorf("%s: %w", stoppedInDatabase, away)
		}
		return nil, nil, away
	}
	result, err := h.controller.Reconcile(ctx)
	failed = map[string]string{}
	for bridge, err := range result.Failed {
		failed[bridge] = err.Error()
	}
	return result.Status, failed, err
}

// statuses are those of the sessions, nil for all, as they were last reported.
func (h *host) statuses(about func() []string) (map[string]session.Status, error) {
	if about == nil {
		return h.db.Statuses()
	}
	return h.db.StatusesOf(about())
}
