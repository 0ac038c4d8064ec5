package openflow

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

func TestParseEntry(t *testing.T) {
	for line, want := range map[string]flows.Entry{
		"cookie=0xe25a000100000003, duration=1.500s, table=0, n_packets=5, n_bytes=490, priority=100,in_port=3 actions=goto_table:5": {
			Line:    flows.Line{Priority: 100, Cookie: 0xe25a000100000003, Match: "in_port=3", Actions: "goto_table:5"},
			Packets: 5, Bytes: 490, Age: 1500 * time.Millisecond},
		"cookie=0x0, duration=2s, table=9, n_packets=0, n_bytes=0, actions=NORMAL": {
			Line: flows.Line{Table: 9, Priority: 32768, Actions: "NORMAL"}, Age: 2 * time.Second},
		"cookie=0x0, duration=2s, table=9, n_packets=0, n_bytes=0, priority=7 actions=drop": {
			Line: flows.Line{Table: 9, Priority: 7, Actions: "drop"}, Age: 2 * time.Second},
		"cookie=0x0, duration=2s, table=9, n_packets=0, n_bytes=0, tcp,tp_dst=1 actions=drop": {
			Line: flows.Line{Table: 9, Priority: 32768, Match: "tcp,tp_dst=1", Actions: "drop"}, Age: 2 * time.Second},
		"cookie=0x1, duration=2s, table=1, n_packets=0, n_bytes=0, idle_timeout=60, idle_age=2, priority=1,ip actions=drop": {
			Line: flows.Line{Table: 1, Priority: 1, Cookie: 1, Match: "ip", Actions: "drop with idle_timeout=60"}, Age: 2 * time.Second},
		"cookie=0x1, duration=2s, table=1, n_packets=0, n_bytes=0, reset_counts priority=1,ip actions=drop": {
			Line: flows.Line{Table: 1, Priority: 1, Cookie: 1, Match: "ip", Actions: "drop with reset_counts"}, Age: 2 * time.Second},
	} {
		got, err := parseEntry(line)
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
}

// TestParseEntryThatEnds: a flow's hard timeout becomes the moment of its end.
func TestParseEntryThatEnds(t *testing.T) {
	before := time.Now().Add(58 * time.Second).Round(time.Second).Unix()
	e, err := parseEntry("cookie=0x1, duration=2s, table=1, n_packets=0, n_bytes=0, hard_timeout=60, priority=1,ip actions=drop")
	if err != nil || e.Actions != "drop" || e.Expires < before || e.Expires > time.Now().Add(59*time.Second).Unix() {
		t.Errorf("%+v, %v", e, err)
	}
}

// FuzzParseDump: no output of whatever kind makes it panic.
func FuzzParseDump(f *testing.F) {
	f.Add([]byte(" cookie=0xe25a000100000003, duration=1.5s, table=0, n_packets=5, n_bytes=490, priority=100,in_port=3 actions=goto_table:5\n"))
	f.Add([]byte("OFPST_FLOW reply (OF1.5):\n cookie=, table=x actions=\n"))
	f.Add([]byte("cookie=0x0 actions="))
	f.Fuzz(func(t *testing.T, out []byte) {
		entries, err := parseDump(out)
		if err != nil && entries != nil {
			t.Error("both flows and an error")
		}
	})
}
