package trace

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ovs-erspan/ovs-erspan/erspan"
	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// Input is what was gathered of the host for [NewPath].
type Input struct {
	Session session.Stored
	// State, Reason and Message are the session's, as `session show` has them.
	State           session.State
	Reason, Message string
	Program         flows.Program
	Host            flows.State
	// Wished are the flows by bridge that ought to be, There those that are.
	Wished map[string][]flows.Line
	There  map[string][]flows.Entry
	// Lost are copies that were sent and are lost, by collector, as far as anybody counts.
	Lost map[string]flows.Count
	// Megaflows are those of the session; MegaflowsLeftOut says why they were not looked at.
	Megaflows        []Megaflow
	MegaflowsLeftOut string
}

// Path is the way through a session, with what is programmed and counted at each stage.
type Path struct {
	Session string        `json:"session"`
	Type    session.Type  `json:"type"`
	State   session.State `json:"state"`
	Reason  string        `json:"reason,omitempty"`
	Message string        `json:"message,omitempty"`
	// Whole tells that every stage is there and no packet is lost but those that are meant to be.
	Whole            bool       `json:"whole"`
	Stages           []Stage    `json:"stages"`
	Megaflows        []Megaflow `json:"megaflows,omitempty"`
	MegaflowsLeftOut string     `json:"megaflowsLeftOut,omitempty"`
}

// NewPath puts the way together.
func NewPath(in Input) Path {
	p := Path{
		Session: in.Session.Name, Type: in.Session.Type, State: in.State, Reason: in.Reason, Message: in.Message,
		Megaflows: in.Megaflows, MegaflowsLeftOut: in.MegaflowsLeftOut,
	}
	if p.Type == "" {
		p.Type = session.Source
	}
	out := in.Program.Outcomes[in.Session.Name]
	if p.Type == session.Destination {
		p.Stages = destinationStages(in, out)
	} else {
		p.Stages = sourceStages(in, out)
	}
	p.Whole = in.State == session.Active
	for _, s := range p.Stages {
		for _, l := range s.Lost {
			if l.Meant || l.Count != nil && l.Count.Packets == 0 {
				continue
			}
			p.Whole = p.Whole && l.Count != nil && l.Reason == "" // what was lost once may be over
		}
	}
	return p
}

// Lost are the stages with losses, those that are meant included.
func (p Path) Lost() (list []Stage) {
	for _, s := range p.Stages {
		if slices.ContainsFunc(s.Lost, func(l Loss) bool { return l.Count == nil || l.Count.Packets > 0 }) {
			list = append(list, s)
		}
	}
	return list
}

// sourceStages is the way of a copy: source, mirror, tap, guard, filter, limit, encapsulation, and for each collector tunnel,
// route, device and collector. Where nothing is programmed the way ends at its first stage, with the reason.
func sourceStages(in Input, out *flows.Outcome) []Stage {
	s := in.Session
	bridge := in.Host.Bridges[s.Bridge]
	source := Stage{Name: "source", Says: fmt.Sprintf("%s of %s, %s", sourcesText(s.Session), s.Bridge, directionText(s.Direction))}
	if out != nil && bridge != nil {
		for _, name := range out.Ports {
			source.Rows = append(source.Rows, portRow(bridge.Ports[name]))
		}
	}
	if out == nil || out.TapBridge == "" {
		source.Lost = []Loss{{Why: in.Message, Reason: in.Reason}}
		if out == nil {
			return []Stage{source}
		}
		return append([]Stage{source}, collectorStages(in, out, true)...)
	}
	if out.State != session.Active && !ofCollector(out) {
		source.Lost = []Loss{{Why: out.Message, Reason: out.Reason}}
	}
	own := programmed{in.Wished, in.There}
	taps := map[uint32]bool{}
	for _, t := range out.Taps {
		taps[uint32(t.OFPort)] = true
	}
	ofTap := func(stages ...flows.Stage) []FlowCount {
		return own.of(out.TapBridge, func(l flows.Line) bool { return taps[l.Cookie.Slot()] && slices.Contains(stages, l.Cookie.Stage()) })
	}
	mirror := Stage{Name: "mirror"}
	for _, t := range out.Taps {
		mirror.Rows = append(mirror.Rows, mirrorRow(bridge, t))
		if row := mirrorOf(bridge, t); row == nil {
			mirror.Lost = append(mirror.Lost, Loss{Why: fmt.Sprintf("the mirror %s of %s is missing", t.MirrorName(), t.Bridge), Reason: flows.ReasonNotInForce})
		}
	}
	mirror.Says = count(len(out.Taps), "mirror") + " of " + s.Bridge + ", with a way each to " + out.TapBridge
	tap := Stage{Name: "tap", Says: "copies arrive at " + out.TapBridge, Flows: ofTap(flows.StageArrived)}
	if b := in.Host.Bridges[out.TapBridge]; b != nil {
		for _, t := range out.Taps {
			tap.Rows = append(tap.Rows, portRow(b.Ports[t.TapPort]))
			if t.Segmented {
				tap.Rows = append(tap.Rows, portRow(b.Ports[t.Devices.In]), portRow(b.Ports[t.Devices.Out]))
			}
		}
	}
	tap.Count = ptr(sum(tap.Flows))
	if into := ofTap(flows.StageSegmented); len(into) > 0 {
		tap.Says += " through a pair of devices, which takes super-frames apart"
		tap.Flows = append(into, tap.Flows...)
	}
	repeated := ofTap(flows.StageRepeated)
	tap.Lost = append(missing(tap.Flows), missing(repeated)...)
	if n := sum(repeated); n.Packets > 0 {
		tap.Lost = append(tap.Lost, Loss{Why: "copied again where production recirculated the packet (conntrack, NAT)", Count: &n, Meant: true})
	}
	if others := sharing(in.Program, in.Session.Name, out); others != "" {
		tap.Says += "; shared with " + others
	}
	passed := ofTap(flows.StageTapped, flows.StageTappedStrip)
	guard := Stage{Name: "guard", Says: "what copies themselves cause is dropped", Flows: passed, Count: ptr(sum(passed))}
	guard.Lost = append([]Loss{{Why: "caused by copies", Count: ptr(less(*tap.Count, *guard.Count)), Meant: true}}, missing(passed)...)
	stages := []Stage{source, mirror, tap, guard}

	ofSlot := func(want func(flows.Stage) bool) []FlowCount {
		return own.of(out.TapBridge, func(l flows.Line) bool {
			return l.Table != flows.TableClassify && l.Table != flows.TableGuard && l.Cookie.Slot() == out.Slot && want(l.Cookie.Stage())
		})
	}
	before := guard.Count
	if out.Filtered {
		f := filterStage(s.Session, ofSlot(func(stage flows.Stage) bool { filters, _ := stage.Filters(); return filters }))
		stages, before = append(stages, f), f.Count
	}
	limited := flows.CountSession(out, in.There[out.TapBridge])
	if out.Limited {
		l := Stage{Name: "limit", Says: "at most " + ratesText(s) + " passes", Count: &limited.Sent,
			Flows: ofSlot(func(stage flows.Stage) bool { return stage == flows.StageLimit || stage == flows.StagePassed })}
		l.Lost = append([]Loss{{Why: "came faster than " + ratesText(s), Count: &limited.Limited, Meant: true}}, missing(l.Flows)...)
		stages, before = append(stages, l), l.Count
	}
	sent := Stage{Name: "encapsulate", Says: headerText(s.Session), Flows: ofSlot(func(stage flows.Stage) bool { return stage == flows.StageSent })}
	sent.Count, sent.Lost = ptr(sum(sent.Flows)), missing(sent.Flows)
	if out.Limited {
		sent.Count = &limited.Sent // the flow counts what was given to the meter
	}
	if lost := less(*before, *sent.Count); lost.Packets > 0 && len(sent.Lost) > 0 {
		sent.Lost[0].Count = &lost
		sent.Lost[0].Reason = flows.ReasonNotInForce
	}
	stages = append(stages, sent)
	return append(stages, collectorStages(in, out, false)...)
}

// ratesText is what bounds a session's copies.
func ratesText(s session.Stored) string {
	var rates []string
	if !s.MaxRate.IsZero() {
		rates = append(rates, s.MaxRate.String())
	}
	if !s.HostRate.IsZero() {
		rates = append(rates, s.HostRate.String()+" of all sessions together")
	}
	return strings.Join(rates, " and ")
}

// filterStage is table 10: what each rule took.
func filterStage(s session.Session, list []FlowCount) Stage {
	f := Stage{Name: "filter", Says: count(len(s.Match), "rule"), Flows: list, Count: &flows.Count{}}
	f.Lost = missing(list)
	for i := range list {
		list[i].Rule = flows.RuleOf(s, list[i].Cookie.Stage())
		if _, drops := list[i].Cookie.Stage().Filters(); drops {
			f.Lost = append(f.Lost, Loss{Why: list[i].Rule, Count: &list[i].Count, Meant: true})
			continue
		}
		f.Count.Packets += list[i].Packets
		f.Count.Bytes += list[i].Bytes
	}
	return f
}

// collectorStages are tunnel, route, device and collector, for each collector; only the last where all was told before.
func collectorStages(in Input, out *flows.Outcome, short bool) (stages []Stage) {
	for _, co := range out.Collectors {
		address := co.Address.String()
		add := func(s Stage) {
			s.Collector = address
			stages = append(stages, s)
		}
		end := Stage{Name: "collector", Says: address}
		lost, counted := in.Lost[address]
		switch {
		case co.State != session.Active:
			end.Lost = []Loss{{Why: co.Message, Reason: co.Reason}}
			if counted && co.Loses() {
				end.Lost[0].Count = &lost
			}
		case lost.Packets > 0:
			end.Lost = []Loss{{Why: "sent while their way ended on this host", Count: &lost}}
		}
		if short {
			if co.State != session.Active {
				add(end)
			}
			continue
		}
		tunnel := Stage{Name: "tunnel", Says: "nothing is sent"}
		if name, ofport := co.Tunnel(); name != "" {
			tunnel.Says = fmt.Sprintf("port %s (%d of %s), up to %d bytes of each frame (%s)", name, ofport, out.TapBridge, co.MaxLen, co.MaxLenWhy)
			if b := in.Host.Bridges[out.TapBridge]; b != nil {
				tunnel.Rows = []string{portRow(b.Ports[name])}
				if b.Ports[name] == nil {
					tunnel.Lost = []Loss{{Why: fmt.Sprintf("the port %s is missing", name), Reason: flows.ReasonNotInForce}}
				}
			}
		}
		add(tunnel)
		if p := co.Path; p.Device != "" {
			route := Stage{Name: "route", Says: fmt.Sprintf("to %s through %s", address, p.Device)}
			if p.NextHop.IsValid() && p.NextHop != co.Address {
				route.Says += " via " + p.NextHop.String()
			}
			if p.Source.IsValid() {
				route.Says += " from " + p.Source.String()
			}
			add(route)
			answers := "answers"
			if !p.HasNeighbor {
				answers = "does not answer"
			}
			add(Stage{Name: "device", Says: fmt.Sprintf("%s, MTU %d; next hop %s %s", p.Device, p.MTU, p.NextHop, answers)})
		}
		add(end)
	}
	return stages
}

// ofCollector tells whether the session's trouble is a collector's, which is told of there.
func ofCollector(out *flows.Outcome) bool {
	return slices.ContainsFunc(out.Collectors, func(co flows.CollectorOutcome) bool { return co.State != session.Active && co.Reason == out.Reason })
}

// destinationStages is the way of a frame: from the sender through the underlay, the tunnel port, the reading of the
// header, termination and delivery to the output port.
func destinationStages(in Input, out *flows.Outcome) []Stage {
	s := in.Session
	from := s.From
	if from == session.AnySender {
		from = "any sender"
	}
	sender := Stage{Name: "sender", Says: from}
	if out == nil || out.TapBridge == "" {
		sender.Lost = []Loss{{Why: in.Message, Reason: in.Reason}}
		return []Stage{sender}
	}
	if out.State != session.Active {
		sender.Lost = []Loss{{Why: out.Message, Reason: out.Reason}}
	}
	own := programmed{in.Wished, in.There}
	find := func(want ...flows.Stage) []FlowCount {
		return own.of(out.TapBridge, func(l flows.Line) bool { return slices.Contains(want, l.Cookie.Stage()) })
	}
	mine := func(want ...flows.Stage) []FlowCount {
		return own.of(out.TapBridge, func(l flows.Line) bool { return l.Cookie.Slot() == out.Slot && slices.Contains(want, l.Cookie.Stage()) })
	}
	tunnel := Stage{Name: "tunnel", Says: "ERSPAN of all sessions arrives at " + out.TapBridge, Flows: find(flows.StageReceived)}
	tunnel.Count, tunnel.Lost = ptr(sum(tunnel.Flows)), missing(tunnel.Flows)
	tap := in.Host.Bridges[out.TapBridge]
	if tap != nil {
		for _, name := range slices.Sorted(maps.Keys(tap.Ports)) {
			if tap.Ports[name].ExternalIDs[flows.OwnerKey] == "tunnel" {
				tunnel.Rows = append(tunnel.Rows, portRow(tap.Ports[name]))
			}
		}
	}
	header := Stage{Name: "read-header", Says: "version, index, hardware id and direction go into registers", Flows: find(flows.StageHeader)}
	header.Count, header.Lost = ptr(sum(header.Flows)), missing(header.Flows)
	header.Lost = append(header.Lost, lossOf(find(flows.StageUnreadable), "a header that Open vSwitch cannot read")...)
	terminate := Stage{Name: "terminate", Says: takesText(s.Session), Flows: mine(flows.StageTerminated)}
	terminate.Count, terminate.Lost = ptr(sum(terminate.Flows)), missing(terminate.Flows)
	terminate.Lost = append(terminate.Lost, lossOf(find(flows.StageUnmatched), "a header that no session has")...)
	deliver := Stage{Name: "deliver", Says: "out through " + s.OutputPort, Flows: mine(flows.StageFit, flows.StageFitTagged, flows.StageOversize, flows.StageDelivered)}
	counted := flows.CountSession(out, in.There[out.TapBridge])
	deliver.Count, deliver.Lost = &counted.Delivered, missing(deliver.Flows)
	if out.Measured {
		deliver.Lost = append(deliver.Lost, Loss{Why: "larger than the port takes", Count: &counted.Oversize})
	}
	stages := []Stage{sender, tunnel, header, terminate, deliver}
	output := Stage{Name: "output"}
	if d := out.Delivery; d != nil {
		patch := Stage{Name: "patch", Says: fmt.Sprintf("from %s to %s", out.TapBridge, d.Bridge)}
		production := in.Host.Bridges[d.Bridge]
		if tap != nil && production != nil {
			patch.Rows = []string{portRow(tap.Ports[d.TapPort]), portRow(production.Ports[d.ProductionPort])}
			output.Rows = []string{portRow(production.Ports[d.OutputPort])}
		}
		patch.Flows = own.of(d.Bridge, func(l flows.Line) bool {
			return l.Cookie.Stage() == flows.StageDelivery && l.Cookie.Slot() == uint32(d.ProductionOFPort)
		})
		patch.Lost = missing(patch.Flows) // its flow counts also what was too large
		stages = append(stages, patch)
		output.Says = fmt.Sprintf("port %s of %s", d.OutputPort, d.Bridge)
	} else {
		output.Says = "device " + s.OutputPort
		if tap != nil {
			output.Rows = []string{portRow(tap.Ports[s.OutputPort])}
		}
	}
	return append(stages, output)
}

// lossOf is what flows that drop have counted.
func lossOf(list []FlowCount, why string) []Loss {
	if len(list) == 0 {
		return nil
	}
	return []Loss{{Why: why, Count: ptr(sum(list))}}
}

func portRow(p *flows.Port) string {
	if p == nil {
		return "Port missing"
	}
	text := "Port " + p.Name
	if p.Tag != nil {
		text += fmt.Sprintf(", tag %d", *p.Tag)
	}
	for _, i := range p.Interfaces {
		text += ": "
		if len(p.Interfaces) > 1 {
			text += i.Name + " "
		}
		kind := i.Type
		if kind == "" {
			kind = "system"
		}
		text += fmt.Sprintf("%s, OpenFlow port %d", kind, i.OFPort)
		for _, o := range slices.Sorted(maps.Keys(i.Options)) {
			text += ", " + o + "=" + i.Options[o]
		}
		if i.Error != "" {
			text += ", error " + i.Error
		}
	}
	return text
}

func mirrorOf(bridge *flows.Bridge, t *flows.Tap) *flows.Mirror {
	if bridge == nil {
		return nil
	}
	for _, m := range bridge.Mirrors {
		if m.Name == t.MirrorName() && flows.Ours(m.ExternalIDs) {
			return m
		}
	}
	return nil
}

func mirrorRow(bridge *flows.Bridge, t *flows.Tap) string {
	m := mirrorOf(bridge, t)
	if m == nil {
		return "Mirror missing: " + t.MirrorName()
	}
	text := "Mirror " + m.Name
	if len(m.SelectSrcPort) > 0 {
		text += ": from " + strings.Join(m.SelectSrcPort, ",")
	}
	if len(m.SelectDstPort) > 0 {
		text += ": to " + strings.Join(m.SelectDstPort, ",")
	}
	if len(m.SelectVLAN) > 0 {
		text += fmt.Sprintf(", VLANs %v", m.SelectVLAN)
	}
	return text + ", output_port " + m.OutputPort
}

// sharing names the other sessions on the session's taps.
func sharing(p flows.Program, name string, out *flows.Outcome) string {
	return strings.Join(Sharing(p, name, out.Taps...), ", ")
}

// Sharing are the other sessions on these taps, sorted by name.
func Sharing(p flows.Program, name string, taps ...*flows.Tap) []string {
	var names []string
	for other, o := range p.Outcomes {
		if other != name && slices.ContainsFunc(o.Taps, func(t *flows.Tap) bool { return slices.Contains(taps, t) }) {
			names = append(names, other)
		}
	}
	slices.Sort(names)
	return names
}

func sourcesText(s session.Session) string {
	text := strings.Join(s.Sources.Ports, ",")
	if s.Sources.All {
		text = "all ports"
	}
	for i, v := range s.VLANs {
		separator := ","
		if i == 0 {
			separator = " VLAN "
		}
		text += fmt.Sprintf("%s%d", separator, v)
	}
	return text
}

func directionText(d session.Direction) string {
	switch d {
	case session.Ingress:
		return "what comes from it (ingress)"
	case session.Egress:
		return "what goes to it (egress)"
	}
	return "both directions"
}

func headerText(s session.Session) string {
	e := s.ERSPAN
	text := fmt.Sprintf("ERSPAN version %s, session id %d", erspan.Version(e.Version), valueOf(e.SessionID))
	if e.Version == 2 {
		return text + fmt.Sprintf(", hardware id %d", valueOf(e.HardwareID))
	}
	return text + fmt.Sprintf(", index %d", valueOf(e.Index))
}

// takesText is which frames a destination session takes.
func takesText(s session.Session) string {
	text := fmt.Sprintf("takes session id %d", valueOf(s.ERSPAN.SessionID))
	if s.ERSPAN.Version != 0 {
		text += ", version " + erspan.Version(s.ERSPAN.Version).String()
	}
	if s.ERSPAN.Index != nil {
		text += fmt.Sprintf(", index %d", *s.ERSPAN.Index)
	}
	if s.ERSPAN.HardwareID != nil {
		text += fmt.Sprintf(", hardware id %d", *s.ERSPAN.HardwareID)
	}
	if s.Direction != "" {
		text += ", direction " + string(s.Direction)
	}
	return text
}

func valueOf(p *int) int {
	if p == nil {
		return 0
	}
	return *p
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func ptr[T any](v T) *T { return &v }
