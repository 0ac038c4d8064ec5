package unixsocket

import (
	"net"
	"syscall"
)

// Peer is the number of the process that listens at the other end (SO_PEERCRED in unix(7)); 0 where it is in a process
// namespace that cannot be seen from here, or where the kernel does not tell.
func Peer(conn *net.UnixConn) int {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	_ = raw.Control(func(fd uintptr) {
		if cred, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}
