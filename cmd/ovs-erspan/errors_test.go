package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ovs-erspan/ovs-erspan/doctor"
	"github.com/ovs-erspan/ovs-erspan/session"
)

func said(a app, err error) []string {
	var out bytes.Buffer
	a.err = &out
	a.printError(err)
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

// TestFaultsAreOnLinesOfTheirOwn: two faults stand on two lines, and one that many sessions have stands there once.
func TestFaultsAreOnLinesOfTheirOwn(t *testing.T) {
	var many []error
	for n := range 12 {
		many = append(many, &session.FieldError{Session: fmt.Sprintf("web%d", n), Line: n, Field: "dscp", Value: "64", Allowed: "0..63"})
	}
	waiting := session.Status{State: session.Pending, Reason: "SourceMissing", Message: "no port vnet7"}
	err := refuse(errors.Join(errors.Join(many...), &session.FieldError{Session: "db", Field: "ttl", Value: "0", Allowed: "1..255"},
		inForce(map[string]session.Status{"a": waiting, "b": waiting, "c": {State: session.Active}}, []string{"a", "b", "c"})))
	want := []string{
		`ovs-erspan: 12 sessions (web0, web1, web2 and 9 more): dscp 64: want 0..63`,
		`ovs-erspan: session "db": ttl 0: want 1..255`,
		`ovs-erspan: 2 sessions (a, b): stored and not wholly in force: Pending, SourceMissing: no port vnet7`,
	}
	if got := said(app{}, err); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("said\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// Programs get each.
	var object struct {
		Errors []struct{ Session, Message string }
	}
	if err := json.Unmarshal([]byte(strings.Join(said(app{output: "json"}, err), "\n")), &object); err != nil || len(object.Errors) != 15 || object.Errors[11].Session != "web11" {
		t.Errorf("%v: %+v", err, object)
	}
	// A sentence around a fault is not lost.
	around := fmt.Errorf("the store: %w", many[0])
	if got := said(app{}, errors.Join(around, around)); len(got) != 2 || !strings.Contains(got[0], "the store: line") && !strings.Contains(got[0], "the store: session") {
		t.Errorf("said %q", got)
	}
}

// TestOutOfTimeIsNoRefusal: exit code 2 says that a change was judged, and refused.
func TestOutOfTimeIsNoRefusal(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		code int
	}{
		"a fault":     {&session.FieldError{Field: "ttl"}, exitRefused},
		"out of time": {fmt.Errorf("ask ovs-vswitchd: %w", context.DeadlineExceeded), exitFailed},
		"interrupted": {errors.Join(errors.New("x"), context.Canceled), exitFailed},
	} {
		if err := judged(tt.err); exitCode(err) != tt.code || !errors.Is(err, tt.err) && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: exit code %d, want %d: %v", name, exitCode(err), tt.code, err)
		}
	}
	if judged(nil) != nil {
		t.Error("no fault is no fault")
	}
}

// TestDoctorSaysTheSameOnce: what was found of many sessions is one line, and each counts.
func TestDoctorSaysTheSameOnce(t *testing.T) {
	var results []doctor.Result
	for n := range 5 {
		results = append(results, doctor.Result{ID: "route", Title: "routes", Level: doctor.Failure, Session: fmt.Sprintf("web%d", n), Saw: "nothing leads there", Do: "ip route add"})
	}
	results = append(results, doctor.Result{ID: "route", Title: "routes", Level: doctor.Failure, Session: "db", Saw: "nothing leads elsewhere"},
		doctor.Result{ID: "clock", Title: "clock", Level: doctor.Warning, Saw: "late"}, doctor.Result{ID: "x", Title: "x", Level: doctor.Skipped, Saw: "not asked"})
	text := doctorText(results, false)
	for _, want := range []string{"routes (web0, web1, web2 and 2 more)", "routes (db)", "0 ok, 1 warning, 6 failures, 1 skipped"} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%q is not there once:\n%s", want, text)
		}
	}
	if n := strings.Count(text, "nothing leads there"); n != 1 {
		t.Errorf("said %d times:\n%s", n, text)
	}
}

// TestRefusedIsNotTold: of a change that was refused nothing is said but why, with --no-wait too.
func TestRefusedIsNotTold(t *testing.T) {
	var out bytes.Buffer
	h := &host{app: &app{out: &out}}
	for _, noWait := range []bool{true, false} {
		if err := h.report(nil, "", noWait, "web"); err != nil || out.Len() > 0 {
			t.Errorf("no-wait %v: %v, %s", noWait, err, &out)
		}
	}
}
