package ovsdb

import (
	"context"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/ovsdb/ovsdbtest"
)

// TestLossIsToldLater: between a row's going and its being told of, nobody sees an empty wish.
func TestLossIsToldLater(t *testing.T) {
	s := ovsdbtest.Start(t)
	db, err := Connect(context.Background(), s.RunDir)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	row := &queueRow{UUID: "7c3b0d3e-0000-4000-8000-000000000001", ExternalIDs: map[string]string{generationKey: "7", sessionPrefix + "web": "{"}}
	events{db}.OnAdd(tableQueue, row) // it is not in the cache: it went already
	read := make(chan error, 1)
	go func() {
		p, err := db.places()
		if err == nil && p.keys[generationKey] != "7" {
			t.Errorf("what is read: %v", p.keys)
		}
		read <- err
	}()
	select {
	case err := <-read:
		t.Fatalf("it was read before it was told of: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	events{db}.OnDelete(tableQueue, row)
	if err := <-read; err != nil {
		t.Error(err)
	}
}

// TestWhatIsNoChange: what reports write, what copies follow and what others keep beside our keys wakes nobody; all else
// does.
func TestWhatIsNoChange(t *testing.T) {
	ids := func(pairs ...string) map[string]string {
		m := map[string]string{"ovs-erspan": "x", generationKey: "1"}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	root := func(m map[string]string) *openVSwitchRow { return &openVSwitchRow{ExternalIDs: m} }
	bridge := func(m map[string]string) *bridgeRow { return &bridgeRow{Name: "br-erspan", ExternalIDs: m} }
	queue := func(m map[string]string) *queueRow { return &queueRow{ExternalIDs: m} }
	for name, c := range map[string]struct {
		before, after any
		same          bool
	}{
		"status":                 {queue(ids()), queue(ids(statusPrefix+"web", "a", inForceKey, "1", proofsKey, "p", deliveredKey, "d", restoredKey, "r")), true},
		"session":                {queue(ids()), queue(ids(sessionPrefix+"web", "a")), false},
		"generation":             {queue(ids()), queue(ids(generationKey, "2")), false},
		"copy":                   {bridge(ids()), bridge(ids(sessionPrefix+"web", "a", generationKey, "2")), true},
		"another key of ours":    {bridge(ids()), bridge(ids("ovs-erspan-until", "2")), false},
		"mark":                   {bridge(ids()), bridge(ids("ovs-erspan", "y")), false},
		"another column":         {bridge(ids()), &bridgeRow{Name: "br-erspan", ExternalIDs: ids(), Protocols: []string{"OpenFlow13"}}, false},
		"others' keys":           {root(ids()), root(ids("ovn-remote", "x")), true},
		"posted":                 {root(ids()), root(ids(sessionPrefix+"web", "a")), false},
		"old status":             {root(ids()), root(ids(statusPrefix+"web", "a")), false},
		"counting":               {root(ids()), &openVSwitchRow{ExternalIDs: ids(), NextCfg: 1, CurCfg: 1}, true},
		"a column of the others": {root(ids()), &openVSwitchRow{ExternalIDs: ids(), OtherConfig: map[string]string{"a": "b"}}, false},
	} {
		if got := sameButForReports(c.before, c.after); got != c.same {
			t.Errorf("%s: no change is %v", name, got)
		}
	}
}
