package flows

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"github.com/ovs-erspan/ovs-erspan/erspan"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// Program is what is to be: the tap bridges with their ports, taps and flows, and what becomes of each session.
type Program struct {
	TapBridges []*TapBridge // sorted by name; only those that are in use
	// Outcomes by session name.
	Outcomes map[string]*Outcome
}

// TapBridge is our bridge on one datapath.
type TapBridge struct {
	Name         string
	DatapathType string
	Tunnels      []*Port
	Taps         []*Tap      // sorted by key
	Retiring     []*Tap      // of an earlier release, on their way out (retire)
	Deliveries   []*Delivery // sorted by name
	Outputs      []*Port     // devices that are attached for destination sessions, sorted by name
	Flows        []Flow      // in the order of the pipeline
	Meters       []Meter     // sorted by number
}

// Outcome is what a plan makes of a session.
type Outcome struct {
	Slot       uint32
	TapBridge  string // "" where nothing is programmed
	State      session.State
	Reason     string
	Message    string
	Ports      []string // the sources that are mirrored
	Collectors []CollectorOutcome
	Taps       []*Tap
	Filtered   bool // it has filter rules
	Limited    bool // it has a meter
	Measured   bool // it has a meter that counts frames which its output port does not take (destination sessions)
	// HostLimited tells that it also shares the host's.
	HostLimited bool
	// Delivery is the way of a destination session to a production bridge.
	Delivery *Delivery
	// receives are the ports of ours that a destination session needs.
	receives []string
}

// CollectorOutcome is what a plan makes of one collector of a session.
type CollectorOutcome struct {
	Address    netip.Addr
	Path       Path
	State      session.State
	Reason     string
	Message    string
	MaxLen     int    // bytes of each frame that are sent, 0: nothing is
	MaxLenWhy  string // the reason, for people
	Cut        string // why less is sent than the session wishes, "" where it is not; also where a graver reason is told of
	tunnel     string // the tunnel port that its copies leave through
	tunnelPort int
}

// Tunnel is the port of the tap bridge that the copies leave through, and its OpenFlow number; "" and 0 where none is sent.
func (co CollectorOutcome) Tunnel() (name string, ofport int) {
	if co.MaxLen == 0 {
		return "", 0
	}
	return co.tunnel, co.tunnelPort
}

// The reasons of a session's state (docs/operations.md lists them).
const (
	ReasonInForce         = "InForce"
	ReasonDisabled        = "Disabled"
	ReasonExpired         = "Expired"
	ReasonBridgeMissing   = "BridgeMissing"
	ReasonSourceMissing   = "SourceMissing"
	ReasonSourceIdentity  = "SourceIdentityChanged"
	ReasonNoRoute         = "NoRoute"
	ReasonNoSource        = "NoSourceAddress"
	ReasonNoNeighbor      = "NoNeighbor"
	ReasonLinkLocal       = "LinkLocalSource"
	ReasonOriginIgnored   = "OriginIgnored"
	ReasonCopiesEnd       = "CopiesEndOnHost"
	ReasonOwnAddress      = "CollectorIsOwnAddress"
	ReasonNotOnBridge     = "UnderlayNotOnBridge"
	ReasonPathMTU         = "PathMTUTooSmall"
	ReasonSnaplenCut      = "SnaplenCut"
	ReasonMirrorSlots     = "MirrorSlotsExhausted"
	ReasonPacketBudget    = "PacketBudgetExceeded"
	ReasonTunnelConflict  = "TunnelConflict"
	ReasonTunnelError     = "TunnelError"
	ReasonNameTaken       = "NameTaken"
	ReasonUnsupported     = "Unsupported"
	ReasonInvalid         = "Invalid"
	ReasonNotInForce      = "NotInForce"
	ReasonUnreachable     = "BridgeUnreachable"
	ReasonNoTraffic       = "NoTraffic"
	ReasonOutputMissing   = "OutputPortMissing"
	ReasonOutputUnfit     = "OutputPortUnfit"
	ReasonFlowContested   = "FlowContested"
	ReasonMirrorContested = "MirrorContested"
	ReasonVersionConflict = "VersionConflict"
	ReasonHWOffload       = "HardwareOffload"
	ReasonUserspaceTSO    = "UserspaceTSO"
	ReasonLimitReached    = "LimitReached"
	ReasonLimitUnsafe     = "LimitUnsafe"
)

// tapBridgeNames names our bridge by datapath type.
var tapBridgeNames = map[string]string{"system": "br-erspan", "netdev": "br-erspan-nd"}

// TapBridgeNames are the names that our bridges can have, sorted.
func TapBridgeNames() []string { return slices.Sorted(maps.Values(tapBridgeNames)) }

// pathTo is a path that the guard is for.
type pathTo struct {
	collector, origin netip.Addr
	path              Path
}

// memo keeps what was made of a key while one plan is built: of a thousand sessions, many say the same of a collector.
type memo[K comparable, V any] map[K]V

func (m memo[K, V]) of(key K, of func(K) V) V {
	v, known := m[key]
	if !known {
		v = of(key)
		m[key] = v
	}
	return v
}

// planned is a session on its way through Build.
type planned struct {
	wish    *session.Stored // of the Input, which stays as it is
	out     *Outcome
	bridge  *Bridge
	wishes  []tapWish
	largest int     // the largest frame, in bytes, that its sources carry
	output  *output // of a destination session
}

// Build makes the program. What cannot be in force is not left out in silence: every session has an Outcome.
func Build(in Input) Program {
	p := Program{Outcomes: map[string]*Outcome{}}
	limits := newLimits(in.State)
	foreign, taken := foreignTunnels(in.State), foreignPorts(in.State)
	delivered := deliveryPorts(in.Sessions)
	exits, texts := newExits(in.State), memo[room, string]{}
	byDatapath := map[string][]*planned{}
	for _, s := range acceptedFirst(in.Sessions) {
		out := &Outcome{Slot: s.Slot, State: session.Active, Reason: ReasonInForce}
		p.Outcomes[s.Name] = out
		pl := &planned{wish: s, out: out}
		if why, ok := in.Rejected[s.Name]; ok && !s.Stopped() {
			fail(out, ReasonInvalid, why)
			continue
		}
		if s.Type == session.Destination {
			datapath, ok := pl.findOutput(in)
			if ok && pl.findTapBridge(in.State, datapath, taken, pl.ownPortNames()) && pl.tunnelsReady(in.State, datapath, foreign) && pl.oneVersion(datapath, byDatapath[datapath]) {
				pl.judgeSender(in, datapath)
				out.receives = pl.ownPortNames()
				for _, t := range receiveTunnels(s.Session, datapath) {
					out.receives = append(out.receives, t.Name)
				}
				byDatapath[datapath] = append(byDatapath[datapath], pl)
			}
			continue
		}
		if !pl.findSources(in.State, delivered[s.Bridge]) {
			continue
		}
		datapath := pl.bridge.NormalDatapathType()
		if !pl.findTapBridge(in.State, datapath, taken, pl.sourcePortNames(datapath)) || !pl.findMeter(in, datapath) || !pl.findCollectors(in, datapath, foreign, exits, texts) {
			continue
		}
		if datapath == "system" && slices.ContainsFunc(pl.out.Collectors, pl.cuts) && !pl.segment(in.Devices, taken) {
			continue
		}
		if err := limits.admit(pl); err != nil {
			fail(out, err.reason, err.text)
			continue
		}
		byDatapath[datapath] = append(byDatapath[datapath], pl)
	}
	judgeOffload(in, p)
	judgeRelease(in, p)
	share := 0
	for _, sessions := range byDatapath {
		if slices.ContainsFunc(sessions, func(pl *planned) bool { return pl.output == nil }) {
			share++
		}
	}
	for _, datapath := range slices.Sorted(maps.Keys(byDatapath)) {
		slices.SortFunc(byDatapath[datapath], func(a, b *planned) int { return cmp.Compare(a.wish.Name, b.wish.Name) })
		p.TapBridges = append(p.TapBridges, buildTapBridge(in, datapath, byDatapath[datapath], share))
	}
	return p
}

// acceptedFirst is the order in which sessions get what there is only so much of: mirrors, the per-packet budget, the one
// ERSPAN version of the kernel's datapath.
func acceptedFirst(sessions []session.Stored) []*session.Stored {
	ordered := make([]*session.Stored, 0, len(sessions))
	for _, accepted := range []bool{true, false} {
		for i := range sessions {
			if s := &sessions[i]; s.Accepted == accepted {
				ordered = append(ordered, s)
			}
		}
	}
	return ordered
}

func fail(out *Outcome, reason, message string) {
	*out = Outcome{Slot: out.Slot, State: session.Failed, Reason: reason, Message: message, Collectors: out.Collectors}
}

// degrade notes that a part of the session is not in force; the first reason is the one that is shown.
func (o *Outcome) degrade(reason, message string) {
	if o.State == session.Active {
		o.State, o.Reason, o.Message = session.Degraded, reason, message
	}
}

// stopped notes that there is nothing to program, where the session is to do nothing.
func (pl *planned) stopped() bool {
	out := pl.out
	switch reached := pl.wish.LimitReached(); {
	case pl.wish.Disabled:
		out.State, out.Reason, out.Message = session.Disabled, ReasonDisabled, "disabled by the user"
	case reached != "":
		out.State, out.Reason, out.Message = session.Disabled, ReasonLimitReached,
			reached+": 'session enable' begins to count anew, a higher limit goes on"
	default:
		return false
	}
	return true
}

// findSources finds the bridge and the ports to mirror; it is false where there is nothing to program.
func (pl *planned) findSources(state State, delivered []string) bool {
	s, out := pl.wish, pl.out
	if pl.stopped() {
		return false
	}
	pl.bridge = state.Bridges[s.Bridge]
	if pl.bridge == nil {
		out.State, out.Reason, out.Message = session.Pending, ReasonBridgeMissing, fmt.Sprintf("there is no bridge %q", s.Bridge)
		return false
	}
	if Ours(pl.bridge.ExternalIDs) { // commands refuse it; a key that somebody wrote by hand may say so
		fail(out, ReasonInvalid, fmt.Sprintf("bridge %q is a tap bridge of this program's own, whose copies must not be copied again", s.Bridge))
		return false
	}
	ports, missing := ResolveSources(s.Session, pl.bridge, delivered...)
	var changed []string
	ports = slices.DeleteFunc(ports, func(port *Port) bool {
		was, known := pl.identityOf(port)
		if !known || was == IdentityOf(port) {
			return false
		}
		changed = append(changed, port.Name)
		return true
	})
	switch {
	case len(changed) > 0:
		out.degrade(ReasonSourceIdentity, fmt.Sprintf(
			"port %s is not who it was when the session was added (iface-id or attached-mac changed); its copies are stopped: set the sources again if this is meant", someOf(changed)))
	case len(ports) == 0 && len(missing) == 0:
		out.State, out.Reason, out.Message = session.Pending, ReasonSourceMissing, fmt.Sprintf("bridge %q has no port to mirror", s.Bridge)
	case len(ports) == 0:
		out.State, out.Reason, out.Message = session.Pending, ReasonSourceMissing, fmt.Sprintf("no source is there: %s", someOf(missing))
	case len(missing) > 0:
		out.degrade(ReasonSourceMissing, fmt.Sprintf("not there: %s", someOf(missing)))
	}
	if len(ports) == 0 {
		return false
	}
	for _, port := range pl.judgeDevices(ports, missing) {
		out.Ports = append(out.Ports, port.Name)
	}
	slices.Sort(out.Ports)
	for _, port := range ports {
		pl.largest = max(pl.largest, largestFrame(port))
	}
	pl.wishes = tapWishes(s.Session, ports)
	return true
}

// identityOf is who was behind the port when the session was added, under the name by which the user wished it.
func (pl *planned) identityOf(port *Port) (session.Identity, bool) {
	for _, source := range pl.wish.Sources.Ports {
		if source == port.Name || source == "iface-id="+IdentityOf(port).IfaceID {
			id, ok := pl.wish.Identities[source]
			return id, ok
		}
	}
	return session.Identity{}, false
}

// IdentityOf is who is behind a port now, from its interfaces' external_ids.
func IdentityOf(port *Port) session.Identity {
	for _, i := range port.Interfaces {
		id := session.Identity{IfaceID: i.ExternalIDs["iface-id"], AttachedMAC: i.ExternalIDs["attached-mac"]}
		if id != (session.Identity{}) {
			return id
		}
	}
	return session.Identity{}
}

// largestFrame is the largest frame in bytes that a port carries: its MTU, an Ethernet header and two VLAN tags. 1500 is
// Ethernet's MTU where OVSDB does not tell another.
func largestFrame(port *Port) int {
	mtu := 1500
	for _, i := range port.Interfaces {
		mtu = max(mtu, i.MTU)
	}
	return mtu + erspan.EthernetHeaderLen + 8
}

// foreignPorts tells the bridge of each port that is not ours.
func foreignPorts(state State) map[string]string {
	on := map[string]string{}
	for name, b := range state.Bridges {
		for port, p := range b.Ports {
			if !Ours(p.ExternalIDs) {
				on[port] = name
			}
		}
	}
	return on
}

// sourcePortNames are the names that a source session gives ports of ours.
func (pl *planned) sourcePortNames(datapath string) []string {
	var ports []string
	for _, w := range pl.wishes {
		production, tap := patchNames(w.key)
		ports = append(ports, production, tap)
	}
	for _, c := range pl.wish.Collectors {
		ports = append(ports, tunnelName(&pl.wish.Session, c, datapath))
	}
	return ports
}

// findTapBridge says which tap bridge serves the session, and fails it where none can, or where the names that it needs
// are taken.
func (pl *planned) findTapBridge(state State, datapath string, taken map[string]string, ports []string) bool {
	name, ok := tapBridgeNames[datapath]
	if !ok {
		fail(pl.out, ReasonUnsupported, fmt.Sprintf("datapath type %q; supported are system and netdev", datapath))
		return false
	}
	if b := state.Bridges[name]; b != nil && !Ours(b.ExternalIDs) {
		fail(pl.out, ReasonNameTaken, fmt.Sprintf("bridge %q is the name of our tap bridge, and exists without our mark (external_ids:%s): rename it", name, OwnerKey))
		return false
	}
	pl.out.TapBridge = name
	return pl.namesFree(taken, ports)
}

// namesFree fails the session where a port of others has one of the names that ours need.
func (pl *planned) namesFree(taken map[string]string, ports []string) bool {
	for _, port := range ports {
		if bridge := taken[port]; bridge != "" {
			fail(pl.out, ReasonNameTaken, fmt.Sprintf("port %q on bridge %q has a name of ours and not our mark (external_ids:%s): remove or rename it", port, bridge, OwnerKey))
			return false
		}
	}
	return true
}

// findCollectors decides for each collector whether and how much of each frame can be sent to it.
func (pl *planned) findCollectors(in Input, datapath string, foreign tunnelOwners, exits *exits, texts memo[room, string]) bool {
	s, out := pl.wish, pl.out
	sendable := 0
	out.Collectors = slices.Grow(out.Collectors, len(s.Collectors))
	for _, c := range s.Collectors {
		co := CollectorOutcome{Address: c, Path: in.Paths[pathKey(s, c, datapath)], State: session.Active, Reason: ReasonInForce}
		pl.judgePath(datapath, &co, exits, texts)
		if co.MaxLen > 0 {
			co.tunnel = tunnelName(&s.Session, c, datapath)
			if foreign := foreign.sameAs(&s.Session, c, datapath); foreign != "" {
				co.State, co.Reason, co.MaxLen = session.Failed, ReasonTunnelConflict, 0
				co.Message = fmt.Sprintf("port %s has the same tunnel key as the one this session needs, and a datapath takes only one: give this session another session id, or remove that port", foreign)
			} else if text := tunnelError(in.State, out.TapBridge, co.tunnel); text != "" {
				co.State, co.Reason, co.Message = session.Failed, ReasonTunnelError, fmt.Sprintf("tunnel port %q: %s", co.tunnel, text)
			}
		}
		if co.MaxLen > 0 {
			sendable++
		}
		out.Collectors = append(out.Collectors, co)
		if co.State != session.Active {
			out.degrade(co.Reason, fmt.Sprintf("collector %s: %s", c, co.Message))
		}
	}
	if sendable > 0 {
		return true
	}
	for _, co := range out.Collectors {
		if co.State == session.Failed {
			out.State = session.Failed
		}
	}
	out.TapBridge, out.Ports = "", nil
	return false
}

// cuts tells whether some frame of the sources is longer than what is sent of it to the collector.
func (pl *planned) cuts(co CollectorOutcome) bool { return co.MaxLen > 0 && co.MaxLen < pl.largest }

// buildTapBridge joins the sessions of one datapath; share is how many tap bridges have source sessions.
func buildTapBridge(in Input, datapath string, sessions []*planned, share int) *TapBridge {
	state := in.State
	tb := &TapBridge{Name: tapBridgeNames[datapath], DatapathType: datapath}
	sources := make(map[uint32]*planned, len(sessions)) // the source sessions by slot
	tunnels := map[string]*Port{}
	var paths []pathTo
	var destinations []*planned
	guarded := map[PathKey]bool{}
	guard := func(key PathKey, path Path) {
		if !guarded[key] {
			guarded[key] = true
			paths = append(paths, pathTo{key.Collector, key.Origin, path})
		}
	}
	for _, pl := range sessions {
		if pl.output != nil {
			destinations = append(destinations, pl)
			for _, t := range receiveTunnels(pl.wish.Session, datapath) {
				if tunnels[t.Name] == nil {
					tunnels[t.Name] = t
				}
			}
			if from := senderKey(pl.wish.Session); from.Collector.IsValid() {
				guard(from, in.Paths[from])
			}
			continue
		}
		sources[pl.wish.Slot] = pl
		for _, co := range pl.out.Collectors {
			// The guard covers also collectors that nothing is sent to for now: they may come back.
			guard(pathKey(pl.wish, co.Address, datapath), co.Path)
			if co.MaxLen > 0 && tunnels[co.tunnel] == nil {
				tunnels[co.tunnel] = tunnelFor(&pl.wish.Session, co.Address, datapath)
			}
		}
	}
	tb.Taps = joinTaps(sources)
	numbers := newPortNumbers(state.Bridges[tb.Name])
	for _, name := range slices.Sorted(maps.Keys(tunnels)) {
		t := tunnels[name]
		t.Interfaces[0].OFPort, t.Interfaces[0].OFPortRequest = numbers.of(name)
		tb.Tunnels = append(tb.Tunnels, t)
	}
	for _, tap := range tb.Taps {
		tap.number(numbers)
	}
	buildOutputs(state, tb, destinations, numbers)
	for _, tap := range tb.Taps {
		for _, slot := range tap.Slots {
			out := sources[slot].out
			out.Taps = append(out.Taps, tap)
		}
	}
	for _, pl := range sessions {
		pl.out.Filtered = len(pl.wish.Match) > 0
		for i := range pl.out.Collectors {
			if co := &pl.out.Collectors[i]; co.MaxLen > 0 {
				co.tunnelPort = tunnels[co.tunnel].Interfaces[0].OFPort
			}
		}
	}
	tb.retire(state, sources)
	tb.buildMeters(sessions, share)
	tb.Flows = tapBridgeFlows(tb, sessions, sources, paths)
	return tb
}

// firstTable is the first table that copies for a source session go through after the guard.
func (pl *planned) firstTable() Table {
	if pl.out.Filtered {
		return TableFilter
	}
	return pl.afterFilter()
}

// afterFilter is the table after its filter rules.
func (pl *planned) afterFilter() Table {
	if pl.out.Limited {
		return TableLimit
	}
	return TableEncapsulate
}

// tapBridgeFlows are all flows of a tap bridge; sources are the source sessions by slot.
func tapBridgeFlows(tb *TapBridge, sessions []*planned, sources map[uint32]*planned, paths []pathTo) []Flow {
	all := make([]Flow, 0, len(sessions)+3*len(tb.Taps)) // mostly enough
	var received []*planned
	sends := memo[sending, Action]{}
	most := 0
	for _, pl := range sessions {
		if pl.output != nil {
			received = append(received, pl)
			all = append(all, terminateFlows(pl, tb.DatapathType)...)
			continue
		}
		if pl.out.Limited {
			all = append(all, limitFlows(*pl.wish, pl.copies())...)
			if pl.out.HostLimited {
				most = max(most, pl.copies())
			}
		}
		if pl.out.Filtered {
			all = append(all, filterFlows(*pl.wish, pl.afterFilter())...)
		}
		all = append(all, encapsulateFlow(pl, tb.DatapathType, sends))
	}
	all = append(all, hostLimitFlows(most)...)
	for _, tap := range slices.Concat(tb.Taps, tb.Retiring) {
		all = append(all, tap.flows(tb.DatapathType, func(slot uint32) Action {
			pl := sources[slot]
			if pl.out.Limited {
				return cloneLimited(tap.OFPort, pl.firstTable(), slot)
			}
			return cloneInto(pl.firstTable(), slot)
		})...)
	}
	if len(received) > 0 {
		all = append(all, headerFlows(tb.Tunnels, tb.DatapathType, received)...)
	}
	all = append(all, guardFlows(paths)...)
	for _, t := range []Table{TableClassify, TableGuard, TableFilter, TableEncapsulate} {
		all = append(all, Flow{t, priorityNothing, NewCookie(StageNone, uint32(t)), Match{}, drop()})
	}
	all = append(all, TouchFlow())
	SortFlows(all)
	return all
}

// TouchFlow is the flow that nothing reaches and that is added again to make OVS revalidate its megaflows.
func TouchFlow() Flow {
	return Flow{TableTouch, priorityNothing, NewCookie(StageTouch, 0), Match{}, drop()}
}

// filterFlows are a session's flows in table 10; what passes goes to next.
func filterFlows(s session.Stored, next Table) []Flow {
	slot := slotIs(s.Slot)
	var all []Flow
	permits, denies := 0, 0
	permit := func(expr string) {
		flow := func(stage Stage, part FragmentPart) Flow {
			return Flow{TableFilter, priorityNormal, NewCookie(stage+Stage(permits), s.Slot),
				Match{Fields: []string{slot}, Expr: expr, Part: part}, []Action{gotoTable(next)}}
		}
		all = append(all, flow(StagePermit, byPorts(expr)))
		if session.LaterFragments(expr) != "" {
			all = append(all, flow(StageLater, LaterFragments))
		}
		permits++
	}
	for _, rule := range s.Match {
		switch {
		case rule.Deny != "":
			all = append(all, Flow{TableFilter, priorityDeny, NewCookie(StageDeny+Stage(denies), s.Slot),
				Match{Fields: []string{slot}, Expr: rule.Deny, Part: byPorts(rule.Deny)}, drop()})
			denies++
		case rule.PermitBothWays != "":
			permit(rule.PermitBothWays)
			if back, err := session.ExchangeDirections(rule.PermitBothWays); err == nil {
				permit(back)
			}
		default:
			permit(rule.Permit)
		}
	}
	rest := Flow{TableFilter, priorityRest, NewCookie(StageRestPermit, s.Slot), Match{Fields: []string{slot}}, []Action{gotoTable(next)}}
	if permits > 0 {
		rest.Cookie, rest.Actions = NewCookie(StageRestDrop, s.Slot), drop()
	}
	return append(all, rest)
}

// encapsulateFlow is a session's flow in table 30: the tunnel fields (ovs-fields(7), "Tunnel Fields"), and for each
// collector its address and the output.
func encapsulateFlow(pl *planned, datapath string, sends memo[sending, Action]) Flow {
	s := pl.wish
	actions := make([]Action, 0, 4+len(pl.out.Collectors))
	// A mark that production set would choose another route: in userspace, mostly none.
	actions = append(actions, setNumber(0, "pkt_mark"), setNumber(uint64(*s.ERSPAN.SessionID), "tun_id"), setField(strconv.Itoa(s.ERSPAN.Version), "tun_erspan_ver"))
	if s.ERSPAN.Version == 2 {
		actions = append(actions, setNumber(uint64(valueOr(s.ERSPAN.HardwareID, 0)), "tun_erspan_hwid"))
	} else {
		actions = append(actions, setNumber(uint64(valueOr(s.ERSPAN.Index, 0)), "tun_erspan_idx"))
	}
	for _, co := range pl.out.Collectors {
		if co.MaxLen > 0 {
			maxLen := co.MaxLen
			if datapath == "system" && !pl.cuts(co) {
				maxLen = 0 // it would cut super-frames
			}
			actions = append(actions, sends.of(sending{co.Address, co.tunnelPort, maxLen}, sendTo))
		}
	}
	return Flow{TableEncapsulate, priorityNormal, NewCookie(StageSent, s.Slot), Match{Fields: []string{slotIs(s.Slot)}}, actions}
}

func valueOr(p *int, otherwise int) int {
	if p == nil {
		return otherwise
	}
	return *p
}

func quoteList(names []string) string {
	text := ""
	for i, n := range names {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%q", n)
	}
	return text
}
