//go:build linux

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// httpGet asks a server on the host's loopback.
func httpGet(h *lab.Host, address, path string) (code int, body string, err error) {
	err = h.Do(func() error {
		conn, err := net.DialTimeout("tcp", address, 5*time.Second)
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.0\r\n\r\n", path); err != nil {
			return err
		}
		r, err := http.ReadResponse(bufio.NewReader(conn), nil)
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

// TestMetricsAndHealth: what is scraped is what happened, a session that is removed disappears, /readyz tells of an Open
// vSwitch that is away, and a port that is taken stops nothing.
func TestMetricsAndHealth(t *testing.T) {
	t.Parallel()
	const address = "127.0.0.1:9475"
	s := newScene(t)
	until := func(path, want string, code int) {
		t.Helper()
		s.must(lab.Until(s.ctx, fmt.Sprintf("%s answers %d with %q", path, code, want), func(context.Context) error {
			got, body, err := httpGet(s.host, address, path)
			if err == nil && (got != code || !strings.Contains(body, want)) {
				err = fmt.Errorf("%d: %s", got, body)
			}
			return err
		}))
	}
	// The port is taken: sessions are kept all the same.
	var taken net.Listener
	s.must(s.host.Do(func() (err error) { taken, err = net.Listen("tcp", address); return err }))
	d := s.daemon("--listen", address).ready()
	d.logged("address already in use")
	s.add("one", "--source", "vnet0", "--match", "icmp")
	s.copies(1)
	s.must(taken.Close())

	until("/healthz", "ok", 200)
	until("/readyz", "ok", 200)
	until("/metrics", `ovs_erspan_session_packets_total{bridge="br0",session="one",stage="sent"} 4`, 200)
	until("/metrics", `ovs_erspan_session_state{bridge="br0",session="one",state="Active"} 1`, 200)
	until("/metrics", `ovs_erspan_megaflows{datapath="netdev@ovs-netdev"}`, 200)
	s.must(s.host.KillVswitchd(s.ctx))
	until("/readyz", "ovs-vswitchd is not running", 503)
	until("/healthz", "ok", 200)
	until("/metrics", `state="Pending"} 1`, 200)
	s.must(s.host.StartVswitchd(s.ctx))
	until("/readyz", "ok", 200)
	s.ok("session", "remove", "one")
	s.must(lab.Until(s.ctx, "the session's metrics disappear", func(context.Context) error {
		_, body, err := httpGet(s.host, address, "/metrics")
		if err == nil && strings.Contains(body, `session="one"`) {
			err = errors.New(body)
		}
		return err
	}))
	s.refused("run", "--listen", "nonsense")
	s.refused("run", "--listen-name", "node1")
	if said := s.refused("run", "--listen", address, "--listen-name", "node1:9475"); !strings.Contains(said, `--listen-name "node1:9475": want the name`) {
		t.Error(said)
	}
}
