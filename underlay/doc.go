// Package underlay looks at the host's network towards collectors: routes, addresses, MTU and neighbours, through
// netlink, in the network namespace of the process. It asks the kernel also where Open vSwitch's userspace datapath does
// the tunnelling: that reads the same routes.
//
// It knows nothing of sessions or bridges. All it ever causes is that a next hop is resolved (Prime).
package underlay
