package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ovs-erspan/ovs-erspan/controller"
	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
	"github.com/ovs-erspan/ovs-erspan/trace"
)

// errNotWhole and errNotReached end `session trace` with an exit code; what is amiss is printed already.
var (
	errNotWhole   = errors.New("the way is not whole: see where packets are lost")
	errNotReached = errors.New("such a packet does not go all the way: see where it is lost")
)

func newSessionTraceCommand(a *app) *cobra.Command {
	var packet string
	cmd := &cobra.Command{
		Use:   "trace NAME",
		Short: "Show the path of a packet through a session, stage by stage, and where packets are lost",
		Long: `trace shows the way through a session: source, mirror, tap, guard, filter, encapsulation, and for each collector
tunnel, route, device and collector; of a destination session sender, tunnel, header, termination, delivery and output
port. Each stage comes with the rows and flows that it stands on, with what was counted there, and with what is lost there.

--packet asks Open vSwitch itself (ofproto/trace) what it would do with one packet: fields of ovs-fields(7) with exact
values, such as 'tcp,nw_src=10.0.0.1,tp_dst=443'. It comes in at the session's first source, or at in_port=PORT; for a
session that copies egress only, without in_port, at the tap, as if production had sent it to a source. Of a destination
session it is the mirrored frame; the header is the session's, unless tun_id, tun_src, tun_erspan_ver and the like say
otherwise. No packet is sent. -o wide shows actions and megaflows too.

Exit code: 0 the way is whole, 3 it is not: the session is not wholly in force, or the packet is lost on the way.`,
		Example: `  ovs-erspan session trace web
  ovs-erspan session trace web --packet 'tcp,nw_src=10.0.0.1,nw_dst=10.0.0.2,tp_dst=443'
  ovs-erspan session trace web --packet 'in_port=vnet1,icmp'
  ovs-erspan session trace web -o json`,
		Args:              exactArgs(1, "the session's NAME"),
		ValidArgsFunction: a.completeSessions(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withHost(cmd.Context(), func(ctx context.Context, h *host) error {
				o, err := h.observe(ctx)
				if err != nil {
					return err
				}
				i, err := find(&o.wish, args[0])
				if err != nil {
					return err
				}
				if cmd.Flags().Changed("packet") {
					return h.tracePacket(ctx, o, o.wish.Sessions[i], packet)
				}
				return h.tracePath(ctx, o, o.wish.Sessions[i])
			})
		},
	}
	cmd.Flags().StringVar(&packet, "packet", "", "what would happen to this packet, in ovs-fields(7) syntax")
	must(cmd.RegisterFlagCompletionFunc("packet", cobra.NoFileCompletions))
	return cmd
}

// megaflowLimit is how many megaflows a datapath may have for their dump not to be a load.
const megaflowLimit = 20000

// tracePath shows the way in general.
func (h *host) tracePath(ctx context.Context, o observed, s session.Stored) error {
	v := o.view(s.Name)
	in := trace.Input{
		Session: s, State: v.Status.State, Reason: v.Status.Reason, Message: v.Status.Message,
		Program: o.plan.Program, Host: o.plan.Input.State, Wished: maps.Clone(o.plan.Flows), There: maps.Clone(o.there),
	}
	if out := o.plan.Program.Outcomes[s.Name]; out != nil && out.Delivery != nil {
		bridge := out.Delivery.Bridge
		entries, err := h.ofctl.DumpOurs(ctx, bridge)
		if err != nil {
			return err
		}
		in.Wished[bridge], in.There[bridge] = o.plan.Deliveries[bridge], entries
	}
	in.Lost = map[string]flows.Count{}
	for _, c := range v.Status.Collectors {
		if c.Lost != nil {
			in.Lost[c.Address] = *c.Lost
		}
	}
	in.Megaflows, in.MegaflowsLeftOut = h.megaflows(ctx, o, s)
	path := trace.NewPath(in)
	if err := h.app.print(path, path.Text(h.app.output == "wide")); err != nil {
		return err
	}
	if !path.Whole {
		return withCode(exitNotInForce, errNotWhole)
	}
	return nil
}

// view is the session's.
func (o observed) view(name string) sessionView {
	i := slices.IndexFunc(o.views, func(v sessionView) bool { return v.Name == name })
	return o.views[i] // every session of the wish has one
}

// megaflows are those of the session, or the reason for which they are left out.
func (h *host) megaflows(ctx context.Context, o observed, s session.Stored) ([]trace.Megaflow, string) {
	out := o.plan.Program.Outcomes[s.Name]
	if out == nil || out.TapBridge == "" {
		return nil, ""
	}
	ctl := h.ctl
	counts, err := ctl.Megaflows(ctx)
	if err != nil {
		return nil, err.Error()
	}
	for datapath, n := range counts {
		if n > megaflowLimit {
			return nil, fmt.Sprintf("not looked at: %s has %d, and a dump of more than %d is a load", datapath, n, megaflowLimit)
		}
	}
	bridge := s.Bridge // where packets come in
	if s.Type == session.Destination {
		bridge = out.TapBridge
	}
	dump, err := ctl.DumpMegaflows(ctx, bridge)
	if err != nil {
		return nil, err.Error()
	}
	return trace.Megaflows(dump, s.Session), ""
}

// packetView is what `session trace --packet -o json` prints.
type packetView struct {
	Session string        `json:"session"`
	Type    session.Type  `json:"type"`
	State   session.State `json:"state"`
	Reason  string        `json:"reason,omitempty"`
	Message string        `json:"message,omitempty"`
	// Reaches tells that every copy of the packet goes all the way, and that there is one.
	Reaches bool        `json:"reaches"`
	Traces  []traceView `json:"traces"`
}

// traceView is one run of ofproto/trace.
type traceView struct {
	At string `json:"at"` // where the packet is put in, in words
	trace.Run
	// Production are the flows of other bridges that it met, in words.
	Production []string     `json:"production,omitempty"`
	Copies     []trace.Copy `json:"copies"`
	// IntoDevices tells that it ends in the devices of a segmented tap, which has a run of its own.
	IntoDevices bool `json:"intoDevices,omitempty"`
}

// entry is where a packet is put in.
type entry struct {
	bridge, flow, says string
}

// tracePacket asks Open vSwitch what it would do with the packet.
func (h *host) tracePacket(ctx context.Context, o observed, s session.Stored, packet string) error {
	v := o.view(s.Name)
	view := packetView{Session: s.Name, Type: v.Type, State: v.Status.State, Reason: v.Status.Reason, Message: v.Status.Message, Traces: []traceView{}}
	if view.Type == "" {
		view.Type = session.Source
	}
	out := o.plan.Program.Outcomes[s.Name]
	if out != nil && out.TapBridge != "" && o.plan.Input.State.Bridges[out.TapBridge] != nil {
		entries := sourceEntries(s, out, o.plan.Input.State, packet)
		if s.Type == session.Destination {
			entries = []entry{destinationEntry(s, out, o.plan, packet)}
		}
		met := map[string]bool{}
		for _, e := range entries {
			printed, err := h.ctl.Trace(ctx, e.bridge, e.flow)
			if err != nil {
				return tracePacketError(packet, err)
			}
			t := traceView{At: e.says, Run: trace.Parse(printed)}
			t.Production = trace.Production(t.Run, out.TapBridge)
			if s.Type == session.Destination {
				t.Copies = []trace.Copy{trace.FollowFrame(t.Run, s.Session, out)}
			} else {
				t.Copies, t.IntoDevices = trace.Follow(t.Run, s.Session, out), trace.IntoDevices(t.Run, out)
			}
			t.Copies = slices.DeleteFunc(t.Copies, func(c trace.Copy) bool { return c.Tap != "" && met[c.Tap] }) // an egress tap that production has led it to
			for _, c := range t.Copies {
				met[c.Tap] = true
			}
			if len(t.Copies) > 0 || e.bridge != out.TapBridge {
				view.Traces = append(view.Traces, t)
			}
		}
	}
	view.Reaches = view.reaches()
	if err := h.app.print(view, view.text(s.Session, h.app.output == "wide")); err != nil {
		return err
	}
	if !view.Reaches {
		return withCode(exitNotInForce, errNotReached)
	}
	return nil
}

func (v packetView) reaches() bool {
	copies := 0
	for _, t := range v.Traces {
		copies += len(t.Copies)
		if slices.ContainsFunc(t.Copies, func(c trace.Copy) bool { return !c.Reaches() }) {
			return false
		}
	}
	return copies > 0
}

// tracePacketError tells what the user has asked wrongly from what has failed.
func tracePacketError(packet string, err error) error {
	if _, said, ok := strings.Cut(err.Error(), "ofproto/trace: "); ok && !strings.Contains(said, "not running") {
		said, _, _ = strings.Cut(said, "\n")
		return refuse(&session.FieldError{Field: "--packet", Value: packet, Reason: "Open vSwitch does not take it: " + said,
			Remedy: "name fields of ovs-fields(7) with exact values, such as 'tcp,nw_src=10.0.0.1,tp_dst=443'"})
	}
	return err
}

// sourceEntries are where a packet is put in for a source session: production's bridge, where that alone can lead it to a
// tap, and, where the user names no port, each egress tap by itself, because where production would send the packet the
// user has not said. So is a segmented tap, whose two devices Open vSwitch does not see through.
func sourceEntries(s session.Stored, out *flows.Outcome, state flows.State, packet string) []entry {
	named := strings.Contains(","+packet, ",in_port=")
	copied := strings.Join(slices.DeleteFunc(strings.Split(packet, ","), func(f string) bool { return strings.HasPrefix(f, "in_port=") }), ",")
	var list []entry
	switch {
	case named:
		list = append(list, entry{s.Bridge, packet, fmt.Sprintf("at %s", s.Bridge)})
	case slices.ContainsFunc(out.Taps, func(t *flows.Tap) bool { return t.Direction != session.Egress }):
		source := sourcePort(s, out, state)
		list = append(list, entry{s.Bridge, joinFields("in_port="+source, packet), fmt.Sprintf("at %s, from %s", s.Bridge, source)})
	}
	for _, t := range out.Taps {
		if !t.Segmented && (named || t.Direction != session.Egress) {
			continue
		}
		flow := joinFields(fmt.Sprintf("in_port=%d", t.OFPort), copied)
		if t.Strip != 0 && !strings.Contains(packet, "vlan") {
			flow = joinFields(flow, fmt.Sprintf("dl_vlan=%d", t.Strip))
		}
		list = append(list, entry{out.TapBridge, flow, fmt.Sprintf("at the tap %s, as if %s had copied it on its way %s %s", t.EntryPort(), s.Bridge,
			map[session.Direction]string{session.Ingress: "from", session.Egress: "to"}[t.Direction], strings.Join(t.Ports, " or "))})
	}
	return list
}

// sourcePort is the interface through which a packet of a source comes in: the first source that is mirrored.
func sourcePort(s session.Stored, out *flows.Outcome, state flows.State) string {
	for _, t := range out.Taps {
		if t.Direction == session.Egress {
			continue
		}
		for _, name := range t.Ports {
			if p := state.Bridges[s.Bridge].Ports[name]; p != nil && flows.PresentInterface(p) != nil {
				return flows.PresentInterface(p).Name
			}
		}
	}
	return out.Taps[0].Ports[0]
}

// anySender stands for a sender that is not named (RFC 5737: documentation).
var anySender = netip.MustParseAddr("198.51.100.1")

// destinationEntry puts the frame in at the tunnel port, with the session's header where the user gives no other.
func destinationEntry(s session.Stored, out *flows.Outcome, plan controller.Plan, packet string) entry {
	from, said := anySender, "any sender (198.51.100.1 stands for it)"
	if a, err := netip.ParseAddr(s.From); err == nil {
		from, said = a, a.String()
	}
	fields := []string{}
	set := func(name, value string) {
		if !strings.Contains(","+packet, ","+name+"=") {
			fields = append(fields, name+"="+value)
		}
	}
	state := plan.Input.State.Bridges[out.TapBridge]
	for _, name := range slices.Sorted(maps.Keys(state.Ports)) {
		p := state.Ports[name]
		if p.ExternalIDs[flows.OwnerKey] != "tunnel" || len(p.Interfaces) == 0 || p.Interfaces[0].Options["remote_ip"] != "flow" {
			continue
		}
		if (p.Interfaces[0].Type == "ip6erspan") == from.Is6() || p.Interfaces[0].Type == "erspan" && state.NormalDatapathType() == "netdev" {
			set("in_port", fmt.Sprint(p.Interfaces[0].OFPort))
			break
		}
	}
	family := ""
	if from.Is6() {
		family = "ipv6_"
	}
	set("tun_"+family+"src", from.String())
	for key, path := range plan.Input.Paths {
		if key.Sender && key.Collector == from && path.Source.IsValid() {
			set("tun_"+family+"dst", path.Source.String())
		}
	}
	e := s.ERSPAN
	set("tun_id", fmt.Sprint(*e.SessionID))
	version := max(e.Version, 1)
	if strings.Contains(","+packet, ",tun_erspan_ver=2") || e.Version == 0 && (e.HardwareID != nil || s.Direction != "") {
		version = 2
	}
	set("tun_erspan_ver", fmt.Sprint(version))
	if version == 2 {
		hwid, direction := 0, "0"
		if e.HardwareID != nil {
			hwid = *e.HardwareID
		}
		if s.Direction == session.Egress {
			direction = "1"
		}
		set("tun_erspan_hwid", fmt.Sprint(hwid))
		set("tun_erspan_dir", direction)
	} else if e.Index != nil {
		set("tun_erspan_idx", fmt.Sprint(*e.Index))
	}
	return entry{out.TapBridge, joinFields(strings.Join(fields, ","), packet), "in ERSPAN from " + said}
}

func joinFields(a, b string) string { return strings.Trim(a+","+b, ",") }

// text is what would happen, in words.
func (v packetView) text(s session.Session, wide bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "session %s: %s", v.Session, v.State)
	if v.Reason != "" {
		fmt.Fprintf(&b, ", %s", v.Reason)
	}
	b.WriteString("\n")
	if v.Message != "" {
		fmt.Fprintf(&b, "  %s\n", v.Message)
	}
	if len(v.Traces) == 0 {
		b.WriteString("\nnothing of it is programmed: no copy is made\n")
		return b.String()
	}
	what := "packet"
	if v.Type == session.Destination {
		what = "frame"
	}
	for _, t := range v.Traces {
		fmt.Fprintf(&b, "\na %s %s:\n  %s\n", what, t.At, t.Flow)
		if len(t.Production) > 0 {
			b.WriteString("  production:\n")
			for _, p := range t.Production {
				fmt.Fprintf(&b, "    %s\n", p)
			}
		}
		if t.IntoDevices {
			b.WriteString("  a copy goes into the devices that take super-frames apart: see at the tap\n")
		} else if len(t.Copies) == 0 {
			fmt.Fprintf(&b, "  no copy: it passes none of the session's sources (%s, %s)\n", sourcesText(s), directionText(string(s.Direction)))
		}
		for _, c := range t.Copies {
			if c.Tap != "" {
				b.WriteString("  the copy:\n")
			}
			for _, step := range c.Steps {
				fmt.Fprintf(&b, "   %s %s\n", map[bool]string{true: " ", false: "▼"}[strings.HasPrefix(step, "✗")], step)
			}
			for _, send := range c.Sends {
				if send.Header != nil {
					fmt.Fprintf(&b, "   ● collector %s would get %s\n", send.Collector, send.Header)
				}
			}
		}
		if !wide {
			continue
		}
		for _, m := range t.Megaflow {
			fmt.Fprintf(&b, "  megaflow: %s\n", m)
		}
		for _, d := range t.Datapath {
			fmt.Fprintf(&b, "  datapath: %s\n", d)
		}
	}
	return b.String()
}
