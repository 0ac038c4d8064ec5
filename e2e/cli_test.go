//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// everything is all rows and flows, ours included.
func everything(s *scene) map[string][]string {
	s.t.Helper()
	rows, err := s.host.DumpRows(s.ctx)
	s.must(err)
	all := map[string][]string{"rows": rows.Lines()}
	for _, b := range []string{"br0", "br-ul", tapBridge} {
		all[b], err = s.host.DumpFlows(s.ctx, b)
		s.must(err)
	}
	return all
}

// TestCommands: the rest of a user's day.
func TestCommands(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	rows, err := s.host.DumpRows(s.ctx)
	s.must(err)
	before := rows.Lines()
	s.add("one", "--source", "vnet0", "--description", "a, \"quoted\" text", "--match", "tcp,tp_dst=443", "--deny", "icmp")
	s.add("one", "--source", "vnet0", "--may-exist", "--session-id", "7")
	s.add("two", "--all-ports", "--erspan-version", "II", "--vlan", "10,20", "--collector", collector6)
	if r := s.oe("session", "show", "thre"); r.code != 4 || !strings.Contains(r.stderr, "one") {
		t.Errorf("a session that does not exist: exit %d: %s", r.code, r.stderr)
	}
	if r := s.oe("session", "remove", "three"); r.code != 4 {
		t.Errorf("remove: exit %d", r.code)
	}
	s.ok("session", "remove", "three", "--if-exists")

	var fault struct {
		ExitCode int
		Errors   []struct{ Message, Field string }
	}
	r := s.oe("session", "add", "x", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr, "--session-id", "1024", "-o", "json")
	if err := json.Unmarshal([]byte(r.stderr), &fault); err != nil || fault.ExitCode != 2 || len(fault.Errors) == 0 || fault.Errors[0].Field != "erspan.sessionID" {
		t.Errorf("the error as JSON: %v: %s", err, r.stderr)
	}

	// What is exported is what is there, and applying it changes nothing.
	exported := s.ok("export")
	file := filepath.Join(s.lab.Dir(), "exported.yaml")
	s.must(os.WriteFile(file, []byte(exported), 0o600))
	during := everything(s)
	s.ok("apply", "-f", file, "--prune")
	if diff := cmp.Diff(during, everything(s)); diff != "" {
		t.Errorf("applying what was exported changed something:\n%s", diff)
	}
	more := exported + "- {name: three, bridge: br0, sources: {ports: [vnet1]}, collectors: [192.0.2.9]}\n"
	s.must(os.WriteFile(file, []byte(more), 0o600))
	if out := s.ok("apply", "-f", file, "--dry-run"); !strings.Contains(out, "+ mirror") {
		t.Errorf("the dry run shows no mirror:\n%s", out)
	}
	if diff := cmp.Diff(during, everything(s)); diff != "" {
		t.Errorf("a dry run changed something:\n%s", diff)
	}
	s.ok("apply", "-f", file)
	bad := exported + "- {name: four, bridge: br0, sources: {ports: [vnet1]}, collectors: [224.0.0.1]}\n- {name: five, bridge: br0, sources: {ports: [vnet1]}, collectors: [192.0.2.9]}\n"
	s.must(os.WriteFile(file, []byte(bad), 0o600))
	if said := s.refused("apply", "-f", file); !strings.Contains(said, "four") {
		t.Errorf("apply with one bad session: %s", said)
	}
	if out := s.ok("session", "list"); strings.Contains(out, "five") || !strings.Contains(out, "three") {
		t.Errorf("apply did half of a file:\n%s", out)
	}
	s.must(os.WriteFile(file, []byte(exported), 0o600))
	s.ok("apply", "-f", file, "--prune")
	if out := s.ok("session", "list"); strings.Contains(out, "three") {
		t.Errorf("prune left a session:\n%s", out)
	}

	for args, want := range map[string]string{
		"session add x --bridge ":              "br0\nbr-ul",
		"session add x --bridge br0 --source ": "vnet0",
		"session show ":                        "one\ntwo",
		"session remove one ":                  "two",
		"session set one --unset ":             "snaplen",
	} {
		out := s.ok(append([]string{"__complete"}, strings.Split(args, " ")...)...)
		for _, word := range strings.Split(want, "\n") {
			if !strings.Contains(out, word) {
				t.Errorf("completing %q does not offer %q:\n%s", args, word, out)
			}
		}
	}
	s.ok("uninstall", "--yes")
	rows, err = s.host.DumpRows(s.ctx)
	s.must(err)
	if diff := cmp.Diff(before, rows.Lines()); diff != "" {
		t.Errorf("uninstall left a trace:\n%s", diff)
	}
}

// TestBrokenKeyInTheStore: a key that someone wrote by hand and that cannot be read is reported, harms no other session,
// and can be removed.
func TestBrokenKeyInTheStore(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.add("good", "--source", "vnet0")
	for n, value := range []string{"not JSON", `{"slot":1}`, `{"slot":77,"spec":{"name":"bad2","erspan":{"sessionID":4096}}}`} {
		_, err := s.host.Vsctl(s.ctx, "set", "open_vswitch", ".", fmt.Sprintf("external_ids:ovs-erspan.session.bad%d=%q", n, value))
		s.must(err)
	}
	s.oe("run", "--once")
	for n := range 3 {
		if state, reason := s.state(fmt.Sprintf("bad%d", n)); state != "Failed" || reason != "Invalid" {
			t.Errorf("bad%d: %s, %s", n, state, reason)
		}
	}
	if state, _ := s.state("good"); state != "Active" {
		t.Errorf("good is %s", state)
	}
	s.add("another", "--source", "vnet1")
	s.ok("session", "remove", "bad0", "bad1", "bad2")
	s.nothingToDo()
	s.copies(2)
}

// TestNoOpenVSwitch: where none runs, the message names the socket.
func TestNoOpenVSwitch(t *testing.T) {
	t.Parallel()
	s := newLab(t)
	r := s.oeOn(s.host, lab.Command{}, "session", "list", "--ovs-rundir", "/does/not/exist")
	if r.code != 1 || !strings.Contains(r.stderr, "/does/not/exist/db.sock") {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
}
