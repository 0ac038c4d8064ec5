//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// BenchmarkAddOneDaemon: one `session add` handed over to the daemon, against the script by hand without one.
func BenchmarkAddOneDaemon(b *testing.B) {
	buildFast(b)
	for range b.N {
		s := newScene(b)
		const times = 9
		add := lab.Command{Args: []string{binary, "session", "add", "one", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr}}
		timed(s, add)
		script := byHand(s)
		s.ok("session", "remove", "one")
		var we, hand []time.Duration
		for range times {
			hand = append(hand, timed(s, lab.Command{Args: []string{"sh", "-e"}, Stdin: strings.NewReader(script)}))
			undo(s)
		}
		s.daemon().ready()
		for range times {
			we = append(we, timed(s, add))
			s.ok("session", "remove", "one")
		}
		b.ReportMetric(float64(median(we).Microseconds())/1000, "ms/ours")
		b.ReportMetric(float64(median(hand).Microseconds())/1000, "ms/by-hand")
		b.ReportMetric(median(we).Seconds()/median(hand).Seconds(), "ratio")
		b.ReportMetric(0, "ns/op")
	}
}

// many gives the host n sessions, 20 on each of its bridges, five on each port, and applies them.
func (s *scene) many(n int) {
	s.t.Helper()
	var sessions strings.Builder
	sessions.WriteString("apiVersion: ovs-erspan/v1\nsessions:\n")
	var rows []string
	for i := range n {
		bridge, port := fmt.Sprintf("p%d", i/20), fmt.Sprintf("p%d-%d", i/20, i%20/5)
		if i%20 == 0 {
			rows = append(rows, "--", "add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev")
		}
		if i%5 == 0 {
			rows = append(rows, "--", "add-port", bridge, port, "--", "set", "interface", port, "type=internal")
		}
		fmt.Fprintf(&sessions, "- {name: s%d, bridge: %s, sources: {ports: [%s]}, collectors: [%s]}\n", i, bridge, port, collectorAddr)
	}
	_, err := s.host.Vsctl(s.ctx, rows[1:]...)
	s.must(err)
	file := filepath.Join(s.lab.Dir(), "many.yaml")
	s.must(os.WriteFile(file, []byte(sessions.String()), 0o600))
	s.ok("apply", "-f", file, "--timeout", "60s")
}

// reconciles are the lines of the daemon's log that tell of them.
func (d *daemon) reconciles() (all []reconciled) {
	for line := range strings.Lines(d.Stderr()) {
		var r reconciled
		if json.Unmarshal([]byte(line), &r) == nil && r.Msg == "reconciled" {
			all = append(all, r)
		}
	}
	return all
}

type reconciled struct {
	Msg, Because string
	Rows, Flows  int
	Duration     float64 // in seconds
}

// oneChange is the median of changing one session of many, and the most rows and flows that the daemon changed for it.
func (s *scene) oneChange(d *daemon) (took time.Duration, rows, flows int) {
	s.t.Helper()
	before := len(d.reconciles())
	var all []time.Duration
	for i := range 9 {
		all = append(all, timed(s, lab.Command{Args: []string{binary, "session", "set", "s3", "--index", strconv.Itoa(i + 1)}}))
	}
	for _, r := range d.reconciles()[before:] {
		rows, flows = max(rows, r.Rows), max(flows, r.Flows)
	}
	return median(all), rows, flows
}

// BenchmarkDaemon: with 1000 sessions over 50 bridges in force: one change among them, against the same among 10; a
// reconcile that finds nothing to do; memory and idle CPU; and the restart of ovs-vswitchd, against ovs-ofctl's
// replace-flows of the same flows.
func BenchmarkDaemon(b *testing.B) {
	buildFast(b)
	for range b.N {
		few := newScene(b)
		d := few.daemon().ready()
		few.many(10)
		least, _, _ := few.oneChange(d)

		s := newScene(b)
		d = s.daemon().ready()
		s.many(1000)
		among, rows, flows := s.oneChange(d)
		b.ReportMetric(float64(least.Microseconds())/1000, "ms/change-among-10")
		b.ReportMetric(float64(among.Microseconds())/1000, "ms/change-among-1000")
		b.ReportMetric(among.Seconds()/least.Seconds(), "ratio-change")
		b.ReportMetric(float64(rows), "rows/change")
		b.ReportMetric(float64(flows), "flows/change")

		cpu := func() time.Duration {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.PID()))
			s.must(err)
			f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
			user, _ := strconv.Atoi(f[11])
			system, _ := strconv.Atoi(f[12])
			return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
		}
		const idle = 40 * time.Second // at least one resync is in it
		before := cpu()
		select {
		case <-s.ctx.Done():
		case <-time.After(idle):
		}
		b.ReportMetric(100*(cpu()-before).Seconds()/idle.Seconds(), "%core-idle")
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.PID()))
		s.must(err)
		var kB float64
		_, after, _ := strings.Cut(string(status), "VmRSS:")
		_, err = fmt.Sscan(after, &kB)
		s.must(err)
		b.ReportMetric(kB/1024, "MiB")
		var nothing []time.Duration
		for _, r := range d.reconciles() {
			if r.Because == "resync" && r.Rows+r.Flows == 0 {
				nothing = append(nothing, time.Duration(r.Duration*float64(time.Second)))
			}
		}
		if len(nothing) == 0 {
			b.Fatal("there was no resync")
		}
		b.ReportMetric(float64(median(nothing).Microseconds())/1000, "ms/nothing-to-do")

		back, hand, carried, lost := s.restart(d)
		b.ReportMetric(float64(carried), "frames-carried-after-restart")
		b.ReportMetric(float64(lost), "copies-lost-after-restart")
		b.ReportMetric(float64(back.Microseconds())/1000, "ms/flows-back")
		b.ReportMetric(float64(hand.Microseconds())/1000, "ms/replace-flows")
		b.ReportMetric(back.Seconds()/hand.Seconds(), "ratio-restart")
		b.ReportMetric(0, "ns/op")
	}
}

// restart kills and starts ovs-vswitchd: it measures from when the tap bridge's OpenFlow socket accepts until the flows are
// back, by the daemon, and then, without it, by ovs-ofctl's replace-flows of the same flows at the same moment. A guest sends
// 500 datagrams a second meanwhile: of those that production carried again until the daemon's flows were back, it counts
// those without a copy.
func (s *scene) restart(d *daemon) (back, hand time.Duration, carried, lost int) {
	s.t.Helper()
	const bridge = "br-erspan-nd"
	s.add("watched", "--source", "vnet0", "--session-id", "1001", "--timeout", "60s")
	arriving, wire := s.capture(s.b, "eth0", "udp port 9999"), s.capture(s.collector, "eth0", "proto 47")
	st := startStream(s)
	target := "unix:" + filepath.Join(s.host.RunDir(), bridge+".mgmt")
	text, err := s.host.Ofctl(s.ctx, "-O", "OpenFlow15", "--no-names", "--no-stats", "dump-flows", bridge)
	s.must(err)
	want := strings.Count(text, "actions=")
	file := filepath.Join(s.lab.Dir(), "restart.flows")
	s.must(os.WriteFile(file, []byte(strings.ReplaceAll(text, " cookie=", "cookie=")), 0o600))
	restarted := func(then func()) time.Duration {
		s.must(s.host.KillVswitchd(s.ctx))
		started := make(chan error, 1)
		go func() { started <- s.host.StartVswitchd(s.ctx) }()
		var begin time.Time
		for s.ctx.Err() == nil {
			if conn, err := net.Dial("unix", strings.TrimPrefix(target, "unix:")); err == nil {
				conn.Close()
				begin = time.Now()
				break
			}
			time.Sleep(time.Millisecond)
		}
		then()
		s.must(lab.Until(s.ctx, "the flows are back", func(ctx context.Context) error {
			out, err := s.host.Ofctl(ctx, "dump-aggregate", bridge)
			if err == nil && !strings.Contains(out, fmt.Sprintf("flow_count=%d", want)) {
				err = errors.New(out)
			}
			return err
		}))
		took := time.Since(begin)
		s.must(<-started)
		return took
	}
	backs := []time.Duration{restarted(func() {})}
	st.waitSent(st.sent() + 100)
	s.must(st.process.Kill(s.ctx))
	s.stop(arriving)
	s.stop(wire)
	copies := copied(s, wire)
	for _, f := range rawFramesOf(s, arriving) {
		n, err := strconv.Atoi(string(f[14+20+8:][:8]))
		s.must(err)
		carried++
		if copies[n] == 0 {
			lost++
		}
	}
	for range 2 {
		backs = append(backs, restarted(func() {}))
	}
	s.must(d.Stop(s.ctx)) // it would be faster
	var hands []time.Duration
	for range 3 {
		hands = append(hands, restarted(func() {
			_, err := s.host.Ofctl(s.ctx, "-O", "OpenFlow15", "--no-names", "--bundle", "replace-flows", bridge, file)
			s.must(err)
		}))
	}
	return median(backs), median(hands), carried, lost
}
