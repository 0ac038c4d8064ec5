//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// cpuOf is how long the threads of a process have run on a CPU: the first field of /proc/PID/task/TID/schedstat (proc(5)).
func cpuOf(s *scene, pid int) (sum time.Duration) {
	s.t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	s.must(err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		s.must(err)
		var ns int64
		_, err = fmt.Sscan(string(text), &ns)
		s.must(err)
		sum += time.Duration(ns)
	}
	return sum
}

// BenchmarkIdle: what ovs-vswitchd's CPU pays for each packet of production between two guests while a session is idle, a
// source session on another port or a destination session with a device of its own, against none; and while a port that is
// not ours is there and nothing passes it, by its MTU (trap 43). They take turns in the same run. The packets come one by
// one, and many at once: what an idle port or bridge costs is paid each time that ovs-vswitchd looks at all of them.
func BenchmarkIdle(b *testing.B) {
	buildFast(b)
	for range b.N {
		s := newScene(b)
		idle, analyzer := s.guest("idle"), s.guest("an")
		s.must(s.host.Attach(s.ctx, idle, "br0", "vnet2", lab.GuestIf{}))
		s.must(lab.Connect(s.ctx, s.host.Node, lab.NodeIf{Dev: "analyzer0"}, analyzer, lab.NodeIf{Dev: "eth0"}, 1500))
		s.ping(s.a, addrB, 2)
		src, dst := s.mac(s.a, "eth0"), s.mac(s.b, "eth0")
		frame := append(append(slices.Clone(dst), src...), 0x88, 0xb5)
		frames := slices.Repeat([][]byte{append(frame, make([]byte, 86)...)}, 20_000)
		perPacket := func(n, pps int) float64 {
			before := cpuOf(s, s.host.VswitchdPID())
			s.must(lab.SendRaw(s.ctx, s.a, "eth0", frames[:n], pps))
			return float64((cpuOf(s, s.host.VswitchdPID()) - before).Nanoseconds()) / 1000 / float64(n)
		}
		vsctl := func(args ...string) func() {
			return func() {
				_, err := s.host.Vsctl(s.ctx, args...)
				s.must(err)
			}
		}
		foreign := func(port string, mtu int) (string, func(), func()) {
			s.must(lab.Connect(s.ctx, s.host.Node, lab.NodeIf{Dev: port}, analyzer, lab.NodeIf{Dev: port}, mtu))
			return fmt.Sprintf("others-port-of-%d", mtu), vsctl("add-port", "br0", port), vsctl("del-port", "br0", port)
		}
		type row struct {
			name     string
			up, down func()
		}
		rows := []row{
			{"none", func() {}, func() {}},
			{"idle-source", func() { s.add("idle", "--source", "vnet2") }, func() { s.ok("session", "remove", "idle") }},
			{"idle-destination", func() {
				s.ok("session", "add", "in", "--type", "destination", "--output-port", "analyzer0", "--from", "any", "--session-id", "7")
			}, func() { s.ok("session", "remove", "in") }},
			{"others-empty-bridge", vsctl("add-br", "empty", "--", "set", "bridge", "empty", "datapath_type=netdev"), vsctl("del-br", "empty")},
		}
		for _, mtu := range []int{1500, 4000, 9000} {
			name, up, down := foreign(fmt.Sprintf("foreign%d", mtu), mtu)
			rows = append(rows, row{name, up, down})
		}
		alone, dense := map[string][]float64{}, map[string][]float64{}
		for range 3 {
			for _, r := range rows {
				r.up()
				alone[r.name] = append(alone[r.name], perPacket(2_000, 1_000))
				dense[r.name] = append(dense[r.name], perPacket(20_000, 20_000))
				r.down()
			}
		}
		for at, took := range map[string]map[string][]float64{"1kpps": alone, "20kpps": dense} {
			for _, r := range rows {
				b.ReportMetric(slices.Min(took[r.name]), fmt.Sprintf("µs/packet-%s-%s", at, r.name))
				b.ReportMetric(slices.Min(took[r.name])/slices.Min(took["none"]), fmt.Sprintf("ratio-%s-%s", at, r.name))
			}
		}
		b.ReportMetric(0, "ns/op")
	}
}
