package probe

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var sample = Probe{Run: 0x123456, Port: 50000, Tap: 7, Sequence: 200, Session: "web-1.a", Sent: time.Unix(1700000000, 123456789)}

// frame is sample's, byte for byte.
var frame = slices.Concat(
	[]byte{0x02, 0xe2, 0x5a, 0x12, 0x34, 0x56, 0x06, 0xe2, 0xc3, 0x50, 7, 200, 0x88, 0xb5},
	[]byte("oe-probe"), []byte{1, 7, 200, 7, 0, 0x12, 0x34, 0x56, 0xc3, 0x50, 0, 0},
	[]byte{0x17, 0x97, 0x9c, 0xfe, 0x3d, 0x85, 0xcd, 0x15}, []byte("web-1.a"), make([]byte, 11),
)

func TestFrame(t *testing.T) {
	if got := sample.Frame(); !bytes.Equal(got, frame) {
		t.Errorf("\n% x, want\n% x", got, frame)
	}
	if got, ok := Recognize(frame); !ok || !cmp.Equal(got, sample) {
		t.Errorf("%+v, %v", got, ok)
	}
}

// However a probe is cut, down to its Ethernet header, it says which one it is and where its answer goes.
func TestCut(t *testing.T) {
	for n := range frame {
		got, ok := Recognize(frame[:n])
		switch {
		case n < 12:
			if ok {
				t.Errorf("%d bytes are a probe: %+v", n, got)
			}
		case !ok || got.Run != sample.Run || got.Port != sample.Port || got.Tap != sample.Tap || got.Sequence != sample.Sequence:
			t.Errorf("%d bytes: %+v, %v", n, got, ok)
		}
	}
}

// Around other headers and other addresses the payload is found.
func TestWithin(t *testing.T) {
	macs := []byte{0x50, 0x54, 0, 0, 0, 5, 0x50, 0x54, 0, 0, 0, 6}
	ip := func(protocol byte) []byte {
		return slices.Concat([]byte{0x08, 0, 0x45}, make([]byte, 8), []byte{protocol}, make([]byte, 10))
	}
	tcp := slices.Concat(make([]byte, 12), []byte{0x60}, make([]byte, 11)) // with four bytes of options
	for name, headers := range map[string][]byte{
		"EtherType":      {0x88, 0xb5},
		"VLAN":           {0x81, 0, 0, 10, 0x88, 0xb5},
		"two VLANs":      {0x88, 0xa8, 0, 10, 0x81, 0, 0, 11, 0x88, 0xcc},
		"UDP":            slices.Concat(ip(17), make([]byte, 8)),
		"UDP in a VLAN":  slices.Concat([]byte{0x81, 0, 0, 10}, ip(17), make([]byte, 8)),
		"TCP":            slices.Concat(ip(6), tcp),
		"ICMP":           slices.Concat(ip(1), make([]byte, 8)),
		"SCTP":           slices.Concat(ip(132), make([]byte, 28)),
		"IP protocol 99": ip(99),
		"UDP over IPv6":  slices.Concat([]byte{0x86, 0xdd, 0x60}, make([]byte, 5), []byte{17}, make([]byte, 33), make([]byte, 8)),
	} {
		got, ok := Recognize(slices.Concat(macs, headers, sample.Payload()))
		if !ok || !cmp.Equal(got, sample) {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
	}
}

func TestNoProbe(t *testing.T) {
	other := slices.Clone(frame)
	other[14] = 'x'
	for name, b := range map[string][]byte{
		"nothing":         nil,
		"another payload": other,
		"an answer":       slices.Concat(frame[:14], Answer{Run: 1}.Append(nil)),
		"another version": slices.Concat(frame[:22], []byte{2}, frame[23:]),
		"an ARP request":  slices.Concat([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6}, make([]byte, 46)),
	} {
		if p, ok := Recognize(b); ok {
			t.Errorf("%s is a probe: %+v", name, p)
		}
	}
}

// A name from the wire goes to terminals.
func TestNameIsHarmless(t *testing.T) {
	for _, name := range []string{"\x1b[2J", "WEB", "a b", "ü"} {
		p := sample
		p.Session = name
		if got, ok := Recognize(p.Frame()); !ok || got.Session != "" {
			t.Errorf("%q: %+v, %v", name, got, ok)
		}
	}
}

func TestAnswer(t *testing.T) {
	for _, want := range []Answer{
		{Run: MaxRun, Tap: 1, Sequence: 2, Received: time.Unix(5, 6), Answered: time.Unix(7, 8), Collector: netip.MustParseAddr("192.0.2.9"), Version: 1, SessionID: 1023, Index: 0xfffff, Length: 1514},
		{Received: time.Unix(0, 0), Answered: time.Unix(0, 0), Collector: netip.MustParseAddr("2001:db8::9"), Version: 2, HardwareID: 63, Direction: 1},
	} {
		b := want.Append(nil)
		if got, ok := ReadAnswer(b); !ok || !cmp.Equal(got, want, cmpopts.EquateComparable(netip.Addr{})) {
			t.Errorf("%+v, %v", got, ok)
		}
		if len(b) != 58 {
			t.Errorf("%d bytes", len(b))
		}
		for n := range b {
			if _, ok := ReadAnswer(b[:n]); ok {
				t.Errorf("%d bytes of %d are an answer", n, len(b))
			}
		}
	}
}

func FuzzRecognize(f *testing.F) {
	f.Add(frame)
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, ok := Recognize(b); ok && (p.Run > MaxRun || len(p.Session) > maxName) {
			t.Errorf("%+v", p)
		}
		ReadAnswer(b)
	})
}
