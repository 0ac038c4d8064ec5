package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// setFlags are the flags that only `session set` has: those that change one member of a list, and --unset.
type setFlags struct {
	addSource, removeSource       commaList
	addVLAN, removeVLAN           commaList
	addCollector, removeCollector commaList
	addMatch, removeMatch         []string
	addDeny, removeDeny           []string
	unset                         commaList
}

func newSessionSetCommand(a *app) *cobra.Command {
	var (
		spec           sessionFlags
		lists          setFlags
		noWait, dryRun bool
	)
	cmd := &cobra.Command{
		Use:   "set NAME [flags]",
		Short: "Change a session in place",
		Long: `Change the named fields of a session in place, as one change; all other fields stay, and other sessions lose no
packet meanwhile. A list that is given replaces the old one; --add-… and --remove-… change one member.`,
		Example: `  ovs-erspan session set web --session-id 7 --add-collector 192.0.2.10
  ovs-erspan session set web --match tcp,tp_dst=443 --snaplen 128
  ovs-erspan session set web --unset match --unset snaplen`,
		Args:              exactArgs(1, "the session's NAME"),
		ValidArgsFunction: a.completeSessions(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !changesSession(cmd.Flags()) {
				return refuse(fmt.Errorf("session set %s: no field is given: name one at least, such as --collector, --snaplen or --unset (see '%s --help')", args[0], cmd.CommandPath()))
			}
			return nameFlags(cmd.Flags(), args[0], a.withHost(cmd.Context(), func(ctx context.Context, h *host) error {
				return h.makeAndTell(ctx, edit{
					noWait: noWait, dryRun: dryRun, about: func() []string { return args },
					// Naming the sources again is how a user says that a new owner of a port is meant.
					renewIdentities: cmd.Flags().Changed("source"),
					change: func(w *session.Wish) ([]string, error) {
						i, err := find(w, args[0])
						if err != nil {
							return nil, err
						}
						s := &w.Sessions[i].Session
						*s = s.Clone()
						if err := errors.Join(unsetFields(lists.unset, s), spec.apply(cmd.Flags(), s), lists.apply(s)); err != nil {
							return nil, refuse(err)
						}
						if len(s.Match) == 0 {
							s.Match = nil // the last rule went: in a file an empty list is refused as a slip, here it is what was asked
						}
						return []string{s.Name}, nil
					},
				}, func(status map[string]session.Status, err error) error {
					return errors.Join(h.report(status, "", noWait, args[0]), err)
				})
			}))
		},
	}
	spec.register(cmd.Flags())
	spec.complete(a, cmd)
	lists.register(a, cmd)
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return when the change is stored, without putting it in force")
	dryRunFlag(cmd, &dryRun)
	return cmd
}

// changesSession tells whether a flag was given that changes a field.
func changesSession(flags *pflag.FlagSet) bool {
	return flags.Changed("unset") || slices.ContainsFunc(flagFields, func(f flagField) bool { return flags.Changed(f.flag) })
}

func (l *setFlags) register(a *app, cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Var(&l.addSource, "add-source", "one more source `port`")
	flags.Var(&l.removeSource, "remove-source", "one source `port` less")
	flags.Var(&l.addVLAN, "add-vlan", "one more VLAN")
	flags.Var(&l.removeVLAN, "remove-vlan", "one VLAN less")
	flags.Var(&l.addCollector, "add-collector", "one more collector `address`")
	flags.Var(&l.removeCollector, "remove-collector", "one collector `address` less")
	flags.StringArrayVar(&l.addMatch, "add-match", nil, "one more permit `expression`")
	flags.StringArrayVar(&l.removeMatch, "remove-match", nil, "one permit `expression` less, as 'session show' has it")
	flags.StringArrayVar(&l.addDeny, "add-deny", nil, "one more deny `expression`")
	flags.StringArrayVar(&l.removeDeny, "remove-deny", nil, "one deny `expression` less, as 'session show' has it")
	flags.Var(&l.unset, "unset", "`field` that returns to its default: "+strings.Join(unsettable(), ", "))
	must(cmd.RegisterFlagCompletionFunc("add-source", a.completePorts))
	must(cmd.RegisterFlagCompletionFunc("remove-source", a.completePorts))
	must(cmd.RegisterFlagCompletionFunc("unset", cobra.FixedCompletions(unsettable(), cobra.ShellCompDirectiveNoFileComp)))
	for _, name := range []string{"add-vlan", "remove-vlan", "add-collector", "remove-collector", "add-match", "remove-match", "add-deny", "remove-deny"} {
		must(cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
}

// apply changes members of lists. What is added twice or removed without being there is refused: it is not what the user
// thinks it is.
func (l *setFlags) apply(s *session.Session) error {
	var faults []error
	note := func(flag string, err error) {
		if err != nil {
			faults = append(faults, flagFault(flag, err))
		}
	}
	var err error
	s.Sources.Ports, err = addTo(s.Sources.Ports, l.addSource)
	note("add-source", err)
	s.Sources.Ports, err = removeFrom(s.Sources.Ports, l.removeSource)
	note("remove-source", err)
	s.VLANs, err = changeList(s.VLANs, l.addVLAN, session.ParseNumber, addTo)
	note("add-vlan", err)
	s.VLANs, err = changeList(s.VLANs, l.removeVLAN, session.ParseNumber, removeFrom)
	note("remove-vlan", err)
	s.Collectors, err = changeList(s.Collectors, l.addCollector, session.ParseAddress, addTo[netip.Addr])
	note("add-collector", err)
	s.Collectors, err = changeList(s.Collectors, l.removeCollector, session.ParseAddress, removeFrom[netip.Addr])
	note("remove-collector", err)
	permit := func(e string) (session.Rule, error) { return session.Rule{Permit: e}, nil }
	deny := func(e string) (session.Rule, error) { return session.Rule{Deny: e}, nil }
	s.Match, err = changeList(s.Match, l.addMatch, permit, addTo)
	note("add-match", err)
	s.Match, err = removeMatches(s.Match, l.removeMatch)
	note("remove-match", err)
	s.Match, err = changeList(s.Match, l.addDeny, deny, addTo)
	note("add-deny", err)
	s.Match, err = changeList(s.Match, l.removeDeny, deny, removeFrom)
	note("remove-deny", err)
	return errors.Join(faults...)
}

// removeMatches takes out permit rules of either kind.
func removeMatches(rules []session.Rule, exprs []string) ([]session.Rule, error) {
	for _, e := range exprs {
		i := slices.IndexFunc(rules, func(r session.Rule) bool { return e != "" && (r.Permit == e || r.PermitBothWays == e) })
		if i < 0 {
			return rules, fmt.Errorf("%s is not in the session", session.Quote(e))
		}
		rules = slices.Delete(rules, i, i+1)
	}
	return rules, nil
}

func changeList[T comparable](list []T, texts []string, parse func(string) (T, error), change func([]T, []T) ([]T, error)) ([]T, error) {
	var values []T
	for _, t := range texts {
		v, err := parse(t)
		if err != nil {
			return list, err
		}
		values = append(values, v)
	}
	return change(list, values)
}

func addTo[T comparable](list, values []T) ([]T, error) {
	for _, v := range values {
		if slices.Contains(list, v) {
			return list, fmt.Errorf("%s is in the session already", session.Quote(fmt.Sprint(v)))
		}
		list = append(list, v)
	}
	return list, nil
}

func removeFrom[T comparable](list, values []T) ([]T, error) {
	for _, v := range values {
		i := slices.Index(list, v)
		if i < 0 {
			return list, fmt.Errorf("%s is not in the session", session.Quote(fmt.Sprint(v)))
		}
		list = slices.Delete(list, i, i+1)
	}
	return list, nil
}

// defaults says for each field that --unset takes how it returns to its default. The names are those of the flags.
var defaults = map[string]func(*session.Session){
	"bridge":         func(s *session.Session) { s.Bridge = "" },
	"description":    func(s *session.Session) { s.Description = "" },
	"vlan":           func(s *session.Session) { s.VLANs = nil },
	"direction":      func(s *session.Session) { s.Direction = "" },
	"session-id":     func(s *session.Session) { s.ERSPAN.SessionID = nil },
	"erspan-version": func(s *session.Session) { s.ERSPAN.Version = 0 },
	"index":          func(s *session.Session) { s.ERSPAN.Index = nil },
	"hwid":           func(s *session.Session) { s.ERSPAN.HardwareID = nil },
	"match": func(s *session.Session) {
		s.Match = slices.DeleteFunc(s.Match, func(r session.Rule) bool { return r.Deny == "" })
	},
	"deny": func(s *session.Session) {
		s.Match = slices.DeleteFunc(s.Match, func(r session.Rule) bool { return r.Deny != "" })
	},
	"max-packets":      func(s *session.Session) { s.MaxPackets = 0 },
	"max-bytes":        func(s *session.Session) { s.MaxBytes = 0 },
	"max-rate":         func(s *session.Session) { s.MaxRate = session.Rate{} },
	"snaplen":          func(s *session.Session) { s.Snaplen = session.SnaplenAuto },
	"origin":           func(s *session.Session) { s.Origin = netip.Addr{} },
	"dscp":             func(s *session.Session) { s.DSCP = nil },
	"ttl":              func(s *session.Session) { s.TTL = nil },
	"expires-in":       func(s *session.Session) { s.ExpiresAt = nil },
	"allow-missing":    func(s *session.Session) { s.AllowMissing = false },
	"allow-hw-offload": func(s *session.Session) { s.AllowHWOffload = false },
}

func unsettable() []string {
	names := make([]string, 0, len(defaults))
	for name := range defaults {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func unsetFields(fields []string, s *session.Session) error {
	for _, f := range fields {
		reset, ok := defaults[f]
		if !ok {
			return flagFault("unset", fmt.Errorf("%s: want one of %s", session.Quote(f), strings.Join(unsettable(), ", ")))
		}
		reset(s)
	}
	return nil
}
