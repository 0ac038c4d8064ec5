package capture

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Bounds of reassembly. A fragment lives as long as Linux keeps it (ipfrag_time), a packet is at most what an IP
// header can say, and no sender can take more than the whole table's room.
const (
	fragmentLife     = 30 * time.Second
	maxFragmented    = 256 // packets under reassembly
	maxFragments     = 64  // of one packet
	maxReassembled   = 65535
	fragmentIPv4Part = 8 // offsets count in units of 8 bytes
)

// FragmentStats counts what became of outer fragments.
type FragmentStats struct {
	Fragments   uint64 `json:"fragments"`   // seen
	Reassembled uint64 `json:"reassembled"` // packets made whole
	Abandoned   uint64 `json:"abandoned"`   // packets given up: a fragment is missing, they overlap, or there were too many
}

// fragmentKey tells the packets apart that fragments belong to (RFC 791, RFC 8200).
type fragmentKey struct {
	src, dst netip.Addr
	id       uint32
}

// fragmentHole is what is still missing of a packet: from first up to, not including, end.
type fragmentSpan struct{ first, end int }

// fragmented is a packet under reassembly.
type fragmented struct {
	since  time.Time
	header []byte         // the outer header, once the first fragment is there
	data   []byte         // the payload, with gaps
	have   []fragmentSpan // which parts of it are there, sorted and apart
	parts  int
	total  int // length of data, once the last fragment is there; -1 before
}

// reassembler makes outer packets whole again.
type reassembler struct {
	packets map[fragmentKey]*fragmented
	stats   FragmentStats
	free    []*fragmented
}

// fragment is one fragment of an IP packet.
type fragment struct {
	key    fragmentKey
	header []byte // for the whole packet: an IP header as if there had been no fragments, its length still to be set
	offset int
	more   bool
	data   []byte
}

// parseFragment reads an IP packet that is known to be a fragment. ok is false where it is cut short or cannot belong
// to GRE.
func parseFragment(ip []byte) (f fragment, ok bool) {
	if len(ip) >= 20 && ip[0]>>4 == 4 {
		header, total := int(ip[0]&0xf)*4, int(binary.BigEndian.Uint16(ip[2:]))
		if header < 20 || total < header || len(ip) < total {
			return f, false
		}
		flags := binary.BigEndian.Uint16(ip[6:])
		f.key = fragmentKey{
			netip.AddrFrom4([4]byte(ip[12:])), netip.AddrFrom4([4]byte(ip[16:])), uint32(binary.BigEndian.Uint16(ip[4:])),
		}
		f.header, f.data = ip[:header], ip[header:total]
		f.offset, f.more = int(flags&0x1fff)*fragmentIPv4Part, flags&0x2000 != 0
		return f, true
	}
	if len(ip) < 40 || ip[0]>>4 != 6 {
		return f, false
	}
	total := 40 + int(binary.BigEndian.Uint16(ip[4:]))
	if len(ip) < total {
		return f, false
	}
	next, b := ip[6], ip[40:total]
	for len(b) >= 8 {
		n := (int(b[1]) + 1) * 8
		switch next {
		case 0, 43, 60: // hop by hop, routing, destination options: before the fragment header
			if len(b) < n {
				return f, false
			}
			next, b = b[0], b[n:]
			continue
		case 44:
			if b[0] != 47 && b[0] != 60 { // GRE, or destination options before it
				return f, false
			}
			offset := binary.BigEndian.Uint16(b[2:])
			f.key = fragmentKey{
				netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:])), binary.BigEndian.Uint32(b[4:]),
			}
			f.header = append([]byte(nil), ip[:40]...)
			f.header[6] = b[0]
			f.offset, f.more, f.data = int(offset&0xfff8), offset&1 != 0, b[8:]
			return f, true
		}
		return f, false
	}
	return f, false
}

// add takes a fragment that came in at now, and gives back the whole packet from its IP header on once it has all of
// it. The packet is valid until the next call.
func (r *reassembler) add(ip []byte, now time.Time) (whole []byte) {
	r.stats.Fragments++
	f, ok := parseFragment(ip)
	if !ok {
		r.stats.Abandoned++
		return nil
	}
	p := r.packets[f.key]
	if p != nil && now.Sub(p.since).Abs() > fragmentLife {
		r.abandon(f.key)
		p = nil
	}
	if p == nil {
		p = r.start(f.key, now)
	}
	end := f.offset + len(f.data)
	p.parts++
	// Fragments but the last are multiples of 8 bytes, and nothing lies beyond the last or on top of another: what
	// breaks that is no packet that anybody sent (RFC 5722).
	broken := p.parts > maxFragments || end > maxReassembled || len(f.data) == 0 || f.more && len(f.data)%8 != 0
	if !f.more {
		broken = broken || p.total >= 0 && p.total != end
		p.total = end
	}
	broken = broken || p.total >= 0 && end > p.total || !p.insert(fragmentSpan{f.offset, end})
	if broken || p.total >= 0 && p.have[len(p.have)-1].end > p.total {
		r.abandon(f.key)
		return nil
	}
	if len(p.data) < end {
		p.data = append(p.data, make([]byte, end-len(p.data))...)
	}
	copy(p.data[f.offset:], f.data)
	if f.offset == 0 {
		p.header = append(p.header[:0], f.header...)
	}
	if p.total < 0 || len(p.have) != 1 || p.have[0] != (fragmentSpan{0, p.total}) || len(p.header)+p.total > maxReassembled {
		return nil
	}
	whole = append(p.header, p.data...)
	if whole[0]>>4 == 4 {
		binary.BigEndian.PutUint16(whole[2:], uint16(len(whole)))
		binary.BigEndian.PutUint16(whole[6:], 0)
	} else {
		binary.BigEndian.PutUint16(whole[4:], uint16(len(p.data)))
	}
	r.stats.Reassembled++
	p.header = whole[:0]
	r.remove(f.key)
	return whole
}

// insert notes that a span is there, and reports whether it was not before.
func (p *fragmented) insert(s fragmentSpan) bool {
	i := 0
	for i < len(p.have) && p.have[i].end <= s.first {
		i++
	}
	if i < len(p.have) && p.have[i].first < s.end {
		return false
	}
	p.have = append(p.have, fragmentSpan{})
	copy(p.have[i+1:], p.have[i:])
	p.have[i] = s
	for j := len(p.have) - 1; j > 0; j-- {
		if p.have[j-1].end == p.have[j].first {
			p.have[j-1].end = p.have[j].end
			p.have = append(p.have[:j], p.have[j+1:]...)
		}
	}
	return true
}

// start makes room for one packet more: the oldest goes where there is none.
func (r *reassembler) start(key fragmentKey, now time.Time) *fragmented {
	if r.packets == nil {
		r.packets = make(map[fragmentKey]*fragmented)
	}
	if len(r.packets) >= maxFragmented {
		var (
			oldest fragmentKey
			since  time.Time
		)
		for k, p := range r.packets {
			if since.IsZero() || p.since.Before(since) {
				oldest, since = k, p.since
			}
		}
		r.abandon(oldest)
	}
	p := &fragmented{}
	if n := len(r.free); n > 0 {
		p, r.free = r.free[n-1], r.free[:n-1]
	}
	*p = fragmented{since: now, header: p.header[:0], data: p.data[:0], have: p.have[:0], total: -1}
	r.packets[key] = p
	return p
}

// abandon gives a packet up.
func (r *reassembler) abandon(key fragmentKey) {
	r.stats.Abandoned++
	r.remove(key)
}

// remove forgets a packet and keeps its memory for the next.
func (r *reassembler) remove(key fragmentKey) {
	p := r.packets[key]
	delete(r.packets, key)
	if len(r.free) < 16 {
		r.free = append(r.free, p)
	}
}

// pending is how many packets are still incomplete.
func (r *reassembler) pending() int { return len(r.packets) }
