//go:build linux

package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDryRun: --dry-run of each command that changes something changes nothing, and shows exactly the rows and flows that
// the command then changes.
func TestDryRun(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.add("gap", "--source", "vnet0")
	s.add("stays", "--source", "vnet1")
	s.ok("session", "remove", "gap") // its slot is free
	dump := func() []string {
		rows, err := s.host.DumpRows(s.ctx)
		s.must(err)
		flows, err := s.host.DumpFlows(s.ctx, tapBridge)
		s.must(err)
		return append(rows.Lines(), flows...)
	}
	for _, command := range [][]string{
		{"session", "add", "one", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr, "--match", "tcp,tp_dst=443", "--deny", "icmp"},
		{"session", "add", "two", "--bridge", "br0", "--source", "vnet0", "--collector", collector6, "--erspan-version", "2", "--dscp", "10"},
		{"session", "add", "in", "--type", "destination", "--bridge", "br0", "--output-port", "vnet1", "--from", "any", "--session-id", "7"},
		{"session", "set", "one", "--unset", "match", "--snaplen", "64", "--add-collector", collector6},
		{"session", "disable", "two"},
		{"session", "enable", "two"},
		{"session", "remove", "one", "in"},
	} {
		if slices.Contains(command, "in") && slices.Contains(command, "add") {
			s.ok("session", "remove", "stays") // its source would be the output port
		}
		before := dump()
		shown := s.ok(append(command, "--dry-run", "-o", "json")...)
		if diff := cmp.Diff(before, dump()); diff != "" {
			t.Errorf("%v --dry-run changed:\n%s", command, diff)
		}
		s.ok(append(command, "--no-wait")...)
		r := s.oe("plan", "-o", "json")
		if r.code != 3 {
			t.Errorf("%v: plan ends with %d: %s", command, r.code, r.stderr)
		}
		if diff := cmp.Diff(shown, r.stdout); diff != "" {
			t.Errorf("%v (-shown by --dry-run +done):\n%s", command, diff)
		}
		again := s.ok("run", "--once", "--dry-run", "-o", "json")
		if diff := cmp.Diff(shown, again); diff != "" {
			t.Errorf("run --once --dry-run after %v:\n%s", command, diff)
		}
		s.ok("run", "--once")
		s.nothingToDo()
	}
	if r := s.oe("session", "add", "bad", "--bridge", "br0", "--source", "nothere", "--collector", collectorAddr, "--dry-run"); r.code != 2 {
		t.Errorf("what would be refused: exit %d, %s", r.code, r.stderr)
	}
	// What doctor warns of about the session that would change, and only then.
	shown := s.ok("session", "add", "https", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr, "--session-id", "77", "--match", "tcp,tp_dst=443", "--dry-run")
	if !strings.Contains(shown, "checks:") || !strings.Contains(shown, "(https)") || !strings.Contains(shown, "tp_dst") {
		t.Errorf("no check of doctor about what would change:\n%s", shown)
	}
	if out := s.oe("plan").stdout; strings.Contains(out, "checks:") {
		t.Errorf("checks where nothing changes:\n%s", out)
	}
	before := dump()
	if out := s.ok("uninstall", "--yes", "--dry-run"); !strings.Contains(out, "- bridge "+tapBridge) || !strings.Contains(out, "- mirror") {
		t.Errorf("uninstall --dry-run:\n%s", out)
	}
	if diff := cmp.Diff(before, dump()); diff != "" {
		t.Errorf("uninstall --dry-run changed:\n%s", diff)
	}
}
