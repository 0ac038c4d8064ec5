package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

func newHostCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "host",
		Short: "What is wished for all sessions of this host together",
		Example: `  ovs-erspan host show
  ovs-erspan host set --max-rate 10000pps`,
	}
	cmd.AddCommand(newHostShowCommand(a), newHostSetCommand(a))
	return cmd
}

func newHostSetCommand(a *app) *cobra.Command {
	var (
		maxRate        string
		unset          []string
		noWait, dryRun bool
	)
	cmd := &cobra.Command{
		Use:   "set (--max-rate RATE | --unset max-rate)",
		Short: "Bound the copies of all source sessions together",
		Long: `Bound the copies of all source sessions together, to all collectors: what comes faster is dropped and counted, and
production loses nothing. A session's own --max-rate holds as well. Where both kinds of datapath have source sessions, each
gets half.`,
		Example: `  ovs-erspan host set --max-rate 1Gbps
  ovs-erspan host set --unset max-rate`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var wish session.Host
			var err error
			switch given := cmd.Flags().Changed("max-rate"); {
			case given == (len(unset) > 0):
				return refuse(errors.New("host set: want either --max-rate RATE or --unset max-rate"))
			case given:
				if wish.MaxRate, err = session.ParseRate(maxRate); err != nil {
					return refuse(fmt.Errorf("--max-rate: %w", err))
				}
			case len(unset) != 1 || unset[0] != "max-rate":
				return refuse(fmt.Errorf("--unset %s: want max-rate", session.Quote(unset[0])))
			}
			return a.withHost(cmd.Context(), func(ctx context.Context, h *host) error {
				return h.makeAndTell(ctx, edit{noWait: noWait, dryRun: dryRun, ofHost: true, change: func(w *session.Wish) ([]string, error) {
					w.SetHost(wish)
					return nil, nil
				}}, func(_ map[string]session.Status, err error) error {
					if err != nil {
						return err
					}
					text := "no maximal rate for all sessions together\n"
					if !wish.MaxRate.IsZero() {
						text = fmt.Sprintf("at most %s of all sessions together\n", wish.MaxRate)
					}
					return h.app.print(wish, text)
				})
			})
		},
	}
	cmd.Flags().StringVar(&maxRate, "max-rate", "", "`rate` that the copies of all sessions together do not exceed, such as 100kpps or 1Gbps")
	cmd.Flags().StringSliceVar(&unset, "unset", nil, "`field` that returns to its default: max-rate")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return when the change is stored, without putting it in force")
	dryRunFlag(cmd, &dryRun)
	must(cmd.RegisterFlagCompletionFunc("max-rate", cobra.NoFileCompletions))
	must(cmd.RegisterFlagCompletionFunc("unset", cobra.FixedCompletions([]string{"max-rate"}, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// hostView is `host show -o json`.
type hostView struct {
	session.Host
	Sent    flows.Count `json:"sent"`    // copies that passed the host's meters
	Limited flows.Count `json:"limited"` // and those that did not
}

func newHostShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "show",
		Short:             "Show what is wished for all sessions together, and what it has dropped",
		Example:           `  ovs-erspan host show`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withHost(cmd.Context(), func(ctx context.Context, h *host) error {
				wish, err := h.db.Wish()
				if err != nil {
					return err
				}
				if err := wish.Broken[session.HostName]; err != nil {
					return err
				}
				v := hostView{Host: wish.Host}
				if v.MaxRate.IsZero() {
					return a.print(v, "no maximal rate for all sessions together\n")
				}
				plan, err := h.controller.Plan(ctx, wish.Sessions)
				if err != nil {
					return err
				}
				_, there, err := h.controller.Pending(ctx, plan)
				if err != nil {
					return err
				}
				for _, entries := range there {
					given, dropped := flows.HostCount(entries)
					v.Limited.Packets, v.Limited.Bytes = v.Limited.Packets+dropped.Packets, v.Limited.Bytes+dropped.Bytes
					v.Sent.Packets, v.Sent.Bytes = v.Sent.Packets+given.Packets-dropped.Packets, v.Sent.Bytes+given.Bytes-dropped.Bytes
				}
				return a.print(v, fmt.Sprintf("at most %s of all sessions together: %d copies passed, %d were dropped\n", v.MaxRate, v.Sent.Packets, v.Limited.Packets))
			})
		},
	}
}
