package capture

import (
	"io"
	"os"
	"syscall"
	"unsafe"
)

// diskFile is a file on a disk. Go's scheduler is not told of writes to it: told, it would wake the thread that watches
// over system calls, which looks every 20 µs what comes of this one, and costs a tenth of what receiving costs (ADR 9). In
// turn, a write that waits for the disk holds one of Go's processors, which nobody else here wants.
type diskFile struct{ *os.File }

// diskWriter is f, written to in the cheapest way.
func diskWriter(f *os.File) io.Writer {
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return f // a pipe can make a writer wait for ever
	}
	return diskFile{f}
}

// Write writes all of b, or says how much it wrote.
func (f diskFile) Write(b []byte) (n int, err error) {
	fd := f.Fd()
	for n < len(b) {
		written, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&b[n])), uintptr(len(b)-n))
		switch {
		case errno == 0:
			n += int(written)
		case errno != syscall.EINTR:
			return n, &os.PathError{Op: "write", Path: f.Name(), Err: errno}
		}
	}
	return n, nil
}
