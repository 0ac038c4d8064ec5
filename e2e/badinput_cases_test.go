//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// The ways in that a session's fields have.
const (
	byAdd   = 1 << iota // flags of session add
	bySet               // flags of session set
	byYAML              // apply
	byStore             // a key written by hand
	byFlags = byAdd | bySet
	byFile  = byYAML | byStore
	byAll   = byFlags | byFile
)

// input is one field's value, right or wrong, on each way in.
type input struct {
	destination bool   // a destination session's, else a source session's
	field       string // the path in YAML, such as "erspan.sessionID"; "match.deny" is the rule of that kind
	class       string // of fault, such as "above"; "at" is one that must be taken
	value       any    // in JSON; absent leaves the field out
	with        map[string]any
	ways        int
	says        []string // beside the field and the value: what is allowed, or what to do
	shown       string   // of the value, where not all of it is
	// state and reason are the store's answer where the session is well-formed but does not fit the host; else Failed, Invalid.
	state, reason string
}

type absentType struct{}

// absent is the value of a field that is not there.
var absent absentType

func (i input) String() string {
	return fmt.Sprintf("%s, %s, %.40q", i.field, i.class, fmt.Sprint(i.value))
}

// flagNames are the flags of the fields.
var flagNames = map[string]string{
	"type": "type", "description": "description", "bridge": "bridge", "sources.ports": "source", "sources.all": "all-ports", "vlans": "vlan",
	"direction": "direction", "collectors": "collector", "erspan.version": "erspan-version", "erspan.sessionID": "session-id",
	"erspan.index": "index", "erspan.hardwareID": "hwid", "match.permit": "match", "match.permitBothWays": "match-both-ways", "match.deny": "deny",
	"snaplen": "snaplen", "origin": "origin", "dscp": "dscp", "ttl": "ttl", "outputPort": "output-port", "from": "from",
	"expiresAt": "expires-in", "allowMissing": "allow-missing", "allowHWOffload": "allow-hw-offload", "maxRate": "max-rate", "maxPackets": "max-packets", "maxBytes": "max-bytes",
}

// Texts that no field takes as they are.
var (
	huge         = strings.Repeat("9", 100_000) // one argument of a command is 128 KiB at most
	megabytes    = strings.Repeat("9", 1<<20)
	controlTexts = []string{"a\nb", "a\x1b[2Jb", "a\x7fb", "a\u202eb"}
	// what would become something else in a shell, an OVSDB command or a flow
	injections = []string{"$(touch pwned)", "`id`", "a;id", "a|id", "a b", "a\"b", "a'b", "../a", "a/b"}
)

// inputs is the whole table.
func inputs() []input {
	var all []input
	for _, some := range [][]input{
		nameInputs(), enumInputs(), textInputs(), bridgeAndPortInputs(), numberInputs(), addressInputs(), listInputs(), matchInputs(),
		snaplenInputs(), rateInputs(), amountInputs(), expiryInputs(), booleanInputs(), otherTypeInputs(), structureInputs(),
	} {
		all = append(all, some...)
	}
	for i := range all {
		if all[i].ways == 0 {
			all[i].ways = byAll
		}
	}
	return all
}

// each makes an input of each value.
func each[T any](i input, values ...T) []input {
	var all []input
	for _, v := range values {
		i.value = v
		all = append(all, i)
	}
	return all
}

// wrongKinds are the values of a kind that the field does not have, as only YAML and the store can give them.
func wrongKinds(i input, kinds ...any) []input {
	i.class, i.ways, i.shown = "wrong type", byFile, "-"
	return each(i, kinds...)
}

func nameInputs() []input {
	const allowed = "want 1 to 63 characters"
	i := input{field: "name", ways: byAdd | byFile, says: []string{allowed}}
	var all []input
	add := func(class string, values ...string) {
		i.class = class
		all = append(all, each(i, values...)...)
	}
	add("empty", "")
	add("above", strings.Repeat("a", 64))
	add("unknown characters", "Web", "a_b", "-x", ".x", "ä", "a:b", "a=b")
	add("injection", injections...)
	add("control characters", append(slices.Clone(controlTexts), "a\tb", "a\u0085b")...)
	add("megabytes", huge)
	i.ways = byYAML
	add("megabytes", megabytes)
	i.ways = byAdd | byYAML
	i.says = nil
	i.class = "at"
	all = append(all, each(i, "a", "0", strings.Repeat("a", 63), "a.b-c")...)
	all = append(all, input{field: "name", class: "duplicate", value: "src", ways: byAdd, says: []string{"exists", "session set"}, shown: "-"})
	all = append(all, input{field: "name", class: "duplicate", value: "beside", ways: byYAML, says: []string{"already the name of the session"}})
	all = append(all, input{field: "name", class: "missing", value: absent, ways: byYAML, says: []string{"is required", allowed}})
	// In the store a name also stands in the key.
	all = append(all, input{field: "name", class: "missing", value: absent, ways: byStore, says: []string{"name"}})
	all = append(all, input{field: "name", class: "contradiction", value: "other", ways: byStore, says: []string{`the name "other"`}})
	all = append(all, wrongKinds(input{field: "name", says: []string{"single value"}}, []any{"x"}, map[string]any{"a": 1})...)
	return all
}

func enumInputs() []input {
	var all []input
	for field, allowed := range map[string]string{"type": "source or destination", "direction": "ingress", "erspan.version": "2 (Type III)"} {
		i := input{field: field, says: []string{allowed}}
		i.class = "unknown name"
		all = append(all, each(i, "sideways", "-")...)
		i.class = "injection"
		all = append(all, each(i, injections...)...)
		i.class = "control characters"
		all = append(all, each(i, controlTexts...)...)
		i.class = "megabytes"
		all = append(all, each(i, huge)...)
		i.class, i.ways = "empty", byFlags|byYAML // in the store "" is the default
		if field == "erspan.version" {
			i.ways = byAll
		}
		all = append(all, each(i, "")...)
		all = append(all, wrongKinds(i, []any{"both"}, map[string]any{"a": 1})...)
	}
	version := input{field: "erspan.version", says: []string{"want 1 (Type II) or 2 (Type III)"}}
	version.class = "below"
	all = append(all, each(version, json.Number("-1"))...)
	version.class, version.ways = "below", byFlags|byYAML // in the store 0 is the default
	all = append(all, each(version, json.Number("0"))...)
	version.class, version.ways = "above", 0
	version.says = append(version.says, "Type III is version 2")
	all = append(all, each(version, json.Number("3"))...)
	version = input{field: "erspan.version", class: "at"}
	all = append(all, each(version, json.Number("1"), json.Number("2"))...)
	version.ways = byFlags | byYAML
	all = append(all, each(version, any("II"), any("iii"))...)
	direction := input{field: "direction", class: "at", ways: byAll}
	all = append(all, each(direction, "ingress", "egress", "both")...)
	direction.ways = byFlags | byYAML
	all = append(all, each(direction, "rx", "TX")...)
	all = append(all, input{field: "type", class: "contradiction", value: "destination", ways: byAll, says: []string{"destination", "leave it out"}, shown: "-"},
		input{destination: true, field: "type", class: "contradiction", value: "source", ways: byAll, says: []string{"source", "leave it out"}, shown: "-"},
		input{destination: true, field: "direction", class: "contradiction", value: "both", with: map[string]any{"erspan.version": 2}, says: []string{"ingress or egress"}},
		input{destination: true, field: "direction", class: "contradiction", value: "ingress", with: map[string]any{"erspan.version": 1}, says: []string{"only version 2"}},
		input{destination: true, field: "direction", class: "at", value: "egress", with: map[string]any{"erspan.version": 2}},
	)
	return all
}

func textInputs() []input {
	i := input{field: "description", says: []string{"at most 256 characters"}}
	var all []input
	i.class = "control characters"
	all = append(all, each(i, controlTexts...)...)
	i.class = "above"
	all = append(all, each(i, strings.Repeat("ä", 257))...)
	i.class = "megabytes"
	all = append(all, each(i, huge)...)
	i.ways = byFile
	all = append(all, each(i, megabytes)...)
	all = append(all, wrongKinds(input{field: "description", says: []string{"single value"}}, []any{"x"}, map[string]any{"a": 1})...)
	i = input{field: "description", class: "at"}
	all = append(all, each(i, append(slices.Clone(injections), strings.Repeat("ä", 256), "\\\"<>&=,{}")...)...)
	return all
}

func bridgeAndPortInputs() []input {
	var all []input
	// The shape of a name, for all three fields alike.
	for _, f := range []struct {
		field string
		dest  bool
		wrap  func(string) any
	}{
		{"bridge", false, func(s string) any { return s }},
		{"bridge", true, func(s string) any { return s }},
		{"sources.ports", false, func(s string) any { return []any{s} }},
		{"outputPort", true, func(s string) any { return s }},
	} {
		for class, texts := range map[string][]string{
			"control characters": controlTexts,
			"injection":          {"a b", "../a", "a/b"},
			"above":              {strings.Repeat("p", 256)},
			"megabytes":          {huge},
		} {
			for _, text := range texts {
				all = append(all, input{field: f.field, destination: f.dest, class: class, value: f.wrap(text), says: []string{"ovs-vsctl show"}})
			}
		}
		all = append(all, wrongKinds(input{field: f.field, destination: f.dest}, map[string]any{"a": 1}, []any{[]any{}}, []any{map[string]any{}})...)
	}
	all = append(all,
		input{field: "bridge", class: "missing", value: absent, says: []string{"is required", "name the bridge"}},
		input{field: "bridge", class: "empty", value: "", says: []string{"is required", "name the bridge"}},
		input{field: "sources", class: "missing", value: absent, ways: byAdd | byFile, says: []string{"is required", "sources.all"}},
		input{field: "sources.ports", class: "empty", value: []any{}, ways: byFile, says: []string{"empty list", "list a port"}},
		input{field: "sources.ports", class: "empty", value: []any{""}, says: []string{"empty"}},
		input{field: "sources.ports", class: "empty", value: []any{"iface-id="}, says: []string{"iface-id=ID"}},
		input{field: "sources.ports", class: "duplicate", value: []any{"vnet0", "vnet0"}, says: []string{"list it once"}},
		input{field: "sources.ports", class: "contradiction", value: []any{"vnet0"}, with: map[string]any{"sources.all": true}, ways: byAll, says: []string{"both"}, shown: "-"},
		input{field: "sources.ports", class: "contradiction", value: []any{"vnet1"}, says: []string{"dst", "deliver"}},
		input{destination: true, field: "outputPort", class: "missing", value: absent, ways: byAdd | byFile, says: []string{"is required", "name the port"}},
		input{destination: true, field: "outputPort", class: "empty", value: "", says: []string{"is required", "name the port"}},
		input{destination: true, field: "outputPort", class: "contradiction", value: "iface-id=x", says: []string{"give the port's name"}},
		input{destination: true, field: "outputPort", class: "contradiction", value: "vnet0", says: []string{"this port", "deliver to another"}, shown: "vnet0"},
		input{field: "outputPort", class: "contradiction", value: "vnet0", says: []string{"leave it out"}},
		input{field: "from", class: "contradiction", value: "any", says: []string{"leave it out"}},
	)
	// What is not there: refused by commands, Pending from a file.
	unknown := func(i input) { all = append(all, i) }
	unknown(input{field: "bridge", class: "unknown name", value: "br9", ways: byFlags | byStore, says: []string{"no such bridge", "br0"}, state: "Pending", reason: "BridgeMissing"})
	unknown(input{field: "bridge", class: "unknown name", value: tapBridge, says: []string{"of this program's own"}, state: "Failed", reason: "Invalid"})
	unknown(input{field: "bridge", class: "unknown name", value: tapBridge, with: map[string]any{"sources.ports": absent, "sources.all": true}, ways: byAdd | byFile, says: []string{"of this program's own"}, state: "Failed", reason: "Invalid"})
	unknown(input{destination: true, field: "bridge", class: "unknown name", value: tapBridge, says: []string{"of this program's own"}, state: "Failed", reason: "Invalid"})
	for _, port := range []string{"vnet0", "br0", "es-tun", "lo"} {
		unknown(input{destination: true, field: "outputPort", class: "unknown name", value: port, with: map[string]any{"bridge": absent}, ways: byAdd})
	}
	unknown(input{field: "sources.ports", class: "unknown name", value: []any{"vnet9"}, ways: byFlags | byStore, says: []string{"vnet0", "--allow-missing"}, state: "Pending", reason: "SourceMissing"})
	unknown(input{field: "sources.ports", class: "unknown name", value: []any{"iface-id=nobody"}, ways: byFlags | byStore, says: []string{"--allow-missing"}, state: "Pending", reason: "SourceMissing"})
	unknown(input{field: "sources.ports", class: "unknown name", value: []any{"other0"}, says: []string{"is on bridge", "--bridge br1"}, state: "Pending", reason: "SourceMissing"})
	unknown(input{field: "sources.ports", class: "unknown name", value: []any{"to1"}, says: []string{"patch port", "br1"}, state: "Pending", reason: "SourceMissing"})
	unknown(input{field: "sources.ports", class: "unknown name", value: []any{"m0"}, with: map[string]any{"bridge": "br1"}, says: []string{"bond0"}, state: "Pending", reason: "SourceMissing"})
	unknown(input{destination: true, field: "outputPort", class: "unknown name", value: "vnet8", ways: byFlags | byStore, says: []string{"vnet0"}, state: "Pending", reason: "OutputPortMissing"})
	unknown(input{destination: true, field: "outputPort", class: "unknown name", value: "to1", ways: byFlags | byYAML, says: []string{"patch"}})
	unknown(input{destination: true, field: "outputPort", class: "unknown name", value: "bond0", with: map[string]any{"bridge": "br1"}, says: []string{"bond"}, state: "Failed", reason: "OutputPortUnfit"})
	// At the limit: names that OVS could have, of ports that may come.
	longest := strings.Repeat("p", 255)
	all = append(all,
		input{field: "sources.ports", class: "at", value: []any{longest, "iface-id=" + longest, "$(x)", "a;b"}, with: map[string]any{"allowMissing": true}},
		input{field: "sources.ports", class: "above", value: []any{"iface-id=" + longest + "x"}, with: map[string]any{"allowMissing": true}, says: []string{"iface-id=ID"}},
		input{field: "bridge", class: "at", value: longest, with: map[string]any{"allowMissing": true}},
		input{destination: true, field: "outputPort", class: "at", value: longest[1:] + "q", with: map[string]any{"allowMissing": true}},
	)
	return all
}

func numberInputs() []input {
	var all []input
	for _, f := range []struct {
		field     string
		low, high int
		dest      bool
		with      map[string]any
		required  bool
	}{
		{field: "erspan.sessionID", high: 1023},
		{field: "erspan.sessionID", high: 1023, dest: true, required: true},
		{field: "erspan.index", high: 1<<20 - 1},
		{field: "erspan.index", high: 1<<20 - 1, dest: true, with: map[string]any{"erspan.version": 1}},
		{field: "erspan.hardwareID", high: 63, with: map[string]any{"erspan.version": 2}},
		{field: "erspan.hardwareID", high: 63, dest: true, with: map[string]any{"erspan.version": 2}},
		{field: "dscp", high: 63},
		{field: "ttl", low: 1, high: 255},
	} {
		i := input{field: f.field, destination: f.dest, with: f.with}
		add := func(class string, ways int, says string, values ...any) {
			i.class, i.ways, i.says = class, ways, []string{says}
			if says == "" {
				i.says = nil
			}
			all = append(all, each(i, values...)...)
		}
		want := fmt.Sprintf("want %d..%d", f.low, f.high)
		add("below", byAll, want, json.Number(strconv.Itoa(f.low-1)), json.Number("-1000000"))
		add("above", byAll, want, json.Number(strconv.Itoa(f.high+1)), json.Number("4294967296"))
		add("above", byAll, "range", json.Number("99999999999999999999"), json.Number("-99999999999999999999"))
		add("at", byAll, "", json.Number(strconv.Itoa(f.low)), json.Number(strconv.Itoa(f.high)))
		add("at", byFlags|byYAML, "", fmt.Sprintf("%#x", f.high))
		const number = "decimal"
		add("wrong type", byAll, number, "seven", "1.5", "0b1", "1_0", "--1", "+1", " 1", "1 ", "0x", "١")
		add("wrong type", byFlags|byYAML, "octal is not read", "010", "00")
		add("injection", byAll, number, any("1,actions=normal"), any("$(id)"))
		add("empty", byAll, number, "")
		add("control characters", byAll, number, any("1\n2"), any("1\x1b[2J"), any("1\u202e"))
		add("megabytes", byFlags|byFile, "range", json.Number(huge))
		all = append(all, wrongKinds(input{field: f.field, destination: f.dest, with: f.with, says: []string{"number"}}, true, []any{1}, map[string]any{"a": 1}, json.Number("1.5"), json.Number("1e2"))...)
		all = append(all, input{field: f.field, destination: f.dest, with: f.with, class: "missing", value: nil, ways: byYAML, says: []string{"has no value", "leave the field out"}})
		if f.required {
			all = append(all, input{field: f.field, destination: f.dest, class: "missing", value: absent, says: []string{"is required", want}})
		}
	}
	// VLANs are a list of numbers.
	i := input{field: "vlans"}
	add := func(class string, ways int, says string, values ...any) {
		i.class, i.ways, i.says = class, ways, []string{says}
		if says == "" {
			i.says = nil
		}
		all = append(all, each(i, values...)...)
	}
	add("below", byAll, "vlan_tci=0", []any{0})
	add("below", byAll, "want 1..4094", []any{-1}, []any{0})
	add("above", byAll, "want 1..4094", []any{4095}, []any{4096}, []any{10, 1 << 40})
	add("at", byAll, "", []any{1}, []any{4094}, []any{1, 4094})
	add("duplicate", byAll, "list it once", []any{10, 20, 10})
	add("wrong type", byAll, "decimal", []any{"ten"}, []any{"1-5"})
	add("empty", byAll, "decimal", []any{""})
	add("wrong type", byFlags|byYAML, "octal", []any{"010"})
	add("control characters", byAll, "decimal", []any{"1\n2"})
	add("megabytes", byFlags|byFile, "range", []any{json.Number(huge)})
	add("empty", byFile, "empty list", []any{})
	all = append(all, wrongKinds(input{field: "vlans"}, 10, "10", map[string]any{"a": 1}, []any{nil}, []any{[]any{10}}, []any{true})...)

	// Contradictions between the header's fields, and with other sessions.
	return append(all,
		input{field: "erspan.index", class: "contradiction", value: 5, with: map[string]any{"erspan.version": 2}, says: []string{"leave it out"}},
		input{field: "erspan.hardwareID", class: "contradiction", value: 5, with: map[string]any{"erspan.version": 1}, says: []string{"leave it out"}},
		input{destination: true, field: "erspan.index", class: "contradiction", value: 5, with: map[string]any{"erspan.version": absent}, says: []string{"only version 1"}},
		input{destination: true, field: "erspan.hardwareID", class: "contradiction", value: 5, with: map[string]any{"erspan.version": absent}, says: []string{"only version 2"}},
		input{field: "erspan.sessionID", class: "duplicate", value: 6, says: []string{"taken", "give another session id"}},
		input{destination: true, field: "dscp", class: "contradiction", value: 5, says: []string{"leave it out"}},
		input{destination: true, field: "ttl", class: "contradiction", value: 5, says: []string{"leave it out"}},
		input{destination: true, field: "snaplen", class: "contradiction", value: 100, says: []string{"leave it out"}},
		input{destination: true, field: "origin", class: "contradiction", value: hostAddr, says: []string{"leave it out"}},
		input{destination: true, field: "vlans", class: "contradiction", value: []any{10}, says: []string{"leave it out"}, shown: "-"},
		input{destination: true, field: "collectors", class: "contradiction", value: []any{collectorAddr}, says: []string{"leave it out"}, shown: "-"},
		input{destination: true, field: "match.permit", class: "contradiction", value: "tcp", says: []string{"leave it out"}, shown: "-"},
	)
}

func addressInputs() []input {
	var all []input
	for _, f := range []struct {
		field string
		dest  bool
		list  bool
		says  string
	}{
		{"collectors", false, true, "receives the copies"},
		{"origin", false, false, "leave it out"},
		{"from", true, false, "the address of the sender, or any"},
	} {
		add := func(class string, ways int, says string, texts ...string) {
			for _, text := range texts {
				i := input{field: f.field, destination: f.dest, class: class, ways: ways, value: text, says: []string{says}}
				if f.list {
					i.value = []any{text}
				}
				if says == "" {
					i.says = nil
				}
				all = append(all, i)
			}
		}
		const syntax = "address"
		add("wrong type", byAll, syntax, "collector.example", "192.0.2", "192.0.2.256", "192.0.2.9:5", "[2001:db8::9]", "2001:db8:::1", "0x7f000001", "192.0.2.009")
		add("wrong type", byAll, "write 192.0.2.9", "192.0.2.9/24")
		add("injection", byAll, syntax, "192.0.2.9,actions=normal"[:9]+";id", "$(id)", "192.0.2.9 options:key=1")
		add("control characters", byAll, syntax, "192.0.2.9\n", "192.0.2.9\x1b[2J", "192.0.2.9\u200b")
		add("megabytes", byAll, syntax, strings.Repeat("1.", 50_000))
		add("wrong kind of address", byAll, "address", "127.0.0.1", "::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255")
		add("wrong family", byAll, "write 192.0.2.9", "::ffff:192.0.2.9")
		add("wrong kind of address", byAll, "zone", "fe80::1%eth0")
		if f.field != "from" { // a sender's address is only compared
			add("wrong kind of address", byAll, "link-local", "fe80::1")
		}
		kinds := []any{7, true, map[string]any{"a": 1}, 1.5}
		if f.list {
			kinds = append(kinds, []any{7}, []any{nil}, []any{[]any{}}, "192.0.2.9")
		} else {
			kinds = append(kinds, []any{"192.0.2.9"})
		}
		all = append(all, wrongKinds(input{field: f.field, destination: f.dest}, kinds...)...)
	}
	return append(all,
		input{field: "collectors", class: "missing", value: absent, ways: byAdd | byFile, says: []string{"is required"}},
		input{field: "collectors", class: "empty", value: []any{}, ways: byFile, says: []string{"empty list"}},
		input{field: "collectors", class: "empty", value: []any{""}, says: []string{"address"}},
		input{field: "collectors", class: "duplicate", value: []any{collectorAddr, collectorAddr}, says: []string{"list it once"}},
		input{field: "collectors", class: "duplicate", value: []any{"2001:db8::9", "2001:0db8:0::9"}, shown: "2001:db8::9", says: []string{"list it once"}},
		input{field: "collectors", class: "unknown name", value: []any{hostAddr}, says: []string{"this host", "another host"}, state: "Degraded", reason: "CollectorIsOwnAddress"},
		input{field: "collectors", class: "wrong family", value: []any{collector6}, with: map[string]any{"origin": hostAddr}, shown: hostAddr, says: []string{"IPv4", "IPv6", "one session for each family"}},
		input{field: "origin", class: "wrong family", value: hostAddr6, says: []string{"IPv4", "IPv6", "one session for each family"}},
		input{field: "origin", class: "unknown name", value: "198.51.100.1", says: []string{hostAddr, "leave it out"}, state: "Degraded", reason: "NoSourceAddress"},
		input{field: "origin", class: "empty", value: "", ways: byFlags | byYAML, says: []string{"address"}},
		input{field: "origin", class: "at", value: hostAddr},
		input{destination: true, field: "from", class: "missing", value: absent, ways: byAdd | byFile, says: []string{"is required", "or any"}},
		input{destination: true, field: "from", class: "empty", value: "", says: []string{"or any"}},
		input{destination: true, field: "from", class: "unknown name", value: "ANY", says: []string{"or any"}},
		input{destination: true, field: "from", class: "at", value: "any", with: map[string]any{"erspan.sessionID": 78}},
		input{destination: true, field: "from", class: "at", value: "2001:db8::77"},
	)
}

func listInputs() []input {
	// Lists as long as a mistake, or malice, makes them.
	repeat := func(n int, make func(i int) any) []any {
		list := []any{}
		for i := range n {
			list = append(list, make(i))
		}
		return list
	}
	port := func(i int) any { return fmt.Sprintf("p%d", i) }
	address := func(i int) any { return fmt.Sprintf("198.%d.%d.%d", 18+i>>16, i>>8&255, i&255) }
	rule := func(i int) any { return map[string]any{"deny": fmt.Sprintf("tcp,tp_dst=%d", i)} }
	missing := map[string]any{"allowMissing": true}
	return []input{
		{field: "sources.ports", class: "above", value: repeat(4097, port), with: missing, ways: byFile, shown: "4097", says: []string{"at most 4096", "sources.all"}},
		{field: "sources.ports", class: "at", value: repeat(4096, port), with: missing, ways: byFile},
		{field: "collectors", class: "above", value: repeat(257, address), ways: byFile, shown: "257", says: []string{"at most 256"}},
		{field: "match", class: "above", value: repeat(1025, rule), ways: byFile, shown: "1025", says: []string{"at most 1024"}},
		{field: "match", class: "at", value: repeat(1024, rule), ways: byFile},
		{field: "sources.ports", class: "megabytes", value: repeat(30_000, port), with: missing, ways: byFile, shown: "-", says: []string{"at most"}},
		{field: "collectors", class: "megabytes", value: repeat(20_000, address), ways: byFile, shown: "-", says: []string{"at most"}},
		{field: "match", class: "megabytes", value: repeat(50_000, rule), ways: byFile, shown: "-", says: []string{"at most"}},
		{field: "vlans", class: "megabytes", value: repeat(300_000, func(int) any { return 0 }), ways: byFile, shown: "-", says: []string{"at most 4094"}},
		{field: "vlans", class: "at", value: repeat(4094, func(i int) any { return i + 1 }), ways: byFile},
	}
}

func matchInputs() []input {
	var all []input
	for _, field := range []string{"match.permit", "match.permitBothWays", "match.deny"} {
		add := func(class, says string, exprs ...string) {
			for _, e := range exprs {
				all = append(all, input{field: field, class: class, value: e, says: []string{says}})
			}
		}
		all = append(all, input{field: field, class: "empty", value: "", says: []string{"empty"}, ways: byFlags}, input{field: field, class: "empty", value: "", ways: byFile, says: []string{"exactly one"}, shown: "-"})
		add("empty", "leave the", " ")
		add("empty", "leave the rule out", ",")
		add("unknown name", "ovs-fields(7)", "nonsense", "nonsense=1", "tcp,tp_dts=443", "TCP", "tcp;tp_dst=1")
		add("wrong type", "ovs-fields(7)", "tcp,tp_dst=http", "ip,nw_src=1.2.3.4/33", "dl_src=zz", "tcp,tp_dst=", "tcp,tp_dst", "tcp=1", "=1", "tcp,tp_dst:1", "tcp,tp_dst = 1")
		add("above", "ovs-fields(7)", "tcp,tp_dst=65536", "dl_vlan=4096", "vlan_pcp=8", "nw_tos=256", "ip,nw_proto=256")
		add("above", "4096", "tcp"+strings.Repeat(",", 4094))
		add("below", "ovs-fields(7)", "tcp,tp_dst=-1")
		add("wrong family", "ovs-fields(7)", "ip,ipv6_src=::1", "ipv6,nw_src=10.0.0.1", "ipv6,tcp", "arp,ipv6")
		add("duplicate", "OVS takes the last", "tcp,tp_dst=1,tp_dst=2")
		add("contradiction", "ovs-fields(7)", "tp_dst=443", "tcp,udp", "icmp,tp_dst=1", "tcp,nw_proto=17")
		add("injection", "ovs-fields(7)", "tcp actions=normal", "tcp,priority=9", "tcp,table=0", "tcp,cookie=1", "tcp,in_port=1", "reg0=1", "tun_id=1", "metadata=1", "tcp#", "conj_id=1",
			"$(id)", "`id`", "tcp'", "tcp\"", "tcp|id", "tcp\\", "tcp,idle_timeout=1", "tcp,out_port=1", "pkt_mark=1", "recirc_id=1", "ct_state=+new", "nxm_nx_reg0=1", "tcp,add", "delete")
		add("control characters", "ovs-fields(7)", "tcp\nudp", "tcp\x1b[2J", "tcp\u202e", "tcp\ttp_dst=1")
		add("megabytes", "4096", huge)
		all = append(all, wrongKinds(input{field: field}, []any{"tcp"}, map[string]any{"a": 1})...)
		all = append(all, input{field: field, class: "empty", value: nil, ways: byFile, shown: "-"})
		all = append(all, input{field: field, class: "at", value: "tcp" + strings.Repeat(",", 4083) + "tp_dst=443"})
		all = append(all, input{field: field, class: "at", value: "tcp,tp_dst=65535"}, input{field: field, class: "at", value: "tcp,tp_dst=0"})
	}
	return append(all,
		input{field: "match", class: "empty", value: []any{}, ways: byFile, says: []string{"empty list", "leave it out"}},
		input{field: "match", class: "empty", value: []any{map[string]any{}}, ways: byFile, says: []string{"exactly one"}},
		input{field: "match", class: "contradiction", value: []any{map[string]any{"permit": "tcp", "deny": "udp"}}, ways: byFile, says: []string{"exactly one"}, shown: "-"},
		input{field: "match", class: "duplicate", value: []any{map[string]any{"deny": "tcp"}, map[string]any{"deny": "tcp"}}, ways: byFile, says: []string{"list it once"}, shown: "tcp"},
		input{field: "match", class: "unknown name", value: []any{map[string]any{"allow": "tcp"}}, ways: byFile, says: []string{"permit"}, shown: "allow"},
		input{field: "match", class: "wrong type", value: "tcp", ways: byFile, shown: "-"},
		input{field: "match", class: "wrong type", value: []any{"tcp"}, ways: byFile, shown: "-"},
	)
}

func snaplenInputs() []input {
	var all []input
	i := input{field: "snaplen", says: []string{"auto, off, or a number of bytes in 14..65535"}}
	add := func(class string, ways int, values ...any) {
		i.class, i.ways = class, ways
		all = append(all, each(i, values...)...)
	}
	add("below", byAll, json.Number("13"), json.Number("0"), json.Number("-1"), json.Number("-2"))
	add("above", byAll, json.Number("65536"), json.Number("99999999999999999999"))
	add("unknown name", byAll, "of", "AUTO", "max")
	add("wrong type", byAll, "1.5", "010", "$(id)", "64\n", "64\x1b[2J")
	add("megabytes", byAll, huge)
	add("empty", byFlags|byYAML, "")
	all = append(all, wrongKinds(i, true, []any{64}, map[string]any{"a": 1})...)
	return append(all,
		input{field: "snaplen", class: "contradiction", value: "off", says: []string{"1464"}, state: "Degraded", reason: "SnaplenCut"},
		input{field: "snaplen", class: "contradiction", value: 65535, says: []string{"1464"}, state: "Degraded", reason: "SnaplenCut"},
		input{field: "snaplen", class: "at", value: 14},
		input{field: "snaplen", class: "at", value: 1464},
		input{field: "snaplen", class: "at", value: "auto"},
	)
}

func rateInputs() []input {
	var all []input
	i := input{field: "maxRate", says: []string{"such as 1000pps or 50Mbps"}}
	add := func(class string, ways int, values ...any) {
		i.class, i.ways = class, ways
		all = append(all, each(i, values...)...)
	}
	add("below", byAll, "0pps", "0bps", "999bps", "-1pps")
	add("above", byAll, "4294967296pps", "4294967296kbps", "5Tbps", "99999999999999999999pps")
	add("unknown name", byAll, "1000", "pps", "50MBps", "50mbps", "1Kpps", "unlimited", "off")
	add("wrong type", byAll, "1.5kpps", "010pps", "0x10pps", "1 pps", "1500bps", "$(id)pps", "1pps\n", "1pps\x1b[2J")
	add("megabytes", byAll, huge, huge+"pps")
	add("empty", byAll, "")
	all = append(all, wrongKinds(i, 1000, true, []any{"1pps"}, map[string]any{"a": 1})...)
	all = append(all, input{destination: true, field: "maxRate", class: "contradiction", value: "1kpps", says: []string{"where it is sent from", "leave it out"}})
	return append(all, input{field: "maxRate", class: "at", value: "1pps"}, input{field: "maxRate", class: "at", value: "4294967295pps"},
		input{field: "maxRate", class: "at", value: "1kbps"}, input{field: "maxRate", class: "at", value: "4294967295kbps"})
}

func amountInputs() []input {
	var all []input
	for _, field := range []string{"maxPackets", "maxBytes"} {
		for _, destination := range []bool{false, true} {
			i := input{destination: destination, field: field, says: []string{"want a whole number in 1..9007199254740991"}}
			add := func(class string, ways int, values ...any) {
				i.class, i.ways = class, ways
				all = append(all, each(i, values...)...)
			}
			add("below", byAll, json.Number("0"), json.Number("-1"))
			add("above", byAll, json.Number("9007199254740992"), "10000T")
			add("wrong type", byAll, "1.5", "ten", "010", "0x10", "10GB", "$(id)", "1\n", "1\x1b[2J")
			add("megabytes", byAll, huge)
			add("empty", byAll, "")
			all = append(all, wrongKinds(i, true, []any{1}, map[string]any{"a": 1})...)
			i.says = nil
			add("at", byAll, json.Number("1"), json.Number("9007199254740991"))
		}
	}
	return all
}

func expiryInputs() []input {
	var all []input
	flags := input{field: "expiresAt", ways: byFlags, says: []string{"such as 90m"}}
	for class, texts := range map[string][]string{
		"wrong type": {"soon", "90", "1.5.5h", "1d"}, "empty": {""}, "below": {"0", "-1h", "999ms"}, "control characters": {"1h\n", "1h\x1b[2J"}, "megabytes": {huge},
		"above": {"99999999999h"},
	} {
		flags.class = class
		all = append(all, each(flags, texts...)...)
	}
	flags.class, flags.says = "above", []string{"18h12m15s", "daemon"} // a flow can end by itself after that at most
	all = append(all, each(flags, "18h13m")...)
	flags.class, flags.says = "at", nil
	all = append(all, each(flags, "1m", "18h12m")...)
	file := input{field: "expiresAt", ways: byFile, says: []string{"RFC 3339"}}
	for class, texts := range map[string][]string{
		"wrong type": {"soon", "2030-01-31", "18:00", "2030-02-30T00:00:00Z", "90m"}, "empty": {""}, "above": {"10000-01-01T00:00:00Z"}, "control characters": {"2030-01-31T18:00:00Z\n"}, "megabytes": {huge},
		"below": {"0001-01-01T00:00:00Z"},
	} {
		file.class = class
		all = append(all, each(file, texts...)...)
	}
	all = append(all, wrongKinds(file, 7, true, []any{"2030-01-31T18:00:00Z"}, map[string]any{"a": 1})...)
	file.class, file.ways, file.says = "below", byYAML, []string{"is over", "time to come"}
	return append(all, each(file, "2020-01-31T18:00:00Z")...)
}

func booleanInputs() []input {
	var all []input
	for _, field := range []string{"disabled", "sources.all", "allowMissing", "allowHWOffload"} {
		i := input{field: field, class: "wrong type", ways: byFile, says: []string{"true or false"}}
		all = append(all, each(i, any("yes"), any("TRUE"), any(""), any(1), any([]any{true}), any(map[string]any{"a": true}), any(huge))...)
		if flagNames[field] != "" {
			i.ways = byFlags
			all = append(all, each(i, any("yes"), any(""), any("2"), any("true\n"), any(huge))...)
		}
	}
	return all
}

// otherTypeInputs are the fields that only the other type of session has, one by one.
func otherTypeInputs() []input {
	return []input{{destination: true, field: "sources.ports", class: "contradiction", value: []any{"vnet0"}, says: []string{"leave it out"}}}
}

// structureInputs are about no field in particular.
func structureInputs() []input {
	return []input{
		{field: "colour", class: "unknown name", value: "red", ways: byFile, shown: "colour", says: []string{"no such field"}},
		{field: "collector", class: "unknown name", value: "192.0.2.9", ways: byFile, shown: "collector", says: []string{"write collectors"}},
		{field: "sessionID", class: "unknown name", value: 7, ways: byFile, shown: "sessionID", says: []string{"under erspan"}},
		{field: "erspan.dir", class: "unknown name", value: 1, ways: byFile, shown: "dir", says: []string{"direction"}},
		{field: "sources.port", class: "unknown name", value: "vnet0", ways: byFile, shown: "port", says: []string{"write ports"}},
		{field: "erspan.sessionID", class: "missing", value: absent, ways: byStore, says: []string{"is required in the store", "0..1023", "apply"}},
		{field: "erspan", class: "wrong type", value: 7, ways: byFile, shown: "-", says: []string{"mapping"}},
		{field: "erspan", class: "wrong type", value: []any{7}, ways: byFile, shown: "-", says: []string{"mapping"}},
		{field: "sources", class: "wrong type", value: "vnet0", ways: byFile, shown: "-", says: []string{"mapping"}},
		{field: "sources", class: "wrong type", value: []any{"vnet0"}, ways: byFile, shown: "-", says: []string{"mapping"}},
		{field: strings.Repeat("x", 1000), class: "above", value: 1, ways: byFile, shown: "xxxx", says: []string{"no such field"}},
		{field: "a\x1b[2J\nb", class: "control characters", value: 1, ways: byFile, shown: "-", says: []string{"no such field"}},
	}
}

// goodSource and goodDestination are what a fault is put into.
func goodSource() map[string]any {
	return map[string]any{"bridge": "br0", "sources.ports": []any{"vnet0"}, "collectors": []any{collectorAddr}}
}

func goodDestination() map[string]any {
	return map[string]any{"type": "destination", "bridge": "br0", "outputPort": "vnet1", "from": collectorAddr, "erspan.sessionID": 77, "erspan.version": 2}
}

// fields are the session's fields with the input's value, by path.
func (i input) fields(name string) map[string]any {
	fields := goodSource()
	if i.destination {
		fields = goodDestination()
	}
	fields["name"] = name
	maps.Copy(fields, i.with)
	if i.field == "sources" {
		delete(fields, "sources.ports")
	}
	if i.field == "erspan" {
		maps.DeleteFunc(fields, func(path string, _ any) bool { return strings.HasPrefix(path, "erspan.") })
	}
	if i.field != "" {
		fields[i.field] = i.value
	}
	maps.DeleteFunc(fields, func(_ string, v any) bool { return v == absent })
	return fields
}

// object is the session as YAML and the store have it.
func (i input) object(name string) map[string]any {
	root := map[string]any{}
	for path, value := range i.fields(name) {
		if rule, ok := strings.CutPrefix(path, "match."); ok {
			root["match"] = []any{map[string]any{rule: value}}
			continue
		}
		parent, key, nested := strings.Cut(path, ".")
		if !nested || len(path) > 100 {
			root[path] = value
			continue
		}
		if _, ok := root[parent].(map[string]any); !ok {
			root[parent] = map[string]any{}
		}
		root[parent].(map[string]any)[key] = value
	}
	return root
}

// stored is the session as the store has it, where no session is without an id, and each has its own.
func (i input) stored(name string, id int) map[string]any {
	spec := i.object(name)
	if i.field == "erspan.sessionID" || i.field == "erspan" {
		return spec
	}
	header, _ := spec["erspan"].(map[string]any)
	if header == nil {
		header = map[string]any{}
		spec["erspan"] = header
	}
	if !i.destination || header["sessionID"] == 77 {
		header["sessionID"] = id
	}
	return spec
}

// flags are the input as the arguments of `session set`, or, with all fields, of `session add`.
func (i input) flags(all bool) []string {
	fields := map[string]any{i.field: i.value}
	maps.Copy(fields, i.with)
	if all {
		fields = i.fields("")
		delete(fields, "name")
	}
	var args []string
	for _, path := range slices.Sorted(maps.Keys(fields)) {
		flag, ok := flagNames[path]
		switch {
		case path == "name":
			continue
		case !ok:
			panic("no flag for " + path)
		case fields[path] == absent:
			args = append(args, "--unset="+flag)
			continue
		}
		values, isList := fields[path].([]any)
		if !isList {
			values = []any{fields[path]}
		}
		for _, v := range values {
			args = append(args, fmt.Sprintf("--%s=%v", flag, v))
		}
	}
	return args
}

// unsaid is what the message should have and has not: the field, by its path or its flag, the value, and what to do.
func (i input) unsaid(message string) []string {
	var unsaid []string
	for _, word := range i.says {
		if !strings.Contains(message, word) {
			unsaid = append(unsaid, word)
		}
	}
	field := i.field
	if kind, isRule := strings.CutPrefix(field, "match."); isRule {
		field = kind // match[0].deny
	}
	field = strconv.Quote(field[:min(len(field), 40)])
	if i.field == "name" && strings.Contains(message, "session ") || i.field == "outputPort" && strings.Contains(message, "sources.ports") {
		field = "" // a session is called by its name; or it is the other session that is said to be wrong
	}
	if flag := flagNames[i.field]; !strings.Contains(message, strings.Trim(field, `"`)) && (flag == "" || !strings.Contains(message, flag)) {
		unsaid = append(unsaid, "the field: "+field)
	}
	value := i.value
	if list, ok := value.([]any); ok && len(list) > 0 {
		value = list[len(list)-1]
	}
	text := fmt.Sprint(value)
	switch {
	case i.shown == "-", value == absent, value == nil, text == "", strings.Trim(text, "map[]") == "", strings.HasPrefix(text, "map["):
		return unsaid
	case i.shown != "":
		text = i.shown
	}
	start := []rune(text)
	text = string(start[:min(len(start), 16)])
	if !strings.Contains(message, text) && !strings.Contains(message, strings.Trim(strconv.Quote(text), `"`)) {
		unsaid = append(unsaid, "the value: "+text)
	}
	return unsaid
}
