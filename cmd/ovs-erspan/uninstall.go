package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

func newUninstallCommand(a *app) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove every session and every trace of ovs-erspan from this Open vSwitch",
		Long: `Remove every session and every row, port, mirror, bridge and key of ovs-erspan from this Open vSwitch, and nothing
of anyone else. 'export' before it keeps the sessions.`,
		Example:           `  ovs-erspan uninstall`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withHost(cmd.Context(), func(ctx context.Context, h *host) error {
				if dryRun {
					return h.dryRun(ctx, edit{change: removeAll})
				}
				return uninstall(ctx, h)
			})
		},
	}
	dryRunFlag(cmd, &dryRun)
	return cmd
}

// removeAll takes everything out of the wish.
func removeAll(w *session.Wish) ([]string, error) {
	w.Sessions, w.Host = nil, session.Host{}
	clear(w.Broken)
	return nil, nil
}

func uninstall(ctx context.Context, h *host) error {
	removed := 0
	_, stopped := h.make(ctx, edit{change: func(w *session.Wish) ([]string, error) {
		removed = len(w.Sessions) + len(w.Broken)
		return removeAll(w)
	}})
	if stopped != nil && exitCode(stopped) != exitNotInForce {
		return stopped
	}
	held, err := tryLock(h.app.rundir)
	daemon := errors.Is(err, errLocked)
	if err != nil && !daemon {
		return err
	}
	if !daemon {
		defer held.release()
		// Without a change of the wish nothing was reconciled: do it here, for what a crash may have left.
		if stopped == nil {
			if _, failed, err := h.reconcile(ctx, true); err != nil || len(failed) > 0 {
				stopped = withCode(exitNotInForce, errors.Join(err, joined(failed, func(string) bool { return true })))
			}
		}
	}
	if err := h.controller.ClearSelfTest(ctx, stopped == nil); err != nil {
		return err
	}
	if err := h.rowsLeft(); err != nil {
		return errors.Join(stopped, err)
	}
	state, err := h.db.State()
	if err != nil {
		return err
	}
	if stopped != nil && len(state.Delivered) > 0 {
		// What may be left is noted in the database, for who comes next.
		return withCode(exitNotInForce, fmt.Errorf("%w; nothing but a note of that is left in Open vSwitch's database (a row of table Queue); run 'ovs-erspan uninstall' again when Open vSwitch answers, for a flow that may be left on bridge %s",
			stopped, strings.Join(state.Delivered, ", ")))
	}
	if err := h.db.Forget(ctx); err != nil {
		return err
	}
	if !daemon {
		if err := held.remove(); err != nil {
			return err
		}
	}
	if stopped != nil {
		return withCode(exitNotInForce, fmt.Errorf("%w; nothing of ovs-erspan is left in Open vSwitch's database", stopped))
	}
	return h.app.print(map[string]any{"removed": removed}, fmt.Sprintf("sessions removed: %d; nothing of ovs-erspan is left in this Open vSwitch\n", removed))
}

// rowsLeft fails where rows of ours are left that nobody else has a part in: then the store has to stay, too.
func (h *host) rowsLeft() error {
	state, err := h.db.State()
	if err != nil {
		return err
	}
	if c := flows.RowChanges(state, flows.Program{}); !c.Empty() {
		return withCode(exitNotInForce, fmt.Errorf("%d rows of ovs-erspan are left: run 'ovs-erspan uninstall' again", len(c.Before)+len(c.After)+len(c.Last)))
	}
	return nil
}
