package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/ovs-erspan/ovs-erspan/controller"
	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

type fakeBridges map[string][]flows.Entry

func (f fakeBridges) Dump(_ context.Context, bridge string) ([]flows.Entry, error) {
	return f[bridge], nil
}

func (fakeBridges) MeterCounts(context.Context, string) ([]flows.MeterCount, error) {
	return []flows.MeterCount{{ID: 1 << 31, In: flows.Count{Packets: 9, Bytes: 900}, Out: flows.Count{Packets: 2, Bytes: 200}}}, nil // the host's
}

type fakeDatapaths map[string]int

func (fakeDatapaths) Drops(context.Context) (map[string]uint64, error) {
	return map[string]uint64{"drop_action_of_pipeline": 5}, nil
}

// fakeLosses are the packets lost of session web, slot 1, by collector.
type fakeLosses map[string]uint64

func (f fakeLosses) Lost(name string, slot uint32, collector netip.Addr) flows.Count {
	if name != "web" || slot != 1 {
		return flows.Count{}
	}
	return flows.Count{Packets: f[collector.String()]}
}

func (f fakeDatapaths) Megaflows(context.Context) (map[string]int, error) { return f, nil }

// working is an event after which session web, slot 1 on tap bridge br-erspan, is in force and has sent 7 packets.
func working() (controller.Event, fakeBridges) {
	end := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	result := controller.Result{
		Generation: 3, RowOps: 2, FlowMods: 5,
		Wish:   session.Wish{Host: session.Host{MaxRate: session.PacketsPerSecond(1)}, Sessions: []session.Stored{{Slot: 1, Session: session.Session{Name: "web", Bridge: "br0", ExpiresAt: &end}}}},
		Status: map[string]session.Status{"web": {State: session.Active, Reason: flows.ReasonInForce, Since: end.Add(-time.Hour)}},
		Plan: controller.Plan{
			Input:  flows.Input{State: flows.State{Bridges: map[string]*flows.Bridge{"br-erspan": {}}}},
			Flows:  map[string][]flows.Line{"br-erspan": nil},
			Meters: map[string][]flows.Meter{"br-erspan": {{ID: 1 << 31}}},
			Program: flows.Program{Outcomes: map[string]*flows.Outcome{"web": {Slot: 1, TapBridge: "br-erspan", Collectors: []flows.CollectorOutcome{
				{Address: netip.MustParseAddr("192.0.2.9"), MaxLen: 1400, State: session.Active},
				{Address: netip.MustParseAddr("192.0.2.10"), MaxLen: 1400, State: session.Degraded, Reason: flows.ReasonNoNeighbor},
				{Address: netip.MustParseAddr("192.0.2.11"), State: session.Degraded, Reason: flows.ReasonNoRoute},
			}}}},
		},
	}
	sent := flows.Entry{Line: flows.Line{Cookie: flows.NewCookie(flows.StageSent, 1)}, Packets: 7, Bytes: 700}
	return controller.Event{Connected: true, Serving: true, Reconciled: true, Duration: 3 * time.Millisecond, Result: result},
		fakeBridges{"br-erspan": {sent}}
}

func get(t *testing.T, m *Metrics, path string) (int, string) {
	t.Helper()
	r := httptest.NewRecorder()
	m.Handler().ServeHTTP(r, httptest.NewRequest(http.MethodGet, path, nil))
	body, err := io.ReadAll(r.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.Code, string(body)
}

func TestMetrics(t *testing.T) {
	event, bridges := working()
	m := New("v0", bridges, fakeDatapaths{"system@ovs-system": 42}, fakeLosses{"192.0.2.10": 3})
	if code, body := get(t, m, "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "not connected") {
		t.Errorf("before anything was done /readyz is %d, %q", code, body)
	}
	m.Observe(controller.Event{Connected: true, Serving: true, Begin: true})
	m.Observe(event)
	if code, body := get(t, m, "/readyz"); code != http.StatusOK {
		t.Errorf("after a reconcile /readyz is %d, %q", code, body)
	}
	_, text := get(t, m, "/metrics")
	for _, want := range []string{
		`ovs_erspan_session_packets_total{bridge="br0",session="web",stage="sent"} 14`,
		`ovs_erspan_session_packets_total{bridge="br0",session="web",stage="lost"} 3`,
		`ovs_erspan_collector_packets_total{bridge="br0",collector="192.0.2.9",session="web",stage="sent"} 7`,
		`ovs_erspan_collector_packets_total{bridge="br0",collector="192.0.2.9",session="web",stage="lost"} 0`,
		`ovs_erspan_collector_packets_total{bridge="br0",collector="192.0.2.10",session="web",stage="lost"} 3`,
		`ovs_erspan_collector_packets_total{bridge="br0",collector="192.0.2.11",session="web",stage="sent"} 0`,
		`ovs_erspan_collector_vanishing{bridge="br0",collector="192.0.2.9",session="web"} 0`,
		`ovs_erspan_collector_vanishing{bridge="br0",collector="192.0.2.10",session="web"} 1`,
		`ovs_erspan_collector_vanishing{bridge="br0",collector="192.0.2.11",session="web"} 0`,
		`ovs_erspan_openvswitch_drops_total{counter="drop_action_of_pipeline"} 5`,
		`ovs_erspan_host_copies_total{bridge="br-erspan",stage="sent"} 7`,
		`ovs_erspan_host_copies_total{bridge="br-erspan",stage="limited"} 2`,
		`ovs_erspan_session_bytes_total{bridge="br0",session="web",stage="sent"} 1400`,
		`ovs_erspan_session_state{bridge="br0",session="web",state="Active"} 1`,
		`ovs_erspan_session_state{bridge="br0",session="web",state="Failed"} 0`,
		`ovs_erspan_reconciles_total{result="changed"} 1`,
		`ovs_erspan_reconcile_duration_seconds_count 1`,
		`ovs_erspan_flows_changed_total 5`, `ovs_erspan_rows_changed_total 2`, `ovs_erspan_generation 3`,
		`ovs_erspan_ovsdb_connected 1`, `ovs_erspan_vswitchd_up 1`, `ovs_erspan_openflow_up{bridge="br-erspan"} 1`,
		`ovs_erspan_megaflows{datapath="system@ovs-system"} 42`, `ovs_erspan_build_info{version="v0"} 1`, `ovs_erspan_scrape_failed 0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("/metrics lacks %q", want)
		}
	}

	// Open vSwitch goes: nothing is Active, and who asks is told.
	m.Observe(controller.Event{Connected: true, Reconciled: true, Retry: true, Err: errors.New("ovs-vswitchd is not running")})
	_, text = get(t, m, "/metrics")
	for _, want := range []string{`state="Active"} 0`, `state="Pending"} 1`, "ovs_erspan_vswitchd_up 0", "ovs_erspan_retries_total 1", `{result="failed"} 1`} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("without ovs-vswitchd /metrics lacks %q", want)
		}
	}
	if code, body := get(t, m, "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "ovs-vswitchd is not running") {
		t.Errorf("without ovs-vswitchd /readyz is %d, %q", code, body)
	}
	if code, body := get(t, m, "/healthz"); code != http.StatusOK || !strings.Contains(body, "not ready: ovs-vswitchd is not running") {
		t.Errorf("without ovs-vswitchd /healthz is %d, %q", code, body)
	}

	// The session is removed, and its metrics with it.
	event.Result.Wish, event.Result.Status, event.Result.Plan.Program = session.Wish{}, nil, flows.Program{}
	m.Observe(event)
	if _, text = get(t, m, "/metrics"); strings.Contains(text, "web") {
		t.Error("metrics of a removed session are still there")
	}

	// A reconcile that does not end.
	now := time.Now()
	m.now = func() time.Time { return now }
	m.Observe(controller.Event{Connected: true, Begin: true})
	now = now.Add(stuckLimit + time.Second)
	if code, body := get(t, m, "/healthz"); code != http.StatusServiceUnavailable {
		t.Errorf("stuck, /healthz is %d, %q", code, body)
	}
}

// TestDeployed: what the dashboard and the alert rules ask for exists.
func TestDeployed(t *testing.T) {
	event, bridges := working()
	m := New("v0", bridges, fakeDatapaths{"system@ovs-system": 42}, fakeLosses{"192.0.2.10": 3})
	m.Observe(event)
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string][]string{}
	for _, f := range families {
		all := []string{"instance", "job"}
		for _, l := range f.GetMetric()[0].GetLabel() {
			all = append(all, l.GetName())
		}
		labels[f.GetName()] = all
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if f.GetMetric()[0].GetHistogram() != nil {
				labels[f.GetName()+suffix] = append(all, "le")
			}
		}
	}
	selector := regexp.MustCompile(`\b((?:ovs_erspan|process|go)_\w+)(?:\{([^}]*)\})?`)
	label := regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)`)
	for file, exprs := range map[string][]string{
		"../deploy/grafana-dashboard.json": expressions(t, "../deploy/grafana-dashboard.json"),
		"../deploy/prometheus-rules.yaml":  expressions(t, "../deploy/prometheus-rules.yaml"),
	} {
		if len(exprs) < 5 {
			t.Errorf("%s has %d expressions", file, len(exprs))
		}
		for _, e := range exprs {
			found := selector.FindAllStringSubmatch(e, -1)
			if found == nil && !strings.HasPrefix(e, "up{") {
				t.Errorf("%s: %q asks for no metric", file, e)
			}
			for _, f := range found {
				if labels[f[1]] == nil {
					t.Errorf("%s: %q: there is no metric %s", file, e, f[1])
				}
				for _, l := range label.FindAllStringSubmatch(f[2], -1) {
					if !slices.Contains(labels[f[1]], l[1]) {
						t.Errorf("%s: %q: %s has no label %s", file, e, f[1], l[1])
					}
				}
			}
		}
	}
}

// expressions are the values of all keys "expr", and the queries of variables, anywhere in a JSON or YAML file.
func expressions(t *testing.T, file string) []string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if data, err = yaml.YAMLToJSON(data); err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(data, &tree); err != nil {
		t.Fatal(err)
	}
	var all []string
	var visit func(any)
	visit = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				visit(e)
			}
		case map[string]any:
			for key, e := range v {
				if text, ok := e.(string); ok && (key == "expr" || key == "query" && text != "prometheus") {
					all = append(all, text)
				}
				visit(e)
			}
		}
	}
	visit(tree)
	return all
}
