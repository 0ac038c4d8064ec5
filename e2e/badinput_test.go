//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// newInputScene has what the table of inputs speaks of: sessions "src" (of vnet0), "taken" (session id 6) and "dst" (to
// vnet1), a patch, a bond, and ports on another bridge.
func newInputScene(t *testing.T) *scene {
	s := newScene(t)
	_, err := s.host.Vsctl(s.ctx, "add-br", "br1", "--", "set", "bridge", "br1", "datapath_type=netdev",
		"--", "add-port", "br1", "other0", "--", "set", "interface", "other0", "type=internal",
		"--", "add-bond", "br1", "bond0", "m0", "m1", "--", "set", "interface", "m0", "type=internal", "--", "set", "interface", "m1", "type=internal",
		"--", "add-port", "br0", "to1", "--", "set", "interface", "to1", "type=patch", "options:peer=to0",
		"--", "add-port", "br1", "to0", "--", "set", "interface", "to0", "type=patch", "options:peer=to1")
	s.must(err)
	s.add("src", "--source", "vnet0", "--session-id", "5")
	s.add("taken", "--source", "vnet0", "--session-id", "6")
	s.ok("session", "add", "dst", "--type", "destination", "--bridge", "br0", "--output-port", "vnet1", "--from", collectorAddr, "--session-id", "77")
	return s
}

// attempt is one command line of the table.
type attempt struct {
	input
	way   string
	args  []string
	stdin string
}

// attempts are the inputs by command.
func attempts(class func(input) bool) []attempt {
	var all []attempt
	for n, i := range inputs() {
		if !class(i) {
			continue
		}
		name := fmt.Sprintf("x%d", n)
		if i.field == "name" {
			name, _ = i.value.(string)
		}
		if i.ways&byAdd != 0 {
			args := []string{"session", "add"}
			if i.field == "name" {
				args = append(args, input{}.flags(true)...)
			} else {
				args = append(args, i.flags(true)...)
			}
			all = append(all, attempt{i, "session add", append(args, "--", name), ""})
		}
		if i.ways&bySet != 0 {
			target := "src"
			if i.destination {
				target = "dst"
			}
			all = append(all, attempt{i, "session set", append([]string{"session", "set", target}, i.flags(false)...), ""})
		}
		if i.ways&byYAML != 0 {
			// A good session comes first: that of a refused file none is applied is part of what is tested.
			doc := map[string]any{"apiVersion": "ovs-erspan/v1", "sessions": []any{input{}.object("beside"), i.object(name)}}
			all = append(all, attempt{i, "apply", []string{"apply", "-f", "-"}, asJSON(doc)})
		}
	}
	return all
}

// badDocuments are what apply is given and is no list of sessions at all, and what it then says.
var badDocuments = map[string]struct{ text, says string }{
	"nothing":            {"", "is empty"},
	"no version":         {"sessions: []", "apiVersion: is required"},
	"other version":      {"apiVersion: v2\nsessions: []", "want ovs-erspan/v1"},
	"no sessions":        {"apiVersion: ovs-erspan/v1", "sessions: is required"},
	"two documents":      {"apiVersion: ovs-erspan/v1\nsessions: []\n---\na: b\n", "second document"},
	"an alias":           {"apiVersion: ovs-erspan/v1\nsessions: [&a {name: x}, *a]", "anchors and aliases are not supported"},
	"a thousand aliases": {"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b,*b]", "no such field"},
	"a tag":              {"apiVersion: !!binary b3ZzLWVyc3Bhbi92MQ==\nsessions: []", "tags are not supported"},
	"not closed":         {"apiVersion: [", "YAML"},
	"a NUL":              {"apiVersion: ovs-erspan/v1\nsessions: []\n#\x00", `line 3: YAML "\x00": control characters`},
	"not UTF-8":          {"apiVersion: ovs-erspan/v1\nsessions: [{name: \xff}]", "YAML"},
	"brackets":           {strings.Repeat("[", 1<<20), "YAML"},
	"commas":             {"[" + strings.Repeat("a,", 1<<20) + "]", "at most 400000"},
	"more than 8 MB":     {strings.Repeat("#", 8<<20+1), "larger than 8388608 bytes"},
}

// asJSON is JSON, and so YAML as well, in which what cannot be printed is escaped: YAML has no other way to write it.
func asJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	var b strings.Builder
	for _, r := range string(text) {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "\\u%04x", r)
		}
	}
	return b.String()
}

// run runs it. Attempts run at the same time.
func (a attempt) run(s *scene, more ...string) (result, error) {
	flags := slices.IndexFunc(a.args, func(arg string) bool { return strings.HasPrefix(arg, "-") })
	return s.tryPlain(a.stdin, slices.Insert(slices.Clone(a.args), flags, more...)...)
}

// tryPlain runs the binary that has no race detector; no test fails by it, so that several can run at the same time.
func (s *scene) tryPlain(stdin string, args ...string) (result, error) {
	stdout, stderr, err := s.host.Run(s.ctx, lab.Command{Args: append([]string{plainBinary, "--timeout=1m"}, args...), Stdin: strings.NewReader(stdin)})
	r := result{stdout: stdout, stderr: stderr}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.code, err = exit.ExitCode(), nil
	}
	return r, err
}

func (s *scene) plain(args ...string) result {
	s.t.Helper()
	r, err := s.tryPlain("", args...)
	s.must(err)
	return r
}

func (a attempt) String() string { return a.way + ": " + a.input.String() }

// longestMessage bounds what a refusal says, in bytes: a screenful of faults, and never the input itself.
const longestMessage = 40_000

// messageFault is what is wrong with a refusal's text, apart from its contents.
func messageFault(text string) string {
	if len(text) > longestMessage {
		return fmt.Sprintf("is %d bytes long", len(text))
	}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "ovs-erspan: ") {
			return fmt.Sprintf("has the line %q", line)
		}
		if i := strings.IndexFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
			return fmt.Sprintf("has a control character: %q", line)
		}
	}
	return ""
}

// inParallel does the attempts, several at a time, and returns what is wrong with them.
func inParallel(all []attempt, try func(attempt) string) []string {
	const workers = 4
	var (
		mu    sync.Mutex
		wait  sync.WaitGroup
		wrong []string
		work  = make(chan attempt)
	)
	for range workers {
		wait.Go(func() {
			for a := range work {
				if fault := try(a); fault != "" {
					mu.Lock()
					wrong = append(wrong, a.String()+": "+fault)
					mu.Unlock()
				}
			}
		})
	}
	for _, a := range all {
		work <- a
	}
	close(work)
	wait.Wait()
	slices.Sort(wrong)
	return wrong
}

// TestBadInput: each field with each class of fault, by each command that takes it: refused with a message that names the
// field, the value and what to do, and nothing is changed.
func TestBadInput(t *testing.T) {
	t.Parallel()
	s := newInputScene(t)
	before := everything(s)
	all := attempts(func(i input) bool { return i.class != "at" })
	for name, doc := range badDocuments {
		all = append(all, attempt{input{class: name, shown: "-", says: []string{doc.says}}, "apply", []string{"apply", "-f", "-"}, doc.text})
	}
	t.Logf("%d commands", len(all))
	wrong := inParallel(all, func(a attempt) string {
		r, err := a.run(s)
		switch fault := messageFault(r.stderr); {
		case err != nil:
			return err.Error()
		case r.code != 2:
			return fmt.Sprintf("exit %d, want 2 (refused): %.300s%.300s", r.code, r.stdout, r.stderr)
		case fault != "":
			return "the refusal " + fault
		}
		if unsaid := a.unsaid(r.stderr); len(unsaid) > 0 {
			return fmt.Sprintf("the refusal does not say %q: %.400s", unsaid, r.stderr)
		}
		return ""
	})
	for _, w := range wrong {
		t.Error(w)
	}
	if diff := cmp.Diff(before, everything(s)); diff != "" {
		t.Errorf("refused commands changed something (-before +after):\n%s", diff)
	}
}

// TestBadInputCoversEachField: a field that a session gets later is in the table as well.
func TestBadInputCoversEachField(t *testing.T) {
	t.Parallel()
	s := newLab(t)
	r, err := s.tryPlain("apiVersion: ovs-erspan/v1\nsessions: [{name: x, qqq: 1, erspan: {qqq: 1}, sources: {qqq: 1}, match: [{qqq: 1}]}]", "apply", "-f", "-")
	s.must(err)
	tested := map[string]map[string]bool{}
	for _, i := range inputs() {
		if tested[i.field] == nil {
			tested[i.field] = map[string]bool{}
		}
		tested[i.field][i.class] = true
	}
	fields := 0
	for _, m := range regexp.MustCompile(`(?m)(\S*)\bqqq: there is no such field; want one of (.*)$`).FindAllStringSubmatch(r.stderr, -1) {
		for _, f := range strings.Split(m[2], ", ") {
			path := strings.Replace(m[1], "[0]", "", 1) + f
			fields++
			if len(tested[path]) == 0 {
				t.Errorf("no input is about %s", path)
			}
			if !tested[path]["wrong type"] {
				t.Errorf("no input gives %s a wrong type", path)
			}
		}
	}
	if fields < 20 {
		t.Errorf("only %d fields were listed: %s", fields, r.stderr)
	}
}

// listed is one element of `session list -o json`.
type listed struct {
	Name   string
	Status struct{ State, Reason, Message string }
}

func (s *scene) listed() map[string]listed {
	s.t.Helper()
	var all []listed
	r := s.plain("session", "list", "-o", "json")
	if r.code != 0 {
		s.t.Fatalf("session list: exit %d: %s", r.code, r.stderr)
	}
	s.must(json.Unmarshal([]byte(r.stdout), &all))
	byName := map[string]listed{}
	for _, l := range all {
		byName[l.Name] = l
	}
	return byName
}

// badKeys are the inputs as keys that somebody wrote by hand, and what `session list` has to say of each, by name.
func badKeys() (keys map[string]string, says map[string]func(message string) []string) {
	keys, says = map[string]string{}, map[string]func(string) []string{}
	put := func(name, text string, unsaid func(string) []string) {
		keys["ovs-erspan.session."+name], says[name] = text, unsaid
	}
	for n, i := range inputs() {
		if i.ways&byStore == 0 || i.class == "at" || i.state != "" {
			continue
		}
		name, spec := fmt.Sprintf("x%d", n), i.stored(fmt.Sprintf("x%d", n), 7+n%1000)
		if text, ok := i.value.(string); ok && i.field == "name" && i.class != "contradiction" {
			name = text
		}
		put(name, asJSON(map[string]any{"slot": 1000 + n, "spec": spec}), i.unsaid)
	}
	id := 1007
	good := func(name string) map[string]any {
		id = 1007 + (id+1)%16
		return input{}.stored(name, id)
	}
	entry := func(name string, slot any, more map[string]any) string {
		all := map[string]any{"slot": slot, "spec": good(name)}
		maps.Copy(all, more)
		return asJSON(all)
	}
	says1 := func(words ...string) func(string) []string {
		return func(message string) []string {
			return slices.DeleteFunc(slices.Clone(words), func(w string) bool { return strings.Contains(message, w) })
		}
	}
	put("k-empty", "", says1("EOF"))
	put("k-text", "not JSON", says1("invalid character"))
	put("k-list", "[]", says1("array"))
	put("k-null", "null", says1("slot 0"))
	put("k-behind", entry("k-behind", 500, nil)+" {}", says1("after its end"))
	put("k-deep", `{"slot":501,"spec":`+strings.Repeat("[", 1<<20), says1("values: want at most"))
	put("k-deeper", `{"slot":501,"spec":`+strings.Repeat("[", 1<<20)+strings.Repeat("]", 1<<20)+"}", says1("values: want at most"))
	put("k-unknown", entry("k-unknown", 502, map[string]any{"colour": "red"}), says1("colour"))
	put("k-unknown-huge", entry("k-unknown-huge", 503, map[string]any{megabytes: 1}), says1("unknown field"))
	put("k-no-slot", asJSON(map[string]any{"spec": good("k-no-slot")}), says1("slot 0", "want 1.."))
	for _, slot := range []json.Number{"0", "-1", "2147483649", "4294967296", "1e400", "1.5"} {
		put("k-slot"+strings.NewReplacer(".", "p").Replace(slot.String()), entry("k-slot"+strings.NewReplacer(".", "p").Replace(slot.String()), slot, nil), says1("slot"))
	}
	put("k-slot-text", entry("k-slot-text", "7", nil), says1("slot"))
	put("k-slot-taken", entry("k-slot-taken", 1, nil), says1("slot 1 is that of session"))
	put("k-identities", entry("k-identities", 504, map[string]any{"identities": []any{"x"}}), says1("identities"))
	put("k-spec-null", entry("k-spec-null", 505, map[string]any{"spec": nil}), says1("name"))
	return keys, says
}

// TestBadStoreKeys: what somebody wrote into the store by hand, each field with each class of fault, is reported as Failed
// with a reason that names field, value and what to do; it harms no other session, and not a row or flow is changed.
func TestBadStoreKeys(t *testing.T) {
	t.Parallel()
	s := newInputScene(t)
	foreign := func() map[string][]string {
		all := everything(s)
		all["rows"] = slices.DeleteFunc(all["rows"], isStoreLine)
		return all
	}
	before := foreign()
	keys, says := badKeys()
	t.Logf("%d keys", len(keys))
	s.must(s.host.PutKeys(s.ctx, keys))
	if r := s.plain("run", "--once"); r.code != 3 || !strings.HasPrefix(r.stdout, "nothing to do") || messageFault(r.stderr) != "" {
		t.Errorf("run --once: exit %d, want 3 (not all is in force), and nothing to do: %s%.2000s", r.code, r.stdout, r.stderr)
	}
	check := func() {
		t.Helper()
		sessions := s.listed()
		for name, unsaid := range says {
			got, there := sessions[name]
			message := got.Status.Message
			switch {
			case !there && len(name) > 300:
				if more := sessions["(more)"]; !strings.Contains(more.Status.Message, "1 keys ovs-erspan.session.") {
					t.Errorf("a key of %d bytes is not told of: %q", len(name), more.Status.Message)
				}
			case !there:
				t.Errorf("%.60q is not listed", name)
			case got.Status.State != "Failed" || got.Status.Reason != "Invalid":
				t.Errorf("%.60q, %.60q: %s, %s", name, keys["ovs-erspan.session."+name], got.Status.State, got.Status.Reason)
			case !strings.Contains(message, "external_ids") && !strings.HasPrefix(message, "match["):
				t.Errorf("%.60q: the message does not name the key: %q", name, message)
			case len(message) > longestMessage/10 || strings.ContainsFunc(message, func(r rune) bool { return !unicode.IsPrint(r) }):
				t.Errorf("%.60q: a message of %d bytes: %.200q", name, len(message), message)
			default:
				if missing := unsaid(message); len(missing) > 0 {
					t.Errorf("%.60q, %.60q: the message does not say %q: %s", name, keys["ovs-erspan.session."+name], missing, message)
				}
			}
		}
		for _, name := range []string{"src", "taken", "dst"} {
			if got := sessions[name]; got.Status.State != "Active" {
				t.Errorf("%s is %s, %s: %s", name, got.Status.State, got.Status.Reason, got.Status.Message)
			}
		}
		if diff := cmp.Diff(before, foreign()); diff != "" {
			t.Errorf("bad keys changed something (-before +after):\n%s", diff)
		}
	}
	check()
	if text := messageFault(strings.ReplaceAll("\n"+strings.TrimSuffix(s.plain("session", "list").stdout, "\n"), "\n", "\novs-erspan: ")[1:]); strings.Contains(text, "control") {
		t.Errorf("the table %s", text)
	}
}

// isStoreLine tells the lines of rows that the store, or a copy of it, is in.
func isStoreLine(line string) bool {
	return strings.HasPrefix(line, "Open_vSwitch ") || strings.HasPrefix(line, "Queue ") || strings.HasPrefix(line, "Bridge "+tapBridge+" ") && strings.Contains(line, ": external_ids=")
}

// TestBadStoreKeysWithDaemon: the same while the daemon runs: it reports what is bad, goes on, and copies are as before.
func TestBadStoreKeysWithDaemon(t *testing.T) {
	t.Parallel()
	s := newInputScene(t)
	s.daemon().ready()
	before := everything(s)
	all, _ := badKeys()
	keys := map[string]string{}
	for n, key := range slices.Sorted(maps.Keys(all)) {
		// The race detector is slow, and each field and class is in the table several times.
		if len(key)+len(all[key]) < 10_000 && (n%4 == 0 || strings.HasPrefix(key, "ovs-erspan.session.k-")) {
			keys[key] = all[key]
		}
	}
	s.must(s.host.PutKeys(s.ctx, keys))
	reported := func() (missing []string, rows lab.Rows) {
		rows, err := s.host.DumpRows(s.ctx)
		s.must(err)
		ids := rows.Store()
		for key := range keys {
			status := ids["ovs-erspan.status."+strings.TrimPrefix(key, "ovs-erspan.session.")]
			if !strings.Contains(status, `"state":"Failed","reason":"Invalid","message":"`) {
				missing = append(missing, key+": "+status)
			}
		}
		return missing, rows
	}
	s.must(lab.Until(s.ctx, "the daemon has reported each bad key", func(context.Context) error {
		if missing, _ := reported(); len(missing) > 0 {
			return fmt.Errorf("of %d keys %d are not reported, such as %.200q", len(keys), len(missing), missing[0])
		}
		return nil
	}))
	for _, name := range []string{"src", "taken", "dst"} {
		if state, reason := s.state(name); state != "Active" {
			t.Errorf("%s is %s, %s", name, state, reason)
		}
	}
	after := everything(s)
	for _, all := range []map[string][]string{before, after} {
		all["rows"] = slices.DeleteFunc(all["rows"], isStoreLine)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("bad keys changed something (-before +after):\n%s", diff)
	}
	s.copies(2)
	// A good key among the bad ones is put in force.
	s.add("more", "--source", "vnet0")
	s.copies(3)
}

// TestUnfitStoreKeys: a session in the store that is well-formed, but does not fit this host or the other sessions, says
// why it is not in force; the others stay as they are.
func TestUnfitStoreKeys(t *testing.T) {
	t.Parallel()
	s := newInputScene(t)
	keys, want := map[string]string{}, map[string]input{}
	for n, i := range inputs() {
		if i.ways&byStore == 0 || i.state == "" {
			continue
		}
		name := fmt.Sprintf("z%d", n)
		spec := i.stored(name, 7+n%1000)
		keys["ovs-erspan.session."+name], want[name] = asJSON(map[string]any{"slot": 1000 + n, "spec": spec}), i
	}
	s.must(s.host.PutKeys(s.ctx, keys))
	if r := s.oe("run", "--once"); r.code != 3 {
		t.Errorf("run --once: exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	sessions := s.listed()
	for name, i := range want {
		got := sessions[name].Status
		if got.State != i.state || i.reason != "" && got.Reason != i.reason || got.Message == "" {
			t.Errorf("%s: %s is %s, %s (%s), want %s, %s", i, name, got.State, got.Reason, got.Message, i.state, i.reason)
		}
	}
	for _, name := range []string{"src", "taken", "dst"} {
		if got := sessions[name].Status; got.State != "Active" {
			t.Errorf("%s is %s, %s: %s", name, got.State, got.Reason, got.Message)
		}
	}
	t.Logf("%d sessions", len(want))
}

// TestLimitsAreTaken: what stands exactly at a limit is taken, by every way in.
func TestLimitsAreTaken(t *testing.T) {
	t.Parallel()
	s := newInputScene(t)
	var (
		list  []any
		names []string
	)
	ids := map[string]bool{}
	for n, i := range inputs() {
		if i.class != "at" || i.ways&byFile != byFile {
			continue
		}
		name := fmt.Sprintf("l%d", n)
		spec := i.object(name)
		header, _ := spec["erspan"].(map[string]any)
		if i.field == "erspan.sessionID" && ids[fmt.Sprint(i.destination, i.value)] {
			continue // 1023 and 0x3ff
		}
		ids[fmt.Sprint(i.destination, i.value)] = true
		if i.destination && i.field != "erspan.sessionID" {
			header["sessionID"] = 100 + len(list)
		}
		list, names = append(list, spec), append(names, name)
	}
	doc := asJSON(map[string]any{"apiVersion": "ovs-erspan/v1", "sessions": list})
	r, err := s.tryPlain(doc, "apply", "-f", "-")
	s.must(err)
	if r.code != 0 && r.code != 3 {
		t.Fatalf("apply: exit %d: %.3000s", r.code, r.stderr)
	}
	check := func(way string) {
		t.Helper()
		sessions := s.listed()
		active := 0
		for _, name := range names {
			switch got := sessions[name].Status; {
			case got.State == "Active":
				active++
			case got.State != "Pending" && got.State != "Degraded" || got.Reason != "SourceMissing" && got.Reason != "BridgeMissing" && got.Reason != "OutputPortMissing":
				t.Errorf("%s: %s is %s, %s: %s", way, name, got.State, got.Reason, got.Message)
			}
		}
		t.Logf("%s: %d sessions, %d of them Active", way, len(names), active)
	}
	check("apply")

	// The same as keys that somebody writes by hand.
	rows, err := s.host.DumpRows(s.ctx)
	s.must(err)
	keys := map[string]string{}
	for key, value := range rows.Store() {
		if name, ok := strings.CutPrefix(key, "ovs-erspan.session."); ok && slices.Contains(names, name) {
			keys[key] = value
		}
	}
	s.plain(append([]string{"session", "remove"}, names...)...)
	s.must(s.host.PutKeys(s.ctx, keys))
	s.plain("run", "--once")
	check("by hand")
	s.plain(append([]string{"session", "remove"}, names...)...)

	// One at a time by flags, and by a file.
	for _, w := range inParallel(attempts(func(i input) bool { return i.class == "at" }), func(a attempt) string {
		r, err := a.run(s, "--dry-run")
		if err != nil {
			return err.Error()
		}
		if r.code != 0 {
			return fmt.Sprintf("exit %d: %.500s", r.code, r.stderr)
		}
		return ""
	}) {
		t.Error(w)
	}
}
