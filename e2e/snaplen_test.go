//go:build linux

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// fullSize is the payload of a UDP datagram over IPv4 that fills an MTU.
func fullSize(mtu int) int { return mtu - 28 }

// Full-size frames of guests, cut by auto to what the underlay takes, by 64, and not at all where off is accepted: the
// copies arrive with the right lengths (the inner IP header still says the original's), and the originals are intact.
func TestSnaplenOfFullSizeFrames(t *testing.T) {
	t.Parallel()
	const overhead = 36 // IPv4, GRE with sequence number, ERSPAN Type II
	for _, test := range []struct{ underlay, guest int }{
		{1500, 1500}, {1500, 9000}, {9000, 1500}, {9000, 9000},
	} {
		t.Run(fmt.Sprintf("underlay %d guests %d", test.underlay, test.guest), func(t *testing.T) {
			t.Parallel()
			const count, port = 20, 5000
			s := newScene(t, func(o *options) { o.guestMTU, o.underlayMTU = test.guest, test.underlay })
			frame := test.guest + 14
			want := map[string]int{"1": min(frame, test.underlay-overhead), "2": 64}
			s.add("auto", "--source", "vnet0", "--session-id", "1")
			s.add("short", "--source", "vnet0", "--session-id", "2", "--snaplen", "64")
			if v := s.show("auto"); v.Effective.Snaplen != test.underlay-overhead || !strings.Contains(v.Effective.SnaplenReason, strconv.Itoa(test.underlay)) {
				t.Errorf("auto: shown as %d (%s), want %d and the underlay's MTU %d as the reason",
					v.Effective.Snaplen, v.Effective.SnaplenReason, test.underlay-overhead, test.underlay)
			}
			// Two VLAN tags on the largest frame have to fit as well.
			if off := []string{"session", "add", "whole", "--bridge", "br0", "--source", "vnet0", "--collector", collectorAddr, "--session-id", "3", "--snaplen", "off"}; frame+8+overhead <= test.underlay {
				s.ok(off...)
				want["3"] = frame
			} else if said := s.refused(off...); !strings.Contains(said, "snaplen") || !strings.Contains(said, strconv.Itoa(test.underlay)) {
				t.Errorf("--snaplen off: refused without naming snaplen and the MTU %d: %s", test.underlay, said)
			}
			c := s.capture(s.collector, "eth0", "proto 47")
			// Not all at once: the socket that Open vSwitch takes frames from holds 17 of 9000 bytes.
			s.burst(s.a, s.b, lab.Burst{Count: count, PPS: 200, Port: port, Size: fullSize(test.guest)})
			s.fence()
			s.stop(c)
			for id, length := range want {
				filter := fmt.Sprintf("erspan.spanid == %s && udp.dstport == %d", id, port)
				copies := s.inner(c, filter)
				if len(copies) != count {
					t.Errorf("session id %s: %d copies of %d datagrams", id, len(copies), count)
				}
				for _, f := range copies {
					// The original's lengths, of IP and of UDP.
					ip, udp := int(f[16])<<8|int(f[17]), int(f[38])<<8|int(f[39])
					if len(f) != length || ip != test.guest || udp != test.guest-20 {
						t.Errorf("session id %s: a copy has %d bytes, IP length %d, UDP length %d; want %d, %d, %d",
							id, len(f), ip, udp, length, test.guest, test.guest-20)
						break
					}
				}
				for _, row := range s.fields(c, filter, "ip.len", "frame.len") {
					outer, _ := strconv.Atoi(outermost(row[0]))
					frame, _ := strconv.Atoi(row[1])
					if outer != length+overhead || frame != outer+14 {
						t.Errorf("session id %s: outer IP length %d in a frame of %d, want %d and %d", id, outer, frame, length+overhead, length+overhead+14)
						break
					}
				}
			}
		})
	}
}

// An underlay that is also a production uplink. A copy that is too large for it would take with it what production sends
// in the same batch: hundreds of small frames beside mirrored ones of full size, and none may be lost. Nor when the
// underlay's MTU is lowered while the session is in force, once the next reconcile is done; a daemon does it by itself. Nor,
// at no time, when the source's MTU rises above what it was when the copies' length was decided.
func TestLargeCopiesBesideProduction(t *testing.T) {
	t.Parallel()
	t.Run("run --once", func(t *testing.T) { largeCopies(t, false, false) })
	t.Run("daemon", func(t *testing.T) { largeCopies(t, true, false) })
	t.Run("the source's MTU rises", func(t *testing.T) { largeCopies(t, false, true) })
}

func largeCopies(t *testing.T, daemon, rises bool) {
	t.Parallel()
	underlay, largest := 1500, 1514
	if rises {
		underlay, largest = 1600, 1614
	}
	s := newScene(t, func(o *options) { o.underlayMTU = underlay })
	if daemon {
		s.daemon().ready()
	}
	inside, neighbor := s.guest("c"), s.guest("d")
	s.must(s.host.Attach(s.ctx, inside, "br-ul", "vnet2", lab.GuestIf{}))
	s.must(s.host.Attach(s.ctx, neighbor, "br-ul", "vnet3", lab.GuestIf{MTU: underlay}))
	if rises {
		s.vsctl("set", "interface", "br-ul", fmt.Sprintf("mtu_request=%d", underlay)) // it follows the smallest else
	}
	s.ok("session", "add", "web", "--bridge", "br-ul", "--source", "vnet2", "--collector", collectorAddr)

	beside := func(what string, snaplen int) {
		t.Helper()
		if v := s.show("web"); !rises && (v.Status.State != "Active" || v.Effective.Snaplen != snaplen) {
			t.Errorf("%s: the session is %s (%s) with snaplen %d, want Active with %d", what, v.Status.State, v.Status.Message, v.Effective.Snaplen, snaplen)
		}
		const count = 800
		// Full-size frames to a neighbour on the bridge, and small ones out through the uplink, in turn: Open vSwitch takes
		// both and the copies in one batch. The uplink's other end is in the collector's node.
		var frames, large, small [][]byte
		for i := range count {
			for size, to := range map[int]*[][]byte{largest: &large, 100: &small} {
				dst := rawB
				if size == 100 {
					dst = rawOut
				}
				f := rawFrame(dst, rawA, 0, size)
				f[size-2], f[size-1] = byte(i>>8), byte(i) // all differ
				*to = append(*to, f)
			}
			frames = append(frames, large[i], small[i])
		}
		// Where the addresses are is learned first.
		s.must(lab.SendRaw(s.ctx, neighbor, "eth0", [][]byte{rawFrame(rawA, rawB, 0, 100)}, 0))
		s.must(lab.SendRaw(s.ctx, s.collector, "eth0", [][]byte{rawFrame(rawA, rawOut, 0, 100)}, 0))
		s.fence()
		const fromInside = "ether proto 0x88b5 and ether src 02:00:00:00:0a:01"
		atNeighbor := s.capture(neighbor, "eth0", fromInside)
		atUplink := s.capture(s.collector, "eth0", fromInside)
		copies := s.capture(s.collector, "eth0", "proto 47")
		// Never more than the socket holds from which Open vSwitch takes them.
		for some := range slices.Chunk(frames, 64) {
			s.must(lab.SendRaw(s.ctx, inside, "eth0", some, 4000))
			s.ping(s.collector, hostAddr, 1)
		}
		s.fence()
		for _, c := range []*lab.Capture{atNeighbor, atUplink, copies} {
			s.stop(c)
		}
		for _, way := range []struct {
			name      string
			got, want [][]byte
		}{
			{"large frames to the neighbour", s.rawFrames(atNeighbor), large},
			{"small frames through the uplink", s.rawFrames(atUplink), small},
		} {
			if missing := missingFrames(way.want, way.got); missing != 0 || len(way.got) != count {
				t.Errorf("%s: production's %s: %d of %d are missing (%d frames arrived)", what, way.name, missing, count, len(way.got))
			}
		}
		whole, cut := 0, 0
		for _, f := range s.rawCopies(copies, "") {
			switch len(f) {
			case 100:
				whole++
			case snaplen:
				cut++
			}
		}
		if whole != count || cut != count {
			t.Errorf("%s: %d copies of small frames and %d of large ones cut to %d, want %d of each", what, whole, cut, snaplen, count)
		}
	}
	if rises {
		_, _, err := s.host.Exec(s.ctx, "ip", "link", "set", "vnet2", "mtu", "1600")
		s.must(err)
		_, _, err = inside.Exec(s.ctx, "ip", "link", "set", "eth0", "mtu", "1600")
		s.must(err)
		s.must(lab.Until(s.ctx, "Open vSwitch takes larger frames of vnet2", func(ctx context.Context) error {
			out, err := s.host.Vsctl(ctx, "get", "interface", "vnet2", "mtu")
			if err == nil && strings.TrimSpace(out) != "1600" {
				err = fmt.Errorf("its MTU is %s", out)
			}
			return err
		}))
		beside("the source's MTU raised to 1600", 1500-36) // nobody reconciles
		return
	}
	beside("MTU 1500", 1500-36)

	_, _, err := s.host.Exec(s.ctx, "ip", "link", "set", "uplink", "mtu", "1400")
	s.must(err)
	s.must(lab.Until(s.ctx, "Open vSwitch lowers the MTU of br-ul", func(ctx context.Context) error {
		out, _, err := s.host.Exec(ctx, "ip", "link", "show", "br-ul")
		if err == nil && !strings.Contains(out, "mtu 1400") {
			err = fmt.Errorf("it is: %s", out)
		}
		return err
	}))
	if daemon {
		s.must(lab.Until(s.ctx, "the daemon cuts copies to the new MTU", func(ctx context.Context) error {
			out, err := s.host.Ofctl(ctx, "-O", "OpenFlow15", "dump-flows", tapBridge, "table=30")
			if err == nil && !strings.Contains(out, "max_len=1364") {
				err = fmt.Errorf("it does not yet: %s", out)
			}
			return err
		}))
	} else {
		s.ok("run", "--once")
	}
	beside("MTU lowered to 1400", 1400-36)
}

// rawOut is the hardware address of a machine behind the uplink.
var rawOut = []byte{2, 0, 0, 0, 0xc, 1}

// missingFrames is how many of the wanted frames are not there.
func missingFrames(want, got [][]byte) int {
	there := map[string]bool{}
	for _, f := range got {
		there[string(f)] = true
	}
	missing := 0
	for _, f := range want {
		if !there[string(f)] {
			missing++
		}
	}
	return missing
}
