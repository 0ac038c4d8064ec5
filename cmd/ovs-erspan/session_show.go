package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

func newSessionShowCommand(a *app) *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show one session: what is wished, in force, and counted stage by stage",
		Example: `  ovs-erspan session show web
  ovs-erspan session show web -o json`,
		Args:              exactArgs(1, "the session's NAME"),
		ValidArgsFunction: a.completeSessions(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.show(cmd.Context(), watch, func(ctx context.Context, h *host, last *[]sessionView) error {
				wish, err := h.db.Wish()
				if err != nil {
					return err
				}
				if _, broken := wish.Broken[args[0]]; !broken {
					if _, err := find(&wish, args[0]); err != nil {
						return err
					}
				}
				views, err := h.views(ctx)
				if err != nil && views == nil {
					return err
				}
				i := slices.IndexFunc(views, func(v sessionView) bool { return v.Name == args[0] })
				if i < 0 {
					return withCode(exitNoSession, fmt.Errorf("session %q was removed meanwhile", args[0]))
				}
				text := showText(views[i], *last)
				*last = views
				if views[i].Status.Reason != flows.ReasonUnreachable {
					err = nil // what cannot be seen is not about this one
				}
				return errors.Join(a.print(views[i], text), err)
			})
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again each second, with rates, until interrupted")
	return cmd
}

func showText(v sessionView, last []sessionView) string {
	var buf bytes.Buffer
	w := tabwriter.NewWriter(&buf, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		if value := session.Safe(fmt.Sprintf(format, args...)); value != "" && value != "-" {
			fmt.Fprintf(w, "%s:\t%s\n", name, value)
		}
	}
	s := v.Spec
	line("Session", "%s", nameText(v.Name))
	line("Description", "%s", s.Description)
	state := string(v.Status.State)
	if v.Status.Reason != "" {
		state += ", " + v.Status.Reason
	}
	line("State", "%s (since %s)", state, v.Status.Since.Format(time.RFC3339))
	line("Why", "%s", v.Status.Message)
	line("Bridge", "%s", s.Bridge)
	if v.Type == session.Destination {
		line("From", "%s", s.From)
		line("Output port", "%s", s.OutputPort)
		line("Direction", "%s", s.Direction)
	} else {
		line("Sources", "%s, %s", sourcesText(s), directionText(string(s.Direction)))
	}
	if v.Effective != nil && len(v.Effective.Ports) > 0 {
		line("Mirrored now", "%s", strings.Join(v.Effective.Ports, ", "))
	}
	if s.ExpiresAt != nil {
		line("Ends", "%s (in %s)", s.ExpiresAt.Local().Format(time.RFC3339), max(0, time.Until(*s.ExpiresAt)).Round(time.Second))
	}
	for _, r := range s.Match {
		switch {
		case r.Deny != "":
			line("Deny", "%s", r.Deny)
		case r.PermitBothWays != "":
			line("Permit both ways", "%s", r.PermitBothWays)
		default:
			line("Permit", "%s", r.Permit)
		}
	}
	version := versionText(s)
	if s.ERSPAN.Version == 0 {
		version = "any"
	}
	header := fmt.Sprintf("version %s, session id %s", version, idText(s))
	if s.ERSPAN.Index != nil {
		header += fmt.Sprintf(", index %d", *s.ERSPAN.Index)
	}
	if s.ERSPAN.HardwareID != nil {
		header += fmt.Sprintf(", hardware id %d", *s.ERSPAN.HardwareID)
	}
	line("ERSPAN", "%s", header)
	line("Maximal rate", "%s", s.MaxRate)
	if v.HostRate != nil {
		line("Of the host", "at most %s, of all sessions together", v.HostRate)
	}
	if used := v.Status.Used; used != nil {
		if s.MaxPackets > 0 {
			line("Ends after", "%s packets (%d now)", s.MaxPackets, used.Packets)
		}
		if s.MaxBytes > 0 {
			line("Ends after", "%s bytes (%d now)", s.MaxBytes, used.Bytes)
		}
	}
	for _, c := range v.Status.Collectors {
		line("Collector", "%s", collectorText(c))
	}
	w.Flush()
	buf.WriteString("\n")
	if v.Status.CountersUntil != nil {
		fmt.Fprintf(&buf, "counted until %s, when it was stopped (of its last second some may be missing)\n", v.Status.CountersUntil.Format(time.RFC3339))
	}
	writeStages(&buf, v, last)
	return buf.String()
}

func directionText(direction string) string {
	switch direction {
	case "ingress":
		return "what comes from them (ingress)"
	case "egress":
		return "what goes to them (egress)"
	}
	return "both directions"
}

func collectorText(c collectorView) string {
	text := c.Address
	if c.Device != "" {
		text += fmt.Sprintf(" from %s through %s", c.Origin, c.Device)
	}
	if c.Snaplen > 0 {
		text += fmt.Sprintf(", up to %d bytes of each frame (%s)", c.Snaplen, c.SnaplenReason)
	}
	if c.Message != "" {
		text += fmt.Sprintf("; %s, %s: %s", c.State, c.Reason, c.Message)
	}
	if c.Vanishes {
		text += "; what is sent to it now is lost"
	}
	if c.Lost != nil && c.Lost.Packets > 0 {
		text += fmt.Sprintf("; lost %d of %s", c.Lost.Packets, packetsText(c.Sent))
	}
	return text
}

// writeStages is the way of the copies, with what was counted at each stage.
func writeStages(buf *bytes.Buffer, v sessionView, last []sessionView) {
	w := tabwriter.NewWriter(buf, 0, 0, 2, ' ', tabwriter.AlignRight)
	var was *statusView
	for i := range last {
		if last[i].Name == v.Name && last[i].slot == v.slot {
			was = &last[i].Status
		}
	}
	fmt.Fprint(w, "STAGE\tPACKETS\tBYTES\t")
	if was != nil {
		fmt.Fprint(w, "PACKETS/S\t")
	}
	fmt.Fprintln(w)
	stage := func(name string, now *flows.Count, before func(*statusView) *flows.Count) {
		if now == nil {
			fmt.Fprintf(w, "%s\t-\t-\t", name)
		} else {
			fmt.Fprintf(w, "%s\t%d\t%d\t", name, now.Packets, now.Bytes)
		}
		if was != nil {
			rate := "-"
			if b := before(was); now != nil && b != nil {
				rate = fmt.Sprint(max(now.Packets, b.Packets) - b.Packets)
			}
			fmt.Fprintf(w, "%s\t", rate)
		}
		fmt.Fprintln(w)
	}
	if v.Type == session.Destination {
		stage("terminated", v.Status.Terminated, func(s *statusView) *flows.Count { return s.Terminated })
		stage("delivered", v.Status.Delivered, func(s *statusView) *flows.Count { return s.Delivered })
		stage("oversize", v.Status.Oversize, func(s *statusView) *flows.Count { return s.Oversize })
		w.Flush()
		return
	}
	stage("tapped", v.Status.Tapped, func(s *statusView) *flows.Count { return s.Tapped })
	stage("guarded", v.Status.Guarded, func(s *statusView) *flows.Count { return s.Guarded })
	stage("matched", v.Status.Matched, func(s *statusView) *flows.Count { return s.Matched })
	stage("filtered", v.Status.Filtered, func(s *statusView) *flows.Count { return s.Filtered })
	if !v.Spec.MaxRate.IsZero() || v.HostRate != nil {
		stage("limited", v.Status.Limited, func(s *statusView) *flows.Count { return s.Limited })
	}
	stage("sent", v.Status.Sent, func(s *statusView) *flows.Count { return s.Sent })
	stage("lost", v.Status.Lost, func(s *statusView) *flows.Count { return s.Lost })
	w.Flush()
	writeLost(buf, v)
}
