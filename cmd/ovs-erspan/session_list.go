package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ovs-erspan/ovs-erspan/erspan"
	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

func newSessionListCommand(a *app) *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List sessions: what is wished, in force and counted",
		Example: `  ovs-erspan session list
  ovs-erspan session list --watch
  ovs-erspan session list -o json`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.show(cmd.Context(), watch, func(ctx context.Context, h *host, last *[]sessionView) error {
				views, err := h.views(ctx)
				if err != nil && views == nil {
					return err
				}
				if views == nil {
					views = []sessionView{}
				}
				text := listText(views, *last, a.output == "wide")
				*last = views
				return errors.Join(a.print(views, text), err)
			})
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again each second, with rates, until interrupted")
	return cmd
}

// watchInterval is how often --watch looks.
const watchInterval = time.Second

// show runs a look at the host once, or each second until interrupted. last carries what was seen before, for rates.
func (a *app) show(ctx context.Context, watch bool, look func(ctx context.Context, h *host, last *[]sessionView) error) error {
	var last []sessionView
	if !watch {
		return a.withHost(ctx, func(ctx context.Context, h *host) error {
			h.noteRestored()
			return look(ctx, h, &last)
		})
	}
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		err := a.withHost(ctx, func(ctx context.Context, h *host) error { return look(ctx, h, &last) })
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			a.printError(err) // it may come back
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if !a.quietNotes() {
				fmt.Fprintln(a.out)
			}
		}
	}
}

func listText(views, last []sessionView, wide bool) string {
	if len(views) == 0 {
		return "no sessions\n"
	}
	var buf bytes.Buffer
	w := tabwriter.NewWriter(&buf, 0, 0, 2, ' ', 0)
	header := "NAME\tSTATE\tBRIDGE\tSOURCES\tDIRECTION\tERSPAN\tID\tCOLLECTORS\tTAPPED\tSENT\tLOST"
	if wide {
		header += "\tGUARDED\tMATCHED\tFILTERED\tLIMITED\tSNAPLEN\tMATCH"
	}
	if last != nil {
		header += "\tSENT/S"
	}
	fmt.Fprintln(w, header)
	for _, v := range views {
		state := string(v.Status.State)
		if v.Status.Reason != "" && v.Status.Reason != "InForce" && v.Status.Reason != "Disabled" {
			state += " (" + v.Status.Reason + ")"
		}
		s := v.Spec
		from, to, in, out := sourcesText(s), joinAddrs(s.Collectors), v.Status.Tapped, v.Status.Sent
		if v.Type == session.Destination {
			from, to, in, out = fromText(s), s.OutputPort, v.Status.Terminated, v.Status.Delivered
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", nameText(v.Name), state, dash(s.Bridge), from, dash(string(s.Direction)),
			versionText(s), idText(s), dash(to), packetsText(in), packetsText(out), packetsText(v.Status.Lost))
		if wide {
			fmt.Fprintf(w, "\t%s\t%s\t%s\t%s\t%s\t%s", packetsText(v.Status.Guarded), packetsText(v.Status.Matched), packetsText(v.Status.Filtered), packetsText(v.Status.Limited), s.Snaplen, dash(matchText(s)))
		}
		if last != nil {
			fmt.Fprintf(w, "\t%s", rate(v, last))
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	for _, v := range views {
		if v.Status.CountersUntil != nil {
			fmt.Fprintf(&buf, "%s: counted until %s\n", nameText(v.Name), v.Status.CountersUntil.Format(time.RFC3339))
		}
		if v.Name == unmatchedName {
			fmt.Fprintf(&buf, "%s: %s\n", v.Name, v.Status.Message)
		}
	}
	return buf.String()
}

// packetsText is a number of packets, or that it is not known.
func packetsText(c *flows.Count) string {
	if c == nil {
		return "-"
	}
	return strconv.FormatUint(c.Packets, 10)
}

// fromText is where the frames of a destination session come from.
func fromText(s session.Session) string {
	if s.From == "" {
		return "-"
	}
	return "from " + s.From
}

// rate is how many packets were sent, or delivered, since the last look.
func rate(v sessionView, last []sessionView) string {
	for _, l := range last {
		if l.Name != v.Name || l.slot != v.slot {
			continue
		}
		now, before := v.Status.Sent, l.Status.Sent
		if v.Type == session.Destination {
			now, before = v.Status.Delivered, l.Status.Delivered
		}
		if now != nil && before != nil && now.Packets >= before.Packets {
			return strconv.FormatUint(now.Packets-before.Packets, 10)
		}
	}
	return "-"
}

// nameText is a session's name on a terminal. That of a key which somebody wrote by hand may be anything.
func nameText(name string) string {
	if session.CheckName(name) == nil || name == unmatchedName {
		return name
	}
	return session.Quote(name)
}

func versionText(s session.Session) string {
	if s.ERSPAN.Version == 0 {
		return "-"
	}
	return erspan.Version(s.ERSPAN.Version).String()
}

func idText(s session.Session) string {
	if s.ERSPAN.SessionID == nil {
		return "-"
	}
	return strconv.Itoa(*s.ERSPAN.SessionID)
}

func sourcesText(s session.Session) string {
	text := strings.Join(s.Sources.Ports, ",")
	if s.Sources.All {
		text = "all ports"
	}
	if len(s.VLANs) > 0 {
		vlans := make([]string, len(s.VLANs))
		for i, v := range s.VLANs {
			vlans[i] = strconv.Itoa(v)
		}
		text += " vlan " + strings.Join(vlans, ",")
	}
	return dash(text)
}

func matchText(s session.Session) string {
	var rules []string
	for _, r := range s.Match {
		switch {
		case r.Deny != "":
			rules = append(rules, "deny "+r.Deny)
		case r.PermitBothWays != "":
			rules = append(rules, "both ways "+r.PermitBothWays)
		default:
			rules = append(rules, "permit "+r.Permit)
		}
	}
	return strings.Join(rules, "; ")
}

func joinAddrs(addrs []netip.Addr) string {
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.String()
	}
	return strings.Join(texts, ",")
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
