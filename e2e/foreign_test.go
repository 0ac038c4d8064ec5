//go:build linux

package e2e

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// foreignState is everything in the switch that is not ours, and a production bridge's flows.
func foreignState(s *scene, bridges ...string) map[string][]string {
	s.t.Helper()
	rows, err := s.host.DumpRows(s.ctx)
	s.must(err)
	all := map[string][]string{"rows": rows.Without("ovs-erspan").Lines()}
	for _, b := range bridges {
		all["flows of "+b], err = s.host.DumpFlows(s.ctx, b)
		s.must(err)
	}
	return all
}

// TestForeignStateIsUntouched: flows, ports, mirrors and external_ids of others are identical before, during and after
// sessions, on bridges of every kind.
func TestForeignStateIsUntouched(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*scene){
		"NORMAL": func(*scene) {},
		"a pipeline of someone else's": func(s *scene) {
			for _, f := range []string{
				"table=0,priority=100,arp,actions=NORMAL", "table=0,priority=90,ip,actions=resubmit(,10)", "table=0,priority=0,actions=drop",
				"table=10,priority=50,in_port=vnet0,actions=load:1->NXM_NX_REG0[],resubmit(,20)", "table=10,priority=40,actions=resubmit(,20)",
				"table=20,cookie=0xe25a000000000001,priority=1,actions=NORMAL",
			} {
				_, err := s.host.Ofctl(s.ctx, "add-flow", "br0", f)
				s.must(err)
			}
		},
		"an integration bridge with mirrors of its own": func(s *scene) {
			_, err := s.host.Vsctl(s.ctx, "set", "bridge", "br0", "fail_mode=secure", "external_ids:ovn=yes",
				"--", "set", "interface", "vnet0", "external_ids:iface-id=lp0", "external_ids:attached-mac=02:00:00:00:00:01",
				"--", "add-port", "br0", "theirs", "--", "set", "interface", "theirs", "type=internal",
				"--", "--id=@o", "get", "port", "theirs", "--", "--id=@s", "get", "port", "vnet1",
				"--", "--id=@m", "create", "mirror", "name=theirs", "select_src_port=@s", "output_port=@o", "external_ids:owner=them", "--", "set", "bridge", "br0", "mirrors=@m",
				"--", "add-br", "br-ex", "--", "set", "bridge", "br-ex", "datapath_type=netdev",
				"--", "add-port", "br0", "to-ex", "--", "set", "interface", "to-ex", "type=patch", "options:peer=to-int",
				"--", "add-port", "br-ex", "to-int", "--", "set", "interface", "to-int", "type=patch", "options:peer=to-ex")
			s.must(err)
			_, err = s.host.Ofctl(s.ctx, "add-flow", "br0", "priority=0,actions=NORMAL")
			s.must(err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			prepare(s)
			s.ping(s.a, addrB, 1)
			before := foreignState(s, "br0", "br-ul")
			same := func(when string) {
				t.Helper()
				if diff := cmp.Diff(before, foreignState(s, "br0", "br-ul")); diff != "" {
					t.Errorf("%s, what is not ours is another (-before +now):\n%s", when, diff)
				}
			}
			s.add("one", "--source", "vnet0")
			same("with a session")
			s.add("all", "--all-ports", "--erspan-version", "2", "--direction", "both", "--deny", "arp")
			same("with two sessions")
			s.ok("session", "set", "one", "--direction", "ingress", "--snaplen", "64")
			same("after a change")
			s.ping(s.a, addrB, 5)
			s.ok("session", "disable", "--all")
			same("disabled")
			s.ok("session", "remove", "one", "all")
			s.ok("session", "add", "in", "--type", "destination", "--bridge", "br0", "--output-port", "vnet1", "--from", "any", "--session-id", "7")
			s.ok("session", "set", "in", "--session-id", "8")
			s.ok("session", "disable", "in")
			same("disabled")
			s.ok("uninstall", "--yes")
			same("after uninstall")
			rows, err := s.host.DumpRows(s.ctx)
			s.must(err)
			if diff := cmp.Diff(before["rows"], rows.Lines()); diff != "" {
				t.Errorf("uninstall left a trace (-before +now):\n%s", diff)
			}
		})
	}
}
