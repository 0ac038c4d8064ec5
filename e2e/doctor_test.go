//go:build linux

package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// finding is a result of `doctor -o json`.
type finding struct{ ID, Level, Session, Saw, Do string }

// doctor runs the checks, and returns the findings by id and the exit code.
func (s *scene) doctor(args ...string) (map[string][]finding, int) {
	s.t.Helper()
	r := s.oe(append([]string{"doctor", "-o", "json"}, args...)...)
	var list []finding
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil {
		s.t.Fatalf("exit %d: %v\n%s%s", r.code, err, r.stdout, r.stderr)
	}
	byID := map[string][]finding{}
	for _, f := range list {
		byID[f.ID] = append(byID[f.ID], f)
	}
	return byID, r.code
}

// TestDoctor: on a real host the checks see what is there: a session that works, a dead collector, and faults that are
// made one by one.
func TestDoctor(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.daemon().ready()
	s.add("web", "--source", "vnet0")
	found, code := s.doctor()
	if code == 1 {
		t.Errorf("exit %d: %+v", code, found)
	}
	for _, id := range []string{"ovsdb", "vswitchd", "version", "store", "daemon", "in-force", "datapath-type", "erspan-support", "foreign-tunnels",
		"offload", "megaflows", "sessions", "own-address", "route", "neighbor", "path-mtu", "mirror-slots", "packet-budget", "match-cost", "patch-ports", "large-mtu"} {
		for _, f := range found[id] {
			if f.Level != "ok" {
				t.Errorf("%s: %s: %s", id, f.Level, f.Saw)
			}
		}
	}
	s.ok("session", "add", "tcp", "--bridge", "br0", "--source", "vnet1", "--collector", collectorAddr, "--match", "tcp,tp_dst=443")
	_, err := s.host.Vsctl(s.ctx, "set", "open", ".", "other_config:hw-offload=true", "--", "--id=@n", "create", "netflow", "targets=\"127.0.0.1:9\"",
		"--", "set", "bridge", "br0", "netflow=@n", "--", "add-port", "br0", "patch-x", "--", "set", "interface", "patch-x", "type=patch", "options:peer=patch-y",
		"--", "add-bond", "br0", "bond9", "m0", "m1", "bond_mode=balance-tcp", "lacp=active", "--", "set", "interface", "m0", "type=internal", "--", "set", "interface", "m1", "type=internal",
		"--", "--id=@m", "create", "mirror", "name=rspan", "output_vlan=5", "--", "add", "bridge", "br0", "mirrors", "@m")
	s.must(err)
	found, code = s.doctor()
	if code != 3 {
		t.Errorf("exit %d, want 3", code)
	}
	for id, says := range map[string]string{"offload": "hw-offload", "flow-export": "NetFlow", "patch-ports": "patch-x", "match-cost": "tp_dst",
		"bonds": "bond9", "rspan": "VLAN 5"} {
		if len(found[id]) == 0 || found[id][0].Level != "warning" || !strings.Contains(found[id][0].Saw, says) || found[id][0].Do == "" {
			t.Errorf("%s: %+v, want a warning with %q", id, found[id], says)
		}
	}
	if r := s.oe("doctor", "nothere"); r.code != 4 {
		t.Errorf("a session that is not there: exit %d, %s", r.code, r.stderr)
	}
	if only, _ := s.doctor("web"); len(only["match-cost"]) != 1 || only["match-cost"][0].Level != "ok" {
		t.Errorf("only web was asked about: %+v", only["match-cost"])
	}
	text := s.oe("doctor").stdout
	for _, want := range []string{"WARNING", "→", "warnings"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	// Without ovs-vswitchd, and without anything at all.
	s.must(s.host.KillVswitchd(s.ctx))
	if found, code = s.doctor(); code != 1 || found["vswitchd"][0].Level != "failure" || found["route"][0].Level != "skipped" {
		t.Errorf("ovs-vswitchd is dead: exit %d, %+v", code, found["vswitchd"])
	}
	r := s.oeOn(s.host, lab.Command{}, "doctor", "--ovs-rundir", "/nowhere")
	if r.code != 1 || !strings.Contains(r.stdout, "FAILURE") {
		t.Errorf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
}

// TestTooOldOpenVSwitch: a release on which sessions do not do what they say is refused in plain words, and told of where a session
// is there already; stopping goes on.
func TestTooOldOpenVSwitch(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.add("one", "--source", "vnet0")
	s.vsctl("set", "open", ".", "ovs_version=2.15.0")
	before := s.snapshot()
	said := s.refused("session", "add", "two", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr)
	for _, want := range []string{`"two"`, "2.15.0", "2.17", "update Open vSwitch"} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in %s", want, said)
		}
	}
	if diff := cmp.Diff(before, s.snapshot()); diff != "" {
		t.Errorf("it was refused, and changed (-before +after):\n%s", diff)
	}
	if state, reason := s.state("one"); state != "Degraded" || reason != "Unsupported" {
		t.Errorf("the session of before is %s, %s", state, reason)
	}
	s.ok("session", "remove", "one")
	s.ok("uninstall", "--yes")
}
