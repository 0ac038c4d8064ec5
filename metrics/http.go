package metrics

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Handler serves /metrics, /healthz (does the daemon live) and /readyz (is what is wished in force).
func (m *Metrics) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", &scrapes{handler: promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}), now: m.now})
	// To start the daemon anew makes nothing of Open vSwitch's better: /healthz names it, and stays 200.
	mux.HandleFunc("/healthz", answer(m.Stuck, m.NotReady))
	mux.HandleFunc("/readyz", answer(m.NotReady, nil))
	return mux
}

func answer(trouble, besides func() string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if text := trouble(); text != "" {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, text)
			return
		}
		text := "ok"
		if besides != nil {
			if why := besides(); why != "" {
				text = "ok: the daemon lives; not ready: " + why
			}
		}
		fmt.Fprintln(w, text)
	}
}

// Stuck says why the daemon does not live any more, "" where it does. That Open vSwitch is away is no reason.
func (m *Metrics) Stuck() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if took := m.now().Sub(m.begun); !m.begun.IsZero() && took > stuckLimit {
		return fmt.Sprintf("a reconcile has been under way for %s", took.Round(time.Second))
	}
	return ""
}

// NotReady says why what is wished is not in force, "" where it is as far as it can be.
func (m *Metrics) NotReady() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var why []string
	switch {
	case !m.connected:
		why = append(why, "not connected to ovsdb-server")
	case m.last.IsZero() && m.err == nil:
		why = append(why, "nothing was reconciled yet")
	}
	if m.err != nil {
		why = append(why, m.err.Error())
	}
	if took := m.now().Sub(m.begun); !m.begun.IsZero() && took > slowLimit {
		why = append(why, fmt.Sprintf("a reconcile has been under way for %s", took.Round(time.Second)))
	}
	for _, bridge := range slices.Sorted(maps.Keys(m.result.Failed)) {
		why = append(why, m.result.Failed[bridge].Error())
	}
	return strings.Join(why, "; ")
}
