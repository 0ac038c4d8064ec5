package erspan

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// benchPacket is an outer IP packet of version v over the given family with a 64-byte inner frame.
func benchPacket(tb testing.TB, v Version, ipv6 bool) []byte {
	p := Packet{
		Outer:  Outer{Src: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("192.0.2.9"), TTL: 64},
		GRE:    GREFor(v, 7),
		Header: Header{Version: v, SessionID: 100},
		Inner:  bytes.Repeat([]byte{0x55}, 64),
	}
	if ipv6 {
		p.Outer.Src, p.Outer.Dst = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::9")
	}
	b, err := p.AppendIP(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// BenchmarkDecode reads outer IP to inner frame, every field. The gopacket case is its fastest way, a
// DecodingLayerParser, over the same bytes; it knows Type II only and reads fewer fields.
func BenchmarkDecode(b *testing.B) {
	for _, c := range []struct {
		name    string
		version Version
		ipv6    bool
	}{
		{"TypeI-IPv4", TypeI, false}, {"TypeII-IPv4", TypeII, false}, {"TypeIII-IPv4", TypeIII, false},
		{"TypeII-IPv6", TypeII, true}, {"TypeIII-IPv6", TypeIII, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			data := benchPacket(b, c.version, c.ipv6)
			var p Packet
			b.ReportAllocs()
			for b.Loop() {
				if err := p.DecodeIP(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("TypeII-IPv4-gopacket", func(b *testing.B) {
		data := benchPacket(b, TypeII, false)
		var (
			ip      layers.IPv4
			gre     layers.GRE
			header  layers.ERSPANII
			decoded []gopacket.LayerType
		)
		parser := gopacket.NewDecodingLayerParser(layers.LayerTypeIPv4, &ip, &gre, &header)
		parser.IgnoreUnsupported = true
		b.ReportAllocs()
		for b.Loop() {
			if err := parser.DecodeLayers(data, &decoded); err != nil {
				b.Fatal(err)
			}
		}
		if len(decoded) != 3 {
			b.Fatalf("gopacket decoded %v", decoded)
		}
	})
}
