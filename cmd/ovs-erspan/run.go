package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ovs-erspan/ovs-erspan/session"
)

func newRunCommand(a *app) *cobra.Command {
	var (
		once, dryRun bool
		at           listening
	)
	cmd := &cobra.Command{
		Use:   "run",
		Short: "The daemon: keep every bridge what the sessions wish",
		Long: `Keep every bridge what the sessions wish, until ended: at once when sessions, ports, flows, routes, neighbours or an
MTU change and when Open vSwitch comes back, and every half minute anyway. It may be started before Open vSwitch. When it
ends, what is programmed stays in force. Other commands hand their changes over to it while it runs.

With --once: reconcile once and end.`,
		Example: `  ovs-erspan run --listen 127.0.0.1:9475
  ovs-erspan run --once`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dryRun && !once {
				return refuse(fmt.Errorf("run: --dry-run goes with --once"))
			}
			if !once {
				return a.runDaemon(cmd.Context(), at)
			}
			if dryRun {
				return a.withHost(cmd.Context(), func(ctx context.Context, h *host) error {
					return h.dryRun(ctx, edit{change: func(*session.Wish) ([]string, error) { return nil, nil }})
				})
			}
			return a.withHost(cmd.Context(), runOnce)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "reconcile once and end")
	cmd.Flags().StringVar(&at.address, "listen", "", "serve /metrics, /healthz and /readyz over HTTP on this `address`, such as 127.0.0.1:9475 (default: do not)")
	cmd.Flags().Var(&at.names, "listen-name", "a `name` that --listen is asked under, besides addresses, localhost and this host's own name")
	dryRunFlag(cmd, &dryRun)
	cmd.MarkFlagsMutuallyExclusive("once", "listen")
	cmd.MarkFlagsMutuallyExclusive("once", "listen-name")
	must(cmd.RegisterFlagCompletionFunc("listen", cobra.FixedCompletions([]string{"127.0.0.1:9475"}, cobra.ShellCompDirectiveNoFileComp)))
	must(cmd.RegisterFlagCompletionFunc("listen-name", cobra.NoFileCompletions))
	return cmd
}

func runOnce(ctx context.Context, h *host) error {
	held, err := tryLock(h.app.rundir)
	if errors.Is(err, errLocked) {
		if d, ok := readSign(h.app.rundir); ok {
			return fmt.Errorf("the daemon (process %d) reconciles this Open vSwitch: it does by itself what --once would", d.PID)
		}
		return fmt.Errorf("%w (it holds %s): try again when it is done", err, lockName)
	}
	if err != nil {
		return err
	}
	defer held.release()
	result, err := h.controller.Reconcile(ctx)
	if err == nil {
		err = errors.Join(slices.Collect(maps.Values(result.Failed))...)
	}
	if err != nil {
		return err
	}
	text := "nothing to do: every row and flow of ours is as wished\n"
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
	slices.Sort(names)
	return inForce(result.Status, names)
}
