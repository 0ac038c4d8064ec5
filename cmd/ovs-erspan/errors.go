package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// Exit codes.
const (
	exitInForce    = 0 // done, and in force
	exitFailed     = 1
	exitRefused    = 2 // nothing was changed
	exitNotInForce = 3 // accepted, but not (wholly) in force; of plan: changes are pending
	exitNoSession  = 4
)

// codedError is an error with the exit code that it ends the program with.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// refuse marks an error as a refusal: nothing was changed.
func refuse(err error) error { return withCode(exitRefused, err) }

// judged marks what a check of a change has found: a refusal, but not where it ran out of time and has found nothing. Nothing
// was changed either way.
func judged(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return withCode(exitFailed, fmt.Errorf("nothing was changed, as it could not be checked: %w", err))
	}
	return refuse(err)
}

func withCode(code int, err error) error {
	if err == nil {
		return nil
	}
	return &codedError{code, err}
}

// errTold marks an error that is in the daemon's log already.
var errTold = errors.New("logged")

func exitCode(err error) int {
	var coded *codedError
	if errors.As(err, &coded) {
		return coded.code
	}
	return exitFailed
}

// printError writes each fault on a line of its own, one that many sessions have once; for -o json all of them, as one object.
func (a *app) printError(err error) {
	faults := faultsOf(err)
	if a.output != "json" {
		faults = grouped(faults)
	}
	if more := len(faults) - mostFaults; more > 0 {
		faults = append(faults[:mostFaults], fmt.Errorf("and %d more faults", more))
	}
	if a.output == "json" {
		type fault struct {
			*session.FieldError
			Message string `json:"message"`
		}
		object := struct {
			ExitCode int     `json:"exitCode"`
			Errors   []fault `json:"errors"`
		}{ExitCode: exitCode(err)}
		for _, f := range faults {
			var field *session.FieldError
			errors.As(f, &field)
			object.Errors = append(object.Errors, fault{field, oneLine(f)})
		}
		encoder := json.NewEncoder(a.err)
		encoder.SetEscapeHTML(false)
		if encoder.Encode(object) == nil {
			return
		}
	}
	for _, f := range faults {
		fmt.Fprintf(a.err, "ovs-erspan: %s\n", oneLine(f))
	}
}

// aboutSession is a fault of one session; others may have the same one.
type aboutSession interface {
	error
	// About is the session's name, and the fault without it.
	About() (session, fault string)
}

// grouped puts the faults that many sessions have into one for all of them, at the place of the first.
func grouped(faults []error) (list []error) {
	names, at := map[string][]string{}, map[string]int{}
	for _, f := range faults {
		var about aboutSession
		if !errors.As(f, &about) || about.Error() != f.Error() { // a sentence around it says more
			list = append(list, f)
			continue
		}
		name, fault := about.About()
		if name == "" {
			list = append(list, f)
			continue
		}
		if _, again := at[fault]; !again {
			at[fault] = len(list)
			list = append(list, f)
		}
		names[fault] = append(names[fault], name)
	}
	for fault, of := range names {
		if len(of) > 1 {
			list[at[fault]] = fmt.Errorf("%d sessions (%s): %s", len(of), few(of), fault)
		}
	}
	return list
}

// few lists names, but not more than a person reads.
func few(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// mostFaults is how many faults are told.
const mostFaults = 100

// faultsOf lists the errors that are joined in err, also behind exit codes.
func faultsOf(err error) []error {
	if coded, ok := err.(*codedError); ok {
		return faultsOf(coded.err)
	}
	list := session.Flatten(err)
	if len(list) == 1 {
		return list
	}
	var all []error
	for _, e := range list {
		all = append(all, faultsOf(e)...)
	}
	return all
}

// longestLine bounds what an error says, in bytes. What is longer repeats its input.
const longestLine = 4000

// oneLine is what an error says, without what would break the line, disguise what stands on it or reach the terminal.
func oneLine(err error) string {
	text := session.Safe(strings.Join(strings.Fields(err.Error()), " "))
	if len(text) > longestLine {
		text = strings.ToValidUTF8(text[:longestLine], "") + "…"
	}
	return text
}
