package unixsocket_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/unixsocket"
)

// TestDial: a socket is reached by a path of any length, and tells whose it is.
func TestDial(t *testing.T) {
	for name, folder := range map[string]string{"short": "d", "long": strings.Repeat("x", 120)} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), folder)
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "socket")
			if _, err := unixsocket.Dial(t.Context(), path); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
				t.Errorf("without a socket: %v", err)
			}
			short, release, err := unixsocket.Short(path)
			if err != nil || len(short) > unixsocket.MaxPath {
				t.Fatalf("%q, %v", short, err)
			}
			listener, err := net.Listen("unix", short)
			release()
			if err != nil {
				t.Fatal(err)
			}
			conn, err := unixsocket.Dial(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if pid := unixsocket.Peer(conn); pid != os.Getpid() {
				t.Errorf("the peer is process %d, want %d", pid, os.Getpid())
			}
			listener.(*net.UnixListener).SetUnlinkOnClose(false)
			listener.Close()
			if _, err := unixsocket.Dial(t.Context(), path); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("a socket that nobody listens at: %v", err)
			}
		})
	}
}
