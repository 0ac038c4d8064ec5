package httpd

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// MaxConnections is how many connections there are at a time. A host is asked by a scraper or two and a few people.
const MaxConnections = 64

// How long a client may take, and how large its header may be. A scraper gives up after 10 s by default.
const (
	readTime    = 5 * time.Second
	writeTime   = 10 * time.Second
	idleTime    = time.Minute
	headerBytes = 1 << 14
)

// Server serves until it is closed.
type Server struct {
	http  *http.Server
	conns *connections
}

// New makes a server. Names are those that clients may ask it under, besides addresses, localhost and the host's own name.
func New(handler http.Handler, names []string, log *slog.Logger) *Server {
	conns := &connections{most: mostConnections(), log: log, now: time.Now, all: map[*connection]bool{}}
	server := &http.Server{
		Handler: busy(onlyReads(onlyNames(names, handler))), ConnContext: rememberConnection,
		ReadHeaderTimeout: readTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime, MaxHeaderBytes: headerBytes,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(log.With("from", "net/http").Handler(), slog.LevelWarn),
	}
	return &Server{server, conns}
}

// Serve answers what comes to the listener, until the server is closed.
func (s *Server) Serve(l net.Listener) error { return s.http.Serve(&listener{l, s.conns}) }

// Close ends Serve, and all connections.
func (s *Server) Close() error { return s.http.Close() }

type connectionKey struct{}

func rememberConnection(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, conn)
}

// busy marks a connection while a request of it, which was read to its end, is answered.
func busy(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connectionKey{}).(*connection); ok {
			c.mark(true)
			defer c.mark(false)
		}
		next.ServeHTTP(w, r)
	})
}
