package ovsdb_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/ovsdb"
	"github.com/ovs-erspan/ovs-erspan/ovsdb/ovsdbtest"
	"github.com/ovs-erspan/ovs-erspan/session"
)

func connect(t testing.TB, s *ovsdbtest.Server) *ovsdb.DB {
	t.Helper()
	db, err := ovsdb.Connect(context.Background(), s.RunDir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// within is a context for what has to fail because time runs out.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func wantError(t testing.TB, err error, is error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if is != nil && !errors.Is(err, is) {
		t.Errorf("error %q is not %q", err, is)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q does not say %q", err, text)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q has several lines", err)
	}
}

func TestConnectSaysWhatToDo(t *testing.T) {
	t.Run("no run directory", func(t *testing.T) {
		_, err := ovsdb.Connect(context.Background(), filepath.Join(t.TempDir(), "none"))
		wantError(t, err, fs.ErrNotExist, "none/db.sock", "is Open vSwitch running", "--ovs-rundir")
	})
	t.Run("no run directory with a long path", func(t *testing.T) {
		_, err := ovsdb.Connect(context.Background(), filepath.Join(t.TempDir(), strings.Repeat("x", 120)))
		wantError(t, err, fs.ErrNotExist, "is Open vSwitch running")
	})
	t.Run("nobody listens", func(t *testing.T) {
		s := ovsdbtest.Start(t)
		s.KillDatabase()
		_, err := ovsdb.Connect(context.Background(), s.RunDir)
		wantError(t, err, syscall.ECONNREFUSED, "is ovsdb-server running")
	})
	t.Run("permission denied", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("needs root, to give up root's rights")
		}
		s := ovsdbtest.Start(t)
		if err := os.Chmod(s.RunDir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(s.RunDir, "db.sock"), 0o750); err != nil {
			t.Fatal(err)
		}
		_, err := asNobody(t, func() (*ovsdb.DB, error) { return ovsdb.Connect(context.Background(), s.RunDir) })
		wantError(t, err, fs.ErrPermission, "the socket belongs to root:root, mode 0750", "run as root")
		if err := os.Chmod(s.RunDir, 0o700); err != nil {
			t.Fatal(err)
		}
		_, err = asNobody(t, func() (*ovsdb.DB, error) { return ovsdb.Connect(context.Background(), s.RunDir) })
		wantError(t, err, fs.ErrPermission, s.RunDir+" belongs to root:root, mode 0700", "run as root")
	})
	t.Run("ovsdb-server hangs", func(t *testing.T) {
		s := ovsdbtest.Start(t)
		s.SignalDatabase(syscall.SIGSTOP)
		_, err := ovsdb.Connect(within(t, 50*time.Millisecond), s.RunDir)
		wantError(t, err, nil, "ovsdb-server did not answer in time")
	})
	t.Run("no row", func(t *testing.T) {
		s := ovsdbtest.StartWith(t, ovsdbtest.Options{NoInit: true})
		_, err := ovsdb.Connect(context.Background(), s.RunDir)
		wantError(t, err, nil, "ovs-vsctl --no-wait init")
	})
	t.Run("too old", func(t *testing.T) {
		s := ovsdbtest.StartWith(t, ovsdbtest.Options{EditSchema: func(text string) string {
			return strings.Replace(text, `"snaplen"`, `"snaplen_of_old"`, 1)
		}})
		_, err := ovsdb.Connect(context.Background(), s.RunDir)
		wantError(t, err, nil, "2.17 or newer", "snaplen")
	})
}

// asNobody runs f on a thread whose file accesses are those of a user without rights.
func asNobody[T any](t *testing.T, f func() (T, error)) (T, error) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const nobody = 65534
	setfsuid := func(uid uintptr) {
		syscall.RawSyscall(syscall.SYS_SETFSUID, uid, 0, 0)
	}
	setfsuid(nobody)
	defer setfsuid(0)
	return f()
}

func TestConnectToAnyPath(t *testing.T) {
	for _, name := range []string{"50% of #1?", strings.Repeat("long", 40)} {
		s := ovsdbtest.StartWith(t, ovsdbtest.Options{Dir: filepath.Join(t.TempDir(), name)})
		if _, err := connect(t, s).State(); err != nil {
			t.Error(err)
		}
	}
	t.Run("relative", func(t *testing.T) {
		s := ovsdbtest.Start(t)
		t.Chdir(filepath.Dir(s.RunDir))
		db, err := ovsdb.Connect(context.Background(), filepath.Base(s.RunDir))
		if err != nil {
			t.Fatal(err)
		}
		db.Close()
	})
}

func TestNewerSchema(t *testing.T) {
	// As if a newer Open vSwitch had columns that we do not know, and wrote them.
	s := ovsdbtest.StartWith(t, ovsdbtest.Options{EditSchema: func(text string) string {
		return strings.Replace(text, `"datapath_type"`, `"novelty": {"type": {"key": "string", "min": 0, "max": 1}}, "datapath_type"`, 1)
	}})
	db := connect(t, s)
	s.Vsctl("add-br", "br0")
	for _, row := range []string{`{"novelty": "1"}`, `{"novelty": "2", "fail_mode": "secure"}`} {
		s.Run("ovsdb-client", "transact", s.Remote(), `["Open_vSwitch", {"op": "update", "table": "Bridge", "where": [], "row": `+row+`}]`)
	}
	ovsdbtest.Eventually(t, "the bridge is seen", func() bool {
		b := state(t, db).Bridges["br0"]
		return b != nil && b.FailMode == "secure"
	})
}

// waitsForVswitchd tells whether an Apply has got as far as waiting for ovs-vswitchd.
func waitsForVswitchd() bool { return strings.Contains(stacks(), "ovsdb.(*DB).acknowledged") }

// stacks are those of all goroutines.
func stacks() string {
	text := make([]byte, 1<<20)
	return string(text[:runtime.Stack(text, true)])
}

func TestConnectionLost(t *testing.T) {
	s := ovsdbtest.Start(t)
	s.Vsctl("add-br", "br0")
	db := connect(t, s)
	ctx := context.Background()

	// One call is waiting for ovs-vswitchd, which is not there.
	waiting := make(chan error, 1)
	go func() { waiting <- db.Apply(ctx, []flows.RowOp{addPatch("br0", "p1", "p2")}) }()
	ovsdbtest.Eventually(t, "it waits", waitsForVswitchd)
	s.KillDatabase()
	<-db.Done()
	wantError(t, <-waiting, ovsdb.ErrDisconnected, s.RunDir, "the rows were committed")

	started := time.Now()
	_, err := db.State()
	wantError(t, err, ovsdb.ErrDisconnected, s.RunDir)
	_, err = db.Wish()
	wantError(t, err, ovsdb.ErrDisconnected)
	wantError(t, db.Apply(ctx, []flows.RowOp{addPatch("br0", "p1", "p2")}), ovsdb.ErrDisconnected)
	_, err = db.Update(ctx, func(*session.Wish) error { return nil })
	wantError(t, err, ovsdb.ErrDisconnected)
	wantError(t, db.Report(ctx, 1, nil), ovsdb.ErrDisconnected)
	if took := time.Since(started); took > time.Second {
		t.Errorf("failing took %v", took)
	}

	s.StartDatabase()
	if b := state(t, connect(t, s)).Bridges["br0"]; b == nil || b.Ports["p1"] == nil {
		t.Error("not all there after a new connection")
	}
}

func TestHungServer(t *testing.T) {
	s := ovsdbtest.Start(t)
	s.Vsctl("add-br", "br0")
	db := connect(t, s)
	// A store that is in use: a report on one that is not writes nothing.
	update(t, db, add(newSession("web")))
	s.SignalDatabase(syscall.SIGSTOP)

	// More than fits into a socket's buffers, so that writing hangs, too.
	var ops []flows.RowOp
	for i := range 3000 {
		ops = append(ops, addPatch("br0", fmt.Sprintf("p%d", i), strings.Repeat("x", 200)))
	}
	wantError(t, db.Apply(within(t, time.Second), ops), ovsdb.ErrOutcomeUnknown, "ovsdb-server did not answer")
	wantError(t, db.Report(within(t, 50*time.Millisecond), 1, nil), ovsdb.ErrOutcomeUnknown)
	closed := make(chan struct{})
	go func() { db.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Fatal("Close hangs")
	}
	<-db.Done()
}

// TestEcho: a connection that is kept asks for signs of life. While ovsdb-server gives them it lasts; one that hangs, and has
// nothing to tell anyway, ends it.
func TestEcho(t *testing.T) {
	s := ovsdbtest.Start(t)
	const interval = 500 * time.Millisecond
	began := time.Now()
	db, err := ovsdb.Open(t.Context(), ovsdb.Options{RunDir: s.RunDir, Echo: interval})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	select { // several echoes are answered, each in time
	case <-db.Done():
		t.Fatalf("ended after %s: %v", time.Since(began), db.Lost())
	case <-time.After(4 * interval):
	}
	if err := db.Lost(); err != nil {
		t.Errorf("while it lasts: %v", err)
	}
	s.SignalDatabase(syscall.SIGSTOP)
	select {
	case <-db.Done():
		wantError(t, db.Lost(), ovsdb.ErrDisconnected, "ovsdb-server hangs", "no answer to an echo")
	case <-time.After(time.Minute):
		t.Error("a hung ovsdb-server was not noticed")
	}
}

func TestCancelledBeforeIsNothingDone(t *testing.T) {
	s := ovsdbtest.Start(t)
	s.Vsctl("add-br", "br0")
	db := connect(t, s)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	wantError(t, db.Apply(ctx, []flows.RowOp{addPatch("br0", "p1", "p2")}), context.Canceled, "nothing was done")
	if len(state(t, db).Bridges["br0"].Ports) != 1 {
		t.Error("something was done")
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	s := ovsdbtest.Start(t)
	for range 5 {
		db := connect(t, s)
		waiting := make(chan error, 1)
		go func() {
			_, err := db.Update(context.Background(), func(*session.Wish) error { return nil })
			waiting <- err
		}()
		<-waiting
		db.Close()
		db.Close()
		<-db.Done()
		_, err := db.State()
		wantError(t, err, ovsdb.ErrDisconnected)
	}
	if _, err := ovsdb.Connect(within(t, time.Nanosecond), s.RunDir); err == nil {
		t.Error("connected in no time")
	}
	ovsdbtest.Eventually(t, "no goroutine is left", func() bool {
		now := stacks()
		return !strings.Contains(now, "libovsdb") && !strings.Contains(now, "rpc2") && !strings.Contains(now, "ovsdb.(*DB)")
	})
}

func TestChanged(t *testing.T) {
	s := ovsdbtest.Start(t)
	db := connect(t, s)
	drain := func() {
		// What is told of the past, up to a change that is told of for sure.
		for {
			select {
			case <-db.Changed():
				continue
			default:
			}
			return
		}
	}
	s.Vsctl("add-br", "br0")
	<-db.Changed()
	ovsdbtest.Eventually(t, "the bridge is seen", func() bool { return state(t, db).Bridges["br0"] != nil })
	drain()
	s.Vsctl("set", "bridge", "br0", "fail_mode=secure")
	<-db.Changed()
	if got := state(t, db).Bridges["br0"].FailMode; got != "secure" {
		t.Errorf("told of before it was there: %q", got)
	}
}
