package underlay

import (
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// answerTime bounds each answer of the kernel: it is there at once, or never.
const answerTime = 5 * time.Second

// newHandle is a netlink socket for questions about routes, addresses, devices and neighbours.
func newHandle() (*netlink.Handle, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	if err := h.SetSocketTimeout(answerTime); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}
