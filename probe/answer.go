package probe

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Answer is what a receiver tells the sender of a probe, in one UDP packet.
type Answer struct {
	Run           uint32
	Tap, Sequence uint8
	// Received and Answered are the receiver's clock when the probe came in, and when it was answered.
	Received, Answered time.Time
	// Collector is the address that the probe was sent to.
	Collector netip.Addr
	// What its header said.
	Version    uint8 // 1 (Type II) or 2 (Type III)
	SessionID  uint16
	Index      uint32
	HardwareID uint8
	Direction  uint8
	// Length is how many bytes of the frame arrived.
	Length uint16
}

// answerMagic begins an answer. It is none of a probe's, so that an answer that is mirrored is not answered.
const answerMagic = "oe-reply"

// answerLen is the length of an answer in bytes. On the wire that is 100 bytes, less than the 110 of a probe in ERSPAN, so
// that nobody makes much out of little by faking probes.
const answerLen = len(answerMagic) + 4 + 4 + 8 + 8 + 16 + 2 + 4 + 2 + 2

// Append appends the answer as it is sent.
func (a Answer) Append(b []byte) []byte {
	b = append(b, answerMagic...)
	b = append(b, version, a.Tap, a.Sequence, a.Version)
	b = binary.BigEndian.AppendUint32(b, a.Run)
	b = binary.BigEndian.AppendUint64(b, uint64(a.Received.UnixNano()))
	b = binary.BigEndian.AppendUint64(b, uint64(a.Answered.UnixNano()))
	address := a.Collector.As16()
	b = append(b, address[:]...)
	b = binary.BigEndian.AppendUint16(b, a.SessionID)
	b = binary.BigEndian.AppendUint32(b, a.Index)
	b = append(b, a.HardwareID, a.Direction)
	return binary.BigEndian.AppendUint16(b, a.Length)
}

// ReadAnswer reads an answer; false where it is none.
func ReadAnswer(b []byte) (Answer, bool) {
	if len(b) != answerLen || string(b[:len(answerMagic)]) != answerMagic || b[len(answerMagic)] != version {
		return Answer{}, false
	}
	b = b[len(answerMagic)+1:]
	return Answer{
		Tap: b[0], Sequence: b[1], Version: b[2], Run: binary.BigEndian.Uint32(b[3:]),
		Received: time.Unix(0, int64(binary.BigEndian.Uint64(b[7:]))), Answered: time.Unix(0, int64(binary.BigEndian.Uint64(b[15:]))),
		Collector: netip.AddrFrom16([16]byte(b[23:39])).Unmap(),
		SessionID: binary.BigEndian.Uint16(b[39:]), Index: binary.BigEndian.Uint32(b[41:]), HardwareID: b[45], Direction: b[46],
		Length: binary.BigEndian.Uint16(b[47:]),
	}, true
}
