// Package compose makes an Ethernet frame out of fields of ovs-fields(7), so that a probe can be one that a session's filter
// rules permit. Only it knows gopacket's layers.
//
//	frame, flow, err := compose.Frame("tcp,nw_dst=10.0.0.2,tp_dst=443", compose.Options{Payload: payload})
package compose
