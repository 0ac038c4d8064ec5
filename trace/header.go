package trace

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/ovs-erspan/ovs-erspan/erspan"
)

// Header is what a copy would get around it, out of datapath actions: what a collector would receive.
type Header struct {
	Source      netip.Addr `json:"source,omitzero"` // zero where the kernel chooses it
	Destination netip.Addr `json:"destination"`
	Version     int        `json:"version"` // 1 (Type II) or 2 (Type III)
	SessionID   int        `json:"sessionID"`
	Index       int        `json:"index,omitempty"`
	HardwareID  int        `json:"hardwareID,omitempty"`
	Direction   int        `json:"direction,omitempty"` // the D bit of version 2: 0 ingress, 1 egress
	TOS         int        `json:"tos"`
	TTL         int        `json:"ttl"`
	// MaxLen is how many bytes of the frame are sent at most; 0 is all of them.
	MaxLen int `json:"maxLen,omitempty"`
}

// String is the header in words.
func (h Header) String() string {
	text := fmt.Sprintf("ERSPAN version %s, session id %d", erspan.Version(h.Version), h.SessionID)
	if h.Version == 2 {
		text += fmt.Sprintf(", hardware id %d, direction %s", h.HardwareID, erspan.Direction(h.Direction))
	} else {
		text += fmt.Sprintf(", index %d", h.Index)
	}
	from := "the address of the route"
	if h.Source.IsValid() {
		from = h.Source.String()
	}
	text += fmt.Sprintf(", from %s to %s, TOS %#x, TTL %d", from, h.Destination, h.TOS, h.TTL)
	if h.MaxLen > 0 {
		text += fmt.Sprintf(", up to %d bytes of the frame", h.MaxLen)
	}
	return text
}

// The actions that put a tunnel header around a packet (odp_execute and format_odp_action in lib/odp-util.c): the
// userspace datapath pushes the bytes, the kernel is told what they are to be and then outputs to the tunnel device.
var (
	truncAction  = lazily(`^trunc\((\d+)\)`)
	pushAction   = lazily(`^tnl_push\(tnl_port\([^)]*\),header\(`)
	portAction   = lazily(`^[A-Za-z0-9_.:-]+$`)
	addressField = lazily(`(?:^|[(,])(ipv4|ipv6)\(src=([^,]+),dst=([^,]+),([^)]*)\)`)
	erspanField  = lazily(`erspan\(([^)]*)\)`)
)

// notPorts are the actions of one word that are no output.
var notPorts = map[string]bool{"drop": true, "pop_vlan": true, "pop_eth": true, "pop_nsh": true, "ct": true, "ct_clear": true}

// Headers are the tunnel headers of datapath actions, one for each packet that leaves in a tunnel.
func Headers(actions string) []Header {
	var (
		all    []Header
		cut    int     // of a trunc that the next output takes
		tunnel *Header // that the next output to a port takes (kernel)
	)
	for _, a := range splitActions(actions) {
		switch {
		case truncAction().MatchString(a):
			cut, _ = strconv.Atoi(truncAction().FindStringSubmatch(a)[1])
		case strings.HasPrefix(a, "clone("), strings.HasPrefix(a, "check_pkt_len("), strings.HasPrefix(a, "sample("):
			inner := Headers(within(a))
			for i := range inner {
				if inner[i].MaxLen == 0 {
					inner[i].MaxLen = cut
				}
			}
			all = append(all, inner...)
			cut = 0
		case strings.HasPrefix(a, "gt("), strings.HasPrefix(a, "le("), strings.HasPrefix(a, "actions("):
			all = append(all, Headers(within(a))...)
		case pushAction().MatchString(a):
			if h, ok := pushed(a); ok {
				h.MaxLen = cut
				all = append(all, h)
			}
			cut = 0
		case strings.HasPrefix(a, "set(tunnel("):
			h, ok := tunnelled(a)
			if tunnel = nil; ok {
				tunnel = &h
			}
		case !notPorts[a] && portAction().MatchString(a):
			if tunnel != nil {
				h := *tunnel
				h.MaxLen = cut
				all = append(all, h)
				tunnel = nil // the next output is another's, until another tunnel is set
			}
			cut = 0
		}
	}
	return all
}

// splitActions splits at the commas that are in no parentheses.
func splitActions(text string) (list []string) {
	depth, start := 0, 0
	for i, c := range text {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				list = append(list, strings.TrimSpace(text[start:i]))
				start = i + 1
			}
		}
	}
	return append(list, strings.TrimSpace(text[start:]))
}

// within is what stands in an action's outer parentheses.
func within(action string) string {
	_, inner, _ := strings.Cut(action, "(")
	return strings.TrimSuffix(inner, ")")
}

// pushed reads tnl_push(tnl_port(6),header(size=50,…,ipv4(src=…,dst=…,proto=47,tos=0,ttl=64,…),erspan(ver=1,…)),…).
func pushed(action string) (Header, bool) {
	a := addressField().FindStringSubmatch(action)
	if a == nil {
		return Header{}, false
	}
	var h Header
	h.Source, _ = netip.ParseAddr(a[2])
	h.Destination, _ = netip.ParseAddr(a[3])
	rest := attributes(a[4])
	h.TOS, h.TTL = number(rest["tos"]), number(rest["ttl"])
	if a[1] == "ipv6" {
		h.TOS, h.TTL = number(rest["tclass"]), number(rest["hlimit"])
	}
	return h, h.readERSPAN(action)
}

// tunnelled reads set(tunnel(tun_id=0x1,dst=192.0.2.9,ttl=64,erspan(ver=1,idx=0x0),flags(df|key))).
func tunnelled(action string) (Header, bool) {
	_, list, _ := strings.Cut(action, "tunnel(")
	fields := map[string]string{}
	for _, f := range splitActions(strings.TrimSuffix(list, "))")) {
		name, value, _ := strings.Cut(f, "=")
		fields[name] = value
	}
	var h Header
	for _, name := range []string{"src", "ipv6_src"} {
		if a, err := netip.ParseAddr(fields[name]); err == nil && !a.IsUnspecified() {
			h.Source = a
		}
	}
	for _, name := range []string{"dst", "ipv6_dst"} {
		if a, err := netip.ParseAddr(fields[name]); err == nil && !a.IsUnspecified() {
			h.Destination = a
		}
	}
	h.TOS, h.TTL = number(fields["tos"]), number(fields["ttl"])
	ok := h.readERSPAN(action)
	h.SessionID = number(fields["tun_id"])
	return h, ok && h.Destination.IsValid()
}

// readERSPAN reads erspan(ver=1,sid=0x1,idx=0x0) or erspan(ver=2,sid=0x2,dir=0,hwid=0x0).
func (h *Header) readERSPAN(action string) bool {
	m := erspanField().FindStringSubmatch(action)
	if m == nil {
		return false
	}
	f := attributes(m[1])
	h.Version, h.SessionID, h.Index = number(f["ver"]), number(f["sid"]), number(f["idx"])
	h.Direction, h.HardwareID = number(f["dir"]), number(f["hwid"])
	return true
}

func attributes(list string) map[string]string {
	fields := map[string]string{}
	for f := range strings.SplitSeq(list, ",") {
		name, value, _ := strings.Cut(f, "=")
		fields[name] = value
	}
	return fields
}

// number reads a number in any base; what is none is 0.
func number(text string) int {
	n, _ := strconv.ParseInt(text, 0, 64)
	return int(n)
}
