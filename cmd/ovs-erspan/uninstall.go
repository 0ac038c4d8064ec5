package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

func newUninstallCommand(a *app) *cobra.Command {
	var dryRun, yes bool
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove every session and every trace of ovs-erspan from this Open vSwitch",
		Long: `Remove every session and every row, port, mirror, bridge and key of ovs-erspan from this Open vSwitch, and nothing
of anyone else. 'export' before it keeps the sessions. It asks first; where nobody can be asked it wants --yes.`,
		Example: `  ovs-erspan export > sessions.yaml
  ovs-erspan uninstall

  ovs-erspan uninstall --dry-run
  ovs-erspan uninstall --yes`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !dryRun && !yes {
				if err := a.confirmUninstall(cmd.Context()); err != nil {
					return err
				}
			}
			return a.withHost(cmd.Context(), func(ctx context.Context, h *host) error {
				if dryRun {
					return h.dryRun(ctx, edit{change: removeAll})
				}
				return uninstall(ctx, h)
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	dryRunFlag(cmd, &dryRun)
	return cmd
}

// confirmUninstall asks whoever sits at the terminal, and says what would go.
func (a *app) confirmUninstall(ctx context.Context) error {
	if !a.asks() {
		return refuse(errors.New("uninstall: nobody can be asked here, as standard input is no terminal: give --yes, or --dry-run to see what would go"))
	}
	// Not under --timeout: people read.
	what := "what ovs-erspan has made in this Open vSwitch"
	if err := a.withHost(ctx, func(_ context.Context, h *host) error {
		wish, err := h.db.Wish()
		if err != nil {
			return err
		}
		names := slices.Sorted(maps.Keys(wish.Broken))
		for _, s := range wish.Sessions {
			names = append(names, s.Name)
		}
		if len(names) > 0 {
			what = fmt.Sprintf("%s (%s) and %s", counted(len(names), "session"), few(names), what)
		}
		return nil
	}); err != nil {
		return err
	}
	fmt.Fprintf(a.err, "This removes %s. 'ovs-erspan export' keeps the sessions. Go on? [y/N] ", session.Safe(what))
	answers := make(chan string, 1)
	go func() { // Ctrl-C ends the asking too
		line, _ := bufio.NewReader(a.in).ReadString('\n')
		answers <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case answer := <-answers:
		if answer == "y" || answer == "yes" {
			return nil
		}
	case <-ctx.Done():
	}
	return refuse(errors.New("uninstall: not confirmed: nothing was removed"))
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
		return withCode(exitNotInForce, errors.Join(stopped, fmt.Errorf("nothing but a note of that is left in Open vSwitch's database (a row of table Queue); run 'ovs-erspan uninstall' again when Open vSwitch answers, for a flow that may be left on bridge %s",
			strings.Join(state.Delivered, ", "))))
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
		return withCode(exitNotInForce, errors.Join(stopped, errors.New("nothing of ovs-erspan is left in Open vSwitch's database")))
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
