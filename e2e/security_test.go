//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// TestArgumentsReachNoProcess: with nothing in PATH but ovs-ofctl, every command works, so none needs a shell; and of what a
// user writes nothing is in ovs-ofctl's arguments.
func TestArgumentsReachNoProcess(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	dir := filepath.Join(s.lab.Dir(), "path")
	log := filepath.Join(dir, "log")
	s.must(os.Mkdir(dir, 0o755))
	recorder := fmt.Sprintf("#!/bin/sh\nfor a; do printf '%%s\\n' \"$a\"; done >>%s\nexec /usr/bin/ovs-ofctl \"$@\"\n", log)
	s.must(os.WriteFile(filepath.Join(dir, "ovs-ofctl"), []byte(recorder), 0o755))
	s.must(os.WriteFile(log, nil, 0o644))
	ok := func(stdin string, args ...string) {
		t.Helper()
		c := lab.Command{Env: []string{"PATH=" + dir}, Stdin: strings.NewReader(stdin)}
		if r := s.oeOn(s.host, c, args...); r.code != 0 && r.code != 3 { // 3: a source is not there
			t.Errorf("%q: exit %d: %s", args, r.code, r.stderr)
		}
	}
	const text = `marker $(touch pwned) \"; & | < > ' marker`
	ok("", "session", "add", "marker-a", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr, "--description", text,
		"--match", "tcp,tp_dst=4711", "--match-both-ways", "udp,udp_src=4711", "--deny", "ipv6,ipv6_label=0x4711", "--dscp", "46")
	ok("", "session", "add", "marker-b", "--type", "destination", "--bridge", "br0", "--output-port", "vnet1", "--from", collectorAddr, "--session-id", "471")
	ok("", "session", "set", "marker-a", "--add-match", "sctp,tp_dst=4711", "--allow-missing", "--add-source", "marker;$(id>pwned)")
	ok(asJSON(map[string]any{"apiVersion": "ovs-erspan/v1", "sessions": []any{map[string]any{"name": "marker-c", "bridge": "br0", "collectors": []string{collectorAddr},
		"description": text, "sources": map[string]any{"ports": []string{"vnet0", "vnet1;marker"}}, "match": []any{map[string]string{"deny": "tcp,tp_dst=4711"}}, "allowMissing": true}}}),
		"apply", "-f", "-", "--dry-run")
	for _, args := range []string{"session list", "session show marker-a", "session trace marker-a", "export", "session disable marker-a", "session enable marker-a",
		"session remove marker-a marker-b", "uninstall --yes"} {
		ok("", strings.Split(args, " ")...)
	}
	logged, err := os.ReadFile(log)
	s.must(err)
	allowed := regexp.MustCompile(`^(--[a-z-]+(=[A-Za-z0-9.,]+)?|[a-z]+(-[a-z]+)*|-|cookie=0x[0-9a-f]+/(0x[0-9a-f]+|-1)(,(table|priority|in_port)=[0-9]+)*|cookie=0x[0-9a-f]+(,(table|priority|in_port)=[0-9]+)*,actions=output:[0-9]+|unix:` + regexp.QuoteMeta(s.host.RunDir()) + `/[a-z0-9-]+\.mgmt)$`)
	seen := map[string]bool{}
	for line := range strings.Lines(string(logged)) {
		arg := strings.TrimSuffix(line, "\n")
		given := strings.ReplaceAll(arg, s.host.RunDir(), "") // a random name may have 4711 in it
		if seen[arg] = true; !allowed.MatchString(arg) || strings.Contains(given, "4711") || strings.Contains(given, "marker") {
			t.Errorf("ovs-ofctl got the argument %q", arg)
		}
	}
	if !seen["parse-flows"] {
		t.Errorf("ovs-ofctl was not asked: nothing was tested: %q", logged)
	}
	s.notPwned()
}

// notPwned holds that nothing which was written for a shell was run by one.
func (s *scene) notPwned() {
	s.t.Helper()
	for _, dir := range []string{".", "/", s.host.RunDir(), s.lab.Dir()} {
		if _, err := os.Stat(filepath.Join(dir, "pwned")); err == nil {
			s.t.Errorf("a shell ran what a user wrote: there is a file pwned in %s", dir)
		}
	}
}

// TestNamesStayNames: ports whose names would be something else in a flow, a shell or OVSDB's syntax are mirrored like any
// other; our rows' names and our flows have nothing of them, and nobody else's rows and flows are touched.
func TestNamesStayNames(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	names := []string{"a,actions=drop", "$(id>pwned)", "b;drop", "c=d", "e[0..3]", "-f", "reg0=1", "es-tun", "#g", "h\\i"}
	for _, name := range names {
		s.must(s.host.AddPort(s.ctx, "br0", name))
	}
	rows, err := s.host.DumpRows(s.ctx)
	s.must(err)
	foreign := func() map[string][]string {
		rows, err := s.host.DumpRows(s.ctx)
		s.must(err)
		all := map[string][]string{"rows": rows.Without("ovs-erspan").Lines()}
		for _, b := range []string{"br0", "br-ul"} {
			all[b], err = s.host.DumpFlows(s.ctx, b)
			s.must(err)
		}
		return all
	}
	before := foreign()
	ports := []any{"vnet0"}
	for _, name := range names {
		ports = append(ports, name)
	}
	doc := asJSON(map[string]any{"apiVersion": "ovs-erspan/v1", "sessions": []any{
		map[string]any{"name": "all", "bridge": "br0", "collectors": []string{collectorAddr}, "sources": map[string]any{"ports": ports}, "description": `";'<>&,=\`},
		map[string]any{"name": "to", "type": "destination", "bridge": "br0", "outputPort": "vnet1", "from": "any", "erspan": map[string]any{"sessionID": 9}},
	}})
	if r := s.oeOn(s.host, lab.Command{Stdin: strings.NewReader(doc)}, "apply", "-f", "-"); r.code != 0 {
		t.Fatalf("apply: exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	s.copies(1)
	flows, err := s.host.DumpFlows(s.ctx, tapBridge)
	s.must(err)
	for _, f := range flows {
		if !strings.Contains(f, "cookie=0xe25a") {
			t.Errorf("a flow that is not one of ours: %s", f)
		}
		for _, name := range names[:4] {
			if strings.Contains(f, name) {
				t.Errorf("a flow has the name %q in it: %s", name, f)
			}
		}
	}
	ours := regexp.MustCompile(`^(br-erspan-nd|es-[a-z0-9-]+|ovs-erspan-[0-9a-f]+)$`)
	known := map[string]bool{}
	for _, r := range rows {
		known[r.UUID] = true
	}
	after, err := s.host.DumpRows(s.ctx)
	s.must(err)
	for _, r := range after {
		if !known[r.UUID] && r.Name != "" && !ours.MatchString(r.Name) {
			t.Errorf("a row of table %s has the name %q", r.Table, r.Name)
		}
	}
	var shown struct{ Effective struct{ Ports []string } }
	s.must(json.Unmarshal([]byte(s.ok("session", "show", "all", "-o", "json")), &shown))
	want := append(slices.Clone(names), "vnet0")
	slices.Sort(want)
	if diff := cmp.Diff(want, shown.Effective.Ports); diff != "" {
		t.Errorf("mirrored (-want +got):\n%s", diff)
	}
	during := foreign()
	// The one flow of a delivery is allowed, and the references to our rows are left out above.
	during["br0"] = slices.DeleteFunc(during["br0"], func(f string) bool { return strings.Contains(f, "cookie=0xe25a") })
	if diff := cmp.Diff(before, during); diff != "" {
		t.Errorf("others' rows and flows (-before +during):\n%s", diff)
	}
	s.ok("uninstall", "--yes")
	if diff := cmp.Diff(before, foreign()); diff != "" {
		t.Errorf("others' rows and flows (-before +after):\n%s", diff)
	}
	s.notPwned()
}

// TestFilesAreOurs: what the commands write can be read by nobody else, whatever the umask.
func TestFilesAreOurs(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	before, err := filepath.Glob(s.host.RunDir() + "/*")
	s.must(err)
	_, stderr, err := s.host.Exec(s.ctx, "/bin/sh", "-c", `umask 0; "$@"`, "sh", binary, "session", "add", "a", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr)
	if err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	after, err := filepath.Glob(s.host.RunDir() + "/*")
	s.must(err)
	made := slices.DeleteFunc(after, func(f string) bool {
		base := filepath.Base(f)
		return slices.Contains(before, f) || strings.HasPrefix(base, tapBridge+".") // Open vSwitch's own sockets
	})
	if len(made) != 1 || filepath.Base(made[0]) != "ovs-erspan.lock" {
		t.Errorf("files were made: %q, want the lock only", made)
	}
	for _, f := range made {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm()&0o137 != 0 {
			t.Errorf("%s: mode %v, %v, want 0600 or 0640", f, info.Mode(), err)
		}
	}
}
