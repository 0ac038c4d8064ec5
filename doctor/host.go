package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

func checkDatabase(s *Snapshot) []Result {
	switch {
	case s.DBError != "":
		return []Result{failure(s.DBError, "start ovsdb-server, run as a user who may open its socket, or name the right --ovs-rundir or --db")}
	case s.State.Bridges == nil:
		return []Result{skipped("it was not asked")}
	}
	return []Result{ok("connected in " + s.Rundir)}
}

func checkVswitchd(s *Snapshot) []Result {
	switch {
	case s.VswitchdError != "":
		return []Result{failure(s.VswitchdError, "start ovs-vswitchd, run as a user who may open its control socket, or name that with --vswitchd-ctl: nothing can be put in force without it; what is to stop is taken out of the database also now")}
	case s.Control == "":
		return []Result{skipped("it was not asked")}
	}
	return []Result{ok("its control socket answers: " + s.Control)}
}

// asked is the state with the version that ovs-vswitchd says itself, where it was asked; from says where it is from, "" for that.
func (s *Snapshot) asked() (state flows.State, from string) {
	state = s.State
	if s.Version == "" {
		return state, " (Open_vSwitch.ovs_version; ovs-vswitchd itself was not asked)"
	}
	state.OVSVersion = s.Version
	return state, ""
}

func checkVersion(s *Snapshot) []Result {
	state, from := s.asked()
	_, known := state.Release()
	switch {
	case state.OVSVersion == "":
		return []Result{skipped("neither ovs-vswitchd nor the database tells it")}
	case !known:
		return []Result{warning(fmt.Sprintf("Open vSwitch %q%s, which is no version that is known", state.OVSVersion, from), "known bugs cannot be told: compare them with your release by hand (docs/compatibility.md)")}
	case state.TooOld() != "":
		return []Result{failure(state.TooOld()+from, "update Open vSwitch; what is in force already stays until it is removed")}
	}
	return []Result{ok("Open vSwitch " + state.OVSVersion + from)}
}

// bug is a fault of Open vSwitch that matters to copies.
type bug struct {
	in   func(flows.Release) bool
	what string
}

// revalidatesMirrors tells whether running flows follow a mirror that came or changed by themselves.
func revalidatesMirrors(v flows.Release) bool {
	fixed := map[[2]int]int{{3, 1}: 6, {3, 2}: 4, {3, 3}: 3}
	if patch, ok := fixed[[2]int{v.Major, v.Minor}]; ok {
		return v.Patch >= patch
	}
	return !v.Before(flows.Release{Major: 3, Minor: 4})
}

func always(flows.Release) bool { return true }

func until(fixed flows.Release) func(flows.Release) bool {
	return func(v flows.Release) bool { return v.Before(fixed) }
}

var bugs = []bug{
	{always, "a match on tun_erspan_dir, hwid or ver takes the value as its mask (worked around: matched in registers)"},
	{func(v flows.Release) bool { return !revalidatesMirrors(v) }, "running flows do not follow a mirror that came or changed (worked around: a touch after each change)"},
	{always, "running flows do not follow a mirror that went (worked around: a touch after each change)"},
	{until(flows.Release{Major: 4}), "a meter on a copy can drop production's packet instead (worked around: a clone that Open vSwitch cannot leave out, tested on this very one before a maximal rate is accepted)"},
	{until(flows.Release{Major: 3, Minor: 5}), "a mirrored ARP request for a dead collector can recurse without end (worked around: the guard)"},
	{until(flows.Release{Major: 3, Minor: 1, Patch: 2}), "GRE sequence numbers can repeat under load on several cores (not worked around: receivers may report loss that is none)"},
}

func checkKnownBugs(s *Snapshot) []Result {
	state, _ := s.asked()
	v, known := state.Release()
	if !known {
		return []Result{skipped("the version is not known")}
	}
	var have []string
	for _, b := range bugs {
		if b.in(v) {
			have = append(have, b.what)
		}
	}
	return []Result{ok(strings.Join(have, "; "))}
}

func checkStore(s *Snapshot) (results []Result) {
	for _, name := range slices.Sorted(maps.Keys(s.Broken)) {
		results = append(results, failure("cannot be read from the store: "+s.Broken[name], "write it again with 'ovs-erspan apply', or remove it with: ovs-erspan session remove "+session.ShellWord(name)).of(name))
	}
	if r := s.Restored; r != nil {
		results = append(results, warning(fmt.Sprintf("at %s the store was gone, deleted by somebody, and was restored from %s", r.At.Format(time.RFC3339), r.From),
			"find out who deletes rows of Open vSwitch's table Queue ('ovsdb-tool show-log' tells when); compare 'ovs-erspan export' with what you wish for; the next change of a session takes this note away"))
	}
	return orOK(results, fmt.Sprintf("%d sessions", len(s.Sessions)))
}

// strays are the rows of ours on this host, as people name them.
func strays(s *Snapshot) (rows []string) {
	for _, name := range slices.Sorted(maps.Keys(s.State.Bridges)) {
		b := s.State.Bridges[name]
		if flows.Ours(b.ExternalIDs) {
			if slices.Contains(flows.TapBridgeNames(), name) { // others are of a self-test
				rows = append(rows, "bridge "+name)
			}
			continue
		}
		for _, port := range slices.Sorted(maps.Keys(b.Ports)) {
			if flows.Ours(b.Ports[port].ExternalIDs) {
				rows = append(rows, fmt.Sprintf("port %s of %s", port, name))
			}
		}
		for _, id := range slices.Sorted(maps.Keys(b.Mirrors)) {
			if m := b.Mirrors[id]; flows.Ours(m.ExternalIDs) {
				rows = append(rows, fmt.Sprintf("mirror %s of %s", m.Name, name))
			}
		}
	}
	return rows
}

func checkDaemon(s *Snapshot) []Result {
	d := s.Daemon
	switch {
	case d.PID != 0 && d.Hung:
		return []Result{failure(fmt.Sprintf("the daemon (process %d) has given no sign of life since %s", d.PID, d.Last.Format(time.RFC3339)),
			"restart it ('systemctl restart ovs-erspan'); while a process holds the lock, other commands wait for it in vain")}
	case d.PID != 0 && d.Trouble != "":
		return []Result{failure(fmt.Sprintf("the daemon (process %d) cannot do its work: %s", d.PID, d.Trouble), "mend what it says; it goes on trying")}
	case d.PID != 0:
		return []Result{ok(fmt.Sprintf("the daemon is process %d", d.PID))}
	case len(s.Sessions) == 0:
		return nil
	}
	return []Result{warning("no daemon runs: sessions are not put right when ports, routes or Open vSwitch come and go", "start it: 'systemctl start ovs-erspan', or 'ovs-erspan run'")}
}

func checkInForce(s *Snapshot) []Result {
	left := strays(s)
	switch {
	case s.Wished == 0 && len(left) > 0:
		return []Result{warning("no session is in the store, and rows of ours are there: "+strings.Join(left, ", ")+": left by a crash, or the sessions were deleted with the store",
			"'ovs-erspan apply -f FILE' brings back sessions that were exported; 'ovs-erspan run --once' removes what no session needs, 'ovs-erspan uninstall' everything")}
	case s.PendingError != "":
		return []Result{failure("flows cannot be compared: "+s.PendingError, "see that ovs-vswitchd runs, that ovs-ofctl is installed, and that this user may open the bridges' .mgmt sockets")}
	case s.PendingRows+s.PendingFlows > 0:
		return []Result{warning(fmt.Sprintf("%d rows and %d flows are not as wished: leftovers of a crash, or someone changed them", s.PendingRows, s.PendingFlows),
			"'ovs-erspan plan' lists them, 'ovs-erspan run --once' mends them")}
	}
	return []Result{ok("every row and flow of ours is as wished")}
}

func checkContested(s *Snapshot) (results []Result) {
	for _, name := range slices.Sorted(maps.Keys(s.Contested)) {
		results = append(results, warning(s.Contested[name], "find out who does it (ovsdb-tool show-log -m tells of rows): an agent that clears what it does not know, a script, a second ovs-erspan on this Open vSwitch").of(name))
	}
	switch {
	case len(s.Sessions) == 0:
		return nil
	case len(results) == 0 && (s.Daemon.PID == 0 || s.Daemon.Hung):
		return []Result{skipped("only a daemon that runs notices it")}
	}
	return orOK(results, "the daemon saw nothing of ours undone again and again")
}

func checkController(s *Snapshot) (results []Result) {
	any := false
	for _, name := range flows.TapBridgeNames() {
		b := s.State.Bridges[name]
		if b == nil || !flows.Ours(b.ExternalIDs) {
			continue
		}
		any = true
		if n := s.Facts.Bridges[name].Controllers; n > 0 {
			results = append(results, warning(fmt.Sprintf("our bridge %s has %d OpenFlow controllers, which can change its flows", name, n), "ovs-vsctl del-controller "+name))
		}
	}
	if !any {
		return nil
	}
	return orOK(results, "our bridges have no OpenFlow controller")
}

func checkDatapathType(s *Snapshot) (results []Result) {
	var seen []string
	bridges := s.tapped()
	for _, b := range bridges {
		t := b.NormalDatapathType()
		seen = append(seen, fmt.Sprintf("%s: %s", b.Name, t))
		if t != "system" && t != "netdev" {
			results = append(results, failure(fmt.Sprintf("bridge %s has datapath type %q", b.Name, t), "only system and netdev can carry sessions: choose another bridge"))
		}
	}
	if len(bridges) == 0 {
		return nil
	}
	return orOK(results, strings.Join(seen, ", "))
}

// checkSupport looks for an ERSPAN port that the datapath has opened, which is the only proof; without one, at what
// ovs-vswitchd says that it can open.
func checkSupport(s *Snapshot) (results []Result) {
	for _, bridge := range slices.Sorted(maps.Keys(s.State.Bridges)) {
		b := s.State.Bridges[bridge]
		for _, port := range slices.Sorted(maps.Keys(b.Ports)) {
			for _, i := range b.Ports[port].Interfaces {
				if i.Type != "erspan" && i.Type != "ip6erspan" || !flows.Ours(b.Ports[port].ExternalIDs) {
					continue
				}
				switch {
				case i.OFPort > 0:
					results = append(results, ok(fmt.Sprintf("the %s datapath has opened %s port %s", b.NormalDatapathType(), i.Type, port)))
				case i.OFPort < 0 || i.Error != "":
					do := "see ovs-vswitchd's log"
					if b.NormalDatapathType() == "system" {
						do = "load the kernel's modules openvswitch, ip_gre and ip6_gre, and see that no device erspan_sys, gre_sys or their fallbacks of others is in the way; ovs-vswitchd's log says more"
					}
					results = append(results, failure(fmt.Sprintf("the %s datapath cannot open %s port %s: %s", b.NormalDatapathType(), i.Type, port, i.Error), do))
				}
			}
		}
	}
	for _, b := range s.tapped() {
		if text := s.Features[b.Name]; strings.Contains(text, "Truncate action: No") {
			results = append(results, failure(fmt.Sprintf("the datapath of bridge %s cannot truncate, which every copy needs", b.Name), "update the kernel to 4.8 or later"))
		}
	}
	if len(results) > 0 {
		return results
	}
	switch {
	case len(s.Facts.IfaceTypes) == 0:
		return []Result{skipped("Open_vSwitch.iface_types is empty, and no port of ours is there that would prove it")}
	case !slices.Contains(s.Facts.IfaceTypes, "erspan"):
		return []Result{failure("ovs-vswitchd knows no interface type erspan", "update Open vSwitch to 2.17 or later")}
	}
	return []Result{ok("ovs-vswitchd knows interface type erspan; no port of ours is there yet that would prove that the datapath can")}
}

// checkForeignTunnels looks for tunnel ports of others that ours cannot be beside, or that take what is meant for ours, or ours
// what is meant for them. The output of a Mirror (OVN makes such ports) takes nothing: Open vSwitch drops what arrives there.
func checkForeignTunnels(s *Snapshot) (results []Result) {
	destinations := len(s.destinations()) > 0
	for _, bridge := range slices.Sorted(maps.Keys(s.State.Bridges)) {
		b := s.State.Bridges[bridge]
		for _, port := range slices.Sorted(maps.Keys(b.Ports)) {
			if flows.Ours(b.Ports[port].ExternalIDs) {
				continue
			}
			sendsOnly := slices.ContainsFunc(slices.Collect(maps.Values(b.Mirrors)), func(m *flows.Mirror) bool { return m.OutputPort == port })
			for _, i := range b.Ports[port].Interfaces {
				what := fmt.Sprintf("port %s on bridge %s is of type %s", port, bridge, i.Type)
				userspace := b.NormalDatapathType() == "netdev"
				switch {
				case flows.InPlaceOfOurs(b.NormalDatapathType(), i):
					results = append(results, failure(what+" with remote_ip=flow and key=flow, and a datapath takes only one such port", "remove it, or give it local_ip=flow, another local_ip or a key"))
				case i.Type == "gre" && userspace && !sendsOnly:
					results = append(results, warning(what+": in a userspace datapath GRE is no longer decapsulated when an erspan port was registered first", "move one of the two to another host, or see that this tunnel still receives"))
				case i.Type == "ip6erspan" && userspace && !sendsOnly:
					results = append(results, warning(what+": in a userspace datapath the one of erspan and ip6erspan that was registered first receives everything", "use type erspan: it carries both families there"))
				case destinations && (i.Type == "erspan" || i.Type == "ip6erspan"):
					results = append(results, warning(what+" and not ours: ERSPAN that arrives for it and for destination sessions can be mixed up", "see that its remote_ip and key differ from those of your sessions"))
				}
			}
		}
	}
	return orOK(results, "no GRE or ERSPAN port of others is in the way")
}

func checkOffload(s *Snapshot) (results []Result) {
	if s.State.HWOffload() {
		results = append(results, warning("other_config:hw-offload=true: flows that a network card forwards by itself can bypass mirrors", "set hw-offload=false and restart ovs-vswitchd; or prove each session with traffic ('ovs-erspan session show NAME') and give it --allow-hw-offload"))
	}
	if s.State.UserspaceTSO() {
		results = append(results, warning("other_config:userspace-tso-enable=true: in the userspace datapath most copies of TCP are dropped in front of the tunnel; only Open vSwitch's log, or its counter netdev_push_header_drops, tells", "set userspace-tso-enable=false and restart ovs-vswitchd; or prove each session with TCP and give it --allow-hw-offload"))
	}
	return orOK(results, "neither hw-offload nor userspace-tso-enable is set")
}

// megaflowsHigh is the part of its limit, in percent, from which a datapath's megaflow table counts as full.
const megaflowsHigh = 80

func (m Megaflows) high() bool { return m.Limit > 0 && m.Current*100 >= m.Limit*megaflowsHigh }

func checkMegaflows(s *Snapshot) (results []Result) {
	for _, name := range slices.Sorted(maps.Keys(s.Datapath)) {
		m := s.Datapath[name]
		saw := fmt.Sprintf("%s: %d megaflows of at most %d now", name, m.Current, m.Limit)
		if m.high() {
			results = append(results, warning(saw, "sessions that match ports or addresses add more: match less, or raise other_config:flow-limit"))
			continue
		}
		results = append(results, ok(saw))
	}
	return results
}

func checkClock(s *Snapshot) []Result {
	for _, st := range s.sources() {
		if st.ERSPAN.Version != 2 {
			continue
		}
		switch {
		case s.ClockError != "":
			return []Result{skipped("the kernel's clock cannot be asked: " + s.ClockError)}
		case s.Unsynchronized:
			return []Result{warning("the kernel says that its clock is not synchronized", "run chronyd, ntpd or ptp4l: Type III carries this clock's time in each copy")}
		}
		return []Result{ok("the kernel says that its clock is synchronized")}
	}
	return nil
}

func checkFirewall(s *Snapshot) (results []Result) {
	for _, st := range s.destinations() {
		out := s.Outcomes[st.Name]
		switch {
		case out == nil || out.TapBridge == "":
		case s.State.Bridges[out.TapBridge] != nil && s.State.Bridges[out.TapBridge].NormalDatapathType() == "netdev":
			results = append(results, ok("the userspace datapath takes ERSPAN before the kernel's firewall sees it").of(st.Name))
		case slices.Contains(s.PacketFilters, "filter"):
			results = append(results, warning("the kernel has iptables' table \"filter\", which sees ERSPAN before the kernel datapath does", "see that it lets IP protocol 47 (GRE) from the sender in: iptables -L INPUT -v").of(st.Name))
		default:
			results = append(results, skipped("nftables' rules are not read: 'nft list ruleset' shows whether IP protocol 47 (GRE) is let in").of(st.Name))
		}
	}
	return results
}

// checkUnreadable tells who sends what no destination session can deliver as it was.
func checkUnreadable(s *Snapshot) (results []Result) {
	if s.Sampled == 0 {
		return nil
	}
	for _, sample := range s.Samples {
		id := fmt.Sprintf(" with session id %d", sample.SessionID)
		if strings.HasPrefix(sample.What, "Type I,") {
			id = ""
		}
		results = append(results, warning(fmt.Sprintf("%s sends %s%s (%d packets seen in %s): Open vSwitch cannot strip it", sample.From, sample.What, id, sample.Packets, s.Sampled),
			"receive it with 'ovs-erspan capture --to DEVICE' instead of a destination session, or have it sent as Type II"))
	}
	return orOK(results, fmt.Sprintf("none arrived within %s", s.Sampled))
}
