//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

func newDemoCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show a session from nothing to decoded packets, in a private lab",
		Long: `Show two sessions from nothing to decoded packets: a private Open vSwitch in network namespaces of its own, two
guests that talk, and a collector. The Open vSwitch of this host, if there is one, is not touched, and nothing is left
behind, also when the demo is interrupted. It needs root, Open vSwitch's programs, tcpdump and tshark.`,
		Example:           `  sudo ovs-erspan demo`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Minute)
			defer cancel()
			l, err := lab.New(ctx, "")
			if err != nil {
				return err
			}
			d := &demo{app: a, lab: l}
			err = d.play(ctx)
			return errors.Join(err, l.Close())
		},
	}
}

// demo is a lab with host h1, guests a and b on br0, and a collector behind the underlay bridge br-ul.
type demo struct {
	app             *app
	lab             *lab.Lab
	host            *lab.Host
	a, b, collector *lab.Node
}

const (
	demoCollector = "192.0.2.9"
	demoPings     = 3
)

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.app.out, format+"\n", args...) }

func (d *demo) play(ctx context.Context) error {
	d.say("== A private lab: host h1 with Open vSwitch, guests a and b on br0, a collector behind br-ul")
	if err := d.build(ctx); err != nil {
		return err
	}
	d.say(`
   guest a 10.0.0.1 ── vnet0 ┐            ┌── br-erspan-nd (ours) ── es-tun-nd ──┐
                             br0 ─ mirror ┘                                      br-ul ── collector %s
   guest b 10.0.0.2 ── vnet1 ┘                                          192.0.2.1 ┘
`, demoCollector)
	for _, args := range [][]string{
		{"session", "add", "all", "--bridge", "br0", "--source", "vnet0", "--collector", demoCollector, "--session-id", "100", "--index", "10"},
		{"session", "add", "icmp3", "--bridge", "br0", "--source", "vnet0", "--collector", demoCollector, "--session-id", "200",
			"--erspan-version", "2", "--hwid", "7", "--match", "icmp"},
	} {
		if err := d.run(ctx, args...); err != nil {
			return err
		}
	}
	wire, err := d.collector.Capture(ctx, "eth0", "proto 47")
	if err != nil {
		return err
	}
	d.say("\n== Traffic: a pings b, %d times", demoPings)
	res, err := lab.Ping(ctx, d.a, netip.MustParseAddr("10.0.0.2"), lab.PingOptions{Count: demoPings})
	if err != nil {
		return err
	}
	d.say("%d of %d pings answered: the originals are not harmed", res.Received, demoPings)
	// Each ping is a request and a reply, and each is copied to both sessions.
	if err := wire.WaitCount(ctx, "erspan && icmp", 4*demoPings); err != nil {
		return err
	}
	if err := wire.Stop(ctx); err != nil {
		return err
	}
	if err := d.showWire(ctx, wire); err != nil {
		return err
	}
	d.say("\n== What was counted, stage by stage")
	for _, args := range [][]string{{"session", "list", "-o", "wide"}, {"session", "show", "icmp3"}, {"session", "remove", "all", "icmp3"}} {
		if err := d.run(ctx, args...); err != nil {
			return err
		}
	}
	bridges, err := d.host.Vsctl(ctx, "list-br")
	if err != nil {
		return err
	}
	d.say("\n== Bridges that are left: %s", strings.Join(strings.Fields(bridges), ", "))
	return nil
}

func (d *demo) build(ctx context.Context) (err error) {
	if d.host, err = d.lab.Host(ctx, "h1"); err != nil {
		return err
	}
	for _, n := range []struct {
		node **lab.Node
		name string
	}{{&d.a, "a"}, {&d.b, "b"}, {&d.collector, "collector"}} {
		if *n.node, err = d.lab.Guest(ctx, n.name); err != nil {
			return err
		}
	}
	return errors.Join(
		d.host.AddBridge(ctx, "br0"),
		d.host.AddBridge(ctx, "br-ul"),
		d.host.Attach(ctx, d.a, "br0", "vnet0", lab.GuestIf{Addrs: []string{"10.0.0.1/24"}}),
		d.host.Attach(ctx, d.b, "br0", "vnet1", lab.GuestIf{Addrs: []string{"10.0.0.2/24"}}),
		d.host.Attach(ctx, d.collector, "br-ul", "uplink", lab.GuestIf{Addrs: []string{demoCollector + "/24"}}),
		d.host.Underlay(ctx, "br-ul", 0, "192.0.2.1/24"),
	)
}

// run runs this very program on the lab's host, as a user would.
func (d *demo) run(ctx context.Context, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	d.say("\n$ ovs-erspan %s", strings.Join(args, " "))
	stdout, stderr, err := d.host.Run(ctx, lab.Command{Args: append([]string{self}, args...)})
	fmt.Fprint(d.app.out, stdout, stderr)
	return err
}

func (d *demo) showWire(ctx context.Context, wire *lab.Capture) error {
	d.say("\n== What came over the collector's wire, as tshark decodes it")
	rows, err := wire.Fields(ctx, "erspan && icmp", "ip.src", "ip.dst", "gre.proto", "erspan.version", "erspan.spanid", "erspan.direction", "erspan.hw", "icmp.type")
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(d.app.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "OUTER\tGRE\tVERSION\tSESSION\tDIRECTION\tHWID\tMIRRORED FRAME")
	for _, r := range rows {
		src, dst := strings.Split(r[0], ","), strings.Split(r[1], ",")
		what := map[string]string{"8": "echo request", "0": "echo reply"}[r[7]]
		fmt.Fprintf(w, "%s > %s\t%s\t%s\t%s\t%s\t%s\t%s > %s %s\n", src[0], dst[0], r[2], r[3], r[4], dash(r[5]), dash(r[6]), src[len(src)-1], dst[len(dst)-1], what)
	}
	return w.Flush()
}
