package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ovs-erspan/ovs-erspan/session"
)

func newSessionEnableCommand(a *app) *cobra.Command {
	return newSwitchCommand(a, false, &cobra.Command{
		Use:     "enable NAME... | --all",
		Short:   "Put disabled sessions in force again",
		Example: `  ovs-erspan session enable web`,
	})
}

func newSessionDisableCommand(a *app) *cobra.Command {
	return newSwitchCommand(a, true, &cobra.Command{
		Use:   "disable NAME... | --all",
		Short: "Stop sessions without forgetting them",
		Long:  "Stop sessions without forgetting them. When the command returns, not one copy of theirs leaves any more.",
		Example: `  ovs-erspan session disable web
  ovs-erspan session disable --all`,
	})
}

// newSwitchCommand is enable or disable.
func newSwitchCommand(a *app, disabled bool, cmd *cobra.Command) *cobra.Command {
	var all, noWait, dryRun bool
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if all == (len(args) > 0) {
			return refuse(fmt.Errorf("%s: want either session names or --all", cmd.CommandPath()))
		}
		return nil
	}
	cmd.ValidArgsFunction = a.completeSessions(0)
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		return a.withHost(cmd.Context(), func(ctx context.Context, h *host) error {
			return switchSessions(ctx, h, names, all, disabled, noWait, dryRun)
		})
	}
	cmd.Flags().BoolVar(&all, "all", false, "every session of this host")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return when the change is stored, without putting it in force")
	dryRunFlag(cmd, &dryRun)
	return cmd
}

func switchSessions(ctx context.Context, h *host, names []string, all, disabled, noWait, dryRun bool) error {
	word := "enabled"
	if disabled {
		word = "disabled"
	}
	var touched []string
	about := func() []string { return touched }
	return h.makeAndTell(ctx, edit{noWait: noWait, dryRun: dryRun, acceptMissing: true, about: about, change: func(w *session.Wish) ([]string, error) {
		touched = nil
		if all {
			for i := range w.Sessions {
				turn(&w.Sessions[i], disabled)
				touched = append(touched, w.Sessions[i].Name)
			}
		}
		for _, name := range names {
			i, err := find(w, name)
			if err != nil {
				return nil, err
			}
			turn(&w.Sessions[i], disabled)
			touched = append(touched, name)
		}
		if disabled {
			return nil, nil // stopping is never refused
		}
		return touched, nil
	}}, func(status map[string]session.Status, err error) error {
		told := h.report(status, word, noWait, touched...)
		if !disabled {
			err = h.noteUnattended(err)
		}
		return errors.Join(told, err)
	})
}

// turn disables a session, or enables it; one that has reached its limit begins to count anew.
func turn(s *session.Stored, disabled bool) {
	s.Disabled = disabled
	if !disabled && s.LimitReached() != "" {
		s.Round++
		s.Used = session.Used{}
	}
}
