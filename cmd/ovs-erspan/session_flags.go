package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// sessionFlags are the flags of `session add` and `session set` that say what a session is. Numbers are taken as text:
// what is wrong with them is said in the words of the field.
type sessionFlags struct {
	description, bridge        string
	sources, vlans, collectors commaList
	allPorts, allowMissing     bool
	allowOffload               bool
	direction, version         string
	sessionID, index, hwid     string
	permit, both, deny         []string
	snaplen, origin, dscp, ttl string
	expiresIn                  string
	maxRate                    string
	maxPackets, maxBytes       string
	kind, outputPort, from     string
}

func (f *sessionFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.kind, "type", "", "source (mirror to collectors) or destination (decapsulate what arrives) (default source)")
	flags.StringVar(&f.outputPort, "output-port", "", "destination session: `port` that the frames leave through; of --bridge, or a device that is on no bridge")
	flags.StringVar(&f.from, "from", "", "destination session: `address` of the sender, or any")
	flags.StringVar(&f.bridge, "bridge", "", "the production `bridge` that the sources, or the output port, are on")
	flags.Var(&f.sources, "source", "`port` to copy from; repeat it or list ports with commas; iface-id=ID finds a port by its external_ids")
	flags.BoolVar(&f.allPorts, "all-ports", false, "copy from every port of the bridge, also those that come later")
	flags.Var(&f.vlans, "vlan", "only these VLANs of the sources, 1..4094 (default all)")
	flags.StringVar(&f.direction, "direction", "", "ingress (rx: from the port), egress (tx: to the port) or both (default both; ingress with --all-ports)")
	flags.Var(&f.collectors, "collector", "IPv4 or IPv6 `address` that gets a copy; repeat it for one copy each")
	flags.StringVar(&f.sessionID, "session-id", "", "0..1023, decimal or 0x (default the lowest that is free, from 1)")
	flags.StringVar(&f.version, "erspan-version", "", "1 (Type II) or 2 (Type III) (default 1)")
	flags.StringVar(&f.index, "index", "", "0..1048575, version 1 only (default 0)")
	flags.StringVar(&f.hwid, "hwid", "", "hardware id, 0..63, version 2 only (default 0)")
	flags.StringArrayVar(&f.permit, "match", nil, "copy only what matches this `expression`, as in ovs-fields(7), such as tcp,tp_dst=443; repeat it to permit more (default all traffic)")
	flags.StringArrayVar(&f.both, "match-both-ways", nil, "as --match, and the same with source and destination exchanged")
	flags.StringArrayVar(&f.deny, "deny", nil, "never copy what matches this `expression`; wins over --match")
	flags.StringVar(&f.snaplen, "snaplen", "", "`bytes` of each frame to send, auto (what the path takes) or off (whole frames) (default auto)")
	flags.StringVar(&f.maxRate, "max-rate", "", "`rate` that copies to each collector do not exceed, such as 1000pps or 50Mbps; what is more is dropped and counted (default no limit)")
	flags.StringVar(&f.maxPackets, "max-packets", "", "the session ends when this `number` of packets was sent to each collector, or delivered (default no limit)")
	flags.StringVar(&f.maxBytes, "max-bytes", "", "the same, when their frames have this `number` of bytes, such as 10G")
	flags.StringVar(&f.origin, "origin", "", "local `address` that copies come from (default by route)")
	flags.StringVar(&f.dscp, "dscp", "", "DSCP of the outer header, 0..63 (default 0)")
	flags.StringVar(&f.ttl, "ttl", "", "TTL of the outer header, 1..255 (default 64)")
	flags.StringVar(&f.expiresIn, "expires-in", "", "the session ends and is removed after this `time`, such as 90m (default never)")
	flags.BoolVar(&f.allowMissing, "allow-missing", false, "accept sources that do not exist yet")
	flags.BoolVar(&f.allowOffload, "allow-hw-offload", false, "accept that offloads may cost copies: a network card forwards packets without one (other_config:hw-offload=true), TCP is lost in front of the tunnel (userspace-tso-enable=true)")
	flags.StringVar(&f.description, "description", "", "a `text` for people")
}

// complete offers what the live Open vSwitch has.
func (f *sessionFlags) complete(a *app, cmd *cobra.Command) {
	fixed := func(values ...string) cobra.CompletionFunc {
		return cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
	}
	must(cmd.RegisterFlagCompletionFunc("type", fixed("source", "destination")))
	must(cmd.RegisterFlagCompletionFunc("output-port", a.completePorts))
	must(cmd.RegisterFlagCompletionFunc("from", fixed(session.AnySender)))
	must(cmd.RegisterFlagCompletionFunc("bridge", a.completeBridges))
	must(cmd.RegisterFlagCompletionFunc("source", a.completePorts))
	must(cmd.RegisterFlagCompletionFunc("direction", fixed("ingress", "egress", "both")))
	must(cmd.RegisterFlagCompletionFunc("erspan-version", fixed("1\tType II", "2\tType III")))
	must(cmd.RegisterFlagCompletionFunc("snaplen", fixed("auto", "off")))
	for _, name := range []string{"vlan", "collector", "session-id", "index", "hwid", "match", "match-both-ways", "deny", "origin", "dscp", "ttl", "max-rate", "max-packets", "max-bytes", "expires-in", "description"} {
		must(cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
}

// apply sets the fields whose flags were given. It reports every fault, not just the first.
func (f *sessionFlags) apply(flags *pflag.FlagSet, s *session.Session) error {
	var faults []error
	given := func(name string, set func() error) {
		if !flags.Changed(name) {
			return
		}
		if err := set(); err != nil {
			faults = append(faults, flagFault(name, err))
		}
	}
	number := func(text string, to **int) func() error {
		return func() error {
			n, err := session.ParseNumber(text)
			*to = &n
			return err
		}
	}
	given("type", func() (err error) { s.Type, err = session.ParseType(f.kind); return err })
	given("output-port", func() error { s.OutputPort = f.outputPort; return nil })
	given("from", func() (err error) { s.From, err = session.ParseSender(f.from); return err })
	given("bridge", func() error { s.Bridge = f.bridge; return nil })
	given("description", func() error { s.Description = f.description; return nil })
	given("allow-hw-offload", func() error { s.AllowHWOffload = f.allowOffload; return nil })
	given("allow-missing", func() error { s.AllowMissing = f.allowMissing; return nil })
	given("source", func() error {
		s.Sources.Ports, s.Sources.All = f.sources, false
		return notEmpty(f.sources)
	})
	given("all-ports", func() error {
		s.Sources.All = f.allPorts
		if f.allPorts && !flags.Changed("source") {
			s.Sources.Ports = nil
		}
		return nil
	})
	given("vlan", func() (err error) { s.VLANs, err = parseNumbers(f.vlans); return err })
	given("direction", func() (err error) { s.Direction, err = session.ParseDirection(f.direction); return err })
	given("collector", func() (err error) { s.Collectors, err = parseAddresses(f.collectors); return err })
	given("erspan-version", func() (err error) { s.ERSPAN.Version, err = session.ParseVersion(f.version); return err })
	given("session-id", number(f.sessionID, &s.ERSPAN.SessionID))
	given("index", number(f.index, &s.ERSPAN.Index))
	given("hwid", number(f.hwid, &s.ERSPAN.HardwareID))
	given("dscp", number(f.dscp, &s.DSCP))
	given("ttl", number(f.ttl, &s.TTL))
	given("snaplen", func() (err error) { s.Snaplen, err = session.ParseSnaplen(f.snaplen); return err })
	given("max-packets", func() (err error) { s.MaxPackets, err = session.ParseAmount(f.maxPackets); return err })
	given("max-bytes", func() (err error) { s.MaxBytes, err = session.ParseAmount(f.maxBytes); return err })
	given("origin", func() (err error) { s.Origin, err = session.ParseAddress(f.origin); return err })
	given("max-rate", func() (err error) { s.MaxRate, err = session.ParseRate(f.maxRate); return err })
	given("expires-in", func() error {
		left, err := time.ParseDuration(f.expiresIn)
		if err != nil || left < time.Second {
			return fmt.Errorf("%s: want a time of at least 1s, such as 90m or 24h", session.Quote(f.expiresIn))
		}
		end := time.Now().Add(left).UTC().Truncate(time.Millisecond)
		s.ExpiresAt = &end
		return nil
	})
	given("match", func() error {
		s.Match = replaceRules(s.Match, f.permit, func(r session.Rule) bool { return r.Permit != "" }, func(e string) session.Rule { return session.Rule{Permit: e} })
		return notEmpty(f.permit)
	})
	given("match-both-ways", func() error {
		s.Match = replaceRules(s.Match, f.both, func(r session.Rule) bool { return r.PermitBothWays != "" }, func(e string) session.Rule { return session.Rule{PermitBothWays: e} })
		return notEmpty(f.both)
	})
	given("deny", func() error {
		s.Match = replaceRules(s.Match, f.deny, func(r session.Rule) bool { return r.Deny != "" }, func(e string) session.Rule { return session.Rule{Deny: e} })
		return notEmpty(f.deny)
	})
	return errors.Join(faults...)
}

// replaceRules puts new rules of one kind in the place of the old ones.
func replaceRules(rules []session.Rule, exprs []string, isKind func(session.Rule) bool, make func(string) session.Rule) []session.Rule {
	kept := slices.DeleteFunc(slices.Clone(rules), isKind)
	for _, e := range exprs {
		kept = append(kept, make(e))
	}
	return kept
}

func notEmpty(values []string) error {
	for _, v := range values {
		if strings.TrimSpace(v) == "" {
			return fmt.Errorf("a value is empty: leave the flag out for the default, or use 'session set --unset'")
		}
	}
	if len(values) == 0 {
		return fmt.Errorf("the list is empty: leave the flag out for the default, or use 'session set --unset'")
	}
	return nil
}

func parseNumbers(texts []string) ([]int, error) {
	var numbers []int
	for _, t := range texts {
		n, err := session.ParseNumber(t)
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, n)
	}
	return numbers, notEmpty(texts)
}

func parseAddresses(texts []string) ([]netip.Addr, error) {
	var addrs []netip.Addr
	for _, t := range texts {
		a, err := session.ParseAddress(t)
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, a)
	}
	return addrs, notEmpty(texts)
}
