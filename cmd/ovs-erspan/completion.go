package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// completionTimeout bounds how long a press of the tab key may take.
const completionTimeout = 2 * time.Second

// offer completes from the live Open vSwitch. Where that cannot be asked, nothing is offered.
func (a *app) offer(cmd *cobra.Command, names func(h *host) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	quick := *a
	quick.timeout = completionTimeout
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	var offered []string
	err := quick.withHost(ctx, func(_ context.Context, h *host) error {
		var err error
		offered, err = names(h)
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	// A shell that completes shows and types what it gets.
	offered = slices.DeleteFunc(offered, func(name string) bool { return session.Safe(name) != name })
	return offered, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeBridges(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.offer(cmd, func(h *host) ([]string, error) {
		state, err := h.db.State()
		if err != nil {
			return nil, err
		}
		var names []string
		for _, name := range slices.Sorted(maps.Keys(state.Bridges)) {
			if !flows.Ours(state.Bridges[name].ExternalIDs) {
				names = append(names, name)
			}
		}
		return names, nil
	})
}

// completePorts offers the ports that can be sources, of the bridge that was named or else of all; behind a comma too.
func (a *app) completePorts(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	before := ""
	if i := strings.LastIndexByte(typed, ','); i >= 0 {
		before = typed[:i+1]
	}
	bridge, _ := cmd.Flags().GetString("bridge")
	return a.offer(cmd, func(h *host) ([]string, error) {
		state, err := h.db.State()
		if err != nil {
			return nil, err
		}
		var names []string
		for _, b := range slices.Sorted(maps.Keys(state.Bridges)) {
			if bridge != "" && b != bridge || flows.Ours(state.Bridges[b].ExternalIDs) {
				continue
			}
			for _, p := range slices.Sorted(maps.Keys(state.Bridges[b].Ports)) {
				if flows.UnfitSource(state.Bridges[b].Ports[p], state.Bridges[b]) == "" {
					names = append(names, before+p)
				}
			}
		}
		return names, nil
	})
}

// completeSessions offers session names, for at most this many arguments; 0 is any number.
func (a *app) completeSessions(most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.offer(cmd, func(h *host) ([]string, error) {
			wish, err := h.db.Wish()
			if err != nil {
				return nil, err
			}
			var names []string
			for _, s := range wish.Sessions {
				if !slices.Contains(args, s.Name) {
					names = append(names, s.Name)
				}
			}
			return names, nil
		})
	}
}
