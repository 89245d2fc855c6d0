package relaytest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const (
	batch  = `{"k":"auth","t":"batch","ops":[{"op":"data","sid":"a"}],"_pad":"xx"}`
	answer = `{"r":[{"sid":"a","eof":false}]}`
)

// bench is a Relay and a node on one network in memory.
type bench struct {
	*testing.T
	net    Network
	relay  *Relay
	client *http.Client
	node   http.HandlerFunc // may be set until the first exchange
	mu     sync.Mutex
	seen   []string // path and body of the requests to the node
}

func newBench(t *testing.T) *bench {
	b := &bench{T: t}
	b.node = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }
	b.serve("node.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		b.mu.Lock()
		b.seen = append(b.seen, r.URL.Path+" "+string(body))
		b.mu.Unlock()
		b.node(w, r)
	}))
	b.relay = NewRelay(RelayConfig{
		Deployments: []string{"one", "two"}, Workers: []string{"worker"}, AuthKey: "auth", TunnelKey: `tunnel"key`,
		Node: &url.URL{Scheme: "http", Host: "node.test", Path: "/prefix"}, Seed: 1,
		Transport: &http.Transport{DialContext: b.net.Dial},
	})
	b.Cleanup(b.relay.Close)
	b.serve("relay.test:80", b.relay)
	tr := &http.Transport{DialContext: b.net.Dial}
	b.Cleanup(tr.CloseIdleConnections)
	b.client = &http.Client{Transport: tr}
	return b
}

func (b *bench) serve(addr string, h http.Handler) {
	b.Helper()
	l, err := b.net.Listen(addr)
	check(b.T, err)
	s := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.Serve(l) }()
	b.Cleanup(func() { s.Close(); <-ended })
}

// post is one exchange; the client follows the redirect as a GET.
func (b *bench) post(id, body string) (status int, text string, err error) {
	resp, err := b.client.Post("http://relay.test/macros/s/"+id+"/exec", "application/json", strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(all), err
}

func (b *bench) want(status int, part string) {
	b.Helper()
	got, text, err := b.post("one", batch)
	if err != nil || got != status || !strings.Contains(text, part) {
		b.Errorf("status %d, %.200q, %v; want %d, %q", got, text, err, status, part)
	}
}

func (b *bench) lost() {
	b.Helper()
	if status, text, err := b.post("one", batch); err == nil {
		b.Errorf("status %d, %.200q, want a broken connection", status, text)
	}
}

// elapsed is how long f took.
func elapsed(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

func TestScriptRebuildsTheRequest(t *testing.T) {
	b := newBench(t)
	for _, tt := range []struct{ in, want string }{
		{batch, `/prefix/tunnel/batch {"k":"tunnel\"key","ops":[{"op":"data","sid":"a"}]}`},
		{`{"ops":[ {"x":"}]\""} ],"t":"batch","zops":"QQ==","k":"auth"}`, `/prefix/tunnel/batch {"k":"tunnel\"key","ops":[ {"x":"}]\""} ]}`},
		{`{"k":"auth","t":"batch"}`, `/prefix/tunnel/batch {"k":"tunnel\"key","ops":[]}`},
		{`{"k":"auth","t":"connect","h":"x.test","p":443}`, `/prefix/tunnel {"k":"tunnel\"key","op":"connect","host":"x.test","port":443}`},
		{`{"k":"auth","t":"data","sid":"s","d":"QQ=="}`, `/prefix/tunnel {"k":"tunnel\"key","op":"data","sid":"s","data":"QQ=="}`},
	} {
		status, text, err := b.post("one", tt.in)
		if err != nil || status != 200 || text != answer {
			t.Errorf("%s: %d, %q, %v", tt.in, status, text, err)
		}
		if got := b.seen[len(b.seen)-1]; got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.in, got, tt.want)
		}
	}
	if s := b.relay.Stats(); s.Exchanges[OK] != 5 || s.Down != int64(5*len(answer)) || s.InFlight != 0 || s.Peak != 1 {
		t.Errorf("%+v", s)
	}
}

func TestScriptRefusals(t *testing.T) {
	b := newBench(t)
	for _, tt := range []struct {
		id, body string
		status   int
		part     string
	}{
		{"one", `{"k":"wrong","t":"batch","ops":[]}`, 200, "did not return anything"},
		{"one", `{"t":"batch","ops":[]}`, 200, "did not return anything"},
		{"one", `{"k":"auth`, 200, "did not return anything"},
		{"three", batch, 404, "<title>Page not found"},
	} {
		status, text, err := b.post(tt.id, tt.body)
		if err != nil || status != tt.status || !strings.Contains(text, tt.part) {
			t.Errorf("%s: %d, %q, %v", tt.body, status, text, err)
		}
	}
	for path, status := range map[string]int{
		"/": 404, "/macros/echo": 404, "/macros/echo?user_content_key=x": 404,
		"/macros/s/one/exec": 200, "/macros/s/three/exec": 404,
	} {
		resp, err := b.client.Get("http://relay.test" + path)
		check(t, err)
		resp.Body.Close()
		if resp.StatusCode != status {
			t.Errorf("GET %s: %d", path, resp.StatusCode)
		}
	}
	if len(b.seen) != 0 {
		t.Errorf("the node saw %q", b.seen)
	}
}

func TestNodeFailuresAreJSON(t *testing.T) {
	b := newBench(t)
	b.node = func(w http.ResponseWriter, _ *http.Request) { http.NotFound(w, nil) }
	b.want(200, `{"e":"tunnel HTTP 404"}`)
	b.relay.config.Node = &url.URL{Scheme: "http", Host: "nowhere.test"}
	b.want(200, `Address unavailable`)
}

// TestAnswersAreFetchedOnce holds the redirect itself.
func TestAnswersAreFetchedOnce(t *testing.T) {
	b := newBench(t)
	b.relay.config.Echo = &url.URL{Scheme: "https", Host: "echo.test"}
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := b.client.Post("http://relay.test/macros/s/one/exec", "", strings.NewReader(batch))
	check(t, err)
	resp.Body.Close()
	to, err := resp.Location()
	check(t, err)
	if resp.StatusCode != 302 || to.Scheme != "https" || to.Host != "echo.test" || to.Path != "/macros/echo" {
		t.Fatalf("%d to %s", resp.StatusCode, to)
	}
	for _, want := range []int{200, 404} {
		resp, err := b.client.Get("http://relay.test" + to.RequestURI())
		check(t, err)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("status %d, want %d", resp.StatusCode, want)
		}
	}
}

func TestUnfetchedAnswersExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a answers
		d := newDeployment(0, 0)
		old := a.put(d, new([]byte))
		time.Sleep(answerLife)
		young := a.put(d, new([]byte))
		if len(a.waiting) != 2 {
			t.Error("expired at its last moment")
		}
		time.Sleep(time.Nanosecond)
		a.put(d, new([]byte))
		if _, ok := a.take(old); ok {
			t.Error("not expired after it")
		}
		if _, ok := a.take(young); !ok {
			t.Error("the young one is gone too")
		}
	})
}

// in runs a test in virtual time on a bench.
func in(t *testing.T, f func(*bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(newBench(t)) })
}

func TestKnobRTT(t *testing.T) {
	in(t, func(b *bench) {
		var there time.Duration
		began := time.Now()
		b.node = func(w http.ResponseWriter, _ *http.Request) {
			there = time.Since(began)
			_, _ = io.WriteString(w, answer)
		}
		b.relay.Set(func(k *Knobs) { k.RTT = 1500 * time.Millisecond })
		if took := elapsed(func() { b.want(200, answer) }); took != 1500*time.Millisecond {
			b.Errorf("took %v", took)
		}
		if there != 750*time.Millisecond {
			b.Errorf("the node was reached after %v", there)
		}
	})
}

func TestKnobJitter(t *testing.T) {
	in(t, func(b *bench) {
		b.relay.Set(func(k *Knobs) { k.RTT, k.Jitter = time.Second, 500*time.Millisecond })
		var least, most time.Duration = time.Hour, 0
		for range 50 {
			took := elapsed(func() { b.want(200, answer) })
			least, most = min(least, took), max(most, took)
		}
		if least < 500*time.Millisecond || least > 850*time.Millisecond || most > 1500*time.Millisecond || most < 1150*time.Millisecond {
			b.Errorf("between %v and %v", least, most)
		}
	})
}

func TestKnobSlots(t *testing.T) {
	in(t, func(b *bench) {
		b.node = func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(10 * time.Second)
			_, _ = io.WriteString(w, answer)
		}
		b.relay.Set(func(k *Knobs) { k.Slots = 3 }, "one")
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { b.want(200, answer) })
		}
		synctest.Wait()
		b.want(http.StatusTooManyRequests, "simultaneous")
		if s := b.relay.Stats("one"); s.InFlight != 3 || s.Peak != 3 || s.Exchanges[Busy] != 1 {
			b.Errorf("%+v", s)
		}
		if status, _, _ := b.post("two", batch); status != 200 {
			b.Errorf("the other deployment answers %d", status)
		}
		all.Wait()
		b.want(200, answer)
	})
}

// TestSlotIsHeldAfterTheClientLeft: an execution at Google does not end with
// its client.
func TestSlotIsHeldAfterTheClientLeft(t *testing.T) {
	in(t, func(b *bench) {
		b.node = func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(10 * time.Second):
			case <-r.Context().Done():
				b.Error("the node's request was cancelled")
			}
		}
		b.client.Timeout = time.Second
		b.lost()
		synctest.Wait()
		if n := b.relay.Stats().InFlight; n != 1 {
			b.Errorf("%d in flight after the client left", n)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if s := b.relay.Stats(); s.InFlight != 0 || s.Exchanges[OK] != 1 {
			b.Errorf("%+v at the end", s)
		}
	})
}

func TestKnobExchangeLimit(t *testing.T) {
	in(t, func(b *bench) {
		var hold time.Duration
		b.node = func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(hold):
			case <-r.Context().Done():
			}
			_, _ = io.WriteString(w, answer)
		}
		b.relay.Set(func(k *Knobs) { k.ExchangeLimit = 30 * time.Second })
		hold = 29 * time.Second
		b.want(200, answer)
		hold = 31 * time.Second
		if took := elapsed(func() { b.want(200, "Exceeded maximum execution time") }); took != 30*time.Second {
			b.Errorf("took %v", took)
		}
	})
}

func TestKnobMaxAnswerAndTruncate(t *testing.T) {
	b := newBench(t)
	size := len(answer)
	for _, tt := range []struct{ max, truncate, want int }{
		{0, 0, size}, {size, 0, size}, {size - 1, 0, size - 1}, {0, 7, 7}, {5, 7, 5}, {0, size + 1, size},
	} {
		b.relay.Set(func(k *Knobs) { k.MaxAnswer, k.Truncate = tt.max, tt.truncate })
		if _, text, err := b.post("one", batch); err != nil || text != answer[:tt.want] {
			t.Errorf("%+v: %q, %v", tt, text, err)
		}
	}
}

func TestKnobPages(t *testing.T) {
	b := newBench(t)
	b.relay.Set(func(k *Knobs) { k.Decoy = true })
	b.want(200, "did not return anything")
	b.relay.Set(func(k *Knobs) { k.Decoy, k.QuotaPage = false, true })
	b.want(200, "invoked too many times")
	b.relay.Set(func(k *Knobs) { *k = Knobs{Status: 503, RetryAfter: "17"} })
	b.want(503, "error")
	resp, err := b.client.Post("http://relay.test/macros/s/one/exec", "", strings.NewReader(batch))
	check(t, err)
	resp.Body.Close()
	if got := resp.Header.Get("Retry-After"); got != "17" {
		t.Errorf("Retry-After %q", got)
	}
	if len(b.seen) != 0 {
		t.Errorf("the node saw %q", b.seen)
	}
}

func TestKnobLose(t *testing.T) {
	b := newBench(t)
	b.relay.Set(func(k *Knobs) { k.LoseBefore = 1 })
	b.lost()
	if len(b.seen) != 0 {
		t.Error("lost before, but the node saw it")
	}
	b.relay.Set(func(k *Knobs) { k.LoseBefore, k.LoseAfter = 0, 1 })
	b.lost()
	if len(b.seen) != 1 {
		t.Errorf("lost after, and the node saw %d", len(b.seen))
	}
	if s := b.relay.Stats(); s.Exchanges[LostBefore] != 1 || s.Exchanges[LostAfter] != 1 || s.Total() != 2 {
		t.Errorf("%+v", s)
	}
}

func TestKnobDuplicate(t *testing.T) {
	in(t, func(b *bench) {
		runs := 0 // the node's; a duplicate in the background ends before Wait does
		b.node = func(w http.ResponseWriter, _ *http.Request) {
			runs++
			_, _ = io.WriteString(w, `{"run":`+string(rune('0'+runs%2))+`}`)
		}
		b.relay.Set(func(k *Knobs) { k.Duplicate = 1 })
		answered := make(map[string]int)
		for n := range 40 {
			_, text, err := b.post("one", batch)
			check(b.T, err)
			answered[text]++
			synctest.Wait()
			if runs != 2*(n+1) {
				b.Fatalf("%d runs of %d exchanges", runs, n+1)
			}
		}
		if answered[`{"run":1}`] < 10 || answered[`{"run":0}`] < 10 {
			b.Errorf("answers of the first and the second run: %v", answered)
		}
	})
}

func TestKnobLate(t *testing.T) {
	in(t, func(b *bench) {
		b.relay.Set(func(k *Knobs) { k.Late, k.LateBy = 4, time.Minute })
		late := 0
		for range 40 {
			if elapsed(func() { b.want(200, answer) }) == time.Minute {
				late++
			}
		}
		if late < 4 || late > 18 {
			b.Errorf("%d of 40 were late", late)
		}
	})
}

func TestKnobColdStart(t *testing.T) {
	in(t, func(b *bench) {
		b.relay.Set(func(k *Knobs) { k.ColdStart, k.ColdAfter = 3*time.Second, time.Minute })
		want := func(d time.Duration) {
			b.Helper()
			if took := elapsed(func() { b.want(200, answer) }); took != d {
				b.Errorf("took %v, want %v", took, d)
			}
		}
		want(3 * time.Second)
		want(0)
		time.Sleep(time.Minute - 1)
		want(0)
		time.Sleep(time.Minute)
		want(3 * time.Second)
	})
}

// TestLine: 100 KB/s down and 20 KB/s up are shared by the deployments.
func TestLine(t *testing.T) {
	in(t, func(b *bench) {
		big := `{"r":["` + strings.Repeat("x", 200_000) + `"]}`
		b.node = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, big) }
		b.relay.SetLine(0, 100_000)
		took := elapsed(func() {
			var all sync.WaitGroup
			for _, id := range []string{"one", "two"} {
				all.Go(func() { _, _, _ = b.post(id, batch) })
			}
			all.Wait()
		})
		if took < 3900*time.Millisecond || took > 4100*time.Millisecond {
			b.Errorf("down: %v", took)
		}
		b.node = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }
		b.relay.SetLine(20_000, 0)
		up := `{"k":"auth","t":"batch","ops":["` + strings.Repeat("x", 100_000) + `"]}`
		if took := elapsed(func() { _, _, _ = b.post("one", up) }); took < 4900*time.Millisecond || took > 5100*time.Millisecond {
			b.Errorf("up: %v", took)
		}
		b.relay.SetLine(0, 0)
		if took := elapsed(func() { _, _, _ = b.post("one", up) }); took != 0 {
			b.Errorf("without a bound: %v", took)
		}
	})
}

// TestSeedDecides: the same seed gives the same faults, another one others, and
// one knob does not change what another one does.
func TestSeedDecides(t *testing.T) {
	run := func(seed uint64, k Knobs) string {
		d := newDeployment(seed, 0)
		d.set(func(p *Knobs) { *p = k })
		var out strings.Builder
		for range 64 {
			_, f := d.draw()
			out.WriteByte(map[bool]byte{false: '.', true: 'x'}[f.loseBefore])
		}
		return out.String()
	}
	k := Knobs{LoseBefore: 3}
	a := run(1, k)
	k.Late, k.Jitter, k.Duplicate = 2, time.Second, 4
	if b := run(1, k); a != b {
		t.Errorf("other knobs changed the losses:\n%s\n%s", a, b)
	}
	if b := run(2, k); a == b {
		t.Errorf("two seeds, one result: %s", a)
	}
	if n := strings.Count(a, "x"); n < 10 || n > 34 {
		t.Errorf("%d of 64 lost with 1 in 3", n)
	}
}

// TestBuffersStayApart runs exchanges of many sizes at once, whose pooled
// buffers must not mix, with a node that now and then answers before it has
// read the request.
func TestBuffersStayApart(t *testing.T) {
	in(t, func(b *bench) {
		b.serve("early.test:80", http.HandlerFunc(echoOdd))
		b.relay.config.Node = &url.URL{Scheme: "http", Host: "early.test"}
		var all sync.WaitGroup
		for n := range 16 {
			all.Go(func() {
				ops := bytes.Repeat([]byte{byte('a' + n)}, 100_000*(n%5)+n)
				_, text, err := b.post("one", `{"k":"auth","t":"batch","ops":["`+string(ops)+`"]}`)
				ok := strings.Contains(text, `"`+string(ops)+`"`) || strings.HasPrefix(text, `{"e":`)
				if err != nil || !ok {
					b.Errorf("%d: %.100q, %v", n, text, err)
				}
			})
		}
		all.Wait()
		time.Sleep(time.Second) // virtual: net/http keeps a connection it closes early for 500 ms
	})
}

// echoOdd answers requests of an even length before it has read them.
func echoOdd(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength%2 == 0 {
		http.Error(w, "early", http.StatusNotFound)
		return
	}
	all, _ := io.ReadAll(r.Body)
	_, _ = w.Write(all)
}

func TestServeRelayEndsWithItsContext(t *testing.T) {
	var n Network
	l, err := n.Listen("relay.test:80")
	check(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- ServeRelay(ctx, l, NewRelay(RelayConfig{})) }()
	cancel()
	check(t, <-done)
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is still open: %v", err)
	}
}
