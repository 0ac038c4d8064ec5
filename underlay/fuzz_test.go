package underlay

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// FuzzNeighbors: whatever neighbours the kernel tells of, and whatever hosts on the network have it tell, the one that is
// looked for is found where it is, and nothing else is.
func FuzzNeighbors(f *testing.F) {
	here := netip.MustParseAddr("2001:db8::9").AsSlice()
	f.Add(uint8(unix.AF_INET), uint16(unix.NUD_REACHABLE), []byte{192, 0, 2, 9}, []byte{2, 0, 0, 0, 0, 9})
	f.Add(uint8(unix.AF_INET6), uint16(unix.NUD_PERMANENT), here, []byte{})
	f.Add(uint8(unix.AF_INET), uint16(unix.NUD_FAILED), []byte{192}, []byte{1})
	f.Add(uint8(0), uint16(0xffff), []byte{}, here)
	f.Fuzz(func(t *testing.T, family uint8, state uint16, address, linkAddress []byte) {
		// struct ndmsg of rtnetlink(7), then attributes, which the kernel begins at multiples of four bytes.
		message := []byte{family, 0, 0, 0, 3, 0, 0, 0}
		message = binary.NativeEndian.AppendUint16(message, state)
		message = append(message, 0, 1)
		message = append(message, nl.NewRtAttr(unix.NDA_DST, address).Serialize()...)
		message = append(message, nl.NewRtAttr(unix.NDA_LLADDR, linkAddress).Serialize()...)
		n, err := netlink.NeighDeserialize(message)
		if err != nil {
			return
		}
		known := byAddress([]netlink.Neigh{*n, {IP: []byte{1, 2, 3}}})
		a, ok := netip.AddrFromSlice(address)
		if found, is := known[a.Unmap()]; is != ok || is && found.State != int(state) {
			t.Errorf("%v of %v in %v", a, n, known)
		}
		if len(known) > 1 {
			t.Errorf("one address, %d neighbours: %v", len(known), known)
		}
	})
}
