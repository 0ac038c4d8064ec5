package vswitchd

import "context"

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
