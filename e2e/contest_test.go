//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// TestContested: whoever undoes what is ours again and again is met with rests, a warning in the log, and a reason in every
// view; a user's command puts it back at once.
func TestContested(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	const address = "127.0.0.1:9475"
	d := s.daemon("--listen", address).ready()
	s.add("one", "--source", "vnet0", "--match", "icmp")
	s.add("two", "--source", "vnet1", "--match", "icmp")
	for _, fight := range []struct {
		name, reason string
		undo         func()
	}{
		{"mirrors", "MirrorContested", func() { s.vsctl("clear", "bridge", "br0", "mirrors") }},
		{"patch ports", "MirrorContested", func() {
			for _, port := range strings.Fields(s.vsctlOut("list-ports", "br0")) {
				if strings.HasPrefix(port, "es-") {
					s.vsctl("--if-exists", "del-port", "br0", port)
				}
			}
		}},
		{"what the mirrors select", "MirrorContested", func() {
			for _, uuid := range strings.Fields(s.vsctlOut("--bare", "--columns=_uuid", "list", "mirror")) {
				_, _ = s.host.Vsctl(s.ctx, "--no-wait", "set", "mirror", uuid, "select_all=true")
			}
		}},
		{"flows of our bridge", "FlowContested", func() {
			_, _ = s.host.Ofctl(s.ctx, "-O", "OpenFlow14", "del-flows", tapBridge)
		}},
	} {
		t.Run(fight.name, func(t *testing.T) {
			from := len(d.Stderr())
			tries := 0
			s.must(lab.Until(s.ctx, "the sessions say "+fight.reason, func(context.Context) error {
				states, _ := s.states()
				if states["one"] == "Degraded, "+fight.reason && states["two"] == "Degraded, "+fight.reason {
					return nil
				}
				if states["one"] == "Active, InForce" {
					tries++
					fight.undo()
				}
				return fmt.Errorf("after %d tries: %v", tries, states)
			}))
			fight.undo()
			if tries > 7 {
				t.Errorf("it took %d tries", tries)
			}
			log := d.Stderr()[from:]
			if n := strings.Count(log, `"level":"WARN","msg":"somebody else undoes`); n < 1 || n > 2 {
				t.Errorf("%d warnings in the log:\n%s", n, log)
			}
			if n := strings.Count(log, `"level":"INFO"`); n > 30 {
				t.Errorf("%d lines in the log:\n%s", n, log)
			}
			if fight.name == "mirrors" || fight.name == "flows of our bridge" { // all at once, so that all rest
				s.noCopies()
			}
			if v := s.show("one"); v.Status.State != "Degraded" || v.Status.Reason != fight.reason || !strings.Contains(v.Status.Message, "again and again") {
				t.Errorf("show: %+v", v.Status)
			}
			if found, _ := s.doctor(); len(found["contested"]) != 2 || found["contested"][0].Level != "warning" {
				t.Errorf("doctor: %+v", found["contested"])
			}
			if _, body, err := httpGet(s.host, address, "/metrics"); err != nil || !strings.Contains(body, `reason="`+fight.reason+`",session="one"`) {
				t.Errorf("metrics: %v, %s", err, body)
			}
			s.ok("session", "set", "one", "--description", fight.name)
			s.must(lab.Until(s.ctx, "it is put back for a user", func(context.Context) error {
				if states, _ := s.states(); states["one"] != "Active, InForce" || states["two"] != "Active, InForce" {
					return fmt.Errorf("%v", states)
				}
				return nil
			}))
			s.copies(2)
		})
	}
}

// TestNotContested: what is not undone by anybody never rests: sources that leave and return, bridges that are made anew,
// restarts of ovs-vswitchd.
func TestNotContested(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	d := s.daemon().ready()
	s.add("one", "--source", "vnet0,vnet1", "--match", "icmp", "--direction", "ingress")
	becomes := func(what, want string) {
		t.Helper()
		s.must(lab.Until(s.ctx, what, func(context.Context) error {
			if states, r := s.states(); states["one"] != want {
				return errors.New(fmt.Sprint(states, r.stderr))
			}
			return nil
		}))
	}
	for range 6 {
		s.vsctl("del-port", "br0", "vnet1")
		becomes("a source is missing", "Degraded, SourceMissing")
		s.vsctl("add-port", "br0", "vnet1")
		becomes("it is back", "Active, InForce")
	}
	for range 6 {
		s.vsctl("del-port", "br0", "vnet1", "--", "add-port", "br0", "vnet1")
		becomes("the port is another", "Active, InForce")
	}
	for range 5 {
		s.must(s.host.KillVswitchd(s.ctx))
		s.must(s.host.StartVswitchd(s.ctx))
		becomes("ovs-vswitchd is back", "Active, InForce")
	}
	s.settled("one")
	if log := d.Stderr(); strings.Contains(log, "somebody else undoes") {
		t.Errorf("the daemon takes that for a contest:\n%s", log)
	}
	s.copies(1)
}

// vsctlOut is what ovs-vsctl prints.
func (s *scene) vsctlOut(args ...string) string {
	s.t.Helper()
	out, err := s.host.Vsctl(s.ctx, args...)
	s.must(err)
	return out
}
