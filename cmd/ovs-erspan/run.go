package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ovs-erspan/ovs-erspan/session"
)

func newRunCommand(a *app) *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "run --once",
		Short: "Reconcile: make every bridge what the sessions wish",
		Long: `Reconcile once: make every bridge what the sessions wish. Run it after anything changed underneath a session, such
as a port that came back, a route, or the underlay's MTU.`,
		Example:           `  ovs-erspan run --once`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !once {
				return refuse(errors.New("run: want --once; this version has no daemon yet"))
			}
			return a.withHost(cmd.Context(), runOnce)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "reconcile once and end")
	return cmd
}

func runOnce(ctx context.Context, h *host) error {
	release, err := tryLock(h.app.rundir)
	if err != nil {
		return fmt.Errorf("%w (it holds %s): try again when it is done", err, lockName)
	}
	defer release()
	result, err := h.controller.Reconcile(ctx)
	if err != nil {
		return err
	}
	text := "nothing to do: everything is as wished\n"
	if result.Changed() {
		text = fmt.Sprintf("%d rows and %d flows changed; generation %d is in force\n", result.RowOps, result.FlowMods, result.Generation)
	}
	object := map[string]any{"generation": result.Generation, "rows": result.RowOps, "flows": result.FlowMods, "status": result.Status}
	if err := h.app.print(object, text); err != nil {
		return err
	}
	var names []string
	for name, st := range result.Status {
		if st.State != session.Disabled {
			names = append(names, name)
		}
	}
	return inForce(result.Status, names)
}
