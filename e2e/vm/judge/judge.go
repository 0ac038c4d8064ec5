//go:build linux

// Package judge carries calls of tshark from the virtual machine to this machine: one call after another on a stream,
// with the files that the arguments name.
package judge

import (
	"encoding/gob"
	"fmt"
	"io"
)

// Port is the name of the virtio-serial port: /dev/virtio-ports/<Port> where udev runs, a vport in /sys elsewhere.
const Port = "judge"

// Request is a call of tshark. An argument that names a file of the guest is the key of its content in Files.
type Request struct {
	Args  []string
	Stdin []byte
	Files map[string][]byte
}

// Reply is what tshark wrote, and its exit code.
type Reply struct {
	Stdout, Stderr []byte
	Code           int
}

// Ask sends a request and reads the reply. The stream has to be the caller's alone meanwhile.
func Ask(stream io.ReadWriter, r Request) (Reply, error) {
	// A fresh encoder for each message describes its types again, so that each stands by itself.
	if err := gob.NewEncoder(stream).Encode(r); err != nil {
		return Reply{}, fmt.Errorf("hand a capture to the judge: %w", err)
	}
	var reply Reply
	if err := gob.NewDecoder(oneByte{stream}).Decode(&reply); err != nil {
		return Reply{}, fmt.Errorf("read what the judge says: %w", err)
	}
	return reply, nil
}

// Serve answers requests until the stream ends.
func Serve(stream io.ReadWriter, answer func(Request) Reply) error {
	for {
		var r Request
		if err := gob.NewDecoder(oneByte{stream}).Decode(&r); err != nil {
			return err
		}
		if err := gob.NewEncoder(stream).Encode(answer(r)); err != nil {
			return err
		}
	}
}

// oneByte keeps a decoder from reading past its message: gob buffers what is no io.ByteReader.
type oneByte struct{ io.Reader }

func (o oneByte) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(o.Reader, b[:])
	return b[0], err
}
