package vswitchd

import (
	"context"
	"strconv"
	"strings"
)

// Drops are how many packets ovs-vswitchd has dropped since it started, whosever they were, by its own counters
// (`coverage/show`). A counter that is zero is not among them; which there are depends on the version.
func (c *Client) Drops(ctx context.Context) (map[string]uint64, error) {
	out, err := c.Call(ctx, "coverage/show")
	if err != nil {
		return nil, err
	}
	// drop_action_of_pipeline    0.0/sec     0.000/sec        0.0033/sec   total: 20
	drops := map[string]uint64{}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[len(fields)-2] != "total:" || !isDrop(fields[0]) {
			continue
		}
		if n, err := strconv.ParseUint(fields[len(fields)-1], 10, 64); err == nil {
			drops[fields[0]] = n
		}
	}
	return drops, nil
}

func isDrop(counter string) bool {
	return strings.HasPrefix(counter, "datapath_drop_") || strings.HasPrefix(counter, "drop_action_") || counter == "netdev_push_header_drops"
}
