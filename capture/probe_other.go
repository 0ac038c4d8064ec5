//go:build !linux

package capture

import (
	"errors"
	"syscall"
)

// noBroadcast is for Linux alone, as receiving is.
func noBroadcast(_, _ string, _ syscall.RawConn) error { return errors.ErrUnsupported }
