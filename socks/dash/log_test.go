package dash

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"relaymux/mux/secret"
)

// newLogger is a logger that l keeps, and what it writes otherwise.
func newLogger(l *Log, least slog.Level) (*slog.Logger, *bytes.Buffer) {
	var out bytes.Buffer
	return slog.New(l.Keep(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: least}))), &out
}

func TestLog(t *testing.T) {
	var l Log
	log, out := newLogger(&l, slog.LevelInfo)
	log.Debug("not asked for")
	log.Info("one", "n", 1, "err", errors.New("a b"))
	log.With("deployment", "d1").WithGroup("g").Warn("two", "host", "x\n\u202ey")
	got := l.After(0)
	if got.Last != 2 || got.Lost != 0 || len(got.Lines) != 2 {
		t.Fatalf("%+v", got)
	}
	if a := got.Lines[0]; a.Number != 1 || a.Level != "INFO" || a.Message != "one" || a.Attrs != `n=1 err="a b"` || a.Time.IsZero() {
		t.Errorf("%+v", a)
	}
	if b := got.Lines[1]; b.Attrs != `deployment=d1 g.host="x\n\u202ey"` || b.Level != "WARN" {
		t.Errorf("%+v", b)
	}
	if rest := l.After(1); len(rest.Lines) != 1 || rest.Lines[0].Number != 2 {
		t.Errorf("%+v", rest)
	}
	if rest := l.After(2); len(rest.Lines) != 0 || rest.Lines == nil {
		t.Errorf("%+v", rest)
	}
	if other := l.After(99); len(other.Lines) != 2 || other.Last != 2 {
		t.Errorf("numbers of a relaymux that is no more: %+v", other)
	}
	if !strings.Contains(out.String(), `"msg":"two"`) || strings.Contains(out.String(), "not asked for") {
		t.Errorf("the log itself has %s", out)
	}
}

// Neither many lines nor long ones take more memory than was said.
func TestLogIsBounded(t *testing.T) {
	var l Log
	log, _ := newLogger(&l, slog.LevelInfo)
	log.Info(strings.Repeat("m", 10*lineMost), "long", strings.Repeat("é", 10*lineMost))
	if a := l.After(0).Lines[0]; len(a.Message) > lineMost+3 || len(a.Attrs) > lineMost+3 || !strings.HasSuffix(a.Attrs, "é...") {
		t.Errorf("%d and %d bytes, ends with %q", len(a.Message), len(a.Attrs), a.Attrs[len(a.Attrs)-6:])
	}
	for range 2 * logLines {
		log.Info("x")
	}
	got := l.After(1)
	if len(got.Lines) != logLines || got.Lines[0].Number != logLines+2 || got.Last != 2*logLines+1 || got.Lost != logLines {
		t.Errorf("%d lines from %d on, the last %d, %d lost", len(got.Lines), got.Lines[0].Number, got.Last, got.Lost)
	}
}

func TestLogByMany(t *testing.T) {
	var l Log
	log, _ := newLogger(&l, slog.LevelInfo)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				log.Info("x", "n", 1)
				l.After(0)
			}
		})
	}
	all.Wait()
	if got := l.After(0); got.Last != 800 || len(got.Lines) != logLines {
		t.Errorf("%d of %d", len(got.Lines), got.Last)
	}
}

// The log is as private as the state, and shows what came from the network as text.
func TestHostile48_Log(t *testing.T) {
	const text = "0123456789abcdefghijklmn"
	r := newRig(t, func(c *Config) { c.Token, c.Lines = secret.New(text), new(Log) })
	log, _ := newLogger(r.Lines, slog.LevelDebug)
	log.Debug("small")
	log.Warn("deployment rests", "detail", evilHost)
	if w := r.do("GET", "/api/log"); w.Code != 401 || strings.Contains(w.Body.String(), "rests") {
		t.Errorf("without the token: %d %s", w.Code, w.Body)
	}
	for query, want := range map[string]int{"": 2, "?level=INFO": 1, "?level=warn": 1, "?level=ERROR": 0, "?after=1": 1, "?after=2": 0, "?after=x&level=nonsense": 2} {
		w := r.do("GET", "/api/log"+query, "Authorization", "Bearer "+text)
		var got Lines
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || len(got.Lines) != want || got.Last != 2 {
			t.Errorf("%q: %v, %+v", query, err, got)
		}
		if strings.Contains(w.Body.String(), "<") {
			t.Errorf("%q could be taken for markup: %s", query, w.Body)
		}
	}
	if w := r.do("GET", "/api/log", "Authorization", "Bearer "+text, "Host", "evil.com"); w.Code != 421 {
		t.Errorf("for a rebound name: %d", w.Code)
	}
}
