// Package probe is the frame that `ovs-erspan session verify` sends through a session, and the answer that `ovs-erspan
// capture --answer-probes` gives: what they look like, and how they are told from everything else. Pure, and only the
// standard library.
//
// A probe has to come through whatever a session does to frames: it may be cut to 14 bytes, and filter rules may ask for
// TCP. So all that the receiver needs stands in the two Ethernet addresses, locally administered ones that no device has,
// and more, for people and for clocks, in the payload if it is still there.
//
//	destination   02:e2:5a:RR:RR:RR   RR: the run, a random number
//	source        06:e2:PP:PP:TT:SS   PP: the UDP port that waits for answers, TT: the tap, SS: the sequence number
//	type          0x88b5 (IEEE 802, local experimental EtherType 1), or what the session's rules ask for
//	payload       Magic, version, tap, sequence, length of the name, run, port, time, name
//
// Where rules fix the addresses, the payload alone makes it a probe.
//
//	p := probe.Probe{Run: run, Port: port, Sequence: 1, Session: "web", Sent: time.Now()}
//	frame := p.Frame()
//	got, ok := probe.Recognize(frame)
package probe
