//go:build linux

package lab

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Frame is a captured frame.
type Frame struct {
	Time   time.Time
	Data   []byte
	Length int // on the wire
}

// The magic numbers of pcap files (draft-ietf-opsawg-pcap, section 4), and an upper limit for a sane packet record.
const (
	pcapMicroseconds = 0xa1b2c3d4
	pcapNanoseconds  = 0xa1b23c4d
	pcapMostBytes    = 1 << 20
)

// readPcap reads a pcap file of Ethernet frames. At a record that is cut short it returns what came before, and an
// error that wraps io.ErrUnexpectedEOF.
func readPcap(r io.Reader) ([]Frame, error) {
	in := bufio.NewReader(r)
	var header [24]byte
	if _, err := io.ReadFull(in, header[:]); err != nil {
		return nil, fmt.Errorf("read pcap header: %w", err)
	}
	var order binary.ByteOrder
	var unit time.Duration
	for _, o := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch o.Uint32(header[:]) {
		case pcapMicroseconds:
			order, unit = o, time.Microsecond
		case pcapNanoseconds:
			order, unit = o, time.Nanosecond
		}
	}
	if order == nil {
		return nil, fmt.Errorf("not a pcap file: it begins with % x", header[:4])
	}
	if link := order.Uint32(header[20:]); link != 1 {
		return nil, fmt.Errorf("pcap link type %d: want 1, Ethernet", link)
	}
	frames := []Frame{}
	for {
		var record [16]byte
		if _, err := io.ReadFull(in, record[:]); errors.Is(err, io.EOF) {
			return frames, nil
		} else if err != nil {
			return frames, fmt.Errorf("read pcap record %d: %w", len(frames)+1, err)
		}
		size := order.Uint32(record[8:])
		if size > pcapMostBytes {
			return frames, fmt.Errorf("pcap record %d claims %d bytes", len(frames)+1, size)
		}
		data := make([]byte, size)
		if _, err := io.ReadFull(in, data); err != nil {
			return frames, fmt.Errorf("read pcap record %d: %w", len(frames)+1, errors.Join(io.ErrUnexpectedEOF, err))
		}
		at := time.Unix(int64(order.Uint32(record[0:])), int64(order.Uint32(record[4:]))*int64(unit))
		frames = append(frames, Frame{Time: at, Data: data, Length: int(order.Uint32(record[12:]))})
	}
}

// writePcap is a pcap file of Ethernet frames.
func writePcap(frames []Frame) []byte {
	order := binary.LittleEndian
	file := order.AppendUint32(nil, pcapNanoseconds)
	file = order.AppendUint16(file, 2) // version 2.4
	file = order.AppendUint16(file, 4)
	for _, v := range []uint32{0, 0, pcapMostBytes, 1} { // two reserved fields, the longest record, link type Ethernet
		file = order.AppendUint32(file, v)
	}
	for _, f := range frames {
		for _, v := range []int{int(f.Time.Unix()), f.Time.Nanosecond(), len(f.Data), f.Length} {
			file = order.AppendUint32(file, uint32(v))
		}
		file = append(file, f.Data...)
	}
	return file
}
