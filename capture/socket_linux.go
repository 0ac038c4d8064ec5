package capture

import (
	"cmp"
	"encoding/binary"
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// socket is a packet socket with a ring of blocks: the kernel fills a block with frames and hands it over, we read it
// and give it back (TPACKET_V3; packet(7), Documentation/networking/packet_mmap.rst in Linux).
//
// It stands here instead of a library because of what a frame costs: docs/adr/0009-a-packet-ring-of-our-own.md.
type socket struct {
	file      *os.File // known to Go's poller, so that waiting takes no thread
	conn      syscall.RawConn
	memory    []byte
	blockSize int
	current   int // offset of the block that is read next
	stats     socketStats
}

// socketStats is what the kernel counted.
type socketStats struct {
	received uint64 // that the filter let pass, dropped ones included
	dropped  uint64 // because all blocks were full
}

// Offsets in a block (struct tpacket_block_desc) and in a frame's header in it (struct tpacket3_hdr), of
// linux/if_packet.h. Numbers are in the machine's byte order.
const (
	blockStatus = 8
	blockFrames = 12
	blockFirst  = 16 // where the first frame's header begins, from the block's beginning

	frameNext     = 0 // where the next one begins, from this one's beginning
	frameSeconds  = 4
	frameNano     = 8
	frameCaptured = 12
	frameWire     = 16
	frameStatus   = 20
	frameAt       = 24 // where the frame's first byte is, from the beginning of the header
	frameVLAN     = 32
	frameVLANType = 36
)

// vlanTag is the length of a VLAN tag, and where it stands in a frame.
const (
	vlanTag   = 4
	vlanTagAt = 12
)

// openSocket begins to receive from a device (0: all) what the filter lets pass.
func openSocket(device, blockSize, blocks int, filter []bpf.RawInstruction) (*socket, error) {
	// Protocol 0 and bound below: nothing comes in before the filter is there.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	s := &socket{file: os.NewFile(uintptr(fd), "packet socket"), blockSize: blockSize}
	if err := s.setUp(fd, device, blocks, filter); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *socket) setUp(fd, device, blocks int, filter []bpf.RawInstruction) (err error) {
	if s.conn, err = s.file.SyscallConn(); err != nil {
		return err
	}
	program := make([]unix.SockFilter, len(filter))
	for i, f := range filter {
		program[i] = unix.SockFilter{Code: f.Op, Jt: f.Jt, Jf: f.Jf, K: f.K}
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return err
	}
	// Room before each frame for the VLAN tag that the kernel took out of it.
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_RESERVE, vlanTag); err != nil {
		return err
	}
	if err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq3{
		Block_size: uint32(s.blockSize), Block_nr: uint32(blocks),
		Frame_size: ringFrame, Frame_nr: uint32(s.blockSize / ringFrame * blocks),
		Retire_blk_tov: uint32(blockTimeout / time.Millisecond),
	}); err != nil {
		return err
	}
	memory, err := unix.Mmap(fd, 0, s.blockSize*blocks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	s.memory = memory
	all := uint16(unix.ETH_P_ALL)
	return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8, Ifindex: device})
}

// status is the word by which a block goes from the kernel to us and back.
func (s *socket) status() *uint32 { return (*uint32)(unsafe.Pointer(&s.memory[s.current+blockStatus])) }

// ready reports whether the kernel has handed the next block over.
func (s *socket) ready() bool { return atomic.LoadUint32(s.status())&unix.TP_STATUS_USER != 0 }

// next is the frames of the next block, if the kernel has handed it over. They are valid until release.
func (s *socket) next() (frames ringFrames, ok bool) {
	if !s.ready() {
		return ringFrames{}, false
	}
	block := s.memory[s.current : s.current+s.blockSize]
	return ringFrames{
		rest: block[binary.NativeEndian.Uint32(block[blockFirst:]):],
		left: binary.NativeEndian.Uint32(block[blockFrames:]),
	}, true
}

// release gives the block that next returned back to the kernel.
func (s *socket) release() {
	atomic.StoreUint32(s.status(), unix.TP_STATUS_KERNEL)
	if s.current += s.blockSize; s.current == len(s.memory) {
		s.current = 0
	}
}

// wait waits for a block, at most pollTimeout. lost reports an error of the device: it went down, or away.
func (s *socket) wait() (lost bool, err error) {
	if err := s.file.SetReadDeadline(time.Now().Add(pollTimeout)); err != nil {
		return false, err
	}
	controlErr := s.conn.Read(func(fd uintptr) bool {
		if s.ready() {
			return true
		}
		// An error may be older than this wait, which would not wake it up.
		var code int
		code, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		lost = code != 0
		return lost || err != nil
	})
	if err == nil && !errors.Is(controlErr, os.ErrDeadlineExceeded) {
		err = controlErr
	}
	return lost, err
}

// counted is what the kernel counted so far.
func (s *socket) counted() (socketStats, error) {
	var (
		v   *unix.TpacketStatsV3
		err error
	)
	controlErr := s.conn.Control(func(fd uintptr) {
		// The kernel forgets what it has told.
		v, err = unix.GetsockoptTpacketStatsV3(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	})
	if err := cmp.Or(controlErr, err); err != nil {
		return socketStats{}, err
	}
	s.stats.received += uint64(v.Packets)
	s.stats.dropped += uint64(v.Drops)
	return s.stats, nil
}

func (s *socket) close() {
	if s.memory != nil {
		unix.Munmap(s.memory)
		s.memory = nil
	}
	s.file.Close()
}

// ringFrames are the frames of a block that are still to be read.
type ringFrames struct {
	rest []byte // from the next frame's header on
	left uint32
}

// next reads a frame. ok is false at the end.
func (r *ringFrames) next(f *Frame) (ok bool) {
	if r.left == 0 {
		return false
	}
	r.left--
	h := r.rest[:48]
	at := uint32(binary.NativeEndian.Uint16(h[frameAt:]))
	f.WireLen = int(binary.NativeEndian.Uint32(h[frameWire:]))
	f.Time = time.Unix(int64(binary.NativeEndian.Uint32(h[frameSeconds:])), int64(binary.NativeEndian.Uint32(h[frameNano:])))
	end := at + binary.NativeEndian.Uint32(h[frameCaptured:])
	status := binary.NativeEndian.Uint32(h[frameStatus:])
	if status&unix.TP_STATUS_VLAN_VALID != 0 && end-at >= vlanTagAt {
		tpid := uint16(0x8100)
		if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
			tpid = binary.NativeEndian.Uint16(h[frameVLANType:])
		}
		at -= vlanTag
		copy(r.rest[at:at+vlanTagAt], r.rest[at+vlanTag:])
		binary.BigEndian.PutUint16(r.rest[at+vlanTagAt:], tpid)
		binary.BigEndian.PutUint16(r.rest[at+vlanTagAt+2:], uint16(binary.NativeEndian.Uint32(h[frameVLAN:])))
		f.WireLen += vlanTag
	}
	f.Data = r.rest[at:end:end]
	if r.left > 0 {
		r.rest = r.rest[binary.NativeEndian.Uint32(h[frameNext:]):]
	}
	return true
}
