package main

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each line has the priority of its level (syslog(3): 7 debug, 6 info, 4 warning, 3 error) and stays JSON behind it.
func TestJournalHandler(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(newJournalHandler(&out, &slog.HandlerOptions{
		Level:       slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr { return dropTime(a) },
	})).With("bridge", "br0").WithGroup("session")
	log.Debug("a", "name", "web")
	log.Info("b")
	log.Warn("two\nlines")
	log.Error("d")
	want := `<7>{"level":"DEBUG","msg":"a","bridge":"br0","session":{"name":"web"}}
<6>{"level":"INFO","msg":"b","bridge":"br0"}
<4>{"level":"WARN","msg":"two\nlines","bridge":"br0"}
<3>{"level":"ERROR","msg":"d","bridge":"br0"}
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}

	out.Reset()
	log = slog.New(newJournalHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo}))
	if log.Debug("unseen"); out.Len() > 0 {
		t.Errorf("below the level: %s", out.String())
	}
}

func dropTime(a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
