//go:build linux

package e2e

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// The model of TestModel: what a user may expect of sequences of commands, told from the documentation and without a line
// of the product's code. It knows which sessions there are, which commands are refused, which state each session has, and
// which copies of a frame must arrive where.

// Exit codes, as the documentation has them.
const (
	codeInForce    = 0
	codeRefused    = 2
	codeNotInForce = 3
	codeNoSession  = 4
)

// wishedSession is a session as its user wished it.
type wishedSession struct {
	name         string
	destination  bool
	disabled     bool
	allowMissing bool

	ports      []string
	all        bool
	direction  string // "" is not given
	collectors []string
	rules      []rule
	snaplen    int // 0 is auto
	dscp       int // -1 is not given
	// Header fields; -1 is not given, version 0 too.
	id, version, index, hwid int

	// Of destination sessions.
	bridge, output, from string
}

// rule is one filter rule, by its place in expressions.
type rule struct {
	kind string // "match", "match-both-ways" or "deny", as the flags have it
	expr int
}

func newSession(name string) wishedSession {
	return wishedSession{name: name, dscp: -1, id: -1, index: -1, hwid: -1}
}

func (s wishedSession) clone() wishedSession {
	s.ports, s.collectors, s.rules = slices.Clone(s.ports), slices.Clone(s.collectors), slices.Clone(s.rules)
	return s
}

// wish is the sessions by name.
type wish map[string]wishedSession

func (w wish) clone() wish {
	c := wish{}
	for name, s := range w {
		c[name] = s.clone()
	}
	return c
}

func (w wish) names() []string { return slices.Sorted(maps.Keys(w)) }

// host is what a wish meets on the machine.
type modelHost struct {
	ports map[string]bool // of br0 that can be sources, whether each is there
}

// change is a change of a wish as a command makes it: it returns the names of the sessions that it added or altered, or
// the exit code of a refusal.
type change func(w wish, order *[]string) (touched []string, code int)

// try makes a change, wholly or not at all, and tells the exit code: acceptMissing takes sources that are not there.
func (w *wish) try(h modelHost, acceptMissing bool, c change) int {
	next := w.clone()
	order := next.names() // new sessions come after those that were there
	touched, code := c(next, &order)
	if code != 0 {
		return code
	}
	next.complete(order)
	for _, name := range touched {
		s := next[name]
		if !s.valid() || !acceptMissing && !s.allowMissing && s.missing(h) > 0 {
			return codeRefused
		}
	}
	if len(touched) > 0 && !next.consistent() {
		return codeRefused
	}
	*w = next
	for _, name := range touched {
		if st := next[name].state(h); st != "Active" && st != "Disabled" {
			return codeNotInForce
		}
	}
	return codeInForce
}

// complete fills in what users leave out.
func (w wish) complete(order []string) {
	taken := map[int]bool{}
	for name, s := range w {
		if s.destination {
			continue
		}
		if s.version == 0 {
			s.version = 1
		}
		if s.direction == "" {
			s.direction = "both"
			if s.all {
				s.direction = "ingress"
			}
		}
		taken[s.id] = true
		w[name] = s
	}
	for _, name := range order {
		s, there := w[name]
		if !there || s.destination || s.id >= 0 {
			continue
		}
		for s.id = 1; taken[s.id]; {
			s.id++
		}
		taken[s.id] = true
		w[name] = s
	}
}

// valid tells whether the session makes sense by itself.
func (s wishedSession) valid() bool {
	if s.index >= 0 && s.version != 1 || s.hwid >= 0 && s.version != 2 {
		return false
	}
	if s.destination {
		return s.id >= 0 && s.output != "" && s.from != "" && s.direction != "both" && (s.direction == "" || s.version == 2)
	}
	if s.all == (len(s.ports) > 0) || len(s.collectors) == 0 {
		return false
	}
	seen := map[rule]bool{}
	for _, r := range s.rules {
		if seen[r] {
			return false
		}
		seen[r] = true
	}
	return true
}

// consistent tells whether the sessions can be on one host.
func (w wish) consistent() bool {
	owner, outputs := map[string]bool{}, map[string]string{}
	for _, s := range w {
		if s.destination {
			if bridge, there := outputs[s.output]; there && bridge != s.bridge {
				return false
			}
			outputs[s.output] = s.bridge
			continue
		}
		for _, c := range s.collectors {
			key := fmt.Sprint(c, " ", s.id)
			if owner[key] {
				return false
			}
			owner[key] = true
		}
	}
	for name, s := range w {
		if s.destination {
			for other, o := range w {
				if o.destination && other > name && s.specificity() == o.specificity() && s.meets(o) {
					return false
				}
			}
			continue
		}
		for _, p := range s.ports {
			if _, delivered := outputs[p]; delivered {
				return false
			}
		}
	}
	return true
}

// present are the ports that the session copies from.
func (s wishedSession) present(h modelHost, w wish) map[string]bool {
	found := map[string]bool{}
	for p, there := range h.ports {
		if there && (slices.Contains(s.ports, p) || s.all && !w.delivers(p)) {
			found[p] = true
		}
	}
	return found
}

// delivers tells whether a destination session delivers to a port.
func (w wish) delivers(port string) bool {
	for _, s := range w {
		if s.destination && s.output == port && !s.disabled {
			return true
		}
	}
	return false
}

// missing is how many of the named sources are not there.
func (s wishedSession) missing(h modelHost) (n int) {
	for _, p := range s.ports {
		if !h.ports[p] {
			n++
		}
	}
	return n
}

// noRoute is a collector that the host has no route to.
const noRoute = "198.51.100.9"

// state is what `session list` must show.
func (s wishedSession) state(h modelHost) string {
	missing := s.missing(h)
	switch {
	case s.disabled:
		return "Disabled"
	case s.destination:
		return "Active"
	case len(s.ports) > 0 && missing == len(s.ports):
		return "Pending"
	case missing > 0 || slices.Contains(s.collectors, noRoute):
		return "Degraded"
	}
	return "Active"
}

// frame is one frame of production.
type frame struct {
	kind     int    // in frameKinds
	in       string // the port that it comes from
	out      []string
	from, to string // IP addresses, "" where it has none
	data     []byte
}

// frameKinds are the kinds of frames that are sent, and what each is as the expressions see it.
var frameKinds = []struct {
	name             string
	protocol         string // "tcp", "udp", "icmp", "tcp6" or ""
	srcPort, dstPort int
}{
	{"https", "tcp", 40000, 443},
	{"answer of https", "tcp", 443, 40000},
	{"dns", "udp", 40001, 53},
	{"icmp", "icmp", 0, 0},
	{"https over IPv6", "tcp6", 40000, 443},
	{"neither", "", 0, 0},
}

// expressions are matches, and what each means.
var expressions = []struct {
	text string
	is   func(protocol, src, dst string, srcPort, dstPort int) bool
}{
	{"tcp,tp_dst=443", func(p, _, _ string, _, d int) bool { return p == "tcp" && d == 443 }},
	{"udp", func(p, _, _ string, _, _ int) bool { return p == "udp" }},
	{"icmp", func(p, _, _ string, _, _ int) bool { return p == "icmp" }},
	{"ip,nw_src=10.0.1.1", func(p, s, _ string, _, _ int) bool { return p != "" && p != "tcp6" && s == "10.0.1.1" }},
	{"tcp6,tp_dst=443", func(p, _, _ string, _, d int) bool { return p == "tcp6" && d == 443 }},
	{"udp,nw_dst=10.0.1.2,tp_dst=53", func(p, _, t string, _, d int) bool { return p == "udp" && t == "10.0.1.2" && d == 53 }},
}

// takes tells whether the session's rules let a frame through.
func (s wishedSession) takes(f frame) bool {
	k := frameKinds[f.kind]
	permits, permitted := false, false
	for _, r := range s.rules {
		is := expressions[r.expr].is
		hit := is(k.protocol, f.from, f.to, k.srcPort, k.dstPort)
		if r.kind == "match-both-ways" {
			hit = hit || is(k.protocol, f.to, f.from, k.dstPort, k.srcPort)
		}
		if r.kind == "deny" {
			if hit {
				return false
			}
			continue
		}
		permits, permitted = true, permitted || hit
	}
	return permitted || !permits
}

// copies are the copies of a frame that must arrive, one line each, as wireLine has it.
func (w wish) copies(h modelHost, f frame) (lines []string) {
	for _, name := range w.names() {
		s := w[name]
		if s.destination || s.disabled || !s.takes(f) {
			continue
		}
		from := s.present(h, w)
		enters := s.direction != "egress" && from[f.in]
		leaves := s.direction != "ingress" && slices.ContainsFunc(f.out, func(p string) bool { return from[p] })
		var directions []int
		switch {
		case s.version == 1: // it has no direction, and a copy for each
			for _, copied := range []bool{enters, leaves} {
				if copied {
					directions = append(directions, -1)
				}
			}
		case s.version == 2 && enters && leaves:
			directions = []int{0, 1}
		case s.version == 2 && enters:
			directions = []int{0}
		case s.version == 2 && leaves:
			directions = []int{1}
		}
		data := f.data
		if s.snaplen > 0 {
			data = data[:min(len(data), s.snaplen)]
		}
		for _, c := range s.collectors {
			if c == noRoute {
				continue
			}
			for _, d := range directions {
				lines = append(lines, wireLine(c, max(s.dscp, 0), s.version, s.id, max(s.index, 0), max(s.hwid, 0), d, data))
			}
		}
	}
	return lines
}

// wireLine renders an ERSPAN packet: index of version 1, hwid and direction of version 2.
func wireLine(to string, dscp, version, id, index, hwid, direction int, inner []byte) string {
	own := fmt.Sprintf("index=%d", index)
	if version == 2 {
		own = fmt.Sprintf("hwid=%d D=%d", hwid, direction)
	}
	return fmt.Sprintf("to %s dscp=%d v%d id=%d %s: %s", to, dscp, version, id, own, printable(inner))
}

// printable is a frame as text that differs where frames do.
func printable(data []byte) string {
	_, text, marked := strings.Cut(string(data), markBegin)
	if text, _, ended := strings.Cut(text, markEnd); marked && ended {
		return fmt.Sprintf("%d bytes of %q, sum %08x", len(data), text, checksum(data))
	}
	return fmt.Sprintf("%d bytes % x", len(data), data[:min(len(data), 40)])
}

// specificity is how many header fields a destination session gives besides its session id.
func (s wishedSession) specificity() (n int) {
	for _, given := range []bool{s.from != "any", s.version != 0, s.index >= 0, s.hwid >= 0, s.direction != ""} {
		if given {
			n++
		}
	}
	return n
}

func same[T comparable](a, b, unset T) bool { return a == unset || b == unset || a == b }

// meets tells whether a packet can be for both destination sessions.
func (s wishedSession) meets(o wishedSession) bool {
	return s.id == o.id && same(s.from, o.from, "any") && same(s.version, o.version, 0) && same(s.index, o.index, -1) &&
		same(s.hwid, o.hwid, -1) && same(s.direction, o.direction, "")
}

// delivery is the port that an ERSPAN packet's frame must leave through, "" for none.
func (w wish) delivery(h header) string {
	as := wishedSession{id: h.sessionID, from: h.from, version: h.version, index: -1, hwid: -1}
	if h.version == 1 {
		as.index = h.index
	} else {
		as.hwid, as.direction = h.hwid, []string{"ingress", "egress"}[h.d]
	}
	best := wishedSession{}
	for _, s := range w {
		takes := s.destination && !s.disabled && s.meets(as) && (s.direction == "" || h.version == 2) && (s.index < 0 || h.version == 1) && (s.hwid < 0 || h.version == 2)
		if takes && (best.output == "" || s.specificity() > best.specificity()) {
			best = s
		}
	}
	return best.output
}

// deliveryFlows is how many flows of ours the production bridge must have: one for each of its ports that is delivered to.
func (w wish) deliveryFlows() int {
	ports := map[string]bool{}
	for _, s := range w {
		if s.destination && !s.disabled && s.bridge != "" {
			ports[s.output] = true
		}
	}
	return len(ports)
}

// flags are the session as flags of `session add`.
func (s wishedSession) flags() []string {
	var args []string
	give := func(flag, value string, given bool) {
		if given {
			args = append(args, "--"+flag, value)
		}
	}
	give("type", "destination", s.destination)
	give("bridge", s.bridge, s.bridge != "")
	give("output-port", s.output, s.output != "")
	give("from", s.from, s.from != "")
	give("source", strings.Join(s.ports, ","), len(s.ports) > 0)
	if s.all {
		args = append(args, "--all-ports")
	}
	if s.allowMissing {
		args = append(args, "--allow-missing")
	}
	give("direction", s.direction, s.direction != "")
	for _, c := range s.collectors {
		give("collector", c, true)
	}
	give("session-id", strconv.Itoa(s.id), s.id >= 0)
	give("erspan-version", strconv.Itoa(s.version), s.version > 0)
	give("index", strconv.Itoa(s.index), s.index >= 0)
	give("hwid", strconv.Itoa(s.hwid), s.hwid >= 0)
	give("snaplen", strconv.Itoa(s.snaplen), s.snaplen > 0)
	give("dscp", strconv.Itoa(s.dscp), s.dscp >= 0)
	for _, r := range s.rules {
		give(r.kind, expressions[r.expr].text, true)
	}
	return args
}

// yaml is the session as a file has it.
func (s wishedSession) yaml() string {
	var b strings.Builder
	line := func(given bool, format string, args ...any) {
		if given {
			fmt.Fprintf(&b, "  "+format+"\n", args...)
		}
	}
	fmt.Fprintf(&b, "- name: %s\n", s.name)
	line(s.destination, "type: destination")
	line(s.disabled, "disabled: true")
	line(s.allowMissing, "allowMissing: true")
	line(s.bridge != "", "bridge: %s", s.bridge)
	line(s.output != "", "outputPort: %s", s.output)
	line(s.from != "", "from: %q", s.from)
	line(s.all, "sources: {all: true}")
	line(len(s.ports) > 0, "sources: {ports: [%s]}", strings.Join(s.ports, ", "))
	line(s.direction != "", "direction: %s", s.direction)
	line(len(s.collectors) > 0, "collectors: ['%s']", strings.Join(s.collectors, "', '"))
	var header []string
	for _, f := range []struct {
		name  string
		value int
		given bool
	}{{"version", s.version, s.version > 0}, {"sessionID", s.id, s.id >= 0}, {"index", s.index, s.index >= 0}, {"hardwareID", s.hwid, s.hwid >= 0}} {
		if f.given {
			header = append(header, fmt.Sprintf("%s: %d", f.name, f.value))
		}
	}
	line(len(header) > 0, "erspan: {%s}", strings.Join(header, ", "))
	line(s.snaplen > 0, "snaplen: %d", s.snaplen)
	line(s.dscp >= 0, "dscp: %d", s.dscp)
	line(len(s.rules) > 0, "match:")
	for _, r := range s.rules {
		kind := map[string]string{"match": "permit", "match-both-ways": "permitBothWays", "deny": "deny"}[r.kind]
		line(true, "- %s: %q", kind, expressions[r.expr].text)
	}
	return b.String()
}

// subtract is what of a is not in b, each as often as it is there more often.
func subtract(a, b []string) []string {
	left := map[string]int{}
	for _, x := range b {
		left[x]++
	}
	var rest []string
	for _, x := range a {
		if left[x]--; left[x] < 0 {
			rest = append(rest, x)
		}
	}
	slices.SortFunc(rest, cmp.Compare)
	return rest
}
