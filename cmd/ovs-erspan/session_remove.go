package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ovs-erspan/ovs-erspan/session"
)

func newSessionRemoveCommand(a *app) *cobra.Command {
	var ifExists, noWait, dryRun bool
	cmd := &cobra.Command{
		Use:     "remove NAME...",
		Aliases: []string{"rm", "del", "delete"},
		Short:   "Remove sessions",
		Long:    "Remove sessions. When the command returns, not one copy of theirs leaves any more.",
		Example: `  ovs-erspan session remove web
  ovs-erspan session rm web https --if-exists`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return exactArgs(1, "at least one session NAME")(cmd, args)
			}
			return nil
		},
		ValidArgsFunction: a.completeSessions(0),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.withHost(cmd.Context(), func(ctx context.Context, h *host) error {
				return removeSessions(ctx, h, names, ifExists, noWait, dryRun)
			})
		},
	}
	cmd.Flags().BoolVar(&ifExists, "if-exists", false, "do not mind sessions that do not exist")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return when the change is stored, without putting it in force")
	dryRunFlag(cmd, &dryRun)
	return cmd
}

func removeSessions(ctx context.Context, h *host, names []string, ifExists, noWait, dryRun bool) error {
	var removed []string
	about := func() []string { return nil }
	return h.makeAndTell(ctx, edit{noWait: noWait, dryRun: dryRun, about: about, change: func(w *session.Wish) ([]string, error) {
		removed = nil
		for _, name := range names {
			if _, broken := w.Broken[name]; broken {
				delete(w.Broken, name)
				removed = append(removed, name)
				continue
			}
			i, err := find(w, name)
			if err != nil && ifExists {
				continue
			}
			if err != nil {
				return nil, err
			}
			w.Sessions = slices.Delete(w.Sessions, i, i+1)
			removed = append(removed, name)
		}
		return nil, nil
	}}, func(_ map[string]session.Status, err error) error {
		if err != nil {
			return err
		}
		if len(removed) == 0 {
			return h.app.print(map[string]any{"removed": []string{}}, "nothing to remove\n")
		}
		text := ""
		for _, name := range removed {
			text += fmt.Sprintf("session %q removed%s\n", name, h.app.waitNote(noWait))
		}
		return h.app.print(map[string]any{"removed": removed}, text)
	})
}

func (a *app) waitNote(noWait bool) string {
	if noWait {
		return " from the wish; its copies stop with the next reconcile (" + a.whoReconciles() + ")"
	}
	return ""
}
