package openflow

import (
	"context"
	"errors"
	"fmt"

	"github.com/digitalocean/go-openvswitch/ovs"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// A production bridge is not ours: all that is ever asked of it is the flows that carry our cookie, one after the other,
// in whatever version of OpenFlow its owner has left it.

// productionProtocols are the versions to agree on, all that there are: a match on a port and an output are in each.
const productionProtocols = ovs.ProtocolOpenFlow10 + "," + ovs.ProtocolOpenFlow11 + "," + ovs.ProtocolOpenFlow12 + "," +
	ovs.ProtocolOpenFlow13 + "," + ovs.ProtocolOpenFlow14 + "," + ovs.ProtocolOpenFlow15

// DumpOurs reads the flows with our cookie of a production bridge.
func (c *Client) DumpOurs(ctx context.Context, bridge string) ([]flows.Entry, error) {
	out, err := c.run(ctx, nil, "ovs-ofctl", "--protocols="+productionProtocols, "dump-flows", c.target(bridge),
		fmt.Sprintf("cookie=%#x/%#x", flows.OwnCookies, flows.OwnCookiesMask))
	if err != nil {
		return nil, fmt.Errorf("bridge %q: dump our flows: %w", bridge, err)
	}
	return parseDump(out)
}

// AddOurs adds flows to a production bridge. It refuses one without our cookie.
func (c *Client) AddOurs(ctx context.Context, bridge string, lines []flows.Line) error {
	for _, l := range lines {
		if err := c.ofOurs(ctx, bridge, l, "add-flow", l.String()); err != nil {
			return err
		}
	}
	return nil
}

// DeleteOurs deletes exactly these flows from a production bridge, by table, priority, match and our cookie.
func (c *Client) DeleteOurs(ctx context.Context, bridge string, lines []flows.Line) error {
	for _, l := range lines {
		flow := fmt.Sprintf("cookie=%#x/-1,table=%d,priority=%d", uint64(l.Cookie), int(l.Table), l.Priority)
		if l.Match != "" {
			flow += "," + l.Match
		}
		if err := c.ofOurs(ctx, bridge, l, "del-flows", flow, "--strict"); err != nil {
			return err
		}
	}
	return nil
}

var errNotOurFlow = errors.New("a flow without our cookie is none of ours to change")

func (c *Client) ofOurs(ctx context.Context, bridge string, l flows.Line, command, flow string, options ...string) error {
	err := errNotOurFlow
	if l.Cookie.Ours() {
		_, err = c.run(ctx, nil, "ovs-ofctl", append(options, "--protocols="+productionProtocols, command, c.target(bridge), flow)...)
	}
	if err != nil {
		return fmt.Errorf("bridge %q: %s: %w", bridge, command, err)
	}
	return nil
}
