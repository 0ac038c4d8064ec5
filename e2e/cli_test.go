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
	for _, b := range []string{"br0", "br-ul", "br-erspan-nd"} {
		all[b], err = s.host.DumpFlows(s.ctx, b)
		s.must(err)
	}
	return all
}

// TestBadInputIsRefused: each fault of each field ends with exit code 2 and a message that names the field, the value and
// what to do, and changes nothing.
func TestBadInputIsRefused(t *testing.T) {
	s := newScene(t)
	_, err := s.host.Vsctl(s.ctx, "add-br", "br1", "--", "set", "bridge", "br1", "datapath_type=netdev",
		"--", "add-port", "br1", "other0", "--", "set", "interface", "other0", "type=internal",
		"--", "add-bond", "br1", "bond0", "m0", "m1", "--", "set", "interface", "m0", "type=internal", "--", "set", "interface", "m1", "type=internal",
		"--", "add-port", "br0", "to1", "--", "set", "interface", "to1", "type=patch", "options:peer=to0",
		"--", "add-port", "br1", "to0", "--", "set", "interface", "to0", "type=patch", "options:peer=to1")
	s.must(err)
	s.add("taken", "--source", "vnet0", "--session-id", "5")
	before := everything(s)
	good := map[string][]string{"bridge": {"br0"}, "source": {"vnet0"}, "collector": {collectorAddr}}
	for _, tt := range []struct {
		name  string // of the session
		flags string // in place of the good ones
		says  []string
	}{
		{"x", "--index 5 --erspan-version 2", []string{"index 5", "version 2", "leave it out"}},
		{"x", "--hwid 5", []string{"hardwareID 5", "version 1", "leave it out"}},
		{"x", "--erspan-version 3", []string{"3", "Type III"}},
		{"x", "--erspan-version 0", []string{"version"}},
		{"x", "--session-id 1024", []string{"1024", "1023"}},
		{"x", "--session-id -1", []string{"-1"}},
		{"x", "--session-id 010", []string{"010"}},
		{"x", "--index 1048576", []string{"1048576", "1048575"}},
		{"x", "--erspan-version 2 --hwid 64", []string{"64", "63"}},
		{"x", "--collector 224.0.0.1", []string{"224.0.0.1", "multicast"}},
		{"x", "--collector 127.0.0.1", []string{"127.0.0.1", "loopback"}},
		{"x", "--collector " + hostAddr, []string{hostAddr, "this host"}},
		{"x", "--collector ::1", []string{"::1", "loopback"}},
		{"x", "--collector collector.example", []string{"collector.example", "address"}},
		{"x", "--collector " + collectorAddr + "," + collectorAddr, []string{collectorAddr}},
		{"x", "--vlan 0", []string{"0", "4094"}},
		{"x", "--vlan 4095", []string{"4095", "4094"}},
		{"x", "--snaplen 13", []string{"13", "14"}},
		{"x", "--snaplen off", []string{"off", "1464"}},
		{"x", "--dscp 64", []string{"64", "63"}},
		{"x", "--ttl 0", []string{"0", "255"}},
		{"x", "--ttl 256", []string{"256", "255"}},
		{"x", "--origin 198.51.100.1", []string{"198.51.100.1", hostAddr}},
		{"x", "--direction sideways", []string{"sideways", "ingress"}},
		{"x", "--bridge br9", []string{"br9", "br0"}},
		{"x", "--bridge br-erspan-nd --all-ports", []string{"br-erspan-nd"}},
		{"x", "--source vnet9", []string{"vnet9", "vnet0"}},
		{"x", "--source other0", []string{"other0", "br1"}},
		{"x", "--bridge br1 --source m0", []string{"m0", "bond0"}},
		{"x", "--source to1", []string{"to1", "patch", "br1"}},
		{"x", "--source iface-id=nobody", []string{"nobody"}},
		{"x", "--all-ports --source vnet0", []string{"all"}},
		{"x", "--source ,", []string{"source"}},
		{"x", "--session-id 5", []string{"5", "taken"}},
		{"taken", "", []string{"taken", "exists"}},
		{"Web", "", []string{"Web"}},
		{"-x", "", []string{"x"}},
		{strings.Repeat("x", 64), "", []string{"63"}},
		{"x", "--match in_port=1", []string{"in_port"}},
		{"x", "--match tun_id=1", []string{"tun_id"}},
		{"x", "--match reg0=1", []string{"reg0"}},
		{"x", "--match tp_dst=443", []string{"tp_dst", "tcp"}},
		{"x", "--match nonsense", []string{"nonsense"}},
		{"x", "--match ip,nw_src=1.2.3.4/33", []string{"1.2.3.4"}},
		{"x", "--match ip,actions=drop", []string{"action"}},
		{"x", "--match tcp\ntp_dst=1", []string{"line"}},
		{"x", "--deny priority=9", []string{"priority"}},
		{"x", "--deny dl_vlan=4096", []string{"4096", "4095"}},
	} {
		flags := map[string][]string{}
		for name, value := range good {
			flags[name] = value
		}
		args := []string{"session", "add", "--", tt.name}
		var given []string
		for _, f := range strings.Split(tt.flags, " --") {
			name, value, valued := strings.Cut(strings.TrimPrefix(f, "--"), " ")
			if name == "" {
				continue
			}
			if name == "all-ports" && !strings.Contains(tt.flags, "--source") {
				delete(flags, "source")
			}
			delete(flags, name)
			if valued {
				given = append(given, "--"+name+"="+value)
			} else {
				given = append(given, "--"+name)
			}
		}
		for name, value := range flags {
			given = append(given, "--"+name+"="+value[0])
		}
		args = append(append(args[:2:2], given...), args[2:]...)
		r := s.oe(args...)
		if r.code != 2 {
			t.Errorf("%q: exit %d, want 2: %s", args, r.code, r.stdout+r.stderr)
			s.oe("session", "remove", "--", tt.name) // or the next would be refused for another reason
			continue
		}
		for _, word := range tt.says {
			if !strings.Contains(r.stderr, word) {
				t.Errorf("%q: the refusal does not say %q: %s", args, word, r.stderr)
			}
		}
	}
	for _, missing := range []string{"bridge", "source", "collector"} {
		args := []string{"session", "add", "x"}
		for name, value := range good {
			if name != missing {
				args = append(args, "--"+name+"="+value[0])
			}
		}
		if said := s.refused(args...); !strings.Contains(said, missing) {
			t.Errorf("without --%s: %s", missing, said)
		}
	}
	if diff := cmp.Diff(before, everything(s)); diff != "" {
		t.Errorf("refused commands changed something (-before +after):\n%s", diff)
	}
}

// TestCommands: the rest of a user's day.
func TestCommands(t *testing.T) {
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
	s.ok("uninstall")
	rows, err = s.host.DumpRows(s.ctx)
	s.must(err)
	if diff := cmp.Diff(before, rows.Lines()); diff != "" {
		t.Errorf("uninstall left a trace:\n%s", diff)
	}
}

// TestBrokenKeyInTheStore: a key that someone wrote by hand and that cannot be read is reported, harms no other session,
// and can be removed.
func TestBrokenKeyInTheStore(t *testing.T) {
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
	s := newLab(t)
	r := s.oeOn(s.host, lab.Command{}, "session", "list", "--ovs-rundir", "/does/not/exist")
	if r.code != 1 || !strings.Contains(r.stderr, "/does/not/exist/db.sock") {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
}
