package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/ovs-erspan/ovs-erspan/httpd"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// listenRetry is how often a port that is taken is tried.
const listenRetry = 5 * time.Second

// listening is where the daemon serves metrics and health, and as whom.
type listening struct {
	address string // "": nowhere
	names   commaList
}

func (l listening) check() error {
	if l.address == "" {
		if len(l.names) > 0 {
			return refuse(errors.New("run: --listen-name goes with --listen"))
		}
		return nil
	}
	if _, _, err := net.SplitHostPort(l.address); err != nil {
		return refuse(fmt.Errorf("--listen %q: want ADDRESS:PORT, such as 127.0.0.1:9475: %w", l.address, err))
	}
	for _, name := range l.names {
		if err := httpd.CheckName(name); err != nil {
			return refuse(fmt.Errorf("--listen-name %s: %w", session.Quote(name), err))
		}
	}
	return nil
}

// hosts are the names that it may be asked under.
func (l listening) hosts() []string {
	host, _, _ := net.SplitHostPort(l.address) // was checked
	return append(slices.Clone([]string(l.names)), host)
}

// serve serves metrics and health until ctx is done. A port that is taken is no reason to leave sessions alone: it is
// told of, and tried again. It calls tried when it is known whether the port can be had.
func (d *daemon) serve(ctx context.Context, at listening, tried func()) {
	address := at.address
	server := httpd.New(d.met.Handler(), at.hosts(), d.log)
	defer context.AfterFunc(ctx, func() { server.Close() })()
	told := false
	for ctx.Err() == nil {
		var config net.ListenConfig
		listener, err := config.Listen(ctx, "tcp", address)
		tried()
		if err == nil {
			d.log.Info("metrics and health are served", "address", listener.Addr().String())
			told = false
			err = server.Serve(listener)
		}
		if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
			return
		}
		if !told {
			d.log.Error("metrics and health cannot be served; it is tried again", "address", address, "error", err)
			told = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(listenRetry):
		}
	}
}

// notify tells systemd (sd_notify(3)) that the daemon is ready, which it is also where Open vSwitch is not there yet, and
// then, where the unit asks for it, that it lives. Without systemd it does nothing.
func (d *daemon) notify(ctx context.Context, running *sync.WaitGroup) {
	tell := func(state string) {
		if _, err := sd.SdNotify(false, state); err != nil {
			d.log.Debug("cannot notify systemd", "error", err)
		}
	}
	tell(sd.SdNotifyReady)
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		d.log.Warn("the watchdog of systemd is not served", "error", err)
	}
	running.Go(func() {
		defer tell(sd.SdNotifyStopping)
		var tick <-chan time.Time
		if interval > 0 {
			ticker := time.NewTicker(interval / 3)
			defer ticker.Stop()
			tick = ticker.C
		}
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick:
				if why := d.met.Stuck(); why != "" {
					d.log.Error("stuck: the watchdog is not served any more", "error", why)
					continue
				}
				state := "in force"
				if why := d.met.NotReady(); why != "" {
					state = "trying: " + why
				}
				tell(fmt.Sprintf("%s\nSTATUS=%s", sd.SdNotifyWatchdog, oneLine(errors.New(state))))
			}
		}
	})
}
