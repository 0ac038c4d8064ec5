//go:build linux

package e2e

import (
	"context"
	be "encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// These scenarios have an eBPF program at the other end, on one ERSPAN device that serves every session (ip-link(8),
// "external"): what "ERSPAN Support for Linux" (Linux Plumbers 2018) shows. The programs are put together here, so that
// no compiler is needed.

// bpfSession is what a program finds in the tunnel's metadata, and counts packets by.
type bpfSession struct{ ID, Version, Index, Direction, HardwareID uint32 }

// Sizes and places of what the kernel hands over (linux/bpf.h, struct bpf_tunnel_key up to tunnel_label; linux/erspan.h,
// struct erspan_metadata), and where they lie on the program's stack.
const (
	tunnelKeySize = 28
	optionSize    = 12
	atKey         = -32
	atOption      = -48
	atSession     = -72
	atCount       = -80
)

// zeroed clears the stack from an offset up to the frame pointer.
func zeroed(from int16) asm.Instructions {
	var all asm.Instructions
	for at := from; at < 0; at += 4 {
		all = append(all, asm.StoreImm(asm.RFP, at, 0, asm.Word))
	}
	return all
}

func stackPointer(r asm.Register, at int32) asm.Instructions {
	return asm.Instructions{asm.Mov.Reg(r, asm.RFP), asm.Add.Imm(r, at)}
}

// countingProgram counts each packet in the map by its session.
func countingProgram(t *testing.T, counts *ebpf.Map, v6 bool) *ebpf.Program {
	t.Helper()
	family := int32(0)
	if v6 {
		family = 1 // BPF_F_TUNINFO_IPV6
	}
	field := func(n int16) int16 { return atSession + 4*n }
	all := asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1)}
	all = append(all, zeroed(atCount)...)
	all = append(all, asm.Mov.Reg(asm.R1, asm.R6))
	all = append(all, stackPointer(asm.R2, atKey)...)
	all = append(all, asm.Mov.Imm(asm.R3, tunnelKeySize), asm.Mov.Imm(asm.R4, family))
	all = append(all, asm.FnSkbGetTunnelKey.Call(), asm.JSLT.Imm(asm.R0, 0, "out"))
	all = append(all, asm.Mov.Reg(asm.R1, asm.R6))
	all = append(all, stackPointer(asm.R2, atOption)...)
	all = append(all, asm.Mov.Imm(asm.R3, optionSize), asm.FnSkbGetTunnelOpt.Call(), asm.JSLT.Imm(asm.R0, 0, "out"))
	all = append(all,
		asm.LoadMem(asm.R1, asm.RFP, atKey, asm.Word), // tunnel_id
		asm.StoreMem(asm.RFP, field(0), asm.R1, asm.Word),
		asm.LoadMem(asm.R1, asm.RFP, atOption, asm.Word), // version
		asm.StoreMem(asm.RFP, field(1), asm.R1, asm.Word),
		asm.JNE.Imm(asm.R1, 1, "version2"),
		asm.LoadMem(asm.R1, asm.RFP, atOption+4, asm.Word), // index, in network order
		asm.HostTo(asm.BE, asm.R1, asm.Word),
		asm.And.Imm(asm.R1, 0xfffff),
		asm.StoreMem(asm.RFP, field(2), asm.R1, asm.Word),
		asm.Ja.Label("count"),
		// hwid_upper:2 ft:5 p:1, then o:1 gra:2 dir:1 hwid:4, from the lowest bit.
		asm.LoadMem(asm.R1, asm.RFP, atOption+11, asm.Byte).WithSymbol("version2"),
		asm.Mov.Reg(asm.R2, asm.R1),
		asm.RSh.Imm(asm.R2, 3),
		asm.And.Imm(asm.R2, 1),
		asm.StoreMem(asm.RFP, field(3), asm.R2, asm.Word),
		asm.RSh.Imm(asm.R1, 4),
		asm.LoadMem(asm.R2, asm.RFP, atOption+10, asm.Byte),
		asm.And.Imm(asm.R2, 3),
		asm.LSh.Imm(asm.R2, 4),
		asm.Or.Reg(asm.R1, asm.R2),
		asm.StoreMem(asm.RFP, field(4), asm.R1, asm.Word),
		// A count begins at 0, whoever comes first: two processors may.
		asm.LoadMapPtr(asm.R1, counts.FD()).WithSymbol("count"),
	)
	all = append(all, stackPointer(asm.R2, atSession)...)
	all = append(all, stackPointer(asm.R3, atCount)...)
	all = append(all, asm.Mov.Imm(asm.R4, 1), asm.FnMapUpdateElem.Call(), asm.LoadMapPtr(asm.R1, counts.FD())) // BPF_NOEXIST
	all = append(all, stackPointer(asm.R2, atSession)...)
	all = append(all, asm.FnMapLookupElem.Call(), asm.JEq.Imm(asm.R0, 0, "out"),
		asm.Mov.Imm(asm.R1, 1), asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"), asm.Return())
	return loadBPF(t, all)
}

// sendingProgram gives each packet the metadata of a session towards an address.
func sendingProgram(t *testing.T, to netip.Addr, s bpfSession) *ebpf.Program {
	t.Helper()
	all := asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1)}
	all = append(all, zeroed(atOption)...)
	all = append(all, asm.StoreImm(asm.RFP, atKey, int64(s.ID), asm.Word), asm.StoreImm(asm.RFP, atKey+21, 64, asm.Byte)) // tunnel_ttl
	flags := int32(2)                                                                                                     // BPF_F_ZERO_CSUM_TX
	if to.Is4() {
		all = append(all, asm.StoreImm(asm.RFP, atKey+4, int64(int32(be.BigEndian.Uint32(to.AsSlice()))), asm.Word))
	} else {
		flags |= 1 // BPF_F_TUNINFO_IPV6
		for i := range 4 {
			word := int32(be.LittleEndian.Uint32(to.AsSlice()[4*i:])) // in network order
			all = append(all, asm.StoreImm(asm.RFP, atKey+4+int16(4*i), int64(word), asm.Word))
		}
	}
	all = append(all, asm.StoreImm(asm.RFP, atOption, int64(s.Version), asm.Word))
	if s.Version == 1 {
		var index [4]byte
		be.BigEndian.PutUint32(index[:], s.Index)
		all = append(all, asm.StoreImm(asm.RFP, atOption+4, int64(int32(be.LittleEndian.Uint32(index[:]))), asm.Word))
	} else {
		all = append(all,
			asm.StoreImm(asm.RFP, atOption+10, int64(s.HardwareID>>4), asm.Byte),
			asm.StoreImm(asm.RFP, atOption+11, int64(s.HardwareID&15<<4|s.Direction<<3), asm.Byte))
	}
	all = append(all, asm.Mov.Reg(asm.R1, asm.R6))
	all = append(all, stackPointer(asm.R2, atKey)...)
	all = append(all, asm.Mov.Imm(asm.R3, tunnelKeySize), asm.Mov.Imm(asm.R4, flags),
		asm.FnSkbSetTunnelKey.Call(), asm.JSLT.Imm(asm.R0, 0, "drop"), asm.Mov.Reg(asm.R1, asm.R6))
	all = append(all, stackPointer(asm.R2, atOption)...)
	all = append(all, asm.Mov.Imm(asm.R3, optionSize), asm.FnSkbSetTunnelOpt.Call(), asm.JSLT.Imm(asm.R0, 0, "drop"),
		asm.Mov.Imm(asm.R0, 0), asm.Return(),
		asm.Mov.Imm(asm.R0, 2).WithSymbol("drop"), asm.Return()) // TC_ACT_SHOT
	return loadBPF(t, all)
}

func loadBPF(t *testing.T, all asm.Instructions) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "Apache-2.0", Instructions: all})
	if err != nil {
		t.Fatalf("load the program: %+v", err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// TestBPFReceives: a program reads session id, version, index, direction and hardware id of our copies, and counts as many
// as tcpdump saw at the source.
func TestBPFReceives(t *testing.T) {
	t.Parallel()
	onKernel(t)
	s := newScene(t)
	counts, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 20, ValueSize: 8, MaxEntries: 64})
	s.must(err)
	defer counts.Close()
	for dev, kind := range map[string]string{"ers0": "erspan", "ers6": "ip6erspan"} {
		_, _, err := s.collector.Exec(s.ctx, "ip", "link", "add", dev, "type", kind, "external")
		s.must(err)
		_, _, err = s.collector.Exec(s.ctx, "ip", "link", "set", dev, "up")
		s.must(err)
		s.must(s.collector.AttachBPF(dev, false, countingProgram(t, counts, dev == "ers6").FD()))
	}
	// No ARP, which the guests would send when they like.
	for _, n := range []struct {
		node, other *lab.Node
		addr        string
	}{{s.a, s.b, addrB}, {s.b, s.a, addrA}} {
		_, _, err := n.node.Exec(s.ctx, "ip", "neigh", "replace", n.addr, "lladdr", s.mac(n.other, "eth0").String(), "dev", "eth0", "nud", "permanent")
		s.must(err)
	}
	for name, flags := range map[string][]string{
		"one": {"--collector", collectorAddr, "--session-id", "10", "--index", "123456"},
		"two": {"--collector", collectorAddr, "--session-id", "20", "--erspan-version", "2", "--hwid", "17"},
		"six": {"--collector", collector6, "--session-id", "1023", "--erspan-version", "2", "--hwid", "63"},
	} {
		s.ok(append([]string{"session", "add", name, "--bridge", "br0", "--source", "vnet0"}, flags...)...)
	}
	source := s.capture(s.a, "eth0", "")
	const pings = 7
	s.ping(s.a, addrB, pings)
	s.waitCount(source, "icmp", 2*pings)
	s.stop(source)
	if n := len(rawFramesOf(s, source)); n != 2*pings {
		t.Fatalf("tcpdump saw %d frames at the source, want %d", n, 2*pings)
	}
	want := map[bpfSession]uint64{
		{10, 1, 123456, 0, 0}: 2 * pings,
		{20, 2, 0, 0, 17}:     pings, {20, 2, 0, 1, 17}: pings,
		{1023, 2, 0, 0, 63}: pings, {1023, 2, 0, 1, 63}: pings,
	}
	s.must(lab.Until(s.ctx, "the programs have counted every copy", func(context.Context) error {
		got := map[bpfSession]uint64{}
		var key bpfSession
		var n uint64
		all := counts.Iterate()
		for all.Next(&key, &n) {
			got[key] = n
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return errors.Join(fmt.Errorf("(-want +got):\n%s", diff), all.Err())
		}
		return nil
	}))
}

// TestBPFSends: what a program sends with a session's metadata, a destination session of ours delivers.
func TestBPFSends(t *testing.T) {
	t.Parallel()
	onKernel(t)
	far := newFarEnd(t)
	sender := far.scene.guest("bpf")
	far.must(far.host2.Attach(far.ctx, sender, "br-ul", "bpf0", lab.GuestIf{Addrs: []string{"192.0.2.50/24", "2001:db8::50/64"}, MTU: 1600}))
	for name, tt := range map[string]struct {
		kind, from, to string
		session        bpfSession
	}{
		"version 1, IPv4": {"erspan", "192.0.2.50", farAddr, bpfSession{ID: 5, Version: 1, Index: 4242}},
		"version 2, IPv4": {"erspan", "192.0.2.50", farAddr, bpfSession{ID: 1000, Version: 2, HardwareID: 37, Direction: 1}},
		"version 2, IPv6": {"ip6erspan", "2001:db8::50", farAddr6, bpfSession{ID: 6, Version: 2, HardwareID: 4}},
	} {
		t.Run(name, func(t *testing.T) {
			f := far.in(t)
			for _, args := range [][]string{
				{"ip", "link", "add", "ers0", "type", tt.kind, "external"},
				{"ip", "link", "set", "ers0", "up"},
			} {
				_, _, err := sender.Exec(f.ctx, args...)
				f.must(err)
			}
			f.must(sender.AttachBPF("ers0", true, sendingProgram(t, netip.MustParseAddr(tt.to), tt.session).FD()))
			flags := []string{"--from", tt.from, "--session-id", strconv.Itoa(int(tt.session.ID)), "--erspan-version", strconv.Itoa(int(tt.session.Version))}
			if tt.session.Version == 1 {
				flags = append(flags, "--index", strconv.Itoa(int(tt.session.Index)))
			} else {
				flags = append(flags, "--hwid", strconv.Itoa(int(tt.session.HardwareID)), "--direction", []string{"ingress", "egress"}[tt.session.Direction])
			}
			f.receive("all", flags...)
			c := f.capture(f.analyzer, "eth0", "")
			frames := [][]byte{rawFrame(rawB, rawA, 1, 60), rawFrame(rawB, rawA, 2, 900), rawFrame(rawB, rawA, 3, 64, 10)}
			f.must(lab.SendRaw(f.ctx, sender, "ers0", frames, 100))
			f.must(c.WaitCount(f.ctx, "", len(frames)))
			f.stop(c)
			sameFrames(t, "delivered", f.rawFrames(c), frames)
			f.far("session", "remove", "all")
			_, _, err := sender.Exec(f.ctx, "ip", "link", "del", "ers0")
			f.must(err)
		})
	}
}
