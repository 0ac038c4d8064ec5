package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ovs-erspan/ovs-erspan/session"
)

func newSessionAddCommand(a *app) *cobra.Command {
	var (
		spec                     sessionFlags
		mayExist, noWait, dryRun bool
	)
	cmd := &cobra.Command{
		Use:   "add NAME --bridge BRIDGE (--source PORT... | --all-ports) --collector IP... [flags]",
		Short: "Create a session",
		Long: `Create a session: copy what the sources on a bridge receive and send to each collector, as ERSPAN.

Everything is checked first; a refused command changes nothing. It returns when the session is in force: from then on no
packet is missed.`,
		Example: `  # everything from and to one port
  ovs-erspan session add web --bridge br0 --source vnet0 --collector 192.0.2.9

  # ERSPAN Type III, HTTPS of two ports in both directions, to two collectors
  ovs-erspan session add https --bridge br0 --source vnet0,vnet1 --collector 192.0.2.9 --collector 2001:db8::9 \
      --erspan-version 2 --hwid 7 --match-both-ways tcp,tp_dst=443

  # what enters the bridge in VLAN 10, but no ICMP, the first 128 bytes of each frame
  ovs-erspan session add vlan10 --bridge br0 --all-ports --vlan 10 --collector 192.0.2.9 --deny icmp --snaplen 128`,
		Args:              exactArgs(1, "the session's NAME"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			s := session.Session{Name: args[0]}
			if err := spec.apply(cmd.Flags(), &s); err != nil {
				return refuse(err)
			}
			return nameFlags(cmd.Flags(), args[0], a.withHost(cmd.Context(), func(ctx context.Context, h *host) error {
				return addSession(ctx, h, s, mayExist, noWait, dryRun)
			}))
		},
	}
	spec.register(cmd.Flags())
	spec.complete(a, cmd)
	cmd.Flags().BoolVar(&mayExist, "may-exist", false, "if the session exists, make it what is given here, wholly")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return when the session is stored, without putting it in force")
	dryRunFlag(cmd, &dryRun)
	return cmd
}

func addSession(ctx context.Context, h *host, s session.Session, mayExist, noWait, dryRun bool) error {
	return h.makeAndTell(ctx, edit{
		noWait: noWait, dryRun: dryRun, renewIdentities: true, about: func() []string { return []string{s.Name} },
		change: func(w *session.Wish) ([]string, error) {
			delete(w.Broken, s.Name)
			i, err := find(w, s.Name)
			switch {
			case err != nil:
				w.Sessions = append(w.Sessions, session.Stored{Session: s})
			case !mayExist:
				return nil, refuse(fmt.Errorf("session %q exists: change it with 'session set', or use --may-exist", s.Name))
			default:
				w.Sessions[i].Session = keepSessionID(s, w.Sessions[i].Session)
			}
			return []string{s.Name}, nil
		},
	}, func(status map[string]session.Status, err error) error {
		return errors.Join(h.report(status, "", noWait, s.Name), h.noteUnattended(err))
	})
}

// keepSessionID keeps the session id that was chosen before where a new wish leaves it open.
func keepSessionID(s, was session.Session) session.Session {
	if s.ERSPAN.SessionID == nil {
		s.ERSPAN.SessionID = was.ERSPAN.SessionID
	}
	return s
}
