// Package vswitchd asks a running ovs-vswitchd, through its control socket, for what neither OVSDB nor OpenFlow tells:
// when its revalidators have caught up with a change, and which neighbours its native tunnels know. It changes nothing.
//
// The protocol is JSON-RPC 1.0 over a Unix socket, as ovs-appctl(8) speaks it.
package vswitchd
