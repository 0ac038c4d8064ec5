package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"golang.org/x/term"

	"github.com/ovs-erspan/ovs-erspan/controller"
	"github.com/ovs-erspan/ovs-erspan/metrics"
	"github.com/ovs-erspan/ovs-erspan/openflow"
	"github.com/ovs-erspan/ovs-erspan/ovsdb"
	"github.com/ovs-erspan/ovs-erspan/underlay"
	"github.com/ovs-erspan/ovs-erspan/vswitchd"
)

// daemon is `run` without --once.
type daemon struct {
	app  *app
	log  *slog.Logger
	ofc  *openflow.Client
	ctl  *vswitchd.Client
	db   atomic.Pointer[ovsdb.DB] // as it was connected last
	met  *metrics.Metrics
	lock *lock // nil until the run directory is there and the lock is ours
	lost *controller.Ledger

	mu   sync.Mutex // of what follows
	sign sign
}

// daemonLog is text for people and JSON for programs; durations are in seconds there. In systemd's journal each line has its
// level as the journal's own priority.
func (a *app) daemonLog() *slog.Logger {
	level := slog.LevelInfo
	if a.verbose {
		level = slog.LevelDebug
	}
	options := &slog.HandlerOptions{Level: level}
	if f, ok := a.err.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return slog.New(slog.NewTextHandler(a.err, options))
	}
	options.ReplaceAttr = func(_ []string, attr slog.Attr) slog.Attr {
		if attr.Value.Kind() == slog.KindDuration {
			return slog.Float64(attr.Key, attr.Value.Duration().Seconds())
		}
		return attr
	}
	if journaled, err := journal.StderrIsJournalStream(); err == nil && journaled && a.err == os.Stderr {
		return slog.New(newJournalHandler(a.err, options))
	}
	return slog.New(slog.NewJSONHandler(safeWriter{a.err}, options))
}

func (a *app) runDaemon(ctx context.Context, at listening) error {
	if err := at.check(); err != nil {
		return err
	}
	d := &daemon{app: a, log: a.daemonLog(), ofc: openflow.New(a.rundir), lost: &controller.Ledger{}, sign: sign{PID: os.Getpid(), Processes: processes(), Watching: time.Now().UTC().Truncate(time.Second)}}
	d.ctl = a.vswitchd(d.db.Load)
	defer d.ofc.Close()
	scraped := openflow.New(a.rundir) // a scrape must not wait for a reconcile's use of the connection
	defer scraped.Close()
	d.met = metrics.New(programVersion(), scraped, d.ctl, d.lost)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	loop := &controller.Loop{
		Connect: func(ctx context.Context) (*controller.Connection, error) {
			conn, err := d.connect(ctx)
			if errors.Is(err, errSecondDaemon) {
				cancel(err)
			}
			return conn, err
		},
		Flows: d.ofc, WatchUnderlay: underlay.Watch, Log: d.log, Observe: d.observe,
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50) // memory is what a host that is full of guests lacks; the daemon idles
	}
	d.log.Info("ovs-erspan keeps this Open vSwitch as its sessions wish", "ovs-rundir", a.rundir, "version", programVersion())
	var life sync.WaitGroup
	life.Go(func() { d.live(ctx, cancel) })
	if at.address != "" {
		tried, done := context.WithTimeout(ctx, time.Second) // a name may take long to look up
		life.Go(func() { d.serve(ctx, at, done) })
		<-tried.Done()
		done()
	}
	d.notify(ctx, &life)
	loop.Run(ctx)
	life.Wait()
	switch err := context.Cause(ctx); {
	case errors.Is(err, errSecondDaemon):
		return err
	case errors.Is(err, errVanished):
		d.log.Warn("ends, to be started again; what is programmed stays in force", "error", err)
		return fmt.Errorf("%w: %w", errTold, err)
	}
	d.log.Info("ends; what is programmed stays in force")
	return nil
}

var (
	errSecondDaemon = errors.New("another daemon is at work")
	errVanished     = errors.New("the directory was removed, and one that is made anew cannot be seen from here")
)

// connect takes the lock, which stays with the daemon, and opens the database.
func (d *daemon) connect(ctx context.Context) (*controller.Connection, error) {
	if d.lock != nil && !d.lock.holds() {
		d.setLock(nil) // the run directory was made anew
	}
	if d.lock == nil {
		l, err := tryLock(d.app.rundir)
		if errors.Is(err, errLocked) {
			if other, ok := readSign(d.app.rundir); ok && !other.hung() {
				return nil, fmt.Errorf("%w: process %d (it holds %s)", errSecondDaemon, other.PID, lockName)
			}
		}
		if err != nil {
			return nil, err
		}
		d.setLock(l)
	}
	ctx, cancel := context.WithTimeout(ctx, d.app.timeout)
	defer cancel()
	options := d.app.database()
	options.Echo = ovsdb.EchoInterval
	db, err := ovsdb.Open(ctx, options)
	if err != nil {
		return nil, err
	}
	d.db.Store(db)
	c := newController(db, d.ofc, d.ctl)
	c.Log, c.Ledger = d.log, d.lost
	return &controller.Connection{Controller: c, Changed: db.Changed(), Done: db.Done(), Lost: db.Lost, Close: db.Close}, nil
}

func (d *daemon) setLock(l *lock) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lock != nil {
		d.lock.release()
	}
	d.lock = l
	d.write()
}

// observe keeps the sign of life true.
func (d *daemon) observe(e controller.Event) {
	d.met.Observe(e)
	if !e.Reconciled && e.Err == nil {
		return
	}
	if e.Quiet() {
		// The host gets back what the last burst of changes took.
		go debug.FreeOSMemory()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sign.Trouble, d.sign.Failed = "", nil
	if e.Err != nil {
		d.sign.Trouble, d.sign.Tried = e.Err.Error(), e.Result.Generation
	} else {
		d.sign.Reconciled = e.Result.Generation
		for bridge, err := range e.Result.Failed {
			if d.sign.Failed == nil {
				d.sign.Failed = map[string]string{}
			}
			d.sign.Failed[bridge] = err.Error()
		}
	}
	d.write()
}

// live gives signs of life until ctx is done, and ends the daemon when its directory is not Open vSwitch's any more.
func (d *daemon) live(ctx context.Context, end context.CancelCauseFunc) {
	tick := time.NewTicker(lifeInterval)
	defer tick.Stop()
	for {
		if vanished(d.app.rundir) {
			end(fmt.Errorf("%s: %w", d.app.rundir, errVanished))
		}
		d.mu.Lock()
		d.write()
		lost := d.lock != nil && !d.lock.holds()
		d.mu.Unlock()
		if db := d.db.Load(); lost && db != nil {
			// Whoever comes now would take a lock of its own. The loop connects anew, and asks for the lock before.
			d.log.Warn("somebody removed the lock's file: this daemon asks for the lock again", "file", lockName)
			db.Close()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// write is called with the mutex held.
func (d *daemon) write() {
	if d.lock == nil {
		return
	}
	d.sign.At = time.Now().UTC()
	if err := d.lock.write(d.sign); err != nil {
		d.log.Debug("cannot give a sign of life", "error", err)
	}
}
