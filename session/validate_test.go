package session

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestValidateTakes(t *testing.T) {
	for name, s := range valid() {
		if err := s.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := s.Defaulted().Validate(); err != nil {
			t.Errorf("%s, defaulted: %v", name, err)
		}
	}
	for name, change := range map[string]func(*Session){
		"index 0":                func(s *Session) { s.ERSPAN.Index = new(0) },
		"session id 0":           func(s *Session) { s.ERSPAN.SessionID = new(0) },
		"hardware id 63":         func(s *Session) { s.ERSPAN = ERSPAN{Version: 2, HardwareID: new(63)} },
		"snaplen 14":             func(s *Session) { s.Snaplen = SnaplenBytes(14) },
		"snaplen 65535":          func(s *Session) { s.Snaplen = SnaplenBytes(65535) },
		"name of 63":             func(s *Session) { s.Name = strings.Repeat("a", 63) },
		"name of one digit":      func(s *Session) { s.Name = "7" },
		"description of 256":     func(s *Session) { s.Description = strings.Repeat("ä", 256) },
		"port of 255":            func(s *Session) { s.Sources.Ports = []string{strings.Repeat("p", 255)} },
		"IPv4 link-local":        func(s *Session) { s.Collectors = []netip.Addr{netip.MustParseAddr("169.254.1.1")} },
		"dscp 63, ttl 1":         func(s *Session) { s.DSCP, s.TTL = new(63), new(1) },
		"expired":                func(s *Session) { s.ExpiresAt = new(time.Unix(1, 0)) }, // not for Validate to tell
		"all ports, both ways":   func(s *Session) { s.Sources, s.Direction = Sources{All: true}, Both },
		"iface-id with a slash":  func(s *Session) { s.Sources.Ports = []string{"iface-id=a/b"} },
		"same text, other kinds": func(s *Session) { s.Match = []Rule{{Permit: "tcp"}, {Deny: "tcp"}} },
	} {
		s := valid()["source"]
		change(&s)
		if err := s.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestValidateRefuses has one fault a line, in a session that is valid otherwise, and the whole error.
func TestValidateRefuses(t *testing.T) {
	for _, c := range []struct {
		base   string
		change func(*Session)
		want   string // behind `session "web": ` or `session "from-rack7": `
	}{
		// type and name
		{"source", func(s *Session) { s.Type = "tap" }, `type tap: want source or destination`},
		{"source", func(s *Session) { s.Name = "" }, `name: is required; want 1 to 63 characters out of a-z, 0-9, '-' and '.', the first one a letter or digit`},
		{"source", func(s *Session) { s.Name = "Web" }, `name Web: want 1 to 63 characters out of a-z, 0-9, '-' and '.', the first one a letter or digit; write web`},
		{"source", func(s *Session) { s.Name = "-web" }, `name -web: want 1 to 63`},
		{"source", func(s *Session) { s.Name = "web\n" }, `name "web\n": want 1 to 63`},
		{"source", func(s *Session) { s.Name = strings.Repeat("a", 64) }, `name ` + strings.Repeat("a", 64) + `: want 1 to 63`},
		{"source", func(s *Session) { s.Name = "a_b" }, `name a_b: want 1 to 63`},

		// description and expiry
		{"source", func(s *Session) { s.Description = "a\nb" }, `description "a\nb": has a control character or line break in it; want one line of text, at most 256 characters`},
		{"source", func(s *Session) { s.Description = "a\u202eb" }, `description "a\u202eb": has a control character`},
		{"source", func(s *Session) { s.Description = "\xff" }, `description "\xff": is not UTF-8`},
		{"source", func(s *Session) { s.Description = strings.Repeat("ä", 257) }, `description ` + strings.Repeat("ä", 40) + `…: has 257 characters; want one line of text`},
		{"source", func(s *Session) { s.ExpiresAt = &time.Time{} }, `expiresAt 0001-01-01T00:00:00Z: want a time in RFC 3339`},
		{"source", func(s *Session) { s.ExpiresAt = new(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)) }, `expiresAt 10000-01-01T00:00:00Z: want a time`},

		// the header
		{"source", func(s *Session) { s.ERSPAN.Version = 3 }, `erspan.version 3: want 1 (Type II) or 2 (Type III); ERSPAN Type III is version 2`},
		{"source", func(s *Session) { s.ERSPAN.Version = -1 }, `erspan.version -1: want 1 (Type II) or 2 (Type III)`},
		{"source", func(s *Session) { s.ERSPAN.SessionID = new(1024) }, `erspan.sessionID 1024: want 0..1023`},
		{"source", func(s *Session) { s.ERSPAN.SessionID = new(-1) }, `erspan.sessionID -1: want 0..1023`},
		{"source", func(s *Session) { s.ERSPAN.Index = new(1 << 20) }, `erspan.index 1048576: want 0..1048575`},
		{"source", func(s *Session) { s.ERSPAN = ERSPAN{Version: 2, HardwareID: new(64)} }, `erspan.hardwareID 64: want 0..63`},
		{"source", func(s *Session) { s.ERSPAN = ERSPAN{Version: 2, Index: new(5)} }, `erspan.index 5: version 2 (Type III) has no index; leave it out, or set erspan.version to 1`},
		{"source", func(s *Session) { s.ERSPAN = ERSPAN{Version: 1, HardwareID: new(5)} }, `erspan.hardwareID 5: version 1 (Type II) has no hardware id; leave it out, or set erspan.version to 2`},
		{"source", func(s *Session) { s.ERSPAN.HardwareID = new(5) }, `erspan.hardwareID 5: version 1 (Type II) has no hardware id`},

		// bridge and sources
		{"source", func(s *Session) { s.Bridge = "" }, `bridge: is required; name the bridge that the sources are on`},
		{"source", func(s *Session) { s.Bridge = "br 0" }, `bridge "br 0": has white space in it`},
		{"source", func(s *Session) { s.Bridge = "br/0" }, `bridge br/0: has a '/' in it`},
		{"source", func(s *Session) { s.Sources = Sources{} }, `sources: is required; list ports in sources.ports, or set sources.all`},
		{"source", func(s *Session) { s.Sources.Ports = []string{} }, `sources.ports: is an empty list, which mirrors nothing; list a port, or set sources.all`},
		{"source", func(s *Session) { s.Sources.All = true }, `sources: has both ports and all; leave one of them out`},
		{"source", func(s *Session) { s.Sources.Ports = []string{""} }, `sources.ports[0]: is empty; want a port's name or iface-id=ID`},
		{"source", func(s *Session) { s.Sources.Ports = []string{"a", "b", "a"} }, `sources.ports[2] a: is already at [0]; list it once`},
		{"source", func(s *Session) { s.Sources.Ports = []string{"iface-id="} }, `sources.ports[0] iface-id=: has no id; want iface-id=ID`},
		{"source", func(s *Session) { s.Sources.Ports = []string{"iface-id=a\x00"} }, `sources.ports[0] "iface-id=a\x00": the id has a control character in it`},
		{"source", func(s *Session) { s.Sources.Ports = []string{"iface-id=a b"} }, `sources.ports[0] "iface-id=a b": the id has white space in it`},
		{"source", func(s *Session) { s.Sources.Ports = []string{"vnet0\n"} }, `sources.ports[0] "vnet0\n": has white space in it, which no port's name has; give the name as in ovs-vsctl show`},
		{"source", func(s *Session) { s.Sources.Ports = []string{"vnet\x7f"} }, `sources.ports[0] "vnet\x7f": has a control character in it`},
		{"source", func(s *Session) { s.Sources.Ports = []string{"vnet\xff"} }, `sources.ports[0] "vnet\xff": is not UTF-8`},
		{"source", func(s *Session) { s.Sources.Ports = []string{strings.Repeat("p", 256)} }, `sources.ports[0] ` + strings.Repeat("p", 80) + `…: is longer than any port's name`},
		{"source", func(s *Session) { s.VLANs = []int{} }, `vlans: is an empty list; leave it out for all VLANs`},
		{"source", func(s *Session) { s.VLANs = []int{0} }, `vlans[0] 0: want 1..4094; for untagged frames, use a match (vlan_tci=0)`},
		{"source", func(s *Session) { s.VLANs = []int{1, 4095} }, `vlans[1] 4095: want 1..4094`},
		{"source", func(s *Session) { s.VLANs = []int{7, 7} }, `vlans[1] 7: is already at [0]; list it once`},
		{"source", func(s *Session) { s.Direction = "rx" }, `direction rx: want ingress, egress or both`},

		// collectors and the outer header
		{"source", func(s *Session) { s.Collectors = nil }, `collectors: is required; give the address of the host that receives the copies`},
		{"source", func(s *Session) { s.Collectors = []netip.Addr{} }, `collectors: is an empty list; give the address`},
		{"source", collectors("224.0.0.1"), `collectors[0] 224.0.0.1: is a multicast address: Open vSwitch sends ERSPAN to one host; list each host as a collector of its own`},
		{"source", collectors("ff02::1"), `collectors[0] ff02::1: is a multicast address`},
		{"source", collectors("255.255.255.255"), `collectors[0] 255.255.255.255: is the broadcast address`},
		{"source", collectors("127.0.0.1"), `collectors[0] 127.0.0.1: is a loopback address, which no other host can reach; give the address of the host`},
		{"source", collectors("::1"), `collectors[0] ::1: is a loopback address`},
		{"source", collectors("0.0.0.0"), `collectors[0] 0.0.0.0: is the unspecified address`},
		{"source", collectors("::"), `collectors[0] ::: is the unspecified address`},
		{"source", collectors("fe80::1"), `collectors[0] fe80::1: is a link-local address, and a tunnel cannot say on which link`},
		{"source", collectors("fe80::1%eth0"), `collectors[0] fe80::1%eth0: has a zone, which a tunnel cannot have; use an address that is routed`},
		{"source", collectors("::ffff:192.0.2.9"), `collectors[0] ::ffff:192.0.2.9: is an IPv4 address written as IPv6; write 192.0.2.9`},
		{"source", collectors("192.0.2.9", "192.0.2.9"), `collectors[1] 192.0.2.9: is already at [0]; list it once`},
		{"source", func(s *Session) { s.Collectors = []netip.Addr{{}} }, `collectors[0]: is not an address`},
		{"source", func(s *Session) { s.Origin = netip.MustParseAddr("2001:db8::1") }, `origin 2001:db8::1: is IPv6, but collector 192.0.2.9 is IPv4; leave it out to choose by route, or make one session for each family`},
		{"source", func(s *Session) { s.Origin = netip.MustParseAddr("127.0.0.1") }, `origin 127.0.0.1: is a loopback address, which no other host can reach; give an address of this host, or leave it out to choose by route`},
		{"source", func(s *Session) { s.Origin = netip.MustParseAddr("fe80::1") }, `origin fe80::1: is a link-local address`},
		{"source", func(s *Session) { s.Origin = netip.MustParseAddr("::ffff:192.0.2.1") }, `origin ::ffff:192.0.2.1: is an IPv4 address written as IPv6; write 192.0.2.1`},
		{"source", func(s *Session) { s.DSCP = new(64) }, `dscp 64: want 0..63`},
		{"source", func(s *Session) { s.DSCP = new(-1) }, `dscp -1: want 0..63`},
		{"source", func(s *Session) { s.TTL = new(0) }, `ttl 0: want 1..255`},
		{"source", func(s *Session) { s.TTL = new(256) }, `ttl 256: want 1..255`},
		{"source", func(s *Session) { s.Snaplen = SnaplenBytes(13) }, `snaplen 13: want auto, off, or a number of bytes in 14..65535`},
		{"source", func(s *Session) { s.Snaplen = SnaplenBytes(65536) }, `snaplen 65536: want auto`},
		{"source", func(s *Session) { s.Snaplen = SnaplenBytes(-64) }, `snaplen -64: want auto`},

		// rules
		{"source", func(s *Session) { s.Match = []Rule{} }, `match: is an empty list; leave it out for all traffic`},
		{"source", func(s *Session) { s.Match = []Rule{{}} }, `match[0]: needs exactly one of permit, permitBothWays and deny; write one rule for each`},
		{"source", func(s *Session) { s.Match = []Rule{{Permit: "tcp", Deny: "udp"}} }, `match[0]: needs exactly one of`},
		{"source", func(s *Session) { s.Match = []Rule{{Permit: "tcp"}, {Deny: "in_port=1"}} }, `match[1].deny in_port=1: in_port: the ports of the bridge that filters the copies are not yours`},
		{"source", func(s *Session) { s.Match = []Rule{{PermitBothWays: "icmp,tp_src=8"}} }, `match[0].permitBothWays icmp,tp_src=8: tp_src=8: ICMP has no ports: write icmp_type`},
		{"source", func(s *Session) { s.Match = []Rule{{Permit: " "}} }, `match[0].permit " ": the match is empty: leave the rule out to take all traffic; see ovs-fields(7)`},
		{"source", func(s *Session) { s.Match = []Rule{{Permit: "tcp"}, {Permit: "tcp"}} }, `match[1] "permit: tcp": is already at [0]; list it once`},

		// lists that are too long
		{"source", func(s *Session) { s.Sources.Ports = make([]string, MaxSources+1) }, `sources.ports: has 4097 elements; want at most 4096; set sources.all, or make several sessions`},
		{"source", func(s *Session) { s.VLANs = make([]int, MaxVLAN+1) }, `vlans: has 4095 elements; want at most 4094; leave it out for all VLANs`},
		{"source", func(s *Session) { s.Collectors = make([]netip.Addr, MaxCollectors+1) }, `collectors: has 257 elements; want at most 256`},
		{"source", func(s *Session) { s.Match = make([]Rule, MaxRules+1) }, `match: has 1025 elements; want at most 1024; match prefixes and masks`},

		// fields of the other type
		{"source", func(s *Session) { s.OutputPort = "tap0" }, `outputPort tap0: a source session has no such field; leave it out, or set type to destination`},
		{"source", func(s *Session) { s.From = "any" }, `from any: a source session has no such field`},
		{"destination", func(s *Session) { s.Sources.Ports = []string{"a", "b"} }, `sources a,b: a destination session has no such field; leave it out, or set type to source`},
		{"destination", func(s *Session) { s.Sources.All = true }, `sources: a destination session has no such field`},
		{"destination", func(s *Session) { s.VLANs = []int{1} }, `vlans: a destination session has no such field`},
		{"destination", collectors("192.0.2.9"), `collectors: a destination session has no such field`},
		{"destination", func(s *Session) { s.Match = []Rule{{Deny: "tcp"}} }, `match: a destination session has no such field`},
		{"destination", func(s *Session) { s.Snaplen = SnaplenOff }, `snaplen off: a destination session has no such field`},
		{"destination", func(s *Session) { s.Origin = netip.MustParseAddr("192.0.2.1") }, `origin 192.0.2.1: a destination session has no such field`},
		{"destination", func(s *Session) { s.DSCP = new(1) }, `dscp 1: a destination session has no such field`},
		{"destination", func(s *Session) { s.TTL = new(1) }, `ttl 1: a destination session has no such field`},

		// destination sessions
		{"destination", func(s *Session) { s.OutputPort = "" }, `outputPort: is required in a destination session; name the port that the frames leave through`},
		{"destination", func(s *Session) { s.OutputPort = "a-name-of-16-cha" }, `outputPort a-name-of-16-cha: is longer than 15 characters, the most that a network device's name has; name a device, or give the bridge that the port is on`},
		{"destination", func(s *Session) { s.OutputPort = "iface-id=x" }, `outputPort iface-id=x: names no port; give the port's name: only sources go by iface-id`},
		{"destination", func(s *Session) { s.OutputPort = "a b" }, `outputPort "a b": has white space in it`},
		{"destination", func(s *Session) { s.Bridge = "br\t0" }, `bridge "br\t0": has white space in it`},
		{"destination", func(s *Session) { s.From = "" }, `from: is required in a destination session; want the address of the sender, or any`},
		{"destination", func(s *Session) { s.From = "rack7" }, `from rack7: want the address of the sender, or any`},
		{"destination", func(s *Session) { s.From = "224.0.0.1" }, `from 224.0.0.1: is not the address of one host; want the address of the sender, or any`},
		{"destination", func(s *Session) { s.From = "2001:DB8::1" }, `from 2001:DB8::1: write 2001:db8::1`},
		{"destination", func(s *Session) { s.From = "::ffff:192.0.2.1" }, `from ::ffff:192.0.2.1: is an IPv4 address written as IPv6; want the address of the sender, or any; write 192.0.2.1`},
		{"destination", func(s *Session) { s.ERSPAN.SessionID = nil }, `erspan.sessionID: is required in a destination session; want 0..1023; give the id that the sender uses`},
		{"destination", func(s *Session) { s.ERSPAN.Version = 0 }, `erspan.index 0: only version 1 has it; set erspan.version to 1`},
		{"destination for all", func(s *Session) { s.ERSPAN.HardwareID = new(0) }, `erspan.hardwareID 0: only version 2 has it; set erspan.version to 2`},
		{"destination for all", func(s *Session) { s.Direction = Egress }, `direction egress: only version 2 (Type III) tells the direction; leave it out, or set erspan.version to 2`},
		{"destination", func(s *Session) { s.Direction = Ingress }, `direction ingress: only version 2`},
		{"full destination", func(s *Session) { s.Direction = Both }, `direction both: want ingress or egress; leave it out to take either`},
		{"full destination", func(s *Session) { s.Direction = "up" }, `direction up: want ingress or egress`},
	} {
		s := valid()[c.base]
		c.change(&s)
		for _, s := range []Session{s, s.Defaulted()} {
			errs := Flatten(s.Validate())
			if len(errs) != 1 {
				t.Errorf("want one fault, %q, got %d: %v", c.want, len(errs), errs)
				continue
			}
			want := c.want
			if s.Name != "" {
				want = `session ` + quoted(s.Name) + `: ` + want
			}
			if got := errs[0].Error(); !strings.HasPrefix(got, want) {
				t.Errorf("\n got %s\nwant %s", got, want)
			}
		}
	}
}

func quoted(s string) string { return `"` + strings.ReplaceAll(s, "\n", `\n`) + `"` }

func collectors(addresses ...string) func(*Session) {
	return func(s *Session) {
		s.Collectors = nil
		for _, a := range addresses {
			s.Collectors = append(s.Collectors, netip.MustParseAddr(a))
		}
	}
}

// TestValidateTellsAll: a user sees all faults at once, in the order of the fields.
func TestValidateTellsAll(t *testing.T) {
	s := Session{Name: "Web", Description: "\t", VLANs: []int{0, 4095}, DSCP: new(99), From: "x", ERSPAN: ERSPAN{Version: 2, Index: new(-1)}}
	var fields []string
	for _, err := range Flatten(s.Validate()) {
		fields = append(fields, err.(*FieldError).Field)
	}
	want := []string{"name", "description", "erspan.index", "erspan.index", "bridge", "sources", "vlans[0]", "vlans[1]", "collectors", "dscp", "from"}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}
