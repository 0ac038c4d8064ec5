package openflow

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// The native connection carries what our own flows and usual matches need, without executing ovs-ofctl (docs/adr/0004).
// Whatever it does not know, or that a switch refuses, is left to ovs-ofctl: nothing has been changed by then.

const (
	flowAdd          = 0
	flowDeleteStrict = 4

	anyPort   = 0xffffffff // also any group
	noBuffer  = 0xffffffff
	maxLength = 0xffff

	bundleOpen, bundleCommit, bundleCommitted = 0, 4, 5
	bundleAtomicOrdered                       = 1 | 2
)

// flowMod makes the body of OFPT_FLOW_MOD (OpenFlow 1.4.1 section 7.3.4.2).
func flowMod(command byte, l flows.Line) ([]byte, error) {
	match, err := encodeMatch(l.Match)
	if err != nil {
		return nil, err
	}
	var mask uint64
	var instructions []byte
	if command == flowAdd {
		if instructions, err = encodeActions(l.Actions); err != nil {
			return nil, err
		}
	} else {
		mask = ^uint64(0) // only the flow with our cookie
	}
	if l.Table < 0 || l.Table > 254 || l.Priority < 0 || l.Priority > 0xffff {
		return nil, notNative("table %d, priority %d", int(l.Table), l.Priority)
	}
	b := make([]byte, 0, 40+len(match)+len(instructions))
	b = binary.BigEndian.AppendUint64(b, uint64(l.Cookie))
	b = binary.BigEndian.AppendUint64(b, mask)
	b = append(b, byte(l.Table), command, 0, 0) // no idle timeout
	b = binary.BigEndian.AppendUint16(b, l.HardTimeout(time.Now()))
	b = binary.BigEndian.AppendUint16(b, uint16(l.Priority))
	b = binary.BigEndian.AppendUint32(b, noBuffer)
	b = binary.BigEndian.AppendUint32(b, anyPort)
	b = binary.BigEndian.AppendUint32(b, anyPort)
	b = append(b, 0, 0, 0, 0) // no flags, no importance
	b = append(append(b, match...), instructions...)
	if len(b)+headerLen+bundleAddLen > maxLength {
		return nil, notNative("a flow of %d bytes", len(b))
	}
	return b, nil
}

// bundleAddLen is what OFPT_BUNDLE_ADD_MESSAGE puts around a message.
const bundleAddLen = 16

// apply makes the changes in one bundle (section 7.3.9.2): sent at once, and answered by the end of the commit.
func (c *connection) apply(changes flows.FlowChanges) error {
	const bundle = 1
	control := func(kind, flags uint16) []byte {
		b := binary.BigEndian.AppendUint32(nil, bundle)
		b = binary.BigEndian.AppendUint16(b, kind)
		return message(typeBundleControl, c.nextXID(), binary.BigEndian.AppendUint16(b, flags))
	}
	out := control(bundleOpen, bundleAtomicOrdered)
	add := func(command byte, lines []flows.Line) error {
		for _, l := range lines {
			body, err := flowMod(command, l)
			if err != nil {
				return err
			}
			xid := c.nextXID() // the same for the message and what carries it
			around := binary.BigEndian.AppendUint32(nil, bundle)
			around = append(around, 0, 0, 0, bundleAtomicOrdered)
			out = append(out, message(typeBundleAdd, xid, append(around, message(typeFlowMod, xid, body)...))...)
		}
		return nil
	}
	if err := add(flowDeleteStrict, changes.Delete); err != nil {
		return err
	}
	if err := add(flowAdd, changes.Add); err != nil {
		return err
	}
	out = append(out, control(bundleCommit, bundleAtomicOrdered)...)
	written := make(chan error, 1)
	go func() { // the switch may answer with an error, and read no more, before all is written
		_, err := c.Write(out)
		written <- err
	}()
	for {
		m, err := c.answer(typeBundleControl)
		if err != nil {
			return err
		}
		if len(m.body) >= 6 && binary.BigEndian.Uint16(m.body[4:]) == bundleCommitted {
			return <-written
		}
	}
}

// add adds one flow and returns when the switch has done so.
func (c *connection) add(l flows.Line) error {
	body, err := flowMod(flowAdd, l)
	if err != nil {
		return err
	}
	if _, err := c.Write(append(message(typeFlowMod, c.nextXID(), body), message(typeBarrierRequest, c.nextXID(), nil)...)); err != nil {
		return err
	}
	_, err = c.answer(typeBarrierReply)
	return err
}

// dump reads all flows (section 7.3.5.2).
func (c *connection) dump() ([]flows.Entry, error) {
	const flowStats, more = 1, 1
	b := []byte{0, flowStats, 0, 0, 0, 0, 0, 0}
	b = append(b, 0xff, 0, 0, 0) // all tables
	b = binary.BigEndian.AppendUint32(b, anyPort)
	b = binary.BigEndian.AppendUint32(b, anyPort)
	b = append(b, make([]byte, 4+8+8)...) // any cookie
	b = append(b, 0, 1, 0, 4, 0, 0, 0, 0) // any match
	if _, err := c.Write(message(typeMultipartRequest, c.nextXID(), b)); err != nil {
		return nil, err
	}
	var all []flows.Entry
	for {
		m, err := c.answer(typeMultipartReply)
		if err != nil {
			return nil, err
		}
		if len(m.body) < 8 {
			return nil, fmt.Errorf("statistics cut short")
		}
		for rest := m.body[8:]; len(rest) > 0; {
			length := 0
			if len(rest) >= 2 {
				length = int(binary.BigEndian.Uint16(rest))
			}
			if length < statsLen || length > len(rest) {
				return nil, fmt.Errorf("flow statistics of %d bytes", length)
			}
			e, err := decodeStats(rest[:length])
			if err != nil {
				return nil, err
			}
			all, rest = append(all, e), rest[length:]
		}
		if binary.BigEndian.Uint16(m.body[2:])&more == 0 {
			return all, nil
		}
	}
}

// statsLen is the fixed part of ofp_flow_stats, with the header of the match.
const statsLen = 48 + 4

// decodeStats reads one ofp_flow_stats.
func decodeStats(b []byte) (flows.Entry, error) {
	idle, hard, flags := binary.BigEndian.Uint16(b[14:]), binary.BigEndian.Uint16(b[16:]), binary.BigEndian.Uint16(b[18:])
	if idle != 0 || flags != 0 {
		return flows.Entry{}, notNative("a flow with an idle timeout or flags") // no flow of ours; ovs-ofctl says it in words
	}
	matchLen := int(binary.BigEndian.Uint16(b[50:]))
	padded := (matchLen + 7) / 8 * 8
	if matchLen < 4 || 48+padded > len(b) {
		return flows.Entry{}, fmt.Errorf("match of %d bytes in a flow of %d", matchLen, len(b))
	}
	e := flows.Entry{
		Line: flows.Line{
			Table: flows.Table(b[2]), Priority: int(binary.BigEndian.Uint16(b[12:])),
			Cookie: flows.Cookie(binary.BigEndian.Uint64(b[24:])),
		},
		Packets: binary.BigEndian.Uint64(b[32:]), Bytes: binary.BigEndian.Uint64(b[40:]),
		Age: time.Duration(binary.BigEndian.Uint32(b[4:]))*time.Second + time.Duration(binary.BigEndian.Uint32(b[8:])),
	}
	e.Expires = flows.ExpiryOf(hard, e.Age, time.Now())
	var err error
	if e.Match, err = decodeMatch(b[52 : 48+matchLen]); err != nil {
		return e, err
	}
	e.Actions, err = decodeInstructions(b[48+padded:])
	return e, err
}

// idleLimit is how long a connection is used again: Open vSwitch may have given it up after that.
const idleLimit = 3 * time.Second

// link is the connection to one bridge. Who uses it holds mu, so that a bridge that does not answer holds up no other.
type link struct {
	mu   sync.Mutex
	conn *connection // nil: none
}

// native runs use with the connection to the bridge, made anew where there is none or the one there is has gone stale: the
// bridge may have been deleted and added again, with another Open vSwitch perhaps. So use is run a second time, on a new
// connection, where one that was there before failed, and what it does has to bear that. An error closes the connection.
func (c *Client) native(ctx context.Context, bridge string, use func(*connection) error) error {
	l := c.link(bridge)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil && time.Since(l.conn.lastUse) > idleLimit {
		l.drop()
	}
	if l.conn != nil {
		err := l.run(ctx, use)
		if err == nil || errors.As(err, new(*errNotNative)) || ctx.Err() != nil {
			return err
		}
	}
	conn, err := dial(ctx, c.socket(bridge))
	if err != nil {
		return err
	}
	l.conn = conn
	return l.run(ctx, use)
}

// run runs use with the connection that is there.
func (l *link) run(ctx context.Context, use func(*connection) error) error {
	release := l.conn.bound(ctx)
	err := use(l.conn)
	release()
	l.conn.lastUse = time.Now()
	if err != nil {
		l.drop()
	}
	return err
}

func (c *Client) link(bridge string) *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.links[bridge] == nil {
		c.links[bridge] = &link{}
	}
	return c.links[bridge]
}

func (l *link) drop() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

// Close ends the connections to bridges; the client can be used again after it.
func (c *Client) Close() {
	c.mu.Lock()
	links := slices.Collect(maps.Values(c.links))
	c.mu.Unlock()
	for _, l := range links {
		l.mu.Lock()
		l.drop()
		l.mu.Unlock()
	}
}
