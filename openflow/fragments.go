package openflow

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// Fragments is what the bridge does with IP fragments.
func (c *Client) Fragments(ctx context.Context, bridge string) (mode flows.FragmentMode, err error) {
	err = c.native(ctx, bridge, func(conn *connection) error {
		config, err := conn.config()
		mode = config.mode
		return err
	})
	if err != nil {
		mode, err = c.execFragments(ctx, bridge)
	}
	if err != nil {
		return 0, fmt.Errorf("bridge %q: ask what becomes of IP fragments: %w", bridge, err)
	}
	return mode, nil
}

// matchFragments has the bridge match the ports of first fragments. Open vSwitch revalidates its megaflows then by itself.
func (c *Client) matchFragments(ctx context.Context, bridge string) error {
	err := c.native(ctx, bridge, (*connection).matchFragments)
	if err != nil {
		_, err = c.run(ctx, nil, "ovs-ofctl", "--protocols="+protocol, "set-frags", c.target(bridge), flows.FragmentsNXMatch.String())
	}
	if err != nil {
		return fmt.Errorf("bridge %q: have IP fragments matched: %w", bridge, err)
	}
	return nil
}

// switchConfig is ofp_switch_config (OpenFlow 1.4.1 section 7.3.2).
type switchConfig struct {
	mode    flows.FragmentMode
	missLen uint16
}

func (c *connection) config() (switchConfig, error) {
	if _, err := c.Write(message(typeGetConfigRequest, c.nextXID(), nil)); err != nil {
		return switchConfig{}, err
	}
	m, err := c.answer(typeGetConfigReply)
	if err != nil {
		return switchConfig{}, err
	}
	if len(m.body) < 4 {
		return switchConfig{}, fmt.Errorf("a switch's configuration of %d bytes", len(m.body))
	}
	return switchConfig{flows.FragmentMode(binary.BigEndian.Uint16(m.body) & fragmentsMask), binary.BigEndian.Uint16(m.body[2:])}, nil
}

// fragmentsMask is OFPC_FRAG_MASK.
const fragmentsMask = 3

func (c *connection) matchFragments() error {
	is, err := c.config()
	if err != nil {
		return err
	}
	body := binary.BigEndian.AppendUint16(nil, uint16(flows.FragmentsNXMatch))
	body = binary.BigEndian.AppendUint16(body, is.missLen)
	if _, err := c.Write(append(message(typeSetConfig, c.nextXID(), body), message(typeBarrierRequest, c.nextXID(), nil)...)); err != nil {
		return err
	}
	_, err = c.answer(typeBarrierReply)
	return err
}

// execFragments asks with ovs-ofctl.
func (c *Client) execFragments(ctx context.Context, bridge string) (flows.FragmentMode, error) {
	out, err := c.run(ctx, nil, "ovs-ofctl", "--protocols="+protocol, "get-frags", c.target(bridge))
	if err != nil {
		return 0, err
	}
	word := strings.TrimSpace(string(out))
	for _, m := range []flows.FragmentMode{flows.FragmentsNormal, flows.FragmentsDrop, flows.FragmentsReassemble, flows.FragmentsNXMatch} {
		if m.String() == word {
			return m, nil
		}
	}
	return 0, fmt.Errorf("ovs-ofctl get-frags: %q is not known", word)
}
