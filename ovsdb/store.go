package ovsdb

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/ovn-kubernetes/libovsdb/model"
	lib "github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// The store's keys in the external_ids of its row (places.go).
const (
	storePrefix   = "ovs-erspan."           // begins every one
	sessionPrefix = "ovs-erspan.session."   // + name: a stored
	statusPrefix  = "ovs-erspan.status."    // + name: a session.Status
	hostKey       = "ovs-erspan.host"       // a session.Host
	generationKey = "ovs-erspan.generation" // decimal; every Update that writes adds 1
	inForceKey    = "ovs-erspan.in-force"   // decimal; the generation that was last reconciled
	endedPrefix   = "ovs-erspan.ended."     // + name: the session.Used of one that reached its limit
	deliveredKey  = "ovs-erspan.delivered"  // list of the production bridges that may have flows of ours
)

// maxSlot bounds session.Stored.Slot: it is the low half of a cookie and the value of a register, and a bit is spared.
const maxSlot = 1 << 31

// brokenGeneration is the name in Wish.Broken of a generation that cannot be read. No session can have this name.
const brokenGeneration = "(generation)"

// stored is a session in the store. Its JSON is canonical: fields in this order, keys of maps sorted, no white space.
type stored struct {
	Slot       uint32                      `json:"slot"`
	Identities map[string]session.Identity `json:"identities,omitempty"`
	Round      uint64                      `json:"round,omitempty"`
	Spec       session.Session             `json:"spec"`
}

// Wish is all that the store holds, as of now and as far as it can be read; what cannot be read is in Wish.Broken. A
// generation that cannot be read is there as "(generation)", and counts as the one in force: the next Update repairs it.
// It fails only when the connection is lost (ErrDisconnected). The lists in it are shared with later calls: they are not to
// be written to.
func (d *DB) Wish() (session.Wish, error) {
	p, err := d.places()
	if err != nil {
		return session.Wish{}, err
	}
	reader := d.memo.begin()
	defer reader.end()
	wish := readWish(p.keys, reader)
	wish.Restored = readRestored(p.keys)
	for i := range wish.Sessions {
		s := &wish.Sessions[i]
		// Commands store them with defaults; who writes by hand may leave them out.
		s.Session = s.Defaulted()
		last := wish.Status[s.Name].State
		s.Accepted = last != "" && last != session.Failed
	}
	return wish, nil
}

// Statuses are the sessions' statuses as they were last reported, as far as they can be read: what Wish has of them, in less
// time.
func (d *DB) Statuses() (map[string]session.Status, error) {
	p, err := d.places()
	if err != nil {
		return nil, err
	}
	return readStatuses(p.keys, nil), nil
}

// StatusesOf are the statuses of those sessions alone.
func (d *DB) StatusesOf(names []string) (map[string]session.Status, error) {
	p, err := d.places()
	if err != nil {
		return nil, err
	}
	all := make(map[string]session.Status, len(names))
	for _, name := range names {
		if status, ok := readStatus(p.keys[statusPrefix+name]); ok {
			all[name] = status
		}
	}
	return all, nil
}

// readWish reads the keys of the store.
func readWish(externalIDs map[string]string, reader *memoReader) session.Wish {
	statuses := readStatuses(externalIDs, reader)
	wish, _ := readSessions(externalIDs, reader, func(name string) session.Status { return statuses[name] })
	wish.Status = statuses
	return wish
}

// readStatuses leaves out what cannot be read, which is as good as none: the next Report writes it anew.
func readStatuses(externalIDs map[string]string, reader *memoReader) map[string]session.Status {
	all := make(map[string]session.Status)
	names, _ := within(externalIDs, statusPrefix)
	for _, name := range names {
		key := statusPrefix + name
		if status, ok := reader.status(key, externalIDs[key]); ok {
			all[name] = status
		}
	}
	return all
}

// readSessions reads the keys of the store but the statuses, of which it asks for those that matter: reading all takes as
// long as reading the sessions. It returns the slots that are taken, those of broken entries included as far as they can be
// read.
func readSessions(externalIDs map[string]string, reader *memoReader, status func(name string) session.Status) (session.Wish, map[uint32]string) {
	wish := session.Wish{Broken: make(map[string]error), Status: make(map[string]session.Status)}
	taken := make(map[uint32]string)
	broken := func(key, name string, err error) {
		wish.Broken[name] = fmt.Errorf("external_ids key %s of the session store: %s", session.Quote(key), session.Summary(err))
	}
	// A slot goes first to whom it belongs by an entry that can be read: one that cannot must harm no other.
	var slotsOfBroken []session.Stored
	names, more := within(externalIDs, sessionPrefix)
	if more > 0 {
		wish.Broken[unread] = fmt.Errorf("%d keys %s… of the session store are not read: at most %d sessions of %d bytes in all are, with names of at most %d; see who writes them (ovs-vsctl find queue external_ids:%s=%s)",
			more, sessionPrefix, maxSessions, maxStoreLen, session.MaxNameLen, flows.OwnerKey, storeMark)
	}
	owners := make(map[uint32][]string, len(names))
	wish.Sessions = slices.Grow(wish.Sessions, len(names))
	for _, name := range names {
		key := sessionPrefix + name
		s, err := reader.session(key, name, externalIDs[key])
		if err != nil {
			broken(key, name, err)
			s.Name = name
			slotsOfBroken = append(slotsOfBroken, s)
			continue
		}
		owners[s.Slot] = append(owners[s.Slot], name)
		wish.Sessions = append(wish.Sessions, s)
	}
	for slot, names := range owners {
		taken[slot] = slices.MinFunc(names, func(a, b string) int { return bySeniority(status, a, b) })
	}
	wish.Sessions = slices.DeleteFunc(wish.Sessions, func(s session.Stored) bool {
		owner := taken[s.Slot]
		if owner != s.Name {
			broken(sessionPrefix+s.Name, s.Name, fmt.Errorf("slot %d is that of session %q: remove this one, or write it with a slot that is free", s.Slot, owner))
		}
		return owner != s.Name
	})
	if text, ok := externalIDs[hostKey]; ok {
		if err := readHost(text, &wish.Host); err != nil {
			broken(hostKey, session.HostName, err)
		}
	}
	wish.ShareHost()
	for i := range wish.Sessions {
		s := &wish.Sessions[i]
		if !s.Bounded() {
			continue
		}
		for _, used := range []*session.Used{status(s.Name).Used, endedOf(externalIDs, s.Name)} {
			if used != nil && used.Round == s.Round && used.Packets >= s.Used.Packets && used.Bytes >= s.Used.Bytes {
				s.Used = *used
			}
		}
	}
	for _, s := range slotsOfBroken {
		if _, double := taken[s.Slot]; s.Slot != 0 && !double {
			taken[s.Slot] = s.Name
		}
	}
	for name, fault := range conflicts(wish.Sessions, status) {
		broken(sessionPrefix+name, name, fault)
	}
	wish.Sessions = slices.DeleteFunc(wish.Sessions, func(s session.Stored) bool { return wish.Broken[s.Name] != nil })
	wish.InForce, _ = readGeneration(externalIDs[inForceKey])
	if text, ok := externalIDs[generationKey]; ok {
		if wish.Generation, ok = readGeneration(text); !ok {
			wish.Broken[brokenGeneration] = fmt.Errorf("external_ids key %q of the session store: %s is not a number of the store", generationKey, session.Quote(text))
		}
	}
	// Who waits for a generation to be in force must not be told so by one that is older.
	wish.Generation = max(wish.Generation, wish.InForce)
	return wish, taken
}

// conflicts are the faults of sessions that cannot stand beside others. Commands let none in.
func conflicts(sessions []session.Stored, status func(name string) session.Status) map[string]error {
	all := make([]session.Session, len(sessions))
	for i, s := range sessions {
		all[i] = s.Session
	}
	if session.CheckSet(all) == nil {
		return nil
	}
	slices.SortStableFunc(all, func(a, b session.Session) int { return bySeniority(status, a.Name, b.Name) })
	faults := map[string]error{}
	for _, err := range session.Flatten(session.CheckSet(all)) {
		var fault *session.FieldError
		if errors.As(err, &fault) && faults[fault.Session] == nil { // always so; it names the later of two
			faults[fault.Session] = err
		}
	}
	return faults
}

// bySeniority puts first, of two sessions that claim the same, the one that had it: a key that somebody wrote by hand
// takes nothing away from a session that is in force. So a session counts that was reported, other than as invalid.
func bySeniority(status func(name string) session.Status, a, b string) int {
	reported := func(name string) int {
		if s := status(name); s.State != "" && s.Reason != flows.ReasonInvalid {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(reported(a), reported(b)), status(a).Since.Compare(status(b).Since), cmp.Compare(a, b))
}

func readHost(text string, to *session.Host) error {
	if err := tooLarge(text, maxOtherLen, maxParts); err != nil {
		return err
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	var h session.Host
	if err := decoder.Decode(&h); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errors.New("text after its end")
	}
	*to = h
	return nil
}

// readGeneration reads a generation that can be counted up for long enough.
func readGeneration(text string) (uint64, bool) {
	n, err := strconv.ParseUint(text, 10, 62)
	if err != nil {
		return 0, false
	}
	return n, true
}

// readSession reads a session strictly. With an error, the slot is set where it could be read.
func readSession(name, text string) (session.Stored, error) {
	if err := tooLarge(text, maxSessionLen, maxParts); err != nil {
		return session.Stored{}, err
	}
	var in stored
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&in)
	if err == nil {
		if _, more := decoder.Token(); more != io.EOF {
			err = errors.New("text after its end")
		}
	}
	out := session.Stored{Session: in.Spec, Slot: in.Slot, Identities: in.Identities, Round: in.Round}
	switch {
	case err != nil:
		return out, explain(text, err)
	case in.Slot < 1 || in.Slot > maxSlot:
		return out, fmt.Errorf("slot %d: want 1..%d", in.Slot, maxSlot)
	case in.Spec.Name != name:
		return out, fmt.Errorf("its spec has the name %s, and its key another", session.Quote(in.Spec.Name))
	}
	return out, out.ValidateStored()
}

// explain says what is wrong with an entry whose JSON could not be read, and in which field, where it is the session's.
func explain(text string, err error) error {
	var raw struct {
		Spec json.RawMessage `json:"spec"`
	}
	if json.Unmarshal([]byte(text), &raw) != nil || len(raw.Spec) == 0 {
		return err
	}
	if _, specErr := session.DecodeJSON(raw.Spec); specErr != nil {
		return session.ExplainJSON(raw.Spec, err)
	}
	return err
}

func writeSession(s session.Stored) (string, error) {
	return canonical(stored{Slot: s.Slot, Identities: s.Identities, Round: s.Round, Spec: s.Session})
}

// canonical is JSON as the store has it: "<" is written so, not escaped, for those who read it with ovs-vsctl.
func canonical(v any) (string, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSuffix(text.String(), "\n"), nil
}

// Update changes the wish: change is given what the store holds, and what it leaves there is written, in one transaction
// that also adds 1 to the generation. It returns the generation that has the change in it. When another writer was faster,
// everything is read anew and change is called again, until the context is done: change must have no effect but on its
// argument. When change returns an error, Update returns that error, and nothing is written; nor is anything when change
// changes nothing.
//
// Sessions are told apart by name; their order does not matter. One with Slot 0 is given the lowest free slot. Entries in
// Wish.Broken stay as they are, unless change deletes one there: then the entry is removed, or replaced by a session of
// that name. What change does to the generations is ignored; it is given no statuses.
func (d *DB) Update(ctx context.Context, change func(*session.Wish) error) (uint64, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	for {
		p, err := d.places()
		if err != nil {
			return 0, err
		}
		edit, err := newEdit(p.keys, &d.memo, change)
		if err != nil {
			return 0, err
		}
		if edit.empty() {
			return edit.generation, nil
		}
		_, err = d.commit(ctx, p.update(edit))
		switch {
		case err == nil:
			return edit.generation + 1, nil
		case errors.Is(err, ErrConflict) && ctx.Err() == nil:
			// By now the cache has what we did not know (see commit).
		case errors.Is(err, ErrConflict):
			return 0, fmt.Errorf("session store: other writers were faster each time: %w", err)
		default:
			return 0, fmt.Errorf("session store: %w", err)
		}
	}
}

// edit is a change of the store's keys.
type edit struct {
	generation uint64            // before
	before     map[string]string // all keys as they were
	put        map[string]string // keys that are added or get another value
	remove     []string          // keys that go
}

func (e edit) empty() bool { return len(e.put) == 0 && len(e.remove) == 0 }

func newEdit(before map[string]string, memo *memo, change func(*session.Wish) error) (edit, error) {
	reader := memo.begin()
	wish, taken := readSessions(before, reader, func(name string) session.Status {
		st, _ := readStatus(before[statusPrefix+name])
		return st
	})
	reader.end()
	e := edit{generation: wish.Generation, before: before, put: make(map[string]string)}
	// change may alter what it is given, lists and all. What was read stays for comparison, and for who reads it next.
	read := slices.Clone(wish.Sessions)
	had := make(map[string]*session.Stored, len(read))
	for i := range read {
		had[read[i].Name] = &read[i]
		wish.Sessions[i] = read[i].Clone()
	}
	broken, host := maps.Clone(wish.Broken), wish.Host
	delivered := append(readDelivered(before), deliveredTo(wish.Sessions)...)
	if err := change(&wish); err != nil {
		return edit{}, err
	}
	if err := assignSlots(&wish, taken); err != nil {
		return edit{}, err
	}
	kept := make(map[string]bool, len(wish.Sessions))
	for i := range wish.Sessions {
		s := &wish.Sessions[i]
		kept[s.Name] = true
		if wish.Broken[s.Name] != nil {
			return edit{}, fmt.Errorf("session %q exists, but cannot be read; remove it first: %w", s.Name, wish.Broken[s.Name])
		}
		was, known := had[s.Name]
		if known && reflect.DeepEqual(was, s) {
			continue
		}
		text, err := writeSession(*s)
		if err != nil {
			return edit{}, fmt.Errorf("session %q: %w", s.Name, err)
		}
		if known {
			// Compare encodings with encodings: a text in the store that is not canonical stays as it is.
			if same, err := writeSession(*was); err == nil && text == same {
				continue
			}
		}
		if err := s.Validate(); err != nil { // it names the session
			return edit{}, err
		}
		key := sessionPrefix + s.Name
		// Never write what could not be read again.
		if err := memo.learn(key, s.Name, text); err != nil {
			return edit{}, fmt.Errorf("session %q: %w", s.Name, err)
		}
		e.put[key] = text
	}
	for name := range had {
		if !kept[name] {
			e.remove = append(e.remove, sessionPrefix+name)
		}
	}
	switch _, is := before[hostKey]; {
	case wish.Host == host && (wish.Broken[session.HostName] != nil || broken[session.HostName] == nil): // as it was
	case wish.Host == session.Host{} && is:
		e.remove = append(e.remove, hostKey)
	case wish.Host != session.Host{}:
		text, err := canonical(wish.Host)
		if err != nil {
			return edit{}, err
		}
		e.put[hostKey] = text
	}
	for name := range broken {
		if wish.Broken[name] == nil && !kept[name] && name != brokenGeneration && name != session.HostName && name != unread {
			e.remove = append(e.remove, sessionPrefix+name)
		}
	}
	// A session of the same name that comes later is not what the status speaks of.
	for _, key := range e.remove {
		status := statusPrefix + strings.TrimPrefix(key, sessionPrefix)
		if _, ok := before[status]; ok {
			e.remove = append(e.remove, status)
		}
	}
	slices.Sort(e.remove)
	// A production bridge that gets a flow of ours is noted with the wish, before there is one: rows of ours, which tell of
	// it as well, can be deleted by anyone. Report takes it out when the flow is gone.
	delivered = compact(append(delivered, deliveredTo(wish.Sessions)...))
	if !e.empty() && len(delivered) > 0 {
		text, err := canonical(delivered)
		if err != nil {
			return edit{}, err
		}
		if text != before[deliveredKey] {
			e.put[deliveredKey] = text
		}
	}
	return e, nil
}

// readDelivered reads the production bridges that may have flows of ours. A list that cannot be read is as good as none.
func readDelivered(externalIDs map[string]string) (bridges []string) {
	if !decodeOther(externalIDs, deliveredKey, &bridges) {
		return nil
	}
	return bridges
}

// deliveredTo are the production bridges on which the sessions have flows.
func deliveredTo(sessions []session.Stored) (bridges []string) {
	for _, s := range sessions {
		if s.Type == session.Destination && s.Bridge != "" && !s.Disabled {
			bridges = append(bridges, s.Bridge)
		}
	}
	return compact(bridges)
}

func compact(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// assignSlots gives a slot to who has none, and checks that names and slots are unique.
func assignSlots(wish *session.Wish, taken map[uint32]string) error {
	byName, bySlot := make(map[string]bool, len(wish.Sessions)), make(map[uint32]string, len(wish.Sessions))
	for slot, name := range taken {
		if wish.Broken[name] != nil {
			bySlot[slot] = name
		}
	}
	for _, s := range wish.Sessions {
		if byName[s.Name] {
			return fmt.Errorf("session %q is there twice", s.Name)
		}
		byName[s.Name] = true
		if s.Slot == 0 {
			continue
		}
		if other, double := bySlot[s.Slot]; double {
			return fmt.Errorf("sessions %q and %q have the same slot, %d", other, s.Name, s.Slot)
		}
		bySlot[s.Slot] = s.Name
	}
	next := uint32(1)
	for i := range wish.Sessions {
		s := &wish.Sessions[i]
		if s.Slot != 0 {
			continue
		}
		for ; ; next++ {
			if _, used := bySlot[next]; !used {
				break
			}
		}
		s.Slot = next
		bySlot[next] = s.Name
	}
	return nil
}

// update is the transaction of an edit: it writes what changes, and no more, provided that the generation and the keys that
// it writes are as they were read.
func (p places) update(e edit) *transaction {
	put := maps.Clone(e.put)
	put[generationKey] = strconv.FormatUint(e.generation+1, 10)
	after := maps.Clone(e.before)
	if after == nil {
		after = map[string]string{}
	}
	maps.Copy(after, put)
	for _, key := range e.remove {
		delete(after, key)
	}
	delete(after, restoredKey) // who changes the wish knows what is in it
	t := &transaction{}
	old := map[string]string{}
	if p.row != nil {
		if _, ok := p.row.ExternalIDs[generationKey]; !ok {
			p.row = p.withGeneration(t)
		}
		old[generationKey] = p.row.ExternalIDs[generationKey]
		for _, key := range slices.Concat(e.remove, slices.Collect(maps.Keys(e.put))) {
			text, ok := p.row.ExternalIDs[key]
			if ok && (strings.HasPrefix(key, sessionPrefix) || key == hostKey) { // a status may come or go at any time
				old[key] = text
			}
		}
	}
	t.append(p.write(after, old))
	if p.row != nil {
		// Inserting into a map leaves a key alone that is there: one that somebody else made, and not by Update.
		id := lib.UUID{GoUUID: p.row.UUID}
		t.wait("what was written", tableQueue, "_uuid", id, is(id), lib.NewCondition("external_ids", lib.ConditionIncludes, mapping(put)))
	}
	t.comment("sessions, generation " + put[generationKey])
	return t
}

// withGeneration is the store's row with a generation, which it is given in the transaction that it is for: where another
// writer has written the key meanwhile, that changes nothing, and waiting for this generation finds the other's.
func (p places) withGeneration(t *transaction) *queueRow {
	first := map[string]string{generationKey: "0"}
	t.add("generation", lib.Operation{Op: lib.OperationMutate, Table: tableQueue, Where: []lib.Condition{is(lib.UUID{GoUUID: p.row.UUID})},
		Mutations: []lib.Mutation{*lib.NewMutation("external_ids", lib.MutateOperationInsert, mapping(first))}})
	row := &queueRow{UUID: p.row.UUID, ExternalIDs: maps.Clone(p.row.ExternalIDs)}
	maps.Copy(row.ExternalIDs, first)
	return row
}

// Report writes which generation is in force and the status of sessions, in one transaction. It writes only what differs,
// and nothing when nothing does; the generation of the wish stays. Statuses of sessions that are not in the store any more
// are removed; one that status does not name stays. In a store that was never written to, it writes nothing.
//
// It has the copies in our tap bridges follow, too.
func (d *DB) Report(ctx context.Context, inForce uint64, status map[string]session.Status) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	for {
		p, err := d.places()
		if err != nil {
			return err
		}
		if p.row == nil {
			return nil // nothing was ever wished for, or it is lost: the next reconcile mends that
		}
		p = p.withoutPosted()
		after, err := d.report(p, inForce, status)
		if err != nil {
			return err
		}
		t := p.write(after, nil)
		if len(t.operations) == 0 {
			return nil
		}
		t.comment(fmt.Sprintf("status, generation %d in force", inForce))
		if _, err = d.commit(ctx, t); err == nil {
			return nil
		}
		if !errors.Is(err, ErrConflict) || ctx.Err() != nil {
			return fmt.Errorf("session store: %w", err)
		}
	}
}

// report is what the store says with that reported.
func (d *DB) report(p places, inForce uint64, status map[string]session.Status) (map[string]string, error) {
	before := p.keys
	after := maps.Clone(before)
	if inUse(before) {
		after[inForceKey] = strconv.FormatUint(inForce, 10)
	}
	for name, s := range status {
		if _, ok := before[sessionPrefix+name]; !ok {
			continue
		}
		text, err := writeStatus(s)
		if err != nil {
			return nil, fmt.Errorf("status of session %q: %w", name, err)
		}
		after[statusPrefix+name] = text
	}
	if err := noteEnded(after, status); err != nil {
		return nil, err
	}
	if n, _ := readGeneration(before[generationKey]); before[deliveredKey] != "" && n == inForce {
		// All is in force, so that flows are where sessions deliver, and nowhere else.
		reader := d.memo.begin()
		wish := readWish(before, reader)
		reader.end()
		if left := deliveredTo(wish.Sessions); len(left) == 0 {
			delete(after, deliveredKey)
		} else {
			text, err := canonical(left)
			if err != nil {
				return nil, err
			}
			after[deliveredKey] = text
		}
	}
	for key := range before {
		if name, isStatus := strings.CutPrefix(key, statusPrefix); isStatus {
			if _, exists := before[sessionPrefix+name]; !exists {
				delete(after, key)
			}
		}
	}
	return after, nil
}

// inUse tells whether anybody ever wished for anything; where not, or not since an uninstall, a report leaves no trace.
func inUse(externalIDs map[string]string) bool {
	for key := range externalIDs {
		if key == generationKey || key == hostKey || strings.HasPrefix(key, sessionPrefix) {
			return true
		}
	}
	return false
}

// sameButForReports reports whether two versions of a row are the same but for what Report writes, for copies of the store,
// for the counting of configurations, and for what others keep in Open_vSwitch.external_ids.
func sameButForReports(before, after model.Model) bool {
	switch a := before.(type) {
	case *openVSwitchRow:
		b := after.(*openVSwitchRow)
		return slices.Equal(sorted(a.Bridges), sorted(b.Bridges)) && maps.Equal(a.OtherConfig, b.OtherConfig) && value(a.OVSVersion) == value(b.OVSVersion) &&
			sameKeys(a.ExternalIDs, b.ExternalIDs, isStoreKey)
	case *queueRow:
		return sameKeys(a.ExternalIDs, after.(*queueRow).ExternalIDs, func(key string) bool { return !isReportKey(key) })
	case *bridgeRow:
		was, is := *a, *after.(*bridgeRow)
		notStore := func(key string) bool { return !isStoreKey(key) }
		same := sameKeys(was.ExternalIDs, is.ExternalIDs, notStore)
		was.ExternalIDs, is.ExternalIDs = nil, nil
		return same && reflect.DeepEqual(was, is)
	}
	return false
}

func isReportKey(key string) bool {
	return key == inForceKey || key == proofsKey || key == deliveredKey || key == restoredKey || strings.HasPrefix(key, statusPrefix) || strings.HasPrefix(key, endedPrefix)
}

// sameKeys reports whether two maps have the same of the keys that count.
func sameKeys(a, b map[string]string, counts func(key string) bool) bool {
	return holds(a, b, counts) && holds(b, a, counts)
}

// holds reports whether b has every key of a that counts, with the same value.
func holds(a, b map[string]string, counts func(key string) bool) bool {
	for key, text := range a {
		if other, ok := b[key]; counts(key) && (!ok || other != text) {
			return false
		}
	}
	return true
}
