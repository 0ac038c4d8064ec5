// Package erspan reads and writes GRE with ERSPAN Types I, II and III, from the outer IP header (or outer Ethernet) to
// the mirrored frame, and unwraps ERSPAN timestamps to time.
//
// It knows nothing of sockets, files, sessions or Open vSwitch, and imports only the standard library. It takes any
// input, allocates nothing while decoding, and never panics: what the wire holds is data, even where it contradicts
// the specification, as long as the mirrored frame can be found.
//
// Sources: draft-foschiano-erspan-03 for ERSPAN, RFC 2784 and 2890 for GRE, RFC 791 and 8200 for IP; and, where senders
// differ from the draft, captures of them.
package erspan
