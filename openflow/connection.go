package openflow

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/ovs-erspan/ovs-erspan/unixsocket"
)

// wireVersion is OpenFlow 1.4, the first with bundles; its flow statistics are simpler than those of 1.5.
const wireVersion = 5

// Types of messages (OpenFlow 1.4.1 section 7.1).
const (
	typeHello            = 0
	typeError            = 1
	typeEchoRequest      = 2
	typeEchoReply        = 3
	typeGetConfigRequest = 7
	typeGetConfigReply   = 8
	typeSetConfig        = 9
	typePacketOut        = 13
	typeFlowMod          = 14
	typeMultipartRequest = 18
	typeMultipartReply   = 19
	typeBarrierRequest   = 20
	typeBarrierReply     = 21
	typeMeterMod         = 29
	typeBundleControl    = 33
	typeBundleAdd        = 34
)

const headerLen = 8 // version, type, length, transaction id

// connection is an OpenFlow connection to one bridge, for one goroutine at a time.
type connection struct {
	net.Conn
	version byte // of OpenFlow, that both sides agreed on
	in      *bufio.Reader
	xid     uint32
	lastUse time.Time
}

// dial connects to a bridge's management socket and agrees on the version.
func dial(ctx context.Context, socket string) (*connection, error) {
	return dialVersion(ctx, socket, wireVersion)
}

func dialVersion(ctx context.Context, socket string, version byte) (*connection, error) {
	conn, err := unixsocket.Dial(ctx, socket)
	if err != nil {
		return nil, err
	}
	c := &connection{Conn: conn, version: version, in: bufio.NewReaderSize(conn, 1<<16)}
	defer c.bound(ctx)()
	if err := c.hello(); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// bound has reads and writes end with the context, until the function that it returns is called.
func (c *connection) bound(ctx context.Context) (release func() bool) {
	return context.AfterFunc(ctx, func() { c.Close() })
}

// hello offers exactly our version: a bitmap element (OpenFlow 1.4.1 section 7.5.1).
func (c *connection) hello() error {
	body := binary.BigEndian.AppendUint32([]byte{0, 1, 0, 8}, 1<<c.version)
	if _, err := c.Write(c.message(typeHello, 0, body)); err != nil {
		return err
	}
	m, err := c.read()
	if err != nil {
		return err
	}
	if m.kind != typeHello {
		return notNative("a switch that begins with a message of type %d", m.kind)
	}
	return nil // where the versions do not meet, the next answer is an error
}

// received is a message without its header.
type received struct {
	kind byte
	xid  uint32
	body []byte
}

// read reads the next message but echo requests, which it answers.
func (c *connection) read() (received, error) {
	for {
		var h [headerLen]byte
		if _, err := io.ReadFull(c.in, h[:]); err != nil {
			return received{}, err
		}
		length := int(binary.BigEndian.Uint16(h[2:]))
		if length < headerLen {
			return received{}, fmt.Errorf("OpenFlow message of %d bytes", length)
		}
		m := received{h[1], binary.BigEndian.Uint32(h[4:]), make([]byte, length-headerLen)}
		if _, err := io.ReadFull(c.in, m.body); err != nil {
			return received{}, err
		}
		switch m.kind {
		case typeEchoRequest:
			if _, err := c.Write(c.message(typeEchoReply, m.xid, m.body)); err != nil {
				return received{}, err
			}
		case typeError:
			if len(m.body) < 4 {
				return received{}, fmt.Errorf("OpenFlow error without a type")
			}
			return received{}, fmt.Errorf("OpenFlow error of type %d, code %d", binary.BigEndian.Uint16(m.body), binary.BigEndian.Uint16(m.body[2:]))
		default:
			return m, nil
		}
	}
}

// answer reads until the message of that type; whatever else comes is none of ours.
func (c *connection) answer(kind byte) (received, error) {
	for {
		m, err := c.read()
		if err != nil || m.kind == kind {
			return m, err
		}
	}
}

// nextXID is the next transaction id.
func (c *connection) nextXID() uint32 {
	c.xid++
	return c.xid
}

// message puts a message of the connection's version together.
func (c *connection) message(kind byte, xid uint32, body []byte) []byte {
	m := message(kind, xid, body)
	m[0] = c.version
	return m
}

// message puts a message of our version together. The caller sees to it that it is shorter than 64 kB.
func message(kind byte, xid uint32, body []byte) []byte {
	b := make([]byte, 0, headerLen+len(body))
	b = append(b, wireVersion, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(headerLen+len(body)))
	b = binary.BigEndian.AppendUint32(b, xid)
	return append(b, body...)
}
