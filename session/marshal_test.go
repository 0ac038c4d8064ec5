package session

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestMarshalReads shows the order and the style that people get to read.
func TestMarshalReads(t *testing.T) {
	got, err := Marshal([]Session{valid()["full source"], valid()["destination"], valid()["all ports"]})
	if err != nil {
		t.Fatal(err)
	}
	want := `apiVersion: ovs-erspan/v1
sessions:
- name: web.full-1
  type: source
  description: 'all of it: ä, “quoted”'
  disabled: true
  bridge: br-int
  sources: {ports: [vnet0, iface-id=5e2f/1, bond0]}
  vlans: [1, 4094]
  direction: both
  collectors: ['2001:db8::9', '2001:db8::10']
  erspan: {version: 2, sessionID: 1023, hardwareID: 63}
  match: [{permit: "tcp6,tp_dst=443"}, {permitBothWays: "udp6,udp_dst=53"}, {deny: "ipv6,ipv6_src=2001:db8::66"}]
  snaplen: 64
  maxRate: 50Mbps
  maxPackets: 1000
  maxBytes: 9007199254740991
  origin: 2001:db8::1
  dscp: 0
  ttl: 255
  expiresAt: 2030-01-31T18:00:00Z
  allowMissing: true
- name: from-rack7
  type: destination
  outputPort: analyzer0
  from: 192.0.2.1
  erspan: {version: 1, sessionID: 10, index: 0}
- name: a
  bridge: br0
  sources: {all: true}
  collectors: [192.0.2.9, '2001:db8::9']
  erspan: {version: 1, sessionID: 0, index: 1048575}
  snaplen: off
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("Marshal (-want +got):\n%s", diff)
	}
	none, err := Marshal(nil)
	if err != nil || string(none) != "apiVersion: ovs-erspan/v1\nsessions: []\n" {
		t.Errorf("Marshal(nil) = %q, %v", none, err)
	}
	var fault *FieldError
	if _, err = Marshal([]Session{{Name: "web", Description: "\xff"}}); !errors.As(err, &fault) || fault.Session != "web" {
		t.Errorf("Marshal of what is not UTF-8: %v", err)
	}
}

// TestMarshalParse holds for all that Parse can give, valid or not.
func TestMarshalParse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfNDistinct(anySession(), 0, 4, func(s Session) string { return s.Name }).Draw(t, "sessions")
		data, err := Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(data)
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		if diff := cmp.Diff(want, got, same); diff != "" {
			t.Fatalf("(-written +read):\n%s\n%s", diff, data)
		}
	})
}

func TestJSON(t *testing.T) {
	for name, want := range valid() {
		data, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeJSON(data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got, same); diff != "" {
			t.Errorf("%s (-written +read):\n%s", name, diff)
		}
	}
	for _, text := range []string{
		``, `null x`, `[]`, `{"name":"a"} {}`, `{"name":"a"},`, `{"nmae":"a"}`, `{"erspan":{"version":"2"}}`, `{"erspan":{"sessionID":1.5}}`,
		`{"collectors":["x"]}`, `{"snaplen":13}`, `{"snaplen":{}}`, `{"snaplen":true}`, `{"snaplen":"010"}`, `{"snaplen":14.5}`, `{"expiresAt":"soon"}`,
	} {
		if s, err := DecodeJSON([]byte(text)); err == nil {
			t.Errorf("DecodeJSON(%s) = %+v, want an error", text, s)
		}
	}
}

// TestExportAsJSON: what is exported as JSON is JSON, and is read as the same sessions; words that YAML 1.1 takes for something
// else stay words.
func TestExportAsJSON(t *testing.T) {
	check := func(t interface {
		Errorf(string, ...any)
		Fatalf(string, ...any)
	}, s Session) {
		data, err := MarshalFileJSON(File{Sessions: []Session{s}})
		if err != nil || !json.Valid(data) {
			t.Fatalf("%v\n%s", err, data)
		}
		read, err := ParseFile(data)
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		if diff := cmp.Diff([]Session{s}, read.Sessions, same); diff != "" {
			t.Errorf("-exported +read:\n%s\n%s", diff, data)
		}
	}
	for _, s := range valid() {
		s.Name, s.Bridge, s.Description = "yes", "0123", "<a> & 'b' \"c\" # no comment: 1e3"
		check(t, s)
	}
	rapid.Check(t, func(t *rapid.T) { check(t, anySession().Draw(t, "session")) })
}

func FuzzDecodeJSON(f *testing.F) {
	for _, s := range valid() {
		data, _ := json.Marshal(s)
		f.Add(data)
	}
	f.Add([]byte(`{"collectors":[null,""],"snaplen":null,"origin":"","sources":{"ports":[]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := DecodeJSON(data)
		if err != nil {
			return
		}
		_ = CheckSet([]Session{s, s})
		if s.Validate() != nil {
			return
		}
		// What is valid survives the store, and an export.
		stored, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeJSON(stored)
		if diff := cmp.Diff(s, again, same); err != nil || diff != "" {
			t.Fatalf("%s: %v (-first +again):\n%s", stored, err, diff)
		}
		text, err := Marshal([]Session{s})
		if err != nil {
			t.Fatal(err)
		}
		exported, err := Parse(text)
		if diff := cmp.Diff([]Session{s}, exported, same); err != nil || diff != "" {
			t.Fatalf("%s: %v (-first +exported):\n%s", text, err, diff)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range valid() {
		data, _ := Marshal([]Session{s})
		f.Add(data)
	}
	for _, text := range []string{
		"", "---\n", "a: &x [*x]\n", "<<: {a: b}\n", "{apiVersion: ovs-erspan/v1, sessions: [{name: a}]}", "? [a]\n: b\n", "!!binary aGk=\n", "\xff\xfea\x00",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		sessions, err := Parse(data)
		if err != nil {
			for _, e := range Flatten(err) {
				if e.Error() == "" || slices.Contains([]byte(e.Error()), '\n') {
					t.Fatalf("error is not one line: %q", e.Error())
				}
			}
			return
		}
		text, err := Marshal(sessions)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(text)
		if diff := cmp.Diff(sessions, again, same); err != nil || (diff != "" && len(sessions) > 0) {
			t.Fatalf("%s: %v (-first +again):\n%s", text, err, diff)
		}
		for _, s := range sessions {
			_ = s.Validate()
		}
	})
}
