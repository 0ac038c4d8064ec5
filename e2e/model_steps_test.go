//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// What TestModel does in a sequence. Each step draws what it does, does it, and tells the model.

var (
	sourceNames      = []string{"s1", "s2", "s3", "s4"}
	destinationNames = []string{"d1", "d2", "d3"}
)

// steps are what a step may be; what is there more often happens more often.
var modelActions = []struct {
	name   string
	weight int
	take   func(*world, *rapid.T)
}{
	{"add", 6, (*world).stepAdd},
	{"set", 7, (*world).stepSet},
	{"apply", 4, (*world).stepApply},
	{"switch", 3, (*world).stepSwitch},
	{"remove", 2, (*world).stepRemove},
	{"export and apply", 1, (*world).stepExport},
	{"run --once", 1, (*world).stepRunOnce},
	{"uninstall", 1, (*world).stepUninstall},
	{"daemon", 3, (*world).stepDaemon},
	{"fault", 4, (*world).stepFault},
	{"port", 2, (*world).stepPort},
	{"restart", 1, (*world).stepRestart},
}

func (w *world) step(r *rapid.T) {
	if w.steps++; w.steps > modelMost {
		return
	}
	var names []string
	for _, a := range modelActions {
		for range a.weight {
			names = append(names, a.name)
		}
	}
	name := rapid.SampledFrom(names).Draw(r, "step")
	for _, a := range modelActions {
		if a.name == name {
			a.take(w, r)
		}
	}
}

// did notes a step for whoever reads of a failure.
func (w *world) did(format string, args ...any) {
	w.history = append(w.history, fmt.Sprintf(format, args...))
	if testing.Verbose() {
		w.t.Logf(format, args...)
	}
}

// command runs a command that makes a change, in one of several ways, and holds that its exit code is the model's.
func (w *world) command(r *rapid.T, acceptMissing bool, c change, args ...string) {
	w.t.Helper()
	w.commandWith(r, acceptMissing, c, lab.Command{}, args...)
}

func (w *world) commandWith(r *rapid.T, acceptMissing bool, c change, how lab.Command, args ...string) {
	w.t.Helper()
	next := w.wish.clone()
	want := next.try(w.on, acceptMissing, c)
	accepted := want == codeInForce || want == codeNotInForce
	way := rapid.SampledFrom([]string{"plain", "plain", "plain", "plain", "plain", "dry run", "no wait", "killed", "killed"}).Draw(r, "way")
	switch {
	case way == "dry run":
		w.dryRun(how, want, args...)
	case way == "no wait" && args[0] != "uninstall":
		w.did("%s --no-wait (want %d)", strings.Join(args, " "), want)
		if got := w.oeOn(w.host, how, append(args, "--no-wait")...); got.code != want && !(want == codeNotInForce && got.code == 0) {
			w.fail("a command ends otherwise than expected", "--no-wait: exit %d, want %d\n%s%s", got.code, want, got.stdout, got.stderr)
		}
		if accepted {
			w.between(next)
		}
		return
	case way == "killed" && accepted:
		step := rapid.SampledFrom([]string{"stored", "rows-before", "deliveries", "flows", "rows-after", "revalidate", "rows-last", "report"}).Draw(r, "killed at")
		w.did("%s, killed at %s", strings.Join(args, " "), step)
		how.Args, how.Env = append([]string{binary}, args...), []string{"OVS_ERSPAN_KILL_AT=" + step, "GORACE=atexit_sleep_ms=10"}
		stdout, stderr, err := w.host.Run(w.ctx, how)
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled():
			w.between(next)
			return
		case err != nil && (exit == nil || exit.ExitCode() != want), err == nil && want != codeInForce:
			w.fail("a command ends otherwise than expected", "it did not come to step %s: %v, want exit %d\n%s%s", step, err, want, stdout, stderr)
		}
		w.inForce(next)
		return
	}
	w.did("%s (want %d)", strings.Join(args, " "), want)
	got := w.oeOn(w.host, how, args...)
	if got.code != want {
		w.fail("a command ends otherwise than expected", "exit %d, want %d\n%s%s", got.code, want, got.stdout, got.stderr)
	}
	if accepted {
		w.inForce(next)
	}
}

// inForce notes that the wish is in force.
func (w *world) inForce(next wish) { w.wish, w.maybe, w.unknown = next, nil, false }

// between notes that the wish is stored, and that anything between it and those before may be programmed.
func (w *world) between(next wish) {
	w.maybe = append(w.maybe, w.wish)
	w.wish = next
}

// dryRun holds that a command with --dry-run tells what it would, and changes nothing.
func (w *world) dryRun(how lab.Command, want int, args ...string) {
	w.t.Helper()
	if want == codeNotInForce {
		want = codeInForce // nothing is in force either way
	}
	if w.daemon != nil {
		w.settle() // or it may change something meanwhile
	}
	before := w.everything()
	got := w.oeOn(w.host, how, append(args, "--dry-run")...)
	if got.code != want {
		w.fail("a dry run ends otherwise than expected", "%v: exit %d, want %d\n%s%s", args, got.code, want, got.stdout, got.stderr)
	}
	after := w.everything()
	if gone, added := subtract(before, after), subtract(after, before); len(gone)+len(added) > 0 {
		w.fail("a dry run changed something", "%v: gone:\n  %s\nadded:\n  %s", args, strings.Join(gone, "\n  "), strings.Join(added, "\n  "))
	}
}

// everything is all rows and flows of the host's bridges.
func (w *world) everything() []string {
	w.t.Helper()
	rows, err := w.host.DumpRows(w.ctx)
	w.must(err)
	all := rows.Lines()
	bridges, err := w.host.Vsctl(w.ctx, "list-br")
	w.must(err)
	for _, b := range strings.Fields(bridges) {
		flows, err := w.host.DumpFlows(w.ctx, b)
		w.must(err)
		for _, f := range flows {
			all = append(all, b+": "+f)
		}
	}
	return all
}

func drawBool(r *rapid.T, percent int, label string) bool {
	return rapid.IntRange(0, 99).Draw(r, label) >= 100-percent // a sequence that is made shorter has what is usual
}

// pick draws one of several values, the first of which is the usual one.
func pick[T any](r *rapid.T, label string, values ...T) T {
	return rapid.SampledFrom(values).Draw(r, label)
}

func some[T comparable](r *rapid.T, label string, most int, values ...T) []T {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(values), 1, most, rapid.ID[T]).Draw(r, label)
}

func drawPorts(r *rapid.T) []string {
	return some(r, "sources", 3, "vnet0", "vnet1", "vnet2", "vnet0", "vnet1", "vnet2", "an0")
}

func drawCollectors(r *rapid.T) []string {
	return some(r, "collectors", 3, collectorAddr, secondCollectorAddr, collector6, collectorAddr, secondCollectorAddr, noRoute)
}

func drawRules(r *rapid.T, kinds ...string) []rule {
	var rules []rule
	for range rapid.IntRange(0, 3).Draw(r, "rules") {
		x := rule{pick(r, "kind", kinds...), rapid.IntRange(0, len(expressions)-1).Draw(r, "expression")}
		if !slices.Contains(rules, x) {
			rules = append(rules, x)
		}
	}
	return rules
}

var ruleKinds = []string{"match", "match-both-ways", "deny"}

// drawSource draws a source session. Some are refused.
func drawSource(r *rapid.T, name string) wishedSession {
	s := newSession(name)
	s.bridge = "br0"
	if s.all = drawBool(r, 15, "all"); !s.all {
		s.ports = drawPorts(r)
	}
	s.allowMissing = drawBool(r, 20, "allow missing")
	s.direction = pick(r, "direction", "", "ingress", "egress", "both")
	s.collectors = drawCollectors(r)
	s.id = pick(r, "id", -1, -1, -1, 0, 1, 2, 3, 1023)
	s.version = pick(r, "version", 0, 1, 2, 2)
	if s.version == 2 {
		s.hwid = pick(r, "hwid", -1, 0, 4, 63)
	} else {
		s.index = pick(r, "index", -1, -1, 0, 5, 0xfffff)
	}
	if drawBool(r, 5, "contradiction") {
		s.index, s.hwid = s.hwid, s.index
	}
	s.snaplen = pick(r, "snaplen", 0, 0, 100) // the mark is before
	s.dscp = pick(r, "dscp", -1, -1, -1, 10)
	s.rules = drawRules(r, ruleKinds...)
	return s
}

func drawDestination(r *rapid.T, name string) wishedSession {
	s := newSession(name)
	s.destination = true
	if s.output = pick(r, "output", "an0", "o0"); s.output == "an0" {
		s.bridge = "br0"
	}
	s.from = pick(r, "from", "any", "192.0.2.50", "192.0.2.51")
	s.id = pick(r, "id", 7, 7, 8)
	s.version = pick(r, "version", 0, 1, 2)
	switch s.version {
	case 1:
		s.index = pick(r, "index", -1, 0, 5)
	case 2:
		s.hwid = pick(r, "hwid", -1, 0, 4)
		s.direction = pick(r, "direction", "", "ingress", "egress")
	}
	return s
}

func drawSession(r *rapid.T) wishedSession {
	if drawBool(r, 25, "destination") {
		return drawDestination(r, pick(r, "name", destinationNames...))
	}
	return drawSource(r, pick(r, "name", sourceNames...))
}

// put is the change that makes a session what is given, whole. A session id that is left open stays.
func put(s wishedSession) change {
	return func(w wish, order *[]string) ([]string, int) {
		s := s
		if was, there := w[s.name]; there {
			if s.id < 0 {
				s.id = was.id
			}
		} else if !slices.Contains(*order, s.name) {
			*order = append(*order, s.name)
		}
		w[s.name] = s
		return []string{s.name}, 0
	}
}

func (w *world) stepAdd(r *rapid.T) {
	s := drawSession(r)
	args := append([]string{"session", "add", s.name}, s.flags()...)
	mayExist := drawBool(r, 50, "may exist")
	if mayExist {
		args = append(args, "--may-exist")
	}
	w.command(r, false, func(x wish, order *[]string) ([]string, int) {
		if _, there := x[s.name]; there && !mayExist {
			return nil, codeRefused
		}
		return put(s)(x, order)
	}, args...)
}

// drawName draws a session that is there, mostly.
func (w *world) drawName(r *rapid.T) string {
	if names := w.wish.names(); len(names) > 0 && !drawBool(r, 5, "a session that is not there") {
		return pick(r, "name", names...)
	}
	return pick(r, "name", slices.Concat(sourceNames, destinationNames)...)
}

// setting is a change of one field: what it is in flags, and what it does. It tells whether it can be.
type setting struct {
	flags []string
	set   func(*wishedSession) bool
}

func drawSetting(r *rapid.T, destination bool) setting {
	kinds := []string{"source", "all-ports", "direction", "collector", "session-id", "erspan-version", "index", "hwid", "rules", "snaplen", "dscp",
		"add-source", "remove-source", "add-collector", "remove-collector", "add-deny", "unset"}
	if destination {
		kinds = []string{"output-port", "from", "session-id", "erspan-version", "index", "hwid", "direction", "unset"}
	}
	yes := func(do func(*wishedSession)) func(*wishedSession) bool {
		return func(s *wishedSession) bool { do(s); return true }
	}
	kind := pick(r, "field", kinds...)
	number := func(to func(*wishedSession) *int, values ...int) setting {
		n := pick(r, kind, values...)
		return setting{[]string{"--" + kind, strconv.Itoa(n)}, yes(func(s *wishedSession) { *to(s) = n })}
	}
	one := func(list func(*wishedSession) *[]string, add bool, values ...string) setting {
		v := pick(r, kind, values...)
		return setting{[]string{"--" + kind, v}, func(s *wishedSession) bool {
			l := list(s)
			at := slices.Index(*l, v)
			if add == (at >= 0) {
				return false
			}
			if add {
				*l = append(*l, v)
			} else {
				*l = slices.Delete(*l, at, at+1)
			}
			return true
		}}
	}
	ports := func(s *wishedSession) *[]string { return &s.ports }
	collectors := func(s *wishedSession) *[]string { return &s.collectors }
	switch kind {
	case "source":
		v := drawPorts(r)
		return setting{[]string{"--source", strings.Join(v, ",")}, yes(func(s *wishedSession) { s.ports, s.all = v, false })}
	case "all-ports":
		return setting{[]string{"--all-ports"}, yes(func(s *wishedSession) { s.ports, s.all = nil, true })}
	case "direction":
		v := pick(r, kind, "ingress", "egress", "both")
		return setting{[]string{"--direction", v}, yes(func(s *wishedSession) { s.direction = v })}
	case "collector":
		v := drawCollectors(r)
		return setting{[]string{"--collector", strings.Join(v, ",")}, yes(func(s *wishedSession) { s.collectors = v })}
	case "session-id":
		return number(func(s *wishedSession) *int { return &s.id }, 1, 2, 3, 7, 8, 0, 1023)
	case "erspan-version":
		return number(func(s *wishedSession) *int { return &s.version }, 1, 2)
	case "index":
		return number(func(s *wishedSession) *int { return &s.index }, 0, 5, 0xfffff)
	case "hwid":
		return number(func(s *wishedSession) *int { return &s.hwid }, 0, 4, 63)
	case "snaplen":
		return number(func(s *wishedSession) *int { return &s.snaplen }, 100, 120)
	case "dscp":
		return number(func(s *wishedSession) *int { return &s.dscp }, 10, 46, 0)
	case "rules":
		of := pick(r, "kind", ruleKinds...)
		rules := drawRules(r, of)
		if len(rules) == 0 {
			rules = []rule{{of, 0}}
		}
		var flags []string
		for _, x := range rules {
			flags = append(flags, "--"+of, expressions[x.expr].text)
		}
		return setting{flags, yes(func(s *wishedSession) {
			s.rules = append(slices.DeleteFunc(slices.Clone(s.rules), func(x rule) bool { return x.kind == of }), rules...)
		})}
	case "add-source":
		return one(ports, true, "vnet0", "vnet1", "vnet2")
	case "remove-source":
		return one(ports, false, "vnet0", "vnet1", "vnet2")
	case "add-collector":
		return one(collectors, true, collectorAddr, secondCollectorAddr, collector6)
	case "remove-collector":
		return one(collectors, false, collectorAddr, secondCollectorAddr, collector6, noRoute)
	case "add-deny":
		x := rule{"deny", rapid.IntRange(0, len(expressions)-1).Draw(r, "expression")}
		return setting{[]string{"--add-deny", expressions[x.expr].text}, func(s *wishedSession) bool {
			if slices.Contains(s.rules, x) {
				return false
			}
			s.rules = append(s.rules, x)
			return true
		}}
	case "output-port":
		v := pick(r, kind, "an0", "o0")
		if v == "an0" {
			return setting{[]string{"--output-port", v, "--bridge", "br0"}, yes(func(s *wishedSession) { s.output, s.bridge = v, "br0" })}
		}
		return setting{[]string{"--output-port", v, "--unset", "bridge"}, yes(func(s *wishedSession) { s.output, s.bridge = v, "" })}
	case "from":
		v := pick(r, kind, "any", "192.0.2.50", "192.0.2.51")
		return setting{[]string{"--from", v}, yes(func(s *wishedSession) { s.from = v })}
	}
	field := pick(r, "unset", "direction", "index", "hwid", "erspan-version", "session-id", "match", "deny", "snaplen", "dscp", "allow-missing")
	return setting{[]string{"--unset", field}, yes(func(s *wishedSession) {
		switch field {
		case "direction":
			s.direction = ""
		case "index":
			s.index = -1
		case "hwid":
			s.hwid = -1
		case "erspan-version":
			s.version = 0
		case "session-id":
			s.id = -1
		case "match":
			s.rules = slices.DeleteFunc(s.rules, func(x rule) bool { return x.kind != "deny" })
		case "deny":
			s.rules = slices.DeleteFunc(s.rules, func(x rule) bool { return x.kind == "deny" })
		case "snaplen":
			s.snaplen = 0
		case "dscp":
			s.dscp = -1
		case "allow-missing":
			s.allowMissing = false
		}
	})}
}

func (w *world) stepSet(r *rapid.T) {
	name := w.drawName(r)
	args := []string{"session", "set", name}
	used := map[string]bool{}
	var settings, lists []setting // those of lists' members come last, as the command takes them
	for range rapid.IntRange(1, 3).Draw(r, "settings") {
		x := drawSetting(r, w.wish[name].destination)
		// One of each: the same flag twice, or a field that is set and unset, would say nothing of the product.
		if fresh := !used[x.flags[0]] && !used["--unset"] && (x.flags[0] != "--unset" || len(used) == 0) && !(x.flags[0] == "--all-ports" && used["--source"]) && !(x.flags[0] == "--source" && used["--all-ports"]); !fresh {
			continue
		}
		for _, f := range x.flags {
			used[f] = true
		}
		args = append(args, x.flags...)
		if strings.HasPrefix(x.flags[0], "--add-") || strings.HasPrefix(x.flags[0], "--remove-") {
			lists = append(lists, x)
		} else {
			settings = append(settings, x)
		}
	}
	slices.SortStableFunc(lists, func(a, b setting) int { return strings.Compare(a.flags[0], b.flags[0]) }) // add before remove
	w.command(r, false, func(x wish, _ *[]string) ([]string, int) {
		s, there := x[name]
		if !there {
			return nil, codeNoSession
		}
		for _, c := range append(settings, lists...) {
			if !c.set(&s) {
				return nil, codeRefused
			}
		}
		x[name] = s
		return []string{name}, 0
	}, args...)
}

func (w *world) stepApply(r *rapid.T) {
	var sessions []wishedSession
	for range rapid.IntRange(0, 4).Draw(r, "sessions") {
		s := drawSession(r)
		s.disabled = drawBool(r, 15, "disabled")
		if !slices.ContainsFunc(sessions, func(o wishedSession) bool { return o.name == s.name }) {
			sessions = append(sessions, s)
		}
	}
	w.apply(r, sessions, drawBool(r, 40, "prune"))
}

func (w *world) apply(r *rapid.T, sessions []wishedSession, prune bool) {
	w.t.Helper()
	file := "apiVersion: ovs-erspan/v1\nsessions:\n"
	if len(sessions) == 0 {
		file = "apiVersion: ovs-erspan/v1\nsessions: []\n"
	}
	for _, s := range sessions {
		file += s.yaml()
	}
	w.did("the file\n%s", file)
	w.applyFile(r, file, prune, func(x wish, order *[]string) (touched []string, code int) {
		if prune {
			for name := range x {
				if !slices.ContainsFunc(sessions, func(s wishedSession) bool { return s.name == name }) {
					delete(x, name)
				}
			}
		}
		for _, s := range sessions {
			_, _ = put(s)(x, order)
			touched = append(touched, s.name)
		}
		return touched, 0
	})
}

func (w *world) applyFile(r *rapid.T, file string, prune bool, c change) {
	w.t.Helper()
	args := []string{"apply", "-f", w.file(file)}
	if prune {
		args = append(args, "--prune")
	}
	w.command(r, true, c, args...)
}

// stepExport: what export prints, apply takes back, and nothing changes.
func (w *world) stepExport(r *rapid.T) {
	if w.wishHasNone() {
		return
	}
	w.did("export and apply --prune")
	w.applyFile(r, w.ok("export"), true, func(x wish, _ *[]string) ([]string, int) { return x.names(), 0 })
}

func (w *world) wishHasNone() bool { return len(w.wish) == 0 }

func (w *world) stepSwitch(r *rapid.T) {
	enable := rapid.Bool().Draw(r, "enable")
	word := "disable"
	if enable {
		word = "enable"
	}
	var names []string
	args := []string{"session", word}
	if all := drawBool(r, 20, "all"); all {
		names = w.wish.names()
		args = append(args, "--all")
	} else {
		names = []string{w.drawName(r)}
		args = append(args, names...)
	}
	w.command(r, true, func(x wish, _ *[]string) ([]string, int) {
		for _, name := range names {
			s, there := x[name]
			if !there {
				return nil, codeNoSession
			}
			s.disabled = !enable
			x[name] = s
		}
		if !enable {
			return nil, 0
		}
		return names, 0
	}, args...)
}

func (w *world) stepRemove(r *rapid.T) {
	names := []string{w.drawName(r)}
	if other := w.drawName(r); other != names[0] && drawBool(r, 30, "two") {
		names = append(names, other)
	}
	args := append([]string{"session", "remove"}, names...)
	ifExists := drawBool(r, 30, "if exists")
	if ifExists {
		args = append(args, "--if-exists")
	}
	w.command(r, true, func(x wish, _ *[]string) ([]string, int) {
		for _, name := range names {
			if _, there := x[name]; !there && !ifExists {
				return nil, codeNoSession
			}
			delete(x, name)
		}
		return nil, 0
	}, args...)
}

func (w *world) stepUninstall(r *rapid.T) {
	w.command(r, true, func(x wish, _ *[]string) ([]string, int) {
		clear(x)
		return nil, 0
	}, "uninstall", "--yes")
}

func (w *world) stepRunOnce(r *rapid.T) {
	want := codeInForce
	for _, s := range w.wish {
		if st := s.state(w.on); st != "Active" && st != "Disabled" {
			want = codeNotInForce
		}
	}
	if w.daemon != nil {
		return // it is refused then
	}
	w.did("run --once (want %d)", want)
	if got := w.oe("run", "--once"); got.code != want {
		w.fail("a command ends otherwise than expected", "exit %d, want %d\n%s%s", got.code, want, got.stdout, got.stderr)
	}
	w.inForce(w.wish)
}

// stepDaemon starts or ends the daemon.
func (w *world) stepDaemon(r *rapid.T) {
	if w.daemon != nil {
		if pick(r, "end", "stop", "kill") == "stop" {
			w.did("the daemon is stopped")
			if err := w.daemon.Stop(w.ctx); err != nil {
				w.fail("the daemon does not end well", "%v", err)
			}
		} else {
			w.did("the daemon is killed")
			w.must(w.daemon.Kill(w.ctx))
		}
		w.noRace()
		w.daemon = nil
		return
	}
	command := lab.Command{Args: []string{binary, "run", "-v"}, Env: []string{"GORACE=atexit_sleep_ms=10"}}
	if w.doomed = drawBool(r, 30, "doomed"); w.doomed {
		step := pick(r, "killed at", "rows-before", "deliveries", "flows", "rows-after", "revalidate", "rows-last")
		command.Env = append(command.Env, "OVS_ERSPAN_KILL_AT="+step)
		w.did("a daemon that will die at %s", step)
	} else {
		w.did("a daemon")
	}
	var err error
	w.daemon, err = w.host.Start(w.ctx, command)
	w.must(err)
	w.contested = 0
}

func (w *world) noRace() {
	w.t.Helper()
	if log := w.daemon.Stderr(); strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic:") {
		w.fail("the daemon races or panics", "%s", tail(log, 100))
	}
}

// stepFault does something to what is ours.
func (w *world) stepFault(r *rapid.T) {
	find := func(table, condition, column string) []string {
		out, err := w.host.Vsctl(w.ctx, "--bare", "--columns="+column, "find", table, condition)
		w.must(err)
		list := strings.Fields(out)
		slices.Sort(list)
		return list
	}
	ours := find("port", "external_ids:ovs-erspan!=nothing", "name")
	bridges := find("bridge", "external_ids:ovs-erspan!=nothing", "name")
	mirrors := find("mirror", "external_ids:ovs-erspan!=nothing", "name")
	type fault struct {
		name string
		do   func()
	}
	var faults []fault
	for _, b := range bridges {
		faults = append(faults,
			fault{"flows of " + b + " deleted", func() { w.ofctl("del-flows", b) }},
			fault{"flows of table 5 of " + b + " deleted", func() { w.ofctl("del-flows", b, "table=5") }},
			fault{"flows of table 30 of " + b + " deleted", func() { w.ofctl("del-flows", b, "table=30") }},
			fault{"a flow added to " + b, func() { w.ofctl("add-flow", b, "table=10,priority=500,actions=drop"); w.unknown = true }},
			fault{"bridge " + b + " deleted", func() { w.vsctl("del-br", b) }},
		)
	}
	if len(bridges) > 0 && w.contested < 2 {
		faults = append(faults, fault{"our flows on br0 deleted", func() {
			w.contested++
			w.ofctl("del-flows", "br0", "table=0,cookie=0xe25a000000000000/0xffff000000000000")
		}})
	}
	for _, p := range ours {
		if !slices.Contains(bridges, p) {
			faults = append(faults, fault{"port " + p + " deleted", func() { w.vsctl("del-port", p) }})
		}
	}
	for _, m := range mirrors {
		faults = append(faults, fault{"mirror " + m + " deleted", func() { w.vsctl("--id=@m", "get", "mirror", m, "--", "remove", "bridge", "br0", "mirrors", "@m") }})
		faults = append(faults, fault{"mirror " + m + " altered", func() { w.vsctl("set", "mirror", m, "select_all=true"); w.unknown = true }})
	}
	if len(faults) == 0 {
		return
	}
	// It takes everyone's mirrors, and opens our bridge.
	faults = append(faults, fault{"emer-reset", func() { w.vsctl("emer-reset"); w.unknown = true; w.changedByUs() }})
	n := rapid.IntRange(0, len(faults)-1).Draw(r, "fault")
	w.did("fault: %s", faults[n].name)
	if w.maybe == nil {
		w.maybe = []wish{}
	}
	faults[n].do()
}

// stepPort takes c's port away, or gives it back.
func (w *world) stepPort(*rapid.T) {
	const port = "vnet2"
	if w.on.ports[port] {
		w.did("port %s goes", port)
		w.must(w.host.Detach(w.ctx, port))
	} else {
		w.did("port %s comes", port)
		w.attach(port)
	}
	w.on.ports[port] = !w.on.ports[port]
	w.changedByUs()
}

// changedByUs notes that the test changed what is others', and that the sessions may have to follow.
func (w *world) changedByUs() {
	w.t.Helper()
	if w.maybe == nil {
		w.maybe = []wish{}
	}
	flows := w.before["flows of br0"] // none of which is about a port
	w.before = foreignState(w.scene, "br-ul", "br0")
	w.before["flows of br0"] = flows
}

// stepRestart kills ovs-vswitchd or ovsdb-server and starts it again.
func (w *world) stepRestart(r *rapid.T) {
	switch which := pick(r, "which", "ovs-vswitchd", "ovs-vswitchd", "ovsdb-server"); which {
	case "ovs-vswitchd":
		w.did("ovs-vswitchd is killed and starts again")
		w.must(w.host.KillVswitchd(w.ctx))
		w.must(w.host.StartVswitchd(w.ctx))
	case "ovsdb-server":
		w.did("ovsdb-server is killed and starts again")
		w.must(w.host.KillDB(w.ctx))
		w.must(w.host.StartDB(w.ctx))
	}
	w.must(w.host.WaitReady(w.ctx))
	w.addForeignFlows()
	if w.maybe == nil {
		w.maybe = []wish{}
	}
	w.outage()
}
