package ovsdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	lib "github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// ofportWait bounds the waiting for an interface's OpenFlow port after ovs-vswitchd acknowledged the configuration.
// ovs-vswitchd writes both in one transaction (bridge_run in vswitchd/bridge.c of Open vSwitch 3.1), so this passes in vain
// only where it could not open the interface's bridge at all, and for patch ports without a peer.
const ofportWait = 2 * time.Second

// acknowledgeWait bounds the waiting for ovs-vswitchd, however long the caller has: a thousand ports take it half a second.
const acknowledgeWait = 15 * time.Second

// Apply makes all changes in one transaction, waits until ovs-vswitchd has acknowledged it, and then looks at each
// interface that was added or set. An empty list does nothing. Names of bridges and ports, and the UUIDs of mirrors, are
// looked up in what is known now; ops may refer to what earlier ops of the list add.
//
// Nothing is done, and nothing is half done, when the error is ErrConflict (a row is not there, is there already, or
// changed meanwhile), ErrNotOurs, or says so. ErrOutcomeUnknown says that the answer is missing. All rows are committed
// when the error is ErrNoVswitchd or, for each interface that ovs-vswitchd could not open, an *InterfaceError.
//
// The context bounds all of it; without a deadline 10 s do. Deleting very many ports at once takes ovs-vswitchd very long
// (36 s for 5000): a caller with so many divides them.
func (d *DB) Apply(ctx context.Context, ops []flows.RowOp) error {
	if len(ops) == 0 {
		return nil
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	generation, touched, err := d.commitRows(ctx, ops)
	if err != nil {
		return err
	}
	if err := d.acknowledged(ctx, generation); err != nil {
		return err
	}
	return d.opened(ctx, touched)
}

// Commit is Apply that does not wait for ovs-vswitchd: for changes while that is away.
func (d *DB) Commit(ctx context.Context, ops []flows.RowOp) error {
	if len(ops) == 0 {
		return nil
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	_, _, err := d.commitRows(ctx, ops)
	return err
}

// commitRows makes the changes; the number is that of the configuration which has them.
func (d *DB) commitRows(ctx context.Context, ops []flows.RowOp) (generation int, touched []touchedInterface, err error) {
	s, err := d.snapshot()
	if err != nil {
		return 0, nil, err
	}
	b := newBuilder(s)
	for _, op := range ops {
		if err := b.op(op); err != nil {
			return 0, nil, err
		}
	}
	t, selected := b.finish(ops)
	results, err := d.commit(ctx, t)
	if err != nil {
		return 0, nil, err
	}
	if generation, err = selectedInt(results[selected], "next_cfg"); err != nil {
		return 0, nil, err
	}
	for i := range b.touched {
		if place := b.touched[i].insertedAt; place >= 0 {
			b.touched[i].uuid = results[place].UUID.GoUUID
		}
	}
	return generation, b.touched, nil
}

func selectedInt(result lib.OperationResult, column string) (int, error) {
	if len(result.Rows) == 1 {
		if n, ok := result.Rows[0][column].(float64); ok { // encoding/json's number
			return int(n), nil
		}
	}
	return 0, fmt.Errorf("the rows were committed, but ovsdb-server answered no %s", column)
}

// acknowledged waits until ovs-vswitchd has made the configuration of that number true (next_cfg and cur_cfg in
// vswitchd.conf.db(5)).
func (d *DB) acknowledged(ctx context.Context, generation int) error {
	started := time.Now()
	ctx, cancel := context.WithTimeout(ctx, acknowledgeWait)
	defer cancel()
	err := d.await(ctx, func() bool {
		root, err := d.root()
		return err == nil && root.CurCfg >= generation
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the rows were committed, but configuration %d was not acknowledged within %v: %w",
			generation, time.Since(started).Round(time.Millisecond), ErrNoVswitchd)
	}
	return fmt.Errorf("the rows were committed; waiting for ovs-vswitchd: %w", err)
}

// touchedInterface is an interface that Apply added or set.
type touchedInterface struct {
	bridge, port, name string
	uuid               string
	insertedAt         int // place of its insert among the results; -1: it was there before
}

// opened waits until each interface has an OpenFlow port and no error, or cannot have one, and returns an *InterfaceError
// for each that has not. An error beside an OpenFlow port is not final, and need not be of the configuration that was
// acknowledged: ovs-vswitchd writes that of a patch port that misses its peer when it comes by, and takes it away so.
func (d *DB) opened(ctx context.Context, touched []touchedInterface) error {
	ctx, cancel := context.WithTimeout(ctx, ofportWait)
	defer cancel()
	row := func(t touchedInterface) *interfaceRow {
		r, _ := d.cache.Table(tableInterface).Row(t.uuid).(*interfaceRow)
		return r
	}
	waiting := touched
	err := d.await(ctx, func() bool {
		for len(waiting) > 0 {
			r := row(waiting[0])
			if r != nil && (value(r.OFPort) == 0 || value(r.OFPort) > 0 && value(r.Error) != "") {
				return false
			}
			waiting = waiting[1:]
		}
		return true
	})
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the rows were committed; waiting for OpenFlow ports: %w", err)
	}
	var errs []error
	for _, t := range touched {
		e := &InterfaceError{Bridge: t.bridge, Port: t.port, Interface: t.name}
		r := row(t)
		if r == nil {
			errs = append(errs, fmt.Errorf("bridge %q: port %q was committed, but somebody removed it since", t.bridge, t.port))
			continue
		}
		if e.OFPort, e.Text = value(r.OFPort), value(r.Error); e.OFPort <= 0 || e.Text != "" {
			errs = append(errs, e)
		}
	}
	return errors.Join(errs...)
}

// builder turns row ops into one transaction: first waits for what must be as it was seen, then the rows, then one
// mutation for each bridge, which touches the ports and mirrors it is about and leaves those of others alone.
type builder struct {
	snapshot
	guards, rows transaction
	names        int // named-uuids used so far
	byName       map[string]*bridgeBuilder
	order        []*bridgeBuilder
	portOf       map[string]string // bridge by name of port, for every port there will be
	touched      []touchedInterface
}

type bridgeBuilder struct {
	name                   string
	id                     lib.UUID
	row                    *bridgeRow // nil: it is added by this transaction
	insert                 lib.Row    // of an added one
	deleted                bool
	ports                  map[string]lib.UUID // by name, as they will be
	mirrors                map[string]bool     // by UUID, as they will be
	needPorts, needMirrors []any               // UUIDs that must still be there
	addPorts, delPorts     []any
	addMirrors, delMirrors []any
}

func newBuilder(s snapshot) *builder {
	b := &builder{snapshot: s, byName: make(map[string]*bridgeBuilder), portOf: make(map[string]string, len(s.ports))}
	for _, row := range s.bridges {
		for _, uuid := range row.Ports {
			if port := s.ports[uuid]; port != nil {
				b.portOf[port.Name] = row.Name
			}
		}
	}
	return b
}

// bridge finds a bridge that is there or was added by an earlier op.
func (b *builder) bridge(name string) (*bridgeBuilder, error) {
	if br := b.byName[name]; br != nil {
		if br.deleted {
			return nil, fmt.Errorf("bridge %q is deleted by an earlier change: %w", name, ErrConflict)
		}
		return br, nil
	}
	for _, row := range b.bridges {
		if row.Name != name {
			continue
		}
		br := &bridgeBuilder{
			name: name, id: lib.UUID{GoUUID: row.UUID}, row: row,
			ports: make(map[string]lib.UUID, len(row.Ports)), mirrors: make(map[string]bool, len(row.Mirrors)),
		}
		for _, uuid := range row.Ports {
			if port := b.ports[uuid]; port != nil {
				br.ports[port.Name] = lib.UUID{GoUUID: uuid}
			}
		}
		for _, uuid := range row.Mirrors {
			br.mirrors[uuid] = true
		}
		b.byName[name] = br
		b.order = append(b.order, br)
		b.guards.require(fmt.Sprintf("bridge %q", name), tableBridge, name, is(br.id))
		return br, nil
	}
	return nil, fmt.Errorf("bridge %q does not exist: %w", name, ErrConflict)
}

// op adds one row op.
func (b *builder) op(op flows.RowOp) error {
	var err error
	switch {
	case op.AddBridge != nil:
		err = b.addBridge(op.Bridge, op.AddBridge)
	case op.SetBridge != nil:
		err = b.setBridge(op.Bridge, op.SetBridge)
	case op.DelBridge:
		err = b.delBridge(op.Bridge)
	case op.AddPort != nil:
		err = b.addPort(op.Bridge, op.AddPort)
	case op.SetPort != nil:
		err = b.setPort(op.Bridge, op.SetPort)
	case op.DelPort != "":
		err = b.delPort(op.Bridge, op.DelPort)
	case op.AddMirror != nil:
		err = b.addMirror(op.Bridge, op.AddMirror)
	case op.SetMirror != nil:
		err = b.setMirror(op.Bridge, op.SetMirror)
	case op.DelMirror != "":
		err = b.delMirror(op.Bridge, op.DelMirror)
	default:
		return fmt.Errorf("bridge %q: a row change that says nothing", op.Bridge)
	}
	if err != nil {
		return fmt.Errorf("%v: %w", op, err)
	}
	return nil
}

func (b *builder) addBridge(name string, want *flows.Bridge) error {
	if !flows.Ours(want.ExternalIDs) {
		return ErrNotOurs
	}
	if br := b.byName[name]; br != nil && !br.deleted {
		return fmt.Errorf("bridge %q is added twice: %w", name, ErrConflict)
	}
	for _, row := range b.bridges {
		if row.Name == name && b.byName[name] == nil {
			return fmt.Errorf("bridge %q exists: %w", name, ErrConflict)
		}
	}
	if on, taken := b.portOf[name]; taken {
		return fmt.Errorf("a port %q exists on bridge %q: %w", name, on, ErrConflict)
	}
	br := &bridgeBuilder{
		name: name, id: b.newID(), insert: bridgeColumns(want),
		ports: make(map[string]lib.UUID), mirrors: make(map[string]bool),
	}
	br.insert["name"] = name
	br.insert["datapath_type"] = want.DatapathType
	b.byName[name] = br
	b.order = append(b.order, br)
	// The bridge's local port, as ovs-vsctl add-br makes it, with the bridge's mark.
	b.insertPort(br, &flows.Port{Name: name, ExternalIDs: want.ExternalIDs,
		Interfaces: []*flows.Interface{{Name: name, Type: "internal", ExternalIDs: want.ExternalIDs}}}, localColumns(want))
	return nil
}

func (b *builder) setBridge(name string, want *flows.Bridge) error {
	br, err := b.ourBridge(name)
	if err != nil {
		return err
	}
	if !flows.Ours(want.ExternalIDs) {
		return ErrNotOurs
	}
	row := bridgeColumns(want)
	keys := maps.Clone(want.ExternalIDs) // the plan knows nothing of the copy of the store there
	for key, text := range br.row.ExternalIDs {
		if isStoreKey(key) {
			keys[key] = text
		}
	}
	row["external_ids"] = mapping(keys)
	b.rows.add(fmt.Sprintf("set bridge %q", name), lib.Operation{
		Op: lib.OperationUpdate, Table: tableBridge, Where: []lib.Condition{is(br.id)}, Row: row,
	})
	for _, uuid := range br.row.Ports {
		if port := b.ports[uuid]; port != nil {
			if i := b.localInterface(name, port); i != nil {
				b.rows.add(fmt.Sprintf("set the local port of bridge %q", name), lib.Operation{
					Op: lib.OperationUpdate, Table: tableInterface, Where: []lib.Condition{is(lib.UUID{GoUUID: i.UUID})}, Row: localColumns(want),
				})
			}
		}
	}
	return nil
}

func (b *builder) delBridge(name string) error {
	br, err := b.ourBridge(name)
	if err != nil {
		return err
	}
	// A bridge takes its ports and mirrors with it: none may be others', now or at the moment of the transaction.
	var ports []any
	for _, uuid := range br.row.Ports {
		ports = append(ports, lib.UUID{GoUUID: uuid})
		if port := b.ports[uuid]; port != nil && port.Name != name && !flows.Ours(port.ExternalIDs) {
			return fmt.Errorf("its port %q: %w", port.Name, ErrNotOurs)
		}
	}
	for _, uuid := range br.row.Mirrors {
		if mirror := b.mirrors[uuid]; mirror != nil && !flows.Ours(mirror.ExternalIDs) {
			return fmt.Errorf("its mirror %q: %w", mirror.Name, ErrNotOurs)
		}
	}
	b.guards.require(fmt.Sprintf("the ports of bridge %q", name), tableBridge, name, is(br.id), lib.NewCondition("ports", lib.ConditionEqual, lib.OvsSet{GoSet: ports}))
	b.guards.require(fmt.Sprintf("the mirrors of bridge %q", name), tableBridge, name, is(br.id), lib.NewCondition("mirrors", lib.ConditionEqual, uuidSet(br.row.Mirrors)))
	br.deleted = true
	for port, on := range b.portOf {
		if on == name {
			delete(b.portOf, port)
		}
	}
	return nil
}

// ourBridge finds a bridge that is there and that carries our mark, and guards the mark.
func (b *builder) ourBridge(name string) (*bridgeBuilder, error) {
	br, err := b.bridge(name)
	if err != nil {
		return nil, err
	}
	if br.row == nil {
		return nil, fmt.Errorf("bridge %q is added by an earlier change of the same transaction", name)
	}
	mark, err := marked(br.row.ExternalIDs)
	if err != nil {
		return nil, err
	}
	b.guards.require(fmt.Sprintf("the mark of bridge %q", name), tableBridge, name, is(br.id), mark)
	return br, nil
}

func (b *builder) addPort(bridge string, want *flows.Port) error {
	br, err := b.bridge(bridge)
	if err != nil {
		return err
	}
	if !flows.Ours(want.ExternalIDs) {
		return ErrNotOurs
	}
	if len(want.Interfaces) == 0 {
		return fmt.Errorf("port %q has no interface", want.Name)
	}
	if on, taken := b.portOf[want.Name]; taken {
		return fmt.Errorf("port %q exists on bridge %q: %w", want.Name, on, ErrConflict)
	}
	b.insertPort(br, want, nil)
	return nil
}

// insertPort adds a port; each of its interfaces gets more columns, too.
func (b *builder) insertPort(br *bridgeBuilder, want *flows.Port, more lib.Row) {
	var interfaces []any
	for _, i := range want.Interfaces {
		id := b.newID()
		interfaces = append(interfaces, id)
		row := interfaceColumns(i)
		row["name"] = i.Name
		maps.Copy(row, more)
		place := b.rows.add(fmt.Sprintf("bridge %q: add interface %q", br.name, i.Name),
			lib.Operation{Op: lib.OperationInsert, Table: tableInterface, UUIDName: id.GoUUID, Row: row})
		b.touched = append(b.touched, touchedInterface{bridge: br.name, port: want.Name, name: i.Name, insertedAt: place})
	}
	id := b.newID()
	row := portColumns(want)
	row["name"] = want.Name
	row["interfaces"] = lib.OvsSet{GoSet: interfaces}
	b.rows.add(fmt.Sprintf("bridge %q: add port %q", br.name, want.Name),
		lib.Operation{Op: lib.OperationInsert, Table: tablePort, UUIDName: id.GoUUID, Row: row})
	br.addPorts = append(br.addPorts, id)
	br.ports[want.Name] = id
	b.portOf[want.Name] = br.name
}

func (b *builder) setPort(bridge string, want *flows.Port) error {
	br, row, err := b.ourPort(bridge, want.Name)
	if err != nil {
		return err
	}
	if !flows.Ours(want.ExternalIDs) {
		return ErrNotOurs
	}
	byName := make(map[string]*interfaceRow, len(row.Interfaces))
	for _, uuid := range row.Interfaces {
		if i := b.interfaces[uuid]; i != nil {
			byName[i.Name] = i
		}
	}
	var needed []string
	for _, i := range want.Interfaces {
		have := byName[i.Name]
		if have == nil {
			return fmt.Errorf("port %q has no interface %q: %w", want.Name, i.Name, ErrConflict)
		}
		needed = append(needed, have.UUID)
		b.rows.add(fmt.Sprintf("bridge %q: set interface %q", bridge, i.Name), lib.Operation{
			Op: lib.OperationUpdate, Table: tableInterface, Where: []lib.Condition{is(lib.UUID{GoUUID: have.UUID})}, Row: interfaceColumns(i),
		})
		b.touched = append(b.touched, touchedInterface{bridge: br.name, port: want.Name, name: i.Name, uuid: have.UUID, insertedAt: -1})
	}
	id := lib.UUID{GoUUID: row.UUID}
	b.guards.require(fmt.Sprintf("the interfaces of port %q", want.Name), tablePort, want.Name,
		is(id), lib.NewCondition("interfaces", lib.ConditionIncludes, uuidSet(needed)))
	b.rows.add(fmt.Sprintf("bridge %q: set port %q", bridge, want.Name), lib.Operation{
		Op: lib.OperationUpdate, Table: tablePort, Where: []lib.Condition{is(id)}, Row: portColumns(want),
	})
	return nil
}

func (b *builder) delPort(bridge, name string) error {
	br, row, err := b.ourPort(bridge, name)
	if err != nil {
		return err
	}
	br.delPorts = append(br.delPorts, lib.UUID{GoUUID: row.UUID})
	delete(br.ports, name)
	delete(b.portOf, name)
	return nil
}

// ourPort finds a port that is on the bridge and carries our mark, and guards both.
func (b *builder) ourPort(bridge, name string) (*bridgeBuilder, *portRow, error) {
	br, err := b.bridge(bridge)
	if err != nil {
		return nil, nil, err
	}
	id, ok := br.ports[name]
	if !ok {
		return nil, nil, fmt.Errorf("bridge %q has no port %q: %w", bridge, name, ErrConflict)
	}
	row := b.ports[id.GoUUID]
	if row == nil {
		return nil, nil, fmt.Errorf("port %q is added by an earlier change of the same transaction", name)
	}
	if name == bridge { // marked too, but it comes and goes with its bridge only
		return nil, nil, fmt.Errorf("port %q is its bridge's local port: %w", name, ErrNotOurs)
	}
	mark, err := marked(row.ExternalIDs)
	if err != nil {
		return nil, nil, err
	}
	br.needPorts = append(br.needPorts, id)
	b.guards.require(fmt.Sprintf("port %q", name), tablePort, name, is(id), mark)
	return br, row, nil
}

func (b *builder) addMirror(bridge string, want *flows.Mirror) error {
	br, err := b.bridge(bridge)
	if err != nil {
		return err
	}
	row, err := b.mirrorColumns(br, want)
	if err != nil {
		return err
	}
	id := b.newID()
	b.rows.add(fmt.Sprintf("bridge %q: add mirror %q", bridge, want.Name),
		lib.Operation{Op: lib.OperationInsert, Table: tableMirror, UUIDName: id.GoUUID, Row: row})
	br.addMirrors = append(br.addMirrors, id)
	return nil
}

func (b *builder) setMirror(bridge string, want *flows.Mirror) error {
	br, err := b.ourMirror(bridge, want.UUID)
	if err != nil {
		return err
	}
	row, err := b.mirrorColumns(br, want)
	if err != nil {
		return err
	}
	b.rows.add(fmt.Sprintf("bridge %q: set mirror %q", bridge, want.Name), lib.Operation{
		Op: lib.OperationUpdate, Table: tableMirror, Where: []lib.Condition{is(lib.UUID{GoUUID: want.UUID})}, Row: row,
	})
	return nil
}

func (b *builder) delMirror(bridge, uuid string) error {
	br, err := b.ourMirror(bridge, uuid)
	if err != nil {
		return err
	}
	br.delMirrors = append(br.delMirrors, lib.UUID{GoUUID: uuid})
	delete(br.mirrors, uuid)
	return nil
}

// ourMirror finds a mirror that is on the bridge and carries our mark, and guards both.
func (b *builder) ourMirror(bridge, uuid string) (*bridgeBuilder, error) {
	br, err := b.bridge(bridge)
	if err != nil {
		return nil, err
	}
	row := b.mirrors[uuid]
	if !br.mirrors[uuid] || row == nil {
		return nil, fmt.Errorf("bridge %q has no mirror %s: %w", bridge, uuid, ErrConflict)
	}
	mark, err := marked(row.ExternalIDs)
	if err != nil {
		return nil, err
	}
	id := lib.UUID{GoUUID: uuid}
	br.needMirrors = append(br.needMirrors, id)
	b.guards.require(fmt.Sprintf("mirror %q", row.Name), tableMirror, row.Name, is(id), mark)
	return br, nil
}

// mirrorColumns resolves the ports of a mirror, and guards those that are there: the columns refer weakly, so ovsdb-server
// would drop a port that is gone without a word.
func (b *builder) mirrorColumns(br *bridgeBuilder, m *flows.Mirror) (lib.Row, error) {
	if !flows.Ours(m.ExternalIDs) {
		return nil, ErrNotOurs
	}
	resolve := func(names []string) (lib.OvsSet, error) {
		set := lib.OvsSet{}
		for _, name := range names {
			id, ok := br.ports[name]
			if !ok {
				return set, fmt.Errorf("bridge %q has no port %q: %w", br.name, name, ErrConflict)
			}
			if lib.IsValidUUID(id.GoUUID) {
				br.needPorts = append(br.needPorts, id)
			}
			set.GoSet = append(set.GoSet, id)
		}
		return set, nil
	}
	row := lib.Row{
		"name":         m.Name,
		"select_all":   m.SelectAll,
		"select_vlan":  set(m.SelectVLAN),
		"output_vlan":  optional(m.OutputVLAN),
		"snaplen":      optional(m.Snaplen),
		"external_ids": mapping(m.ExternalIDs),
	}
	var output []string
	if m.OutputPort != "" {
		output = []string{m.OutputPort}
	}
	for _, refer := range []struct {
		column string
		ports  []string
	}{{"select_src_port", m.SelectSrcPort}, {"select_dst_port", m.SelectDstPort}, {"output_port", output}} {
		ids, err := resolve(refer.ports)
		if err != nil {
			return nil, err
		}
		row[refer.column] = ids
	}
	return row, nil
}

// finish puts the transaction together, and says where among its results next_cfg is.
func (b *builder) finish(ops []flows.RowOp) (t *transaction, selected int) {
	root := lib.UUID{GoUUID: b.root.UUID}
	var addBridges, delBridges []any
	for _, br := range b.order {
		switch {
		case br.row == nil && !br.deleted:
			br.insert["ports"] = lib.OvsSet{GoSet: br.addPorts}
			br.insert["mirrors"] = lib.OvsSet{GoSet: br.addMirrors}
			b.rows.add(fmt.Sprintf("add bridge %q", br.name),
				lib.Operation{Op: lib.OperationInsert, Table: tableBridge, UUIDName: br.id.GoUUID, Row: br.insert})
			addBridges = append(addBridges, br.id)
		case br.deleted:
			delBridges = append(delBridges, br.id)
		default:
			b.mutateBridge(br)
		}
	}
	if len(delBridges) > 0 {
		b.guards.wait("the bridges", tableOpenVSwitch, "_uuid", root, is(root), lib.NewCondition("bridges", lib.ConditionIncludes, lib.OvsSet{GoSet: delBridges}))
	}
	count := lib.Operation{Op: lib.OperationMutate, Table: tableOpenVSwitch, Where: []lib.Condition{is(root)},
		Mutations: append(insertAndDelete("bridges", addBridges, delBridges), *lib.NewMutation("next_cfg", lib.MutateOperationAdd, 1))}

	t = &b.guards
	t.operations = append(t.operations, b.rows.operations...)
	t.about = append(t.about, b.rows.about...)
	// What was inserted is found by its place among the results, behind the guards.
	for i := range b.touched {
		if b.touched[i].insertedAt >= 0 {
			b.touched[i].insertedAt += len(t.operations) - len(b.rows.operations)
		}
	}
	t.add("next_cfg", count)
	selected = t.add("next_cfg", lib.Operation{Op: lib.OperationSelect, Table: tableOpenVSwitch, Where: []lib.Condition{is(root)}, Columns: []string{"next_cfg"}})
	text := ops[0].String()
	if len(ops) > 1 {
		text += fmt.Sprintf(" (and %d more)", len(ops)-1)
	}
	t.comment(text)
	return t, selected
}

func (b *builder) mutateBridge(br *bridgeBuilder) {
	for _, needed := range []struct {
		column string
		ids    []any
	}{{"ports", br.needPorts}, {"mirrors", br.needMirrors}} {
		if len(needed.ids) > 0 {
			b.guards.require(fmt.Sprintf("the %s of bridge %q", needed.column, br.name), tableBridge, br.name, is(br.id),
				lib.NewCondition(needed.column, lib.ConditionIncludes, lib.OvsSet{GoSet: distinct(needed.ids)}))
		}
	}
	mutations := append(insertAndDelete("ports", br.addPorts, br.delPorts), insertAndDelete("mirrors", br.addMirrors, br.delMirrors)...)
	if len(mutations) > 0 {
		b.rows.add(fmt.Sprintf("bridge %q", br.name), lib.Operation{
			Op: lib.OperationMutate, Table: tableBridge, Where: []lib.Condition{is(br.id)}, Mutations: mutations,
		})
	}
}

func insertAndDelete(column string, inserted, deleted []any) []lib.Mutation {
	var mutations []lib.Mutation
	if len(deleted) > 0 {
		mutations = append(mutations, *lib.NewMutation(column, lib.MutateOperationDelete, lib.OvsSet{GoSet: distinct(deleted)}))
	}
	if len(inserted) > 0 {
		mutations = append(mutations, *lib.NewMutation(column, lib.MutateOperationInsert, lib.OvsSet{GoSet: inserted}))
	}
	return mutations
}

// newID is a name that stands for the UUID of a row in the transaction that inserts it (named-uuid, RFC 7047, section
// 5.1). The client tells it from a UUID by its form.
func (b *builder) newID() lib.UUID {
	b.names++
	return lib.UUID{GoUUID: fmt.Sprintf("row%d", b.names)}
}

// Columns that SetBridge, SetPort and their like give.

func bridgeColumns(b *flows.Bridge) lib.Row {
	return lib.Row{
		"fail_mode":    optionalString(b.FailMode),
		"protocols":    set(b.Protocols),
		"external_ids": mapping(b.ExternalIDs),
		"other_config": mapping(b.OtherConfig),
	}
}

// localColumns are those of the interface of the bridge's local port.
func localColumns(b *flows.Bridge) lib.Row { return lib.Row{"mtu_request": number(b.MTURequest)} }

func portColumns(p *flows.Port) lib.Row {
	return lib.Row{
		"tag":          optional(p.Tag),
		"trunks":       set(p.Trunks),
		"vlan_mode":    optionalString(p.VLANMode),
		"external_ids": mapping(p.ExternalIDs),
		"other_config": mapping(p.OtherConfig),
	}
}

func interfaceColumns(i *flows.Interface) lib.Row {
	return lib.Row{
		"type":           i.Type,
		"options":        mapping(i.Options),
		"external_ids":   mapping(i.ExternalIDs),
		"ofport_request": number(i.OFPortRequest),
	}
}

// number is a set of a number, empty for 0.
func number(n int) lib.OvsSet {
	if n == 0 {
		return lib.OvsSet{}
	}
	return set([]int{n})
}

// is the condition that a row has that UUID.
func is(id lib.UUID) lib.Condition { return lib.NewCondition("_uuid", lib.ConditionEqual, id) }

// marked is the condition that a row still has the mark that it was seen with.
func marked(externalIDs map[string]string) (lib.Condition, error) {
	if !flows.Ours(externalIDs) {
		return lib.Condition{}, ErrNotOurs
	}
	mark := map[string]string{flows.OwnerKey: externalIDs[flows.OwnerKey]}
	return lib.NewCondition("external_ids", lib.ConditionIncludes, mapping(mark)), nil
}

func mapping(m map[string]string) lib.OvsMap {
	converted := make(map[any]any, len(m))
	for key, v := range m {
		converted[key] = v
	}
	return lib.OvsMap{GoMap: converted}
}

func set[T any](values []T) lib.OvsSet {
	converted := lib.OvsSet{}
	for _, v := range values {
		converted.GoSet = append(converted.GoSet, v)
	}
	return converted
}

func optional[T any](p *T) lib.OvsSet {
	if p == nil {
		return lib.OvsSet{}
	}
	return lib.OvsSet{GoSet: []any{*p}}
}

func optionalString(s string) lib.OvsSet {
	if s == "" {
		return lib.OvsSet{}
	}
	return lib.OvsSet{GoSet: []any{s}}
}

func uuidSet(uuids []string) lib.OvsSet {
	converted := lib.OvsSet{}
	for _, uuid := range uuids {
		converted.GoSet = append(converted.GoSet, lib.UUID{GoUUID: uuid})
	}
	return converted
}

// distinct sorts UUIDs and drops doubles, which a set must not have.
func distinct(ids []any) []any {
	slices.SortFunc(ids, func(a, b any) int { return cmp.Compare(a.(lib.UUID).GoUUID, b.(lib.UUID).GoUUID) })
	return slices.Compact(ids)
}
