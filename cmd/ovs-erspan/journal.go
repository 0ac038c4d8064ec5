package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// journalHandler writes JSON for systemd's journal: each line begins with its priority in angle brackets, which the journal
// takes for its own and takes away (sd-daemon(3)). So `journalctl --priority warning` shows what deserves a look.
type journalHandler struct {
	debug, info, warning, err slog.Handler
}

func newJournalHandler(w io.Writer, options *slog.HandlerOptions) journalHandler {
	at := func(p journal.Priority) slog.Handler { return slog.NewJSONHandler(prioritized{w, p}, options) }
	return journalHandler{at(journal.PriDebug), at(journal.PriInfo), at(journal.PriWarning), at(journal.PriErr)}
}

// of is the handler of a level, or of those above it as far as the next.
func (h journalHandler) of(level slog.Level) slog.Handler {
	switch {
	case level < slog.LevelInfo:
		return h.debug
	case level < slog.LevelWarn:
		return h.info
	case level < slog.LevelError:
		return h.warning
	}
	return h.err
}

func (h journalHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.info.Enabled(ctx, level)
}

func (h journalHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.of(r.Level).Handle(ctx, r)
}

func (h journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return journalHandler{h.debug.WithAttrs(attrs), h.info.WithAttrs(attrs), h.warning.WithAttrs(attrs), h.err.WithAttrs(attrs)}
}

func (h journalHandler) WithGroup(name string) slog.Handler {
	return journalHandler{h.debug.WithGroup(name), h.info.WithGroup(name), h.warning.WithGroup(name), h.err.WithGroup(name)}
}

// safeWriter writes lines of JSON as they may be shown on a terminal.
type safeWriter struct{ w io.Writer }

func (s safeWriter) Write(line []byte) (int, error) {
	if _, err := s.w.Write(session.SafeJSON(line)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// prioritized puts a priority before each line. A handler writes a line at once, and so does this.
type prioritized struct {
	w        io.Writer
	priority journal.Priority
}

func (p prioritized) Write(line []byte) (int, error) {
	if _, err := fmt.Fprintf(p.w, "<%d>%s", p.priority, session.SafeJSON(line)); err != nil {
		return 0, err
	}
	return len(line), nil
}
