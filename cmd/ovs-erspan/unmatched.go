package main

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ovs-erspan/ovs-erspan/erspan"
	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// unmatchedName is the row of what arrived and is no session's. No session can have this name.
const unmatchedName = "(unmatched)"

// sample is ERSPAN of no session that arrived within the last seconds. What no session's header makes Open vSwitch look
// at is not known, and absent.
type sample struct {
	From      string `json:"from,omitempty"`
	SessionID *int   `json:"sessionID,omitempty"`
	Version   int    `json:"version,omitempty"`
	Packets   uint64 `json:"packets"`
}

func (s sample) String() string {
	text := fmt.Sprintf("%d packets", s.Packets)
	if s.From != "" {
		text += " from " + s.From
	}
	if s.SessionID != nil {
		text += fmt.Sprintf(" with session id %d", *s.SessionID)
	}
	if s.Version != 0 {
		text += ", version " + erspan.Version(s.Version).String()
	}
	return text
}

// unmatched is a row for what arrived at the tunnel ports and is no session's, none where there is no such thing: a wrong
// number at the far end shows here.
func (h *host) unmatched(ctx context.Context, p flows.Program, there map[string][]flows.Entry) ([]sessionView, error) {
	v := sessionView{Name: unmatchedName, Type: session.Destination}
	var count, unreadable flows.Count
	undecodable, err := h.undecodable(ctx, p)
	if err != nil {
		return nil, err
	}
	for _, tb := range p.TapBridges {
		seen := false
		for _, e := range there[tb.Name] {
			to := &count
			switch {
			case !e.Cookie.Ours():
				continue
			case e.Cookie.Stage() == flows.StageUnreadable:
				to = &unreadable
			case e.Cookie.Stage() != flows.StageUnmatched:
				continue
			}
			to.Packets += e.Packets
			to.Bytes += e.Bytes
			seen = seen || e.Packets > 0
		}
		if !seen {
			continue
		}
		megaflows, err := h.ctl.Call(ctx, "dpif/dump-flows", tb.Name)
		if err != nil {
			return nil, err
		}
		v.Samples = append(v.Samples, readSamples(megaflows)...)
	}
	if count.Packets+unreadable.Packets+undecodable == 0 {
		return nil, nil
	}
	v.Status.State = session.Failed
	v.Status.Reason = "NoSession"
	var lately []string
	for _, s := range v.Samples {
		lately = append(lately, s.String())
	}
	var parts []string
	if count.Packets > 0 {
		parts = append(parts, fmt.Sprintf("%d packets arrived with a header that no session has", count.Packets))
	}
	if len(lately) > 0 {
		parts = append(parts, "lately: "+strings.Join(lately, "; "))
	}
	if n := unreadable.Packets + undecodable; n > 0 {
		parts = append(parts, fmt.Sprintf("%d tunnel packets have no header that Open vSwitch can read, as ERSPAN Type I has none: 'ovs-erspan capture --to' reads it", n))
	}
	v.Status.Message = strings.Join(parts, "; ")
	count.Packets, count.Bytes = count.Packets+unreadable.Packets+undecodable, count.Bytes+unreadable.Bytes
	v.Status.Terminated, v.Status.Delivered = &count, &flows.Count{}
	return []sessionView{v}, nil
}

// undecodable is how many tunnel packets the userspace datapath has thrown away because it could not read their header,
// since ovs-vswitchd started; 0 where no destination session waits for any. The kernel datapath does not count them.
func (h *host) undecodable(ctx context.Context, p flows.Program) (uint64, error) {
	waiting := false
	for _, tb := range p.TapBridges {
		waiting = waiting || tb.DatapathType == "netdev" && len(tb.Deliveries)+len(tb.Outputs) > 0
	}
	if !waiting {
		return 0, nil
	}
	text, err := h.ctl.Call(ctx, "coverage/read-counter", "datapath_drop_tunnel_pop_error")
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(text), 10, 64)
}

var (
	megaflowTunnel  = regexp.MustCompile(`tunnel\((.*?)\),in_port`)
	megaflowField   = regexp.MustCompile(`\b(tun_id|src|ipv6_src|ver)=([0-9a-fA-Fx.:]+)`)
	megaflowPackets = regexp.MustCompile(`packets:(\d+)`)
)

// readSamples reads what is dropped of ERSPAN out of a dump of megaflows (ovs-appctl dpif/dump-flows), the most frequent
// first.
func readSamples(megaflows string) []sample {
	byHeader := map[string]*sample{}
	for line := range strings.Lines(megaflows) {
		tunnel := megaflowTunnel.FindStringSubmatch(line)
		packets := megaflowPackets.FindStringSubmatch(line)
		if tunnel == nil || packets == nil || !strings.Contains(line, "actions:drop") || !strings.Contains(tunnel[1], "erspan") {
			continue
		}
		var s sample
		for _, f := range megaflowField.FindAllStringSubmatch(tunnel[1], -1) {
			switch n, err := strconv.ParseUint(f[2], 0, 64); {
			case f[1] == "src" || f[1] == "ipv6_src":
				s.From = f[2]
			case err != nil:
			case f[1] == "tun_id":
				id := int(n)
				s.SessionID = &id
			case f[1] == "ver":
				s.Version = int(n)
			}
		}
		s.Packets, _ = strconv.ParseUint(packets[1], 10, 64)
		s.Packets++ // the packet that made the megaflow is not counted in it
		key := s.From + "|" + fmt.Sprint(s.Version)
		if s.SessionID != nil {
			key += "|" + strconv.Itoa(*s.SessionID)
		}
		if known := byHeader[key]; known != nil {
			known.Packets += s.Packets
		} else {
			byHeader[key] = &s
		}
	}
	var all []sample
	for _, s := range byHeader {
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b sample) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), cmp.Compare(a.From, b.From))
	})
	const most = 5
	return all[:min(most, len(all))]
}
