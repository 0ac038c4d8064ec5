package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ovs-erspan/ovs-erspan/controller"
	"github.com/ovs-erspan/ovs-erspan/doctor"
	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// errPending ends `plan` with the code for pending changes, which are not an error to print.
var errPending = errors.New("changes are pending")

func newPlanCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "plan",
		Short: "Show what the next reconcile would change, and change nothing",
		Long: `Show what the next reconcile would change: rows of OVSDB, pairs of devices (kernel datapath), nftables' chains
of attached devices (userspace datapath), and flows of our bridges; and what doctor warns of about the sessions that change. Nothing is changed.

Exit code: 0 nothing to do, 3 changes are pending, 1 failed.`,
		Example:           `  ovs-erspan plan`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withHost(cmd.Context(), func(ctx context.Context, h *host) error {
				wish, err := h.db.Wish()
				if err != nil {
					return err
				}
				return h.printPlan(ctx, wish.Sessions)
			})
		},
	}
}

// dryRun checks an edit and shows the plan that it would make.
func (h *host) dryRun(ctx context.Context, e edit) error {
	stop := errors.New("dry run")
	var sessions []session.Stored
	_, err := h.db.Update(ctx, func(w *session.Wish) error {
		was := slices.Clone(w.Sessions)
		touched, err := e.change(w)
		if err != nil {
			return err
		}
		if err := h.check(ctx, w, was, touched, e); err != nil {
			return judged(err)
		}
		sessions = withSlots(w.Sessions)
		return stop // Update writes nothing then
	})
	if !errors.Is(err, stop) {
		return err
	}
	if err := h.printPlan(ctx, sessions); !errors.Is(err, errPending) {
		return err
	}
	return nil
}

func (h *host) printPlan(ctx context.Context, sessions []session.Stored) error {
	plan, err := h.controller.Plan(ctx, sessions)
	if err != nil {
		return err
	}
	changes, _, err := h.controller.Pending(ctx, plan)
	if err != nil {
		return err
	}
	checks, err := h.planChecks(ctx, sessions, plan, changes)
	if err != nil {
		return err
	}
	object, text := describePlan(plan, changes, checks)
	if err := h.app.print(object, text); err != nil {
		return err
	}
	if plan.Rows.Empty() && plan.Veths.Empty() && len(plan.Isolation.Changes) == 0 && len(changes) == 0 {
		return nil
	}
	return withCode(exitNotInForce, errPending)
}

// planView is a plan for programs.
type planView struct {
	Rows    []string            `json:"rows"`
	Devices []string            `json:"devices"`
	Flows   map[string][]string `json:"flows"`
	Checks  []doctor.Result     `json:"checks"` // what doctor warns of about the sessions that change
}

func describePlan(plan controller.Plan, changes map[string]flows.FlowChanges, checks []doctor.Result) (planView, string) {
	v := planView{Rows: []string{}, Devices: []string{}, Flows: map[string][]string{}, Checks: checks}
	var text strings.Builder
	for _, ops := range [][]flows.RowOp{plan.Rows.Before, plan.Rows.After, plan.Rows.Last} {
		for _, op := range ops {
			v.Rows = append(v.Rows, op.String())
			fmt.Fprintln(&text, session.Safe(op.String()))
		}
	}
	for sign, veths := range map[string][]flows.Veth{"+": plan.Veths.Add, "-": plan.Veths.Delete} {
		for _, pair := range veths {
			v.Devices = append(v.Devices, sign+" "+pair.String())
		}
	}
	slices.Sort(v.Devices)
	v.Devices = append(v.Devices, plan.Isolation.Changes...)
	for _, d := range v.Devices {
		fmt.Fprintln(&text, session.Safe(d))
	}
	for _, bridge := range slices.Sorted(maps.Keys(changes)) {
		fmt.Fprintf(&text, "flows of %s:\n", bridge)
		if changes[bridge].MatchFragments {
			v.Flows[bridge] = append(v.Flows[bridge], "~ set-frags "+flows.FragmentsNXMatch.String())
		}
		for _, m := range changes[bridge].AddMeters {
			v.Flows[bridge] = append(v.Flows[bridge], "+ "+m.String())
		}
		for _, m := range changes[bridge].SetMeters {
			v.Flows[bridge] = append(v.Flows[bridge], "~ "+m.String())
		}
		for _, l := range changes[bridge].Delete {
			v.Flows[bridge] = append(v.Flows[bridge], "- "+l.String())
		}
		for _, l := range changes[bridge].Add {
			v.Flows[bridge] = append(v.Flows[bridge], "+ "+l.String())
		}
		for _, m := range changes[bridge].DeleteMeters {
			v.Flows[bridge] = append(v.Flows[bridge], "- "+m.String())
		}
		for _, l := range v.Flows[bridge] {
			fmt.Fprintln(&text, "  "+session.Safe(l))
		}
	}
	if text.Len() == 0 {
		return v, "nothing to do: every row and flow of ours is as wished\n"
	}
	if len(checks) > 0 {
		fmt.Fprintln(&text, "checks:")
		for _, r := range checks {
			about := r.Title
			if r.Session != "" {
				about += " (" + r.Session + ")"
			}
			fmt.Fprintf(&text, "  %s %s: %s\n    → %s\n", strings.ToUpper(string(r.Level)), session.Safe(about), session.Safe(r.Saw), session.Safe(r.Do))
		}
	}
	return v, text.String()
}
