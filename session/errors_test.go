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

// TestFaultsAreBounded: a list of nothing but faults does not become a message of megabytes.
func TestFaultsAreBounded(t *testing.T) {
	s := valid()["source"]
	s.VLANs = make([]int, MaxVLAN)
	errs := Flatten(s.Validate())
	if len(errs) != maxFaults+1 || !strings.Contains(errs[maxFaults].Error(), "more faults") {
		t.Errorf("%d faults, the last of them %v", len(errs), errs[len(errs)-1])
	}
	if text := Summary(s.Validate()); len(text) > 2000 || strings.Contains(text, "\n") || !strings.HasSuffix(text, "; and 98 more faults") {
		t.Errorf("the summary is %q", text)
	}
	s.Name = strings.Repeat("x", 1<<20)
	s.Bridge = strings.Repeat("y", 1<<20)
	for _, err := range Flatten(s.Validate()) {
		if len(err.Error()) > 500 {
			t.Fatalf("an error of %d bytes", len(err.Error()))
		}
	}
}

// TestExplainJSON: what encoding/json says without field, value and range is said as of YAML.
func TestExplainJSON(t *testing.T) {
	for text, want := range map[string]string{
		`{"name":"a","dscp":"x"}`:                               `session "a": dscp x: "x" is not a number: write it in decimal, or in hexadecimal with 0x; want a whole number, in decimal or with 0x`,
		`{"name":"a","dscp":"5"}`:                               `json`, // YAML takes it
		`{"name":"a","colour":1}`:                               `session "a": colour: there is no such field; want one of name`,
		`{"name":"a","erspan":{"version":7}}`:                   `session "a": erspan.version 7: want 1 (Type II) or 2 (Type III)`,
		`{"name":"a","x":"` + strings.Repeat("y", 3<<20) + `"}`: `json`, // too long to look at twice
		`{`: `json`,
	} {
		if got := ExplainJSON([]byte(text), errors.New("json")).Error(); !strings.HasPrefix(got, want) {
			t.Errorf("%.60s: %s, want %s", text, got, want)
		}
	}
}
