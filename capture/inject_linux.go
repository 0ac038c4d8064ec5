package capture

import (
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// A device whose queue is full is waited for this long, and then only once until it takes a frame again: a program that
// does not read must not stop the receiver, whose own loss would hit its other outputs too. It is looked at in pauses: that
// a device's queue has room again is told to nobody (POLLOUT tells of the socket's buffer alone).
const (
	injectPatience = 2 * time.Millisecond
	injectPause    = 100 * time.Microsecond
)

// Injector sends mirrored frames out through a network device, for programs that cannot decode ERSPAN. It never waits
// longer than a few milliseconds.
type Injector struct {
	fd      int
	device  string
	buf     []byte
	full    bool   // the device did not take the frame before
	Sent    uint64 // frames
	TooLong uint64 // frames longer than the device takes
	Dropped uint64 // frames that found the device's queue full
}

// NewInjector opens a device: one end of a veth pair, or a TAP device that another program holds. It needs
// CAP_NET_RAW.
func NewInjector(device string) (*Injector, error) {
	d, err := net.InterfaceByName(device)
	if err != nil {
		return nil, fmt.Errorf("no network device %q here (%s)", device, deviceNames())
	}
	if d.Flags&net.FlagUp == 0 {
		return nil, fmt.Errorf("the network device %s is down: ip link set %s up", device, device)
	}
	// Protocol 0: the socket only sends. A socket that blocks would wait for a full queue without end.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, openError(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: d.Index}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("%s: %w", device, err)
	}
	return &Injector{fd: fd, device: device}, nil
}

// Write sends a record's mirrored frame. A broken packet's is left out; one that the device does not take, for its
// length or because its queue is full, is counted.
func (j *Injector) Write(r *Record) error {
	frame := r.Packet.Inner
	if r.Err != nil || len(frame) == 0 {
		return nil
	}
	if r.Packet.InnerIsIP() {
		made := ethernetOfIPv4
		if frame[0]>>4 == 6 {
			made = ethernetOfIPv6
		}
		j.buf = append(append(j.buf[:0], made[:]...), frame...)
		frame = j.buf
	}
	for waited := time.Duration(0); ; {
		switch _, err := unix.Write(j.fd, frame); err {
		case nil:
			j.Sent++
			j.full = false
			return nil
		case unix.EMSGSIZE:
			j.TooLong++
			return nil
		case unix.EINTR:
		case unix.ENOBUFS, unix.EAGAIN: // the queue is full, or the socket's share of it
			if j.full || waited >= injectPatience {
				j.full = true
				j.Dropped++
				return nil
			}
			time.Sleep(injectPause)
			waited += injectPause
		default:
			return fmt.Errorf("sending to %s: %w", j.device, err)
		}
	}
}

// Flush does nothing: frames are sent at once.
func (j *Injector) Flush() error { return nil }

// Close closes the device.
func (j *Injector) Close() error { return unix.Close(j.fd) }
