package capture

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovs-erspan/ovs-erspan/erspan"
)

// Sizes of the ring that the kernel and we share. A block is handed over when it is full or blockTimeout old. Waking up
// costs as much as a hundred frames do, so that blocks are large, and a program that shows frames to people has them soon
// enough all the same; but whatever is in them, the kernel has only so many to fill while we are kept from reading.
const (
	ringBlock    = 2 << 20 // at most
	ringBlocks   = 8       // at least; 16 in DefaultBuffer
	ringFrame    = 1 << 11 // only a unit of account for TPACKET_V3: frames take what they need
	blockTimeout = 50 * time.Millisecond
	pollTimeout  = 100 * time.Millisecond
	// DefaultBuffer is the ring's size in bytes where none is asked for.
	DefaultBuffer = 32 << 20
)

// Live receives frames from a network device.
type Live struct {
	device  string // "" is all
	index   int
	link    LinkType
	socket  *socket
	number  uint64
	unreach atomic.Uint64
}

// LiveOptions of [OpenLive].
type LiveOptions struct {
	Device string // "" or "any" is all Ethernet devices
	Buffer int    // bytes of the ring; 0 is DefaultBuffer
}

// OpenLive begins to receive. It needs CAP_NET_RAW in the network namespace of the device.
func OpenLive(o LiveOptions) (*Live, error) {
	if o.Device == "any" {
		o.Device = ""
	}
	l := &Live{device: o.Device, link: LinkEthernet}
	if o.Device != "" {
		device, err := net.InterfaceByName(o.Device)
		if err != nil {
			return nil, fmt.Errorf("no network device %q here (%s)", o.Device, deviceNames())
		}
		l.index = device.Index
		kind, err := os.ReadFile("/sys/class/net/" + o.Device + "/type")
		if text := strings.TrimSpace(string(kind)); err == nil && text != "1" && text != "772" { // ARPHRD_ETHER, ARPHRD_LOOPBACK
			return nil, fmt.Errorf("%s is no Ethernet device: capture with tcpdump -w - -i %s proto gre, and pipe it into ovs-erspan decode -", o.Device, o.Device)
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if o.Buffer == 0 {
		o.Buffer = DefaultBuffer
	}
	block := ringBlock // a power of two that leaves room for the largest frame
	for block > maxFrame && block*ringBlocks > o.Buffer {
		block /= 2
	}
	filter, err := kernelFilter()
	if err != nil {
		return nil, fmt.Errorf("kernel filter for GRE: %w", err)
	}
	if l.socket, err = openSocket(l.index, block, max(ringBlocks, o.Buffer/block), filter); err != nil {
		return nil, openError(err)
	}
	return l, nil
}

// openError says what to do about a socket that could not be had.
func openError(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("receiving needs the capability cap_net_raw: run as root, or give the program it (setcap cap_net_raw+ep): %w", err)
	}
	return fmt.Errorf("packet socket: %w", err)
}

// deviceNames is a list of what there is.
func deviceNames() string {
	devices, err := net.Interfaces()
	if err != nil || len(devices) == 0 {
		return "there is none"
	}
	var names []string
	for _, d := range devices[:min(len(devices), 20)] {
		names = append(names, d.Name)
	}
	return "there are " + strings.Join(names, ", ")
}

// ErrDone is what a handler of [Live.Run] gives back when it wants no more.
var ErrDone = errors.New("no more frames are wanted")

// Run hands frames to handle until ctx is done, handle fails, or wants no more (ErrDone, which is no error of Run). idle
// is called, from the same goroutine, at least every few hundred milliseconds.
func (l *Live) Run(ctx context.Context, handle func(*Frame) error, idle func() error) error {
	last := time.Now()
	for ctx.Err() == nil {
		if frames, ok := l.socket.next(); ok {
			err := l.handle(frames, handle)
			l.socket.release()
			if err == ErrDone {
				return nil
			}
			if err != nil {
				return err
			}
		} else if lost, err := l.socket.wait(); err != nil {
			return fmt.Errorf("packet socket: %w", err)
		} else if lost {
			// The device went down, which ends nothing, or away.
			if d, err := net.InterfaceByName(l.device); l.device != "" && (err != nil || d.Index != l.index) {
				return fmt.Errorf("the network device %s is gone", l.device)
			}
		}
		if now := time.Now(); now.Sub(last) >= pollTimeout {
			last = now
			if err := idle(); err != nil {
				return err
			}
		}
	}
	return nil
}

// handle hands on the frames of a block.
func (l *Live) handle(frames ringFrames, handle func(*Frame) error) error {
	f := Frame{Link: l.link}
	for frames.next(&f) {
		// Most frames show at a glance that they are no ICMP error.
		if b := f.Data; (len(b) < 24 || b[12] != 0x08 || b[13] != 0 || b[23] != erspan.ProtocolGRE) && l.isUnreachable(b) {
			continue
		}
		l.number++
		f.Number = l.number
		if err := handle(&f); err != nil {
			return err
		}
	}
	return nil
}

// isUnreachable counts, and sorts out, the ICMP errors by which a host says that it wants no GRE: protocol unreachable, or
// port unreachable where its kernel knows GRE but has no tunnel for it. The kernel filter lets no other ICMP pass.
func (l *Live) isUnreachable(frame []byte) bool {
	ip, err := ipOf(l.link, frame)
	if err != nil || len(ip) < 20 {
		return false
	}
	var quoted, protocol int // where the packet that the error is about begins, and where in it its protocol is
	switch {
	case ip[0]>>4 == 4 && ip[9] == 1:
		quoted, protocol = int(ip[0]&0xf)*4+8, 9
	case ip[0]>>4 == 6 && ip[6] == 58:
		quoted, protocol = 40+8, 6
	default:
		return false
	}
	if at := quoted + protocol; len(ip) > at && (ip[at] == erspan.ProtocolGRE || ip[at] == 60) { // 60: destination options
		l.unreach.Add(1)
	}
	return true
}

// LiveStats is what the kernel and the receiver counted.
type LiveStats struct {
	Received uint64 // that the filter let pass, dropped ones included
	Dropped  uint64 // by the kernel: the ring was full
	// Unreachable counts ICMP errors that tell a sender that its collector knows no GRE.
	Unreachable uint64
}

// Stats is what was counted so far.
func (l *Live) Stats() (LiveStats, error) {
	s, err := l.socket.counted()
	if err != nil {
		return LiveStats{}, fmt.Errorf("packet socket: %w", err)
	}
	return LiveStats{Received: s.received, Dropped: s.dropped, Unreachable: l.unreach.Load()}, nil
}

// Close ends receiving.
func (l *Live) Close() { l.socket.close() }

// Hints are in words what can be wrong for what can be wrong when nothing, or nothing but errors, comes.
func (s LiveStats) Hints(erspanPackets uint64, filtered uint64) []string {
	var hints []string
	if s.Dropped > 0 {
		hints = append(hints, fmt.Sprintf("%d packets were dropped by the kernel: a larger --buffer or a narrower session helps", s.Dropped))
	}
	if s.Unreachable > 0 {
		hints = append(hints, fmt.Sprintf("%d times this network told a sender that GRE is not wanted here (ICMP protocol or port unreachable); "+
			"the frames are captured all the same. Silence it with: iptables -I INPUT -p gre -j DROP, and ip6tables likewise (capture sees packets before that)", s.Unreachable))
	}
	if erspanPackets == 0 {
		hints = append(hints, "no ERSPAN came in: does the sender have a route and a neighbour for this address, does a firewall on the way let IP protocol 47 pass, is it this device?")
	} else if erspanPackets == filtered {
		hints = append(hints, "ERSPAN came in, but none that was asked for")
	}
	return hints
}
