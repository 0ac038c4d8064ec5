package session

import (
	"net/netip"
	"time"

	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// same lets cmp compare whole sessions: these types have fields that it may not look into.
var same = cmpopts.EquateComparable(netip.Addr{}, Snaplen{}, Rate{})

// valid are sessions that Validate takes, one for each form.
func valid() map[string]Session {
	return map[string]Session{
		"source": {
			Name: "web", Bridge: "br0", Sources: Sources{Ports: []string{"vnet0"}}, Collectors: []netip.Addr{netip.MustParseAddr("192.0.2.9")},
		},
		"full source": {
			Name: "web.full-1", Type: Source, Description: "all of it: ä, “quoted”", Bridge: "br-int",
			Sources: Sources{Ports: []string{"vnet0", "iface-id=5e2f/1", "bond0"}}, VLANs: []int{1, 4094}, Direction: Both,
			Collectors: []netip.Addr{netip.MustParseAddr("2001:db8::9"), netip.MustParseAddr("2001:db8::10")},
			Match:      []Rule{{Permit: "tcp6,tp_dst=443"}, {PermitBothWays: "udp6,udp_dst=53"}, {Deny: "ipv6,ipv6_src=2001:db8::66"}},
			Snaplen:    SnaplenBytes(64), MaxRate: BitsPerSecond(50_000_000), MaxPackets: 1000, MaxBytes: MaxAmount, Origin: netip.MustParseAddr("2001:db8::1"), DSCP: new(0), TTL: new(255),
			ERSPAN:    ERSPAN{Version: 2, SessionID: new(1023), HardwareID: new(63)},
			ExpiresAt: new(time.Date(2030, 1, 31, 18, 0, 0, 0, time.UTC)), AllowMissing: true, Disabled: true,
		},
		"all ports": {
			Name: "a", Bridge: "br0", Sources: Sources{All: true}, Collectors: []netip.Addr{netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8::9")},
			ERSPAN: ERSPAN{Version: 1, SessionID: new(0), Index: new(1048575)}, Snaplen: SnaplenOff,
		},
		"destination": {
			Name: "from-rack7", Type: Destination, OutputPort: "analyzer0", From: "192.0.2.1", ERSPAN: ERSPAN{Version: 1, SessionID: new(10), Index: new(0)},
		},
		"full destination": {
			Name: "d", Type: Destination, OutputPort: "a-port-that-only-ovs-knows", Bridge: "br0", From: "fe80::1", Direction: Egress,
			ERSPAN: ERSPAN{Version: 2, SessionID: new(0), HardwareID: new(0)}, AllowMissing: true,
		},
		"destination for all": {
			Name: "any", Type: Destination, OutputPort: "analyzer0", From: AnySender, ERSPAN: ERSPAN{SessionID: new(1)},
		},
	}
}

// anySession makes sessions that need not be valid, but that have a form in YAML: texts hold anything that is UTF-8.
func anySession() *rapid.Generator[Session] {
	text := rapid.OneOf(
		rapid.String(),
		rapid.SampledFrom([]string{"", "", "on", "null", "~", "010", "0x10", "1e3", "- a", "a: b", "#", "<<", "*x", "&x", "!t", "yes", "2030-01-31", "'", `"`, "\n", " a ", "{", "[]", "%"}),
	)
	texts := optionalList(text)
	address := rapid.Custom(func(t *rapid.T) netip.Addr {
		if rapid.Bool().Draw(t, "IPv4") {
			return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "bytes")))
		}
		a := netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes")))
		return a.WithZone(rapid.SampledFrom([]string{"", "", "eth0"}).Draw(t, "zone"))
	})
	return rapid.Custom(func(t *rapid.T) Session {
		s := Session{
			Name:        rapid.StringMatching(`[a-z0-9][a-z0-9.-]{0,8}`).Draw(t, "name"),
			Type:        rapid.SampledFrom([]Type{"", Source, Destination}).Draw(t, "type"),
			Description: text.Draw(t, "description"),
			Disabled:    rapid.Bool().Draw(t, "disabled"),
			Bridge:      text.Draw(t, "bridge"),
			Sources:     Sources{Ports: texts.Draw(t, "ports"), All: rapid.Bool().Draw(t, "all")},
			VLANs:       optionalList(rapid.Int()).Draw(t, "vlans"),
			Direction:   rapid.SampledFrom([]Direction{"", Ingress, Egress, Both}).Draw(t, "direction"),
			Collectors:  optionalList(address).Draw(t, "collectors"),
			Match: optionalList(rapid.Custom(func(t *rapid.T) Rule {
				return Rule{Permit: text.Draw(t, "permit"), PermitBothWays: text.Draw(t, "both ways"), Deny: text.Draw(t, "deny")}
			})).Draw(t, "match"),
			Snaplen:    rapid.OneOf(rapid.SampledFrom([]Snaplen{SnaplenAuto, SnaplenOff}), rapid.Map(rapid.IntRange(MinSnaplen, MaxSnaplen), SnaplenBytes)).Draw(t, "snaplen"),
			MaxRate:    rapid.SampledFrom([]Rate{{}, PacketsPerSecond(1), PacketsPerSecond(12_000), BitsPerSecond(1000), BitsPerSecond(MaxBitRate)}).Draw(t, "rate"),
			MaxPackets: Amount(rapid.Uint64Range(0, uint64(MaxAmount)).Draw(t, "packets")), MaxBytes: Amount(rapid.SampledFrom([]uint64{0, 1, 1000, 1 << 40}).Draw(t, "bytes")),
			DSCP: optionalInt().Draw(t, "dscp"),
			TTL:  optionalInt().Draw(t, "ttl"),
			ERSPAN: ERSPAN{
				Version:   rapid.IntRange(0, 2).Draw(t, "version"),
				SessionID: optionalInt().Draw(t, "session id"), Index: optionalInt().Draw(t, "index"), HardwareID: optionalInt().Draw(t, "hardware id"),
			},
			OutputPort:   text.Draw(t, "output port"),
			From:         rapid.SampledFrom([]string{"", AnySender, "192.0.2.1", "2001:db8::1"}).Draw(t, "from"),
			AllowMissing: rapid.Bool().Draw(t, "allow missing"), AllowHWOffload: rapid.Bool().Draw(t, "allow offload"),
		}
		if rapid.Bool().Draw(t, "with origin") {
			s.Origin = address.Draw(t, "origin")
		}
		if rapid.Bool().Draw(t, "with expiry") {
			at := time.Unix(rapid.Int64Range(-62135596800+86400, 253402300799).Draw(t, "seconds"), rapid.Int64Range(0, 999999999).Draw(t, "nanoseconds")).UTC()
			s.ExpiresAt = &at
		}
		return s
	})
}

// optionalList tells none from an empty one.
func optionalList[T any](item *rapid.Generator[T]) *rapid.Generator[[]T] {
	return rapid.Custom(func(t *rapid.T) []T {
		if rapid.Bool().Draw(t, "none") {
			return nil
		}
		return append([]T{}, rapid.SliceOfN(item, 0, 3).Draw(t, "items")...)
	})
}

func optionalInt() *rapid.Generator[*int] {
	return rapid.Custom(func(t *rapid.T) *int {
		if rapid.Bool().Draw(t, "none") {
			return nil
		}
		n := rapid.Int().Draw(t, "n")
		return &n
	})
}
