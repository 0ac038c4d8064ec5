package openflow

import (
	"context"
	"encoding/binary"
	"fmt"
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
	conn, err := dial(begin, c.socket(bridge))
	if err == nil {
		if err = conn.monitor(begin, match); err != nil {
			conn.Close()
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
			m, err := conn.answer(typeMultipartReply)
			if err != nil {
				return
			}
			if onlyTouched(m.body) {
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

// monitor asks for every change of the flows (OpenFlow 1.4.1 section 7.3.5.17), without the flows that are there and
// without their actions, and waits for the answer.
func (c *connection) monitor(ctx context.Context, match string) error {
	const (
		flowMonitor               = 16
		onAdd, onRemove, onModify = 1 << 1, 1 << 2, 1 << 3
	)
	fields, err := encodeMatch(match)
	if err != nil {
		return err
	}
	b := []byte{0, flowMonitor, 0, 0, 0, 0, 0, 0}
	b = binary.BigEndian.AppendUint32(b, 1) // the monitor's number
	b = binary.BigEndian.AppendUint32(b, anyPort)
	b = binary.BigEndian.AppendUint32(b, anyPort)
	b = binary.BigEndian.AppendUint16(b, onAdd|onRemove|onModify)
	b = append(b, 0xff, 0) // all tables; add the monitor
	b = append(b, fields...)
	defer c.bound(ctx)()
	if _, err := c.Write(message(typeMultipartRequest, c.nextXID(), b)); err != nil {
		return err
	}
	_, err = c.answer(typeMultipartReply)
	return err
}

// onlyTouched tells whether the updates are of the flow alone that Touch adds again: that changes nothing, and whoever
// touches because something changed would never come to an end.
func onlyTouched(body []byte) bool {
	const full, tableAt = 5, 4 // ofp_flow_update_full up to its table (section 7.3.5.17.2)
	if len(body) < 8 {
		return false
	}
	for rest := body[8:]; len(rest) > 0; {
		if len(rest) < full {
			return false
		}
		length := int(binary.BigEndian.Uint16(rest))
		if length < full || length > len(rest) || flows.Table(rest[tableAt]) != flows.TableTouch {
			return false
		}
		rest = rest[length:]
	}
	return true
}
