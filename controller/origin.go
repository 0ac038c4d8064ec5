package controller

import (
	"context"
	"net/netip"
	"strconv"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// sourceTaken is the address that copies with an IPv6 origin leave from. Open vSwitch may leave the tunnel's local_ip aside
// and take the route's address (3.1 does): what it does is asked of it, where there is a tunnel port to ask about.
func (c *Controller) sourceTaken(ctx context.Context, state flows.State, key flows.PathKey, route netip.Addr) netip.Addr {
	for _, name := range flows.TapBridgeNames() {
		b := state.Bridges[name]
		if b == nil || b.NormalDatapathType() != netdev {
			continue
		}
		for _, p := range b.Ports {
			for _, i := range p.Interfaces {
				if i.OFPort <= 0 || !sameAddress(i.Options["local_ip"], key.Origin) || !sameAddress(i.Options["remote_ip"], key.Collector) {
					continue
				}
				if from, err := c.Vswitchd.TunnelSource(ctx, name, "output:"+strconv.Itoa(i.OFPort)); err == nil && from.IsValid() {
					return from
				}
			}
		}
	}
	return route
}

// sameAddress tells whether a text is that address, in whichever way it is written.
func sameAddress(text string, a netip.Addr) bool {
	b, err := netip.ParseAddr(text)
	return err == nil && b.Unmap() == a
}
