package vswitchd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Client calls the ovs-vswitchd that has its sockets in a run directory.
type Client struct{ rundir string }

// New makes a client; each call connects anew, because ovs-vswitchd may be another process by then.
func New(rundir string) *Client { return &Client{rundir} }

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
}

func (c *Client) dial(ctx context.Context) (*connection, error) {
	pid, err := os.ReadFile(filepath.Join(c.rundir, "ovs-vswitchd.pid"))
	if err != nil {
		return nil, fmt.Errorf("ovs-vswitchd is not running (%w)", err)
	}
	socket := filepath.Join(c.rundir, "ovs-vswitchd."+strings.TrimSpace(string(pid))+".ctl")
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("ovs-vswitchd was not asked in time: %w", ctx.Err())
	}
	if err != nil {
		return nil, fmt.Errorf("ovs-vswitchd is not running (%w)", err)
	}
	return &connection{conn, json.NewDecoder(conn)}, nil
}

// call is Client.Call on a connection. A connection that failed, or whose context ended, is of no more use.
func (c *connection) call(ctx context.Context, command string, args ...string) (string, error) {
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if args == nil {
		args = []string{} // null is no parameter list
	}
	request := map[string]any{"id": 0, "method": command, "params": args}
	if err := json.NewEncoder(c).Encode(request); err != nil {
		return "", fmt.Errorf("%s: %w", command, errors.Join(ctx.Err(), err))
	}
	var reply struct {
		Result *string
		Error  *string
	}
	if err := c.answers.Decode(&reply); err != nil {
		return "", fmt.Errorf("%s: %w", command, errors.Join(ctx.Err(), err))
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
