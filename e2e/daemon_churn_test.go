//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// loggedLine is a line of the daemon's log.
type loggedLine struct {
	Level, Msg, Session string
	Rows, Flows         int
	Duration            float64 // seconds
}

func (d *daemon) lines(from int) (lines []loggedLine) {
	for text := range strings.Lines(d.Stderr()[from:]) {
		var l loggedLine
		if json.Unmarshal([]byte(text), &l) == nil {
			lines = append(lines, l)
		}
	}
	return lines
}

// transact changes rows as a manager of ports does, who waits for nobody.
func (s *scene) transact(operations ...map[string]any) {
	s.t.Helper()
	text, err := json.Marshal(append([]any{"Open_vSwitch"}, anys(operations)...))
	s.must(err)
	out, stderr, err := s.host.Exec(s.ctx, "ovsdb-client", "transact", "unix:"+s.host.DBSocket(), string(text))
	if err != nil || strings.Contains(out, `"error"`) {
		s.t.Fatalf("transact: %v\n%s%s", err, out, stderr)
	}
}

func anys[T any](list []T) (all []any) {
	for _, x := range list {
		all = append(all, x)
	}
	return all
}

// addPort adds a tunnel port, whose number tells it from others: of all ports these cost this Open vSwitch least.
func addPort(bridge, name string, number int) []map[string]any {
	tunnel := []any{"map", [][]string{{"remote_ip", fmt.Sprintf("10.%d.%d.9", number>>8, number&0xff)}, {"key", fmt.Sprint(number + 1)}}}
	i, p := "i"+name, "p"+name
	return []map[string]any{
		{"op": "insert", "table": "Interface", "uuid-name": i, "row": map[string]any{"name": name, "type": "vxlan", "options": tunnel}},
		{"op": "insert", "table": "Port", "uuid-name": p, "row": map[string]any{"name": name, "interfaces": []string{"named-uuid", i}}},
		{"op": "mutate", "table": "Bridge", "where": []any{[]any{"name", "==", bridge}}, "mutations": []any{[]any{"ports", "insert", []string{"named-uuid", p}}}},
	}
}

// portUUID is the Port row's.
func (s *scene) portUUID(name string) string {
	s.t.Helper()
	out, err := s.host.Vsctl(s.ctx, "--no-wait", "get", "port", name, "_uuid")
	s.must(err)
	return strings.TrimSpace(out)
}

func removePort(bridge, uuid string) map[string]any {
	return map[string]any{"op": "mutate", "table": "Bridge", "where": []any{[]any{"name", "==", bridge}}, "mutations": []any{[]any{"ports", "delete", []string{"uuid", uuid}}}}
}

// TestChurnAtScale: on a host with 2000 ports and 200 sessions, ports of nobody's that come and go, 10 a second, cost few
// reconciles and not one line of log; a source that flaps beside them costs few of both.
func TestChurnAtScale(t *testing.T) {
	alone(t, "a thousand sessions take all that the machine has")
	const bridges, ports, sessions = 8, 2000, 200
	s := newScene(t)
	bridge := func(n int) string { return fmt.Sprintf("prod%d", n%bridges) }
	for n := range bridges {
		s.must(s.host.AddBridge(s.ctx, bridge(n)))
	}
	for first := 0; first < ports; first += 200 {
		var operations []map[string]any
		for n := first; n < first+200; n++ {
			operations = append(operations, addPort(bridge(n), fmt.Sprintf("v%d", n), n)...)
		}
		s.transact(operations...)
	}
	s.must(s.host.WaitReady(s.ctx))
	file := "apiVersion: ovs-erspan/v1\nsessions:\n"
	for n := range sessions {
		file += fmt.Sprintf("- {name: s%d, bridge: %s, sources: {ports: [v%d]}, direction: ingress, collectors: [%s], erspan: {sessionID: %d}}\n", n, bridge(n), n, collectorAddr, n+1)
	}
	if r := s.oeOn(s.host, lab.Command{Stdin: strings.NewReader(file)}, "apply", "-f", "-", "--timeout", "2m"); r.code != 0 {
		t.Fatalf("apply: exit %d: %s", r.code, r.stderr)
	}
	d := s.daemon().ready()
	s.settled("s0", "s199")

	// watch does something, at most ten times a second, and returns what the daemon told of it. each is how many reconciles a
	// change may cost: one that changes something may be followed by one that looks at what it did.
	watch := func(what string, times, each int, do func(n int)) (told []loggedLine) {
		t.Helper()
		from, cpu, begin := len(d.Stderr()), d.cpu(), time.Now()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for n := range times {
			do(n)
			<-tick.C
		}
		s.settled()
		took := time.Since(begin)
		var durations []float64
		for _, l := range d.lines(from) {
			if l.Level != "DEBUG" {
				told = append(told, l)
			}
			if l.Msg == "reconciled" {
				durations = append(durations, l.Duration)
			}
		}
		slices.Sort(durations)
		if len(durations) == 0 {
			t.Fatalf("%s: no reconcile: this test tests nothing", what)
		}
		// 4 at once and 2 a second, and now and then one of a timer.
		if most := each * (6 + int(2*took.Seconds())); len(durations) > most {
			t.Errorf("%s: %d changes within %v: %d reconciles, want at most %d", what, times, took, len(durations), most)
		}
		t.Logf("%s: %d changes within %v: %d reconciles of %.0f ms in the middle and %.0f ms at most, %d lines of log, %v of CPU", what, times,
			took.Round(time.Millisecond), len(durations), 1000*durations[len(durations)/2], 1000*durations[len(durations)-1], len(told), d.cpu()-cpu)
		return told
	}

	var there []string // UUIDs, in the order of their coming
	for _, l := range watch("ports of nobody's", 60, 1, func(n int) {
		name := fmt.Sprintf("c%d", n)
		operations := addPort(bridge(n), name, ports+n)
		if n >= 10 {
			operations = append(operations, removePort(bridge(n-10), there[n-10]))
		}
		s.transact(operations...)
		there = append(there, s.portUUID(name))
	}) {
		t.Errorf("a line of log, of ports that no session has: %+v", l)
	}

	begin := time.Now()
	told := watch("a source", 30, 2, func(n int) {
		if n%2 == 0 {
			s.transact(removePort(bridge(0), s.portUUID("v0")))
		} else {
			s.transact(addPort(bridge(0), "v0", 0)...)
		}
	})
	s.settled("s0")
	changed := 0
	for _, l := range told {
		switch {
		case l.Msg == "reconciled" && l.Rows+l.Flows > 0:
			changed++
		case l.Session != "s0":
			t.Errorf("a line of log that is not about the session that flaps: %+v", l)
		}
	}
	// A session's own changes are told of 6 times, and then every 10 s.
	if own := len(told) - changed; own > 6+3+int(time.Since(begin).Seconds()/10) {
		t.Errorf("%d lines of log about the session that flaps", own)
	}
	if changed == 0 {
		t.Error("no reconcile changed anything: this test tests nothing")
	}
}

// cpu is the processor time that the daemon has taken (proc(5), /proc/pid/stat: clock ticks of 10 ms).
func (d *daemon) cpu() time.Duration {
	d.s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.PID()))
	d.s.must(err)
	_, rest, _ := strings.Cut(string(text), ") ")
	var user, system int64
	fields := strings.Fields(rest)
	_, err = fmt.Sscan(fields[11], &user)
	d.s.must(err)
	_, err = fmt.Sscan(fields[12], &system)
	d.s.must(err)
	return time.Duration(user+system) * 10 * time.Millisecond
}
