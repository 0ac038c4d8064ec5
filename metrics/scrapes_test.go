package metrics

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// TestScrapesShare: what is gathered for one scrape is the answer to all of that second, so that no number of them costs more.
func TestScrapesShare(t *testing.T) {
	var gathered, at atomic.Int64
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gathered", Help: "How often."}, func() float64 { return float64(gathered.Add(1)) }))
	s := &scrapes{handler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), now: func() time.Time { return time.Unix(1e9, at.Load()) }}
	scrape := func(encoding, want string) {
		t.Helper()
		r := httptest.NewRequest(http.MethodGet, "/metrics?name[]=nothing", nil)
		r.Header.Set("Accept-Encoding", encoding)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		var body io.Reader = w.Body
		if encoding != "" {
			var err error
			if body, err = gzip.NewReader(w.Body); err != nil {
				t.Error(err)
				return
			}
		}
		text, err := io.ReadAll(body)
		if err != nil || w.Code != http.StatusOK || !strings.Contains(string(text), "\ngathered "+want+"\n") {
			t.Errorf("%d %v, want %s:\n%s", w.Code, err, want, text)
		}
		if kind := w.Header().Get("Content-Type"); !strings.HasPrefix(kind, "text/plain; version=0.0.4") {
			t.Errorf("Content-Type %s", kind)
		}
	}
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() { scrape("", "1") })
	}
	all.Wait()
	scrape("gzip, deflate", "2") // another text
	scrape("gzip", "2")
	at.Store(int64(scrapeFresh))
	scrape("", "3")
	if n := gathered.Load(); n != 3 {
		t.Errorf("gathered %d times, want 3", n)
	}
}
