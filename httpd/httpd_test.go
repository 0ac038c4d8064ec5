package httpd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// served is a server on the loopback that takes few connections.
type served struct {
	*Server
	address string
	log     *lines
}

func serve(t *testing.T, handler http.Handler) *served {
	t.Helper()
	log := &lines{}
	s := New(handler, []string{"metrics.example"}, slog.New(slog.NewJSONHandler(log, nil)))
	s.conns.most = 8
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-ended; err != http.ErrServerClosed {
			t.Error(err)
		}
		if n := s.open(); n != 0 {
			t.Errorf("closed, it has %d connections", n)
		}
	})
	return &served{s, l.Addr().String(), log}
}

// open is how many connections there are.
func (s *Server) open() int {
	s.conns.mu.Lock()
	defer s.conns.mu.Unlock()
	return len(s.conns.all)
}

// lines are what was logged.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// connect opens a connection, says something, and leaves it there.
func (s *served) connect(t *testing.T, say string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_, _ = io.WriteString(conn, say) // it may be closed by now
	return conn
}

// answers asks as a scraper does, over a connection of its own.
func (s *served) answers(t *testing.T, path string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	r, err := client.Get("http://" + s.address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if body, err := io.ReadAll(r.Body); err != nil || r.StatusCode != http.StatusOK || string(body) != "small" {
		t.Fatalf("%d %v: %.100s", r.StatusCode, err, body)
	}
	if n := s.open(); n > s.conns.most {
		t.Errorf("%d connections are open, of at most %d", n, s.conns.most)
	}
}

// TestManyConnections: however many there are, and whatever they do, who asks is answered.
func TestManyConnections(t *testing.T) {
	large := strings.Repeat("x", 16<<20)
	handler := http.NewServeMux()
	handler.HandleFunc("/small", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "small") })
	handler.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, large) })
	for name, say := range map[string]string{
		"idle":                    "",
		"a header without an end": "GET /small HTTP/1.1\r\nHost: localhost\r\n",
		"kept alive":              "GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"reads nothing":           "GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, handler)
			for range 5 {
				for range 40 {
					s.connect(t, say)
				}
				s.answers(t, "/small")
			}
			if n := strings.Count(s.log.String(), "more connections than are served"); n != 1 {
				t.Errorf("told of %d times, want once a minute:\n%s", n, s.log)
			}
		})
	}
}

// TestWhoGoes: of the connections the one goes that is least of use.
func TestWhoGoes(t *testing.T) {
	begin := time.Now()
	type conn struct {
		from string
		busy bool
		age  int
	}
	for name, tt := range map[string]struct {
		conns []conn
		want  int
	}{
		"the oldest":                            {[]conn{{"192.0.2.1", false, 1}, {"192.0.2.1", false, 3}, {"192.0.2.1", false, 2}}, 1},
		"rather idle than answered":             {[]conn{{"192.0.2.1", true, 9}, {"192.0.2.1", false, 1}}, 1},
		"the oldest answered, if all are":       {[]conn{{"192.0.2.1", true, 1}, {"192.0.2.1", true, 2}}, 1},
		"of whoever has most":                   {[]conn{{"192.0.2.1", false, 9}, {"192.0.2.2", true, 1}, {"192.0.2.2", true, 2}}, 2},
		"an IPv6 network is one":                {[]conn{{"192.0.2.1", false, 9}, {"2001:db8::1", true, 2}, {"2001:db8::2", true, 1}}, 1},
		"another IPv6 network is another":       {[]conn{{"192.0.2.1", false, 9}, {"2001:db8::1", false, 2}, {"2001:db8:0:1::1", false, 1}}, 0},
		"the loopback is one":                   {[]conn{{"192.0.2.1", false, 9}, {"127.0.0.1", false, 2}, {"127.9.9.9", false, 1}}, 1},
		"IPv4 is itself within IPv6's notation": {[]conn{{"192.0.2.9", false, 9}, {"::ffff:192.0.2.1", false, 2}, {"192.0.2.1", false, 1}}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			cs := &connections{all: map[*connection]bool{}}
			var all []*connection
			for _, c := range tt.conns {
				addr := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(c.from), 1))
				all = append(all, &connection{of: cs, source: source(addr), busy: c.busy, since: begin.Add(-time.Duration(c.age) * time.Second)})
				cs.all[all[len(all)-1]] = true
			}
			if got := cs.worst(); got != all[tt.want] {
				t.Errorf("%+v goes, want %+v", got, all[tt.want])
			}
		})
	}
}

// TestWhoIsAnswered: GET and HEAD, under names of this host.
func TestWhoIsAnswered(t *testing.T) {
	own, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "small") }))
	for _, tt := range []struct {
		method, host string
		code         int
	}{
		{"GET", "127.0.0.1:9475", 200}, {"GET", "[::1]:9475", 200}, {"GET", "[::1]", 200}, {"GET", "192.0.2.1", 200},
		{"GET", "localhost:9475", 200}, {"GET", "LocalHost.", 200}, {"GET", own, 200}, {"GET", "Metrics.Example:1", 200},
		{"HEAD", "127.0.0.1", 200},
		{"GET", "evil.example", 421}, {"GET", "localhost.evil.example:9475", 421}, {"GET", "127.0.0.1.evil.example", 421}, {"HEAD", "evil.example", 421},
		{"POST", "127.0.0.1", 405}, {"PUT", "localhost", 405}, {"DELETE", "localhost", 405}, {"OPTIONS", "localhost", 405}, {"TRACE", "localhost", 405},
		{"CONNECT", "localhost", 405}, {"ANYTHING", "localhost", 405},
	} {
		conn := s.connect(t, fmt.Sprintf("%s / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", tt.method, tt.host))
		answer, err := io.ReadAll(conn)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(answer), fmt.Sprintf("HTTP/1.1 %d ", tt.code)) {
			t.Errorf("%s of %s: %s", tt.method, tt.host, answer)
		}
		if allow := strings.Contains(string(answer), "\r\nAllow: GET, HEAD\r\n"); allow != (tt.code == 405) {
			t.Errorf("%s of %s: Allow: %v: %s", tt.method, tt.host, allow, answer)
		}
		if tt.code == 421 && tt.method == "GET" && !strings.Contains(string(answer), "--listen-name") {
			t.Errorf("it does not say what to do: %s", answer)
		}
	}
	// Programs that are no browsers may give no name.
	if answer, err := io.ReadAll(s.connect(t, "GET / HTTP/1.0\r\n\r\n")); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.0 200 ") {
		t.Errorf("without a name: %v %s", err, answer)
	}
}

func TestCheckName(t *testing.T) {
	for name, good := range map[string]bool{
		"node1": true, "node1.example.": true, "a-b_c.example": true, "": false, ".": false, "a b": false, "node1:9475": false, "a\nb": false, "ä": false,
		strings.Repeat("a", 254): false,
	} {
		if err := CheckName(name); (err == nil) != good {
			t.Errorf("%.20q: %v", name, err)
		}
	}
}

// TestErrorsAreLogged: what net/http has to say is a line of our log.
func TestErrorsAreLogged(t *testing.T) {
	s := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("on purpose\nand on") }))
	if _, err := io.ReadAll(s.connect(t, "GET / HTTP/1.0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	var line struct{ Level, Msg, From string }
	if err := json.Unmarshal([]byte(s.log.String()), &line); err != nil || line.Level != "WARN" || line.From != "net/http" || !strings.Contains(line.Msg, "on purpose") {
		t.Errorf("%v: %q", err, s.log)
	}
}

// TestDescriptors: where a process may have few descriptors, connections take an eighth of them.
func TestDescriptors(t *testing.T) {
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
			t.Error(err)
		}
	})
	for limit, want := range map[uint64]int{128: 16, 513: MaxConnections} {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: limit, Max: was.Max}); err != nil {
			t.Fatal(err)
		}
		if s := New(http.NotFoundHandler(), nil, slog.New(slog.DiscardHandler)); s.conns.most != want {
			t.Errorf("of %d descriptors %d are connections', want %d", limit, s.conns.most, want)
		}
	}
}
