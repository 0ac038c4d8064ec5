package vswitchd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ovs-erspan/ovs-erspan/unixsocket"
)

// Client calls the ovs-vswitchd that has its sockets in a run directory. It may be used concurrently.
type Client struct {
	rundir, named string
	names         func() Known

	mu    sync.Mutex
	found string    // the control socket, as it was found last
	pid   int       // of the process that was connected to last
	since time.Time // when it made its control socket
}

// Options say where ovs-vswitchd is to be found.
type Options struct {
	// RunDir is where Open vSwitch has its sockets.
	RunDir string
	// Control is the path of the control socket; "": it is looked for in RunDir.
	Control string
	// Known, where set, is asked for names before the control socket is looked for.
	Known func() Known
}

// New makes a client; each call connects anew, because ovs-vswitchd may be another process by then.
func New(rundir string) *Client { return Open(Options{RunDir: rundir}) }

// Open is New where ovs-vswitchd may be found elsewhere.
func Open(o Options) *Client {
	return &Client{rundir: o.RunDir, named: o.Control, names: o.Known}
}

// known are the names that the database has; where it cannot be asked, the bridges are those that have an OpenFlow socket.
func (c *Client) known() Known {
	var known Known
	if c.names != nil {
		known = c.names()
	}
	if len(known.Bridges) == 0 {
		paths, _ := filepath.Glob(filepath.Join(c.rundir, "*.mgmt"))
		for _, path := range paths {
			known.Bridges = append(known.Bridges, strings.TrimSuffix(filepath.Base(path), ".mgmt"))
		}
	}
	return known
}

// Call runs one command of ovs-vswitchd(8), "RUNTIME MANAGEMENT COMMANDS", and returns what it prints. The error holds
// what ovs-vswitchd said, or says that it is not running.
func (c *Client) Call(ctx context.Context, command string, args ...string) (string, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return "", fmt.Errorf("%s: %w", command, err)
	}
	defer conn.Close()
	return conn.call(ctx, command, args...)
}

// connection carries one call after the other.
type connection struct {
	net.Conn
	answers *json.Decoder
	left    *io.LimitedReader // bounds one answer
}

// maxAnswer bounds an answer: the megaflows of a busy host take some ten megabytes. Who answers without end takes no memory.
const maxAnswer = 32 << 20

func newConnection(conn net.Conn) *connection {
	left := &io.LimitedReader{R: conn, N: maxAnswer}
	return &connection{conn, json.NewDecoder(left), left}
}

// silence is an ovs-vswitchd that did not answer in time.
type silence struct {
	command string
	cause   error
}

func (s *silence) Error() string { return "ovs-vswitchd does not answer (" + s.command + ")" }
func (s *silence) Unwrap() error { return s.cause }

// fault says what is wrong with a call that came to nothing.
func (c *connection) fault(ctx context.Context, command string, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &silence{command, ctx.Err()}
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", command, ctx.Err())
	case c.left.N <= 0:
		return fmt.Errorf("%s: the answer has more than %d bytes: that is no ovs-vswitchd", command, maxAnswer)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("%s: ovs-vswitchd ended before it answered: %w", command, err)
	}
	return fmt.Errorf("%s: %w", command, err)
}

// dial connects to the control socket: the one that was named, or the one that was found last, or that is found now.
func (c *Client) dial(ctx context.Context) (*connection, error) {
	c.mu.Lock()
	path := c.found
	c.mu.Unlock()
	if c.named != "" {
		path = c.named
	}
	if path != "" {
		conn, err := c.connect(ctx, path)
		if err != nil && c.named != "" && ctx.Err() == nil {
			return nil, fmt.Errorf("--vswitchd-ctl %s: nobody answers there: ovs-vswitchd is not running, or has its control socket elsewhere: %w", c.named, err)
		}
		if err == nil || c.named != "" || ctx.Err() != nil {
			return conn, err
		}
	}
	path, err := c.find(ctx)
	if err != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	return c.connect(ctx, path)
}

func (c *Client) connect(ctx context.Context, path string) (*connection, error) {
	conn, err := unixsocket.Dial(ctx, path)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, &silence{"connect to " + path, ctx.Err()}
	}
	if err != nil {
		return nil, fmt.Errorf("ovs-vswitchd is not running (%w)", err)
	}
	var since time.Time
	if info, err := os.Stat(path); err == nil {
		since = info.ModTime()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.found, c.pid, c.since = path, unixsocket.Peer(conn), since
	return newConnection(conn), nil
}

// Process is the number of the process that answered last; 0 where it cannot be seen from here.
func (c *Client) Process() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pid
}

// Instance names the process that answered last: while it stays, ovs-vswitchd was not started anew.
func (c *Client) Instance() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	// In another process namespace the number is 0, and in a container 1 each time: then the time tells.
	return fmt.Sprintf("%s, process %d, since %s", c.found, c.pid, c.since.UTC().Format(time.RFC3339Nano))
}

// call is Client.Call on a connection. A connection that failed, or whose context ended, is of no more use.
func (c *connection) call(ctx context.Context, command string, args ...string) (string, error) {
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if args == nil {
		args = []string{} // null is no parameter list
	}
	request := map[string]any{"id": 0, "method": command, "params": args}
	if err := json.NewEncoder(c).Encode(request); err != nil {
		return "", c.fault(ctx, command, err)
	}
	c.left.N = maxAnswer
	var reply struct {
		Result *string
		Error  *string
	}
	if err := c.answers.Decode(&reply); err != nil {
		return "", c.fault(ctx, command, err)
	}
	if reply.Error != nil {
		return "", fmt.Errorf("%s: %s", command, strings.TrimSpace(*reply.Error))
	}
	if reply.Result == nil {
		return "", fmt.Errorf("%s: ovs-vswitchd replied with nothing", command)
	}
	return *reply.Result, nil
}

// Alive fails where ovs-vswitchd does not answer.
func (c *Client) Alive(ctx context.Context) error {
	_, err := c.Call(ctx, "version")
	return err
}

// Version is what ovs-vswitchd calls its version: "3.1.0".
func (c *Client) Version(ctx context.Context) (string, error) {
	out, err := c.Call(ctx, "version")
	if err != nil {
		return "", err
	}
	// ovs-vswitchd (Open vSwitch) 3.1.0
	first, _, _ := strings.Cut(out, "\n")
	return first[strings.LastIndex(first, " ")+1:], nil
}

// WaitRevalidated returns when every megaflow has been revalidated against what was changed before the call: running
// flows follow the change from then on.
//
// Rounds follow a change only from when ovs-vswitchd's main loop has gone round after it: so that is waited for first. A
// round of the revalidators that was under way then may have missed it, so the end of the round after it is what counts. An
// idle revalidator starts a round only twice a second, or at once after a flow-mod; touch
// makes one and is called before the first and once for each round. Rounds begin at least 5 ms apart (udpif_revalidator in
// ofproto/ofproto-dpif-upcall.c), which is most of what this takes on a quiet host.
//
// With two kinds of datapath in one ovs-vswitchd it cannot tell; then it returns after the first touch, and running flows
// follow soon after.
func (c *Client) WaitRevalidated(ctx context.Context, touch func(context.Context) error) error {
	if err := touch(ctx); err != nil {
		return err
	}
	// The main loop takes new connections once in a turn, after it has taken flow-mods and before it answers: who connects
	// when one that connected after the touch has its answer is answered in a later turn.
	for range 2 {
		if err := c.Alive(ctx); err != nil {
			return err
		}
	}
	waiter, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer waiter.Close()
	poker, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer poker.Close()
	const rounds = 2
	for range rounds {
		done := make(chan error, 1) // with room, should nobody wait for it any more
		go func() {
			_, err := waiter.call(ctx, "revalidator/wait")
			done <- err
		}()
		if err := touch(ctx); err != nil {
			return err
		}
		err := poker.awake(ctx, done)
		if err != nil && strings.Contains(err.Error(), "multiple udpifs") {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// awake waits for done and keeps ovs-vswitchd's main loop awake meanwhile: that loop answers revalidator/wait, but the end
// of a round does not wake it, and without traffic it may sleep for half a second more. Most rounds end within 5 ms, and
// then each moment counts; with many megaflows they take long, and the loop is to be left to its work.
func (c *connection) awake(ctx context.Context, done <-chan error) error {
	const first, last = 200 * time.Microsecond, 5 * time.Millisecond
	for pause := first; ; pause = min(pause*9/8, last) {
		select {
		case err := <-done:
			return err
		case <-time.After(pause):
			if _, err := c.call(ctx, "version"); err != nil {
				return err
			}
		}
	}
}

// SetNeighbor has native tunnels know the link-layer address of a next hop (`ovs-appctl tnl/neigh/set`), as if it had
// answered just now.
func (c *Client) SetNeighbor(ctx context.Context, bridge string, hop netip.Addr, address string) error {
	_, err := c.Call(ctx, "tnl/neigh/set", bridge, hop.String(), address)
	return err
}

// Neighbors are the next hops whose link-layer address native tunnels know (`ovs-appctl tnl/neigh/show`), by the bridge
// that they are reached through.
func (c *Client) Neighbors(ctx context.Context) (map[string]map[netip.Addr]bool, error) {
	out, err := c.Call(ctx, "tnl/neigh/show")
	if err != nil {
		return nil, err
	}
	// IP                                            MAC                 Bridge
	// ==========================================================================
	// 192.0.2.9                                     aa:bb:cc:dd:ee:ff   br-ul
	known := map[string]map[netip.Addr]bool{}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		if known[fields[2]] == nil {
			known[fields[2]] = map[netip.Addr]bool{}
		}
		known[fields[2]][addr] = true
	}
	return known, nil
}

// Megaflows counts the flows that each datapath has cached (`ovs-appctl upcall/show`).
func (c *Client) Megaflows(ctx context.Context) (map[string]int, error) {
	out, err := c.Call(ctx, "upcall/show")
	if err != nil {
		return nil, err
	}
	// netdev@ovs-netdev:
	//   flows         : (current 3) (avg 2) (max 5) (limit 10000)
	counts := map[string]int{}
	datapath := ""
	for line := range strings.Lines(out) {
		if name, ok := strings.CutSuffix(strings.TrimSpace(line), ":"); ok && !strings.HasPrefix(line, " ") {
			datapath = name
			continue
		}
		_, after, ok := strings.Cut(line, "(current ")
		if n, err := strconv.Atoi(strings.SplitN(after, ")", 2)[0]); ok && err == nil && datapath != "" {
			counts[datapath] = n
		}
	}
	return counts, nil
}
