package openflow

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// Meters go over the native connection alone: what is asked for and answered is small and fixed (OpenFlow 1.4.1 sections
// 7.3.4.5, 7.3.5.14 and 7.3.5.15).

const (
	meterAdd, meterModify, meterDelete = 0, 1, 2

	meterKbps, meterPackets, meterBurst, meterStats = 1, 2, 4, 8

	multipartMeter, multipartMeterConfig = 9, 10

	bandDrop, bandLen = 1, 16

	allMeters = 0xffffffff
)

// meterMod makes the body of OFPT_METER_MOD.
func meterMod(command uint16, m flows.Meter) []byte {
	b := binary.BigEndian.AppendUint16(nil, command)
	flags := uint16(meterKbps | meterBurst | meterStats)
	if m.Packets {
		flags = meterPackets | meterBurst | meterStats
	}
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint32(b, m.ID)
	if command == meterDelete {
		return b
	}
	b = binary.BigEndian.AppendUint16(b, bandDrop)
	b = binary.BigEndian.AppendUint16(b, bandLen)
	b = binary.BigEndian.AppendUint32(b, m.Rate)
	b = binary.BigEndian.AppendUint32(b, m.Burst)
	return append(b, 0, 0, 0, 0)
}

// modMeters makes the changes and returns when the switch has done so.
func (c *connection) modMeters(command uint16, meters []flows.Meter) error {
	if len(meters) == 0 {
		return nil
	}
	var out []byte
	for _, m := range meters {
		out = append(out, message(typeMeterMod, c.nextXID(), meterMod(command, m))...)
	}
	if _, err := c.Write(append(out, message(typeBarrierRequest, c.nextXID(), nil)...)); err != nil {
		return err
	}
	_, err := c.answer(typeBarrierReply)
	return err
}

// multipart asks for meters and gives the parts of the answer to read, which takes what it understands off the front.
func (c *connection) multipart(kind byte, read func([]byte) (rest []byte, err error)) error {
	b := []byte{0, kind, 0, 0, 0, 0, 0, 0}
	b = binary.BigEndian.AppendUint32(b, allMeters)
	b = append(b, 0, 0, 0, 0)
	if _, err := c.Write(message(typeMultipartRequest, c.nextXID(), b)); err != nil {
		return err
	}
	for {
		m, err := c.answer(typeMultipartReply)
		if err != nil {
			return err
		}
		if len(m.body) < 8 {
			return fmt.Errorf("statistics cut short")
		}
		for rest := m.body[8:]; len(rest) > 0; {
			if rest, err = read(rest); err != nil {
				return err
			}
		}
		if binary.BigEndian.Uint16(m.body[2:])&1 == 0 { // no more
			return nil
		}
	}
}

// meters reads the configuration of all meters.
func (c *connection) meters() (all []flows.Meter, err error) {
	err = c.multipart(multipartMeterConfig, func(b []byte) ([]byte, error) {
		const fixed = 8
		if len(b) < fixed || int(binary.BigEndian.Uint16(b)) < fixed || int(binary.BigEndian.Uint16(b)) > len(b) {
			return nil, fmt.Errorf("a meter's configuration cut short")
		}
		length := int(binary.BigEndian.Uint16(b))
		m := flows.Meter{ID: binary.BigEndian.Uint32(b[4:]), Packets: binary.BigEndian.Uint16(b[2:])&meterPackets != 0}
		// One with other bands or flags is none of ours, or no longer: as it stands here it equals none that is wished.
		if length == fixed+bandLen && binary.BigEndian.Uint16(b[fixed:]) == bandDrop && binary.BigEndian.Uint16(b[2:])&meterBurst != 0 {
			m.Rate, m.Burst = binary.BigEndian.Uint32(b[fixed+4:]), binary.BigEndian.Uint32(b[fixed+8:])
		}
		all = append(all, m)
		return b[length:], nil
	})
	if err != nil {
		return nil, err // half of them would look like others taken away
	}
	slices.SortFunc(all, func(a, b flows.Meter) int { return cmp.Compare(a.ID, b.ID) })
	return all, nil
}

// meterCounts reads the counters of all meters.
func (c *connection) meterCounts() (all []flows.MeterCount, err error) {
	err = c.multipart(multipartMeter, func(b []byte) ([]byte, error) {
		const fixed, band = 40, 16
		if len(b) < fixed || int(binary.BigEndian.Uint16(b[4:])) < fixed || int(binary.BigEndian.Uint16(b[4:])) > len(b) {
			return nil, fmt.Errorf("a meter's counters cut short")
		}
		length := int(binary.BigEndian.Uint16(b[4:]))
		m := flows.MeterCount{
			ID:  binary.BigEndian.Uint32(b),
			In:  flows.Count{Packets: binary.BigEndian.Uint64(b[16:]), Bytes: binary.BigEndian.Uint64(b[24:])},
			Age: time.Duration(binary.BigEndian.Uint32(b[32:]))*time.Second + time.Duration(binary.BigEndian.Uint32(b[36:])),
		}
		for rest := b[fixed:length]; len(rest) >= band; rest = rest[band:] {
			m.Out.Packets += binary.BigEndian.Uint64(rest)
			m.Out.Bytes += binary.BigEndian.Uint64(rest[8:])
		}
		all = append(all, m)
		return b[length:], nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Meters reads the meters of the bridge.
func (c *Client) Meters(ctx context.Context, bridge string) (all []flows.Meter, err error) {
	err = c.native(ctx, bridge, func(conn *connection) error {
		all, err = conn.meters()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("bridge %q: read meters: %w", bridge, err)
	}
	return all, nil
}

// MeterCounts reads what the meters of the bridge have counted.
func (c *Client) MeterCounts(ctx context.Context, bridge string) (all []flows.MeterCount, err error) {
	err = c.native(ctx, bridge, func(conn *connection) error {
		all, err = conn.meterCounts()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("bridge %q: read meters' counters: %w", bridge, err)
	}
	return all, nil
}

func (c *Client) modMeters(ctx context.Context, bridge string, command uint16, meters []flows.Meter) error {
	if len(meters) == 0 {
		return nil
	}
	err := c.native(ctx, bridge, func(conn *connection) error { return conn.modMeters(command, meters) })
	if err != nil {
		return fmt.Errorf("bridge %q: change %d meters, %s first: %w", bridge, len(meters), meters[0], err)
	}
	return nil
}
