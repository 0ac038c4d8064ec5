package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func runCLI(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = execute(t.Context(), args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

// TestUnknownCommands: in every group of commands, at any depth, a word that is no command is refused with exit code 2, and a
// slip of the finger is told what may have been meant. A group by itself shows its help.
func TestUnknownCommands(t *testing.T) {
	groups := 0
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
		if !cmd.HasSubCommands() {
			return
		}
		groups++
		path := strings.Fields(cmd.CommandPath())[1:]
		code, out, said := runCLI(t, append(path, "nosuchthing", "web")...)
		if code != exitRefused || out != "" || !strings.Contains(said, `"nosuchthing" is no command of`) || !strings.Contains(said, "--help") {
			t.Errorf("%s nosuchthing: exit %d, %s%s", cmd.CommandPath(), code, out, said)
		}
		for _, sub := range cmd.Commands() {
			if sub.Hidden || sub.Name() == "help" || len(sub.Name()) < 4 { // cobra suggests help to nobody
				continue
			}
			slip := sub.Name()[:len(sub.Name())-2] + sub.Name()[len(sub.Name())-1:]
			for _, args := range [][]string{append(path, slip), append(append([]string{"help"}, path...), slip)} {
				code, out, said = runCLI(t, args...)
				if code != exitRefused || out != "" || !strings.Contains(said, "did you mean") || !strings.Contains(said, sub.CommandPath()) {
					t.Errorf("%q: exit %d, %s%s", args, code, out, said)
				}
			}
		}
		if code, out, said := runCLI(t, path...); code != 0 || !strings.Contains(out, "Available Commands") {
			t.Errorf("%q alone: exit %d, %s%s", path, code, out, said)
		}
	}
	walk(newRootCommand(&app{}))
	if groups < 4 {
		t.Errorf("only %d groups were found", groups)
	}
	for _, args := range [][]string{{"help"}, {"help", "session"}, {"help", "session", "add"}, {"session", "add", "--help"}} {
		if code, out, said := runCLI(t, args...); code != 0 || !strings.Contains(out, "Usage") {
			t.Errorf("%q: exit %d, %s%s", args, code, out, said)
		}
	}
}
