package session

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

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
