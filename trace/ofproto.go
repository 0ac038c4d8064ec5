package trace

import (
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// Run is what `ofproto/trace` (ovs-vswitchd(8)) printed, taken apart.
type Run struct {
	// Flow is the packet as Open vSwitch reads it.
	Flow string `json:"flow"`
	// Visits are the flows that the packet met, in order, on all bridges that it passed.
	Visits []Visit `json:"visits"`
	// Megaflow is the match of the megaflow that such a packet makes, and Datapath the actions. A packet that is
	// recirculated (conntrack, bonds) has several of both; they are joined.
	Megaflow []string `json:"megaflow"`
	Datapath []string `json:"datapath"`
}

// Visit is one flow that the packet met.
type Visit struct {
	Bridge   string       `json:"bridge"`
	Table    int          `json:"table"`
	Match    string       `json:"match,omitempty"` // "" is everything
	Priority int          `json:"priority"`
	Cookie   flows.Cookie `json:"cookie"` // 0: none
	// Missed tells that no flow matched.
	Missed bool   `json:"missed,omitempty"`
	Steps  []Step `json:"steps,omitempty"`
}

// Step is one action of a flow, with what Open vSwitch says about it.
type Step struct {
	Action string   `json:"action"`
	Notes  []string `json:"notes,omitempty"`
}

var (
	bridgeLine = lazily(`^( *)bridge\("(.*)"\)$`)
	tableLine  = lazily(`^ *(\d+)\. (.*)$`)
)

// lazily compiles an expression when it is first used: every command of the program begins with this package, and few trace.
func lazily(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

// Parse takes apart what `ofproto/trace` printed.
//
// A bridge's part begins with its name and a line of dashes; flows stand as "TABLE. MATCH, priority P, cookie C" with the
// actions below, indented; what Open vSwitch says about an action is below it, after "->" (detail) or ">>" (trouble).
// What a Mirror or a patch port leads to stands within, indented deeper.
func Parse(printed string) Run {
	p := parser{}
	for line := range strings.Lines(printed) {
		p.line(strings.TrimRight(line, "\r\n "))
	}
	return p.run
}

// part is a bridge's part of the output, by the column in which it begins.
type part struct {
	indent int
	bridge string
	visit  int // the flow of it that was met last, -1: none yet
}

type parser struct {
	run   Run
	parts []part // the one that is being read last, within those before it
}

func (p *parser) line(line string) {
	text := strings.TrimLeft(line, " ")
	indent := len(line) - len(text)
	if m := bridgeLine().FindStringSubmatch(line); m != nil {
		p.leave(indent)
		p.parts = append(p.parts, part{indent, m[2], -1})
		return
	}
	switch {
	case text == "", strings.Trim(text, "-") == "", strings.Trim(text, "=") == "":
		return
	case indent == 0 && p.tail(text):
		return
	}
	if m := tableLine().FindStringSubmatch(line); m != nil && len(p.parts) > 0 {
		// The table's number is right-aligned in two columns.
		p.leave(indent + 1)
		n, _ := strconv.Atoi(m[1])
		current := &p.parts[len(p.parts)-1]
		v := parseVisit(m[2])
		v.Bridge, v.Table = current.bridge, n
		p.run.Visits = append(p.run.Visits, v)
		current.visit = len(p.run.Visits) - 1
		return
	}
	p.leave(indent)
	if len(p.parts) == 0 || p.parts[len(p.parts)-1].visit < 0 {
		return
	}
	v := &p.run.Visits[p.parts[len(p.parts)-1].visit]
	note, detail := strings.CutPrefix(text, "-> ")
	if !detail && strings.HasPrefix(text, ">>") { // ">> trouble", ">>>> worse <<<<"
		note, detail = strings.Trim(text, "<> "), true
	}
	if detail {
		if len(v.Steps) == 0 {
			v.Steps = append(v.Steps, Step{})
		}
		last := &v.Steps[len(v.Steps)-1]
		last.Notes = append(last.Notes, note)
		return
	}
	v.Steps = append(v.Steps, Step{Action: text})
}

// leave ends the parts that a line in this column is not within: its own lines stand deeper than its name does.
func (p *parser) leave(indent int) {
	for len(p.parts) > 1 && p.parts[len(p.parts)-1].indent >= indent {
		p.parts = p.parts[:len(p.parts)-1]
	}
}

// tail reads the lines about the whole packet; it is false for others.
func (p *parser) tail(text string) bool {
	for prefix, read := range map[string]func(string){
		"Flow: ": func(s string) {
			if p.run.Flow == "" {
				p.run.Flow = s
			}
		},
		"Megaflow: ":         func(s string) { p.run.Megaflow = append(p.run.Megaflow, s) },
		"Datapath actions: ": func(s string) { p.run.Datapath = append(p.run.Datapath, s) },
		"Final flow: ":       func(string) {},
	} {
		if rest, ok := strings.CutPrefix(text, prefix); ok {
			read(rest)
			return true
		}
	}
	return false
}

// parseVisit reads "MATCH, priority P, cookie C", in which match and cookie may be missing, and "No match.".
func parseVisit(text string) Visit {
	if strings.HasPrefix(text, "No match") {
		return Visit{Missed: true}
	}
	var v Visit
	if head, cookie, ok := strings.Cut(text, ", cookie "); ok {
		n, _ := strconv.ParseUint(cookie, 0, 64)
		v.Cookie, text = flows.Cookie(n), head
	}
	if i := strings.LastIndex(text, "priority "); i >= 0 {
		v.Priority, _ = strconv.Atoi(text[i+len("priority "):])
		v.Match = strings.TrimSuffix(text[:i], ", ")
	}
	return v
}
