package metrics

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/ovs-erspan/ovs-erspan/controller"
	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// Bridges reads flows with their counters (package openflow).
type Bridges interface {
	Dump(ctx context.Context, bridge string) ([]flows.Entry, error)
	MeterCounts(ctx context.Context, bridge string) ([]flows.MeterCount, error)
}

// Datapaths counts megaflows by datapath, and what ovs-vswitchd has dropped by the names of its counters (package vswitchd).
type Datapaths interface {
	Megaflows(ctx context.Context) (map[string]int, error)
	Drops(ctx context.Context) (map[string]uint64, error)
}

// Losses are copies that were sent and are lost (controller.Ledger).
type Losses interface {
	Lost(session string, slot uint32, collector netip.Addr) flows.Count
}

const (
	// scrapeTimeout bounds what a scrape asks of Open vSwitch.
	scrapeTimeout = 3 * time.Second
	// stuckLimit is how long a reconcile may take before the daemon counts as stuck; the loop gives up earlier.
	stuckLimit = time.Minute
	// slowLimit is how long one may take before what was in force may be no longer so.
	slowLimit = 5 * time.Second
)

// Metrics is what the daemon shows. Its methods may be called concurrently.
type Metrics struct {
	registry  *prometheus.Registry
	bridges   Bridges
	datapaths Datapaths
	losses    Losses
	now       func() time.Time

	reconciles *prometheus.CounterVec
	durations  prometheus.Histogram
	retries    prometheus.Counter
	rows, mods prometheus.Counter

	mu        sync.Mutex // of what follows
	connected bool
	serving   bool
	begun     time.Time // of the reconcile under way; zero: none is
	last      time.Time // when the last successful reconcile ended
	err       error     // of the last reconcile or connection
	result    controller.Result
}

// New makes metrics that show a loop that has done nothing yet.
func New(version string, bridges Bridges, datapaths Datapaths, losses Losses) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), bridges: bridges, datapaths: datapaths, losses: losses, now: time.Now}
	m.reconciles = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ovs_erspan_reconciles_total", Help: "Reconciles, by result: changed, nothing (to do), failed.",
	}, []string{"result"})
	for _, result := range []string{"changed", "nothing", "failed"} {
		m.reconciles.WithLabelValues(result)
	}
	m.durations = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "ovs_erspan_reconcile_duration_seconds", Help: "How long reconciles take.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	})
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		m.registry.MustRegister(c)
		return c
	}
	m.retries = counter("ovs_erspan_retries_total", "Reconciles that were tried again after a failure.")
	m.rows = counter("ovs_erspan_rows_changed_total", "Rows of OVSDB that reconciles added, changed or removed.")
	m.mods = counter("ovs_erspan_flows_changed_total", "OpenFlow flows that reconciles added, changed or removed.")
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "ovs_erspan_build_info", Help: "Always 1.", ConstLabels: prometheus.Labels{"version": version},
	}, func() float64 { return 1 })
	m.registry.MustRegister(m.reconciles, m.durations, build, m,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Observe is told what the loop does.
func (m *Metrics) Observe(e controller.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.connected, m.serving = e.Connected, e.Connected && e.Serving
	m.begun = time.Time{}
	if e.Begin {
		m.begun = m.now()
		return
	}
	m.err = e.Err
	if !e.Reconciled {
		return
	}
	m.durations.Observe(e.Duration.Seconds())
	if e.Retry {
		m.retries.Inc()
	}
	switch {
	case e.Err != nil || len(e.Result.Failed) > 0:
		m.reconciles.WithLabelValues("failed").Inc()
	case e.Result.Changed():
		m.reconciles.WithLabelValues("changed").Inc()
	default:
		m.reconciles.WithLabelValues("nothing").Inc()
	}
	m.rows.Add(float64(e.Result.RowOps))
	m.mods.Add(float64(e.Result.FlowMods))
	if e.Err == nil {
		m.last, m.result = m.now(), e.Result
	}
}

// What is known of sessions and bridges is put together when it is asked for: so what is removed disappears.
var (
	packets   = desc("session_packets_total", "Packets of a session at a stage: tapped (shared by sessions on one tap), guarded, matched, filtered, limited, sent, lost; of destination sessions terminated, delivered, oversize.", "session", "bridge", "stage")
	bytes     = desc("session_bytes_total", "Bytes of a session's frames at a stage, before any cut.", "session", "bridge", "stage")
	collected = desc("collector_packets_total", "Copies for a collector: sent, and lost of these: no less than so many were sent while their way ended on this host.", "session", "bridge", "collector", "stage")
	vanishing = desc("collector_vanishing", "Whether all that is sent to a collector ends on this host.", "session", "bridge", "collector")
	dropped   = desc("openvswitch_drops_total", "Packets that ovs-vswitchd has dropped since it started, production's included, by its own counter (ovs-appctl coverage/show).", "counter")
	ofHost    = desc("host_copies_total", "Copies that the host's maximal rate has let pass (sent) or dropped (limited), by tap bridge.", "bridge", "stage")
	state     = desc("session_state", "1 for the state that a session is in, 0 for the others.", "session", "bridge", "state")
	since     = desc("session_state_since_timestamp_seconds", "Since when a session is in its state, for the reason that is a label.", "session", "bridge", "reason")
	expires   = desc("session_expires_timestamp_seconds", "When a session that expires does.", "session", "bridge")
	sessions  = desc("sessions", "Sessions that are wished for.")
	wished    = desc("generation", "Generation of the wish that was last reconciled.")
	lastDone  = desc("last_reconcile_timestamp_seconds", "When the last successful reconcile ended; 0: there was none.")
	ovsdb     = desc("ovsdb_connected", "Whether there is a connection to ovsdb-server, and it answers.")
	vswitchd  = desc("vswitchd_up", "Whether ovs-vswitchd answered the last reconcile, and answers now.")
	openflow  = desc("openflow_up", "Whether the flows of a tap bridge could be seen and changed by the last reconcile.", "bridge")
	megaflows = desc("megaflows", "Megaflows of a datapath, production's included.", "datapath")
	failed    = desc("scrape_failed", "Whether Open vSwitch could not be asked for counters.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("ovs_erspan_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{packets, bytes, collected, vanishing, dropped, ofHost, state, since, expires, sessions, wished, lastDone, ovsdb, vswitchd, openflow, megaflows, failed} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	m.mu.Lock()
	connected, serving, last, err, r := m.connected, m.serving, m.last, m.err, m.result
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	var counts map[string]int
	var asked error
	if serving { // it answered the last reconcile, which may be long ago
		counts, asked = m.datapaths.Megaflows(ctx)
		serving = asked == nil
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(ovsdb, truth(connected))
	gauge(vswitchd, truth(serving))
	gauge(wished, float64(r.Generation))
	gauge(sessions, float64(len(r.Status)))
	gauge(lastDone, unix(last))
	m.states(gauge, r, connected && serving && err == nil)
	if !serving {
		gauge(failed, 1)
		return
	}
	ok := m.counters(ctx, out, r, gauge)
	for _, datapath := range slices.Sorted(maps.Keys(counts)) {
		gauge(megaflows, float64(counts[datapath]), datapath)
	}
	drops, dropsErr := m.datapaths.Drops(ctx)
	for _, counter := range slices.Sorted(maps.Keys(drops)) {
		out <- prometheus.MustNewConstMetric(dropped, prometheus.CounterValue, float64(drops[counter]), counter)
	}
	gauge(failed, truth(!ok || dropsErr != nil))
}

// states shows each session's state; while nothing can be done about sessions none is Active.
func (m *Metrics) states(gauge func(*prometheus.Desc, float64, ...string), r controller.Result, working bool) {
	bridges := map[string]string{}
	for _, s := range r.Wish.Sessions {
		bridges[s.Name] = s.Bridge
		if s.ExpiresAt != nil {
			gauge(expires, unix(*s.ExpiresAt), s.Name, s.Bridge)
		}
	}
	shown := map[string]bool{}
	for name, st := range r.Status {
		label := session.Safe(name) // a key of the store that somebody wrote by hand may have any
		if shown[label] {
			continue // two series of the same labels would be none at all
		}
		shown[label] = true
		if !working && st.State != session.Disabled {
			st.State, st.Reason = session.Pending, flows.ReasonUnreachable
		}
		for _, each := range []session.State{session.Active, session.Pending, session.Degraded, session.Failed, session.Disabled} {
			gauge(state, truth(st.State == each), label, bridges[name], string(each))
		}
		gauge(since, unix(st.Since), label, bridges[name], st.Reason)
	}
}

// counters shows what was counted at each stage; it is false where a bridge could not be asked.
func (m *Metrics) counters(ctx context.Context, out chan<- prometheus.Metric, r controller.Result, gauge func(*prometheus.Desc, float64, ...string)) bool {
	ok := true
	entries := map[string][]flows.Entry{}
	for bridge := range r.Plan.Flows {
		if r.Plan.Input.State.Bridges[bridge] == nil {
			continue
		}
		gauge(openflow, truth(r.Failed[bridge] == nil), bridge)
		there, err := m.bridges.Dump(ctx, bridge)
		if err == nil && len(r.Plan.Meters[bridge]) > 0 {
			var meters []flows.MeterCount
			meters, err = m.bridges.MeterCounts(ctx, bridge)
			there = append(there, flows.MeterEntries(meters)...)
		}
		ok = ok && err == nil
		entries[bridge] = there
		if !r.Wish.Host.MaxRate.IsZero() {
			given, dropped := flows.HostCount(there)
			out <- prometheus.MustNewConstMetric(ofHost, prometheus.CounterValue, float64(given.Packets-dropped.Packets), bridge, "sent")
			out <- prometheus.MustNewConstMetric(ofHost, prometheus.CounterValue, float64(dropped.Packets), bridge, "limited")
		}
	}
	counted := flows.CountAll(r.Plan.Program, entries)
	for _, s := range r.Wish.Sessions {
		if kept := r.Status[s.Name].Counted; s.Stopped() && kept != nil { // no counter falls because a session was stopped
			for stage, n := range kept.Stages {
				out <- prometheus.MustNewConstMetric(packets, prometheus.CounterValue, float64(n.Packets), s.Name, s.Bridge, stage)
				out <- prometheus.MustNewConstMetric(bytes, prometheus.CounterValue, float64(n.Bytes), s.Name, s.Bridge, stage)
			}
			continue
		}
		outcome := r.Plan.Program.Outcomes[s.Name]
		if outcome == nil || entries[outcome.TapBridge] == nil {
			continue
		}
		c := counted[s.Name]
		type stage struct {
			name  string
			count flows.Count
		}
		var sent, lost flows.Count // of all collectors
		for _, co := range outcome.Collectors {
			var to flows.Count
			if co.MaxLen > 0 {
				to = c.Sent
			}
			of := m.losses.Lost(s.Name, s.Slot, co.Address)
			sent, lost = sent.Plus(to), lost.Plus(of)
			address := co.Address.String()
			out <- prometheus.MustNewConstMetric(collected, prometheus.CounterValue, float64(to.Packets), s.Name, s.Bridge, address, "sent")
			out <- prometheus.MustNewConstMetric(collected, prometheus.CounterValue, float64(of.Packets), s.Name, s.Bridge, address, "lost")
			gauge(vanishing, truth(co.Loses()), s.Name, s.Bridge, address)
		}
		stages := []stage{{"tapped", c.Tapped}, {"guarded", c.Guarded}, {"matched", c.Matched}, {"filtered", c.Filtered}, {"limited", c.Limited}, {"sent", sent}, {"lost", lost}}
		if s.Type == session.Destination {
			stages = []stage{{"terminated", c.Terminated}, {"delivered", c.Delivered}, {"oversize", c.Oversize}}
		}
		for _, stage := range stages {
			out <- prometheus.MustNewConstMetric(packets, prometheus.CounterValue, float64(stage.count.Packets), s.Name, s.Bridge, stage.name)
			out <- prometheus.MustNewConstMetric(bytes, prometheus.CounterValue, float64(stage.count.Bytes), s.Name, s.Bridge, stage.name)
		}
	}
	return ok
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// unix is a time as Prometheus has it; 0 for the zero time.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
