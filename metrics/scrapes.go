package metrics

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// scrapeFresh is how long what was gathered for one scrape is good for others.
const scrapeFresh = time.Second

// scrapes gathers for one scrape at a time, and hands what came out to all who ask meanwhile or a moment later: neither many
// who ask nor those who read slowly cost more than that, of Open vSwitch and of memory.
type scrapes struct {
	handler http.Handler
	now     func() time.Time

	mu    sync.Mutex // held while it gathers
	fresh map[bool]*scraped
}

// scraped is an answer. It does not change any more.
type scraped struct {
	code   int
	header http.Header
	body   []byte
	at     time.Time
}

// ServeHTTP implements http.Handler.
func (s *scrapes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := s.answer(strings.Contains(r.Header.Get("Accept-Encoding"), "gzip"))
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.code)
	_, _ = w.Write(a.body) // who has gone needs no answer
}

func (s *scrapes) answer(gzip bool) *scraped {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.fresh[gzip]; a != nil && s.now().Sub(a.at) < scrapeFresh {
		return a
	}
	// What else the client asks for is not asked on: there is one text for all.
	plain := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/metrics"}, Header: http.Header{}}
	if gzip {
		plain.Header.Set("Accept-Encoding", "gzip")
	}
	a := &scraped{code: http.StatusOK, header: http.Header{}}
	s.handler.ServeHTTP(a, plain)
	a.at = s.now()
	if s.fresh == nil {
		s.fresh = map[bool]*scraped{}
	}
	s.fresh[gzip] = a
	return a
}

// Header, WriteHeader and Write implement http.ResponseWriter.
func (a *scraped) Header() http.Header  { return a.header }
func (a *scraped) WriteHeader(code int) { a.code = code }
func (a *scraped) Write(text []byte) (n int, _ error) {
	a.body = append(a.body, text...)
	return len(text), nil
}
