//go:build linux

package alerts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/teststorage"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

const (
	rulesFile = "../../deploy/prometheus-rules.yaml"
	address   = "127.0.0.1:9475"
	collector = "192.0.2.9"
	// lastReconcile goes on with the time while the daemon reconciles.
	lastReconcile = "ovs_erspan_last_reconcile_timestamp_seconds"
)

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "oe-alerts")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "ovs-erspan")
	build := exec.Command("go", "build", "-o", binary, "./cmd/ovs-erspan")
	build.Dir, build.Stderr = "../..", os.Stderr
	code := 1
	if build.Run() == nil {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// scene is a host whose session web copies what a guest a (10.0.0.1) says to b (10.0.0.2) to a collector on br-ul.
type scene struct {
	t         *testing.T
	ctx       context.Context
	host      *lab.Host
	a, b      *lab.Node
	daemon    *lab.Process
	meanwhile func() error // is done again and again between the scrapes
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) vsctl(args ...string) {
	s.t.Helper()
	_, err := s.host.Vsctl(s.ctx, args...)
	s.must(err)
}

func (s *scene) oe(args ...string) {
	s.t.Helper()
	_, stderr, err := s.host.Exec(s.ctx, append([]string{binary}, args...)...)
	if err != nil {
		s.t.Fatalf("%v: %v: %s", args, err, stderr)
	}
}

func newScene(t *testing.T) *scene {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	l, err := lab.New(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &scene{t: t, ctx: ctx}
	s.host, err = l.Host(ctx, "h1")
	s.must(err)
	for _, b := range []string{"br0", "br-ul"} {
		s.must(s.host.AddBridge(ctx, b))
	}
	guest := func(name, bridge, port, addr string) *lab.Node {
		n, err := l.Guest(ctx, name)
		s.must(err)
		s.must(s.host.Attach(ctx, n, bridge, port, lab.GuestIf{Addrs: []string{addr}}))
		return n
	}
	s.a, s.b = guest("a", "br0", "vnet0", "10.0.0.1/24"), guest("b", "br0", "vnet1", "10.0.0.2/24")
	guest("col", "br-ul", "uplink", collector+"/24")
	s.must(s.host.Underlay(ctx, "br-ul", 0, "192.0.2.1/24"))
	s.daemon, err = s.host.Start(ctx, lab.Command{Args: []string{binary, "run", "--listen", address}})
	s.must(err)
	s.until("the daemon is ready", func() error {
		code, body, err := s.get("/readyz")
		if err == nil && code != http.StatusOK {
			err = errors.New(body)
		}
		return err
	})
	s.oe("session", "add", "web", "--bridge", "br0", "--source", "vnet0", "--collector", collector, "--match", "ip")
	s.must(s.talk())
	return s
}

func (s *scene) until(what string, condition func() error) {
	s.t.Helper()
	s.must(lab.Until(s.ctx, what, func(context.Context) error { return condition() }))
}

// talk has a say something to b, at some thousand packets a second.
func (s *scene) talk() error {
	_, err := lab.UDPBurst(s.ctx, s.a, s.b, lab.Burst{Count: 4000, PPS: 4000})
	return err
}

func (s *scene) get(path string) (code int, body string, err error) {
	err = s.host.Do(func() error {
		conn, err := net.DialTimeout("tcp", address, 3*time.Second)
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return err
		}
		client := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}}
		r, err := client.Get("http://" + address + path)
		if err != nil {
			return err
		}
		defer r.Body.Close()
		data, err := io.ReadAll(r.Body)
		code, body = r.StatusCode, string(data)
		return err
	})
	return code, body, err
}

// sample is a series as one scrape saw it.
type sample struct {
	labels  labels.Labels
	value   float64
	counter bool
}

// scrape is what Prometheus gets of the daemon; whether it answers is a series, too.
func (s *scene) scrape() (time.Time, map[uint64]sample) {
	s.t.Helper()
	at := time.Now()
	samples := map[uint64]sample{}
	add := func(name string, pairs map[string]string, value float64, counter bool) {
		pairs = maps.Clone(pairs)
		if pairs == nil {
			pairs = map[string]string{}
		}
		pairs["__name__"], pairs["job"], pairs["instance"] = name, "ovs-erspan", "h1"
		l := labels.FromMap(pairs)
		samples[l.Hash()] = sample{l, value, counter}
	}
	_, body, err := s.get("/metrics")
	if err != nil {
		add("up", nil, 0, false)
		return at, samples
	}
	add("up", nil, 1, false)
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(strings.NewReader(body))
	s.must(err)
	for name, f := range families {
		for _, m := range f.GetMetric() {
			pairs := map[string]string{}
			for _, l := range m.GetLabel() {
				pairs[l.GetName()] = l.GetValue()
			}
			switch {
			case m.GetCounter() != nil:
				add(name, pairs, m.GetCounter().GetValue(), true)
			case m.GetGauge() != nil:
				add(name, pairs, m.GetGauge().GetValue(), false)
			}
		}
	}
	return at, samples
}

// firing evaluates the rules over two scrapes of the fault, as if it went on like that for a good while.
func (s *scene) firing() (fires map[string]bool) {
	s.t.Helper()
	const step, lasts = 30 * time.Second, 25 * time.Minute
	from, before := s.scrape()
	done, talked := make(chan struct{}), make(chan error, 1)
	go func() {
		for s.meanwhile != nil {
			if err := s.meanwhile(); err != nil {
				talked <- err
				return
			}
			select {
			case <-done:
				talked <- nil
				return
			default:
			}
		}
		talked <- nil
	}()
	// A daemon that has nothing to do reconciles every 36 s at the latest.
	last := labels.FromStrings("__name__", lastReconcile, "job", "ovs-erspan", "instance", "h1").Hash()
	to, after := s.scrape()
	s.until("the daemon has reconciled, or does so no more", func() error {
		to, after = s.scrape()
		took := to.Sub(from)
		if _, answers := after[last]; took < 4*time.Second || answers && took < 40*time.Second && after[last].value == before[last].value {
			return errors.New("not yet")
		}
		return nil
	})
	close(done)
	s.must(<-talked)
	storage := teststorage.New(s.t)
	appender := storage.Appender(s.ctx)
	for t := time.Duration(0); t <= lasts; t += step {
		for id, now := range after {
			v := now.value
			was, ok := before[id]
			switch {
			case id == last && ok && was.value != now.value:
				v += t.Seconds()
			case ok && now.counter:
				v += (now.value - was.value) / to.Sub(from).Seconds() * t.Seconds()
			}
			_, err := appender.Append(0, now.labels, to.Add(t).UnixMilli(), v)
			s.must(err)
		}
	}
	s.must(appender.Commit())
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, Parser: parser.NewParser(parser.Options{})})
	defer engine.Close()
	fires = map[string]bool{}
	for name, rule := range rules(s.t) {
		fires[name] = true
		for t := lasts - time.Duration(rule.For); t <= lasts; t += step {
			q, err := engine.NewInstantQuery(s.ctx, storage, nil, rule.Expr, to.Add(t))
			s.must(err)
			r := q.Exec(s.ctx)
			s.must(r.Err)
			v, err := r.Vector()
			s.must(err)
			fires[name] = fires[name] && len(v) > 0
			q.Close()
		}
	}
	return fires
}

func rules(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile(rulesFile, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	found := map[string]rulefmt.Rule{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			found[r.Alert] = r
		}
	}
	return found
}

var faults = map[string]struct {
	fault func(s *scene)
	fires []string
}{
	"nothing": {func(s *scene) { s.meanwhile = s.talk }, nil},
	"copies end on the host": {func(s *scene) {
		_, err := s.host.Ofctl(s.ctx, "add-flow", "br-ul", "priority=9,ip,nw_proto=47,actions=drop")
		s.must(err)
		s.metric(`ovs_erspan_collector_vanishing{bridge="br0",collector="192.0.2.9",session="web"} 1`)
		s.meanwhile = s.talk
		s.must(s.talk()) // counting begins a second after that
	}, []string{"OvsErspanCollectorVanishing", "OvsErspanCopiesLost", "OvsErspanSessionNotActive"}},
	"no source": {func(s *scene) {
		s.vsctl("del-port", "br0", "vnet0")
		s.metric(`state="Pending"} 1`)
	}, []string{"OvsErspanSessionNotActive"}},
	"ovs-vswitchd gone": {func(s *scene) {
		s.must(s.host.KillVswitchd(s.ctx))
		s.metric("ovs_erspan_vswitchd_up 0")
	}, []string{"OvsErspanOpenvSwitchAway", "OvsErspanSessionNotActive", "OvsErspanNotReconciling", "OvsErspanReconcilesFail"}},
	"ovsdb-server gone": {func(s *scene) {
		s.must(s.host.KillDB(s.ctx))
		s.metric("ovs_erspan_ovsdb_connected 0")
	}, []string{"OvsErspanOpenvSwitchAway", "OvsErspanSessionNotActive", "OvsErspanNotReconciling"}},
	"daemon gone": {func(s *scene) { _ = s.daemon.Kill(s.ctx) }, []string{"OvsErspanDown"}},
	"somebody undoes it": {func(s *scene) {
		s.meanwhile = func() error {
			_, err := s.host.Vsctl(s.ctx, "clear", "bridge", "br0", "mirrors")
			return err
		}
		s.until("it is contested", func() error {
			s.must(s.meanwhile())
			_, body, err := s.get("/metrics")
			if err == nil && !strings.Contains(body, "Contested") {
				err = errors.New("not yet")
			}
			return err
		})
	}, []string{"OvsErspanFightsOverBridges", "OvsErspanSessionNotActive"}},
	"copies are tapped": {func(s *scene) {
		s.oe("session", "add", "underlay", "--bridge", "br-ul", "--source", "uplink", "--direction", "egress", "--collector", collector)
		s.meanwhile = s.talk
	}, []string{"OvsErspanGuardDropsMuch"}},
}

// metric waits until the daemon shows it.
func (s *scene) metric(text string) {
	s.t.Helper()
	s.until("metrics show "+text, func() error {
		_, body, err := s.get("/metrics")
		if err == nil && !strings.Contains(body, text) {
			err = fmt.Errorf("%s", body)
		}
		return err
	})
}

// TestAlerts: with each fault the alerts fire that are about it, and no others; and each rule has a fault with which it fires.
func TestAlerts(t *testing.T) {
	t.Run("faults", func(t *testing.T) {
		for name, f := range faults {
			t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
				t.Parallel()
				s := newScene(t)
				f.fault(s)
				for alert, fires := range s.firing() {
					if want := slices.Contains(f.fires, alert); fires != want {
						t.Errorf("%s: %s fires: %v, want %v", name, alert, fires, want)
					}
				}
			})
		}
	})
	for alert := range rules(t) {
		fired := false
		for _, f := range faults {
			fired = fired || slices.Contains(f.fires, alert)
		}
		if !fired {
			t.Errorf("no fault makes %s fire", alert)
		}
	}
}
