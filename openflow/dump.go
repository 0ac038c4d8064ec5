package openflow

import (
	"bufio"
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// defaultPriority is what ovs-ofctl leaves out of a dump (OpenFlow's OFP_DEFAULT_PRIORITY).
const defaultPriority = 32768

// parseDump reads the output of `ovs-ofctl --no-names dump-flows`. Lines that are not flows are passed over; a flow that
// cannot be read is an error, because a flow left out would look as if it were not there.
func parseDump(out []byte) ([]flows.Entry, error) {
	var entries []flows.Entry
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20) // a flow with many clones is long; OpenFlow messages end at 64 kB
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if !strings.HasPrefix(line, "cookie=") {
			continue
		}
		e, err := parseEntry(line)
		if err != nil {
			return nil, fmt.Errorf("flow %q: %w", line, err)
		}
		entries = append(entries, e)
	}
	return entries, lines.Err()
}

// parseEntry reads one flow: "cookie=…, duration=…, table=…, n_packets=…, n_bytes=…, [more, ]priority=…,match actions=…".
func parseEntry(line string) (flows.Entry, error) {
	e := flows.Entry{Line: flows.Line{Priority: defaultPriority}}
	head, actions, ok := strings.Cut(line, " actions=")
	if !ok {
		return e, fmt.Errorf("no actions")
	}
	e.Actions = actions
	// Statistics are set apart by ", ", the match's fields by "," alone. A flow that matches everything at the default
	// priority has no last part.
	parts := strings.Split(strings.TrimSuffix(head, ","), ", ")
	var extra []string
	var hard uint64
	for i, part := range parts {
		name, value, _ := strings.Cut(part, "=")
		var err error
		switch name {
		case "cookie":
			var n uint64
			n, err = strconv.ParseUint(value, 0, 64)
			e.Cookie = flows.Cookie(n)
		case "table":
			var n int
			n, err = strconv.Atoi(value)
			e.Table = flows.Table(n)
		case "n_packets":
			e.Packets, err = strconv.ParseUint(value, 10, 64)
		case "n_bytes":
			e.Bytes, err = strconv.ParseUint(value, 10, 64)
		case "duration":
			e.Age, err = time.ParseDuration(value)
		case "hard_timeout":
			hard, err = strconv.ParseUint(value, 10, 16)
		case "idle_age", "hard_age":
		default:
			if i == len(parts)-1 {
				err = parseMatch(&e, part)
				break
			}
			extra = append(extra, part)
		}
		if err != nil {
			return e, fmt.Errorf("%s: %w", name, err)
		}
	}
	e.Expires = flows.ExpiryOf(uint16(hard), e.Age, time.Now())
	// Idle timeouts and flags make a flow another flow than ours, which have none.
	if len(extra) > 0 {
		e.Actions += " with " + strings.Join(extra, " ")
	}
	return e, nil
}

// parseMatch reads the last part: flags and priority come first, then the match. Flags stand before it, set apart by
// spaces.
func parseMatch(e *flows.Entry, part string) error {
	if i := strings.LastIndexByte(part, ' '); i >= 0 {
		e.Actions += " with " + part[:i]
		part = part[i+1:]
	}
	rest, ok := strings.CutPrefix(part, "priority=")
	if !ok {
		e.Match = part
		return nil
	}
	number, match, _ := strings.Cut(rest, ",")
	n, err := strconv.Atoi(number)
	e.Priority, e.Match = n, match
	return err
}
