package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

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
	_, err := h.make(ctx, edit{change: func(w *session.Wish) ([]string, error) {
		removed = len(w.Sessions) + len(w.Broken)
		return removeAll(w)
	}})
	if err != nil {
		return err
	}
	held, err := tryLock(h.app.rundir)
	daemon := errors.Is(err, errLocked)
	if err != nil && !daemon {
		return err
	}
	if !daemon {
		defer held.release()
		// Without a change of the wish nothing was reconciled: do it here, for what a crash may have left.
		if _, err := h.controller.Reconcile(ctx); err != nil {
			return err
		}
	}
	if err := h.controller.ClearSelfTest(ctx); err != nil {
		return err
	}
	if err := h.db.Forget(ctx); err != nil {
		return err
	}
	if !daemon {
		if err := held.remove(); err != nil {
			return err
		}
	}
	return h.app.print(map[string]any{"removed": removed}, fmt.Sprintf("sessions removed: %d; nothing of ovs-erspan is left in this Open vSwitch\n", removed))
}
