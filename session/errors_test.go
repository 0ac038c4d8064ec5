package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFieldError(t *testing.T) {
	for _, c := range []struct {
		err  FieldError
		want string
	}{
		{
			FieldError{Session: "web", Field: "erspan.version", Value: "3", Allowed: "1 (Type II) or 2 (Type III)", Remedy: "ERSPAN Type III is version 2"},
			`session "web": erspan.version 3: want 1 (Type II) or 2 (Type III); ERSPAN Type III is version 2`,
		},
		{FieldError{Line: 7, Session: "web", Field: "bridge", Reason: "is required"}, `line 7: session "web": bridge: is required`},
		{FieldError{Field: "a", Value: "b", Reason: "r", Allowed: "x", Remedy: "m"}, `a b: r; want x; m`},
		{FieldError{Field: "a", Value: "b c", Reason: "r"}, `a "b c": r`},
		{FieldError{Field: "a", Value: "x\ny\x1b\xff", Reason: "r"}, `a "x\ny\x1b\xff": r`},
		{FieldError{Field: "a", Value: strings.Repeat("ä", 100), Reason: "r"}, `a ` + strings.Repeat("ä", 40) + `…: r`},
		{FieldError{Field: "a"}, `a`},
	} {
		if diff := cmp.Diff(c.want, c.err.Error()); diff != "" {
			t.Errorf("Error() of %#v (-want +got):\n%s", c.err, diff)
		}
	}
	got, err := json.Marshal(&FieldError{Session: "web", Field: "ttl", Value: "0", Allowed: "1..255"})
	if want := `{"session":"web","field":"ttl","value":"0","allowed":"1..255"}`; err != nil || string(got) != want {
		t.Errorf("JSON is %s, %v, want %s", got, err, want)
	}
}

func TestFlatten(t *testing.T) {
	a, b, c := errors.New("a"), errors.New("b"), errors.New("c")
	wrapped := fmt.Errorf("reading: %w", errors.Join(a, b))
	both := fmt.Errorf("%w while %w", a, b)
	for _, tc := range []struct {
		name string
		err  error
		want []error
	}{
		{"nil", nil, nil},
		{"one", a, []error{a}},
		{"joined", errors.Join(a, b), []error{a, b}},
		{"nested", errors.Join(errors.Join(a, b), c), []error{a, b, c}},
		{"a sentence around a list", wrapped, []error{wrapped}},
		{"a sentence of two", both, []error{both}},
	} {
		got := Flatten(tc.err)
		if !cmp.Equal(tc.want, got, cmp.Comparer(func(x, y error) bool { return x == y })) {
			t.Errorf("%s: Flatten is %v, want %v", tc.name, got, tc.want)
		}
	}
}
