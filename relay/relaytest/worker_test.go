package relaytest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const octets = "application/octet-stream"

// message is one of the link: bytes that no text survives.
var message = []byte("\x01\x00\xff\xfe\r\n{\x80")

// passed is what came back from a relay.
type passed struct {
	status      int
	contentType []string
	body        []byte
}

// postTo is one exchange of any kind.
func (b *bench) postTo(path, contentType, key string, body []byte) (passed, error) {
	req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "http://relay.test"+path, bytes.NewReader(body))
	check(b.T, err)
	req.Header.Set("Content-Type", contentType)
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return passed{}, err
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	return passed{resp.StatusCode, resp.Header["Content-Type"], all}, err
}

// link is one exchange of message by the Worker.
func (b *bench) link() (passed, error) {
	return b.postTo("/w/worker/tunnel/link", octets, "auth", message)
}

// echoNode answers with the bytes and the type of the request.
func echoNode(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // all of it first: HTTP/1.1 does not do both at once
	w.Header()["Content-Type"] = r.Header["Content-Type"]
	_, _ = w.Write(body)
}

// TestWorkerPassesBytes, both ways, with their type, and the key not at all.
func TestWorkerPassesBytes(t *testing.T) {
	b := newBench(t)
	var seen *http.Request
	var body []byte
	b.serve("echo.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r
		body, _ = io.ReadAll(r.Body)
		w.Header()["Content-Type"] = r.Header["Content-Type"]
		_, _ = w.Write(slices.Concat(body, []byte("\x00back")))
	}))
	b.relay.config.Node = &url.URL{Scheme: "http", Host: "echo.test", Path: "/hidden"}
	for _, tt := range []struct{ path, contentType string }{{"link", octets}, {"batch", "application/json"}} {
		got, err := b.postTo("/w/worker/tunnel/"+tt.path, tt.contentType, "auth", message)
		if err != nil || got.status != 200 || !bytes.Equal(got.body, slices.Concat(message, []byte("\x00back"))) ||
			len(got.contentType) != 1 || got.contentType[0] != tt.contentType {
			t.Errorf("%s: %+v, %v", tt.path, got, err)
		}
		if seen.Method != "POST" || seen.URL.Path != "/hidden/tunnel/"+tt.path || !bytes.Equal(body, message) ||
			seen.ContentLength != int64(len(message)) || seen.Header.Get("Content-Type") != tt.contentType {
			t.Errorf("%s: the node saw %s %s, %q, %v", tt.path, seen.Method, seen.URL, body, seen.Header)
		}
		if seen.Header["Authorization"] != nil {
			t.Errorf("%s: the node saw the key", tt.path)
		}
	}
	if s := b.relay.Stats("worker"); s.Exchanges[OK] != 2 || s.NodeRuns != 2 || s.Up != int64(2*len(message)) ||
		s.Down != int64(2*(len(message)+5)) || s.InFlight != 0 {
		t.Errorf("%+v", s)
	}
	if s := b.relay.Stats(); s.Total() != 2 {
		t.Errorf("all together: %+v", s)
	}
}

// TestWorkerPassesTheStatus, the page, and that it has no type.
func TestWorkerPassesTheStatus(t *testing.T) {
	b := newBench(t)
	b.node = func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "<html>nobody")
	}
	if got, err := b.link(); err != nil || got.status != 404 || string(got.body) != "<html>nobody" || got.contentType != nil {
		t.Errorf("%+v, %v", got, err)
	}
	b.relay.config.Node = &url.URL{Scheme: "http", Host: "nowhere.test"}
	if got, err := b.link(); err != nil || got.status != 502 || b.relay.Stats().Exchanges[Failed] != 1 {
		t.Errorf("no node: %+v, %v", got, err)
	}
}

func TestWorkerRefusals(t *testing.T) {
	b := newBench(t)
	for _, tt := range []struct {
		path, key string
		status    int
	}{
		{"/w/worker/tunnel/link", "auth", 200},
		{"/w/worker/tunnel/batch", "", 200},
		{"/w/worker/tunnel/link", "", 404},
		{"/w/worker/tunnel/link", "autha", 404},
		{"/w/worker/tunnel/link", "aut", 404},
		{"/w/worker/tunnel", "auth", 404},
		{"/w/nobody/tunnel/link", "auth", 404},
		{"/w/one/tunnel/link", "auth", 404}, // a script
		{"/macros/s/worker/exec", "auth", 404},
	} {
		if got, err := b.postTo(tt.path, octets, tt.key, message); err != nil || got.status != tt.status {
			t.Errorf("%s with %q: %d, %v", tt.path, tt.key, got.status, err)
		}
	}
	if len(b.seen) != 2 || b.relay.Stats().Exchanges[WrongKey] != 3 {
		t.Errorf("the node saw %q; %+v", b.seen, b.relay.Stats())
	}
	b.relay.config.AuthKey = ""
	if got, err := b.postTo("/w/worker/tunnel/link", octets, "", message); err != nil || got.status != 200 {
		t.Errorf("a proxy without a key: %d, %v", got.status, err)
	}
}

// TestWorkerFaults: a binary relay has those of a script.
func TestWorkerFaults(t *testing.T) {
	const held = 2 * time.Second
	for _, tt := range []struct {
		name    string
		knobs   Knobs
		outcome Outcome
		status  int // 0: the connection breaks
		took    time.Duration
		body    string
		runs    int
	}{
		{"none", Knobs{}, OK, 200, held, string(message), 1},
		{"RTT", Knobs{RTT: 1500 * time.Millisecond}, OK, 200, held + 1500*time.Millisecond, string(message), 1},
		{"late", Knobs{Late: 1, LateBy: time.Minute}, OK, 200, held + time.Minute, string(message), 1},
		{"cold", Knobs{ColdStart: time.Second}, OK, 200, held + time.Second, string(message), 1},
		{"twice", Knobs{Duplicate: 1}, OK, 200, 0, string(message), 2},
		{"lost before", Knobs{LoseBefore: 1}, LostBefore, 0, 0, "", 0},
		{"lost after", Knobs{LoseAfter: 1}, LostAfter, 0, held, "", 1},
		{"decoy", Knobs{Decoy: true}, Decoyed, 200, 0, welcomePage, 0},
		{"quota", Knobs{QuotaPage: true}, QuotaUsed, 429, 0, usedUpPage, 0},
		{"status", Knobs{Status: 503}, Status, 503, 0, statusPage, 0},
		{"limit", Knobs{ExchangeLimit: time.Second}, TimedOut, 504, time.Second, tooSlowPage, 1},
		{"long enough", Knobs{ExchangeLimit: held + 1}, OK, 200, held, string(message), 1},
		{"truncated", Knobs{Truncate: 3}, OK, 200, held, string(message[:3]), 1},
		{"short", Knobs{MaxAnswer: 1}, OK, 200, held, string(message[:1]), 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(b *bench) {
				b.serve("slow.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					body, _ := io.ReadAll(r.Body)
					select {
					case <-time.After(held):
					case <-r.Context().Done():
					}
					_, _ = w.Write(body)
				}))
				b.relay.config.Node = &url.URL{Scheme: "http", Host: "slow.test"}
				b.relay.Set(func(k *Knobs) { *k = tt.knobs }, "worker")
				var got passed
				var err error
				took := elapsed(func() { got, err = b.link() })
				if (err != nil) != (tt.status == 0) || got.status != tt.status || string(got.body) != tt.body {
					t.Errorf("%d, %q, %v", got.status, got.body, err)
				}
				if took != tt.took && tt.knobs.Duplicate == 0 {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				time.Sleep(held) // of a second run
				synctest.Wait()
				if s := b.relay.Stats("worker"); s.Exchanges[tt.outcome] != 1 || s.Total() != 1 || s.NodeRuns != tt.runs {
					t.Errorf("%+v", s)
				}
				if s := b.relay.Stats("one", "two"); s.Total() != 0 {
					t.Errorf("scripts: %+v", s)
				}
			})
		})
	}
}

// TestWorkerDuplicate hands back the answer of either run.
func TestWorkerDuplicate(t *testing.T) {
	in(t, func(b *bench) {
		runs := 0
		b.node = func(w http.ResponseWriter, _ *http.Request) {
			runs++
			fmt.Fprint(w, runs%2)
		}
		b.relay.Set(func(k *Knobs) { k.Duplicate = 1 }, "worker")
		answered := map[string]int{}
		for range 40 {
			got, err := b.link()
			check(b.T, err)
			answered[string(got.body)]++
			synctest.Wait()
		}
		if runs != 80 || answered["1"] < 10 || answered["0"] < 10 {
			b.Errorf("%d runs, answers of the first and the second: %v", runs, answered)
		}
	})
}

func TestWorkerSlots(t *testing.T) {
	in(t, func(b *bench) {
		b.node = func(w http.ResponseWriter, _ *http.Request) { time.Sleep(10 * time.Second) }
		b.relay.Set(func(k *Knobs) { k.Slots = 3 }, "worker")
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { _, _ = b.link() })
		}
		synctest.Wait()
		if got, err := b.link(); err != nil || got.status != 429 || string(got.body) != rateLimitPage {
			b.Errorf("%+v, %v", got, err)
		}
		all.Wait()
		if s := b.relay.Stats("worker"); s.Peak != 3 || s.Exchanges[Busy] != 1 || s.Exchanges[OK] != 3 {
			b.Errorf("%+v", s)
		}
	})
}

// TestWorkerLine: it shares the client's line with the scripts.
func TestWorkerLine(t *testing.T) {
	in(t, func(b *bench) {
		b.relay.config.Node = &url.URL{Scheme: "http", Host: "echo.test"}
		b.serve("echo.test:80", http.HandlerFunc(echoNode))
		b.relay.SetLine(20_000, 50_000)
		took := elapsed(func() {
			got, err := b.postTo("/w/worker/tunnel/link", octets, "auth", make([]byte, 100_000))
			if err != nil || len(got.body) != 100_000 {
				b.Errorf("%d bytes, %v", len(got.body), err)
			}
		})
		if took < 6900*time.Millisecond || took > 7100*time.Millisecond {
			b.Errorf("100 KB there and back took %v", took)
		}
	})
}

// TestScriptLeavesOpsAlone, also such as it cannot know, and large ones.
func TestScriptLeavesOpsAlone(t *testing.T) {
	b := newBench(t)
	b.serve("echo.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		d := bytes.TrimPrefix(body, []byte(`{"k":"tunnel\"key","ops":[{"op":"link","d":`))
		if len(d) == len(body) || !bytes.HasSuffix(d, []byte(`}]}`)) {
			t.Errorf("the node saw %.100q", body)
		}
		_, _ = fmt.Fprintf(w, `{"r":[{"d":%s}]}`, bytes.TrimSuffix(d, []byte(`}]}`)))
	}))
	b.relay.config.Node = &url.URL{Scheme: "http", Host: "echo.test"}
	for _, size := range []int{0, 4, 12 << 20} {
		d := strings.Repeat("Qk+/", size/4)
		status, text, err := b.post("one", `{"k":"auth","t":"batch","ops":[{"op":"link","d":"`+d+`"}]}`)
		if err != nil || status != 200 || text != `{"r":[{"d":"`+d+`"}]}` {
			t.Errorf("%d bytes: %d, %.100q, %v", size, status, text, err)
		}
	}
}
