package doctor

import (
	"net/netip"
	"slices"
	"time"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// Level is how bad a finding is.
type Level string

// The levels, from good to bad.
const (
	// Skipped: it does not concern this host, or could not be looked at; Saw says which.
	Skipped Level = "skipped"
	OK      Level = "ok"
	Warning Level = "warning"
	Failure Level = "failure"
)

var levels = []Level{Skipped, OK, Warning, Failure}

// Result is what a check found.
type Result struct {
	ID      string `json:"id"`
	Title   string `json:"title"`
	Level   Level  `json:"level"`
	Session string `json:"session,omitempty"` // "" where it is not about one
	Saw     string `json:"saw"`
	Do      string `json:"do,omitempty"` // what to do; only where something is to be done
}

// Snapshot is what was gathered of a host. What could not be is told by the errors, and its fields are empty. What is empty
// was not seen: no check takes it for good (see Snapshot.missing).
type Snapshot struct {
	Rundir string
	// DBError, VswitchdError and PlanError say why the database, ovs-vswitchd or a plan could not be had; "" where they could.
	DBError, VswitchdError, PlanError string
	// Version is what ovs-vswitchd says that it is, such as "3.1.0"; "" where it was not asked.
	Version string

	// Sessions are those that are asked about, sorted by name; State is the whole host's.
	Sessions []session.Stored
	State    flows.State
	// Broken are the sessions asked about that the store holds and nobody can read, with the reason.
	Broken map[string]string
	// Wished is how many sessions the store holds, those that cannot be read included; Restored is its last accident.
	Wished   int
	Restored *session.Restored
	// Outcomes are what the plan for all sessions makes of each, by name.
	Outcomes map[string]*flows.Outcome
	// KernelWays are the kernel's paths to the collectors of userspace sessions, which copies do not take; KernelWaysError why
	// they are not known.
	KernelWays      map[netip.Addr]flows.Path
	KernelWaysError string
	// PendingRows and PendingFlows count what the next reconcile would change, over all sessions.
	PendingRows, PendingFlows int
	// PendingError says why flows could not be compared.
	PendingError string
	// Contested are the sessions asked about of which somebody else keeps undoing something, with what the daemon says.
	Contested map[string]string
	// Control says which socket ovs-vswitchd answered at.
	Control string
	// Narrowing lists, by session, the match fields that production's own pipeline does not look at.
	Narrowing map[string]string

	Facts    Facts
	Datapath map[string]Megaflows // by datapath, such as "netdev@ovs-netdev"
	Features map[string]string    // by bridge: what `dpif/show-dp-features` prints
	Daemon   Daemon
	// Unsynchronized tells that the kernel's clock is not kept by anybody (adjtimex(2), STA_UNSYNC); ClockError why
	// that is not known.
	Unsynchronized bool
	ClockError     string
	// PacketFilters are the tables of iptables and ip6tables that the kernel has (/proc/net/ip_tables_names).
	PacketFilters []string
	// Isolation is what still has to change until the host's own stack is kept from attached devices; IsolationError why that
	// is not known.
	Isolation      []string
	IsolationError string
	// KeepsMemory tells that ovs-vswitchd was started with glibc told not to give memory back (see checkLargeMTU).
	KeepsMemory bool
	// Sampled is for how long the host was listened to, 0: not at all; Samples is what it was sent meanwhile that Open vSwitch
	// cannot strip.
	Sampled time.Duration
	Samples []Sample
}

// Sample is ERSPAN of one kind from one sender.
type Sample struct {
	From      netip.Addr
	SessionID int
	What      string // for people
	Packets   uint64 // that were seen, more than once each where more than one device shows them
}

// Facts are columns of OVSDB that planning does not need (vswitchd.conf.db(5)).
type Facts struct {
	IfaceTypes []string          // Open_vSwitch.iface_types: what ovs-vswitchd can open
	Bridges    map[string]Export // by bridge
	Bonds      map[string]Bond   // by port, those with more than one interface
}

// Export is what a bridge tells others of its traffic, and who controls it.
type Export struct {
	NetFlow, SFlow, IPFIX bool
	Controllers           int
}

// Bond is how the members of a bonded port share its traffic.
type Bond struct{ Mode, LACP string }

// Megaflows are the cached flows of a datapath, and how many it may cache now.
type Megaflows struct{ Current, Limit int }

// Daemon is the sign of life of who keeps sessions in force.
type Daemon struct {
	PID     int // 0: none runs
	Hung    bool
	Last    time.Time
	Trouble string
}

// check is one row of the table.
type check struct {
	id, title string
	needs     need
	run       func(s *Snapshot) []Result // ID and Title are filled in; none means that it does not concern this host
}

// need is what a check cannot do without; each includes those before it. Columns that ovs-vswitchd writes, such as
// Interface.ofport, are seen only while it answers: else they are what once was.
type need int

const (
	nothing need = iota
	database
	vswitchd
	plan
)

// Checks lists each check's id and title, in the order of Examine.
func Checks() (list [][2]string) {
	for _, c := range checks {
		list = append(list, [2]string{c.id, c.title})
	}
	return list
}

// Examine runs every check. Each gives one result at least.
func Examine(s Snapshot) []Result {
	var all []Result
	for _, c := range checks {
		found := c.examine(&s)
		if len(found) == 0 {
			found = []Result{{Level: Skipped, Saw: "nothing here that it concerns"}}
		}
		for _, r := range found {
			r.ID, r.Title = c.id, c.title
			all = append(all, r)
		}
	}
	return all
}

func (c check) examine(s *Snapshot) []Result {
	if missing := s.missing(c.needs); missing != "" {
		return []Result{skipped(missing)}
	}
	return c.run(s)
}

// missing says why what a check needs was not seen; "" where it was.
func (s *Snapshot) missing(needs need) string {
	switch {
	case needs == nothing:
	case s.DBError != "" || s.State.Bridges == nil:
		return "the database was not read"
	case needs >= vswitchd && (s.VswitchdError != "" || s.Control == ""):
		return "ovs-vswitchd did not answer"
	case needs == plan && s.PlanError != "":
		return "no plan can be made: " + s.PlanError
	case needs == plan && s.Outcomes == nil:
		return "no plan was made"
	}
	return ""
}

// Worst is the worst level of all results; Skipped where there is none.
func Worst(results []Result) Level {
	worst := Skipped
	for _, r := range results {
		if slices.Index(levels, r.Level) > slices.Index(levels, worst) {
			worst = r.Level
		}
	}
	return worst
}

func ok(saw string) Result          { return Result{Level: OK, Saw: saw} }
func warning(saw, do string) Result { return Result{Level: Warning, Saw: saw, Do: do} }
func failure(saw, do string) Result { return Result{Level: Failure, Saw: saw, Do: do} }
func skipped(saw string) Result     { return Result{Level: Skipped, Saw: saw} }

// of says which session a result is about.
func (r Result) of(name string) Result { r.Session = name; return r }

// orOK is the results, or that all is well where there is nothing to say.
func orOK(results []Result, saw string) []Result {
	if len(results) == 0 {
		return []Result{ok(saw)}
	}
	return results
}

// sources are the enabled source sessions.
func (s *Snapshot) sources() (list []session.Stored) {
	for _, st := range s.Sessions {
		if !st.Stopped() && st.Type != session.Destination {
			list = append(list, st)
		}
	}
	return list
}

// destinations are the enabled destination sessions.
func (s *Snapshot) destinations() (list []session.Stored) {
	for _, st := range s.Sessions {
		if !st.Stopped() && st.Type == session.Destination {
			list = append(list, st)
		}
	}
	return list
}

// tapped are the production bridges of the enabled source sessions, sorted, that are there.
func (s *Snapshot) tapped() (bridges []*flows.Bridge) {
	var names []string
	for _, st := range s.sources() {
		names = append(names, st.Bridge)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if b := s.State.Bridges[name]; b != nil {
			bridges = append(bridges, b)
		}
	}
	return bridges
}

// copiesEgress tells whether any enabled session mirrors what leaves through ports of the bridge.
func (s *Snapshot) copiesEgress(bridge string) bool {
	return slices.ContainsFunc(s.sources(), func(st session.Stored) bool {
		return st.Bridge == bridge && st.Direction != session.Ingress
	})
}

// each runs a judgement on every collector of every enabled source session, as the plan sees it.
func (s *Snapshot) each(judge func(st session.Stored, out *flows.Outcome, co flows.CollectorOutcome) *Result) (results []Result) {
	for _, st := range s.sources() {
		out := s.Outcomes[st.Name]
		if out == nil {
			continue
		}
		for _, co := range out.Collectors {
			if r := judge(st, out, co); r != nil {
				results = append(results, r.of(st.Name))
			}
		}
	}
	return results
}

// family names an address's family.
func family(a netip.Addr) string {
	if a.Is6() {
		return "IPv6"
	}
	return "IPv4"
}
