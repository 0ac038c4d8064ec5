package httpd

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// tellEvery is how often the log tells of connections that were closed to let others in.
const tellEvery = time.Minute

// descriptorShare is the part of the process's file descriptors that connections may take; the rest is for everything else.
const descriptorShare = 8

// mostConnections leaves Open vSwitch its descriptors where the process may have few.
func mostConnections() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return MaxConnections
	}
	return int(max(1, min(MaxConnections, limit.Cur/descriptorShare)))
}

// connections are those that are open.
type connections struct {
	most int
	log  *slog.Logger
	now  func() time.Time

	mu     sync.Mutex // of what follows
	all    map[*connection]bool
	closed int // since it was told of
	told   time.Time
}

// connection is one of a client.
type connection struct {
	net.Conn
	of     *connections
	source netip.Prefix
	busy   bool      // a request is answered
	since  time.Time // when that changed last
}

// listener takes connections, and keeps their number.
type listener struct {
	net.Listener
	conns *connections
}

func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.conns.add(conn), nil
}

// add makes room for one more. It never waits: who waits in line would be served no sooner.
func (cs *connections) add(conn net.Conn) *connection {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := &connection{Conn: conn, of: cs, source: source(conn.RemoteAddr()), since: cs.now()}
	if len(cs.all) >= cs.most {
		worst := cs.worst()
		delete(cs.all, worst)
		worst.Conn.Close()
		cs.closed++
		if now := cs.now(); now.Sub(cs.told) >= tellEvery {
			cs.log.Warn("more connections than are served at a time: those that waited longest are closed", "most", cs.most, "closed", cs.closed, "last", worst.source)
			cs.told, cs.closed = now, 0
		}
	}
	cs.all[c] = true
	return c
}

// worst is the connection to close: one of whoever has most; of those, one that asks nothing rather than one that is
// answered; of those, the one that has been so longest.
func (cs *connections) worst() (worst *connection) {
	of := map[netip.Prefix]int{}
	for c := range cs.all {
		of[c.source]++
	}
	for c := range cs.all {
		if worst == nil || c.worse(worst, of) {
			worst = c
		}
	}
	return worst
}

func (c *connection) worse(d *connection, of map[netip.Prefix]int) bool {
	switch {
	case of[c.source] != of[d.source]:
		return of[c.source] > of[d.source]
	case c.busy != d.busy:
		return !c.busy
	}
	return c.since.Before(d.since)
}

func (c *connection) mark(busy bool) {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.busy, c.since = busy, c.of.now()
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.of.mu.Lock()
	delete(c.of.all, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// source is what one client may have: an IPv4 address, an IPv6 network of 64 bits, all of the loopback.
func source(addr net.Addr) netip.Prefix {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap()
	bits := 32
	switch {
	case ip.IsLoopback():
		return netip.Prefix{}
	case ip.Is6():
		bits = 64
	}
	p, _ := ip.WithZone("").Prefix(bits)
	return p
}
