package main

import (
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

func withCode(code int, err error) error {
	if err == nil {
		return nil
	}
	return &codedError{code, err}
}

func exitCode(err error) int {
	var coded *codedError
	if errors.As(err, &coded) {
		return coded.code
	}
	return exitFailed
}

// printError writes each fault on a line of its own; for -o json as one object as well.
func (a *app) printError(err error) {
	faults := session.Flatten(err)
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

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
