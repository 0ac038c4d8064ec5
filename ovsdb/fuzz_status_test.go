package ovsdb

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzStatus: whatever somebody writes as a status into the store, reading it ends; and what was read, written and read
// again is the same.
func FuzzStatus(f *testing.F) {
	for _, text := range []string{
		"", "null", "{}", "[]", `{"state":"Active","reason":"InForce","since":"2026-01-01T00:00:00Z"}`,
		`{"state":"Degraded","reason":"NoNeighbor","message":"m","collectors":[{"address":"192.0.2.9","snaplen":1500},{"address":"2001:db8::9","state":"Pending","reason":"NoRoute"}],"effective":{"sessionID":7,"firstCollector":true}}`,
		`{"effective":{"firstCollector":true}}`, `{"collectors":[null]}`, `{"effective":null,"collectors":[{}]}`, `{"state":"\u202e\u001b[2J"}`, `{"since":"0000-00-00T00:00:00Z"}`, `{"counters":-1}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		first, ok := readStatus(text)
		if !ok {
			return
		}
		again, err := writeStatus(first)
		if err != nil {
			t.Fatalf("%+v cannot be written: %v", first, err)
		}
		second, ok := readStatus(again)
		if !ok {
			t.Fatalf("%s cannot be read", again)
		}
		third, err := writeStatus(second)
		if err != nil || third != again {
			t.Errorf("%v: written %s\nand then %s", err, again, third)
		}
		if first.State != second.State || first.Reason != second.Reason || len(first.Collectors) != len(second.Collectors) {
			t.Errorf("another status after it was written: %s", cmp.Diff(first, second))
		}
	})
}
