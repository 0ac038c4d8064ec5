package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// reasonsElsewhere are told of by checks of their own.
var reasonsElsewhere = map[string]bool{
	flows.ReasonOwnAddress: true, flows.ReasonNoRoute: true, flows.ReasonNoSource: true, flows.ReasonNotOnBridge: true,
	flows.ReasonLinkLocal: true, flows.ReasonOriginIgnored: true, flows.ReasonNoNeighbor: true, flows.ReasonPathMTU: true, flows.ReasonSnaplenCut: true,
	flows.ReasonMirrorSlots: true, flows.ReasonPacketBudget: true,
}

func checkSessions(s *Snapshot) (results []Result) {
	for _, st := range s.Sessions {
		out := s.Outcomes[st.Name]
		if out == nil || st.Stopped() || reasonsElsewhere[out.Reason] {
			continue
		}
		saw := fmt.Sprintf("%s, %s: %s", out.State, out.Reason, out.Message)
		const do = "docs/operations.md, \"States and reasons\", says what to do"
		switch out.State {
		case session.Failed:
			results = append(results, failure(saw, do).of(st.Name))
		case session.Pending, session.Degraded:
			results = append(results, warning(saw, do).of(st.Name))
		}
	}
	return orOK(results, fmt.Sprintf("%d sessions, none of which is kept out by the host", len(s.Sessions)))
}

func checkOwnAddress(s *Snapshot) []Result {
	return s.collectors(func(co flows.CollectorOutcome) *Result {
		if !co.Path.OwnAddress {
			return nil
		}
		r := failure(fmt.Sprintf("collector %s is an address of this host: copies would come back", co.Address), "name another host's address")
		return &r
	}, hasWay, "no collector is this host")
}

func checkRoute(s *Snapshot) []Result {
	return s.collectors(func(co flows.CollectorOutcome) *Result {
		var r Result
		switch co.Reason {
		case flows.ReasonNoRoute:
			r = failure(fmt.Sprintf("collector %s: %s", co.Address, co.Message), "give this host a plain route to it: ip route add …")
		case flows.ReasonLinkLocal, flows.ReasonOriginIgnored:
			r = warning(fmt.Sprintf("collector %s: %s", co.Address, co.Message), "docs/operations.md, \"The way to a collector\"")
		case flows.ReasonNoSource:
			r = failure(fmt.Sprintf("device %s towards collector %s has no %s address to send from", co.Path.Device, co.Address, family(co.Address)), "give it one")
		case flows.ReasonNotOnBridge:
			r = failure(fmt.Sprintf("the route to collector %s leaves through %s, which is no port of a bridge of this Open vSwitch with the userspace datapath", co.Address, co.Path.Device),
				"put the underlay's address on such a bridge's local port, or on an internal port of it, and its uplink on the bridge")
		default:
			return nil
		}
		return &r
	}, hasWay, "every collector has a route and an address to send from")
}

// checkTwoWays tells where ping and traceroute take another way than copies do.
func checkTwoWays(s *Snapshot) []Result {
	switch {
	case s.KernelWaysError != "":
		return []Result{skipped("the kernel cannot be asked for its routes: " + s.KernelWaysError)}
	case len(s.KernelWays) == 0:
		return nil
	}
	return s.collectors(func(co flows.CollectorOutcome) *Result {
		kernel, known := s.KernelWays[co.Address]
		if !known || kernel.Device == co.Path.Device && kernel.NextHop == co.Path.NextHop {
			return nil
		}
		r := warning(fmt.Sprintf("collector %s: copies go %s, as Open vSwitch's own route table has it, and what the kernel sends goes %s", co.Address, wayText(co.Path), wayText(kernel)),
			"give the collector one plain route (docs/operations.md, \"The way to a collector\")")
		return &r
	}, func(co flows.CollectorOutcome) bool { _, known := s.KernelWays[co.Address]; return known }, "both take the same way to each collector")
}

func wayText(p flows.Path) string {
	if p.Device == "" {
		return "nowhere"
	}
	return fmt.Sprintf("to %s on %s", p.NextHop, p.Device)
}

func checkNeighbor(s *Snapshot) []Result {
	return s.collectors(func(co flows.CollectorOutcome) *Result {
		if co.Reason != flows.ReasonNoNeighbor {
			return nil
		}
		r := warning(fmt.Sprintf("the next hop %s on %s towards collector %s does not answer ARP or neighbour discovery", co.Path.NextHop, co.Path.Device, co.Address),
			"see that it is up and in this network; copies leave as soon as it answers, where the daemon runs")
		return &r
	}, func(co flows.CollectorOutcome) bool { return co.Path.HasNeighbor }, "the link-layer address of every next hop is known")
}

func checkPathMTU(s *Snapshot) []Result {
	return s.each(func(_ session.Stored, _ *flows.Outcome, co flows.CollectorOutcome) *Result {
		var r Result
		switch {
		case co.Path.MTU == 0 || co.State == session.Failed && co.Reason == flows.ReasonTunnelConflict: // nothing is sent
			return nil
		case co.Cut != "":
			r = warning(fmt.Sprintf("collector %s: %s", co.Address, co.Cut), "choose --snaplen auto, or raise the MTU of the underlay")
		case co.Reason == flows.ReasonPathMTU:
			r = warning(fmt.Sprintf("collector %s: %s", co.Address, co.Message), "choose --snaplen auto, or raise the MTU of the underlay")
		default:
			r = ok(fmt.Sprintf("collector %s takes %d bytes of each frame (%s)", co.Address, co.MaxLen, co.MaxLenWhy))
		}
		return &r
	})
}

// hasWay tells whether a route to the collector was found.
func hasWay(co flows.CollectorOutcome) bool { return co.Path.Device != "" }

// collectors runs a judgement on every collector. Where it finds nothing all is well, if what it judges by was seen of each.
func (s *Snapshot) collectors(judge func(flows.CollectorOutcome) *Result, seen func(flows.CollectorOutcome) bool, fine string) []Result {
	any := false
	var unseen []string
	results := s.each(func(_ session.Stored, _ *flows.Outcome, co flows.CollectorOutcome) *Result {
		any = true
		r := judge(co)
		if r == nil && !seen(co) && !slices.Contains(unseen, co.Address.String()) {
			unseen = append(unseen, co.Address.String())
		}
		return r
	})
	switch {
	case !any:
		return nil
	case len(unseen) > 0:
		results = append(results, skipped("cannot be told of collector "+strings.Join(unseen, ", ")+": another check says why"))
	}
	return orOK(results, fine)
}

// mirrorsLow is from how many mirrors left on it a bridge is told of.
const mirrorsLow = 4

func checkMirrorSlots(s *Snapshot) (results []Result) {
	for _, b := range s.tapped() {
		left := flows.MaxMirrors - len(b.Mirrors)
		saw := fmt.Sprintf("bridge %s: %d of %d mirrors are left", b.Name, left, flows.MaxMirrors)
		if left < mirrorsLow {
			results = append(results, warning(saw, "give sessions the same sources, VLANs and direction, so that they share a mirror"))
			continue
		}
		results = append(results, ok(saw))
	}
	return results
}

func checkPacketBudget(s *Snapshot) (results []Result) {
	for _, st := range s.Sessions {
		if out := s.Outcomes[st.Name]; out != nil && (out.Reason == flows.ReasonPacketBudget || out.Reason == flows.ReasonMirrorSlots) {
			results = append(results, failure(out.Message, "fewer sessions or collectors on these ports").of(st.Name))
		}
	}
	if len(s.sources()) == 0 && len(results) == 0 {
		return nil
	}
	return orOK(results, fmt.Sprintf("no packet can be copied more than %d times", flows.MaxCopiesPerPacket))
}

func checkMatchCost(s *Snapshot) (results []Result) {
	for _, st := range s.sources() {
		if fields := s.Narrowing[st.Name]; fields != "" {
			results = append(results, warning("its match puts "+fields+" into the megaflows of everything that passes its sources: more megaflows, and an upcall for each",
				"watch the load of the megaflow table, or match on addresses of the link layer and VLANs only (docs/cost.md)").of(st.Name))
		}
	}
	if len(s.sources()) == 0 {
		return nil
	}
	return orOK(results, "no match adds to them")
}

func checkPatchPorts(s *Snapshot) (results []Result) {
	for _, b := range s.tapped() {
		var names []string
		for name, p := range b.Ports {
			for _, i := range p.Interfaces {
				if i.Type == "patch" && !flows.Ours(p.ExternalIDs) {
					names = append(names, name)
				}
			}
		}
		if len(names) > 0 {
			results = append(results, warning(fmt.Sprintf("bridge %s has patch ports (%s): what comes and goes through them is not copied there", b.Name, sorted(names)),
				"mirror the ports of the bridge at the other end as well"))
		}
	}
	if len(s.tapped()) == 0 {
		return nil
	}
	return orOK(results, "tapped bridges have no patch ports of others")
}

func checkBonds(s *Snapshot) (results []Result) {
	for _, b := range s.tapped() {
		for name := range b.Ports {
			bond, is := s.Facts.Bonds[name]
			if is && bond.Mode == "balance-tcp" && bond.LACP != "" && bond.LACP != "off" && s.copiesEgress(b.Name) {
				results = append(results, warning(fmt.Sprintf("bond %s on bridge %s balances by TCP with LACP: Open vSwitch copies what leaves through it twice (fixed in 2026)", name, b.Name),
					"copy --direction ingress, or count on duplicates"))
			}
		}
	}
	if len(s.tapped()) == 0 {
		return nil
	}
	return orOK(results, "no bond is copied twice")
}

func checkRSPAN(s *Snapshot) (results []Result) {
	for _, b := range s.tapped() {
		for _, m := range b.Mirrors {
			if m.OutputVLAN != nil && !flows.Ours(m.ExternalIDs) && s.copiesEgress(b.Name) {
				results = append(results, warning(fmt.Sprintf("mirror %s on bridge %s puts copies into VLAN %d: our egress copies have that tag, and the frames as they left are missing", m.Name, b.Name, *m.OutputVLAN),
					"copy --direction ingress, or give that mirror an output port"))
			}
		}
	}
	if len(s.tapped()) == 0 {
		return nil
	}
	return orOK(results, "no mirror of others into a VLAN is in the way")
}

// tunnelTypes are interfaces that hide what they carry from the guard.
var tunnelTypes = map[string]bool{"vxlan": true, "geneve": true, "gre": true, "stt": true, "gtpu": true, "bareudp": true}

func checkGuardSight(s *Snapshot) (results []Result) {
	underlays := map[string]bool{}
	s.each(func(_ session.Stored, _ *flows.Outcome, co flows.CollectorOutcome) *Result {
		underlays[co.Path.Device] = true
		return nil
	})
	for _, b := range s.tapped() {
		if !underlays[b.Name] {
			continue
		}
		if s.State.OtherConfig["vlan-limit"] == "1" {
			results = append(results, warning(fmt.Sprintf("bridge %s carries copies and is mirrored, and vlan-limit is 1: copies in QinQ frames cannot be told from others", b.Name),
				"set Open_vSwitch.other_config:vlan-limit=2, or leave that bridge out of the sources"))
		}
		for name, p := range b.Ports {
			for _, i := range p.Interfaces {
				if tunnelTypes[i.Type] {
					results = append(results, warning(fmt.Sprintf("bridge %s carries copies and is mirrored, and has the %s port %s: the guard cannot look into that overlay", b.Name, i.Type, name),
						"see that no collector is reached through it"))
				}
			}
		}
	}
	if len(underlays) == 0 {
		return nil
	}
	return orOK(results, "what the copies cause is seen by the guard")
}

func checkFlowExport(s *Snapshot) (results []Result) {
	for _, b := range s.tapped() {
		e := s.Facts.Bridges[b.Name]
		var kinds []string
		for kind, on := range map[string]bool{"NetFlow": e.NetFlow, "sFlow": e.SFlow, "IPFIX": e.IPFIX} {
			if on {
				kinds = append(kinds, kind)
			}
		}
		if len(kinds) > 0 && s.copiesEgress(b.Name) {
			results = append(results, warning(fmt.Sprintf("bridge %s exports %s, which reports a wrong output port for packets that are copied as they leave", b.Name, sorted(kinds)),
				"copy --direction ingress, or leave the output port out of your reports"))
		}
	}
	if len(s.tapped()) == 0 {
		return nil
	}
	return orOK(results, "no export is spoiled")
}

func sorted(names []string) string { return strings.Join(slices.Sorted(slices.Values(names)), ", ") }
