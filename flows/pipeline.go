package flows

import "fmt"

// The pipeline of a tap bridge, in the order in which a copy passes it.
//
// A production bridge's Mirror puts copies on a patch port (a "tap port") of the tap bridge.
//
// Table 0, classify. A copy is known by the tap port it came through and goes to table 5. That it arrived is counted
// here, before anything can drop it. What comes in any other way is dropped. So is what an ingress tap gets of a packet that
// production's pipeline has recirculated (conntrack, NAT): it has copied that packet already, as it came in. The copies of a
// segmented tap go into its pair of devices first, and from what comes out of it on as others.
//
// Table 5, guard. What our own copies cause must never be copied again, or it multiplies until the host is dead (ERSPAN
// to and from tunnel endpoints, ARP requests and neighbour solicitations for collectors, ICMP errors about copies): it is
// dropped first, in flows that all taps share. What is left is handed to the sessions of the tap, one clone each, with
// the session's slot in reg0 and the direction in tun_erspan_dir. A frame from an access port arrives with the port's
// VLAN pushed (the bridge's view); it is popped here, so that every later table and the collector see the source's wire.
// A session without filter rules goes straight to table 30. On the kernel's datapath the tap ends with letGo.
//
// Table 10, filter. Per slot: deny rules, then permit rules, then what happens to the rest: dropped where there is a
// permit rule, permitted where there is none. Each drop is a flow of its own, so that drops are counted. Later fragments of a
// packet have no ports: what a rule on ports does not say of them, it permits (fragments.go).
//
// Table 25, limit. Only for slots that have a maximal rate: their meter drops and counts what is too much. A meter drops
// the packet that it is given, and Open vSwitch gives it production's own where a clone is none in the datapath: see
// cloneLimited.
//
// Table 26, host limit, and 27, passed. Only where the host has a maximal rate: a meter that all sessions share is given the
// packet once for each copy that will be made of it; what it lets pass is counted by a second meter of the session.
//
// Table 30, encapsulate. Per slot one flow: it sets the tunnel fields, and for each collector outputs to the tunnel port,
// cut to what the path takes. Every output to a tunnel carries max_len: in the userspace datapath an oversize copy takes
// production packets down with it, and byte counters are exact only so. And each is in a clone of its own, because a cut
// whose output comes to nothing would else cut production's packet (sendTo).
//
// Table 63, touch. A flow that nothing ever reaches. Adding it again makes OVS revalidate its megaflows, which it does
// not do by itself when a Mirror comes, changes or goes.
//
// What arrives at a tunnel port takes another way, for destination sessions:
//
// Table 40, read header. Per ERSPAN version, the header's fields go into registers. What Open vSwitch cannot read ends
// here, counted.
//
// Table 41, terminate. Sender, session id, version, and index, or hardware id and direction, give the session, the more
// specific one first; its slot goes into reg0. What is no session's ends here, counted ("unmatched").
//
// Table 50, deliver. Per slot, out through the session's output port. In the userspace datapath the frame is measured
// first, and table 51, emit, drops what the port does not take, which would take others' frames down with it; a meter
// counts it.
//
// On the production bridge of the output port, one flow (Delivery.flow) takes what comes through our patch port to it.
//
// Table 20 is free for sampling.
const (
	TableClassify    Table = 0
	TableGuard       Table = 5
	TableFilter      Table = 10
	TableLimit       Table = 25
	TableHostLimit   Table = 26
	TablePassed      Table = 27
	TableEncapsulate Table = 30
	TableHeader      Table = 40
	TableTerminate   Table = 41
	TableDeliver     Table = 50
	TableEmit        Table = 51
	TableTouch       Table = 63
)

// Table is the number of an OpenFlow table of the tap bridge.
type Table int

// String is the table's name.
func (t Table) String() string {
	switch t {
	case TableClassify:
		return "classify"
	case TableGuard:
		return "guard"
	case TableFilter:
		return "filter"
	case TableLimit:
		return "limit"
	case TableHostLimit:
		return "host-limit"
	case TablePassed:
		return "passed"
	case TableEncapsulate:
		return "encapsulate"
	case TableHeader:
		return "read-header"
	case TableTerminate:
		return "terminate"
	case TableDeliver:
		return "deliver"
	case TableEmit:
		return "emit"
	case TableTouch:
		return "touch"
	}
	return fmt.Sprintf("table%d", int(t))
}

// Priorities. Within a table the order is: what protects, what denies, what permits, what is left.
const (
	priorityDelivery = 65535 // the one flow on a production bridge: nothing there may come before it

	priorityGuard   = 300
	priorityDeny    = 200
	priorityStrip   = 110 // a tap whose frames carry a VLAN that was not on the wire
	priorityNormal  = 100
	priorityOther   = 90 // what a tap port gets besides
	priorityRest    = 10 // what no rule of a slot names
	priorityNothing = 0
)

// slotRegister holds the slot of the session that a clone belongs to.
const slotRegister = "reg0"

// Cookie says whose a flow is and what it counts: cookieOwner in the top 16 bits, the stage in the next 16, and in the
// low 32 the slot of the session (or, in tables 0 and 5, the tap port's OpenFlow number, or a hash for guard flows).
// Every flow of a tap bridge has a cookie of its own.
type Cookie uint64

// cookieOwner marks our flows: "e25a" reads like ERSPAN.
const cookieOwner = 0xe25a

// Stage is what a flow counts.
type Stage uint16

// The stages. Filter rules are numbered within their stage, in the order of the wish.
const (
	StageNone        Stage = 0x0000 // what reached a table and is no session's
	StageArrived     Stage = 0x0001 // copies that a Mirror delivered, behind the devices where the tap has them; slot is the port they came through
	StageGuard       Stage = 0x0002 // copies dropped by the guard, all taps; slot is a hash of the match
	StageTapped      Stage = 0x0003 // copies that passed the guard; slot is the tap port
	StageTappedStrip Stage = 0x0004 // the same, with the access VLAN popped
	StageRepeated    Stage = 0x0005 // copies of a packet that production's pipeline had recirculated, dropped; slot is the tap port
	StageSegmented   Stage = 0x0006 // copies that a Mirror delivered, given to the devices that take super-frames apart; slot as before
	StageRestPermit  Stage = 0x0010 // permitted because nothing denied it
	StageRestDrop    Stage = 0x0011 // dropped because nothing permitted it
	StageLimit       Stage = 0x0018 // given to the session's meter
	StageMetered     Stage = 0x0019 // the same as the meter itself counts it (MeterEntries)
	StageLimited     Stage = 0x001a // of these, dropped by it
	StageHostLimit   Stage = 0x001b // given to the host's meter; slot is how many copies it has still to count
	StagePassed      Stage = 0x001c // passed it
	StagePassedHost  Stage = 0x001d // the same as the session's second meter counts it
	StageHostMetered Stage = 0x001e // copies that the host's meter was given
	StageHostLimited Stage = 0x001f // of these, dropped by it
	StageSent        Stage = 0x0030 // handed to the tunnel, once for each collector
	StageTouch       Stage = 0x003f
	StageReceived    Stage = 0x0040 // what arrived at a tunnel port; slot is the port
	StageHeader      Stage = 0x0041 // of it, with a header that was read; slot is the version
	StageUnreadable  Stage = 0x0042 // and with one that Open vSwitch cannot read
	StageTerminated  Stage = 0x0043 // of a destination session
	StageUnmatched   Stage = 0x0044 // of no session
	StageFit         Stage = 0x0050 // on the way to being measured, userspace datapath only
	StageFitTagged   Stage = 0x0051 // the same, with a VLAN tag
	StageDelivered   Stage = 0x0052 // sent to the output port
	StageOversize    Stage = 0x0053 // dropped, because the output port does not take so large a frame
	StageDelivery    Stage = 0x0054 // the flow on the production bridge; slot is our patch port
	StagePermit      Stage = 0x1000 // 0x1000 + number of the permit rule
	StageDeny        Stage = 0x2000 // 0x2000 + number of the deny rule
	StageLater       Stage = 0x3000 // 0x3000 + number of the permit rule: later fragments, of which it leaves open whether it means them

	// MaxRules is how many rules of one kind a session can have, by the room between StagePermit, StageDeny and StageLater.
	MaxRules = 0x1000
)

// NewCookie puts a cookie together.
func NewCookie(stage Stage, slot uint32) Cookie {
	return Cookie(uint64(cookieOwner)<<48 | uint64(stage)<<32 | uint64(slot))
}

// String is the cookie as Open vSwitch prints it.
func (c Cookie) String() string { return fmt.Sprintf("%#x", uint64(c)) }

// MarshalText is String: as a number in JSON it would lose digits.
func (c Cookie) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Ours reports whether the cookie is one of ours.
func (c Cookie) Ours() bool { return uint64(c)>>48 == cookieOwner }

// Stage is the stage that the flow counts.
func (c Cookie) Stage() Stage { return Stage(uint64(c) >> 32 & 0xffff) }

// Slot is the low 32 bits: a session's slot, or a tap port's number.
func (c Cookie) Slot() uint32 { return uint32(c) }
