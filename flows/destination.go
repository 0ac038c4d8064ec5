package flows

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/ovs-erspan/ovs-erspan/erspan"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// Delivery is the way from the tap bridge to a port of a production bridge: a patch pair of its own, and on the
// production bridge one flow that matches nothing but that patch. Destination sessions with the same output port share it.
type Delivery struct {
	Bridge, OutputPort      string
	ProductionPort, TapPort string // the ends of the patch
	OFPort                  int    // of TapPort on the tap bridge
	ProductionOFPort        int    // of ProductionPort, 0: not known yet
	Output                  int    // of OutputPort

	request, productionRequest int
}

// output is where a destination session's frames leave the tap bridge.
type output struct {
	delivery *Delivery // nil: a device that is attached to the tap bridge
	device   string
	ofport   int // on the tap bridge, 0: not there yet
	mtu      int // of the port that the frames leave through at last
}

// localPort is OFPP_LOCAL as OVSDB numbers a bridge's own port.
const localPort = 65534

// deliveryPorts are the ports of each production bridge that destination sessions deliver to: never a source, because
// what is delivered would be mirrored again.
func deliveryPorts(sessions []session.Stored) map[string][]string {
	ports := map[string][]string{}
	for _, s := range sessions {
		if s.Type == session.Destination && s.Bridge != "" && !s.Stopped() {
			ports[s.Bridge] = append(ports[s.Bridge], s.OutputPort)
		}
	}
	return ports
}

// sender is the address that a destination session's frames come from; the zero Addr is any.
func sender(s session.Session) netip.Addr {
	a, _ := netip.ParseAddr(s.From)
	return a
}

// senderKey is the path from a destination session's sender; without an address where there is none to know.
func senderKey(s session.Session) PathKey {
	if s.Type != session.Destination {
		return PathKey{}
	}
	return PathKey{Collector: sender(s), Sender: true}
}

// UnfitOutput is why a port cannot be delivered to, or "".
func UnfitOutput(p *Port) string {
	switch {
	case Ours(p.ExternalIDs):
		return "is a port of this program's own"
	case isPatch(p):
		return "is a patch port, behind which another bridge would flood and learn"
	case len(p.Interfaces) != 1:
		return "is a bond, to which no flow can send"
	}
	return ""
}

// findOutput finds where the frames leave; it is false where there is nothing to program.
func (pl *planned) findOutput(in Input) (datapath string, ok bool) {
	s, out := pl.wish, pl.out
	if pl.stopped() {
		return "", false
	}
	if s.Bridge == "" {
		return pl.findDevice(in)
	}
	b := in.State.Bridges[s.Bridge]
	if b == nil {
		out.State, out.Reason, out.Message = session.Pending, ReasonBridgeMissing, fmt.Sprintf("there is no bridge %q", s.Bridge)
		return "", false
	}
	port := b.Ports[s.OutputPort]
	switch {
	case Ours(b.ExternalIDs):
		fail(out, ReasonInvalid, fmt.Sprintf("bridge %q is a tap bridge of this program's own", s.Bridge))
		return "", false
	case port == nil:
		out.State, out.Reason, out.Message = session.Pending, ReasonOutputMissing, fmt.Sprintf("bridge %q has no port %q", s.Bridge, s.OutputPort)
		return "", false
	case UnfitOutput(port) != "":
		fail(out, ReasonOutputUnfit, fmt.Sprintf("output port %q %s", s.OutputPort, UnfitOutput(port)))
		return "", false
	case AbsentDevice(port) != "":
		out.State, out.Reason, out.Message = session.Pending, ReasonOutputMissing, fmt.Sprintf("output port %q: %s", s.OutputPort, AbsentDevice(port))
		return "", false
	case port.Interfaces[0].OFPort == 0:
		out.State, out.Reason, out.Message = session.Pending, ReasonOutputMissing, fmt.Sprintf("Open vSwitch has not opened port %q yet", s.OutputPort)
		return "", false
	}
	d := &Delivery{Bridge: s.Bridge, OutputPort: s.OutputPort, Output: port.Interfaces[0].OFPort}
	d.ProductionPort, d.TapPort = deliveryNames(s.Bridge, s.OutputPort)
	pl.output = &output{delivery: d, mtu: mtuOf(port)}
	return b.NormalDatapathType(), true
}

// findDevice is findOutput for a device that is on no bridge: it is attached to the tap bridge of the datapath that the
// sender's frames arrive at.
func (pl *planned) findDevice(in Input) (string, bool) {
	s, out := pl.wish, pl.out
	datapath := arrivesAt(in, senderKey(s.Session))
	if datapath == "" {
		fail(out, ReasonUnsupported, "this Open vSwitch has bridges of both datapaths, and nothing tells at which of them the frames arrive: name the sender (from)")
		return "", false
	}
	pl.output = &output{device: s.OutputPort, mtu: defaultMTU}
	if b := in.State.Bridges[tapBridgeNames[datapath]]; b != nil && b.Ports[s.OutputPort] != nil {
		port := b.Ports[s.OutputPort]
		pl.output.mtu = mtuOf(port)
		if why := AbsentDevice(port); why != "" {
			// Its port stays: the device may come.
			out.State, out.Reason, out.Message = session.Pending, ReasonOutputMissing, fmt.Sprintf("output device %q: %s", s.OutputPort, why)
			pl.output.ofport = -1
		}
	}
	return datapath, true
}

// defaultMTU is Ethernet's, where OVSDB does not tell another.
const defaultMTU = 1500

func mtuOf(p *Port) int {
	mtu := 0
	for _, i := range p.Interfaces {
		mtu = max(mtu, i.MTU)
	}
	if mtu == 0 {
		return defaultMTU
	}
	return mtu
}

// arrivesAt is the datapath that takes what a sender sends to this host: that of the bridge which carries the route to
// it, else the kernel's. Where nothing tells, it is that of all bridges, or "".
func arrivesAt(in Input, from PathKey) string {
	if p, ok := in.Paths[from]; ok && p.Device != "" {
		if TunnelBridge(in.State, p.Device) != "" {
			return "netdev"
		}
		return "system"
	}
	kinds := map[string]bool{}
	for _, b := range in.State.Bridges {
		if !Ours(b.ExternalIDs) {
			kinds[b.NormalDatapathType()] = true
		}
	}
	switch {
	case len(kinds) == 0:
		return "system"
	case len(kinds) == 1:
		return slices.Collect(maps.Keys(kinds))[0]
	}
	return ""
}

// judgeSender notes what keeps a sender's frames from arriving.
func (pl *planned) judgeSender(in Input, datapath string) {
	from := senderKey(pl.wish.Session)
	p := in.Paths[from]
	if datapath == "netdev" && p.Device != "" && TunnelBridge(in.State, p.Device) == "" {
		pl.out.degrade(ReasonNotOnBridge, fmt.Sprintf("the way to %s leads through device %s, which is no port of a bridge of this Open vSwitch with the userspace datapath: what it sends does not arrive", from.Collector, p.Device))
	}
}

// receiveTunnels are the tunnel ports that take what the session's sender sends: the shared ones of the datapath.
func receiveTunnels(s session.Session, datapath string) []*Port {
	families := []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	if from := sender(s); from.IsValid() {
		families = []netip.Addr{from}
	}
	var ports []*Port
	for _, family := range families {
		t := tunnelFor(&session.Session{}, family, datapath)
		if !slices.ContainsFunc(ports, func(p *Port) bool { return p.Name == t.Name }) {
			ports = append(ports, t)
		}
	}
	return ports
}

// tunnelsReady fails the session where a tunnel port that it needs cannot be.
func (pl *planned) tunnelsReady(state State, datapath string, foreign tunnelOwners) bool {
	for _, t := range receiveTunnels(pl.wish.Session, datapath) {
		if other := foreign[tunnelIdentity(datapath, t.Interfaces[0])]; other != "" {
			fail(pl.out, ReasonTunnelConflict, fmt.Sprintf("port %s has the same tunnel key as the one this session needs, and a datapath takes only one: remove it, or give it another local_ip", other))
			return false
		}
		if text := tunnelError(state, tapBridgeNames[datapath], t.Name); text != "" {
			pl.out.degrade(ReasonTunnelError, fmt.Sprintf("tunnel port %q: %s", t.Name, text))
		}
	}
	return true
}

// oneVersion fails the session where another one on the kernel's datapath has another version, or none (see headerFlows).
func (pl *planned) oneVersion(datapath string, others []*planned) bool {
	if datapath != "system" {
		return true
	}
	say := func(s *session.Stored) string {
		if s.ERSPAN.Version == 0 {
			return "any version"
		}
		return "version " + erspan.Version(s.ERSPAN.Version).String()
	}
	for _, other := range others {
		if other.output != nil && other.wish.ERSPAN.Version != pl.wish.ERSPAN.Version {
			fail(pl.out, ReasonVersionConflict, fmt.Sprintf(
				"it takes %s, and session %q takes %s: on the kernel datapath all destination sessions of a host have to name the same ERSPAN version, for Open vSwitch would mix up their frames; use 'ovs-erspan capture --to' for one of them",
				say(pl.wish), other.wish.Name, say(other.wish)))
			return false
		}
	}
	return true
}

// ownPortNames are the names that the session gives ports of ours.
func (pl *planned) ownPortNames() []string {
	if d := pl.output.delivery; d != nil {
		return []string{d.ProductionPort, d.TapPort}
	}
	return []string{pl.output.device}
}

// deliveryNames are the names of a delivery's two patch ports.
func deliveryNames(bridge, port string) (production, tap string) {
	id := portID("deliver|" + bridge + "|" + port)
	return "es-" + id + "-d", "es-" + id + "-o"
}

func (d *Delivery) productionPort() *Port {
	p := closedPatch(d.ProductionPort, d.TapPort, map[string]string{OwnerKey: "delivery"})
	p.Interfaces[0].OFPortRequest = d.productionRequest
	return p
}

func (d *Delivery) tapPort() *Port {
	ids := map[string]string{OwnerKey: "delivery"}
	return &Port{
		Name: d.TapPort, ExternalIDs: ids,
		Interfaces: []*Interface{{Name: d.TapPort, Type: "patch", Options: map[string]string{"peer": d.ProductionPort}, ExternalIDs: ids, OFPortRequest: d.request}},
	}
}

// flow is the one flow that promise 1 allows on a production bridge: from our own patch port to the output port.
func (d *Delivery) flow() Flow {
	action := outputTo(d.Output)
	if d.Output == localPort {
		action = "LOCAL"
	}
	return Flow{TableClassify, priorityDelivery, NewCookie(StageDelivery, uint32(d.ProductionOFPort)), Match{Fields: []string{inPort(d.ProductionOFPort)}}, []Action{action}}
}

// IsDelivery tells whether a flow on a production bridge is one of ours. The cookie alone does not: anybody may use it.
func IsDelivery(l Line) bool {
	return l.Table == TableClassify && l.Priority == priorityDelivery && l.Cookie.Ours() && l.Cookie.Stage() == StageDelivery &&
		l.Match == inPort(int(l.Cookie.Slot()))
}

// DeliveryFlows are the flows that each production bridge is to have of ours: one for each delivery. A bridge on which a
// delivery was, and is no longer wished, has none; that it was is told by a port of ours, or by the store where somebody
// deleted that. Bridges that are not in the map are none of our business.
func DeliveryFlows(state State, p Program) map[string][]Line {
	wished := map[string][]Line{}
	for _, name := range state.Delivered {
		if b := state.Bridges[name]; b != nil && !Ours(b.ExternalIDs) {
			wished[name] = nil
		}
	}
	for name, b := range state.Bridges {
		for _, port := range b.Ports {
			if !Ours(b.ExternalIDs) && port.ExternalIDs[OwnerKey] == "delivery" {
				wished[name] = nil
			}
		}
	}
	for _, tb := range p.TapBridges {
		for _, d := range tb.Deliveries {
			wished[d.Bridge] = append(wished[d.Bridge], d.flow().Line())
		}
	}
	return wished
}

// OwnCookies matches the cookies of all flows of ours.
const OwnCookies, OwnCookiesMask uint64 = cookieOwner << 48, 0xffff << 48

// buildOutputs joins the destination sessions of a tap bridge on deliveries and devices, and numbers them.
func buildOutputs(state State, tb *TapBridge, sessions []*planned, numbers *portNumbers) {
	byName := map[string]*Delivery{}
	devices := map[string]*Port{}
	production := map[string]*portNumbers{}
	for _, pl := range sessions {
		o := pl.output
		if o.delivery == nil {
			if devices[o.device] == nil {
				ids := map[string]string{OwnerKey: "output"}
				devices[o.device] = &Port{Name: o.device, ExternalIDs: ids, Interfaces: []*Interface{{Name: o.device, ExternalIDs: ids}}}
			}
			i := devices[o.device].Interfaces[0]
			if i.OFPort == 0 {
				i.OFPort, i.OFPortRequest = numbers.of(o.device)
			}
			if o.ofport == 0 {
				o.ofport = i.OFPort
			}
			continue
		}
		d := byName[o.delivery.TapPort]
		if d == nil {
			d = o.delivery
			byName[d.TapPort] = d
			d.OFPort, d.request = numbers.of(d.TapPort)
			if production[d.Bridge] == nil {
				production[d.Bridge] = newPortNumbers(state.Bridges[d.Bridge])
				production[d.Bridge].first = firstDeliveryPort
			}
			d.ProductionOFPort, d.productionRequest = production[d.Bridge].of(d.ProductionPort)
		}
		o.delivery, o.ofport, pl.out.Delivery = d, d.OFPort, d
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		tb.Deliveries = append(tb.Deliveries, byName[name])
	}
	for _, name := range slices.Sorted(maps.Keys(devices)) {
		tb.Outputs = append(tb.Outputs, devices[name])
	}
}

// firstDeliveryPort is where the port numbers of deliveries on production bridges begin: far from those that others get.
const firstDeliveryPort = 61000

// Registers of a frame on its way from a tunnel to an output port.
const (
	indexRegister     = "reg1"
	hwidRegister      = "reg2"
	directionRegister = "reg3"
	versionRegister   = "reg4"
	largerRegister    = "reg5" // 1: the frame is larger than the output port takes
)

// headerFlows are the flows of tables 0 and 40 for the tunnel ports. Open vSwitch takes the value of tun_erspan_dir and
// tun_erspan_hwid for their mask (lib/match.c, to 3.7 at least), so that 0 would match anything: the fields are moved into
// registers, which match exactly. Of the index 20 bits are of the header (draft-foschiano-erspan-03).
//
// On the kernel's datapath no packet may be asked for more than one version. Open vSwitch writes the ERSPAN fields of a
// megaflow only where its mask of the version is 1 or is 2 (lib/odp-util.c, tun_key_to_attr), and a packet that is compared
// with both is given the mask 3: its megaflow would have none of the fields, and take in what is other sessions'. So all
// sessions there have one version (oneVersion), and only that is asked for; where none has a version, nothing is read.
func headerFlows(tunnels []*Port, datapath string, sessions []*planned) []Flow {
	header := func(version int, moves ...Action) Flow {
		return Flow{TableHeader, priorityNormal, NewCookie(StageHeader, uint32(version)), Match{Fields: []string{fmt.Sprintf("tun_erspan_ver=%d", version)}},
			append(append([]Action{setNumber(uint64(version), versionRegister)}, moves...), gotoTable(TableTerminate))}
	}
	all := []Flow{
		header(1, "move:NXOXM_ET_ERSPAN_IDX[]->NXM_NX_REG1[0..19]"),
		header(2, "move:NXOXM_ET_ERSPAN_HWID[]->NXM_NX_REG2[0..5]", "move:NXOXM_ET_ERSPAN_DIR[]->NXM_NX_REG3[0]"),
	}
	if datapath == "system" {
		switch version := sessions[0].wish.ERSPAN.Version; version {
		case 0:
			all = []Flow{{TableHeader, priorityNormal, NewCookie(StageHeader, 0), Match{}, []Action{gotoTable(TableTerminate)}}}
		default:
			all = all[version-1 : version]
		}
	}
	all = append(all, []Flow{
		{TableHeader, priorityNothing, NewCookie(StageUnreadable, 0), Match{}, drop()},
		{TableTerminate, priorityNothing, NewCookie(StageUnmatched, 0), Match{}, drop()},
		{TableDeliver, priorityNothing, NewCookie(StageNone, uint32(TableDeliver)), Match{}, drop()},
		{TableEmit, priorityNothing, NewCookie(StageNone, uint32(TableEmit)), Match{}, drop()},
	}...)
	for _, t := range tunnels {
		n := t.Interfaces[0].OFPort
		all = append(all, Flow{TableClassify, priorityNormal, NewCookie(StageReceived, uint32(n)), Match{Fields: []string{inPort(n)}}, []Action{gotoTable(TableHeader)}})
	}
	return all
}

// terminateFlows are a destination session's flows in tables 41, 50 and 51.
func terminateFlows(pl *planned, datapath string) []Flow {
	s := pl.wish
	fields := []string{}
	register := func(name string, n int) { fields = append(fields, name+"="+hexNumber(uint64(n))) }
	if s.ERSPAN.Index != nil {
		register(indexRegister, *s.ERSPAN.Index)
	}
	if s.ERSPAN.HardwareID != nil {
		register(hwidRegister, *s.ERSPAN.HardwareID)
	}
	if s.Direction != "" {
		register(directionRegister, map[session.Direction]int{session.Ingress: 0, session.Egress: 1}[s.Direction])
	}
	if s.ERSPAN.Version != 0 {
		register(versionRegister, s.ERSPAN.Version)
	}
	fields = append(fields, "tun_id="+hexNumber(uint64(*s.ERSPAN.SessionID)))
	if from := sender(s.Session); from.Is4() {
		fields = append(fields, "tun_src="+from.String())
	} else if from.IsValid() {
		fields = append(fields, "tun_ipv6_src="+from.String())
	}
	all := []Flow{{TableTerminate, priorityNormal + s.Specificity(), NewCookie(StageTerminated, s.Slot), Match{Fields: fields},
		[]Action{setNumber(uint64(s.Slot), slotRegister), gotoTable(TableDeliver)}}}
	o := pl.output
	if o.ofport <= 0 {
		return all // what is terminated is dropped at the end of table 50
	}
	slot := slotIs(s.Slot)
	deliver := []Action{outputTo(o.ofport)}
	if datapath != "netdev" {
		// The kernel drops a frame that the port does not take, and only that.
		return append(all, Flow{TableDeliver, priorityNormal, NewCookie(StageDelivered, s.Slot), Match{Fields: []string{slot}}, deliver})
	}
	// In the userspace datapath a frame that the port does not take goes down with the rest of its batch, production's
	// frames on that port included: so none is sent.
	fits := func(stage Stage, priority, size int, match ...string) Flow {
		return Flow{TableDeliver, priority, NewCookie(stage, s.Slot), Match{Fields: append([]string{slot}, match...)},
			[]Action{Action(fmt.Sprintf("check_pkt_larger(%d)->NXM_NX_REG5[0]", size)), gotoTable(TableEmit)}}
	}
	const tag = 4
	size := o.mtu + erspan.EthernetHeaderLen
	return append(all,
		fits(StageFitTagged, priorityStrip, size+tag, "vlan_tci=0x1000/0x1000"),
		fits(StageFit, priorityNormal, size),
		// Open vSwitch translates both ways of check_pkt_larger into one megaflow and counts its packets in the flows of both.
		// A meter counts in the datapath, where only the way that is taken is.
		Flow{TableEmit, priorityDeny, NewCookie(StageOversize, s.Slot), Match{Fields: []string{slot, largerRegister + "=0x1"}}, []Action{Action(fmt.Sprintf("meter:%d", s.Slot))}},
		Flow{TableEmit, priorityNormal, NewCookie(StageDelivered, s.Slot), Match{Fields: []string{slot}}, deliver},
	)
}

// measures tells whether a destination session measures frames before it delivers them, and has a meter that counts those
// that are too large.
func (pl *planned) measures(datapath string) bool {
	return datapath == "netdev" && pl.output != nil && pl.output.ofport > 0
}

// CheckDestination checks a valid destination session against the host and the other sessions. All faults are reported,
// joined; what is only not there is a *MissingError.
func CheckDestination(s session.Session, h Host) error {
	fault := &session.FieldError{Session: s.Name, Field: "outputPort", Value: s.OutputPort}
	if from := sender(s); from.IsValid() && slices.Contains(h.LocalAddrs, from) {
		return &session.FieldError{Session: s.Name, Field: "from", Value: s.From, Reason: "is an address of this host, which sends nothing to itself", Remedy: "name the host that sends"}
	}
	if s.Bridge == "" {
		return checkDevice(fault, s.OutputPort, h)
	}
	b := h.State.Bridges[s.Bridge]
	switch {
	case b == nil:
		return &MissingError{&session.FieldError{Session: s.Name, Field: "bridge", Value: s.Bridge,
			Reason: "there is no such bridge", Remedy: suggest("the bridges", s.Bridge, foreignBridges(h.State))}}
	case Ours(b.ExternalIDs):
		return &session.FieldError{Session: s.Name, Field: "bridge", Value: s.Bridge, Reason: "is a tap bridge of this program's own",
			Remedy: "leave --bridge out for a device that is on no bridge"}
	}
	port := b.Ports[s.OutputPort]
	if port == nil {
		var fit []string
		for _, name := range slices.Sorted(maps.Keys(b.Ports)) {
			if UnfitOutput(b.Ports[name]) == "" {
				fit = append(fit, name)
			}
		}
		fault.Reason, fault.Remedy = fmt.Sprintf("bridge %q has no such port", s.Bridge), suggest("its ports", s.OutputPort, fit)
		return &MissingError{fault}
	}
	if reason := UnfitOutput(port); reason != "" {
		fault.Reason, fault.Remedy = reason, "name another port"
		return fault
	}
	if why := AbsentDevice(port); why != "" {
		fault.Reason, fault.Remedy = "nothing can leave through it: "+why, "see that its device is there"
		return &MissingError{fault}
	}
	return nil
}

func checkDevice(fault *session.FieldError, device string, h Host) error {
	for _, name := range slices.Sorted(maps.Keys(h.State.Bridges)) {
		b := h.State.Bridges[name]
		for _, port := range slices.Sorted(maps.Keys(b.Ports)) {
			on := port == device || slices.ContainsFunc(b.Ports[port].Interfaces, func(i *Interface) bool { return i.Name == device })
			switch {
			case !on:
				continue
			case Ours(b.ExternalIDs) && b.Ports[port].ExternalIDs[OwnerKey] == "output":
				return nil // it is attached already, for another session
			case Ours(b.ExternalIDs):
				fault.Reason, fault.Remedy = "is a port of this program's own", "name another device"
			default:
				fault.Reason, fault.Remedy = fmt.Sprintf("is on bridge %q", name), "add --bridge "+name
			}
			return fault
		}
	}
	d, ok := h.Devices[device]
	switch {
	case !ok:
		var names []string
		for _, name := range slices.Sorted(maps.Keys(h.Devices)) {
			if h.Devices[name].Taken == "" {
				names = append(names, name)
			}
		}
		fault.Reason, fault.Remedy = "there is no such device", suggest("the devices that are free", device, names)+"; for a port of a bridge add --bridge"
		return &MissingError{fault}
	case d.Taken != "":
		// A bridge takes a device away from the host: its addresses would no longer be reached.
		fault.Reason, fault.Remedy = d.Taken, "name a device that nothing else uses, such as one end of a veth pair"
		return fault
	}
	return nil
}
