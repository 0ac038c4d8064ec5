package ovsdb_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ovs-erspan/ovs-erspan/ovsdb"
	"github.com/ovs-erspan/ovs-erspan/ovsdb/ovsdbtest"
	"github.com/ovs-erspan/ovs-erspan/session"
)

func newSession(name string) session.Stored {
	return session.Stored{Session: session.Session{
		Name: name, Bridge: "br0", Sources: session.Sources{Ports: []string{"p1"}},
		Collectors: []netip.Addr{collector(name)},
		ERSPAN:     session.ERSPAN{Version: 1, SessionID: ptr(7)},
	}}
}

// collector is the session's own: two with the same one and the same id would not stand beside each other.
func collector(name string) netip.Addr {
	sum := sha256.Sum256([]byte(name))
	return netip.AddrFrom4([4]byte{198, 18, sum[0], sum[1]})
}

// text is what newSession is in the store.
func text(name string, slot int) string {
	return fmt.Sprintf(`{"slot":%d,"spec":{"name":%q,"bridge":"br0","sources":{"ports":["p1"]},"collectors":[%q],"erspan":{"version":1,"sessionID":7}}}`, slot, name, collector(name).String())
}

func wish(t testing.TB, db *ovsdb.DB) session.Wish {
	t.Helper()
	w, err := db.Wish()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func update(t testing.TB, db *ovsdb.DB, change func(*session.Wish) error) uint64 {
	t.Helper()
	generation, err := db.Update(context.Background(), change)
	if err != nil {
		t.Fatal(err)
	}
	return generation
}

// add is a change that adds sessions.
func add(sessions ...session.Stored) func(*session.Wish) error {
	return func(w *session.Wish) error {
		w.Sessions = append(w.Sessions, sessions...)
		return nil
	}
}

// remove is a change that removes sessions.
func remove(names ...string) func(*session.Wish) error {
	return func(w *session.Wish) error {
		w.Sessions = slices.DeleteFunc(w.Sessions, func(s session.Stored) bool { return slices.Contains(names, s.Name) })
		return nil
	}
}

// setKeys writes external_ids of the store's row as a user would, or of the Open_vSwitch row where there is no store yet.
func setKeys(s *ovsdbtest.Server, keys map[string]string) {
	args := []string{"set", "open_vswitch", "."}
	if row := storeRow(s); row != "" {
		args = []string{"set", "queue", row}
	}
	for key, value := range keys {
		args = append(args, fmt.Sprintf("external_ids:%q=%q", key, value))
	}
	s.Vsctl(args...)
}

// storeRow is the UUID of the store's row, "" for none.
func storeRow(s *ovsdbtest.Server) string {
	return strings.TrimSpace(s.Vsctl("--bare", "--columns=_uuid", "find", "queue", "external_ids:ovs-erspan=store"))
}

// keys are the store's, and the external_ids of the Open_vSwitch row, read by another program.
func keys(s *ovsdbtest.Server) map[string]string {
	all := externalIDs(s, "open_vswitch", ".")
	if row := storeRow(s); row != "" {
		maps.Copy(all, externalIDs(s, "queue", row))
		delete(all, "ovs-erspan")
	}
	return all
}

// externalIDs are those of a row.
func externalIDs(s *ovsdbtest.Server, table, row string) map[string]string {
	all := make(map[string]string)
	for line := range strings.Lines(s.Run("ovs-vsctl", "--db="+s.Remote(), "--no-wait", "--format=json", "--columns=external_ids", "list", table, row)) {
		maps.Copy(all, jsonMap(line))
	}
	return all
}

// version changes with every transaction that writes the store.
func version(s *ovsdbtest.Server) string {
	return s.Run("ovsdb-client", "transact", s.Remote(), `["Open_vSwitch", {"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["_version"]}, {"op": "select", "table": "Queue", "where": [], "columns": ["_version"]}]`)
}

func TestStore(t *testing.T) {
	s := ovsdbtest.Start(t)
	others := map[string]string{"hostname": "h", "ovs-erspanx": "not ours", "note": `a, "b" {c} ü \`}
	setKeys(s, others)
	db := connect(t, s)
	if diff := cmp.Diff(session.Wish{}, wish(t, db), cmpopts.EquateEmpty(), cmpopts.EquateComparable(session.Rate{})); diff != "" {
		t.Errorf("an empty store (-want +got):\n%s", diff)
	}
	want := func(what string, generation uint64, ours map[string]string) {
		t.Helper()
		all := maps.Clone(others)
		maps.Copy(all, ours)
		if generation > 0 {
			all["ovs-erspan.generation"] = fmt.Sprint(generation)
		}
		if diff := cmp.Diff(all, keys(s)); diff != "" {
			t.Errorf("%s: external_ids (-want +got):\n%s", what, diff)
		}
		if got := wish(t, db).Generation; got != generation {
			t.Errorf("%s: generation %d, want %d", what, got, generation)
		}
	}
	// What was committed is seen at once, without waiting.
	if g := update(t, db, add(newSession("web"), newSession("app"))); g != 1 {
		t.Errorf("generation %d", g)
	}
	want("two added", 1, map[string]string{"ovs-erspan.session.web": text("web", 1), "ovs-erspan.session.app": text("app", 2)})

	set := func(w *session.Wish) error {
		for i := range w.Sessions {
			if w.Sessions[i].Name == "web" {
				w.Sessions[i].Disabled = true
			}
		}
		return nil
	}
	disabled := strings.Replace(text("web", 1), `"name":"web",`, `"name":"web","disabled":true,`, 1)
	if g := update(t, db, set); g != 2 {
		t.Errorf("generation %d", g)
	}
	want("one set", 2, map[string]string{"ovs-erspan.session.web": disabled, "ovs-erspan.session.app": text("app", 2)})

	// Nothing to do, or refused: not even the row's version changes.
	before := version(s)
	if g := update(t, db, set); g != 2 {
		t.Errorf("generation %d", g)
	}
	refused := errors.New("refused")
	if _, err := db.Update(context.Background(), func(w *session.Wish) error { w.Sessions = nil; return refused }); err != refused {
		t.Errorf("error %v", err)
	}
	for name, c := range map[string]struct {
		change func(*session.Wish) error
		text   string
	}{
		"twice the same name":      {add(newSession("new"), newSession("new")), `session "new" is there twice`},
		"name that is there":       {add(newSession("web")), `session "web" is there twice`},
		"slot that is there":       {add(session.Stored{Session: newSession("new").Session, Slot: 2}), `"app" and "new" have the same slot, 2`},
		"slot out of range":        {add(session.Stored{Session: newSession("new").Session, Slot: 1<<31 + 1}), "slot 2147483649: want 1..2147483648"},
		"session that is not sane": {add(newSession("NEW")), "NEW"},
	} {
		_, err := db.Update(context.Background(), c.change)
		if err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: error %v, want %q", name, err, c.text)
		}
	}
	if after := version(s); after != before {
		t.Errorf("version %s became %s", before, after)
	}
	want("refused", 2, map[string]string{"ovs-erspan.session.web": disabled, "ovs-erspan.session.app": text("app", 2)})

	// A slot that is free again is given again; a session keeps its own.
	update(t, db, remove("web"))
	update(t, db, add(newSession("third"), newSession("fourth")))
	want("removed and added", 4, map[string]string{
		"ovs-erspan.session.app": text("app", 2), "ovs-erspan.session.third": text("third", 1), "ovs-erspan.session.fourth": text("fourth", 3),
	})
	if got := wish(t, db).Sessions; got[0].Name != "app" || got[1].Name != "fourth" || got[2].Name != "third" {
		t.Errorf("not sorted: %v", got)
	}
	if err := db.Forget(context.Background()); !errors.Is(err, ovsdb.ErrConflict) {
		t.Errorf("Forget with sessions: %v", err)
	}
	update(t, db, remove("app", "third", "fourth"))
	want("all removed", 5, nil)
	if err := db.Report(context.Background(), 5, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := db.Forget(context.Background()); err != nil {
			t.Fatal(err)
		}
		want("forgotten", 0, nil)
		if row := storeRow(s); row != "" {
			t.Errorf("the store's row is left: %s", row)
		}
	}
}

// TestStoreHost: what is wished for all sessions together is kept, known to each of them, told of where it cannot be read,
// and gone when it is unset.
func TestStoreHost(t *testing.T) {
	s := ovsdbtest.Start(t)
	db := connect(t, s)
	rate := session.BitsPerSecond(1_000_000)
	set := func(h session.Host) func(*session.Wish) error {
		return func(w *session.Wish) error { w.SetHost(h); return nil }
	}
	first := update(t, db, set(session.Host{MaxRate: rate}))
	if again := update(t, db, set(session.Host{MaxRate: rate})); again != first {
		t.Errorf("the same again made generation %d of %d", again, first)
	}
	update(t, db, add(newSession("web")))
	w := wish(t, connect(t, s))
	if w.Host.MaxRate != rate || len(w.Sessions) != 1 || w.Sessions[0].HostRate != rate {
		t.Errorf("%+v", w)
	}
	setKeys(s, map[string]string{"ovs-erspan.host": `{\"maxRate\":\"fast\"}`})
	db = connect(t, s)
	if w := wish(t, db); w.Broken[session.HostName] == nil || !w.Host.MaxRate.IsZero() {
		t.Errorf("one that cannot be read: %+v", w)
	}
	update(t, db, remove("web"))
	if w := wish(t, db); w.Broken[session.HostName] == nil {
		t.Error("another change took it away")
	}
	update(t, db, set(session.Host{}))
	if w := wish(t, db); len(w.Broken) > 0 || strings.Contains(s.Dump(), "ovs-erspan.host") {
		t.Errorf("after it was unset: %+v", w)
	}
}

func TestStoreKeepsEveryValue(t *testing.T) {
	s := ovsdbtest.Start(t)
	want := session.Stored{
		Session: session.Session{
			Name: "a.b-c", Type: session.Source, Description: `quotes "'` + "`" + `, commas, \ {[<&>]} = ü 漢 🦉`, Disabled: true,
			Bridge: `br,"0"`, Sources: session.Sources{Ports: []string{`iface-id=a,b"c"`, "p1"}}, VLANs: []int{10, 4094},
			Direction: session.Egress, Collectors: []netip.Addr{netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8::9")},
			Match:   []session.Rule{{Permit: "tcp,tp_dst=443"}, {PermitBothWays: "ip,nw_src=192.0.2.0/24"}, {Deny: "icmp"}},
			Snaplen: session.SnaplenBytes(64), MaxRate: session.PacketsPerSecond(1500), DSCP: ptr(0), TTL: ptr(255),
			ERSPAN:       session.ERSPAN{Version: 2, SessionID: ptr(0), HardwareID: ptr(63)},
			ExpiresAt:    ptr(time.Date(2030, 1, 2, 3, 4, 5, 600, time.UTC)),
			AllowMissing: true,
		},
		Slot:       1 << 31,
		Identities: map[string]session.Identity{"p1": {IfaceID: `id "x", ü`, AttachedMAC: "aa:bb:cc:dd:ee:ff"}, "p2": {}},
	}
	update(t, connect(t, s), add(want))
	w := wish(t, connect(t, s))
	if len(w.Broken) > 0 || len(w.Sessions) != 1 {
		t.Fatalf("%+v", w)
	}
	if diff := cmp.Diff(want, w.Sessions[0], cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b session.Snaplen) bool { return a == b }), cmp.Comparer(func(a, b session.Rate) bool { return a == b })); diff != "" {
		t.Errorf("session (-want +got):\n%s", diff)
	}
}

func TestStoreWithManyWriters(t *testing.T) {
	s := ovsdbtest.Start(t)
	const writers = 20
	generations := make([]uint64, writers)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range writers {
		db := connect(t, s)
		wg.Go(func() {
			<-start
			var err error
			if generations[i], err = db.Update(context.Background(), add(newSession(fmt.Sprintf("s%d", i)))); err != nil {
				t.Error(err)
			}
		})
	}
	close(start)
	wg.Wait()
	w := wish(t, connect(t, s))
	if w.Generation != writers || len(w.Sessions) != writers || len(w.Broken) > 0 {
		t.Fatalf("generation %d, %d sessions, broken: %v", w.Generation, len(w.Sessions), w.Broken)
	}
	var slots []int
	for _, s := range w.Sessions {
		slots = append(slots, int(s.Slot))
	}
	slices.Sort(slots)
	slices.Sort(generations)
	for i := range writers {
		if slots[i] != i+1 || generations[i] != uint64(i+1) {
			t.Fatalf("slots %v, generations %v", slots, generations)
		}
	}
}

func TestStoreReportsWhatIsBroken(t *testing.T) {
	s := ovsdbtest.Start(t)
	db := connect(t, s)
	update(t, db, add(newSession("good")))
	broken := map[string]struct{ text, reason string }{
		"notjson":    {"{", "unexpected EOF"},
		"empty":      {"", "EOF"},
		"list":       {"[]", "cannot unmarshal"},
		"more":       {text("more", 5) + "{}", "text after its end"},
		"unknown":    {`{"slot":6,"colour":"red","spec":{}}`, `unknown field "colour"`},
		"unknown2":   {strings.Replace(text("unknown2", 7), `"bridge"`, `"brigde"`, 1), `brigde: there is no such field; did you mean bridge?`},
		"noslot":     {strings.Replace(text("noslot", 1), `"slot":1,`, "", 1), "slot 0: want 1..2147483648"},
		"bigslot":    {text("bigslot", 1<<31+1), "slot 2147483649: want 1..2147483648"},
		"hugeslot":   {text("hugeslot", 1<<32), "slot"},
		"negslot":    {text("negslot", -1), "slot"},
		"sameslot":   {text("sameslot", 1), `slot 1 is that of session "good"`},
		"othername":  {text("good", 8), `the name "good"`},
		"UPPER":      {text("UPPER", 9), "UPPER"},
		"":           {text("", 10), "name"},
		"wrongrange": {strings.Replace(text("wrongrange", 2), `"sessionID":7`, `"sessionID":1024`, 1), "1024"},
		"wrongaddr":  {strings.Replace(text("wrongaddr", 12), collector("wrongaddr").String(), "nowhere", 1), "nowhere"},
	}
	set := make(map[string]string)
	for name, b := range broken {
		set["ovs-erspan.session."+name] = b.text
	}
	set["ovs-erspan.status.good"] = "{"
	set["ovs-erspan.future"] = "left alone"
	setKeys(s, set)
	ovsdbtest.Eventually(t, "the entries are seen", func() bool { return len(wish(t, db).Broken) >= len(broken) })

	w := wish(t, db)
	if len(w.Sessions) != 1 || w.Sessions[0].Name != "good" || len(w.Status) > 0 {
		t.Errorf("what can be read: %+v, %+v", w.Sessions, w.Status)
	}
	for name, b := range broken {
		err := w.Broken[name]
		if err == nil || !strings.Contains(err.Error(), b.reason) || !strings.Contains(err.Error(), "ovs-erspan.session."+name) {
			t.Errorf("%q: error %v, want %q and the key", name, err, b.reason)
		}
		delete(w.Broken, name)
	}
	if len(w.Broken) > 0 {
		t.Errorf("broken beyond what is: %v", w.Broken)
	}

	// They are left alone, and their slots are not given away.
	taken := map[uint32]bool{5: true, 8: true, 9: true, 10: true, 2: true}
	var fresh []session.Stored
	for i := range 10 {
		fresh = append(fresh, newSession(fmt.Sprintf("fresh%d", i)))
	}
	update(t, db, add(fresh...))
	now := keys(s)
	for key, text := range set {
		if now[key] != text {
			t.Errorf("key %q became %q", key, now[key])
		}
	}
	for _, session := range wish(t, db).Sessions {
		if taken[session.Slot] {
			t.Errorf("session %s was given slot %d", session.Name, session.Slot)
		}
	}
	// Adding over one is refused; removing and replacing one is not.
	_, err := db.Update(context.Background(), add(newSession("notjson")))
	wantError(t, err, nil, `session "notjson" exists, but cannot be read`, "unexpected EOF")
	update(t, db, func(w *session.Wish) error { delete(w.Broken, "empty"); return nil })
	update(t, db, func(w *session.Wish) error { delete(w.Broken, "notjson"); return add(newSession("notjson"))(w) })
	now = keys(s)
	if _, there := now["ovs-erspan.session.empty"]; there || now["ovs-erspan.session.notjson"] == "{" || len(wish(t, db).Broken) != len(broken)-2 {
		t.Errorf("after removing and replacing: %v", now)
	}
}

func TestStoreKeepsTextThatIsNotCanonical(t *testing.T) {
	s := ovsdbtest.Start(t)
	db := connect(t, s)
	odd := strings.ReplaceAll(text("odd", 3), ":", ": ")
	setKeys(s, map[string]string{"ovs-erspan.session.odd": odd})
	ovsdbtest.Eventually(t, "the entry is seen", func() bool { return len(wish(t, db).Sessions) == 1 })
	update(t, db, add(newSession("new")))
	if got := keys(s)["ovs-erspan.session.odd"]; got != odd {
		t.Errorf("rewritten without need: %s", got)
	}
	update(t, db, func(w *session.Wish) error { w.Sessions[1].Description = "changed"; return nil })
	want := strings.Replace(text("odd", 3), `"name":"odd",`, `"name":"odd","description":"changed",`, 1)
	if got := keys(s)["ovs-erspan.session.odd"]; got != want {
		t.Errorf("changed to: %s", got)
	}
}

func TestGenerationNeverGoesBack(t *testing.T) {
	for name, c := range map[string]struct {
		generation, inForce string
		want                uint64
		broken              bool
	}{
		"lost":           {"", "41", 41, false},
		"behind":         {"7", "41", 41, false},
		"not a number":   {"x", "41", 41, true},
		"too big":        {"18446744073709551615", "", 0, true},
		"in force is no": {"7", "x", 7, false},
		"negative":       {"-1", "-1", 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := ovsdbtest.Start(t)
			set := map[string]string{"a": "b"}
			if c.generation != "" {
				set["ovs-erspan.generation"] = c.generation
			}
			if c.inForce != "" {
				set["ovs-erspan.in-force"] = c.inForce
			}
			setKeys(s, set)
			db := connect(t, s)
			w := wish(t, db)
			if w.Generation != c.want || (w.Broken["(generation)"] != nil) != c.broken {
				t.Errorf("%+v", w)
			}
			if g := update(t, db, add(newSession("new"))); g != c.want+1 {
				t.Errorf("generation %d", g)
			}
			if w := wish(t, db); w.Generation != c.want+1 || len(w.Broken) > 0 || len(w.Sessions) != 1 {
				t.Errorf("%+v", w)
			}
		})
	}
}

func TestReport(t *testing.T) {
	s := ovsdbtest.Start(t)
	setKeys(s, map[string]string{"hostname": "h"})
	db := connect(t, s)
	update(t, db, add(newSession("web"), newSession("app"), newSession("odd")))
	since := time.Date(2030, 1, 2, 3, 4, 5, 600, time.FixedZone("", 3600))
	status := map[string]session.Status{
		"web": {State: session.Active, Since: since, Collectors: []session.CollectorStatus{{Address: "192.0.2.9", State: session.Active, Snaplen: 1450}}},
		"app": {State: session.Degraded, Reason: "NoRoute", Message: `no route, "none" <&>`, Since: since},
		"odd": {State: session.Failed, Reason: "MirrorSlots", Since: since},
	}
	accepted := func() (names []string) {
		for _, s := range wish(t, db).Sessions {
			if s.Accepted {
				names = append(names, s.Name)
			}
		}
		return names
	}
	if names := accepted(); len(names) > 0 {
		t.Errorf("accepted before there was a report: %v", names)
	}
	report := func(inForce uint64) {
		t.Helper()
		if err := db.Report(context.Background(), inForce, status); err != nil {
			t.Fatal(err)
		}
	}
	for name := range status {
		if _, ok := wish(t, db).Status[name]; ok {
			t.Error("a status from nowhere")
		}
	}
	// The writing itself is nothing to look at again for.
	ovsdbtest.Eventually(t, "quiet", func() bool {
		select {
		case <-db.Changed():
			return false
		default:
			return true
		}
	})
	before := keys(s)
	report(1)
	w := wish(t, connect(t, s))
	if diff := cmp.Diff(status, w.Status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if names := accepted(); !slices.Equal(names, []string{"app", "web"}) {
		t.Errorf("accepted: %v", names)
	}
	if w.InForce != 1 || w.Generation != 1 || !w.Status["web"].Since.Equal(since) {
		t.Errorf("%+v", w)
	}
	if got := keys(s)["ovs-erspan.status.app"]; got != `{"state":"Degraded","reason":"NoRoute","message":"no route, \"none\" <&>","since":"2030-01-02T03:04:05.0000006+01:00"}` {
		t.Errorf("status as text: %s", got)
	}
	// The same again, also as it was read, writes nothing.
	written := version(s)
	report(1)
	status = wish(t, db).Status
	report(1)
	if now := version(s); now != written {
		t.Error("the same report was written twice")
	}
	// One that differs is written, the other stays; that of a session that is not there is not written.
	status["app"] = session.Status{State: session.Active, Since: since}
	status["none"] = session.Status{State: session.Active, Since: since}
	report(2) // also beyond the generation: the next is counted from there
	after := keys(s)
	if after["ovs-erspan.status.app"] != `{"state":"Active","since":"2030-01-02T03:04:05.0000006+01:00"}` || after["ovs-erspan.in-force"] != "2" {
		t.Errorf("%v", after)
	}
	if _, there := after["ovs-erspan.status.none"]; there {
		t.Error("a status of no session")
	}
	for key, text := range before {
		if after[key] != text {
			t.Errorf("key %q became %q", key, after[key])
		}
	}
	// A status goes with its session, in one transaction; and by a report where somebody else removed the session.
	update(t, db, remove("app", "odd"))
	if _, there := keys(s)["ovs-erspan.status.app"]; there {
		t.Error("the status outlives the session")
	}
	s.Vsctl("remove", "queue", storeRow(s), "external_ids", "ovs-erspan.session.web")
	ovsdbtest.Eventually(t, "the session is gone", func() bool { return len(wish(t, db).Sessions) == 0 })
	status = nil
	report(3)
	if diff := cmp.Diff(map[string]string{"hostname": "h", "ovs-erspan.generation": "3", "ovs-erspan.in-force": "3"}, keys(s)); diff != "" {
		t.Errorf("at the end (-want +got):\n%s", diff)
	}
}

// TestReportIsNoChange: who reports must not be woken by it, or it would go on for ever.
func TestReportIsNoChange(t *testing.T) {
	s := ovsdbtest.Start(t)
	s.StartVswitchd()
	production(t, s)
	tapBridges(s)
	db, other := connect(t, s), connect(t, s)
	update(t, db, add(newSession("web")))
	<-other.Changed()
	ovsdbtest.Eventually(t, "the session is seen", func() bool { return len(wish(t, other).Sessions) == 1 })
	quiet := func() bool {
		select {
		case <-other.Changed():
			return false
		default:
			return true
		}
	}
	// What happened before is told of a moment after it can be read: a wake-up may be that.
	i := uint64(0)
	ovsdbtest.Eventually(t, "reports that wake nobody", func() bool {
		quiet()
		for range 5 {
			i++
			if err := db.Report(context.Background(), i, map[string]session.Status{"web": {State: session.Active, Since: time.Unix(int64(i), 0)}}); err != nil {
				t.Fatal(err)
			}
			ovsdbtest.Eventually(t, "the report is seen", func() bool { return wish(t, other).InForce == i && len(wish(t, other).Status) == 1 })
		}
		return quiet()
	})
	update(t, db, remove("web"))
	<-other.Changed()
}

func BenchmarkUpdate(b *testing.B) {
	for _, sessions := range []int{0, 1000} {
		b.Run(fmt.Sprint(sessions), func(b *testing.B) {
			s := ovsdbtest.Start(b)
			tapBridges(s) // with their copies, as where sessions are in force
			db := connect(b, s)
			update(b, db, func(w *session.Wish) error {
				for i := range sessions {
					w.Sessions = append(w.Sessions, newSession(fmt.Sprintf("s%d", i)))
				}
				return nil
			})
			for n := 0; b.Loop(); n++ {
				if n%2 == 0 {
					update(b, db, add(newSession("x")))
				} else {
					update(b, db, remove("x"))
				}
			}
		})
	}
}
