//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// These hold protections that no other scenario holds. docs/traps.md lists all traps with their tests.

// TestNothingFloodsIntoTheTunnel: what a bridge floods, production's or the underlay's, or what no session wants, does not
// leave as ERSPAN; not even while somebody has made the tap bridge forward by itself (fail_mode=standalone), which is undone.
func TestNothingFloodsIntoTheTunnel(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.add("picky", "--source", "vnet0", "--match", "tcp,tcp_dst=4711")
	wire := s.capture(s.collector, "eth0", "proto 47")
	mac, err := s.a.MAC(s.ctx, "eth0")
	s.must(err)
	broadcast := append(append(bytes.Repeat([]byte{0xff}, 6), mac...), append([]byte{0x88, 0xb5}, make([]byte, 46)...)...)
	flood := func() {
		t.Helper()
		seen := s.capture(s.b, "eth0", "ether proto 0x88b5")
		s.must(lab.SendRaw(s.ctx, s.a, "eth0", [][]byte{broadcast, broadcast}, 200))
		s.waitCount(seen, "", 2)
		s.must(lab.SendRaw(s.ctx, s.collector, "eth0", [][]byte{broadcast, broadcast}, 200))
		s.ping(s.a, addrB, 2)
		s.stop(seen)
	}
	flood()
	s.vsctl("set-fail-mode", tapBridge, "standalone")
	flood()
	s.ok("run", "--once")
	if mode, err := s.host.Vsctl(s.ctx, "get-fail-mode", tapBridge); err != nil || strings.TrimSpace(mode) != "secure" {
		t.Errorf("the tap bridge's fail mode is %q, %v", mode, err)
	}
	flows, err := s.host.DumpFlows(s.ctx, tapBridge)
	s.must(err)
	for _, f := range flows {
		if strings.Contains(f, "NORMAL") || strings.Contains(f, "FLOOD") || !strings.Contains(f, "cookie=0xe25a") {
			t.Errorf("a flow of the tap bridge: %s", f)
		}
	}
	flood()
	s.knock(s.a, addrB, 4711) // what the session wants comes last
	s.waitCount(wire, "erspan", 1)
	s.stop(wire)
	if rows := s.fields(wire, "erspan && !(tcp.port == 4711)", "frame.protocols"); len(rows) > 0 {
		t.Errorf("%d frames left as ERSPAN that no session wants, such as %v", len(rows), rows[0])
	}
}

// TestPatchIsClosedFromTheStart: while its Mirror is not there yet (a mirror's output takes part in nothing), and for a
// delivery, which has none, the patch is closed as well: nothing is flooded into it, and no spanning tree runs on it.
func TestPatchIsClosedFromTheStart(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string]string{"floods": "fail_mode=standalone", "STP": "stp_enable=true", "RSTP": "rstp_enable=true"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.vsctl("set", "bridge", "br0", settings)
			s.ok("session", "add", "in", "--type", "destination", "--bridge", "br0", "--output-port", "vnet1", "--from", "any", "--session-id", "7")
			s.killAt("flows", "session", "add", "one", "--bridge", "br0", "--source", "vnet0", "--direction", "ingress", "--collector", collectorAddr)
			if mirrors, err := s.host.Vsctl(s.ctx, "--bare", "--columns=name", "list", "mirror"); err != nil || strings.TrimSpace(mirrors) != "" {
				t.Fatalf("there is a mirror, so that nothing is tested: %s %v", mirrors, err)
			}
			ports, err := s.host.Vsctl(s.ctx, "list-ports", "br0")
			s.must(err)
			patches := slices.DeleteFunc(strings.Fields(ports), func(p string) bool { return !strings.HasPrefix(p, "es-") })
			if len(patches) != 2 {
				t.Fatalf("the patches on br0 are %q, want one for a tap and one for a delivery", patches)
			}
			if name != "floods" {
				tree, err := s.host.Appctl(s.ctx, strings.ToLower(name)+"/show", "br0")
				s.must(err)
				if !strings.Contains(tree, "vnet0") {
					t.Fatalf("vnet0 is not in the tree: nothing is tested:\n%s", tree)
				}
				if strings.Contains(tree, " es-") { // it shows ten characters of a name
					t.Errorf("a spanning tree runs on %q:\n%s", patches, tree)
				}
				return
			}
			for _, tags := range []string{"", ",vlan_tci=0x100a", ",vlan_tci=0x1ffe"} {
				for _, dst := range []string{"ff:ff:ff:ff:ff:ff", "02:00:00:00:77:77"} {
					trace, err := s.host.Appctl(s.ctx, "ofproto/trace", "br0", "in_port=vnet0,dl_src=02:00:00:00:00:01,dl_dst="+dst+",dl_type=0x88b5"+tags)
					s.must(err)
					if !strings.Contains(trace, "flooding") {
						t.Errorf("NORMAL does not flood: nothing is tested:\n%s", trace)
					}
					if strings.Contains(trace, tapBridge) {
						t.Errorf("NORMAL floods into a patch of ours:\n%s", trace)
					}
				}
			}
		})
	}
}

// TestMatchNarrowsMegaflows: a session without rules leaves the width of production's megaflows as it was; one with a match
// narrows them, and says so when it is added, and doctor says so afterwards.
func TestMatchNarrowsMegaflows(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	// megaflows are those of production that ten connections to ten ports make.
	megaflows := func() (n int, text string) {
		s.appctl("revalidator/purge")
		for port := range 10 {
			s.knock(s.a, addrB, 5000+port)
		}
		text, err := s.host.Appctl(s.ctx, "dpctl/dump-flows", "--names", "netdev@ovs-netdev")
		s.must(err)
		for line := range strings.Lines(text) {
			if strings.Contains(line, "in_port(vnet0)") && strings.Contains(line, "eth_type(0x0800)") {
				n++
			}
		}
		return n, text
	}
	without, _ := megaflows()
	add := func(name string, flags ...string) string {
		r := s.oe(append([]string{"session", "add", name, "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr}, flags...)...)
		if r.code != 0 {
			t.Fatalf("add %s: exit %d: %s", name, r.code, r.stderr)
		}
		return r.stderr
	}
	if said := add("plain"); strings.Contains(said, "megaflows") {
		t.Errorf("a session without rules is said to cost megaflows: %s", said)
	}
	if n, text := megaflows(); n > without || strings.Contains(text, "tcp(") {
		t.Errorf("a session without rules: %d megaflows instead of %d:\n%s", n, without, text)
	}
	if said := add("narrow", "--match", "tcp,tcp_dst=5000"); !strings.Contains(said, "tcp_dst") || !strings.Contains(said, "megaflows") {
		t.Errorf("adding a match did not tell what it costs: %s", said)
	}
	if n, text := megaflows(); n <= without || !strings.Contains(text, "tcp(") {
		t.Errorf("the match does not narrow anything here (%d megaflows, %d before): nothing was tested:\n%s", n, without, text)
	}
	found, _ := s.doctor("narrow")
	if cost := found["match-cost"]; len(cost) != 1 || !strings.Contains(fmt.Sprint(cost), "tcp_dst") {
		t.Errorf("doctor says of the match: %v", cost)
	}
}

// TestForeignTunnelWithOurKey: a session that needs a tunnel port of its own (here for its DSCP) is refused where somebody
// else's port has the same far end and key, however the key is written: Open vSwitch would say so in its log only, and on
// an edit not even there.
func TestForeignTunnelWithOurKey(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.vsctl("add-port", "br-ul", "theirs", "--", "set", "interface", "theirs", "type=erspan",
		"options:remote_ip="+collectorAddr, "options:key=0x64", "options:erspan_ver=1", "options:tos=0")
	before, err := s.host.DumpRows(s.ctx)
	s.must(err)
	own := []string{"session", "add", "one", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr, "--dscp", "46", "--session-id"}
	if said := s.refused(append(own, "100")...); !strings.Contains(said, `"theirs"`) {
		t.Errorf("the refusal does not name the port: %s", said)
	}
	after, err := s.host.DumpRows(s.ctx)
	s.must(err)
	if diff := cmp.Diff(before.Lines(), after.Lines()); diff != "" {
		t.Errorf("the refused command changed something:\n%s", diff)
	}
	s.ok(append(own, "101")...)
	if said := s.refused("session", "set", "one", "--session-id", "100"); !strings.Contains(said, `"theirs"`) {
		t.Errorf("the refusal does not name the port: %s", said)
	}
	s.copies(1)
}

// TestTwoDSCPsToOneCollector: sessions to one collector that differ in their outer header, each with a tunnel port of its
// own, are in force beside each other: to Open vSwitch the ports would be the same but for their key.
func TestTwoDSCPsToOneCollector(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	want := map[string]string{"10": "46", "11": "10", "12": "0"}
	for id, dscp := range want {
		s.add("s"+id, "--source", "vnet0", "--session-id", id, "--dscp", dscp, "--ttl", "2"+id)
	}
	wire := s.capture(s.collector, "eth0", "proto 47")
	s.ping(s.a, addrB, 2)
	s.waitCount(wire, "erspan && icmp", 4*len(want))
	s.stop(wire)
	copies := 0
	for _, row := range s.fields(wire, "erspan && icmp", "erspan.spanid", "ip.dsfield.dscp", "ip.ttl") {
		copies++
		id := row[0]
		dscp, _, _ := strings.Cut(row[1], ",") // the outer header's is the first
		ttl, _, _ := strings.Cut(row[2], ",")
		if dscp != want[id] || ttl != "2"+id {
			t.Errorf("session %s: DSCP %s, TTL %s, want %s and 2%s", id, dscp, ttl, want[id], id)
		}
	}
	if copies != 4*len(want) {
		t.Errorf("%d copies, want %d", copies, 4*len(want))
	}
}
