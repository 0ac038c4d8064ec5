package trace

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// Copy is what becomes of a packet's copy in one tap of a source session, or of a frame in a destination session.
type Copy struct {
	// Tap is the patch port of our bridge through which the copy comes, "" for a frame that came in a tunnel.
	Tap       string            `json:"tap,omitempty"`
	Direction session.Direction `json:"direction,omitempty"`
	// Steps are what happens, in words.
	Steps []string `json:"steps"`
	// Filter is the rule that decided, in words; "" where there is none or none was reached.
	Filter string `json:"filter,omitempty"`
	// Met are our flows that took it, by stage.
	Met []Met `json:"met,omitempty"`
	// LostAt is the stage at which it ends (guard, filter, encapsulate, tunnel, terminate, deliver), "" where it goes all
	// the way, and Lost is why.
	LostAt string `json:"lostAt,omitempty"`
	Lost   string `json:"lost,omitempty"`
	// Sends is what becomes of it at each collector.
	Sends []Send `json:"sends,omitempty"`
}

// Met is a flow of ours that a copy met.
type Met struct {
	Stage  string       `json:"stage"`
	Cookie flows.Cookie `json:"cookie"`
}

// Send is what a collector would get.
type Send struct {
	Collector string `json:"collector"`
	// Header is around the frame that leaves; nil where none does, and then Lost says why.
	Header *Header `json:"header,omitempty"`
	Lost   string  `json:"lost,omitempty"`
	// Wrong is what of the header is not as the session wishes; "" where all is.
	Wrong string `json:"wrong,omitempty"`
}

// Reaches tells whether the copy leaves for every collector with the header that is wished, or the frame for its port.
func (c Copy) Reaches() bool {
	return c.LostAt == "" && !slices.ContainsFunc(c.Sends, func(s Send) bool { return s.Header == nil || s.Wrong != "" })
}

// Follow tells what becomes of a packet's copies for a source session. Taps that the packet does not reach have no Copy.
func Follow(run Run, s session.Session, out *flows.Outcome) []Copy {
	var headers []Header
	for _, d := range run.Datapath {
		headers = append(headers, Headers(d)...)
	}
	var copies []Copy
	tapOf := func(v Visit) *flows.Tap {
		if !v.Cookie.Ours() || v.Cookie.Stage() != flows.StageArrived {
			return nil
		}
		i := slices.IndexFunc(out.Taps, func(t *flows.Tap) bool { return uint32(t.OFPort) == v.Cookie.Slot() })
		if i < 0 {
			return nil
		}
		return out.Taps[i]
	}
	for i := 0; i < len(run.Visits); i++ {
		tap := tapOf(run.Visits[i])
		if tap == nil {
			continue
		}
		end := i + 1
		for end < len(run.Visits) && run.Visits[end].Bridge == out.TapBridge && run.Visits[end].Table != int(flows.TableClassify) {
			end++
		}
		f := follower{session: s, out: out, visits: run.Visits[i+1 : end], headers: &headers}
		c := f.follow(tap)
		c.endOnHost(out)
		copies = append(copies, c)
	}
	return copies
}

// endOnHost notes what leaves the tunnel and yet not the host, which a run of our own bridge need not show: a port that is down.
func (c *Copy) endOnHost(out *flows.Outcome) {
	for i := range c.Sends {
		for _, co := range out.Collectors {
			if co.Address.String() == c.Sends[i].Collector && co.Reason == flows.ReasonCopiesEnd {
				c.Sends[i].Header, c.Sends[i].Lost = nil, co.Message
			}
		}
	}
}

// IntoDevices tells whether a copy goes into the devices of a segmented tap: there a run ends, for Open vSwitch does not see
// through them.
func IntoDevices(run Run, out *flows.Outcome) bool {
	return slices.ContainsFunc(run.Visits, func(v Visit) bool {
		return v.Cookie.Ours() && v.Cookie.Stage() == flows.StageSegmented &&
			slices.ContainsFunc(out.Taps, func(t *flows.Tap) bool { return uint32(t.OFPort) == v.Cookie.Slot() })
	})
}

type follower struct {
	session session.Session
	out     *flows.Outcome
	visits  []Visit   // after the copy's arrival, up to the next tap's
	headers *[]Header // that no copy has taken yet
}

func (f *follower) find(want func(flows.Stage, uint32) bool) *Visit {
	i := slices.IndexFunc(f.visits, func(v Visit) bool { return v.Cookie.Ours() && want(v.Cookie.Stage(), v.Cookie.Slot()) })
	if i < 0 {
		return nil
	}
	return &f.visits[i]
}

func (f *follower) follow(tap *flows.Tap) Copy {
	c := Copy{Tap: tap.TapPort, Direction: tap.Direction, Met: []Met{{"tap", flows.NewCookie(flows.StageArrived, uint32(tap.OFPort))}}}
	meet := func(stage string, v *Visit) { c.Met = append(c.Met, Met{stage, v.Cookie}) }
	say := func(format string, args ...any) { c.Steps = append(c.Steps, fmt.Sprintf(format, args...)) }
	lose := func(stage, format string, args ...any) Copy {
		c.LostAt, c.Lost = stage, fmt.Sprintf(format, args...)
		say("%s", "✗ "+stage+": "+c.Lost)
		return c
	}
	direction := map[session.Direction]string{session.Ingress: " as ingress", session.Egress: " as egress"}[tap.Direction]
	say("mirror: %s copies it%s into %s", tap.MirrorName(), direction, tap.TapPort)
	if tap.Segmented {
		say("devices: %s and %s take it apart where it is a super-frame", tap.Devices.In, tap.Devices.Out)
	}
	if v := f.find(func(st flows.Stage, _ uint32) bool { return st == flows.StageGuard }); v != nil {
		return lose("guard", "dropped, because copies could have caused it (%s)", v.Match)
	}
	passed := f.find(func(st flows.Stage, n uint32) bool {
		return (st == flows.StageTapped || st == flows.StageTappedStrip) && n == uint32(tap.OFPort)
	})
	if passed == nil {
		return lose("guard", "no flow hands it to the session (cookie %s is missing)", flows.NewCookie(flows.StageTapped, uint32(tap.OFPort)))
	}
	meet("guard", passed)
	if passed.Cookie.Stage() == flows.StageTappedStrip {
		say("guard: passes; VLAN %d, which the source's wire does not have, is taken off", tap.Strip)
	} else {
		say("guard: passes")
	}
	if f.out.Filtered {
		v := f.find(func(st flows.Stage, n uint32) bool { filters, _ := st.Filters(); return filters && n == f.out.Slot })
		if v == nil {
			return lose("filter", "no flow of the session takes it")
		}
		meet("filter", v)
		c.Filter = flows.RuleOf(f.session, v.Cookie.Stage())
		if _, drops := v.Cookie.Stage().Filters(); drops {
			return lose("filter", "dropped: %s", c.Filter)
		}
		say("filter: passes: %s", c.Filter)
	}
	if f.out.Limited {
		v := f.find(func(st flows.Stage, n uint32) bool { return st == flows.StageLimit && n == f.out.Slot })
		if v == nil {
			return lose("limit", "no flow of the session takes it in table %s", flows.TableLimit)
		}
		meet("limit", v)
		rate := f.session.MaxRate.String()
		if rate == "" {
			rate = "the host's maximal rate"
		}
		say("limit: passes, unless copies come faster than %s", rate)
	}
	sent := f.find(func(st flows.Stage, n uint32) bool { return st == flows.StageSent && n == f.out.Slot })
	if sent == nil {
		return lose("encapsulate", "no flow of the session takes it in table %s", flows.TableEncapsulate)
	}
	meet("encapsulate", sent)
	say("encapsulate: %s", headerText(f.session))
	f.sends(&c, sent, tap)
	for _, s := range c.Sends {
		switch {
		case s.Header == nil:
			say("✗ tunnel: to %s: %s", s.Collector, s.Lost)
		case s.Wrong != "":
			say("✗ tunnel: to %s leaves %s: %s", s.Collector, s.Header, s.Wrong)
		default:
			say("tunnel: leaves for %s", s.Collector)
		}
	}
	if !slices.ContainsFunc(c.Sends, func(s Send) bool { return s.Header != nil }) {
		c.LostAt, c.Lost = "tunnel", "no collector gets it"
		if len(c.Sends) > 0 {
			c.Lost = c.Sends[0].Lost
		}
	}
	return c
}

// sends pairs the session's collectors with the headers that leave.
func (f *follower) sends(c *Copy, sent *Visit, tap *flows.Tap) {
	outputs := outputsOf(sent)
	for _, co := range f.out.Collectors {
		s := Send{Collector: co.Address.String()}
		if co.MaxLen == 0 {
			s.Lost = co.Reason + ": " + co.Message
			c.Sends = append(c.Sends, s)
			continue
		}
		i := slices.IndexFunc(*f.headers, func(h Header) bool {
			return h.Destination == co.Address && h.SessionID == valueOf(f.session.ERSPAN.SessionID)
		})
		var notes []string
		if len(outputs) > 0 {
			notes, outputs = outputs[0].Notes, outputs[1:]
		}
		if i < 0 {
			s.Lost = "it does not leave"
			if len(notes) > 0 {
				s.Lost = "Open vSwitch says: " + notes[len(notes)-1] // the one after which it went no further
			}
		} else {
			h := (*f.headers)[i]
			*f.headers = slices.Delete(slices.Clone(*f.headers), i, i+1)
			s.Header, s.Wrong = &h, f.wrong(h, co, tap)
		}
		c.Sends = append(c.Sends, s)
	}
}

// outputsOf are the steps that send, in the order of the session's collectors.
func outputsOf(v *Visit) (steps []Step) {
	for _, s := range v.Steps {
		if strings.HasPrefix(s.Action, "output") {
			steps = append(steps, s)
		}
	}
	return steps
}

// wrong is what of a header is not as wished.
func (f *follower) wrong(h Header, co flows.CollectorOutcome, tap *flows.Tap) string {
	e := f.session.ERSPAN
	var faults []string
	check := func(name string, is, wish int) {
		if is != wish {
			faults = append(faults, fmt.Sprintf("%s %d instead of %d", name, is, wish))
		}
	}
	check("version", h.Version, e.Version)
	if e.Version == 2 {
		check("hardware id", h.HardwareID, valueOf(e.HardwareID))
		wish := 0
		if tap.Direction == session.Egress {
			wish = 1
		}
		check("direction", h.Direction, wish)
	} else {
		check("index", h.Index, valueOf(e.Index))
	}
	ttl := 64
	if f.session.TTL != nil {
		ttl = *f.session.TTL
	}
	check("TTL", h.TTL, ttl)
	check("DSCP", h.TOS>>2, valueOf(f.session.DSCP))
	if h.MaxLen > co.MaxLen || h.MaxLen == 0 && flows.AlwaysCuts(f.out.TapBridge) {
		check("maximum length", h.MaxLen, co.MaxLen)
	}
	if o := f.session.Origin; o.IsValid() && h.Source.IsValid() && h.Source != o {
		faults = append(faults, fmt.Sprintf("origin %s instead of %s", h.Source, o))
	}
	return strings.Join(faults, ", ")
}

// FollowFrame tells what becomes of a frame that arrives in a tunnel, for a destination session.
func FollowFrame(run Run, s session.Session, out *flows.Outcome) Copy {
	var c Copy
	say := func(format string, args ...any) { c.Steps = append(c.Steps, fmt.Sprintf(format, args...)) }
	lose := func(stage, format string, args ...any) Copy {
		c.LostAt, c.Lost = stage, fmt.Sprintf(format, args...)
		say("%s", "✗ "+stage+": "+c.Lost)
		return c
	}
	met := map[flows.Stage]*Visit{}
	var slot uint32
	for i := range run.Visits {
		if v := &run.Visits[i]; v.Cookie.Ours() {
			met[v.Cookie.Stage()] = v
			if v.Cookie.Stage() == flows.StageTerminated {
				slot = v.Cookie.Slot()
			}
		}
	}
	for _, m := range []struct {
		name  string
		stage flows.Stage
	}{{"tunnel", flows.StageReceived}, {"read-header", flows.StageHeader}, {"terminate", flows.StageTerminated}, {"deliver", flows.StageDelivered}} {
		if v := met[m.stage]; v != nil {
			c.Met = append(c.Met, Met{m.name, v.Cookie})
		}
	}
	if met[flows.StageReceived] == nil {
		return lose("tunnel", "no flow takes what arrives at the tunnel port")
	}
	say("tunnel: arrives at %s", out.TapBridge)
	if met[flows.StageHeader] == nil {
		return lose("read-header", "Open vSwitch cannot read the header")
	}
	say("read-header: %s", strings.Join(headerNotes(met[flows.StageHeader]), ", "))
	switch {
	case met[flows.StageTerminated] == nil:
		return lose("terminate", "no session has this header")
	case slot != out.Slot:
		return lose("terminate", "another session takes it, whose match is more specific: %s", met[flows.StageTerminated].Match)
	}
	say("terminate: %s", takesText(s))
	if met[flows.StageDelivered] == nil && met[flows.StageDelivery] == nil {
		return lose("deliver", "no flow of the session sends it to %s", s.OutputPort)
	}
	if met[flows.StageOversize] != nil {
		say("deliver: measured; a frame larger than %s takes would be dropped", s.OutputPort)
	}
	if d := out.Delivery; d != nil {
		if met[flows.StageDelivery] == nil {
			return lose("patch", "bridge %s has no flow for what comes from the patch port %s", d.Bridge, d.ProductionPort)
		}
		say("patch: from %s to %s", out.TapBridge, d.Bridge)
		say("output: leaves through %s of %s, as it was at the source", d.OutputPort, d.Bridge)
		return c
	}
	say("output: leaves through the device %s, as it was at the source", s.OutputPort)
	return c
}

// headerNotes are the header's fields as they went into registers.
func headerNotes(v *Visit) []string {
	notes := []string{v.Match}
	names := map[string]string{"ERSPAN_IDX": "index", "ERSPAN_HWID": "hardware id", "ERSPAN_DIR": "direction"}
	for _, s := range v.Steps {
		for field, name := range names {
			if strings.Contains(s.Action, field) && len(s.Notes) > 0 {
				_, value, _ := strings.Cut(s.Notes[0], " is now ")
				notes = append(notes, fmt.Sprintf("%s %d", name, number(value)))
			}
		}
	}
	return notes
}

// Production are the flows of production's own bridges that the packet met, in words.
func Production(run Run, tapBridge string) (list []string) {
	for _, v := range run.Visits {
		if v.Bridge == tapBridge || v.Cookie.Ours() {
			continue
		}
		text := fmt.Sprintf("%s table %d", v.Bridge, v.Table)
		if v.Missed {
			list = append(list, text+": no flow matches")
			continue
		}
		match := v.Match
		if match == "" {
			match = "everything"
		}
		text += fmt.Sprintf(", priority %d, %s:", v.Priority, match)
		for i, s := range v.Steps {
			if i > 0 {
				text += ","
			}
			text += " " + s.Action
			if len(s.Notes) > 0 {
				text += " (" + strings.Join(s.Notes, "; ") + ")"
			}
		}
		list = append(list, text)
	}
	return list
}
