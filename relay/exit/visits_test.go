package exit

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A guestbook is a log that may be read while it is written.
type guestbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (g *guestbook) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.text.Write(p)
}

// lines are how many have it in them.
func (g *guestbook) lines(mark string) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for line := range strings.Lines(g.text.String()) {
		if strings.Contains(line, mark) {
			n++
		}
	}
	return n
}

// TestVisits: the log tells once that a client is here, with its carriage, and when it
// is away; a hello alone, which anybody may repeat, tells nothing.
func TestVisits(t *testing.T) {
	t.Parallel()
	var log guestbook
	linked(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil))}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		if log.lines("client is here") != 0 {
			t.Error("a hello is told of")
		}
		for range 5 {
			if err := c.do(ask(0)); err != nil {
				t.Fatal(err)
			}
		}
		if n := log.lines(`msg="client is here" client=ann`); n != 1 || log.lines("carriage=binary") != 1 {
			t.Errorf("told %d times:\n%s", n, &log.text)
		}
		again := r.link("ann") // begun anew, the earlier link is silent from now on
		time.Sleep(awayAfter - 10*time.Minute)
		if err := again.do(ask(0)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if log.lines("client is away") != 0 {
			t.Error("a client is away that has another link")
		}
		time.Sleep(awayAfter)
		if n := log.lines(`msg="client is away" client=ann because="silent for 1h0m0s"`); n != 1 {
			t.Errorf("away %d times:\n%s", n, &log.text)
		}
		if err := again.do(ask(0)); err != nil {
			t.Fatal(err)
		}
		r.node.SetClients(clients("bob"))
		if log.lines(`because="its link was ended"`) != 1 || log.lines("client is here") != 3 {
			t.Errorf("who is shut out:\n%s", &log.text)
		}
	})
}

// TestVisitsAreFew: clients that come and go fill no disk.
func TestVisitsAreFew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log guestbook
		n := &Node{log: slog.New(slog.NewTextHandler(&log, nil)), visits: newVisits()}
		for range 10 * visitBurst {
			n.tellVisit("client is here")
		}
		if told := log.lines("client is here"); told != visitBurst {
			t.Errorf("%d lines", told)
		}
		time.Sleep(visitEvery)
		n.tellVisit("client is here")
		if log.lines("lines_left_out=450") != 1 {
			t.Errorf("nothing is told of those left out:\n%s", &log.text)
		}
	})
}

// TestRefused: with diagnostics the log and the answer say why a link is refused and to
// whom, in few lines; without, a stranger gets the 404 and no line above Debug.
func TestRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		diagnostics bool
		level       slog.Level
		status      int
		lines       int
		mark        string
	}{
		"with diagnostics": {true, slog.LevelInfo, http.StatusUnauthorized, visitBurst, "level=WARN"},
		"without":          {false, slog.LevelInfo, http.StatusNotFound, 0, ""},
		"at Debug":         {false, slog.LevelDebug, http.StatusNotFound, 2 * visitBurst, "level=DEBUG"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log guestbook
			logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: c.level}))
			linked(t, Config{Log: logger, Diagnostics: c.diagnostics}, func(t *testing.T, r *rig) {
				for range 2 * visitBurst {
					got, resp := r.tryLink("nobody", false)
					if got != nil || resp.StatusCode != c.status {
						t.Fatalf("status %d", resp.StatusCode)
					}
				}
				if n := log.lines(`msg="a link was refused" because="no client has this secret`); n != c.lines || n != log.lines(c.mark) && n > 0 {
					t.Errorf("told %d times:\n%s", n, &log.text)
				}
				if n := log.lines("address=192.0.2.1"); n != c.lines { // httptest's
					t.Errorf("%d addresses:\n%s", n, &log.text)
				}
			})
		})
	}
}

// TestRefusedWhatIsForgotten: a link that the node does not know is no stranger's, and
// clients know it by its status, with diagnostics too.
func TestRefusedWhatIsForgotten(t *testing.T) {
	t.Parallel()
	var log guestbook
	linked(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil)), Diagnostics: true}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		r.node.SetClients(clients("bob"))
		if err := c.do(ask(0)); err != errTestUnknown {
			t.Errorf("got %v", err)
		}
		if log.lines("a link was refused") != 0 {
			t.Errorf("%s", &log.text)
		}
	})
}

func TestForwardedFor(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                          "",
		"203.0.113.7":               "203.0.113.7",
		"10.0.0.1, 2001:db8::1":     "2001:db8::1",
		"::ffff:203.0.113.7":        "203.0.113.7",
		"203.0.113.7, <script>\x1b": "",
		"fe80::1%zone":              "fe80::1",
		"203.0.113.7:80":            "",
	} {
		if got := forwardedFor(http.Header{"X-Forwarded-For": {text}}); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
