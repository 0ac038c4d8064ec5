package underlay

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// Devices are the network devices of the namespace by name, each with the reason, if there is one, why a bridge must not
// take it: a device on a bridge is no longer the host's.
func Devices() (map[string]flows.Device, error) {
	handle, err := newHandle()
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	defer handle.Close()
	links, err := handle.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	addrs, err := handle.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	addressed := map[int]string{}
	for _, a := range addrs {
		if !a.IP.IsLinkLocalUnicast() { // IPv6 gives one to every device
			addressed[a.LinkIndex] = a.IP.String()
		}
	}
	devices := make(map[string]flows.Device, len(links))
	for _, l := range links {
		devices[l.Attrs().Name] = flows.Device{Taken: taken(l.Attrs(), addressed[l.Attrs().Index])}
	}
	return devices, nil
}

func taken(a *netlink.LinkAttrs, address string) string {
	switch {
	case a.Flags&net.FlagLoopback != 0:
		return "is the loopback device"
	case address != "":
		return fmt.Sprintf("has the address %s, which the host would lose", address)
	case a.MasterIndex != 0:
		return "belongs to another bridge or bond of the host"
	}
	return ""
}
