package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ovs-erspan/ovs-erspan/compose"
	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/probe"
	"github.com/ovs-erspan/ovs-erspan/session"
	"github.com/ovs-erspan/ovs-erspan/trace"
)

// errNotProven ends `session verify` with an exit code; why is printed already.
var errNotProven = errors.New("not proven: see above")

// verifyFlags are those of `session verify`.
type verifyFlags struct {
	packet     string
	count      int
	wait       time.Duration
	mustArrive bool
	deliver    bool
}

// maxProbes is the largest sequence number of a probe.
const maxProbes = 255

func newSessionVerifyCommand(a *app) *cobra.Command {
	f := &verifyFlags{}
	cmd := &cobra.Command{
		Use:   "verify NAME",
		Short: "Prove that a session works: send marked frames through it, end to end",
		Long: `verify puts a few marked frames (probes) in where the session's taps feed our own bridge, as if a mirror had copied them.
Each must be counted at every stage and leave with the right header; and where 'ovs-erspan capture --answer-probes' runs at
the collector, each is seen to arrive, with the time that it took. No production bridge and no production device sees a
probe. Sessions that share a tap with this one send it to their collectors too; the output names them.

A probe is an Ethernet frame of 60 bytes or more between addresses that no device has (02:e2:5a:… and 06:e2:…), of the
experimental EtherType 0x88b5. Where the session's rules would drop that, it is made to fit the first permit rule that
lets one through, or is what --packet says: fields of ovs-fields(7) with exact values. That the rules drop it is said, and
then nothing is sent.

Of a destination session verify tells what Open vSwitch would do with a frame that has its header. --deliver sends one:
whoever listens at the output port sees it.

Exit code: 0 proven, 1 not proven (a probe is lost or filtered, has a wrong header, or with --must-arrive is not seen to
arrive), 3 the session is not, or not wholly, in force.`,
		Example: `  ovs-erspan session verify web
  # at the collector, before that, so that arrival is proven too:
  ovs-erspan capture --answer-probes
  ovs-erspan session verify web --count 20 --must-arrive
  ovs-erspan session verify https --packet tcp,nw_dst=10.0.0.2,tp_dst=443`,
		Args:              exactArgs(1, "the session's NAME"),
		ValidArgsFunction: a.completeSessions(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(cmd); err != nil {
				return refuse(err)
			}
			a.timeout += f.wait // which bounds the rest
			return a.withHost(cmd.Context(), func(ctx context.Context, h *host) error {
				o, err := h.observe(ctx)
				if err != nil {
					return err
				}
				i, err := find(&o.wish, args[0])
				if err != nil {
					return err
				}
				return h.verify(ctx, o, o.wish.Sessions[i], *f)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.packet, "packet", "", "what the probe is to be, in ovs-fields(7) syntax")
	flags.IntVarP(&f.count, "count", "c", 3, "how many probes to send at each tap, 1 to 255")
	flags.DurationVar(&f.wait, "wait", time.Second, "how long to wait for answers of receivers")
	flags.BoolVar(&f.mustArrive, "must-arrive", false, "fail where a collector does not answer")
	flags.BoolVar(&f.deliver, "deliver", false, "destination session: send a probe out through the output port")
	must(cmd.RegisterFlagCompletionFunc("packet", cobra.NoFileCompletions))
	return cmd
}

func (f *verifyFlags) check(cmd *cobra.Command) error {
	var faults []error
	add := func(field, value, reason, allowed string) {
		faults = append(faults, &session.FieldError{Field: field, Value: value, Reason: reason, Allowed: allowed})
	}
	if f.count < 1 || f.count > maxProbes {
		add("--count", fmt.Sprint(f.count), "", "1 to 255")
	}
	if f.wait < 0 || f.wait > time.Minute {
		add("--wait", f.wait.String(), "", "0s to 1m")
	}
	for field := range strings.SplitSeq(f.packet, ",") {
		switch name, _, _ := strings.Cut(strings.TrimSpace(field), "="); name {
		case "in_port":
			add("--packet", f.packet, "a probe comes in at the session's taps, not at a port", "")
		case "dl_src", "dl_dst", "eth_src", "eth_dst":
			add("--packet", f.packet, name+" is the mark of a probe", "fields other than Ethernet addresses")
		}
	}
	if cmd.Flags().Changed("packet") && strings.TrimSpace(f.packet) == "" {
		add("--packet", f.packet, "is empty", "fields of ovs-fields(7), such as tcp,tp_dst=443")
	}
	return errors.Join(faults...)
}

// verify sends probes and judges what became of them.
func (h *host) verify(ctx context.Context, o observed, s session.Stored, f verifyFlags) error {
	v := o.view(s.Name)
	if s.Type == session.Destination {
		return h.verifyDestination(ctx, o, s, f)
	}
	if f.deliver {
		return refuse(&session.FieldError{Field: "--deliver", Reason: fmt.Sprintf("session %q is a source session, whose probes leave for its collectors anyway", s.Name)})
	}
	proof := trace.Proof{Session: s.Name, Type: session.Source, State: v.Status.State, Reason: v.Status.Reason, Message: v.Status.Message, Taps: []trace.TapProof{}}
	out := o.plan.Program.Outcomes[s.Name]
	if taps := readyTaps(out, o.plan.Input.State); len(taps) > 0 {
		if err := h.probe(ctx, &proof, o, s, out, taps, f); err != nil {
			return err
		}
	}
	return h.conclude(proof, f)
}

// conclude judges, shows and gives the exit code.
func (h *host) conclude(proof trace.Proof, f verifyFlags) error {
	proof.Judge()
	if err := h.app.print(proof, proof.Text()); err != nil {
		return err
	}
	switch {
	case proof.Verdict == trace.NotInForce, proof.State != session.Active:
		return withCode(exitNotInForce, fmt.Errorf("session %q is %s: %s", proof.Session, proof.State, proof.Message))
	case proof.Verdict == trace.Arrived, proof.Verdict == trace.Traced, proof.Verdict == trace.Delivered, proof.Verdict == trace.Left && !f.mustArrive:
		return nil
	}
	return withCode(exitFailed, errNotProven)
}

// verifyDestination tells what becomes of a frame with the session's header, and with --deliver sends one.
func (h *host) verifyDestination(ctx context.Context, o observed, s session.Stored, f verifyFlags) error {
	v := o.view(s.Name)
	proof := trace.Proof{Session: s.Name, Type: session.Destination, State: v.Status.State, Reason: v.Status.Reason, Message: v.Status.Message, Taps: []trace.TapProof{}}
	out := o.plan.Program.Outcomes[s.Name]
	if out == nil || o.plan.Input.State.Bridges[out.TapBridge] == nil {
		return h.conclude(proof, f)
	}
	p := prober{host: h, session: s, out: out, run: rand.Uint32N(probe.MaxRun + 1), fields: f.packet}
	proof.Run, proof.Packet = fmt.Sprintf("%06x", p.run), f.packet
	header := destinationEntry(s, out, o.plan, "").flow
	inPort, metadata := tunnelMetadata(header)
	frame, flow, err := p.frame(&flows.Tap{}, 0, 0)
	if err != nil {
		return refuse(&session.FieldError{Field: "--packet", Value: f.packet, Reason: err.Error()})
	}
	printed, err := h.ctl.Trace(ctx, out.TapBridge, joinFields(header, flow))
	if err != nil {
		return err
	}
	run := trace.Parse(printed)
	proof.Frame, proof.Length = run.Flow, len(frame)
	tap := trace.TapProof{Copy: trace.FollowFrame(run, s.Session, out), Ports: []string{}}
	if f.deliver && tap.Reaches() {
		if err := p.deliver(ctx, &tap, inPort, metadata, f.count); err != nil {
			return err
		}
	}
	proof.Taps = append(proof.Taps, tap)
	return h.conclude(proof, f)
}

// deliver puts probes in as if they had come in the tunnel.
func (p *prober) deliver(ctx context.Context, tap *trace.TapProof, inPort int, metadata []string, count int) error {
	before, err := p.ofctl.Dump(ctx, p.out.TapBridge)
	if err != nil {
		return err
	}
	for n := 1; n <= count; n++ {
		frame, _, err := p.frame(&flows.Tap{}, 0, n)
		if err != nil {
			return err
		}
		if err := p.ofctl.PacketOut(ctx, p.out.TapBridge, inPort, metadata, frame); err != nil {
			return err
		}
		tap.Sent++
	}
	after, err := p.ofctl.Dump(ctx, p.out.TapBridge)
	if err != nil {
		return err
	}
	tap.Count(before, after)
	return nil
}

// tunnelMetadata turns the fields of a flow in a tunnel into the port and the actions that make a frame such a one.
func tunnelMetadata(flow string) (inPort int, metadata []string) {
	for f := range strings.SplitSeq(flow, ",") {
		name, value, _ := strings.Cut(f, "=")
		if name == "in_port" {
			inPort, _ = strconv.Atoi(value)
			continue
		}
		if n, err := strconv.ParseUint(value, 10, 32); err == nil && name != "tun_erspan_ver" && name != "tun_erspan_dir" && n > 0 {
			value = fmt.Sprintf("%#x", n) // as Open vSwitch prints these
		}
		metadata = append(metadata, "set_field:"+value+"->"+name)
	}
	return inPort, metadata
}

// readyTaps are the session's taps that exist.
func readyTaps(out *flows.Outcome, state flows.State) (taps []*flows.Tap) {
	if out == nil || state.Bridges[out.TapBridge] == nil {
		return nil
	}
	for _, t := range out.Taps {
		if p := state.Bridges[out.TapBridge].Ports[t.EntryPort()]; p != nil && len(p.Interfaces) == 1 && p.Interfaces[0].OFPort == t.OFPort {
			taps = append(taps, t)
		}
	}
	return taps
}

// prober sends the probes of one run.
type prober struct {
	*host
	session session.Stored
	out     *flows.Outcome
	run     uint32
	port    uint16 // that waits for answers, 0: none
	fields  string // that the probes are made of
}

// probe finds a probe that the session's rules permit, sends it through each tap, and notes what was counted and answered.
func (h *host) probe(ctx context.Context, proof *trace.Proof, o observed, s session.Stored, out *flows.Outcome, taps []*flows.Tap, f verifyFlags) error {
	p := prober{host: h, session: s, out: out, run: rand.Uint32N(probe.MaxRun + 1)}
	proof.Run = fmt.Sprintf("%06x", p.run)
	copies, err := p.choose(ctx, proof, taps, f.packet)
	if err != nil {
		return err
	}
	listener, err := listenForAnswers(sourceAddresses(out), p.run)
	if err != nil {
		proof.NoAnswers = err.Error()
	} else {
		defer listener.Close()
		p.port = listener.port
	}
	sent := map[sentProbe]time.Time{}
	for i, t := range taps {
		tap := trace.TapProof{Copy: copies[i], Ports: t.Ports, AlsoSends: trace.Sharing(o.plan.Program, s.Name, t)}
		if tap.Direction == "" {
			tap.Direction = t.Direction
		}
		if tap.LostAt == "" {
			if err := p.send(ctx, &tap, i, t, f.count, sent); err != nil {
				return err
			}
		}
		proof.Taps = append(proof.Taps, tap)
	}
	if listener != nil && len(sent) > 0 {
		listener.collect(ctx, proof, sent, f.wait)
	}
	return nil
}

// sentProbe is which probe a time or an answer is of.
type sentProbe struct{ tap, sequence uint8 }

// send puts probes in at a tap, and compares the counters of the flows that they meet.
func (p *prober) send(ctx context.Context, tap *trace.TapProof, number int, t *flows.Tap, count int, sent map[sentProbe]time.Time) error {
	before, err := p.ofctl.Dump(ctx, p.out.TapBridge)
	if err != nil {
		return err
	}
	for n := 1; n <= count; n++ {
		frame, _, err := p.frame(t, number, n)
		if err != nil {
			return err
		}
		sent[sentProbe{uint8(number), uint8(n)}] = time.Now()
		if err := p.ofctl.PacketOut(ctx, p.out.TapBridge, t.OFPort, nil, frame); err != nil {
			return err
		}
		tap.Sent++
	}
	after, err := p.ofctl.Dump(ctx, p.out.TapBridge)
	if err != nil {
		return err
	}
	tap.Count(before, after)
	return nil
}

// frame makes a probe, as the mirror's copy would come in at the tap: with the VLAN of an access port. The flow is how Open
// vSwitch reads it.
func (p *prober) frame(t *flows.Tap, number, sequence int) (frame []byte, flow string, err error) {
	marked := probe.Probe{Run: p.run, Port: p.port, Tap: uint8(number), Sequence: uint8(sequence), Session: p.session.Name, Sent: time.Now()}
	destination, source := marked.Addresses()
	fields := p.fields
	if t.Strip != 0 && !strings.Contains(fields, "vlan") {
		fields = joinFields(fields, fmt.Sprintf("dl_vlan=%d", t.Strip))
	}
	return compose.Frame(fields, compose.Options{Destination: destination, Source: source, EtherType: probe.EtherType, Payload: marked.Payload()})
}

// maxCandidates bounds how many permit rules are tried.
const maxCandidates = 32

// choose finds what the probes are to be made of, and what becomes of them at each tap: what the user says, else a plain
// probe, else the first permit rule that lets a probe of its kind through at every tap.
func (p *prober) choose(ctx context.Context, proof *trace.Proof, taps []*flows.Tap, packet string) ([]trace.Copy, error) {
	var best []trace.Copy
	var unfit []error
	for _, fields := range candidates(p.session.Session, packet) {
		p.fields = fields
		copies, read, length, err := p.try(ctx, taps)
		if err != nil {
			var bad *unfitError
			if !errors.As(err, &bad) {
				return nil, err
			}
			unfit = append(unfit, err)
			continue
		}
		passes := !slices.ContainsFunc(copies, func(c trace.Copy) bool { return c.LostAt == "filter" || c.LostAt == "guard" })
		if best == nil || passes {
			best = copies
			proof.Packet, proof.Frame, proof.Length = fields, read, length
		}
		if passes {
			return best, nil
		}
	}
	if best == nil {
		return nil, refuse(&session.FieldError{Field: "--packet", Value: packet, Reason: errors.Join(unfit...).Error(), Remedy: "name a packet that the session permits in fields of Ethernet, VLAN, IP, TCP, UDP, SCTP or ICMP"})
	}
	p.fields = proof.Packet
	return best, nil
}

// candidates are what a probe may be made of, the plainest first.
func candidates(s session.Session, packet string) []string {
	if packet != "" {
		return []string{packet}
	}
	list := []string{""}
	for _, r := range s.Match {
		switch {
		case r.Deny != "":
		case r.Permit != "":
			list = append(list, r.Permit)
		default:
			list = append(list, r.PermitBothWays)
		}
	}
	return list[:min(len(list), maxCandidates)]
}

// unfitError is fields that no frame can be made of.
type unfitError struct{ error }

// try has Open vSwitch tell what it would do with a probe at each tap.
func (p *prober) try(ctx context.Context, taps []*flows.Tap) (copies []trace.Copy, read string, length int, err error) {
	for i, t := range taps {
		frame, flow, err := p.frame(t, i, 0)
		if err != nil {
			return nil, "", 0, &unfitError{err}
		}
		printed, err := p.ctl.Trace(ctx, p.out.TapBridge, joinFields(fmt.Sprintf("in_port=%d", t.OFPort), flow))
		if err != nil {
			return nil, "", 0, err
		}
		run := trace.Parse(printed)
		found := trace.Follow(run, p.session.Session, p.out)
		if len(found) == 0 { // nothing takes what comes through the tap
			found = []trace.Copy{{Tap: t.TapPort, Direction: t.Direction, LostAt: "tap",
				Lost: fmt.Sprintf("no flow of %s takes what comes in there", p.out.TapBridge)}}
		}
		copies = append(copies, found[0])
		if read == "" {
			read, length = run.Flow, len(frame)
		}
	}
	return copies, read, length, nil
}

// sourceAddresses are the local addresses that copies leave from, each once.
func sourceAddresses(out *flows.Outcome) (list []netip.Addr) {
	for _, co := range out.Collectors {
		if a := co.Path.Source; a.IsValid() && co.MaxLen > 0 && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}
