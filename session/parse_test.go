package session

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The design's example, with every spelling that is taken.
const example = `# sessions of host7
apiVersion: ovs-erspan/v1
sessions:
- name: web
  bridge: br0
  sources: {ports: [vnet0]}       # or {all: true}
  vlans: [10, 0x14]
  direction: rx
  collectors: [192.0.2.9, "2001:DB8::9"]
  erspan: {version: III, sessionID: "0x64", hardwareID: 7}
  match: [{permit: "tcp,tp_dst=443"}, {deny: "ip,nw_src=192.0.2.66"}]
  snaplen: off
  ttl: 10
  expiresAt: 2030-01-31T18:00:00.5+02:00
- name: 007
  type: destination
  disabled: true
  outputPort: no
  from: 2001:DB8::1
  erspan: {version: 1, sessionID: 10, index: 0x10}
`

func TestParse(t *testing.T) {
	got, err := Parse([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	want := []Session{
		{
			Name: "web", Bridge: "br0", Sources: Sources{Ports: []string{"vnet0"}}, VLANs: []int{10, 20}, Direction: Ingress,
			Collectors: []netip.Addr{netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8::9")},
			ERSPAN:     ERSPAN{Version: 2, SessionID: new(100), HardwareID: new(7)},
			Match:      []Rule{{Permit: "tcp,tp_dst=443"}, {Deny: "ip,nw_src=192.0.2.66"}},
			Snaplen:    SnaplenOff, TTL: new(10), ExpiresAt: new(time.Date(2030, 1, 31, 16, 0, 0, 5e8, time.UTC)),
		},
		{
			Name: "007", Type: Destination, Disabled: true, OutputPort: "no", From: "2001:db8::1",
			ERSPAN: ERSPAN{Version: 1, SessionID: new(10), Index: new(16)},
		},
	}
	if diff := cmp.Diff(want, got, same); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, text := range map[string]string{
		"no session":      "apiVersion: ovs-erspan/v1\nsessions: []\n",
		"JSON":            `{"apiVersion": "ovs-erspan/v1", "sessions": [{"name": "a", "erspan": {"sessionID": 1}}]}`,
		"document marks":  "---\napiVersion: ovs-erspan/v1\nsessions: []\n...\n",
		"windows":         "apiVersion: ovs-erspan/v1\r\nsessions:\r\n- name: a\r\n",
		"byte order mark": "\ufeffapiVersion: ovs-erspan/v1\nsessions: []\n",
	} {
		if _, err := Parse([]byte(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		name, text string // text of one session behind its name, or a whole document
		want       []string
	}{
		// The document.
		{"empty", "", []string{`YAML: is empty; want apiVersion: ovs-erspan/v1 and a list of sessions`}},
		{"only a comment", "# nothing\n", []string{`YAML: is empty; want apiVersion: ovs-erspan/v1 and a list of sessions`}},
		{"a list", "apiVersion\n", []string{`line 1: document apiVersion: is a single value; want a mapping of fields`}},
		{"no version", "sessions: []\n", []string{`line 1: apiVersion: is required; want ovs-erspan/v1`}},
		{"other version", "apiVersion: ovs-erspan/v2\nsessions: []\n", []string{`line 1: apiVersion ovs-erspan/v2: want ovs-erspan/v1`}},
		{"no sessions", "apiVersion: ovs-erspan/v1\n", []string{`line 1: sessions: is required; want a list of sessions`}},
		{"sessions without a value", "apiVersion: ovs-erspan/v1\nsessions:\n", []string{`line 2: sessions: has no value; want a list, such as [a, b]; give one, or leave the field out`}},
		{"sessions a mapping", "apiVersion: ovs-erspan/v1\nsessions: {web: {}}\n", []string{`line 2: sessions: is a mapping; want a list, such as [a, b]`}},
		{"host's rate", "apiVersion: ovs-erspan/v1\nhost: {maxRate: fast}\nsessions: []\n", []string{`line 2: host.maxRate fast: want packets per second, 1pps to 4294967295pps, or bits per second, 1kbps to 4294967295kbps, with k, M or G for thousands, such as 1000pps or 50Mbps`}},
		{"host's field", "apiVersion: ovs-erspan/v1\nhost: {rate: 1pps}\nsessions: []\n", []string{`line 2: host.rate: there is no such field; want one of maxRate`}},
		{"host's kind", "apiVersion: ovs-erspan/v1\nhost: [1pps]\nsessions: []\n", []string{`line 2: host: is a list; want a mapping of fields`}},
		{"unknown", "apiVersion: ovs-erspan/v1\nkind: x\nsessions: []\n", []string{`line 2: kind: there is no such field; want one of apiVersion, host, sessions`}},
		{"two documents", "apiVersion: ovs-erspan/v1\nsessions: []\n---\napiVersion: ovs-erspan/v1\nsessions: []\n", []string{`line 3: YAML: has a second document; put all sessions into the list of the first`}},
		{"broken second document", "apiVersion: ovs-erspan/v1\nsessions: []\n---\na: 'b\n", []string{`line 4: YAML: found unexpected end of stream`}},
		{"not YAML", "apiVersion: ovs-erspan/v1\nsessions:\n\t- name: a\n", []string{`line 3: YAML: found character that cannot start any token`}},
		{"not text", "a: \x00\n", []string{`line 1: YAML "\x00": control characters are not allowed; take it out`}},
		{"too large", strings.Repeat("#", MaxFileLen+1), []string{`YAML: has 8388609 bytes; want at most 8388608; split the file`}},
		{"no name", "apiVersion: ovs-erspan/v1\nsessions:\n- name: a\n- bridge: br0\n  ttl: x\n", []string{
			`line 4: sessions[1].name: is required; want 1 to 63 characters out of a-z, 0-9, '-' and '.', the first one a letter or digit`,
			`line 5: sessions[1].ttl x: "x" is not a number: write it in decimal, or in hexadecimal with 0x; want a whole number, in decimal or with 0x`,
		}},
		{"a name twice", "apiVersion: ovs-erspan/v1\nsessions:\n- name: a\n- name: a\n", []string{
			`line 4: session "a": name a: is already the name of the session on line 3; give each session a name of its own`,
		}},
		{"not a session", "apiVersion: ovs-erspan/v1\nsessions:\n- web\n", []string{`line 3: sessions[0] web: is a single value; want a mapping of fields`}},
		{"a key that is no name", "apiVersion: ovs-erspan/v1\nsessions: []\n? [a]\n: b\n", []string{`line 3: key: is a list; want a field's name`}},

		// Fields of a session: unknown, twice, empty.
		{"unknown", "bridg: br0", []string{`bridg: there is no such field; did you mean bridge?`}},
		{"other case", "allow_missing: true", []string{`allow_missing: there is no such field; did you mean allowMissing?`}},
		{"unknown and near to none", "qqq: 1", []string{`qqq: there is no such field; want one of name, type, description, disabled, bridge, sources, vlans, direction, collectors, erspan, match, snaplen, maxRate, maxPackets, maxBytes, origin, dscp, ttl, outputPort, from, expiresAt, allowMissing, allowHWOffload`}},
		{"expiresIn", "expiresIn: 3h", []string{`expiresIn: there is no such field; write expiresAt with a time in RFC 3339: a file must mean the same whenever it is applied`}},
		{"header's field in the session", "sessionID: 3", []string{`sessionID: there is no such field; it belongs under erspan: erspan: {sessionID: …}`}},
		{"session's field in the header", "erspan: {direction: rx}", []string{`erspan.direction: there is no such field; it belongs in the session, beside erspan`}},
		{"twice", "ttl: 1, ttl: 1", []string{`ttl: is already on line 3; leave one of them out`}},
		{"twice in a rule", "match: [{deny: tcp, deny: udp}]", []string{`match[0].deny: is already on line 3; leave one of them out`}},
		{"empty", "bridge: ", []string{`bridge: has no value; want a single value; give one, or leave the field out`}},
		{"null", "erspan: ~", []string{`erspan: has no value; want a mapping of fields; give one, or leave the field out`}},
		{"null in a list", "sources: {ports: [a, null]}", []string{`sources.ports[1]: has no value; want a single value; give one, or leave the field out`}},

		// Wrong kinds.
		{"list for text", "bridge: [br0]", []string{`bridge: is a list; want a single value`}},
		{"text for list", "collectors: 192.0.2.9", []string{`collectors 192.0.2.9: is a single value; want a list, such as [a, b]`}},
		{"list for mapping", "sources: [vnet0]", []string{`sources: is a list; want a mapping of fields`}},
		{"mapping for number", "ttl: {a: 1}", []string{`ttl: is a mapping; want a whole number, in decimal or with 0x`}},
		{"text for rule", "match: [tcp]", []string{`match[0] tcp: is a single value; want a mapping of fields`}},
		{"anchor", "bridge: &b br0", []string{`bridge: anchors and aliases are not supported; write the value out`}},
		{"tag", "bridge: !!str br0", []string{`bridge !!str: tags are not supported; write the value alone`}},
		{"merge", "<<: {bridge: br0}", []string{`<<: there is no such field; want one of name`}},

		// Values.
		{"octal", "ttl: 010", []string{`ttl 010: "010" has a leading zero: write 10 for decimal or 0x10 for hexadecimal; octal is not read; want a whole number`}},
		{"float", "dscp: 1.5", []string{`dscp 1.5: "1.5" is not a number`}},
		{"exponent", "vlans: [1e3]", []string{`vlans[0] 1e3: "1e3" is not a number`}},
		{"huge", "erspan: {index: 99999999999999999999}", []string{`erspan.index 99999999999999999999: "99999999999999999999" is out of every range`}},
		{"yes", "disabled: yes", []string{`disabled yes: want true or false`}},
		{"one", "allowMissing: 1", []string{`allowMissing 1: want true or false`}},
		{"version 3", "erspan: {version: 3}", []string{`erspan.version 3: want 1 (Type II) or 2 (Type III); ERSPAN Type III is version 2`}},
		{"version 0", "erspan: {version: 0}", []string{`erspan.version 0: want 1 (Type II) or 2 (Type III); Open vSwitch does not speak Type I`}},
		{"Type I", "erspan: {version: I}", []string{`erspan.version I: want 1 (Type II) or 2 (Type III); Open vSwitch does not speak Type I`}},
		{"direction", "direction: up", []string{`direction up: want ingress (rx), egress (tx) or both`}},
		{"snaplen", "snaplen: 13", []string{`snaplen 13: want auto, off, or a number of bytes in 14..65535`}},
		{"host name", "collectors: [host.example]", []string{`collectors[0] host.example: want an IPv4 or IPv6 address`}},
		{"prefix", "origin: 192.0.2.1/24", []string{`origin 192.0.2.1/24: want an IPv4 or IPv6 address; write 192.0.2.1`}},
		{"sender", "from: rack7", []string{`from rack7: want the address of the sender, or any`}},
		{"time", "expiresAt: tomorrow", []string{`expiresAt tomorrow: want a time in RFC 3339, such as 2030-01-31T18:00:00Z`}},
		{"date", "expiresAt: 2030-01-31", []string{`expiresAt 2030-01-31: want a time in RFC 3339`}},
		{"several", "ttl: x, bridge: [], from: rack7", []string{`ttl x: `, `bridge: is a list`, `from rack7: `}},
	} {
		text, prefix := c.text, ""
		if !strings.Contains(text, "\n") && text != "" && !strings.HasPrefix(text, "#") {
			text, prefix = "apiVersion: ovs-erspan/v1\nsessions:\n- {name: web, "+c.text+"}\n", `line 3: session "web": `
		}
		sessions, err := Parse([]byte(text))
		got := messages(err)
		if sessions != nil || len(got) != len(c.want) {
			t.Errorf("%s: %d sessions and faults %q, want none and %q", c.name, len(sessions), got, c.want)
			continue
		}
		for i, want := range c.want {
			if !strings.HasPrefix(got[i], prefix+want) {
				t.Errorf("%s:\n got %s\nwant %s", c.name, got[i], prefix+want)
			}
		}
	}
}

// TestParseLines: faults come in the order of the file, each with its own line.
func TestParseLines(t *testing.T) {
	_, err := Parse([]byte("apiVersion: ovs-erspan/v1\nsessions:\n- type: source\n  ttl: x\n  name: web\n  erspan:\n    sessionID: 10\n    # comment\n    index: many\n- name: b\n  nmae: c\n"))
	var lines []int
	for _, e := range Flatten(err) {
		lines = append(lines, e.(*FieldError).Line)
	}
	if diff := cmp.Diff([]int{4, 9, 11}, lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s\n%v", diff, err)
	}
}

// TestParseManyFaults: a file of something else does not answer with a message for each of its lines.
func TestParseManyFaults(t *testing.T) {
	_, err := Parse([]byte("apiVersion: ovs-erspan/v1\nsessions: []\n" + strings.Repeat("a: b\n", 5000)))
	got := messages(err)
	if want := "line 103: YAML: has more faults, from this line on; put those before right first"; len(got) != 101 || got[100] != want {
		t.Errorf("%d faults, the last is %q, want 101 and %q", len(got), got[len(got)-1], want)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"vnet0", "vnet1", "vnet10", "br0", "eth0", "bond0", "analyzer0", "tap-5e2f8c"}
	for word, want := range map[string][]string{
		"vnet2":  {"vnet0", "vnet1", "vnet10"},
		"vent0":  {"vnet0", "vnet1", "vnet10"},
		"vnet":   {"vnet0", "vnet1", "vnet10"},
		"VNET0":  {"vnet0", "vnet1", "vnet10"},
		"etho":   {"eth0"},
		"analy":  {"analyzer0"},
		"tap5e2": {"tap-5e2f8c"},
		"xyz":    nil,
		"":       nil,
	} {
		if diff := cmp.Diff(want, Nearest(word, names)); diff != "" {
			t.Errorf("Nearest(%q) (-want +got):\n%s", word, diff)
		}
	}
	if got := Nearest(strings.Repeat("a", 1<<20), []string{strings.Repeat("b", 1<<20)}); got != nil {
		t.Errorf("long names are near: %v", got)
	}
}
