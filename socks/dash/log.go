package dash

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What a Log keeps: at most a megabyte.
const (
	logLines = 500
	lineMost = 1 << 10 // bytes of the attributes of a line, and of its message
)

// A Log keeps the latest lines of a log for the page. It is safe for concurrent use.
type Log struct {
	mu   sync.Mutex
	line strings.Builder // what the text handler writes of the line at hand
	list [logLines]LogLine
	n    uint64 // of all
}

// LogLine is one line of the log.
type LogLine struct {
	Number  uint64    `json:"number"` // from 1 on
	Time    time.Time `json:"time"`
	Level   string    `json:"level"` // DEBUG, INFO, WARN or ERROR
	Message string    `json:"message"`
	Attrs   string    `json:"attrs,omitempty"` // key=value ...
}

// Lines is what GET /api/log answers with.
type Lines struct {
	Lines []LogLine `json:"lines"` // the oldest first
	Last  uint64    `json:"last"`  // the number of the latest; ?after=LAST asks for those that follow
	Lost  uint64    `json:"lost"`  // of those that were asked for, how many are not kept any more
}

// Keep returns a handler that has l keep what goes to inner.
func (l *Log) Keep(inner slog.Handler) slog.Handler {
	text := slog.NewTextHandler(&l.line, &slog.HandlerOptions{Level: slog.LevelDebug - 4, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
			return slog.Attr{}
		}
		return a
	}})
	return &keeper{log: l, inner: inner, text: text}
}

// A keeper is a slog.Handler.
type keeper struct {
	log   *Log
	inner slog.Handler
	text  slog.Handler // writes attributes to log.line, whose mu must be held
}

// Enabled implements slog.Handler.
func (k *keeper) Enabled(ctx context.Context, level slog.Level) bool {
	return k.inner.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (k *keeper) Handle(ctx context.Context, r slog.Record) error {
	k.log.add(ctx, k.text, r)
	return k.inner.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (k *keeper) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &keeper{k.log, k.inner.WithAttrs(attrs), k.text.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (k *keeper) WithGroup(name string) slog.Handler {
	return &keeper{k.log, k.inner.WithGroup(name), k.text.WithGroup(name)}
}

func (l *Log) add(ctx context.Context, text slog.Handler, r slog.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line.Reset()
	_ = text.Handle(ctx, r) // into memory: it does not fail
	attrs := strings.TrimSpace(l.line.String())
	l.list[l.n%logLines] = LogLine{
		Number: l.n + 1, Time: r.Time, Level: r.Level.String(), Message: Clean(cut(r.Message)), Attrs: cut(attrs)}
	l.n++
}

// cut is text of at most lineMost bytes, which holds no longer text in memory.
func cut(text string) string {
	if len(text) <= lineMost {
		return text
	}
	return strings.ToValidUTF8(strings.Clone(text[:lineMost]), "") + "..."
}

// After returns what is kept of the lines after that number.
func (l *Log) After(number uint64) Lines {
	l.mu.Lock()
	defer l.mu.Unlock()
	if number > l.n {
		number = 0 // of a relaymux that was here before
	}
	oldest := l.n - min(l.n, logLines) // is not kept, if it is one
	out := Lines{Lines: []LogLine{}, Last: l.n, Lost: max(number, oldest) - number}
	for n := max(number, oldest); n < l.n; n++ {
		out.Lines = append(out.Lines, l.list[n%logLines])
	}
	return out
}

// serveLog answers with the latest lines of the log.
func (s *Server) serveLog(w http.ResponseWriter, r *http.Request) {
	after, _ := strconv.ParseUint(r.FormValue("after"), 10, 64) // 0 if it is none: all
	lines := s.Lines.After(after)
	if level := r.FormValue("level"); level != "" {
		lines.Lines = slices.DeleteFunc(lines.Lines, func(l LogLine) bool { return !atLeast(l.Level, level) })
	}
	answer(w, lines)
}

// atLeast reports whether a line of that level is as grave as the least that is asked
// for; what is no level asks for all.
func atLeast(level, least string) bool {
	var a, b slog.Level
	if a.UnmarshalText([]byte(level)) != nil || b.UnmarshalText([]byte(least)) != nil {
		return true
	}
	return a >= b
}
