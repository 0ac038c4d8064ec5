package capture

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"time"

	"github.com/ovs-erspan/ovs-erspan/erspan"
)

// Bounds of an output file.
const (
	// maxOutputInterfaces bounds how many interfaces one file describes. What comes beyond goes to one of the rest.
	maxOutputInterfaces = 4096
	// flushSize is how many bytes are gathered before they are written.
	flushSize = 1 << 20
)

// Option codes of pcapng (draft-ietf-opsawg-pcapng, sections 3.5, 4.1, 4.2, 4.3, 4.6).
const (
	optEnd           = 0
	optComment       = 1
	optSectionAppl   = 4
	optInterfaceName = 2
	optInterfaceDesc = 3
	optInterfaceTime = 9
	optPacketFlags   = 2
	optPacketID      = 5
	optStatsReceived = 4
	optStatsDropped  = 5
)

// flagInbound and flagOutbound are the direction in epb_flags.
const (
	flagInbound  = 1
	flagOutbound = 2
)

// PcapngWriter writes mirrored frames as pcapng, with one interface for each (sender, session, direction). It gathers
// blocks and hands on whole ones only: call Flush, or Close at the end.
//
// Frames keep nanoseconds. The direction, where the header tells one, is in epb_flags (ingress, from the port to the
// switch, is inbound), the sequence number in epb_packetid, and what the interface does not tell of the header in a
// comment.
type PcapngWriter struct {
	w     io.Writer
	buf   []byte
	id    uint64 // of this file among all that this process wrote: streams remember their interface by it
	names map[interfaceKey]uint32
	// collectors are where the frames of each interface went, when it was described. The first interface is for what
	// finds no room in names, and has none.
	collectors []netip.Addr
	written    int64 // bytes that the destination took
	stamp      stamp
	err        error
}

// interfaceKey names an interface of an output file.
type interfaceKey struct {
	stream    StreamKey
	version   erspan.Version
	direction uint8
}

// fileIDs counts the files that were begun.
var fileIDs uint64

// NewPcapngWriter begins a file.
func NewPcapngWriter(w io.Writer) *PcapngWriter {
	fileIDs++
	p := &PcapngWriter{w: w, id: fileIDs, names: make(map[interfaceKey]uint32)}
	start := p.begin(blockSection)
	p.buf = le32(p.buf, byteOrder)
	p.buf = le16(p.buf, 1) // version 1.0
	p.buf = le16(p.buf, 0)
	p.buf = binary.LittleEndian.AppendUint64(p.buf, 1<<64-1) // a section of unknown length
	p.option(optSectionAppl, "ovs-erspan")
	p.endOptions()
	p.finish(start)
	// An interface from the start: without one, libpcap takes a file (or a pipe that is still empty) for damaged.
	p.addInterface("others", "senders and sessions beyond those with an interface of their own", netip.Addr{})
	return p
}

func le16(b []byte, v uint16) []byte { return binary.LittleEndian.AppendUint16(b, v) }
func le32(b []byte, v uint32) []byte { return binary.LittleEndian.AppendUint32(b, v) }

// begin starts a block. finish ends it: it sets the length at both ends.
func (w *PcapngWriter) begin(kind uint32) (start int) {
	start = len(w.buf)
	w.buf = le32(w.buf, kind)
	w.buf = le32(w.buf, 0)
	return start
}

func (w *PcapngWriter) finish(start int) {
	length := uint32(len(w.buf) - start + 4)
	w.buf = le32(w.buf, length)
	binary.LittleEndian.PutUint32(w.buf[start+4:], length)
}

// option appends an option with a text.
func (w *PcapngWriter) option(code uint16, text string) {
	w.buf = le16(w.buf, code)
	w.buf = le16(w.buf, uint16(len(text)))
	w.buf = append(w.buf, text...)
	w.pad(len(text))
}

// pad fills up to a multiple of four what is n bytes long.
func (w *PcapngWriter) pad(n int) {
	for ; n%4 != 0; n++ {
		w.buf = append(w.buf, 0)
	}
}

// endOptions ends a list of options.
func (w *PcapngWriter) endOptions() { w.buf = le32(w.buf, optEnd) }

// addInterface describes an interface.
func (w *PcapngWriter) addInterface(name, description string, collector netip.Addr) uint32 {
	start := w.begin(blockInterface)
	w.buf = le16(w.buf, uint16(LinkEthernet))
	w.buf = le16(w.buf, 0)
	w.buf = le32(w.buf, maxFrame)
	w.option(optInterfaceName, name)
	w.option(optInterfaceDesc, description)
	w.option(optInterfaceTime, "\x09") // nanoseconds
	w.endOptions()
	w.finish(start)
	w.collectors = append(w.collectors, collector)
	return uint32(len(w.collectors) - 1)
}

// interfaceOf is the interface that a record belongs to, described when it is first needed.
func (w *PcapngWriter) interfaceOf(r *Record, direction uint8) uint32 {
	s := r.stream
	if s != nil && s.file == w.id && s.output[direction] != 0 {
		return uint32(s.output[direction] - 1)
	}
	p := &r.Packet
	key := interfaceKey{direction: direction, version: p.Layout(), stream: StreamKey{Sender: p.Outer.Src}}
	if p.Layout() != erspan.TypeI {
		key.stream.SessionID, key.stream.Typed = p.Header.SessionID, true
	}
	id, ok := w.names[key]
	switch {
	case ok:
	case len(w.names) < maxOutputInterfaces-1:
		description := "ERSPAN version " + p.Layout().String()
		if p.Outer.Dst.IsValid() {
			description += " to " + p.Outer.Dst.String()
		}
		id = w.addInterface(interfaceName(key), description, p.Outer.Dst)
		w.names[key] = id
	default:
		return 0
	}
	if s != nil {
		if s.file != w.id {
			s.file, s.output = w.id, [3]int32{}
		}
		s.output[direction] = int32(id) + 1
	}
	return id
}

// interfaceName is such as "192.0.2.1 session 100 ingress".
func interfaceName(k interfaceKey) string {
	name := "unknown sender"
	if k.stream.Sender != (netip.Addr{}) {
		name = k.stream.Sender.String()
	}
	if k.stream.Typed {
		name += " session " + strconv.Itoa(int(k.stream.SessionID))
	}
	switch k.direction {
	case flagInbound:
		name += " ingress"
	case flagOutbound:
		name += " egress"
	}
	return name
}

// Write appends a record's mirrored frame. A record without one (a broken packet) is left out.
func (w *PcapngWriter) Write(r *Record) error {
	if w.err != nil {
		return w.err
	}
	p := &r.Packet
	if !r.headerRead() || len(p.Inner) == 0 {
		return nil
	}
	direction := uint8(0)
	if p.Layout() == erspan.TypeIII {
		direction = flagInbound
		if p.Header.Direction == erspan.Egress {
			direction = flagOutbound
		}
	}
	id := w.interfaceOf(r, direction)
	// All interfaces of a file are Ethernet, without which libpcap does not read it: a mirrored IP packet gets an
	// Ethernet header that says nothing.
	var made []byte
	if p.InnerIsIP() {
		made = ethernetOfIPv4[:]
		if p.Inner[0]>>4 == 6 {
			made = ethernetOfIPv6[:]
		}
	}
	nanoseconds := unixNano(r.Time)
	inner := p.Inner[:min(len(p.Inner), maxFrame-len(made))]
	captured := len(made) + len(inner)
	// In a variable of its own: each append through w would store the slice.
	start, b := len(w.buf), w.buf
	b = le32(b, blockEnhanced)
	b = le32(b, 0) // the block's length, set below
	b = le32(b, id)
	b = le32(b, uint32(nanoseconds>>32))
	b = le32(b, uint32(nanoseconds))
	b = le32(b, uint32(captured))
	b = le32(b, uint32(max(p.InnerLen, len(inner))+len(made)))
	b = append(b, made...)
	b = append(b, inner...)
	b = append(b, zeros[:-captured&3]...)

	b = le32(b, optComment) // with its length, set below
	comment := len(b)
	b = w.appendComment(b, r, id, direction)
	if len(made) > 0 {
		b = append(b, "; the Ethernet header is made up: the sender mirrored the IP packet alone"...)
	}
	n := len(b) - comment
	binary.LittleEndian.PutUint16(b[comment-2:], uint16(n))
	b = append(b, zeros[:-n&3]...)
	if direction != 0 {
		b = le32(b, optPacketFlags|4<<16)
		b = le32(b, uint32(direction))
	}
	if p.GRE.HasSequence() {
		b = le32(b, optPacketID|8<<16)
		b = binary.LittleEndian.AppendUint64(b, uint64(p.GRE.Sequence))
	}
	b = le32(b, optEnd)
	length := uint32(len(b) + 4 - start)
	b = le32(b, length)
	binary.LittleEndian.PutUint32(b[start+4:], length)
	w.buf = b
	if len(b) >= flushSize {
		return w.Flush()
	}
	return nil
}

// zeros is padding.
var zeros [4]byte

// The Ethernet headers of mirrored IP packets.
var (
	ethernetOfIPv4 = [14]byte{12: 0x08, 13: 0x00}
	ethernetOfIPv6 = [14]byte{12: 0x86, 13: 0xdd}
)

// unixNano is t in nanoseconds since 1970; 0 for what pcapng cannot say.
func unixNano(t time.Time) uint64 {
	if s := t.Unix(); s < 0 || s >= (1<<63-1)/1_000_000_000 {
		return 0
	}
	return uint64(t.UnixNano())
}

// comment is the beginning of a stream's comments, which stays the same from packet to packet, and what it was made of.
type comment struct {
	header   erspan.Header // whose timestamp counts for nothing
	protocol uint16
	id       uint32 // of the interface
	file     uint64 // that the interface is in
	dst      netip.Addr
	fixed    int    // how much of text does not change while the above does not
	high     uint32 // the sequence number but for its last four digits, with which text ends
	text     []byte
}

// lowDigits is how many numbers there are for one comment.high.
const lowDigits = 10_000

// stamp is the end of the comment before, which tells the timestamp: in a busy stream many packets have the same.
type stamp struct {
	timestamp uint32
	kind      erspan.TimeKind
	text      []byte
}

// appendComment appends in words what interface id does not tell of the header, but for fields that are 0.
func (w *PcapngWriter) appendComment(b []byte, r *Record, id uint32, direction uint8) []byte {
	p := &r.Packet
	var unknown comment
	c := &unknown
	if r.stream != nil {
		c = &r.stream.comments[direction]
	}
	if c.text == nil || c.id != id || c.file != w.id || c.dst != p.Outer.Dst || c.protocol != p.GRE.Protocol || !sameButTime(&c.header, &p.Header) {
		*c = comment{header: p.Header, protocol: p.GRE.Protocol, id: id, file: w.id, dst: p.Outer.Dst, text: w.appendConstant(c.text[:0], p, id)}
		c.fixed = len(c.text)
	}
	if p.GRE.HasSequence() {
		high, low := p.GRE.Sequence/lowDigits, p.GRE.Sequence%lowDigits
		if high != c.high || len(c.text) == c.fixed {
			c.high = high
			c.text = append(c.text[:c.fixed], ", seq "...)
			if high > 0 {
				c.text = appendDecimal(c.text, high)
			}
		}
		b = append(b, c.text...)
		if high > 0 {
			one, two := decimalPairs[low/100], decimalPairs[low%100]
			b = append(b, one[0], one[1], two[0], two[1])
		} else {
			b = appendDecimal(b, low)
		}
	} else {
		b = append(b, c.text[:c.fixed]...)
	}
	if p.Layout() == erspan.TypeIII {
		t := &w.stamp
		if t.timestamp != p.Header.Timestamp || t.kind != r.SentKind || t.text == nil {
			t.timestamp, t.kind = p.Header.Timestamp, r.SentKind
			t.text = appendDecimal(append(t.text[:0], ", timestamp "...), p.Header.Timestamp)
			if r.SentKind != erspan.TimeReceived {
				t.text = append(t.text, " ("...)
				t.text = append(t.text, r.SentKind.String()...)
				t.text = append(t.text, ')')
			}
		}
		b = append(b, t.text...)
	}
	return b
}

// sameButTime reports whether two headers differ in their timestamps at most. Field by field, the likely ones first:
// the compiler's comparison of the whole takes longer than all else that a comment costs.
func sameButTime(a, b *erspan.Header) bool {
	return a.Index == b.Index && a.HardwareID == b.HardwareID && a.VLAN == b.VLAN && a.COS == b.COS &&
		a.Truncated == b.Truncated && a.Encap == b.Encap && a.BSO == b.BSO && a.SGT == b.SGT &&
		a.SessionID == b.SessionID && a.Version == b.Version && a.Direction == b.Direction &&
		a.FrameType == b.FrameType && a.P == b.P && a.Granularity == b.Granularity && a.Reserved == b.Reserved &&
		a.O == b.O && a.HasSubheader == b.HasSubheader && a.Subheader == b.Subheader
}

// appendDecimal appends a number, as strconv.AppendUint does in three times the time: it puts the digits where they
// belong at once.
func appendDecimal(b []byte, v uint32) []byte {
	n := 1
	for limit := uint64(10); uint64(v) >= limit; limit *= 10 {
		n++
	}
	b = append(b, "0000000000"[:n]...)
	text := b[len(b)-n:]
	for v >= 10 {
		q := v / 100
		pair := decimalPairs[v-q*100]
		text[n-2], text[n-1] = pair[0], pair[1]
		v, n = q, n-2
	}
	if n > 0 {
		text[0] = '0' + byte(v)
	}
	return b
}

// decimalPairs are the numbers below 100 in two digits.
var decimalPairs = func() (pairs [100][2]byte) {
	for i := range pairs {
		pairs[i] = [2]byte{'0' + byte(i/10), '0' + byte(i%10)}
	}
	return pairs
}()

// appendConstant appends what most often stays the same from packet to packet.
func (w *PcapngWriter) appendConstant(b []byte, p *erspan.Packet, id uint32) []byte {
	if id == 0 { // the interface of many
		b = appendIdentity(b, p)
		if p.Outer.Src.IsValid() {
			b = p.Outer.Src.AppendTo(append(b, ", "...))
			b = p.Outer.Dst.AppendTo(append(b, " > "...))
		}
		return appendFields(b, p, true)
	}
	b = appendType(b, p)
	switch p.Layout() {
	case erspan.TypeII:
		b = appendField(b, " index ", uint64(p.Header.Index))
	case erspan.TypeIII:
		b = appendField(b, " hwid ", uint64(p.Header.HardwareID))
	}
	if p.Outer.Dst != w.collectors[id] {
		b = p.Outer.Dst.AppendTo(append(b, ", to "...))
	}
	return appendFields(b, p, true)
}

// WriteStatistics appends how many packets came in and how many the kernel dropped, as statistics of the first
// interface.
func (w *PcapngWriter) WriteStatistics(now time.Time, received, dropped uint64) {
	nanoseconds := unixNano(now)
	start := w.begin(blockStatistics)
	w.buf = le32(w.buf, 0)
	w.buf = le32(w.buf, uint32(nanoseconds>>32))
	w.buf = le32(w.buf, uint32(nanoseconds))
	for _, o := range [...]struct {
		code uint16
		v    uint64
	}{{optStatsReceived, received}, {optStatsDropped, dropped}} {
		w.buf = le16(w.buf, o.code)
		w.buf = le16(w.buf, 8)
		w.buf = binary.LittleEndian.AppendUint64(w.buf, o.v)
	}
	w.endOptions()
	w.finish(start)
}

// Buffered is how many bytes wait for Flush.
func (w *PcapngWriter) Buffered() int { return len(w.buf) }

// Size is how long the file is, with what waits for Flush.
func (w *PcapngWriter) Size() int64 { return w.written + int64(len(w.buf)) }

// truncater is a destination that can be cut back, such as a file.
type truncater interface {
	Truncate(size int64) error
}

// Flush hands on what was gathered. When the destination does not take it all (the disk is full), and can be cut back,
// it is, to the last whole block, so that the file stays readable.
func (w *PcapngWriter) Flush() error {
	if w.err != nil || len(w.buf) == 0 {
		return w.err
	}
	n, err := w.w.Write(w.buf)
	if err != nil {
		w.err = err
		whole := wholeBlocks(w.buf, n)
		if t, ok := w.w.(truncater); ok && whole < n {
			if cutErr := t.Truncate(w.written + int64(whole)); cutErr != nil {
				w.err = fmt.Errorf("%w (and the file ends in the middle of a frame: %v)", err, cutErr)
			}
		}
		n = whole
	}
	w.written += int64(n)
	w.buf = w.buf[:0]
	return w.err
}

// wholeBlocks is the length of those blocks in b that lie in its first n bytes.
func wholeBlocks(b []byte, n int) int {
	at := 0
	for at+8 <= n {
		length := int(binary.LittleEndian.Uint32(b[at+4:]))
		if at+length > n {
			break
		}
		at += length
	}
	return at
}
