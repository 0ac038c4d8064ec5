package openflow

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// watchBegins bounds how long a bridge may take to begin with the watching.
const watchBegins = 2 * time.Second

// Watch tells of changes of the bridge's flows that have the match or a narrower one ("" for all), by whomever they are
// made: the channel receives after a change, several as one, and is closed when the connection is lost, which is also how an ovs-vswitchd that ended is noticed at once, and
// when ctx is done. Watch returns when the watching has begun: what changes from then on is told.
func (c *Client) Watch(ctx context.Context, bridge, match string) (<-chan struct{}, error) {
	// The context is of the watching; who hangs when it begins holds up all else.
	begin, cancel := context.WithTimeout(ctx, watchBegins)
	defer cancel()
	monitor := standardMonitor
	conn, err := monitor.begin(begin, c.socket(bridge), match)
	if err != nil && begin.Err() == nil {
		var otherErr error
		monitor = extensionMonitor
		if conn, otherErr = monitor.begin(begin, c.socket(bridge), match); otherErr == nil {
			err = nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("bridge %q: watch flows: %w", bridge, err)
	}
	changes := make(chan struct{}, 1)
	release := conn.bound(ctx)
	go func() {
		defer close(changes)
		defer conn.Close()
		defer release()
		for {
			m, err := conn.answer(monitor.reply)
			if err != nil {
				return
			}
			if monitor.onlyTouched(m.body) {
				continue
			}
			select {
			case changes <- struct{}{}:
			default:
			}
		}
	}()
	return changes, nil
}

// flowMonitor is one of the two forms of messages in which Open vSwitch tells of changed flows.
type flowMonitor struct {
	version        byte
	request, reply byte // types of messages
	// head of both begins their bodies; behind it are the updates, of at least full bytes where they name a flow, with its table.
	head          []byte
	full, tableAt int
	// body is the request behind the head.
	body func(match []byte) []byte
}

const onAdd, onRemove, onModify = 1 << 1, 1 << 2, 1 << 3 // in both forms

// standardMonitor is OpenFlow 1.4.1 section 7.3.5.17, which 3.1 has and 2.17 refuses.
var standardMonitor = flowMonitor{
	version: wireVersion, request: typeMultipartRequest, reply: typeMultipartReply,
	head: []byte{0, 16, 0, 0, 0, 0, 0, 0}, // OFPMP_FLOW_MONITOR
	full: 5, tableAt: 4,                   // ofp_flow_update_full up to its table
	body: func(match []byte) []byte {
		b := binary.BigEndian.AppendUint32(nil, 1) // the monitor's number
		b = binary.BigEndian.AppendUint32(b, anyPort)
		b = binary.BigEndian.AppendUint32(b, anyPort)
		b = binary.BigEndian.AppendUint16(b, onAdd|onRemove|onModify)
		return append(append(b, 0xff, 0), match...) // all tables; add the monitor
	},
}

// extensionMonitor is Open vSwitch's own form from before, of OpenFlow 1.0 (its nicira-ext.h, NXST_FLOW_MONITOR). It also does
// where a production bridge speaks OpenFlow 1.0 alone.
var extensionMonitor = flowMonitor{
	version: 1, request: 16, reply: 17, // OFPT_STATS_REQUEST and its reply
	head: []byte{0xff, 0xff, 0, 0, 0, 0, vendorNicira >> 8, vendorNicira & 0xff, 0, 0, 0, 2, 0, 0, 0, 0},
	full: 15, tableAt: 14, // nx_flow_update_full up to its table
	body: func(match []byte) []byte {
		fields := match[4:binary.BigEndian.Uint16(match[2:])] // without OpenFlow 1.2's frame around them
		b := binary.BigEndian.AppendUint32(nil, 1)
		b = binary.BigEndian.AppendUint16(b, onAdd|onRemove|onModify)
		b = binary.BigEndian.AppendUint16(b, 0xffff) // any port
		b = binary.BigEndian.AppendUint16(b, uint16(len(fields)))
		b = append(b, 0xff, 0, 0, 0, 0, 0) // all tables
		return append(append(b, fields...), make([]byte, (8-len(fields)%8)%8)...)
	},
}

// begin asks for every change of the flows, without the flows that are there and without their actions, on a connection of its
// own, and waits for the answer.
func (f flowMonitor) begin(ctx context.Context, socket, match string) (*connection, error) {
	fields, err := encodeMatch(match)
	if err != nil {
		return nil, err
	}
	c, err := dialVersion(ctx, socket, f.version)
	if err != nil {
		return nil, err
	}
	defer c.bound(ctx)()
	_, err = c.Write(c.message(f.request, c.nextXID(), slices.Concat(f.head, f.body(fields))))
	if err == nil {
		_, err = c.answer(f.reply)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// onlyTouched tells whether the updates are of the flow alone that Touch adds again: that changes nothing, and whoever
// touches because something changed would never come to an end.
func (f flowMonitor) onlyTouched(body []byte) bool {
	if len(body) < len(f.head) {
		return false
	}
	for rest := body[len(f.head):]; len(rest) > 0; {
		if len(rest) < f.full {
			return false
		}
		length := int(binary.BigEndian.Uint16(rest))
		if length < f.full || length > len(rest) || flows.Table(rest[f.tableAt]) != flows.TableTouch {
			return false
		}
		rest = rest[length:]
	}
	return true
}
