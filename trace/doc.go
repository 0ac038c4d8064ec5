// Package trace tells the way of a packet through a session, for `ovs-erspan session trace` and `session verify`: in
// general, with what is programmed and counted at each stage ([NewPath]), and for one packet, out of what Open vSwitch's
// own `ofproto/trace` printed ([Parse], [Follow]).
//
// It is pure: it asks nobody. What was gathered comes in, and what people or programs read goes out.
//
//	run := trace.Parse(printed)
//	for _, copy := range trace.Follow(run, outcome) {
//		fmt.Println(copy.Tap.TapPort, copy.Lost, copy.Headers)
//	}
package trace
