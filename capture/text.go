package capture

import (
	"strconv"
	"strings"
	"time"

	"github.com/ovs-erspan/ovs-erspan/erspan"
)

// TextOptions of [AppendText].
type TextOptions struct {
	// Verbose adds the whole header.
	Verbose bool
	// Location is where the times of day are read; nil is time.Local.
	Location *time.Location
}

// AppendText appends a record as a line of text, in the manner of tcpdump:
//
//	18:02:03.123456789 192.0.2.1 > 192.0.2.9: ERSPAN III session 100 ingress hwid 7 seq 12: IP 10.0.0.1 > 10.0.0.2: …
//
// With Verbose, lines with all fields of the header follow, indented.
func AppendText(b []byte, r *Record, o TextOptions) []byte {
	location := o.Location
	if location == nil {
		location = time.Local
	}
	b = r.Time.In(location).AppendFormat(b, "15:04:05.000000000 ")
	p := &r.Packet
	if p.Outer.Src.IsValid() {
		b = p.Outer.Src.AppendTo(b)
		b = append(b, " > "...)
		b = p.Outer.Dst.AppendTo(b)
		b = append(b, ": "...)
	}
	if r.headerRead() {
		b = appendIdentity(b, p)
		if p.GRE.HasSequence() {
			b = appendField(b, " seq ", uint64(p.GRE.Sequence))
		}
		if p.Header.Truncated {
			b = append(b, " truncated"...)
		}
		b = append(b, ": "...)
		b = appendSummary(b, p)
	} else {
		b = append(b, "ERSPAN: "...)
	}
	if r.Err != nil {
		if r.Err == erspan.ErrShortInner {
			b = append(b, ' ')
		}
		b = append(b, "[frame "...)
		b = strconv.AppendUint(b, r.Number, 10)
		b = append(b, ": "...)
		b = append(b, r.Err.Error()...)
		b = append(b, ']')
	}
	b = append(b, '\n')
	if o.Verbose {
		b = appendVerbose(b, r, location)
	}
	return b
}

// appendIdentity appends the type and what tells one stream from another.
func appendIdentity(b []byte, p *erspan.Packet) []byte {
	h, layout := &p.Header, p.Layout()
	b = appendType(b, p)
	if layout == erspan.TypeI {
		return b
	}
	b = appendField(b, " session ", uint64(h.SessionID))
	if layout == erspan.TypeII {
		b = appendField(b, " index ", uint64(h.Index))
	} else {
		b = append(b, ' ')
		b = append(b, h.Direction.String()...)
		b = appendField(b, " hwid ", uint64(h.HardwareID))
	}
	return b
}

// appendType appends the type, or the version that has none.
func appendType(b []byte, p *erspan.Packet) []byte {
	if layout := p.Layout(); layout == p.Header.Version {
		return append(append(b, "ERSPAN "...), layout.Type()...)
	}
	return appendField(b, "ERSPAN version ", uint64(p.Header.Version))
}

// appendFields appends the fields of the ERSPAN header that [appendIdentity] leaves out, but for the timestamp. Each
// begins with a comma. With brief, those that are 0 are left out.
func appendFields(b []byte, p *erspan.Packet, brief bool) []byte {
	h, layout := &p.Header, p.Layout()
	field := func(name string, v uint64) {
		if !brief || v != 0 {
			b = appendField(b, name, v)
		}
	}
	named := func(name string, v uint64, names []string) {
		if !brief || v != 0 {
			b = appendNamed(b, name, v, names)
		}
	}
	if layout == erspan.TypeI {
		return b
	}
	field(", vlan ", uint64(h.VLAN))
	field(", cos ", uint64(h.COS))
	field(", truncated ", flag(h.Truncated))
	if layout == erspan.TypeII {
		named(", encap ", uint64(h.Encap), encapNames[:])
		if h.Reserved != 0 {
			b = append(b, ", reserved "...)
			b = appendHex(b, uint64(h.Reserved), 3)
		}
		return b
	}
	named(", bso ", uint64(h.BSO), bsoNames[:])
	named(", granularity ", uint64(h.Granularity), granularityNames[:])
	field(", sgt ", uint64(h.SGT))
	field(", p ", flag(h.P))
	field(", frame type ", uint64(h.FrameType))
	field(", o ", flag(h.O))
	if !h.HasSubheader {
		return b
	}
	s := h.Subheader
	b = appendField(b, ", platform ", uint64(s.PlatformID()))
	if v, ok := s.VSMDomain(); ok {
		b = appendField(b, ", vsm domain ", uint64(v))
	}
	if v, ok := s.SwitchID(); ok {
		b = appendField(b, ", switch ", uint64(v))
	}
	if v, ok := s.Port(); ok {
		b = appendField(b, ", port ", uint64(v))
	}
	if v, ok := s.SourceIndex(); ok {
		b = appendField(b, ", source index ", uint64(v))
	}
	if v, ok := s.UpperTimestamp(); ok {
		b = appendField(b, ", upper timestamp ", uint64(v))
	}
	if v, ok := s.Seconds(); ok {
		b = appendField(b, ", seconds ", uint64(v))
	}
	if !s.Known() {
		b = append(b, ", subheader "...)
		b = appendHex(b, uint64(s), 16)
	}
	return b
}

var (
	encapNames       = [...]string{"untagged", "ISL", "802.1Q", "tag preserved"}
	bsoNames         = [...]string{"good or unknown", "short", "oversized", "bad"}
	granularityNames = [...]string{"100 us", "100 ns", "IEEE 1588", "custom"}
)

// appendVerbose appends the lines of -v.
func appendVerbose(b []byte, r *Record, location *time.Location) []byte {
	p := &r.Packet
	b = append(b, "    "...)
	b = appendField(b, "frame ", r.Number)
	b = append(b, ", received "...)
	b = r.Received.In(location).AppendFormat(b, "2006-01-02 15:04:05.000000000")
	if r.SentKind != erspan.TimeReceived {
		b = append(b, ", sent "...)
		b = r.Sent.In(location).AppendFormat(b, "2006-01-02 15:04:05.000000000")
		b = append(b, " ("...)
		b = append(b, r.SentKind.String()...)
		b = append(b, ')')
	}
	b = appendField(b, ", tos ", uint64(p.Outer.TOS))
	b = appendField(b, ", ttl ", uint64(p.Outer.TTL))
	if r.Reassembled {
		b = append(b, ", reassembled from fragments"...)
	}
	b = append(b, "\n    gre "...)
	b = appendHex(b, uint64(p.GRE.Protocol), 4)
	b = append(b, ", flags "...)
	b = appendHex(b, uint64(p.GRE.Flags), 4)
	if p.GRE.HasChecksum() {
		b = append(b, ", checksum "...)
		b = appendHex(b, uint64(p.GRE.Checksum), 4)
		if r.BadChecksum {
			b = append(b, " (wrong)"...)
		}
	}
	if p.GRE.HasKey() {
		b = append(b, ", key "...)
		b = appendHex(b, uint64(p.GRE.Key), 8)
	}
	if p.GRE.HasSequence() {
		b = appendField(b, ", sequence ", uint64(p.GRE.Sequence))
	}
	if !r.headerRead() {
		return append(b, '\n')
	}
	b = append(b, "\n    erspan version "...)
	b = append(b, p.Header.Version.String()...)
	b = appendFields(b, p, false)
	if p.Layout() == erspan.TypeIII {
		b = appendField(b, ", timestamp ", uint64(p.Header.Timestamp))
	}
	b = appendField(b, "\n    inner length ", uint64(p.InnerLen))
	if len(p.Inner) != p.InnerLen {
		b = appendField(b, ", captured ", uint64(len(p.Inner)))
	}
	if notes := p.Notes().Strings(); len(notes) > 0 {
		b = append(b, "; "...)
		b = append(b, strings.Join(notes, "; ")...)
	}
	return append(b, '\n')
}

// appendField appends a name and a number.
func appendField(b []byte, name string, v uint64) []byte {
	return strconv.AppendUint(append(b, name...), v, 10)
}

// appendNamed appends a name, a number and what the number means.
func appendNamed(b []byte, name string, v uint64, names []string) []byte {
	b = appendField(b, name, v)
	b = append(b, " ("...)
	b = append(b, names[v]...)
	return append(b, ')')
}

// flag is v as a number.
func flag(v bool) uint64 {
	if v {
		return 1
	}
	return 0
}
