package ovsdb

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// good is a session that is in force, as keys of the store.
func good(name string) map[string]string {
	return map[string]string{
		generationKey:        "3",
		sessionPrefix + name: `{"slot":1,"spec":{"name":"` + name + `","type":"source","bridge":"br0","sources":{"ports":["p1"]},"direction":"both","collectors":["192.0.2.9"],"erspan":{"version":1,"sessionID":1}}}`,
		statusPrefix + name:  `{"state":"Active","reason":"InForce","since":"2026-01-02T03:04:05Z"}`,
	}
}

// TestFloodedStore: whatever somebody writes into the store, and however much, reading it takes no memory to speak of, what is
// not read is told, and the session that is in force is read as ever.
func TestFloodedStore(t *testing.T) {
	many := func(prefix, text string) func(map[string]string) {
		return func(keys map[string]string) {
			for i := range 100_000 {
				keys[fmt.Sprintf("%sa%06d", prefix, i)] = text
			}
		}
	}
	one := func(key, text string) func(map[string]string) {
		return func(keys map[string]string) { keys[key] = text }
	}
	list := func(begin, each, end string) string {
		const size = 9 << 20
		return begin + strings.Repeat(each+",", size/len(each)) + each + end
	}
	for name, c := range map[string]struct {
		flood  func(map[string]string)
		broken string // what must be told, by name
	}{
		"sessions":                   {many(sessionPrefix, "{}"), unread},
		"sessions as they should be": {many(sessionPrefix, good("zz")[sessionPrefix+"zz"]), unread},
		"statuses":                   {many(statusPrefix, "{}"), ""},
		"other keys":                 {many(storePrefix, "{}"), ""},
		"a large status":             {one(statusPrefix+"big", list(`{"collectors":[`, `{}`, `]}`)), ""},
		"a status of many values":    {one(statusPrefix+"big", list(`{"collectors":[`, `{}`, `]}`)[:1<<20]), ""},
		"a large session":            {one(sessionPrefix+"big", list(`{"spec":{"match":[`, `{}`, `]}}`)), "big"},
		"a session of many values":   {one(sessionPrefix+"big", `{"spec":{"match":[`+strings.Repeat("{},", 2<<20)+`{}]}}`), "big"},
		"a large host":               {one(hostKey, list(`{"x":[`, `{}`, `]}`)), session.HostName},
		"a large list of bridges":    {one(deliveredKey, list(`[`, `""`, `]`)), ""},
		"a large accident":           {one(restoredKey, list(`{"x":[`, `{}`, `]}`)), ""},
		"a large proof":              {one(proofsKey, list(`{"x":[`, `{}`, `]}`)), ""},
		"a large end":                {one(endedPrefix+"web", list(`{"x":[`, `{}`, `]}`)), ""},
		"a large generation":         {one(inForceKey, strings.Repeat("9", 9<<20)), ""},
		"a long name":                {one(sessionPrefix+strings.Repeat("x", 9<<20), "{}"), unread},
	} {
		t.Run(name, func(t *testing.T) {
			keys := good("web")
			keys[sessionPrefix+"web"] = strings.Replace(keys[sessionPrefix+"web"], `"slot":1`, `"slot":100001`, 1)
			c.flood(keys)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			wish := readWish(keys, nil)
			_, _ = readProofs(keys), readRestored(keys)
			_ = readDelivered(keys)
			runtime.ReadMemStats(&after)
			const most = 200 << 20
			if took := after.TotalAlloc - before.TotalAlloc; took > most {
				t.Errorf("reading took %d MB of memory", took>>20)
			}
			if !slices.ContainsFunc(wish.Sessions, func(s session.Stored) bool { return s.Name == "web" }) {
				t.Errorf("the session in force is not read: %v", wish.Broken["web"])
			}
			if wish.Status["web"].State != session.Active {
				t.Error("nor its status")
			}
			if c.broken != "" && wish.Broken[c.broken] == nil {
				t.Error("nothing is told of what is not read")
			}
			if len(wish.Sessions)+len(wish.Broken) > maxSessions+1 {
				t.Errorf("%d sessions are read, and %d are broken", len(wish.Sessions), len(wish.Broken))
			}
			for name, err := range wish.Broken {
				if len(name) > 300 || len(err.Error()) > 2000 {
					t.Errorf("what is told has %d bytes", len(err.Error()))
				}
			}
		})
	}
}

// TestEndIsKept: a session that reached its limit does not begin anew where somebody deletes its status; it does when it is
// enabled again (another round), or goes on with a higher limit.
func TestEndIsKept(t *testing.T) {
	keys := good("web")
	keys[sessionPrefix+"web"] = strings.Replace(keys[sessionPrefix+"web"], `"erspan"`, `"maxPackets":10,"erspan"`, 1)
	used := &session.Used{Packets: 12, Bytes: 1200}
	d := &DB{}
	after, err := d.report(places{keys: keys}, 3, map[string]session.Status{"web": {State: session.Disabled, Reason: flows.ReasonLimitReached, Used: used}})
	if err != nil {
		t.Fatal(err)
	}
	reached := func(keys map[string]string) string {
		t.Helper()
		wish := readWish(keys, nil)
		if len(wish.Sessions) != 1 {
			t.Fatalf("the store has %d sessions: %v", len(wish.Sessions), wish.Broken)
		}
		return wish.Sessions[0].LimitReached()
	}
	without := maps.Clone(after)
	delete(without, statusPrefix+"web")
	if reached(after) == "" || reached(without) == "" {
		t.Errorf("its limit: %q; without its status: %q", reached(after), reached(without))
	}
	if !isWishKey(endedPrefix + "web") {
		t.Error("tap bridges have no copy of it")
	}
	anew := maps.Clone(after)
	anew[sessionPrefix+"web"] = strings.Replace(anew[sessionPrefix+"web"], `"slot":1,`, `"slot":1,"round":1,`, 1)
	if text := reached(anew); text != "" {
		t.Errorf("enabled again: %s", text)
	}
	// What is reported otherwise, or removed, leaves none.
	for name, change := range map[string]func(keys map[string]string) map[string]session.Status{
		"goes on": func(map[string]string) map[string]session.Status {
			return map[string]session.Status{"web": {State: session.Active, Reason: flows.ReasonInForce, Used: used}}
		},
		"removed": func(keys map[string]string) map[string]session.Status {
			delete(keys, sessionPrefix+"web")
			return nil
		},
	} {
		keys := maps.Clone(after)
		status := change(keys)
		if keys, err = d.report(places{keys: keys}, 3, status); err != nil {
			t.Fatal(err)
		}
		if text, is := keys[endedPrefix+"web"]; is {
			t.Errorf("%s: %s is left", name, text)
		}
	}
}
