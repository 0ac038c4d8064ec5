package openflow

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// PacketOut has the bridge treat a frame as if it had come in through a port: it goes through the flow tables, from the
// first on, and is counted there. The metadata, set_field actions in canonical form, are what a tunnel would have read of
// it. PacketOut returns when the bridge has done so.
func (c *Client) PacketOut(ctx context.Context, bridge string, inPort int, metadata []string, frame []byte) error {
	err := c.native(ctx, bridge, func(conn *connection) error { return conn.packetOut(uint32(inPort), metadata, frame) })
	if err != nil {
		spec := fmt.Sprintf("in_port=%d packet=%s actions=%s", inPort, hex.EncodeToString(frame), strings.Join(append(metadata[:len(metadata):len(metadata)], "table"), ","))
		_, err = c.run(ctx, nil, "ovs-ofctl", "--protocols="+protocol, "packet-out", c.target(bridge), spec)
	}
	if err != nil {
		return fmt.Errorf("bridge %q: send a frame through the flow tables: %w", bridge, err)
	}
	return nil
}

// packetOut sends OFPT_PACKET_OUT (OpenFlow 1.4.1 section 7.3.7), the last action of which is an output to OFPP_TABLE, and
// waits until it is done.
func (c *connection) packetOut(inPort uint32, metadata []string, frame []byte) error {
	const toTable = 0xfffffff9 // OFPP_TABLE
	var actions []byte
	var err error
	for _, a := range metadata {
		if actions, err = appendAction(actions, a); err != nil {
			return err
		}
	}
	actions = append(actions, 0, actionOutput, 0, 16)
	actions = binary.BigEndian.AppendUint32(actions, toTable)
	actions = append(actions, 0, 0, 0, 0, 0, 0, 0, 0)
	b := binary.BigEndian.AppendUint32(nil, noBuffer)
	b = binary.BigEndian.AppendUint32(b, inPort)
	b = binary.BigEndian.AppendUint16(b, uint16(len(actions)))
	b = append(b, 0, 0, 0, 0, 0, 0)
	b = append(append(b, actions...), frame...)
	if len(b)+headerLen > maxLength {
		return notNative("a frame of %d bytes", len(frame))
	}
	if _, err := c.Write(append(message(typePacketOut, c.nextXID(), b), message(typeBarrierRequest, c.nextXID(), nil)...)); err != nil {
		return err
	}
	_, err = c.answer(typeBarrierReply)
	return err
}
