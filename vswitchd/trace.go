package vswitchd

import (
	"context"
	"encoding/hex"
)

// Trace has Open vSwitch tell what it would do with a packet that arrives at a bridge (`ofproto/trace`, ovs-vswitchd(8)).
// The flow is one of ovs-fields(7) with exact values; with a packet (from its Ethernet header on), only the flow's metadata
// counts, such as in_port. No packet is sent and nothing is learned from it; a next hop that a tunnel does not know is asked
// for, as a packet would have it.
func (c *Client) Trace(ctx context.Context, bridge, flow string, packet []byte) (string, error) {
	args := []string{bridge, flow}
	if packet != nil {
		args = append(args, hex.EncodeToString(packet))
	}
	return c.Call(ctx, "ofproto/trace", args...)
}

// DumpMegaflows are the megaflows of packets that come in through ports of the bridge (`dpif/dump-flows`), a line each.
func (c *Client) DumpMegaflows(ctx context.Context, bridge string) (string, error) {
	return c.Call(ctx, "dpif/dump-flows", bridge)
}
