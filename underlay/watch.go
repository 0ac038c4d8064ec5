package underlay

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// watched are the groups of rtnetlink(7) that tell of what Paths looks at.
var watched = []uint{
	unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH,
	unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
	unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
}

// Watch tells of changes of routes, addresses, devices (their MTU, too) and neighbours in the network namespace of the
// process: the channel receives after a change, several as one, and only means that Paths may find something else. It is
// closed when the watching ends: with ctx, or because the kernel had more to tell than could be read; then the caller
// looks at everything, and watches anew.
func Watch(ctx context.Context) (<-chan struct{}, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, watched...)
	if err != nil {
		return nil, fmt.Errorf("watch routes and neighbours: %w", err)
	}
	changes := make(chan struct{}, 1)
	release := context.AfterFunc(ctx, s.Close)
	go func() {
		defer close(changes)
		defer func() {
			if release() {
				s.Close()
			}
		}()
		for {
			if _, _, err := s.Receive(); err != nil {
				return
			}
			select {
			case changes <- struct{}{}:
			default:
			}
		}
	}()
	return changes, nil
}
