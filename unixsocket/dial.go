package unixsocket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// MaxPath is the longest path of a Unix socket: sun_path of unix(7) without its final zero.
const MaxPath = 107

// Short is a path of at most MaxPath bytes to the same socket, good until release is called. A longer one goes by way of
// its opened folder, as Open vSwitch itself does it (make_sockaddr_un in lib/socket-util-unix.c).
func Short(path string) (short string, release func(), err error) {
	if len(path) <= MaxPath {
		return path, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	short = fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	return short, func() { dir.Close() }, nil
}

// Dial connects to the socket, whatever the length of its path. Errors name the path as it was given.
func Dial(ctx context.Context, path string) (*net.UnixConn, error) {
	short, release, err := Short(path)
	if err != nil {
		return nil, err
	}
	defer release()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", short)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = &os.PathError{Op: "connect", Path: path, Err: op.Err}
		}
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}
