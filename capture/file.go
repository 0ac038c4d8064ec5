package capture

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// LinkType is what a frame begins with, as capture files number it (https://www.tcpdump.org/linktypes.html).
type LinkType uint16

// The link types that can be read.
const (
	LinkNull      LinkType = 0   // BSD loopback: address family in the writer's byte order
	LinkEthernet  LinkType = 1   //
	LinkRawBSD    LinkType = 12  // raw IP, as some systems number it
	LinkRawOther  LinkType = 14  // and others
	LinkRaw       LinkType = 101 // raw IP
	LinkLoop      LinkType = 108 // OpenBSD loopback: address family in network byte order
	LinkLinuxSLL  LinkType = 113 // Linux cooked v1, of tcpdump -i any
	LinkIPv4      LinkType = 228 // raw IPv4
	LinkIPv6      LinkType = 229 // raw IPv6
	LinkLinuxSLL2 LinkType = 276 // Linux cooked v2, of newer tcpdump -i any
)

// Frame is one captured frame.
type Frame struct {
	Number uint64 // in the file or the capture, from 1
	Time   time.Time
	Link   LinkType
	Data   []byte // valid until the next frame is read
	// WireLen is the frame's length before the capture cut it.
	WireLen int
}

// maxFrame bounds what one record of a file may hold. libpcap takes 256 KiB for the largest frame (MAXIMUM_SNAPLEN).
const maxFrame = 256 << 10

// maxBlock bounds a block of a pcapng file, as Wireshark does.
const maxBlock = 16 << 20

// maxFileInterfaces bounds how many interfaces of one section are remembered.
const maxFileInterfaces = 65536

// FrameError is a record of a capture file that could not be read while those after it can.
type FrameError struct {
	Number uint64 // the frame's number
	Err    error
}

// Error names the frame.
func (e *FrameError) Error() string { return fmt.Sprintf("frame %d: %v", e.Number, e.Err) }

// Unwrap is what was wrong with it.
func (e *FrameError) Unwrap() error { return e.Err }

// FileReader reads pcap (of either byte order, in microseconds or nanoseconds) and pcapng.
type FileReader struct {
	r      *bufio.Reader
	order  binary.ByteOrder
	next   func() (Frame, error)
	buf    []byte
	number uint64

	// pcap
	link LinkType
	unit time.Duration

	// pcapng
	interfaces []fileInterface
}

// fileInterface is what a pcapng section says of an interface.
type fileInterface struct {
	link    LinkType
	snaplen uint32
	ticks   uint64 // a second
	offset  int64  // seconds to add
}

const (
	pcapMicro    = 0xa1b2c3d4
	pcapNano     = 0xa1b23c4d
	blockSection = 0x0a0d0d0a
	byteOrder    = 0x1a2b3c4d

	blockInterface  = 1
	blockPacket     = 2 // obsolete
	blockSimple     = 3
	blockStatistics = 5
	blockEnhanced   = 6
)

// errTruncated is a file that ends in the middle.
var errTruncated = errors.New("the file ends in the middle of a record")

// NewFileReader reads the beginning of a capture file.
func NewFileReader(r io.Reader) (*FileReader, error) {
	f := &FileReader{r: bufio.NewReaderSize(r, 1<<16)}
	magic, err := f.r.Peek(4)
	if err != nil {
		if err == io.EOF {
			err = errors.New("the file is empty or shorter than a capture file's header")
		}
		return nil, err
	}
	if binary.BigEndian.Uint32(magic) == blockSection {
		f.next = f.nextBlock
		return f, nil
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch order.Uint32(magic) {
		case pcapMicro:
			f.order, f.unit = order, time.Microsecond
		case pcapNano:
			f.order, f.unit = order, time.Nanosecond
		}
	}
	if f.order == nil {
		if magic[0] == 0x1f && magic[1] == 0x8b {
			return nil, errors.New("the file is compressed: use gzip -dc FILE | ... -")
		}
		return nil, fmt.Errorf("neither pcap nor pcapng: the file begins with %x", magic)
	}
	var header [24]byte
	if _, err := io.ReadFull(f.r, header[:]); err != nil {
		return nil, fmt.Errorf("pcap header: %w", errTruncated)
	}
	f.link = LinkType(f.order.Uint32(header[20:])) // the upper half tells of a frame check sequence
	f.next = f.nextRecord
	return f, nil
}

// Next is the next frame, or io.EOF at the end. A *FrameError is one bad frame, after which reading goes on; any other
// error ends it.
func (f *FileReader) Next() (Frame, error) { return f.next() }

// nextRecord reads a record of a pcap file.
func (f *FileReader) nextRecord() (Frame, error) {
	var h [16]byte
	if _, err := io.ReadFull(f.r, h[:]); err != nil {
		return Frame{}, f.end(err)
	}
	f.number++
	n := f.order.Uint32(h[8:])
	if n > maxFrame {
		return Frame{}, fmt.Errorf("frame %d: length %d: allowed are 0 to %d; the file is damaged from here on", f.number, n, maxFrame)
	}
	if err := f.fill(int(n)); err != nil {
		return Frame{}, fmt.Errorf("frame %d: %w", f.number, err)
	}
	return Frame{
		Number:  f.number,
		Time:    time.Unix(int64(f.order.Uint32(h[0:])), int64(f.order.Uint32(h[4:]))*int64(f.unit)),
		Link:    f.link,
		Data:    f.buf,
		WireLen: max(int(f.order.Uint32(h[12:])), int(n)),
	}, nil
}

// end tells the end of the file from one in the middle of a record.
func (f *FileReader) end(err error) error {
	if err == io.ErrUnexpectedEOF {
		return fmt.Errorf("after frame %d: %w", f.number, errTruncated)
	}
	return err
}

// fill reads n bytes.
func (f *FileReader) fill(n int) error {
	if cap(f.buf) < n {
		f.buf = make([]byte, n, max(n, 1<<11))
	}
	f.buf = f.buf[:n]
	if _, err := io.ReadFull(f.r, f.buf); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return errTruncated
		}
		return err
	}
	return nil
}

// nextBlock reads blocks of a pcapng file until one holds a frame.
func (f *FileReader) nextBlock() (Frame, error) {
	for {
		var h [8]byte
		if _, err := io.ReadFull(f.r, h[:]); err != nil {
			return Frame{}, f.end(err)
		}
		if binary.BigEndian.Uint32(h[:]) == blockSection {
			magic, err := f.r.Peek(4)
			if err != nil {
				return Frame{}, fmt.Errorf("after frame %d: %w", f.number, errTruncated)
			}
			switch {
			case binary.LittleEndian.Uint32(magic) == byteOrder:
				f.order = binary.LittleEndian
			case binary.BigEndian.Uint32(magic) == byteOrder:
				f.order = binary.BigEndian
			default:
				return Frame{}, fmt.Errorf("after frame %d: pcapng section with byte order %x", f.number, magic)
			}
			f.interfaces = f.interfaces[:0]
		}
		kind, length := f.order.Uint32(h[:]), f.order.Uint32(h[4:])
		if length < 12 || length > maxBlock || length%4 != 0 {
			return Frame{}, fmt.Errorf("after frame %d: pcapng block of %d bytes; the file is damaged from here on", f.number, length)
		}
		if err := f.fill(int(length) - 8); err != nil {
			return Frame{}, fmt.Errorf("after frame %d: %w", f.number, err)
		}
		body := f.buf[:length-12] // without the trailing copy of the length
		var (
			frame Frame
			err   error
		)
		switch kind {
		case blockInterface:
			if err := f.addInterface(body); err != nil {
				return Frame{}, fmt.Errorf("after frame %d: %w", f.number, err)
			}
			continue
		case blockEnhanced, blockPacket:
			frame, err = f.enhanced(body, kind)
		case blockSimple:
			frame, err = f.simple(body)
		default:
			continue
		}
		f.number++
		if err != nil {
			return Frame{}, &FrameError{f.number, err}
		}
		frame.Number = f.number
		return frame, nil
	}
}

// addInterface reads an interface description block (draft-ietf-opsawg-pcapng, section 4.2).
func (f *FileReader) addInterface(b []byte) error {
	if len(b) < 8 {
		return errors.New("pcapng interface block is too short")
	}
	if len(f.interfaces) == maxFileInterfaces {
		return fmt.Errorf("more than %d interfaces in a pcapng section", maxFileInterfaces)
	}
	i := fileInterface{link: LinkType(f.order.Uint16(b)), snaplen: f.order.Uint32(b[4:]), ticks: 1e6}
	for b = b[8:]; len(b) >= 4; {
		code, n := f.order.Uint16(b), int(f.order.Uint16(b[2:]))
		if len(b) < 4+n {
			break
		}
		v := b[4 : 4+n]
		switch {
		case code == 9 && n == 1 && v[0]&0x80 != 0: // if_tsresol, a negative power of 2
			if i.ticks = 1 << (v[0] & 0x3f); v[0]&0x7f > 63 {
				return fmt.Errorf("pcapng time resolution 2^-%d", v[0]&0x7f)
			}
		case code == 9 && n == 1: // of 10
			if v[0] > 19 {
				return fmt.Errorf("pcapng time resolution 10^-%d", v[0])
			}
			i.ticks = 1
			for range v[0] {
				i.ticks *= 10
			}
		case code == 14 && n == 8: // if_tsoffset
			i.offset = int64(f.order.Uint64(v))
		}
		b = b[min(len(b), 4+(n+3)&^3):]
	}
	f.interfaces = append(f.interfaces, i)
	return nil
}

// enhanced reads an enhanced packet block (section 4.3) or its obsolete predecessor.
func (f *FileReader) enhanced(b []byte, kind uint32) (Frame, error) {
	if len(b) < 20 {
		return Frame{}, errors.New("pcapng packet block is too short")
	}
	id := f.order.Uint32(b)
	if kind == blockPacket {
		id = uint32(f.order.Uint16(b))
	}
	if int64(id) >= int64(len(f.interfaces)) {
		return Frame{}, fmt.Errorf("interface %d is not described", id)
	}
	i := f.interfaces[id]
	n := f.order.Uint32(b[12:])
	if int64(n) > int64(len(b)-20) {
		return Frame{}, fmt.Errorf("%d bytes captured in a block that has room for %d", n, len(b)-20)
	}
	ticks := uint64(f.order.Uint32(b[4:]))<<32 | uint64(f.order.Uint32(b[8:]))
	// The fraction in floating point is exact to the nanosecond: it is below 1.
	fraction := float64(ticks%i.ticks) / float64(i.ticks) * float64(time.Second)
	return Frame{
		Time:    time.Unix(int64(ticks/i.ticks)+i.offset, int64(math.Round(fraction))),
		Link:    i.link,
		Data:    b[20 : 20+n],
		WireLen: max(int(f.order.Uint32(b[16:])), int(n)),
	}, nil
}

// simple reads a simple packet block (section 4.4), which has no time.
func (f *FileReader) simple(b []byte) (Frame, error) {
	if len(b) < 4 {
		return Frame{}, errors.New("pcapng packet block is too short")
	}
	if len(f.interfaces) == 0 {
		return Frame{}, errors.New("interface 0 is not described")
	}
	wire := f.order.Uint32(b)
	n := min(int64(wire), int64(len(b)-4))
	if s := f.interfaces[0].snaplen; s != 0 {
		n = min(n, int64(s))
	}
	return Frame{Link: f.interfaces[0].link, Data: b[4 : 4+n], WireLen: int(wire)}, nil
}
