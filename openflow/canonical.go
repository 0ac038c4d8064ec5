package openflow

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// Canonical renders flows as Open vSwitch will show them. Users' expressions that are not known here are put into
// canonical form by Open vSwitch's own parser; where it refuses one the error is a *flows.BadMatchError.
func (c *Client) Canonical(ctx context.Context, all []flows.Flow) ([]flows.Line, error) {
	lines := make([]flows.Line, len(all))
	var parse []int // the flows with an expression
	var input, exprs []string
	for i, f := range all {
		lines[i] = f.Line()
		if f.Match.Expr == "" {
			continue
		}
		if known, err := canonicalMatch(lines[i].Match); err == nil {
			lines[i].Match = known
		} else {
			parse = append(parse, i)
			input = append(input, lines[i].Match)
			exprs = append(exprs, f.Match.Expr)
		}
	}
	matches, err := c.parseMatches(ctx, input, exprs)
	if err != nil {
		return nil, err
	}
	for n, i := range parse {
		lines[i].Match = matches[n]
	}
	return lines, nil
}

// CheckMatches asks Open vSwitch's own parser about expressions. The error is a *flows.BadMatchError for the first that the
// parser refuses, or that it takes but drops a part of: it takes "tp_dst=443" without "tcp" for "everything".
func (c *Client) CheckMatches(ctx context.Context, exprs []string) error {
	matches, err := c.parseMatches(ctx, exprs, exprs)
	for i, m := range matches {
		if m == "" {
			return &flows.BadMatchError{Expr: exprs[i], Reason: "Open vSwitch reads it as everything: leave the rule out, or say what to match"}
		}
	}
	return err
}

// parseMatches returns matches in canonical form, all with one call of ovs-ofctl. Only where that fails does it go
// through them one by one, to name the expression at fault.
func (c *Client) parseMatches(ctx context.Context, matches, exprs []string) ([]string, error) {
	if len(matches) == 0 {
		return nil, nil
	}
	canonical, err := c.parseFlows(ctx, matches)
	var refused *refusedError
	if !errors.As(err, &refused) {
		return canonical, err
	}
	for i, m := range matches {
		if _, err := c.parseFlows(ctx, []string{m}); errors.As(err, &refused) {
			return nil, &flows.BadMatchError{Expr: exprs[i], Reason: refused.reason}
		}
	}
	return nil, err
}

// refusedError is what Open vSwitch's parser has against its input.
type refusedError struct{ reason string }

func (e *refusedError) Error() string { return e.reason }

var (
	// ovs-ofctl calls standard input "-": "ovs-ofctl: -:3: field foo missing value".
	refusedLine = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?m)^ovs-ofctl: (?:-:\d+: )?(.*)$`) })
	// That a match lost fields for want of a prerequisite is only said in the log.
	lostFields = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?m)\|INFO\| pre: (.*)\n.*\|INFO\|post: (.*)$`) })
)

// parseFlows runs `ovs-ofctl parse-flows`, which reaches no switch.
func (c *Client) parseFlows(ctx context.Context, matches []string) ([]string, error) {
	var input strings.Builder
	for _, m := range matches {
		fmt.Fprintf(&input, "priority=1,%s,actions=drop\n", m)
	}
	stdout, stderr, err := c.execute(ctx, strings.NewReader(input.String()), "ovs-ofctl", "--protocols="+protocol, "parse-flows", "-")
	if err != nil {
		if m := refusedLine().FindStringSubmatch(string(stderr)); m != nil && ctx.Err() == nil {
			return nil, &refusedError{m[1]}
		}
		return nil, err
	}
	if m := lostFields().FindStringSubmatch(string(stderr)); m != nil {
		return nil, &refusedError{fmt.Sprintf(
			"Open vSwitch would ignore a part of it (it reads %q and keeps %q): name the protocol that the field belongs to as well, such as tcp, udp, ip or ipv6", withoutSlot(m[1]), withoutSlot(m[2]))}
	}
	var canonical []string
	for line := range strings.Lines(string(stdout)) {
		// OFPT_FLOW_MOD (OF1.5) (xid=0x2): ADD priority=1,tcp,tp_dst=443 actions=drop
		_, flow, ok := strings.Cut(line, "): ADD ")
		if !ok {
			continue
		}
		flow, _, _ = strings.Cut(flow, " actions=")
		_, match, _ := strings.Cut(flow, ",")
		canonical = append(canonical, match)
	}
	if len(canonical) != len(matches) {
		return nil, fmt.Errorf("ovs-ofctl parse-flows: %d flows in, %d out", len(matches), len(canonical))
	}
	return canonical, nil
}

// withoutSlot leaves our own register out of what a user is shown.
func withoutSlot(match string) string {
	fields := strings.Split(match, ",")
	return strings.Join(slices.DeleteFunc(fields, func(f string) bool { return strings.HasPrefix(f, "reg0=") }), ",")
}
