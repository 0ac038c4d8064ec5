package openflow

import (
	"strings"
	"testing"
)

// TestPacketOut: a frame goes through the flow tables as if it had come in through the port, with the metadata of a tunnel,
// over the native connection and through ovs-ofctl, and is counted when the call returns.
func TestPacketOut(t *testing.T) {
	ctx, c, s := testBridge(t)
	s.Run("ovs-ofctl", "-O", "OpenFlow15", "add-flow", "br-t", "table=0,priority=9,in_port=7,tun_id=0x64,tun_src=192.0.2.1,tun_erspan_ver=2,dl_type=0x88b5,actions=goto_table:1")
	s.Run("ovs-ofctl", "-O", "OpenFlow15", "add-flow", "br-t", "table=1,priority=9,dl_src=06:e2:00:00:00:01,actions=drop")
	frame := append([]byte{2, 0xe2, 0x5a, 0, 0, 1, 6, 0xe2, 0, 0, 0, 1, 0x88, 0xb5}, make([]byte, 46)...)
	metadata := []string{"set_field:0x64->tun_id", "set_field:192.0.2.1->tun_src", "set_field:2->tun_erspan_ver"}
	count := func() (first, second uint64) {
		entries, err := c.Dump(ctx, "br-t")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			switch e.Table {
			case 0:
				first = e.Packets
			case 1:
				second = e.Packets
			}
		}
		return first, second
	}
	for n := range uint64(3) {
		if err := c.PacketOut(ctx, "br-t", 7, metadata, frame); err != nil {
			t.Fatal(err)
		}
		if a, b := count(); a != n+1 || b != n+1 {
			t.Errorf("after %d frames the flows have counted %d and %d", n+1, a, b)
		}
	}
	if err := c.native(ctx, "br-t", func(conn *connection) error { return conn.packetOut(7, metadata, frame) }); err != nil {
		t.Errorf("the native connection cannot: %v", err)
	}
	// What the native connection does not know, ovs-ofctl does; another port and another tunnel are not taken for these.
	if err := c.PacketOut(ctx, "br-t", 7, append(metadata, "set_field:0x1/0xff->reg0"), frame); err != nil {
		t.Fatal(err)
	}
	if a, b := count(); a != 5 || b != 5 {
		t.Errorf("the flows have counted %d and %d, want 5", a, b)
	}
	for _, other := range []struct {
		port     int
		metadata []string
	}{{8, metadata}, {7, nil}} {
		if err := c.PacketOut(ctx, "br-t", other.port, other.metadata, frame); err != nil {
			t.Fatal(err)
		}
	}
	if a, _ := count(); a != 5 {
		t.Errorf("a frame from another port, or none of the tunnel, was counted: %d", a)
	}
	if err := c.PacketOut(ctx, "br-none", 7, nil, frame); err == nil || !strings.Contains(err.Error(), `bridge "br-none"`) {
		t.Errorf("no such bridge: %v", err)
	}
}
