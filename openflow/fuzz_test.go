package openflow

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"net"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// talker is the far end of a connection that says what it says, whatever it is asked.
type talker struct {
	net.Conn
	says    *bytes.Reader
	written atomic.Int64 // a bundle is written while the answers are read
}

func (t *talker) Read(b []byte) (int, error)  { return t.says.Read(b) }
func (t *talker) Write(b []byte) (int, error) { t.written.Add(int64(len(b))); return len(b), nil }
func (t *talker) Close() error                { return nil }

// FuzzConversation: whatever stands behind a bridge's socket, a dump of its flows, meters and counts ends, with all of it or
// an error, takes memory in proportion to what was read, and writes only what it asks.
func FuzzConversation(f *testing.F) {
	hello := message(typeHello, 0, []byte{0, 1, 0, 8, 0, 0, 0, 1 << wireVersion})
	reply := func(kind, flags uint16, xid uint32, body []byte) []byte {
		head := binary.BigEndian.AppendUint16(nil, kind)
		head = binary.BigEndian.AppendUint16(head, flags)
		return message(typeMultipartReply, xid, append(append(head, 0, 0, 0, 0), body...))
	}
	var stats []byte
	for _, l := range nativeLines() {
		mod, err := flowMod(flowAdd, l)
		if err != nil {
			f.Fatal(err)
		}
		// A flow-mod's match and instructions stand behind 40 bytes, those of its statistics behind 48.
		one := binary.BigEndian.AppendUint16(nil, uint16(48+len(mod)-40))
		one = append(append(one, make([]byte, 46)...), mod[40:]...)
		stats = append(stats, one...)
	}
	stats = stats[:min(len(stats), 60_000)]
	for xid := range uint32(4) {
		f.Add(append(append([]byte{}, hello...), reply(1, 0, xid, stats)...))
		f.Add(append(append(append([]byte{}, hello...), reply(1, 1, xid, nil)...), reply(1, 0, xid, []byte{0, 1})...))
		f.Add(append(append([]byte{}, hello...), message(typeError, xid, []byte{0, 1, 0, 5, 'x'})...))
	}
	f.Add([]byte{})
	f.Add(hello[:5])
	f.Add([]byte{5, typeHello, 0, 3, 0, 0, 0, 0})
	f.Add([]byte{5, typeMultipartReply, 0xff, 0xff, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, says []byte) {
		for _, ask := range []func(*connection) (int, error){
			func(c *connection) (int, error) { all, err := c.dump(); return len(all), err },
			func(c *connection) (int, error) { all, err := c.meters(); return len(all), err },
			func(c *connection) (int, error) { all, err := c.meterCounts(); return len(all), err },
			func(c *connection) (int, error) { return 0, c.apply(flows.FlowChanges{}) },
		} {
			far := &talker{says: bytes.NewReader(says)}
			c := &connection{Conn: far, in: bufio.NewReaderSize(far, 1<<12)}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if c.hello() != nil {
				continue
			}
			n, err := ask(c)
			runtime.ReadMemStats(&after)
			if err != nil && n > 0 {
				t.Errorf("%d entries and an error: %v", n, err)
			}
			// A message says how long it is, up to 64 kB, before it comes.
			if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20+uint64(len(says))*1000 {
				t.Errorf("%d bytes for %d that were read", used, len(says))
			}
			if n := far.written.Load(); n > int64(4096+len(says)) { // echo requests are answered
				t.Errorf("%d bytes were written", n)
			}
		}
	})
}

// nativeLines is each match and each action once.
func nativeLines() []flows.Line {
	var lines []flows.Line
	for i, m := range nativeMatches {
		lines = append(lines, flows.Line{Table: 10, Priority: 1 + i, Cookie: flows.NewCookie(flows.StagePermit, uint32(i)), Match: m, Actions: "drop"})
	}
	for i, a := range nativeActions {
		lines = append(lines, flows.Line{Table: 0, Priority: 65535 - i, Cookie: flows.NewCookie(flows.StageSent, uint32(i)), Match: "in_port=1,dl_vlan=10", Actions: a})
	}
	return lines
}

func FuzzDecode(f *testing.F) {
	for _, l := range nativeLines() {
		body, err := flowMod(flowAdd, l)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body[40:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if text, err := decodeMatch(b); err == nil {
			if once, err := canonicalMatch(text); err == nil {
				if twice, err := canonicalMatch(once); err != nil || twice != once {
					t.Errorf("%q becomes %q, and that %q, %v", text, once, twice, err)
				}
			}
		}
		decodeInstructions(b)
		if len(b) >= statsLen {
			decodeStats(b)
		}
	})
}

var nativeActions = []string{
	"drop", "goto_table:5", "pop_vlan", "output:3", "pop_vlan,set_field:1->tun_erspan_dir,clone(set_field:0x1->reg0,resubmit(,10))",
	"clone(set_field:0x1->reg0,resubmit(,10)),clone(set_field:0x2->reg0,resubmit(,30))", "set_field:0x7->reg1,goto_table:41",
	"set_field:0x64->tun_id,set_field:2->tun_erspan_ver,set_field:0->tun_erspan_hwid,set_field:2001:db8::9->tun_ipv6_dst,output(port=1,max_len=64)",
	"set_field:0x3ff->tun_id,set_field:1->tun_erspan_ver,set_field:0xfffff->tun_erspan_idx,set_field:::->tun_ipv6_dst,set_field:192.0.2.9->tun_dst,output(port=65279,max_len=65535)",
	"set_field:0x3f->tun_erspan_hwid,output(port=2,max_len=14)", "clone(output(port=LOCAL,max_len=14))",
	"clone(output(port=2,max_len=14),set_field:0x1->reg0,resubmit(,25))",
	"set_field:1->tun_erspan_ver,clone(set_field:192.0.2.9->tun_dst,output(port=1,max_len=64)),clone(set_field:2001:db8::9->tun_ipv6_dst,output(port=1,max_len=1440))",
	"check_pkt_larger(1518)->NXM_NX_REG5[0],goto_table:51", "check_pkt_larger(65535)->NXM_NX_REG0[31],output:2",
	"move:NXOXM_ET_ERSPAN_HWID[]->NXM_NX_REG1[0..5],move:NXOXM_ET_ERSPAN_DIR[]->NXM_NX_REG2[0],move:NXOXM_ET_ERSPAN_IDX[]->NXM_NX_REG3[0..19],resubmit(,41)",
}

// nativeMatches are matches that the native connection must know, in canonical text.
var nativeMatches = []string{
	"", "in_port=3", "reg0=0x1", "reg7=0", "reg3=0x10/0xf0", "tun_id=0x64", "tun_id=0x64/0x3ff", "tun_src=192.0.2.1", "tun_src=192.0.2.0/24",
	"tun_ipv6_src=2001:db8::1", "tun_dst=192.0.2.1", "tun_ipv6_dst=2001:db8::1", "tun_erspan_ver=1", "tun_erspan_ver=2",
	"dl_vlan=10", "dl_vlan=10,dl_vlan_pcp=3", "vlan_tci=0x1000/0x1000", "tcp,reg0=0x1,vlan_tci=0x1000/0x1000,tp_dst=1", "in_port=3,dl_vlan=4094", "dl_src=50:54:00:00:00:05", "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00",
	"dl_type=0x88cc", "dl_type=0x0801", "ip", "ipv6", "arp", "rarp", "icmp", "icmp6", "tcp", "udp", "sctp", "tcp6", "udp6", "sctp6",
	"recirc_id=0,in_port=3", "recirc_id=0,reg0=0x1,in_port=3", "recirc_id=0", "ip,nw_frag=later", "ipv6,nw_frag=not_later", "udp,reg0=0x1,nw_frag=not_later,tp_dst=5000",
	"udp6,reg0=0x1,ipv6_src=2001:db8::1,nw_ttl=3,nw_frag=yes,tp_dst=5000", "icmp,nw_frag=first,icmp_type=8", "ip,nw_frag=no",
	"ip,nw_proto=47", "ip,nw_src=192.0.2.1,nw_proto=47", "ipv6,ipv6_dst=2001:db8::/32,nw_proto=47", "ip,nw_src=10.0.0.1/255.0.0.255",
	"ipv6,ipv6_src=2001::1/ffff::ffff", "ip,nw_dst=10.0.0.0/8", "tcp,nw_src=192.0.2.66,tp_dst=443", "tcp,tp_src=0x10/0xfff0",
	"udp6,tp_src=53,tp_dst=1024", "sctp,tp_dst=5060", "icmp,icmp_type=3,icmp_code=1", "icmp,icmp_type=8", "icmp6,icmp_type=135",
	"icmp6,icmp_type=135,nd_target=2001:db8::9", "icmp6,ipv6_src=2001:db8::1,icmp_type=135", "arp,arp_spa=192.0.2.1,arp_op=1",
	"arp,arp_tpa=192.0.2.0/24", "ip,nw_tos=184", "ip,nw_ecn=1", "ip,nw_ttl=64", "tcp,reg0=0x2,in_port=1,dl_vlan=5,nw_src=192.0.2.1,nw_dst=192.0.2.2,tp_src=1,tp_dst=2",
}
