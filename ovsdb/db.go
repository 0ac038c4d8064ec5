package ovsdb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/ovn-kubernetes/libovsdb/cache"
	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"
	lib "github.com/ovn-kubernetes/libovsdb/ovsdb"
)

const (
	// defaultTimeout bounds what a caller leaves unbounded.
	defaultTimeout = 10 * time.Second
	// closeTimeout bounds Close when ovsdb-server hangs in the middle of a message.
	closeTimeout = time.Second
)

// DB is a connection to the ovsdb-server of one host. Its methods may be called concurrently.
type DB struct {
	socket string // what was connected to, for errors: a path, or tcp:… or ssl:…
	client client.Client
	cache  *cache.TableCache // ours to keep: the client forgets it when the connection is lost

	// lifetime ends when the connection is lost or closed.
	lifetime context.Context
	end      context.CancelCauseFunc

	changed chan struct{}
	memo    memo
	memory  memory

	mu     sync.Mutex
	pulse  chan struct{} // closed, and replaced, whenever a cached row changes
	closed bool
}

// Connect connects to the ovsdb-server whose socket is db.sock in rundir (ovs-erspan's --ovs-rundir) and reads the rows
// of interest. The context bounds the connecting only.
func Connect(ctx context.Context, rundir string) (*DB, error) {
	return Open(ctx, Options{RunDir: rundir})
}

// Open is Connect to a database that may be elsewhere.
func Open(ctx context.Context, o Options) (*DB, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	r, err := o.remote()
	if err != nil {
		return nil, err
	}
	defer r.release()
	d := &DB{
		socket:  r.name,
		changed: make(chan struct{}, 1),
		pulse:   make(chan struct{}),
	}
	if r.err != nil {
		return nil, fmt.Errorf("%s: %w", d.socket, d.explain(ctx, r.err))
	}
	tables, err := model.NewClientDBModel("Open_vSwitch", models())
	if err != nil {
		return nil, err
	}
	d.lifetime, d.end = context.WithCancelCause(context.Background())
	logger := logr.New(cacheErrors{d, false})
	options := []client.Option{client.WithEndpoint(r.endpoint), client.WithLogger(&logger)}
	if r.tls != nil {
		options = append(options, client.WithTLSConfig(r.tls))
	}
	// No WithReconnect: when its backoff is exhausted it panics, and it replays rows without their deletions.
	d.client, err = client.NewOVSDBClient(tables, options...)
	if err != nil {
		return nil, err
	}
	// The client tells of a lost connection once and only to who listens at that moment, so listen before there is one.
	go d.watch()
	if err := d.start(ctx); err != nil {
		d.Close()
		return nil, fmt.Errorf("%s: %w", d.socket, d.explain(ctx, err))
	}
	if o.Echo > 0 {
		go d.echo(o.Echo)
	}
	return d, nil
}

// start connects and fills the cache.
func (d *DB) start(ctx context.Context) error {
	if err := d.client.Connect(ctx); err != nil {
		return err
	}
	if d.cache = d.client.Cache(); d.cache == nil {
		return ErrDisconnected
	}
	d.cache.AddEventHandler(events{d})
	// monitor_cond, not the client's default, monitor_cond_since: that is for taking up a lost connection again, and with
	// it the client does not even log an update that it cannot apply.
	monitor := &client.Monitor{Method: lib.ConditionalMonitorRPC}
	for table, row := range models() {
		// Name the columns. Without, the client asks for all, and then fails on those that the model lacks.
		m := client.TableMonitor{Table: table, Fields: columns(row)}
		if table == tableQueue { // others' may be many
			m.Conditions = []lib.Condition{isStore()}
		}
		monitor.Tables = append(monitor.Tables, m)
	}
	if _, err := d.client.Monitor(ctx, monitor); err != nil {
		return err
	}
	_, err := d.root()
	return err
}

// watch ends the lifetime when the connection is lost.
func (d *DB) watch() {
	select {
	case <-d.client.DisconnectNotify():
		d.end(errLost)
	case <-d.lifetime.Done():
	}
}

// cacheErrors ends the connection when the client could not apply an update to its cache: it logs such an error and goes
// on, with a cache that is wrong for good.
type cacheErrors struct {
	d     *DB
	cache bool
}

func (cacheErrors) Init(logr.RuntimeInfo)            {}
func (cacheErrors) Enabled(int) bool                 { return false }
func (cacheErrors) Info(int, string, ...any)         {}
func (c cacheErrors) WithValues(...any) logr.LogSink { return c }

func (c cacheErrors) WithName(name string) logr.LogSink {
	return cacheErrors{c.d, c.cache || name == "cache"}
}

func (c cacheErrors) Error(err error, message string, _ ...any) {
	if c.cache {
		c.d.end(fmt.Errorf("%s: %w", message, err))
	}
}

// Close closes the connection. What waits in other calls returns ErrDisconnected. It is to be called after Done too.
func (d *DB) Close() {
	d.mu.Lock()
	closed := d.closed
	d.closed = true
	d.mu.Unlock()
	if closed {
		return
	}
	d.end(errClosed)
	// The client's Close waits for calls under way, and one that hangs in writing to a hung ovsdb-server never returns.
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.client.Close()
	}()
	select {
	case <-done:
	case <-time.After(closeTimeout):
	}
}

// Done is closed when the connection is lost or closed.
func (d *DB) Done() <-chan struct{} { return d.lifetime.Done() }

// Changed receives when an observed row changed, ours or others', the session store included; several changes may be
// told of as one. It tells only to look again; it may do so once more than needed. What Report writes and the counting of
// configurations (next_cfg, cur_cfg) alone is not told of.
func (d *DB) Changed() <-chan struct{} { return d.changed }

// events wakes who waits for the cache.
type events struct{ d *DB }

func (e events) OnAdd(_ string, row model.Model) {
	e.d.memory.told(row)
	e.d.wake(true)
}

func (e events) OnDelete(_ string, row model.Model) {
	e.d.memory.gone(row)
	e.d.wake(true)
}

func (e events) OnUpdate(_ string, before, after model.Model) {
	e.d.memory.told(after)
	e.d.wake(!sameButForReports(before, after))
}

func (d *DB) wake(tell bool) {
	d.mu.Lock()
	close(d.pulse)
	d.pulse = make(chan struct{})
	d.mu.Unlock()
	if !tell {
		return
	}
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// await calls ready, and again whenever a cached row changed, until it returns true or ctx is done.
func (d *DB) await(ctx context.Context, ready func() bool) error {
	for {
		d.mu.Lock()
		pulse := d.pulse
		d.mu.Unlock()
		if ready() {
			return nil
		}
		select {
		case <-pulse:
		case <-ctx.Done():
			return ctx.Err()
		case <-d.lifetime.Done():
			return d.disconnected()
		}
	}
}

// Why a lifetime ended.
var (
	errLost   = errors.New("ovsdb-server closed the connection")
	errClosed = errors.New("closed by us")
)

func (d *DB) disconnected() error {
	return fmt.Errorf("%s: %w: %w", d.socket, ErrDisconnected, context.Cause(d.lifetime))
}

// transaction is a list of operations that ovsdb-server commits as one, or not at all (RFC 7047, section 4.1.3).
type transaction struct {
	operations []lib.Operation
	about      []string // what each operation is for, as errors tell it
}

// add appends an operation and returns its place among the results.
func (t *transaction) add(about string, op lib.Operation) int {
	t.operations = append(t.operations, op)
	t.about = append(t.about, about)
	return len(t.operations) - 1
}

// append appends all of another transaction.
func (t *transaction) append(other *transaction) {
	t.operations = append(t.operations, other.operations...)
	t.about = append(t.about, other.about...)
}

// comment has ovsdb-server write text into its log of the transaction (ovsdb-tool show-log).
func (t *transaction) comment(text string) {
	text = "ovs-erspan: " + text
	t.add("comment", lib.Operation{Op: lib.OperationComment, Comment: &text})
}

// require makes the transaction fail with ErrConflict unless the row of the table has that name and meets the conditions.
func (t *transaction) require(about, table, name string, where ...lib.Condition) {
	t.wait(about, table, "name", name, where...)
}

// wait makes the transaction fail with ErrConflict unless exactly one row meets the conditions, with that value in the
// column.
func (t *transaction) wait(about, table, column string, value any, where ...lib.Condition) {
	immediately := 0
	t.add(about, lib.Operation{
		Op:      lib.OperationWait,
		Table:   table,
		Timeout: &immediately,
		Where:   where,
		Columns: []string{column},
		Until:   string(lib.WaitConditionEqual),
		Rows:    []lib.Row{{column: value}},
	})
}

// commit sends the transaction and returns the result of each operation. When it returns, the cache has the change and
// everything before it: ovsdb-server sends a monitor's updates before the reply, and the client applies them in order.
// The context bounds it, or defaultTimeout does.
func (d *DB) commit(ctx context.Context, t *transaction) ([]lib.OperationResult, error) {
	if d.lifetime.Err() != nil {
		return nil, d.disconnected()
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("nothing was done: %w", err)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	type answer struct {
		results []lib.OperationResult
		err     error
	}
	// In a goroutine, because the client does not heed the context while it writes, and a hung ovsdb-server can leave it
	// in the middle of a long message.
	answers := make(chan answer, 1)
	go func() {
		results, err := d.client.Transact(ctx, t.operations...)
		answers <- answer{results, err}
	}()
	var got answer
	select {
	case got = <-answers:
	case <-ctx.Done():
		got.err = ctx.Err()
	case <-d.lifetime.Done():
		got.err = d.disconnected()
	}
	switch {
	case errors.Is(got.err, client.ErrNotConnected):
		d.end(errLost)
		return nil, d.disconnected()
	case got.err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("%s: ovsdb-server did not answer: %w; %w", d.socket, ctx.Err(), ErrOutcomeUnknown)
	case got.err != nil:
		return nil, fmt.Errorf("%s: transaction: %w; %w", d.socket, got.err, ErrOutcomeUnknown)
	}
	for i, result := range got.results {
		if result.Error == "" {
			continue
		}
		about := "commit"
		if i < len(t.about) {
			about = t.about[i]
		}
		return nil, operationError(about, result)
	}
	if len(got.results) < len(t.operations) {
		return nil, fmt.Errorf("%s: ovsdb-server answered %d of %d operations: %w", d.socket, len(got.results), len(t.operations), ErrOutcomeUnknown)
	}
	return got.results, nil
}

// operationError turns an error of RFC 7047, sections 4.1.3 and 5.2, into ours.
func operationError(about string, result lib.OperationResult) error {
	switch result.Error {
	case "timed out": // a wait
		return fmt.Errorf("%s: %w", about, ErrConflict)
	case "constraint violation", "referential integrity violation": // a name that is taken by now, a row that is gone
		return fmt.Errorf("%s: %w: %s: %s", about, ErrConflict, result.Error, result.Details)
	}
	return fmt.Errorf("%s: ovsdb-server refused it, nothing was done: %s: %s", about, result.Error, result.Details)
}

// snapshot is what the cache held at one moment between two transactions. The rows are shared with the cache and must
// not be written to.
type snapshot struct {
	root       *openVSwitchRow
	bridges    map[string]*bridgeRow // by UUID
	ports      map[string]*portRow
	interfaces map[string]*interfaceRow
	mirrors    map[string]*mirrorRow
}

// snapshot reads all tables. The client locks its cache for each of an update's transactions as a whole, but offers no
// reading of several tables under that lock. So read twice: what is the same at the end of the first reading and at the
// beginning of the second was there at once, and asking for a table in between waits until no update is half done.
func (d *DB) snapshot() (snapshot, error) {
	for {
		first := d.read()
		second := d.read()
		if d.lifetime.Err() != nil {
			return snapshot{}, d.disconnected()
		}
		if !first.same(second) {
			continue
		}
		if first.root == nil {
			return snapshot{}, d.noRoot()
		}
		return first, nil
	}
}

func (d *DB) read() snapshot {
	s := snapshot{
		bridges:    rows[bridgeRow](d.cache, tableBridge),
		ports:      rows[portRow](d.cache, tablePort),
		interfaces: rows[interfaceRow](d.cache, tableInterface),
		mirrors:    rows[mirrorRow](d.cache, tableMirror),
	}
	for _, s.root = range rows[openVSwitchRow](d.cache, tableOpenVSwitch) {
	}
	return s
}

func rows[T any](c *cache.TableCache, table string) map[string]*T {
	untyped := c.Table(table).RowsShallow()
	typed := make(map[string]*T, len(untyped))
	for uuid, row := range untyped {
		typed[uuid] = any(row).(*T)
	}
	return typed
}

// same compares rows by address: the cache replaces a row that changes.
func (s snapshot) same(o snapshot) bool {
	return s.root == o.root && sameRows(s.bridges, o.bridges) && sameRows(s.ports, o.ports) &&
		sameRows(s.interfaces, o.interfaces) && sameRows(s.mirrors, o.mirrors)
}

func sameRows[T any](a, b map[string]*T) bool {
	if len(a) != len(b) {
		return false
	}
	for uuid, row := range a {
		if b[uuid] != row {
			return false
		}
	}
	return true
}

// root is the one row of the table Open_vSwitch.
func (d *DB) root() (*openVSwitchRow, error) {
	if d.lifetime.Err() != nil {
		return nil, d.disconnected()
	}
	for _, row := range rows[openVSwitchRow](d.cache, tableOpenVSwitch) {
		return row, nil
	}
	return nil, d.noRoot()
}

func (d *DB) noRoot() error {
	return fmt.Errorf("%s: the database has no row in its table Open_vSwitch; \"ovs-vsctl --no-wait init\" makes it", d.socket)
}

// bounded gives a context without a deadline one.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, defaultTimeout)
}

// explain says what a user can do about an error of connecting.
func (d *DB) explain(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("no such socket: is Open vSwitch running, and is this its run directory (--ovs-rundir, $OVS_RUNDIR)?: %w", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("permission denied: %s; run as root or as a user who may write to it: %w", whose(d.socket), err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nobody listens: is ovsdb-server running?: %w", err)
	case errors.Is(ctx.Err(), context.DeadlineExceeded): // the client does not always wrap it
		return fmt.Errorf("ovsdb-server did not answer in time: %w", err)
	case strings.Contains(err.Error(), "validation error"): // of the client, without a type
		return fmt.Errorf("the database is not as of Open vSwitch 2.17 or newer: %w", err)
	}
	return err
}

// whose says who may use a socket, or, where it cannot even be looked at, the folder that is in the way.
func whose(socket string) string {
	for path := socket; ; path = filepath.Dir(path) {
		info, err := os.Stat(path)
		if err != nil {
			if path == filepath.Dir(path) {
				return "its owner cannot be told"
			}
			continue
		}
		what := "the socket"
		if path != socket {
			what = path
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return what + " is not yours"
		}
		owner, group := strconv.Itoa(int(stat.Uid)), strconv.Itoa(int(stat.Gid))
		if u, err := user.LookupId(owner); err == nil {
			owner = u.Username
		}
		if g, err := user.LookupGroupId(group); err == nil {
			group = g.Name
		}
		return fmt.Sprintf("%s belongs to %s:%s, mode %04o", what, owner, group, info.Mode().Perm())
	}
}

// value is what a pointer points at, or the zero value.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// sorted returns a sorted copy, nil for an empty one.
func sorted[T int | string](values []T) []T {
	if len(values) == 0 {
		return nil
	}
	copied := slices.Clone(values)
	slices.Sort(copied)
	return copied
}
