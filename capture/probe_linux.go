package capture

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// noBroadcast takes from a socket the right to send to a broadcast address, which Go's sockets have.
func noBroadcast(_, _ string, c syscall.RawConn) error {
	var fault error
	err := c.Control(func(fd uintptr) { fault = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 0) })
	if err != nil {
		return err
	}
	return fault
}
