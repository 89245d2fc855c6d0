package relaytest

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A logbook is a log to look things up in.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logbook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logbook) log() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// loud is the log without what is said for debugging.
func (b *logbook) loud() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var loud strings.Builder
	for line := range strings.Lines(b.text.String()) {
		if !strings.Contains(line, "level=DEBUG") {
			loud.WriteString(line)
		}
	}
	return loud.String()
}

// has reports whether there is a line with all of these parts.
func (b *logbook) has(parts ...string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for line := range strings.Lines(b.text.String()) {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		if all {
			return true
		}
	}
	return false
}

// wantNoSecrets checks that no key got into the log.
func (b *logbook) wantNoSecrets(t *testing.T) {
	t.Helper()
	for _, key := range []string{AuthKey, TunnelKey} {
		if b.has(key) {
			t.Errorf("the log has the key %q", key)
		}
	}
}

// A fault is one deployment's, while the other is well.
type fault struct {
	name    string
	knobs   func(k *Knobs)
	outcome string // by which the log names it; "" if it is none
	flaky   bool   // never known for good: some answers come through, or it is soon tried again
	safe    bool   // no connection may break: the node has certainly not seen what failed
}

func (f *fault) limits() bool {
	var k Knobs
	f.knobs(&k)
	return k.ExchangeLimit > 0
}

var faults = []fault{
	{"decoy", func(k *Knobs) { k.Decoy = true }, "decoy", false, false},
	{"quota page", func(k *Knobs) { k.QuotaPage = true }, "quota", false, false},
	{"429 with Retry-After", func(k *Knobs) { k.Status, k.RetryAfter = http.StatusTooManyRequests, "20" }, "retry_after", false, true},
	{"503", func(k *Knobs) { k.Status = http.StatusServiceUnavailable }, "retry_after", false, false},
	{"500", func(k *Knobs) { k.Status = http.StatusInternalServerError }, "server_error", false, false},
	{"truncated", func(k *Knobs) { k.Truncate = 100 }, "malformed", true, false},
	{"lost before", func(k *Knobs) { k.LoseBefore = 1 }, "broken", false, false},
	{"lost after", func(k *Knobs) { k.LoseAfter = 1 }, "broken", false, false},
	{"one in three lost after", func(k *Knobs) { k.LoseAfter = 3 }, "broken", true, false},
	{"duplicate", func(k *Knobs) { k.Duplicate = 2 }, "", true, false},
	{"late", func(k *Knobs) { k.Late, k.LateBy = 2, 20*time.Second }, "", false, true},
	{"later than the limit", func(k *Knobs) { k.Late, k.LateBy = 1, 40*time.Second }, "timeout", true, false},
	{"execution limit", func(k *Knobs) { k.ExchangeLimit = 300 * time.Millisecond }, "timeout", false, false},
	{"cold start", func(k *Knobs) { k.ColdStart, k.ColdAfter = 5*time.Second, time.Second }, "", false, true},
	{"1 slot", func(k *Knobs) { k.Slots = 1 }, "", false, true},
	{"2 slots", func(k *Knobs) { k.Slots = 2 }, "", false, true},
	{"30 slots", func(k *Knobs) { k.Slots = 30 }, "", false, true},
	{"jitter", func(k *Knobs) { k.Jitter = rtt }, "", false, true},
}

// everyFault runs test with a Stack of two deployments, for each fault that one
// of them will have soon. In the end it checks the log, and that the program
// works.
func everyFault(t *testing.T, test func(t *testing.T, s *Stack, f fault)) {
	t.Helper()
	both := []string{"d0", "d1"}
	for i := range 2 * len(faults) {
		f, bad, good := faults[i/2], both[i%2], both[1-i%2]
		if !slices.Contains(raced(t.Name()+f.name, both), bad) {
			continue
		}
		t.Run(f.name+" of "+bad, func(t *testing.T) {
			book := new(logbook)
			struck := f.outcome != ""
			virtual(t, StackConfig{Scripts: 2, Log: book.log()}, func(t *testing.T, s *Stack) {
				begin := time.AfterFunc(2*rtt+rtt/3, func() { s.Relay.Set(f.knobs, bad) })
				defer begin.Stop()
				ask(t, open(t, s.Connect, s.serve(t, Echo)), "hello") // has something to poll for
				test(t, s, f)
				time.Sleep(time.Minute)
				if f.limits() { // it strikes only what is held
					struck = s.Relay.Stats(bad).Exchanges[TimedOut] > 0
				}
				c := s.browser(6)
				defer c.CloseIdleConnections()
				if s.Relay.Set(func(k *Knobs) { *k = Knobs{RTT: rtt} }); loadPage(t, c, s.origin(t, Origin()), 6, 1000) > 0 {
					t.Error("objects failed after the fault was over")
				}
			})
			if struck && !book.has("deployment="+bad, "outcome="+f.outcome) {
				t.Errorf("no outcome=%s in the log", f.outcome)
			}
			if book.has("deployment="+good, "outcome=") {
				t.Error("the other deployment failed as well")
			}
			book.wantNoSecrets(t)
		})
	}
}

// TestPageWithAFault: the fault begins in the middle of a page. What breaks, a
// browser asks for again, as we do: then nothing may be missing.
func TestPageWithAFault(t *testing.T) {
	t.Parallel()
	everyFault(t, func(t *testing.T, s *Stack, f fault) {
		addr := s.origin(t, Origin())
		c := s.browser(12)
		defer c.CloseIdleConnections()
		failed := 0
		took := elapsed(func() { failed = loadPage(t, c, addr, 60, 20_000) })
		t.Logf("%v, %d of 60 objects failed", took, failed)
		if f.safe && failed > 0 {
			t.Errorf("%d objects failed", failed)
		}
		if failed > 24 { // twelve connections break once, or the request before it failed
			t.Errorf("%d objects failed of 60", failed)
		}
		if took > 3*time.Minute { // four answers in a row that never come
			t.Errorf("the page took %v", took)
		}
		before := s.failures()
		n := loadPage(t, c, addr, 12, 1000)
		if n > 0 && s.failures() == before+1 { // it was asked whether the deployment works again, by the request for the page
			n = loadPage(t, c, addr, 12, 1000)
		}
		if n > 0 && !f.flaky {
			t.Errorf("%d objects failed when the fault was known", n)
		}
	})
}

// failures is how many exchanges the relays have failed.
func (s *Stack) failures() int {
	relays := s.Relay.Stats()
	return relays.Total() - relays.Exchanges[OK]
}

// trickle is send, in pieces that come one after another for ten seconds. It
// gives up when its connection ends.
func trickle(c net.Conn, seed uint64, size int64) {
	const pieces = 20
	from := noise(seed, size)
	for range pieces {
		if _, err := io.CopyN(c, from, size/pieces+1); err != nil && err != io.EOF {
			return
		}
		time.Sleep(10 * time.Second / pieces)
	}
	closeWrite(c)
}

// TestTransferWithAFault: the fault begins in the middle of two downloads and two
// uploads. Each of them ends whole, or by RST, and soon.
func TestTransferWithAFault(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	everyFault(t, func(t *testing.T, s *Stack, f fault) {
		var all sync.WaitGroup
		whole := make(chan bool, 8)
		transfer := func(from, to net.Conn, who string, seed uint64) {
			within(t, to, 5*time.Minute)
			all.Go(func() { trickle(from, seed, size) })
			all.Go(func() {
				a := arrive(to)
				a.wantPart(t, who, seed, size)
				whole <- a.err == nil
			})
		}
		targets := make(chan net.Conn)
		addr := s.serve(t, func(c net.Conn) {
			targets <- c
			<-t.Context().Done()
		})
		for seed := range uint64(2) {
			app := open(t, s.Connect, addr)
			writeAll(t, app, "x")
			target := <-targets
			_, err := io.CopyN(io.Discard, target, 1)
			check(t, err)
			transfer(target, app, "an app", seed)
			transfer(app, target, "a target", seed+2)
		}
		took := elapsed(all.Wait)
		close(whole)
		n := 0
		for ok := range whole {
			if ok {
				n++
			}
		}
		t.Logf("%v, %d of 4 transfers whole", took, n)
		if f.safe && n != 4 {
			t.Errorf("%d transfers whole, want 4", n)
		}
		if took > 4*time.Minute {
			t.Errorf("took %v", took)
		}
		synctest.Wait()
	})
}
