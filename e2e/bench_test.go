//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// The benchmarks compare with what a user would do by hand, in the same run on the same bridges, and report ratios.
// `make bench` runs them; they use a binary without the race detector.

// buildFast makes the binary as it is released the one that the scene runs.
func buildFast(b *testing.B) {
	b.Helper()
	file := filepath.Join(b.TempDir(), "ovs-erspan")
	cmd := exec.Command("go", "build", "-o", file, "../cmd/ovs-erspan")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	was := binary
	binary = file
	b.Cleanup(func() { binary = was })
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// row is a row of ovs-vsctl's JSON output.
type row map[string]any

// list reads columns of a table, as ovs-vsctl shows them.
func list(s *scene, args ...string) []row {
	s.t.Helper()
	text, err := s.host.Vsctl(s.ctx, append([]string{"--format=json"}, args...)...)
	s.must(err)
	var table struct {
		Headings []string
		Data     [][]any
	}
	s.must(json.Unmarshal([]byte(text), &table))
	var rows []row
	for _, values := range table.Data {
		r := row{}
		for i, v := range values {
			r[table.Headings[i]] = v
		}
		rows = append(rows, r)
	}
	return rows
}

// byHand is what a user would type to program the same rows and flows as are there now: one ovs-vsctl transaction and one
// ovs-ofctl bundle, as a shell script.
func byHand(s *scene) (script string) {
	s.t.Helper()
	onBridge := func(port string) string {
		name, err := s.host.Vsctl(s.ctx, "port-to-br", port)
		s.must(err)
		return strings.TrimSpace(name)
	}
	cmd := []string{"ovs-vsctl", "add-br " + tapBridge, "-- set bridge " + tapBridge + " datapath_type=netdev fail_mode=secure protocols=OpenFlow10,OpenFlow13,OpenFlow14,OpenFlow15"}
	for _, i := range list(s, "--columns=name,type,options,ofport", "find", "interface", "external_ids:ovs-erspan!=\"\"") {
		name := i["name"].(string)
		if name == tapBridge { // comes with the bridge
			continue
		}
		options := ""
		for _, pair := range i["options"].([]any)[1].([]any) {
			kv := pair.([]any)
			options += fmt.Sprintf(" options:%s=%s", kv[0], kv[1])
		}
		request := ""
		bridge := onBridge(name)
		if bridge == tapBridge {
			request = fmt.Sprintf(" ofport_request=%v", i["ofport"])
		} else {
			request = " -- set port " + name + " trunks=4095 other_config:rstp-enable=false other_config:stp-enable=false other_config:priority-tags=always"
		}
		cmd = append(cmd, fmt.Sprintf("-- add-port %s %s -- set interface %s type=%s%s%s", bridge, name, name, i["type"], options, request))
	}
	n := 0
	names := map[string]string{}
	for _, p := range list(s, "--columns=_uuid,name", "list", "port") {
		names[p["_uuid"].([]any)[1].(string)] = p["name"].(string)
	}
	for _, m := range list(s, "--columns=name,select_src_port,select_dst_port,output_port", "find", "mirror", "external_ids:ovs-erspan!=\"\"") {
		out := names[m["output_port"].([]any)[1].(string)]
		line := ""
		for _, column := range []string{"select_src_port", "select_dst_port"} {
			if v := m[column].([]any); v[0] == "uuid" {
				n++
				line += fmt.Sprintf(" -- --id=@p%d get port %s", n, names[v[1].(string)])
				m[column] = fmt.Sprintf(" %s=@p%d", column, n)
			} else {
				m[column] = ""
			}
		}
		n++
		cmd = append(cmd, fmt.Sprintf("%s -- --id=@o%d get port %s -- --id=@m%d create mirror name=%s%s%s output_port=@o%d -- add bridge %s mirrors @m%d",
			line, n, out, n, m["name"], m["select_src_port"], m["select_dst_port"], n, onBridge(out), n))
	}
	flows, err := s.host.Ofctl(s.ctx, "-O", "OpenFlow15", "--no-names", "--no-stats", "dump-flows", tapBridge)
	s.must(err)
	file := filepath.Join(s.lab.Dir(), "by-hand.flows")
	s.must(os.WriteFile(file, []byte(strings.ReplaceAll(flows, " cookie=", "cookie=")), 0o600))
	target := "unix:" + filepath.Join(s.host.RunDir(), tapBridge+".mgmt")
	return strings.Join(cmd, " ") + fmt.Sprintf("\nexec ovs-ofctl -O OpenFlow15 --no-names --bundle add-flows %s %s\n", target, file)
}

// undo removes what byHand's script made.
func undo(s *scene) {
	s.t.Helper()
	args := []string{"del-br", tapBridge}
	for _, bridge := range list(s, "--columns=name", "list", "bridge") {
		args = append(args, "--", "clear", "bridge", bridge["name"].(string), "mirrors")
	}
	for _, p := range list(s, "--columns=name", "list", "port") {
		if name := p["name"].(string); strings.HasPrefix(name, "es-") && strings.HasSuffix(name, "-p") {
			args = append(args, "--", "del-port", name)
		}
	}
	args = append(args[2:], "--", "del-br", tapBridge)
	_, err := s.host.Vsctl(s.ctx, args[1:]...)
	s.must(err)
}

// timed runs a program on the host and says how long it took.
func timed(s *scene, c lab.Command) time.Duration {
	s.t.Helper()
	start := time.Now()
	_, stderr, err := s.host.Run(s.ctx, c)
	took := time.Since(start)
	if err != nil {
		s.t.Fatalf("%v: %v\n%s", c.Args, err, stderr)
	}
	return took
}

// compare times ours against the script by hand, taking turns, and reports the medians and their ratio. It returns the script
// and the median of ours.
func compare(b *testing.B, s *scene, times int, ours lab.Command, remove ...string) (script string, took time.Duration) {
	b.Helper()
	timed(s, ours)
	script = byHand(s)
	s.ok(remove...)
	var we, hand []time.Duration
	for range times {
		hand = append(hand, timed(s, lab.Command{Args: []string{"sh", "-e"}, Stdin: strings.NewReader(script)}))
		undo(s)
		we = append(we, timed(s, ours))
		s.ok(remove...)
	}
	b.ReportMetric(float64(median(we).Microseconds())/1000, "ms/ours")
	b.ReportMetric(float64(median(hand).Microseconds())/1000, "ms/by-hand")
	b.ReportMetric(median(we).Seconds()/median(hand).Seconds(), "ratio")
	b.ReportMetric(0, "ns/op")
	return script, median(we)
}

// BenchmarkAddOne: one `session add` against a script with one ovs-vsctl and one ovs-ofctl that programs the same; and
// against that script with what it lacks to promise what the command does, that running flows follow when it returns.
func BenchmarkAddOne(b *testing.B) {
	buildFast(b)
	for range b.N {
		s := newScene(b)
		script, ours := compare(b, s, 9, lab.Command{Args: []string{binary, "session", "add", "one", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr}},
			"session", "remove", "one")
		follow := strings.Replace(script, "\nexec ", "\n", 1) + strings.Repeat("ovs-appctl -t ovs-vswitchd revalidator/wait\n", 2)
		var hand []time.Duration
		for range 5 {
			hand = append(hand, timed(s, lab.Command{Args: []string{"sh", "-e"}, Stdin: strings.NewReader(follow)}))
			undo(s)
		}
		b.ReportMetric(float64(median(hand).Microseconds())/1000, "ms/by-hand-and-followed")
		b.ReportMetric(ours.Seconds()/median(hand).Seconds(), "ratio-followed")
	}
}

// BenchmarkApply: many sessions over many bridges, five on each port, against one ovs-vsctl transaction and one bundle with the
// same rows and flows. From 100 to 1000 over as many bridges is how it grows.
func BenchmarkApply(b *testing.B) {
	buildFast(b)
	for _, size := range []struct{ bridges, ports, collectors int }{{20, 10, 1}, {50, 4, 10}, {5, 4, 10}} {
		b.Run(fmt.Sprintf("%d-over-%d-bridges-to-%d", size.bridges*size.ports*5, size.bridges, size.collectors), func(b *testing.B) {
			for range b.N {
				benchmarkApply(b, size.bridges, size.ports, size.collectors)
			}
		})
	}
}

func benchmarkApply(b *testing.B, bridges, ports, collectors int) {
	s := newScene(b)
	to := []string{collectorAddr}
	for n := 1; n < collectors; n++ {
		to = append(to, fmt.Sprintf("192.0.2.%d", 100+n))
		_, _, err := s.collector.Exec(s.ctx, "ip", "addr", "add", to[n]+"/24", "dev", "eth0")
		s.must(err)
	}
	var sessions strings.Builder
	sessions.WriteString("apiVersion: ovs-erspan/v1\nsessions:\n")
	var rows []string
	for n := range bridges {
		rows = append(rows, "--", "add-br", fmt.Sprintf("p%d", n), "--", "set", "bridge", fmt.Sprintf("p%d", n), "datapath_type=netdev")
		for p := range ports {
			port := fmt.Sprintf("p%d-%d", n, p)
			rows = append(rows, "--", "add-port", fmt.Sprintf("p%d", n), port, "--", "set", "interface", port, "type=internal")
			for k := range 5 {
				fmt.Fprintf(&sessions, "- {name: s%d-%d-%d, bridge: p%d, sources: {ports: [%s]}, collectors: [%s]}\n", n, p, k, n, port, to[(n*ports*5+p*5+k)%collectors])
			}
		}
	}
	_, err := s.host.Vsctl(s.ctx, rows[1:]...)
	s.must(err)
	file := filepath.Join(s.lab.Dir(), "many.yaml")
	s.must(os.WriteFile(file, []byte(sessions.String()), 0o600))
	compare(b, s, 5, lab.Command{Args: []string{binary, "apply", "-f", file, "--timeout", "60s"}}, "uninstall", "--yes", "--timeout", "60s")
}

// BenchmarkCost: what a session costs production between two guests: TCP throughput, latency of a ping, and new TCP
// connections, without a session, with one that copies everything, and with one that matches a port; and the megaflows.
func BenchmarkCost(b *testing.B) {
	buildFast(b)
	for range b.N {
		for _, c := range []struct {
			name  string
			flags []string
		}{{"none", nil}, {"everything", []string{}}, {"tp_dst=443", []string{"--match", "tcp,tp_dst=443"}}} {
			s := newScene(b)
			if c.flags != nil {
				s.add("cost", append([]string{"--source", "vnet0"}, c.flags...)...)
			}
			const size = 100 << 20
			start := time.Now()
			s.must(lab.TCPTransfer(s.ctx, s.a, s.b, netip.MustParseAddr(addrB), size))
			b.ReportMetric(size/time.Since(start).Seconds()/1e6, "MB/s-"+c.name)
			ping, err := lab.Ping(s.ctx, s.a, netip.MustParseAddr(addrB), lab.PingOptions{Count: 200, Interval: 2 * time.Millisecond})
			s.must(err)
			b.ReportMetric(averageOf(s, ping.Output), "ms-ping-"+c.name)
			perSecond := connections(s, 1000)
			b.ReportMetric(perSecond, "conn/s-"+c.name)
			flows, err := s.host.Appctl(s.ctx, "dpctl/dump-flows", "netdev@ovs-netdev")
			s.must(err)
			b.ReportMetric(float64(strings.Count(flows, "recirc_id")), "megaflows-"+c.name)
			s.must(s.lab.Close())
		}
		b.ReportMetric(0, "ns/op")
	}
}

// averageOf reads the average round trip out of ping's "rtt min/avg/max/mdev = 0.1/0.2/0.3/0.0 ms".
func averageOf(s *scene, output string) float64 {
	s.t.Helper()
	var least, average float64
	_, figures, _ := strings.Cut(output, "mdev = ")
	_, err := fmt.Sscanf(figures, "%f/%f/", &least, &average)
	s.must(err)
	return average
}

// connections opens and closes n TCP connections from a to b, one after the other, each from a port of its own, and
// returns how many a second.
func connections(s *scene, n int) float64 {
	s.t.Helper()
	const program = `
import socket, sys, threading, time
host, n, role = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if role == "server":
    l = socket.create_server((host, 4430), backlog=128)
    print("ready", flush=True)
    for _ in range(n):
        l.accept()[0].close()
else:
    t = time.monotonic()
    for _ in range(n):
        socket.create_connection((host, 4430), timeout=10).close()
    print(n / (time.monotonic() - t))
`
	server, err := s.b.Start(s.ctx, lab.Command{Args: []string{"/usr/bin/python3", "-c", program, addrB, fmt.Sprint(n), "server"}})
	s.must(err)
	defer server.Stop(s.ctx)
	s.must(lab.Until(s.ctx, "the server listens", func(ctx context.Context) error {
		_, _, err := s.b.Exec(ctx, "sh", "-c", "ss -ltn | grep -q :4430")
		return err
	}))
	out, _, err := s.a.Exec(s.ctx, "/usr/bin/python3", "-c", program, addrB, fmt.Sprint(n), "client")
	s.must(err)
	var perSecond float64
	_, err = fmt.Sscan(out, &perSecond)
	s.must(err)
	return perSecond
}
