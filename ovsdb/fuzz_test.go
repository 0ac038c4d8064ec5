package ovsdb

import (
	"maps"
	"net/netip"
	"strings"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// FuzzStore: whatever somebody writes into the store by hand, beside a good session: nothing panics, what is taken is valid
// and can be planned for, what is not is named with one short line, the good session stays, and nothing is written for it.
func FuzzStore(f *testing.F) {
	const good = `{"slot":1,"spec":{"name":"good","type":"source","bridge":"br0","sources":{"ports":["p1"]},"direction":"both","collectors":["192.0.2.9"],"erspan":{"version":1,"sessionID":7}}}`
	const destination = `{"slot":2,"spec":{"name":"x","type":"destination","bridge":"br0","outputPort":"p2","from":"any","erspan":{"version":2,"sessionID":7,"hardwareID":63},"direction":"egress"}}`
	for _, text := range []string{
		good, destination, "", "null", "{}", "[]", `{"slot":1}`, `{"slot":2,"spec":null}`, `{"slot":2,"spec":{"name":"x"}}`, `{"slot":-1}`, `{"slot":1e9}`, `{"slot":2,"identities":{"p1":{"ifaceID":"a"}},"spec":{}}`,
		strings.Replace(good, `"good"`, `"x"`, 1), strings.Replace(good, `"good"`, `"x"`, 1) + "{}",
		`{"slot":3,"spec":{"name":"x","bridge":"br0","sources":{"all":true},"collectors":["192.0.2.9","2001:db8::9"],"match":[{"permitBothWays":"tcp,tp_dst=1"},{"deny":"icmp"}],"snaplen":64,"dscp":63,"ttl":1,"origin":"192.0.2.1","erspan":{"sessionID":7,"version":2,"hardwareID":1}}}`,
		`{"slot":3,"spec":{"name":"x","disabled":true,"bridge":"br0","sources":{"ports":["p2","iface-id=a"]},"vlans":[1,4094],"collectors":["192.0.2.9"],"snaplen":"off","erspan":{"sessionID":1023}}}`,
		`{"slot":3,"spec":{"name":"x","type":"destination","outputPort":"p9","from":"192.0.2.3","erspan":{"sessionID":0}}}`,
		`{"slot":3,"spec":{"name":"x","bridge":"br9","sources":{"ports":["p1"]},"collectors":["192.0.2.9"],"expiresAt":"2020-01-01T00:00:00Z","erspan":{"sessionID":8}}}`,
		// ended the daemon once: no session id
		`{"slot":3,"spec":{"name":"x","bridge":"br0","sources":{"ports":["p1"]},"collectors":["192.0.2.9"]}}`,
		`{"slot":3,"spec":{"name":"x","brigde":1}}`, `{"slot":4,"spec":[[[[`, `{"slot":4294967295,"spec":{"name":"x"}}`,
	} {
		f.Add("x", text, "5")
	}
	f.Add("good\n", good, "x")
	f.Add("", destination, "-1")
	f.Add("\x1b[2J", "{", "18446744073709551615")
	f.Fuzz(func(t *testing.T, name, text, number string) {
		if name == "good" {
			return
		}
		keys := map[string]string{
			sessionPrefix + "good": good, statusPrefix + "good": `{"state":"Active","reason":"InForce","since":"2026-01-01T00:00:00Z"}`,
			sessionPrefix + name: text, statusPrefix + name: text, generationKey: number, inForceKey: number,
		}
		before := maps.Clone(keys)
		wish := readWish(keys, nil)
		found := false
		for i, s := range wish.Sessions {
			if err := s.ValidateStored(); err != nil {
				t.Fatalf("session %q was taken, and is not valid: %v", s.Name, err)
			}
			wish.Sessions[i].Session = s.Defaulted()
			found = found || s.Name == "good"
		}
		if !found || wish.Broken["good"] != nil {
			t.Fatalf("the good session went: %v", wish.Broken)
		}
		for name, err := range wish.Broken {
			if said := err.Error(); len(said) > 4000 || strings.ContainsAny(said, "\n\r\x1b") {
				t.Errorf("%q: a message of %d bytes: %.300q", name, len(said), said)
			}
		}
		in := flows.Input{State: fuzzState(), Sessions: wish.Sessions, Rejected: map[string]string{}, Paths: map[flows.PathKey]flows.Path{}}
		for _, key := range flows.PathKeys(in.Sessions, in.State) {
			here := netip.MustParseAddr("192.0.2.1")
			in.Paths[key] = flows.Path{Device: "br0", Source: here, NextHop: key.Collector, MTU: 1500, Local: []netip.Addr{here}, HasNeighbor: true}
		}
		program := flows.Build(in)
		if len(program.Outcomes) != len(wish.Sessions) {
			t.Errorf("%d sessions, %d outcomes", len(wish.Sessions), len(program.Outcomes))
		}
		for _, tb := range program.TapBridges {
			for _, flow := range tb.Flows {
				if line := flow.Line(); strings.ContainsAny(line.Match+line.Actions, "\n\r#\"'") {
					t.Errorf("a flow that is more than a flow: %q", line)
				}
			}
		}
		flows.RowChanges(fuzzState(), program)
		e, err := newEdit(keys, &memo{}, func(*session.Wish) error { return nil })
		if err != nil || !e.empty() {
			t.Errorf("looking would change %v, remove %v: %v", e.put, e.remove, err)
		}
		if !maps.Equal(keys, before) {
			t.Error("reading changed the keys")
		}
	})
}

// fuzzState is a bridge with two ports.
func fuzzState() flows.State {
	b := &flows.Bridge{Name: "br0", DatapathType: "netdev", Ports: map[string]*flows.Port{}, Mirrors: map[string]*flows.Mirror{}}
	for n, name := range []string{"br0", "p1", "p2"} {
		b.Ports[name] = &flows.Port{Name: name, Interfaces: []*flows.Interface{{Name: name, OFPort: n + 1}}}
	}
	return flows.State{Bridges: map[string]*flows.Bridge{"br0": b}}
}
