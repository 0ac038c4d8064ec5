//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// BenchmarkEndToEnd: frames a second from a guest of one host, mirrored, through the tunnel, to the analyzer of the other,
// against the least that a user can set up by hand: a static ERSPAN port and one flow on each side. In turns, on the same
// two hosts, with one session installed and with 500.
func BenchmarkEndToEnd(b *testing.B) {
	buildFast(b)
	for range b.N {
		f := newFarEnd(b)
		f.ping(f.a, addrB, 3) // both addresses are learned
		const rounds = 7
		for _, sessions := range []int{1, 500} {
			var ours, hand, ratios []float64
			for range rounds {
				f.byHand()
				hand = append(hand, f.framesPerSecond(f.a, f.b, f.analyzer, 600_000))
				f.undoByHand()
				f.install(sessions)
				ours = append(ours, f.framesPerSecond(f.a, f.b, f.analyzer, 600_000))
				ratios = append(ratios, ours[len(ours)-1]/hand[len(hand)-1])
				f.ok("uninstall", "--yes", "--timeout", "60s")
				f.far("uninstall", "--yes", "--timeout", "60s")
			}
			slices.Sort(ours)
			slices.Sort(hand)
			slices.Sort(ratios)
			b.ReportMetric(ours[rounds/2], fmt.Sprintf("frames/s-%d-sessions", sessions))
			b.ReportMetric(hand[rounds/2], fmt.Sprintf("frames/s-by-hand-%d", sessions))
			b.ReportMetric(ratios[rounds/2], fmt.Sprintf("ratio-%d-sessions", sessions))
		}
		b.ReportMetric(0, "ns/op")
	}
}

// byHand is a static ERSPAN port and one flow on each side.
func (f *farEnd) byHand() {
	f.t.Helper()
	for _, side := range []struct {
		host         *lab.Host
		remote, flow string
	}{
		{f.host, farAddr, "priority=9,in_port=vnet0,actions=output:hand,NORMAL"},
		{f.host2, hostAddr, "priority=9,in_port=hand,actions=output:analyzer0"},
	} {
		_, err := side.host.Vsctl(f.ctx, "add-port", "br0", "hand", "--", "set", "interface", "hand", "type=erspan", "options:remote_ip="+side.remote,
			"options:key=1", "options:erspan_ver=1", "options:erspan_idx=0")
		f.must(err)
		_, err = side.host.Ofctl(f.ctx, "add-flow", "br0", side.flow)
		f.must(err)
	}
	f.ping(f.host.Node, farAddr, 1) // the tunnels know each other
	f.ping(f.host2.Node, hostAddr, 1)
}

func (f *farEnd) undoByHand() {
	f.t.Helper()
	for _, h := range []*lab.Host{f.host, f.host2} {
		_, err := h.Ofctl(f.ctx, "--strict", "del-flows", "br0", map[bool]string{true: "priority=9,in_port=vnet0", false: "priority=9,in_port=hand"}[h == f.host])
		f.must(err)
		_, err = h.Vsctl(f.ctx, "del-port", "br0", "hand")
		f.must(err)
	}
}

// install adds one pair of sessions that carries the load, and others beside it.
func (f *farEnd) install(sessions int) {
	f.t.Helper()
	var out, in strings.Builder
	for _, w := range []*strings.Builder{&out, &in} {
		w.WriteString("apiVersion: ovs-erspan/v1\nsessions:\n")
	}
	fmt.Fprintf(&out, "- {name: s1, bridge: br0, sources: {ports: [vnet0]}, direction: ingress, collectors: [%s], erspan: {version: 1, sessionID: 1}}\n", farAddr)
	fmt.Fprintf(&in, "- {name: s1, type: destination, bridge: br0, outputPort: analyzer0, from: %s, erspan: {version: 1, sessionID: 1}}\n", hostAddr)
	for n := 2; n <= sessions; n++ {
		// On ports of their own: 500 copies of each frame are more than is allowed.
		fmt.Fprintf(&out, "- {name: s%d, bridge: br-spare, sources: {ports: [spare%d]}, direction: ingress, collectors: [%s], erspan: {version: 1, sessionID: %d}}\n", n, n%10, farAddr, n)
		fmt.Fprintf(&in, "- {name: s%d, type: destination, bridge: br0, outputPort: vnet9, from: %s, erspan: {version: 1, sessionID: %d}}\n", n, hostAddr, n)
	}
	if sessions > 1 {
		_, err := f.host.Vsctl(f.ctx, "--may-exist", "add-br", "br-spare", "--", "set", "bridge", "br-spare", "datapath_type=netdev")
		f.must(err)
		for n := range 10 {
			_, err := f.host.Vsctl(f.ctx, "--may-exist", "add-port", "br-spare", fmt.Sprintf("spare%d", n), "--", "set", "interface", fmt.Sprintf("spare%d", n), "type=internal")
			f.must(err)
		}
	}
	for side, text := range map[string]string{"out": out.String(), "in": in.String()} {
		file := filepath.Join(f.lab.Dir(), side+".yaml")
		f.must(os.WriteFile(file, []byte(text), 0o600))
		if side == "in" {
			f.far("apply", "-f", file, "--timeout", "60s")
		} else {
			f.ok("apply", "-f", file, "--timeout", "60s")
		}
	}
}
