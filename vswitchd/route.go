package vswitchd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// Routes are what the route table of ovs-vswitchd says of each address (`ovs/route/lookup`, ovs-vswitchd(8)). Native tunnels
// take this way and not the kernel's: the table has neither metrics nor multipath, and rules and their tables are one in it.
// An address without a route has a Route without a device.
func (c *Client) Routes(ctx context.Context, to []netip.Addr) (map[netip.Addr]flows.Route, error) {
	routes := make(map[netip.Addr]flows.Route, len(to))
	if len(to) == 0 {
		return routes, nil
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("ovs/route/lookup: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	// All questions at once: ovs-vswitchd takes several in one turn of its main loop. Writing must not wait for reading, as
	// it reads no more while its answers are not taken.
	written := make(chan error, 1)
	go func() {
		out := bufio.NewWriter(conn)
		enc := json.NewEncoder(out)
		for i, a := range to {
			// Errors stay with the writer: Flush returns the first.
			_ = enc.Encode(map[string]any{"id": i, "method": "ovs/route/lookup", "params": []string{a.String()}})
		}
		written <- out.Flush()
	}()
	for _, a := range to {
		var reply struct{ Result, Error *string }
		if err := conn.answers.Decode(&reply); err != nil {
			conn.Close()
			return nil, fmt.Errorf("ovs/route/lookup: %w", errors.Join(ctx.Err(), err, <-written))
		}
		switch {
		case reply.Result != nil:
			routes[a] = readRoute(*reply.Result, a)
		case reply.Error != nil && strings.TrimSpace(*reply.Error) == "Not found":
			routes[a] = flows.Route{}
		case reply.Error != nil:
			return nil, fmt.Errorf("ovs/route/lookup %s: %s", a, strings.TrimSpace(*reply.Error))
		default:
			return nil, fmt.Errorf("ovs/route/lookup %s: ovs-vswitchd replied with nothing", a)
		}
	}
	return routes, nil
}

// readRoute reads what ovs/route/lookup prints:
//
//	src 192.0.2.1
//	gateway 192.0.2.254
//	dev br-ul
func readRoute(text string, to netip.Addr) flows.Route {
	r := flows.Route{NextHop: to}
	for line := range strings.Lines(text) {
		word, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		addr, err := netip.ParseAddr(value)
		isAddr := err == nil && !addr.Unmap().IsUnspecified()
		switch {
		case word == "dev":
			r.Device = value
		case word == "src" && isAddr:
			r.Source = addr.Unmap()
		case word == "gateway" && isAddr:
			r.NextHop = addr.Unmap()
		}
	}
	return r
}
