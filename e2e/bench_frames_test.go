//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// BenchmarkFrames: frames a second through a production bridge that is offered more than it can carry, with OVS's own Mirror
// to a static ERSPAN port, and with 1, 10 and 100 sessions on the source, each of which takes a copy. In turns on one host;
// the ratio is to the Mirror beside it.
func BenchmarkFrames(b *testing.B) {
	buildFast(b)
	for range b.N {
		s := newScene(b)
		s.ping(s.a, addrB, 3)
		s.ping(s.host.Node, collectorAddr, 1)
		for _, sessions := range []int{1, 10, 100} {
			const rounds = 5
			frames := 400_000 / sessions
			var ours, hand, ratios []float64
			for range rounds {
				s.mirrorByHand()
				hand = append(hand, s.framesPerSecond(s.a, s.b, s.b, frames))
				s.undoMirror()
				s.onOnePort(sessions)
				ours = append(ours, s.framesPerSecond(s.a, s.b, s.b, frames))
				ratios = append(ratios, ours[len(ours)-1]/hand[len(hand)-1])
				s.ok("uninstall", "--yes", "--timeout", "60s")
			}
			for _, list := range [][]float64{ours, hand, ratios} {
				slices.Sort(list)
			}
			b.ReportMetric(ours[rounds/2], fmt.Sprintf("frames/s-%d", sessions))
			b.ReportMetric(hand[rounds/2], fmt.Sprintf("frames/s-mirror-beside-%d", sessions))
			b.ReportMetric(ratios[rounds/2], fmt.Sprintf("ratio-%d", sessions))
		}
		b.ReportMetric(0, "ns/op")
	}
}

// mirrorByHand is a Mirror of vnet0 to a static ERSPAN port on the production bridge itself.
func (s *scene) mirrorByHand() {
	s.t.Helper()
	_, err := s.host.Vsctl(s.ctx, "--", "add-port", "br0", "hand", "--", "set", "interface", "hand", "type=erspan", "options:remote_ip="+collectorAddr,
		"options:key=1", "options:erspan_ver=1", "options:erspan_idx=0",
		"--", "--id=@src", "get", "port", "vnet0", "--", "--id=@out", "get", "port", "hand",
		"--", "--id=@m", "create", "mirror", "name=hand", "select_src_port=@src", "output_port=@out", "--", "set", "bridge", "br0", "mirrors=@m")
	s.must(err)
	s.ping(s.host.Node, collectorAddr, 1) // the tunnel knows the collector
}

func (s *scene) undoMirror() {
	s.t.Helper()
	_, err := s.host.Vsctl(s.ctx, "--", "clear", "bridge", "br0", "mirrors", "--", "del-port", "br0", "hand")
	s.must(err)
}

// onOnePort adds n sessions on vnet0.
func (s *scene) onOnePort(n int) {
	s.t.Helper()
	var text strings.Builder
	text.WriteString("apiVersion: ovs-erspan/v1\nsessions:\n")
	for i := range n {
		fmt.Fprintf(&text, "- {name: s%d, bridge: br0, sources: {ports: [vnet0]}, direction: ingress, collectors: [%s], erspan: {version: 1, sessionID: %d}}\n", i, collectorAddr, i+1)
	}
	file := filepath.Join(s.lab.Dir(), "one-port.yaml")
	s.must(os.WriteFile(file, []byte(text.String()), 0o600))
	s.ok("apply", "-f", file, "--timeout", "60s")
}

// framesPerSecond offers frames from a guest to another's address faster than they can be carried, and tells how many arrive
// on a guest in each second.
func (s *scene) framesPerSecond(from, to, at *lab.Node, count int) float64 {
	s.t.Helper()
	frame := append(append([]byte{}, s.mac(to, "eth0")...), s.mac(from, "eth0")...)
	frame = append(append(frame, 0x88, 0xb5), make([]byte, 50)...)
	before := s.received(at)
	start := time.Now()
	s.must(lab.SendRaw(s.ctx, from, "eth0", slices.Repeat([][]byte{frame}, count), 10_000_000))
	took := time.Since(start)
	last := -1
	s.must(lab.Until(s.ctx, "all have arrived that will", func(context.Context) error {
		now := s.received(at)
		if now != last {
			last = now
			return fmt.Errorf("%d have", now-before)
		}
		return nil
	}))
	return float64(last-before) / took.Seconds()
}

// received is how many frames a guest's device has received.
func (s *scene) received(at *lab.Node) int {
	s.t.Helper()
	out, _, err := at.Exec(s.ctx, "ip", "-j", "-s", "link", "show", "eth0")
	s.must(err)
	var links []struct {
		Stats64 struct{ RX struct{ Packets int } }
	}
	s.must(json.Unmarshal([]byte(out), &links))
	return links[0].Stats64.RX.Packets
}
