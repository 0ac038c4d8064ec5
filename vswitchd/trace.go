package vswitchd

import (
	"context"
	"net/netip"
	"regexp"
)

// Trace has Open vSwitch tell what it would do with a packet that arrives at a bridge (`ofproto/trace`, ovs-vswitchd(8)).
// The flow is one of ovs-fields(7) with exact values. No packet is sent and nothing is learned from it; a next hop that a
// tunnel does not know is asked for, as a packet would have it. (The bytes of a packet could be given too, but then Open
// vSwitch does send it.)
func (c *Client) Trace(ctx context.Context, bridge, flow string) (string, error) {
	return c.Call(ctx, "ofproto/trace", bridge, flow)
}

// DumpMegaflows are the megaflows of packets that come in through ports of the bridge (`dpif/dump-flows`), a line each.
func (c *Client) DumpMegaflows(ctx context.Context, bridge string) (string, error) {
	return c.Call(ctx, "dpif/dump-flows", bridge)
}

// tunneling is the line that ofproto/trace prints of a native tunnel: "tunneling from MAC IP to MAC IP".
var tunneling = regexp.MustCompile(`tunneling from \S+ (\S+) to `)

// TunnelSource is the address that a native tunnel would send from, for actions of a bridge that output to it. It is invalid
// where nothing would be sent, as when the next hop's link-layer address is not known. No packet is sent.
func (c *Client) TunnelSource(ctx context.Context, bridge, actions string) (netip.Addr, error) {
	out, err := c.Call(ctx, "ofproto/trace-packet-out", bridge, "in_port=LOCAL,ip", actions)
	if err != nil {
		return netip.Addr{}, err
	}
	m := tunneling.FindStringSubmatch(out)
	if m == nil {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(m[1])
	return a.Unmap(), err
}
