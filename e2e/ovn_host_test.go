//go:build linux && ovn

package e2e

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// syncs is what ovn-controller notes in br-int's row each time it has done what the northbound database says.
var syncs = regexp.MustCompile(`,\["ovn-nb-cfg(-ts)?","[0-9]+"\]`)

// ovnState is what OVN and production have on h1: rows of others, and the flows of their bridges.
func (s *ovnScene) ovnState() map[string][]string {
	s.t.Helper()
	s.must(s.central.Sync(s.ctx))
	all := foreignState(s.scene, "br-int", "br-ul", "br-ex")
	for i, line := range all["rows"] {
		all["rows"][i] = syncs.ReplaceAllString(line, "")
	}
	return all
}

// allRows are all rows of h1.
func (s *ovnScene) allRows() []string {
	s.t.Helper()
	rows, err := s.host.DumpRows(s.ctx)
	s.must(err)
	lines := rows.Lines()
	for i, line := range lines {
		lines[i] = syncs.ReplaceAllString(line, "")
	}
	return lines
}

// TestOVNUninstall: with sessions of every kind what is OVN's is as it was, and after uninstall the whole database is.
func TestOVNUninstall(t *testing.T) {
	t.Parallel()
	s := newOVNScene(t)
	s.nbctl("mirror-add", "m1", "gre", "7", "from-lport", farCollector)
	s.throughOVN()
	before := s.ovnState()
	rows := s.allRows()
	same := func(when string) {
		t.Helper()
		if diff := cmp.Diff(before, s.ovnState()); diff != "" {
			t.Errorf("%s, what is not ours is another (-before +now):\n%s", when, diff)
		}
	}
	d := s.daemon().ready()
	s.addOn(s.host, "one", "--source", "iface-id=a")
	s.addOn(s.host, "all", "--all-ports", "--direction", "both", "--erspan-version", "2", "--match", "tcp,tp_dst=80", "--dscp", "8")
	s.ok("session", "add", "underlay", "--bridge", "br-ul", "--source", "to-h2", "--collector", farCollector)
	same("with sessions")
	s.throughOVN()
	s.ok("session", "set", "one", "--snaplen", "64", "--direction", "egress")
	s.nbctl("--wait=hv", "lsp-attach-mirror", "a", "m1")
	s.ok("session", "disable", "--all")
	s.ok("session", "enable", "--all")
	s.ok("session", "add", "deliver", "--type", "destination", "--bridge", "br-int", "--output-port", "vif-d", "--from", "any", "--session-id", "99")
	s.throughOVN()
	s.nbctl("--wait=hv", "lsp-detach-mirror", "a", "m1")
	s.must(d.Stop(s.ctx))
	s.ok("uninstall", "--yes")
	same("after uninstall")
	s.throughOVN()
	if diff := cmp.Diff(rows, s.allRows()); diff != "" {
		t.Errorf("uninstall left a trace (-before +now):\n%s", diff)
	}
}

// TestOVNDoctor: on a host of OVN doctor has nothing to warn of, with sessions and OVN's mirrors in force; and of what a session
// does not see it says so.
func TestOVNDoctor(t *testing.T) {
	t.Parallel()
	s := newOVNScene(t)
	s.daemon().ready()
	s.nbctl("mirror-add", "m1", "gre", "7", "from-lport", farCollector)
	s.nbctl("mirror-add", "m2", "erspan", "8", "to-lport", farCollector)
	s.nbctl("lsp-attach-mirror", "a", "m1")
	s.nbctl("--wait=hv", "lsp-attach-mirror", "a", "m2")
	s.addOn(s.host, "one", "--source", "iface-id=a", "--session-id", "1")
	s.addOn(s.host, "all", "--all-ports", "--direction", "both", "--erspan-version", "2", "--session-id", "2")
	s.throughOVN()
	s.settled("one", "all")
	var results []struct{ ID, Level, Saw string }
	r := s.oe("doctor", "-o", "json")
	s.must(json.Unmarshal([]byte(r.stdout), &results))
	warnings := map[string]string{}
	for _, r := range results {
		// Whether this machine's clock is kept is not OVN's.
		if r.Level != "ok" && r.Level != "skipped" && r.ID != "clock" {
			warnings[r.ID] += r.Saw
		}
	}
	if len(warnings) != 1 || !strings.Contains(warnings["patch-ports"], "patch-br-int-to-out-br-ex") {
		t.Errorf("doctor warns of %q, want of the patch port that --all-ports does not copy from, and of nothing else", warnings)
	}
}
