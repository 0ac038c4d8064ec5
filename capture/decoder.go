package capture

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/ovs-erspan/ovs-erspan/erspan"
)

// Options of a decoder.
type Options struct {
	Filter Filter
	// ReceiveTime takes the time at which frames were received for theirs, whatever their senders say.
	ReceiveTime bool
	// SendersComplete says that all that the senders send comes here, so that a gap in their numbers is loss.
	SendersComplete bool
}

// Record is one ERSPAN packet, decoded. Like the frame it came from, it is valid until the next one is decoded.
type Record struct {
	Number   uint64 // of the frame in the capture; of the fragment that made it whole
	Received time.Time
	// Time is the best that is known of when the frame was seen: the sender's own time where that is absolute, else
	// Received.
	Time time.Time
	// Sent is the time that the ERSPAN header tells, as far as SentKind goes.
	Sent     time.Time
	SentKind erspan.TimeKind

	Packet erspan.Packet
	Err    error // why it could not be decoded whole
	// BadChecksum says that the GRE checksum is there and wrong.
	BadChecksum bool
	Reassembled bool // from outer fragments

	stream *stream
}

// headerRead reports whether the ERSPAN header came whole.
func (r *Record) headerRead() bool { return r.Err == nil || r.Err == erspan.ErrShortInner }

// Decoder turns frames into records. It is not safe for concurrent use.
type Decoder struct {
	options   Options
	fragments reassembler
	streams   *lru[StreamKey, stream]
	senders   *lru[netip.Addr, sequence]
	stats     Stats
	record    Record

	// recent holds streams of the packets before, by [StreamKey.slot], where the next one's is most often found without
	// a look into the tables.
	recent [recentStreams]recentStream
}

// recentStreams is how many streams are at hand: a power of two.
const recentStreams = 256

// recentStream is a stream and its sender. Either may have been evicted from its table since.
type recentStream struct {
	stream *lruEntry[StreamKey, stream]
	sender *lruEntry[netip.Addr, sequence]
}

// slot is the stream's place among the recent ones. It costs less than a hash table's function, and what collides is
// found in the tables.
func (k StreamKey) slot() uint32 {
	h := uint32(k.SessionID)
	if k.Sender.Is4() {
		a := k.Sender.As4()
		h += binary.LittleEndian.Uint32(a[:])
	} else {
		a := k.Sender.As16()
		h += binary.LittleEndian.Uint32(a[12:])
	}
	return h * 0x9e3779b1 >> 24 // 2^32 divided by the golden ratio
}

// NewDecoder is a decoder that has seen nothing yet.
func NewDecoder(o Options) *Decoder {
	return &Decoder{
		options: o,
		streams: newLRU[StreamKey, stream](maxStreams),
		senders: newLRU[netip.Addr, sequence](maxSenders),
	}
}

// Decode reads a frame. It gives back nil for what is not ERSPAN, was not asked for, or waits for more fragments.
func (d *Decoder) Decode(f *Frame) *Record {
	d.stats.Frames++
	r := &d.record
	// Packet resets itself; the rest is set here.
	r.Number, r.Received, r.Err, r.BadChecksum, r.Reassembled, r.stream = f.Number, f.Time, nil, false, false, nil
	ip, err := ipOf(f.Link, f.Data)
	if err == nil {
		err = r.Packet.DecodeIP(ip)
	} else {
		r.Packet = erspan.Packet{}
	}
	if err == erspan.ErrFragment {
		if ip = d.fragments.add(ip, f.Time); ip == nil {
			return nil
		}
		r.Reassembled = true
		err = r.Packet.DecodeIP(ip)
	}
	r.Err = err
	if e, ok := err.(erspan.Error); ok && (e.Foreign() || r.Packet.GRE.Protocol == 0) {
		// What is broken before it could be known as ERSPAN is not reported: a file is full of other traffic.
		d.stats.Foreign++
		return nil
	}
	if _, ok := err.(LinkError); ok {
		return r
	}
	d.stats.ERSPAN++
	if err != nil {
		d.stats.Errors++
	}
	d.follow(r, f.Time)
	if !d.options.Filter.wants(&r.Packet, r.headerRead()) {
		d.stats.Filtered++
		return nil
	}
	if err == nil && r.Packet.GRE.HasChecksum() && r.Packet.Notes()&erspan.NoteCut == 0 {
		r.BadChecksum = !erspan.ChecksumOK(greOf(ip))
	}
	return r
}

// greOf is the GRE packet in a whole IP packet that was decoded as one.
func greOf(ip []byte) []byte {
	if ip[0]>>4 == 4 {
		header, total := int(ip[0]&0xf)*4, int(ip[2])<<8|int(ip[3])
		return ip[header:max(header, min(total, len(ip)))]
	}
	next, b := ip[6], ip[40:min(len(ip), 40+(int(ip[4])<<8|int(ip[5])))]
	for next != erspan.ProtocolGRE && len(b) >= 8 {
		n := (int(b[1]) + 1) * 8
		switch next {
		case 51: // authentication header
			n = (int(b[1]) + 2) * 4
		case 44: // fragment header
			n = 8
		}
		next, b = b[0], b[min(n, len(b)):]
	}
	return b
}

// streamOf is what is known of a stream, and of all that its sender sends.
func (d *Decoder) streamOf(key StreamKey, now time.Time) (*stream, *sequence) {
	recent := &d.recent[key.slot()]
	s, sender := recent.stream, recent.sender
	if s == nil || s.key != key || !d.streams.touch(s) || !d.senders.touch(sender) {
		var isNew bool
		if s, isNew = d.streams.get(key); isNew {
			s.value.stats.StreamKey, s.value.stats.First = key, now
		}
		sender, _ = d.senders.get(key.Sender)
		recent.stream, recent.sender = s, sender
	}
	return &s.value, &sender.value
}

// follow counts the packet in its stream, and finds out its time.
func (d *Decoder) follow(r *Record, now time.Time) {
	p := &r.Packet
	key := StreamKey{Sender: p.Outer.Src}
	layout := p.Layout()
	// Where the header was cut short there is no session to speak of.
	if layout != erspan.TypeI && r.headerRead() {
		key.SessionID, key.Typed = p.Header.SessionID, true
	}
	s, sender := d.streamOf(key, now)
	r.stream = s
	st := &s.stats
	st.Version, st.Last = p.Header.Version, now
	st.Packets++
	st.Bytes += uint64(p.InnerLen)
	if r.Err != nil {
		st.Errors++
	}
	if p.GRE.HasSequence() && r.Err != erspan.ErrShortGRE {
		s.sequence.add(p.GRE.Sequence)
		sender.add(p.GRE.Sequence)
	}
	r.Sent, r.SentKind, r.Time = now, erspan.TimeReceived, now
	if layout != erspan.TypeIII || !r.headerRead() {
		return
	}
	r.Sent, r.SentKind = s.clock(p.Header.HardwareID).Time(p, now)
	if r.SentKind == erspan.TimeAbsolute && !d.options.ReceiveTime {
		r.Time = r.Sent
	}
}
