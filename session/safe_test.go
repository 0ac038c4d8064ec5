package session

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestSafe: a line stays one line, and nothing in it acts on a terminal.
func TestSafe(t *testing.T) {
	for text, want := range map[string]string{
		"vnet0": "vnet0", "grün €": "grün €", "a\nb": `a\nb`, "\x1b[2J": `\x1b[2J`, "\u009b2J": `\u009b2J`, "a\u202eb": `a\u202eb`, "a\tb\r": `a\tb\r`, "\xff": "�",
	} {
		if got := Safe(text); got != want {
			t.Errorf("Safe(%q) = %q, want %q", text, got, want)
		}
	}
}

// TestShellWord: what is pasted is one word, and the text; bash is the judge.
func TestShellWord(t *testing.T) {
	texts := []string{"web-1.a", "", "a b", "$(touch pwned)", "`id`", "it's", `"`, `\`, "a;b&c|d", "*", "~", "-x", "\x1b[2J", "a\nb", "a\u202eb'\\", "ü", "\xff", "!x", "#"}
	for _, text := range texts {
		word := ShellWord(text)
		out, err := exec.Command("bash", "-c", "printf '%s' "+word).Output()
		if text == "-x" {
			out, err = exec.Command("bash", "-c", "printf '%s' -- "+word+" | sed 's/^--//'").Output()
		}
		if err != nil || string(out) != text {
			t.Errorf("%q as %s is %q, %v", text, word, out, err)
		}
		if Safe(word) != word {
			t.Errorf("%q is pasted with what a terminal acts on: %q", text, word)
		}
	}
}

// TestSafeJSON: whatever a text is, its JSON means the same, and nothing in it does anything to a terminal.
func TestSafeJSON(t *testing.T) {
	check := func(text string) string {
		plain, err := json.Marshal(map[string]string{"text": text})
		if err != nil {
			return err.Error()
		}
		safe := SafeJSON(plain)
		var before, after any
		if json.Unmarshal(plain, &before) != nil || json.Unmarshal(safe, &after) != nil || before.(map[string]any)["text"] != after.(map[string]any)["text"] {
			return "it means something else: " + string(safe)
		}
		if strings.ContainsAny(string(safe), "\x1b\x7f\u0085\u009b\u200e\u202e\u2066\ufeff") {
			return "it is not escaped: " + string(safe)
		}
		return ""
	}
	for _, text := range []string{"", "grün €, 中", "\x1b[2J\x7f", "\u009b2J", "a\u202eb\u2066", "\ufeff", "\U000e0041😀", "\xff\n\t\\\""} {
		if fault := check(text); fault != "" {
			t.Errorf("%q: %s", text, fault)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		if fault := check(rapid.String().Draw(t, "text")); fault != "" {
			t.Error(fault)
		}
	})
}
