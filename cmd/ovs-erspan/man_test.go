package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// TestReferenceIsCurrent holds docs/cli to the commands; `make docs` writes it anew.
func TestReferenceIsCurrent(t *testing.T) {
	dir := t.TempDir()
	var out, errOut bytes.Buffer
	if code := execute(context.Background(), []string{"man", dir, "--markdown"}, nil, &out, &errOut); code != 0 {
		t.Fatalf("exit %d: %s", code, errOut.String())
	}
	want, got := readAll(t, dir), readAll(t, "../../docs/cli")
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("docs/cli is not what the commands say (run 'make docs'; -docs +commands):\n%s", diff)
	}
}

func readAll(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", dir, len(files), err)
	}
	all := map[string]string{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(f)] = string(data)
	}
	return all
}

// TestEveryCommandIsExplained: a newcomer needs nothing but --help.
func TestEveryCommandIsExplained(t *testing.T) {
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Name() == "help" || c.Name() == "completion" { // cobra's own
			return
		}
		if c.Short == "" || c.Example == "" {
			t.Errorf("%s has no short text or no example", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(newRootCommand(&app{}))
}

// TestExitCodes: what is wrong before Open vSwitch is asked is a refusal.
func TestExitCodes(t *testing.T) {
	for name, args := range map[string][]string{
		"unknown flag":     {"session", "add", "x", "--nonsense"},
		"no name":          {"session", "add"},
		"bad output":       {"version", "-o", "xml"},
		"bad timeout":      {"version", "--timeout", "0s"},
		"bad number":       {"session", "add", "x", "--session-id", "ten"},
		"octal":            {"session", "add", "x", "--session-id", "010"},
		"bad address":      {"session", "add", "x", "--collector", "collector.example"},
		"bad version":      {"session", "add", "x", "--erspan-version", "3"},
		"names and --all":  {"session", "disable", "x", "--all"},
		"no file":          {"apply"},
		"file that is not": {"apply", "-f", "/does/not/exist"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			if code := execute(context.Background(), args, nil, &out, &errOut); code != exitRefused {
				t.Errorf("exit %d, want %d: %s", code, exitRefused, errOut.String())
			}
			if errOut.Len() == 0 || out.Len() != 0 {
				t.Errorf("standard output %q, standard error %q", out.String(), errOut.String())
			}
		})
	}
}
