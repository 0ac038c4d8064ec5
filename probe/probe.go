package probe

import (
	"encoding/binary"
	"net"
	"time"
)

// Probe is one marked frame.
type Probe struct {
	// Run is a number that a sender draws for each of its runs, 0..0xffffff.
	Run uint32
	// Port is the UDP port of the sender that waits for answers, FirstPort..65535; 0: none does.
	Port uint16
	// Tap and Sequence number the probes of a run.
	Tap, Sequence uint8
	// Session is the name of the session, and Sent the sender's clock. A probe that was cut on the way has neither.
	Session string
	Sent    time.Time
}

const (
	// EtherType is that of a probe that no rule asks for something else: IEEE 802, local experimental EtherType 1.
	EtherType = 0x88b5
	// FirstPort is the lowest port that is ever answered to: the dynamic ports (RFC 6335 section 6). Whoever fakes probes
	// gets answers sent there, and nowhere else.
	FirstPort = 49152
	// MaxRun is the largest run.
	MaxRun = 1<<24 - 1

	// Magic begins the payload.
	Magic = "oe-probe"
	// version of the payload.
	version = 1
	// payloadLen is the payload's length without the session's name.
	payloadLen = len(Magic) + 4 + 4 + 2 + 2 + 8
	// maxName is the longest name that is sent.
	maxName = 63
	// minFrame is the shortest frame on an Ethernet, without its check sequence.
	minFrame = 60

	ethernetLen = 14
	vlanLen     = 4
)

// Mark is what the destination address of every probe that rules leave alone begins with, three bytes: locally
// administered, and "e25a" as in the cookies of our flows.
const Mark = 0x02e25a

var (
	destinationMark = [3]byte{Mark >> 16, Mark >> 8 & 0xff, Mark & 0xff}
	sourceMark      = [2]byte{0x06, 0xe2}
)

// Addresses are the Ethernet addresses that carry the mark.
func (p Probe) Addresses() (destination, source net.HardwareAddr) {
	destination = append(destination, destinationMark[:]...)
	destination = append(destination, byte(p.Run>>16), byte(p.Run>>8), byte(p.Run))
	source = append(source, sourceMark[:]...)
	source = append(source, byte(p.Port>>8), byte(p.Port), p.Tap, p.Sequence)
	return destination, source
}

// Payload is what stands behind the headers.
func (p Probe) Payload() []byte {
	name := p.Session[:min(len(p.Session), maxName)]
	b := append([]byte(Magic), version, p.Tap, p.Sequence, byte(len(name)))
	b = binary.BigEndian.AppendUint32(b, p.Run)
	b = binary.BigEndian.AppendUint16(b, p.Port)
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(p.Sent.UnixNano()))
	return append(b, name...)
}

// Frame is a probe that is nothing else.
func (p Probe) Frame() []byte {
	destination, source := p.Addresses()
	b := append(destination, source...)
	b = binary.BigEndian.AppendUint16(b, EtherType)
	b = append(b, p.Payload()...)
	return append(b, make([]byte, max(0, minFrame-len(b)))...)
}

// Recognize tells whether a frame, from its Ethernet header on and perhaps cut, is a probe, and reads it.
func Recognize(frame []byte) (Probe, bool) {
	if len(frame) < ethernetLen-2 {
		return Probe{}, false
	}
	marked := [3]byte(frame) == destinationMark && [2]byte(frame[6:]) == sourceMark
	payload := payloadOf(frame)
	p, read := readPayload(payload)
	switch {
	case read:
		return p, true
	case !marked || len(payload) >= payloadLen:
		return Probe{}, false // addresses like a probe's, and a payload that is none
	}
	return Probe{
		Run:  uint32(frame[3])<<16 | uint32(frame[4])<<8 | uint32(frame[5]),
		Port: binary.BigEndian.Uint16(frame[8:]), Tap: frame[10], Sequence: frame[11],
	}, true
}

func readPayload(b []byte) (Probe, bool) {
	if len(b) < payloadLen || string(b[:len(Magic)]) != Magic || b[len(Magic)] != version {
		return Probe{}, false
	}
	b = b[len(Magic)+1:]
	p := Probe{Tap: b[0], Sequence: b[1], Run: binary.BigEndian.Uint32(b[3:]), Port: binary.BigEndian.Uint16(b[7:]), Sent: time.Unix(0, int64(binary.BigEndian.Uint64(b[11:])))}
	name := b[19:]
	if name = name[:min(int(b[2]), maxName, len(name))]; printable(name) {
		p.Session = string(name)
	}
	return p, p.Run <= MaxRun
}

// printable tells whether a name is made of what names of sessions are made of: it comes from the wire and goes to
// terminals.
func printable(name []byte) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

// payloadOf is what stands behind the headers of a frame: of EtherType, or of TCP, UDP, SCTP, ICMP or another protocol over
// IP without options in the way. It is nil for what cannot be read.
func payloadOf(frame []byte) []byte {
	if len(frame) < ethernetLen {
		return nil
	}
	etherType, b := binary.BigEndian.Uint16(frame[12:]), frame[ethernetLen:]
	for (etherType == 0x8100 || etherType == 0x88a8) && len(b) >= vlanLen {
		etherType, b = binary.BigEndian.Uint16(b[2:]), b[vlanLen:]
	}
	protocol := byte(0)
	switch {
	case etherType == 0x0800 && len(b) >= 20:
		header := int(b[0]&0xf) * 4
		if header < 20 || len(b) < header {
			return nil
		}
		protocol, b = b[9], b[header:]
	case etherType == 0x86dd && len(b) >= 40:
		protocol, b = b[6], b[40:]
	case etherType == 0x0800, etherType == 0x86dd:
		return nil
	default:
		return b
	}
	header := 0
	switch protocol {
	case 6:
		if len(b) < 20 {
			return nil
		}
		header = int(b[12]>>4) * 4
	case 17, 1, 58:
		header = 8
	case 132:
		header = 12 + 16 // the common header and that of a DATA chunk
	}
	if len(b) < header {
		return nil
	}
	return b[header:]
}
