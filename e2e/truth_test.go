//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// truthScene is a scene with a daemon and a session web, whose collector is reached through another, and whose copies arrive.
type truthScene struct {
	*scene
	d *daemon
}

const (
	truthCollector = "203.0.113.5"
	truthMetrics   = "127.0.0.1:9475"
)

// truthViews are all that people and programs look at. Quotes are left out of what they say, JSON is on one line.
var truthViews = []struct {
	name string
	look func(s *truthScene) result
}{
	{"list", func(s *truthScene) result { return s.oe("session", "list", "--timeout", "3s") }},
	{"json", func(s *truthScene) result {
		r := s.oe("session", "list", "-o", "json", "--timeout", "3s")
		var line bytes.Buffer
		if json.Compact(&line, []byte(r.stdout)) == nil {
			r.stdout = line.String()
		}
		return r
	}},
	{"show", func(s *truthScene) result { return s.oe("session", "show", "web", "--timeout", "3s") }},
	{"trace", func(s *truthScene) result { return s.oe("session", "trace", "web", "--timeout", "3s") }},
	{"verify", func(s *truthScene) result { return s.oe("session", "verify", "web", "--timeout", "3s") }},
	{"doctor", func(s *truthScene) result { return s.oe("doctor", "web", "--timeout", "3s") }},
	{"plan", func(s *truthScene) result { return s.oe("plan", "--timeout", "3s") }},
	{"healthz", func(s *truthScene) result { return s.http("/healthz") }},
	{"readyz", func(s *truthScene) result { return s.http("/readyz") }},
	{"metrics", func(s *truthScene) result { return s.http("/metrics") }},
	{"once", func(s *truthScene) result { return s.oe("run", "--once", "--timeout", "3s") }}, // may mend: last
}

func (s *truthScene) http(path string) result {
	code, body, err := httpGet(s.host, truthMetrics, path)
	if err != nil {
		return result{code: 0, stderr: err.Error()} // nobody answers
	}
	return result{stdout: body, code: code}
}

// truthRow is a row of the table: something is broken, and what each view says then, a view or several a line: the exit code or
// HTTP status, what has to be said, and after an exclamation mark what must not. 0 of an HTTP view: nobody answers.
type truthRow struct {
	name        string
	break_, fix func(s *truthScene)
	says        string
}

// What several rows have in common.
const (
	daemonKeeps = `
		once: 1 "the daemon"
		healthz: 200 ok
	`
	noDaemon = `
		healthz, readyz, metrics: 0
	`
	// Open vSwitch cannot be asked: what is stored is shown, and nothing that could only be seen.
	vswitchdAway = daemonKeeps + `
		list: 3 "Pending (BridgeUnreachable)" "what is stored" !(InForce !Active
		json: 3 tapped:null sent:null lost:null state:Pending !state:Active !tapped:{
		show: 3 "Pending, BridgeUnreachable" !packets
		trace, verify, plan: 1 !proven: !nothing !Active
		doctor: 1 "FAILURE ovs-vswitchd answers" !"every next hop answers" !"row and flow"
		readyz: 503
		metrics: 200 "vswitchd_up 0" "scrape_failed 1" "state=Active} 0" "state=Pending} 1" !stage=sent
	`
	databaseAway = `
		list, json, show, trace, verify, plan: 1 db.sock !Active !nothing
		doctor: 1 "FAILURE Open vSwitch's database answers"
		once: 1 db.sock
		healthz: 200 ok
		readyz: 503
		metrics: 200 "ovsdb_connected 0" "state=Active} 0" "state=Pending} 1"
	`
	copiesEnd = daemonKeeps + `
		list, show: 0 CopiesEndOnHost !Active
		json: 0 reason:CopiesEndOnHost vanishes:true !state:Active
		trace: 3 CopiesEndOnHost
		verify: 3 "no copy leaves this host" "not proven" !leaves\ as !"proven: probes"
		doctor: 3 "CopiesEndOnHost" "0 failures" !"0 warnings"
		plan: 0 "every row and flow of ours is as wished"
		readyz: 200 ok
		metrics: 200 "collector=203.0.113.5,session=web} 1" "state=Active} 0" "state=Degraded} 1"
	`
	sourceGone = daemonKeeps + `
		list, show: 0 SourceMissing Pending !Active
		json: 0 state:Pending !reason:NoTraffic
		trace: 3 SourceMissing
		verify: 3 SourceMissing
		doctor: 3 SourceMissing !"0 warnings"
		plan: 0 "every row and flow of ours is as wished"
		readyz: 200 ok
		metrics: 200 "state=Active} 0" "state=Pending} 1"
	`
	notKept = noDaemon + `
		list, show: 0 Active
		json: 0 state:Active lost:null !lost:{
		trace: 0 Active
		verify: 0 "leaves as" "is not, because nobody answers"
		doctor: 3 "WARNING somebody keeps sessions in force" !"0 warnings"
		plan: 0
	`
)

var truthTable = []truthRow{
	{"next hop dead", func(s *truthScene) {
		s.ip(s.collector, "link set eth0 arp off")
		s.appctl("tnl/neigh/flush")
		s.ip(s.host.Node, "neigh flush dev br-ul")
	}, nil, daemonKeeps + `
		list, show: 0 NoNeighbor !Active
		json: 0 reason:NoNeighbor vanishes:true !state:Active
		trace: 3 NoNeighbor
		verify: 3 "not proven" !"proven: probes"
		doctor: 3 "does not answer ARP" !"0 warnings"
		plan: 0 "every row and flow of ours is as wished"
		readyz: 200 ok
		metrics: 200 "collector=203.0.113.5,session=web} 1" "state=Active} 0" "state=Degraded} 1"
	`},
	{"route gone", func(s *truthScene) { s.ip(s.host.Node, "route del "+truthCollector) }, nil, daemonKeeps + `
		list, show: 0 NoRoute !Active
		json: 0 reason:NoRoute tapped:null !state:Active
		trace: 3 NoRoute
		verify: 3 "not proven" !"proven: probes"
		doctor: 1 "FAILURE routes to collectors"
		plan: 0 "every row and flow of ours is as wished"
		readyz: 200 ok
		metrics: 200 "state=Active} 0" "state=Degraded} 1" !stage=sent
	`},
	{"underlay port down", func(s *truthScene) { s.ip(s.host.Node, "link set uplink down") }, nil, copiesEnd + `
		show: 0 "port uplink of bridge br-ul is down"
	`},
	{"underlay port deleted", func(s *truthScene) { s.vsctl("del-port", "br-ul", "uplink") }, nil, copiesEnd},
	{"underlay device deleted", func(s *truthScene) { s.ip(s.host.Node, "link del uplink") }, nil, copiesEnd + `
		show: 0 "device uplink is gone"
	`},
	{"source device deleted", func(s *truthScene) { s.ip(s.host.Node, "link del vnet0") }, nil, sourceGone + `
		show: 0 "device vnet0 is gone"
	`},
	{"source port deleted", func(s *truthScene) { s.vsctl("del-port", "br0", "vnet0") }, nil, sourceGone},
	{"output port's device deleted", func(s *truthScene) {
		s.ok("session", "remove", "web")
		s.ok("session", "add", "web", "--type", "destination", "--bridge", "br0", "--output-port", "vnet1", "--from", "any", "--session-id", "7")
		s.ip(s.host.Node, "link del vnet1")
	}, nil, daemonKeeps + `
		list, show: 0 OutputPortMissing Pending !Active
		json: 0 reason:OutputPortMissing state:Pending !state:Active !NoTraffic
		trace, verify: 3 OutputPortMissing !"would deliver"
		doctor: 3 OutputPortMissing !"0 warnings"
		plan: 0 "every row and flow of ours is as wished"
		readyz: 200 ok
		metrics: 200 "state=Active} 0" "state=Pending} 1"
	`},
	{"one source of two is not there", func(s *truthScene) {
		s.oe("session", "set", "web", "--add-source", "sub9", "--allow-missing")
	}, nil, daemonKeeps + `
		list, show: 0 SourceMissing Degraded sub9 !Active
		json: 0 reason:SourceMissing state:Degraded
		verify: 3 SourceMissing
		doctor: 3 SourceMissing !"0 warnings"
		metrics: 200 "state=Active} 0" "state=Degraded} 1"
	`},
	{"tap bridge deleted", func(s *truthScene) { s.vsctl("del-br", tapBridge) }, nil, daemonKeeps + `
		list, show, trace: 0 Active
		plan: 0 "every row and flow of ours is as wished"
		readyz: 200 ok
		metrics: 200 "state=Active} 1"
	`},
	{"tap bridge deleted without a daemon", func(s *truthScene) {
		s.must(s.d.Stop(s.ctx))
		s.vsctl("del-br", tapBridge)
	}, nil, noDaemon + `
		list: 0 "Pending (NotInForce)" !Active
		json: 0 reason:NotInForce tapped:null sent:null
		show: 0 NotInForce "run --once"
		trace: 3 NotInForce
		verify: 3 "not proven"
		doctor: 3 "WARNING what is programmed" !"0 warnings"
		plan: 3 "bridge ` + tapBridge + `" !"nothing to do"
		once: 0 "generation 1 is in force"
	`},
	{"production bridge deleted", func(s *truthScene) { s.must(s.host.DelBridge(s.ctx, "br0")) }, nil, daemonKeeps + `
		list, show: 0 BridgeMissing !Active
		json: 0 state:Pending tapped:null !state:Active
		trace, verify, doctor: 3 BridgeMissing
		plan: 0 "every row and flow of ours is as wished"
		readyz: 200 ok
		metrics: 200 "state=Active} 0" "state=Pending} 1" !stage=sent
	`},
	{"daemon stopped", func(s *truthScene) { s.must(s.d.Stop(s.ctx)) }, nil, notKept + `
		once: 0 "nothing to do"
	`},
	{"daemon killed", func(s *truthScene) { _ = s.d.Kill(s.ctx) }, nil, notKept + `
		once: 0 "nothing to do"
	`},
	{"daemon hung", func(s *truthScene) { s.must(s.d.Signal(syscall.SIGSTOP)) }, func(s *truthScene) { s.must(s.d.Signal(syscall.SIGCONT)) }, noDaemon + `
		list, show: 0 Active
		json: 0 state:Active lost:null !lost:{
		doctor: 1 "FAILURE somebody keeps sessions in force"
		once: 1 "the daemon"
	`},
	{"ovsdb-server stopped", func(s *truthScene) { s.must(s.host.StopDB(s.ctx)) }, nil, databaseAway},
	{"ovsdb-server hung", func(s *truthScene) { s.must(s.host.PauseDB()) }, func(s *truthScene) { s.must(s.host.ResumeDB()) }, databaseAway},
	{"ovs-vswitchd stopped", func(s *truthScene) { s.must(s.host.StopVswitchd(s.ctx)) }, nil, vswitchdAway},
	{"ovs-vswitchd hung", func(s *truthScene) { s.must(s.host.PauseVswitchd()) }, func(s *truthScene) { s.must(s.host.ResumeVswitchd()) }, vswitchdAway},
	{"control socket gone", func(s *truthScene) {
		s.must(os.Remove(filepath.Join(s.host.RunDir(), "ovs-vswitchd."+strconv.Itoa(s.host.VswitchdPID())+".ctl")))
	}, nil, vswitchdAway + `
		readyz: 503 "control socket"
	`},
	{"run directory gone", func(s *truthScene) { s.must(os.Rename(s.host.RunDir(), s.host.RunDir()+".aside")) }, func(s *truthScene) { s.must(os.Rename(s.host.RunDir()+".aside", s.host.RunDir())) }, `
		list, json, show, trace, verify, plan, once: 1 db.sock !Active !nothing
		doctor: 1 FAILURE
		healthz: 200
		readyz: 503 "no such file"
		metrics: 200 "vswitchd_up 0" "state=Active} 0"
	`},
}

// TestEveryWordIsTrue: whatever is broken, no view says what is not so.
func TestEveryWordIsTrue(t *testing.T) {
	t.Parallel()
	if lab.Datapath() == lab.Kernel {
		t.Skip("the table is of the userspace datapath")
	}
	for _, f := range truthTable {
		t.Run(strings.ReplaceAll(f.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			s := newTruth(t)
			cells := truthCells(t, f.says)
			f.break_(s)
			if f.fix != nil {
				defer f.fix(s)
			}
			for _, view := range truthViews {
				for _, c := range cells[view.name] {
					s.holds(view.name, c, view.look)
				}
			}
		})
	}
}

func newTruth(t *testing.T) *truthScene {
	s := newScene(t)
	s.ip(s.collector, "addr add "+truthCollector+"/32 dev lo")
	s.ip(s.host.Node, "route add "+truthCollector+" via "+collectorAddr)
	s.lookup(truthCollector, "Not found")
	s.ping(s.host.Node, collectorAddr, 1)
	// Not [scene.daemon]'s: it may be killed.
	p, err := s.host.Start(s.ctx, lab.Command{Args: []string{binary, "run", "-v", "--listen", truthMetrics}, Env: []string{"GORACE=atexit_sleep_ms=10"}})
	s.must(err)
	t.Cleanup(func() {
		if strings.Contains(p.Stderr(), "DATA RACE") || strings.Contains(p.Stderr(), "panic:") {
			t.Errorf("the daemon's log:\n%s", p.Stderr())
		} else if t.Failed() {
			t.Logf("the daemon's log:\n%s", tail(p.Stderr(), 40))
		}
	})
	d := (&daemon{p, s}).ready()
	s.ok("session", "add", "web", "--bridge", "br0", "--source", "vnet0", "--collector", truthCollector, "--match", "icmp")
	wire := s.capture(s.collector, "eth0", "proto 47")
	s.ping(s.a, addrB, 2)
	s.waitCount(wire, "erspan", 4)
	s.stop(wire)
	return &truthScene{scene: s, d: d}
}

// cell is what one view has to say.
type cell struct {
	text string
	code int
	says []string
	not  []string
}

var truthWord = regexp.MustCompile(`!?(?:"[^"]*"|(?:\\ |\S)+)`)

// truthCells reads a row, by view. A later line about a view is one more.
func truthCells(t *testing.T, text string) map[string][]cell {
	t.Helper()
	cells := map[string][]cell{}
	for line := range strings.Lines(text) {
		views, said, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			continue
		}
		words := truthWord.FindAllString(said, -1)
		c := cell{text: said}
		var err error
		if c.code, err = strconv.Atoi(words[0]); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		for _, w := range words[1:] {
			must, not := strings.CutPrefix(w, "!")
			must = strings.ReplaceAll(strings.Trim(must, `"`), `\ `, " ")
			if not {
				c.not = append(c.not, must)
			} else {
				c.says = append(c.says, must)
			}
		}
		for view := range strings.SplitSeq(views, ", ") {
			if !slices.ContainsFunc(truthViews, func(v struct {
				name string
				look func(s *truthScene) result
			}) bool {
				return v.name == view
			}) {
				t.Fatalf("%q: there is no view %q", line, view)
			}
			cells[view] = append(cells[view], c)
		}
	}
	return cells
}

// truthTime is how long a fault may take to show.
const truthTime = 25 * time.Second

// holds waits until a view says what it has to.
func (s *truthScene) holds(view string, c cell, look func(s *truthScene) result) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, truthTime)
	defer cancel()
	err := lab.Until(ctx, fmt.Sprintf("%s: %s", view, c.text), func(context.Context) error {
		r := look(s)
		said := strings.Join(strings.Fields(strings.ReplaceAll(r.stdout+" "+r.stderr, `"`, "")), " ")
		if r.code != c.code {
			return fmt.Errorf("it is %d: %s", r.code, shortened(said))
		}
		for _, must := range c.says {
			if !strings.Contains(said, must) {
				return fmt.Errorf("it does not say %q: %s", must, shortened(said))
			}
		}
		for _, not := range c.not {
			if strings.Contains(said, not) {
				return fmt.Errorf("it says %q: %s", not, shortened(said))
			}
		}
		return nil
	})
	if err != nil {
		s.t.Error(err)
	}
}

func shortened(text string) string { return text[:min(len(text), 3000)] }
