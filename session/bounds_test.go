//go:build !race

package session

import (
	"runtime"
	"strings"
	"testing"
)

// TestMemoryIsBounded: no text of at most MaxFileLen makes Parse take more memory than a host with an Open vSwitch to run
// can spare. Without limits the worst of these took 4 GB.
func TestMemoryIsBounded(t *testing.T) {
	const most = 700 << 20 // allocated in all, not at once
	fill := func(text string) string { return strings.Repeat(text, MaxFileLen/len(text)) }
	part := func(text string) string { return strings.Repeat(text, (MaxFileParts-100)/parts([]byte(text))) }
	const head = "apiVersion: ovs-erspan/v1\nsessions: "
	for name, text := range map[string]string{
		"list": "[" + fill("a,"), "lines": fill("-\n"), "keys": fill("a:\n"), "depth": fill("["), "indent": fill("- "), "questions": fill("? "), "mapping": "{" + fill("a,"),
		"one scalar": fill("a"), "comment": "#" + fill("a"), "quotes": `"` + fill(`\"`), "anchors": fill("&a "), "documents": fill("---\n"), "line separators": fill("-\u2028"),
		"list within": "[" + part("a,") + "]", "sessions": head + "[" + part("{},") + "]", "mapping within": "{" + part("a,") + "}", "lines within": part("-\n"),
		"rules": head + "[{name: a, match: [" + part("{},") + "]}]", "numbers": head + "[{name: a, vlans: [" + part("0,") + "]}]",
		"errors": head + "[" + part("{name: a, x: 1},") + "]",
	} {
		if len(text) > MaxFileLen {
			text = text[:MaxFileLen]
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		sessions, err := Parse([]byte(text))
		for _, s := range sessions {
			_ = s.Validate()
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > most {
			t.Errorf("%s: %d MB were allocated for %d bytes", name, n>>20, len(text))
		} else if testing.Verbose() {
			t.Logf("%s: %d MB for %d bytes", name, n>>20, len(text))
		}
		if err != nil && len(err.Error()) > 200_000 {
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
	}
}
