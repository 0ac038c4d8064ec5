package vswitchd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ovs-erspan/ovs-erspan/unixsocket"
)

// The control socket can have any name (--unixctl), a pidfile may be missing, stale or another's, and sockets of processes
// that are gone, or idle beside the right one, lie in the same folder. What is sure is who serves the bridges: so the
// control socket is the one of the process that listens at BRIDGE.mgmt.

// askTime bounds how long a candidate may take to say who it is. All are asked at the same time.
const askTime = time.Second

// Known are names that the database has, where it can be asked.
type Known struct {
	// Bridges are those whose OpenFlow sockets are of the ovs-vswitchd that is looked for.
	Bridges []string
	// Ports may be the names of sockets that are not to be touched: connecting to the socket of a vhost-user port is, for
	// DPDK, a guest that comes and goes.
	Ports []string
}

// candidate is a socket that may be the control socket.
type candidate struct {
	path   string
	pid    int
	err    error // of connecting
	serves bool  // it says that it is ovs-vswitchd, and has a datapath layer
	said   string
}

// find looks for the control socket.
func (c *Client) find(ctx context.Context) (path string, err error) {
	known := c.known()
	usual, others, err := c.sockets(known)
	if err != nil {
		return "", fmt.Errorf("ovs-vswitchd is not running, or this is not its run directory (--ovs-rundir, $OVS_RUNDIR): %w", err)
	}
	server, mgmt, greeted := c.server(ctx, known.Bridges)
	defer func() {
		select {
		case <-greeted:
		case <-ctx.Done():
		}
	}()
	// Sockets with a usual name come first: others may be somebody's who minds.
	var seen []candidate
	for _, paths := range [][]string{usual, others} {
		asked := connectAll(ctx, paths, server, known.Bridges)
		seen = append(seen, asked...)
		if server != 0 {
			asked = slices.DeleteFunc(slices.Clone(asked), func(s candidate) bool { return s.pid != server })
			if sure(asked, server) {
				return asked[0].path, nil // name and process say it; one that does not answer hangs, and the call will say so
			}
		}
		asked = slices.DeleteFunc(asked, func(s candidate) bool { return !s.serves })
		switch {
		case len(asked) == 1, len(asked) > 1 && server != 0:
			return asked[0].path, nil
		case len(asked) > 1:
			return "", fmt.Errorf("%d sockets in %s answer as ovs-vswitchd (%s): name the right one with --vswitchd-ctl", len(asked), c.rundir, names(asked))
		}
	}
	return "", c.notFound(seen, server, mgmt)
}

// notFound says what was looked for, and where.
func (c *Client) notFound(seen []candidate, server int, mgmt string) error {
	what := "ovs-vswitchd is not running, or its control socket is elsewhere"
	switch {
	case server != 0:
		what = fmt.Sprintf("ovs-vswitchd is running (process %d, by %s), but its control socket is elsewhere", server, mgmt)
	case mgmt != "":
		what = fmt.Sprintf("ovs-vswitchd is running (in another process namespace, by %s), but its control socket is elsewhere", mgmt)
	}
	if len(seen) == 0 {
		return fmt.Errorf("%s: no socket in %s can be it: name it with --vswitchd-ctl", what, c.rundir)
	}
	var errs []error
	var looked []string
	for _, s := range seen {
		text := filepath.Base(s.path) + ": " + s.said
		if s.err != nil {
			errs = append(errs, s.err)
			text = s.err.Error()
		}
		looked = append(looked, text)
	}
	err := fmt.Errorf("%s: no control socket of ovs-vswitchd in %s (looked at %s): name it with --vswitchd-ctl",
		what, c.rundir, strings.Join(looked, "; "))
	for _, e := range errs {
		if errors.Is(e, fs.ErrPermission) {
			return fmt.Errorf("permission denied: run as root, or as a user who may write to the socket: %w", err)
		}
	}
	return err
}

func names(all []candidate) string {
	var list []string
	for _, s := range all {
		list = append(list, filepath.Base(s.path))
	}
	return strings.Join(list, ", ")
}

// sockets are those of the run directory that may be the control socket: with a usual name, and others.
func (c *Client) sockets(known Known) (usual, others []string, err error) {
	entries, err := os.ReadDir(c.rundir)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		name := e.Name()
		if e.Type()&fs.ModeSocket == 0 && e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		switch path := filepath.Join(c.rundir, name); {
		case strings.HasSuffix(name, ".mgmt"), strings.HasSuffix(name, ".snoop"), strings.HasSuffix(name, ".sock"),
			strings.HasPrefix(name, "ovsdb-server"), slices.Contains(known.Ports, name):
		case usualName(name):
			usual = append(usual, path)
		default:
			others = append(others, path)
		}
	}
	return usual, others, nil
}

// server is the process that serves the bridges, by the first OpenFlow socket that somebody listens at; 0 where none is
// there, or where its process cannot be seen from here. Who leaves without OpenFlow's greeting is a warning in ovs-vswitchd's
// log: greeted is closed when that has been said and answered.
func (c *Client) server(ctx context.Context, bridges []string) (pid int, mgmt string, greeted <-chan struct{}) {
	done := make(chan struct{})
	for _, bridge := range bridges {
		path := filepath.Join(c.rundir, bridge+".mgmt")
		conn, err := unixsocket.Dial(ctx, path)
		if err != nil {
			continue
		}
		pid = unixsocket.Peer(conn)
		go func() {
			defer close(done)
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(askTime))
			if _, err := conn.Write([]byte{6, 0, 0, 8, 0, 0, 0, 0}); err == nil { // OFPT_HELLO, any version up to 1.5
				_, _ = io.ReadAtLeast(conn, make([]byte, 64), 8)
			}
		}()
		return pid, path, done
	}
	close(done)
	return 0, "", done
}

// connectAll connects to the candidates side by side, and asks those that may be of the process, or all where it is not
// known and more than its number has to tell.
func connectAll(ctx context.Context, paths []string, server int, bridges []string) []candidate {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	all := make([]candidate, len(paths))
	conns := make([]*connection, len(paths))
	for i, path := range paths {
		all[i].path = path
		conn, err := unixsocket.Dial(ctx, path)
		if err != nil {
			all[i].err = err
			continue
		}
		defer conn.Close()
		conns[i] = newConnection(conn)
		all[i].pid = unixsocket.Peer(conn)
		all[i].said = fmt.Sprintf("of process %d, which serves no bridge", all[i].pid)
	}
	type answer struct {
		of     int
		serves bool
		said   string
	}
	answers := make(chan answer)
	asked := 0
	for i, conn := range conns {
		if conn == nil || server != 0 && (all[i].pid != server || sure(all, server)) {
			continue
		}
		asked++
		go func() {
			serves, said := conn.whoIsIt(ctx, bridges)
			answers <- answer{i, serves, said}
		}()
	}
	for range asked {
		a := <-answers // each ends with ctx
		all[a.of].serves, all[a.of].said = a.serves, a.said
	}
	return all
}

// sure tells whether the one candidate of the process is the control socket by its name.
func sure(all []candidate, server int) bool {
	n := 0
	named := false
	for _, s := range all {
		if s.err == nil && s.pid == server {
			n++
			named = usualName(filepath.Base(s.path))
		}
	}
	return n == 1 && named
}

// usualName is ovs-vswitchd.PID.ctl, or what packages with DPDK make of it.
func usualName(name string) bool {
	return strings.HasPrefix(name, "ovs-vswitchd") && strings.HasSuffix(name, ".ctl")
}

// whoIsIt tells whether an ovs-vswitchd that works answers. One that is idle, because another one serves the database,
// has no datapath layer yet, and no command upcall/show. One whose bridges are all others than the database's is another's; one
// without any may have just begun.
func (c *connection) whoIsIt(ctx context.Context, bridges []string) (serves bool, said string) {
	version, err := c.call(ctx, "version")
	switch {
	case ctx.Err() != nil:
		return false, "does not answer"
	case err != nil:
		return false, "is no control socket"
	case !strings.HasPrefix(version, "ovs-vswitchd"):
		first, _, _ := strings.Cut(version, " ")
		return false, fmt.Sprintf("is %q", first)
	}
	if _, err := c.call(ctx, "upcall/show"); err != nil {
		return false, "is an ovs-vswitchd that serves no bridge"
	}
	list, err := c.call(ctx, "ofproto/list")
	has := strings.Fields(list)
	if err == nil && len(has) > 0 && len(bridges) > 0 && !slices.ContainsFunc(has, func(b string) bool { return slices.Contains(bridges, b) }) {
		return false, "is the ovs-vswitchd of other bridges (" + strings.Join(has, ", ") + ")"
	}
	return true, "is ovs-vswitchd"
}
