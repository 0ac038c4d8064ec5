package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovs-erspan/ovs-erspan/capture"
)

// receive captures into the fifo until it is told to end or nobody reads any more.
func (r *request) receive(ctx context.Context) error {
	if r.fifo == "" {
		return errors.New("--fifo is missing: want the pipe that Wireshark reads")
	}
	// First of all: whoever reads may wait in opening it, and would wait for ever if it were left unopened on an error.
	fifo, err := os.OpenFile(r.fifo, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("--fifo: %w", err)
	}
	defer fifo.Close()
	if r.captureFilter != "" {
		return errors.New(noCaptureFilter)
	}
	options, err := r.options.capture()
	if err != nil {
		return err
	}
	live, err := capture.OpenLive(capture.LiveOptions{Device: r.options.device, Buffer: r.options.buffer << 20})
	if err != nil {
		return err
	}
	defer live.Close()
	decoder, writer := capture.NewDecoder(options), capture.NewPcapngWriter(fifo)
	err = live.Run(ctx, func(frame *capture.Frame) error {
		record := decoder.Decode(frame)
		if record == nil {
			return nil
		}
		return writer.Write(record)
	}, func() error {
		if err := writer.Flush(); err != nil {
			return err
		}
		return readerGone(fifo)
	})
	if stats, statsErr := live.Stats(); err == nil && statsErr == nil {
		writer.WriteStatistics(time.Now(), stats.Received, stats.Dropped)
		err = writer.Flush()
	}
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

// readerGone is EPIPE when nobody has the other end of a pipe open: where no frames come, no write would ever tell.
func readerGone(pipe *os.File) error {
	raw, err := pipe.SyscallConn()
	if err != nil {
		return err
	}
	var gone bool
	err = raw.Control(func(fd uintptr) {
		poll := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(poll, 0)
		gone = err == nil && n > 0 && poll[0].Revents&unix.POLLERR != 0
	})
	if gone {
		return syscall.EPIPE
	}
	return err
}
