package h3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"relaymux/mux/secret"
	"relaymux/mux/stats"
	"relaymux/relay"
	"relaymux/relay/fronted"
)

// What is sent, and that bytes come back in trains.
func TestExchange(t *testing.T) {
	const bearer = "a-key-that-nobody-may-see-1234"
	var st stats.UDP
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		h := req.Header
		if req.Method != "POST" || req.Host != "node.test" || req.TLS.ServerName != "node.test" || h["User-Agent"] != nil {
			t.Errorf("%s to %s, %v", req.Method, req.Host, h)
		}
		switch req.URL.Path {
		case "/prefix/tunnel/link":
			if h.Get("Authorization") != "Bearer "+bearer || h.Get("Content-Type") != "application/octet-stream" || h.Get("Accept-Encoding") != "identity" {
				t.Errorf("%v", h)
			}
		case "/prefix/tunnel/batch":
			if h.Get("Authorization") != "Bearer "+bearer || h.Get("Content-Type") != "application/json" {
				t.Errorf("%v", h)
			}
		default:
			t.Error(req.URL)
		}
		echo(w, req)
	})
	tr := r.transportOf(func(c *Config) { c.URL.Path, c.Key, c.UDP.Stats = "/prefix", secret.New(bearer), &st })
	if !tr.Binary() || tr.Script() {
		t.Error("it is no way to a node")
	}
	for _, n := range []int{1, 100_000, 12 << 20} {
		body := random(n)
		x := relay.Exchange{Body: body, Answer: []byte("before"), Binary: true}
		start := time.Now()
		got, f := r.carry(t.Context(), tr, &x)
		if f != nil || sum([]byte(got)) != sum(append([]byte("before"), body...)) {
			t.Fatalf("%d bytes: %d came back, %v", n, len(got), f)
		}
		began, _ := x.Began()
		wrote, ok1 := x.Wrote()
		first, ok2 := x.First()
		ended, ok3 := x.Ended()
		if !ok1 || !ok2 || !ok3 || began.Before(start) || wrote.Before(began) || first.Before(began) || ended.Before(first) {
			t.Errorf("began %v, wrote %v, first %v, ended %v", began, wrote, first, ended)
		}
	}
	if got, f := r.carry(t.Context(), tr, &relay.Exchange{Body: []byte(`{"ops":[]}`)}); f != nil || got != `{"ops":[]}` {
		t.Error(got, f)
	}
	for what, c := range map[string]*stats.Trains{"sent up": &st.Sent, "read up": &r.st.Received, "sent down": &r.st.Sent, "read down": &st.Received} {
		t.Logf("%s: %d datagrams in %d trains", what, c.Datagrams.Load(), c.Trains.Load())
		if c.Trains.Load() > 0 && c.Datagrams.Load() < 2*c.Trains.Load() {
			t.Errorf("%s: no trains", what)
		}
	}
}

// Many exchanges share a connection, and the next ones another after Close, which
// cuts none off.
func TestConnections(t *testing.T) {
	var mu sync.Mutex
	from := map[string]int{}
	held := make(chan struct{})
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		from[req.RemoteAddr]++
		mu.Unlock()
		if req.Header.Get("Content-Type") == "application/json" {
			<-held
		}
		echo(w, req)
	})
	tr := r.transportOf(nil)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { r.must(tr, "some") })
	}
	all.Wait()
	connections := func(want int) {
		mu.Lock()
		defer mu.Unlock()
		if len(from) != want {
			t.Errorf("%d connections, want %d", len(from), want)
		}
	}
	connections(1)
	var late sync.WaitGroup
	late.Go(func() {
		if _, f := r.carry(t.Context(), tr, &relay.Exchange{Body: []byte("{}")}); f != nil {
			t.Error(f)
		}
	})
	for n := 0; n < 51; {
		mu.Lock()
		n = 0
		for _, k := range from {
			n += k
		}
		mu.Unlock()
	}
	tr.Close()
	r.must(tr, "other")
	close(held)
	late.Wait()
	connections(2)
}

// skipRace: see Config.Early.
func skipRace(t *testing.T) {
	if raceEnabled {
		t.Skip("quic-go's issue 4303")
	}
}

// Messages of the link go in the first flight of a connection that resumes another;
// batches, which may not be carried out twice, wait.
func TestEarly(t *testing.T) {
	skipRace(t)
	methods := make(chan string, 10)
	var w *road
	r := newRig(t, func(rw http.ResponseWriter, req *http.Request) {
		methods <- req.Method
		if req.Method == methodQuery {
			w.held.Unlock() // the first word of the server
		}
		echo(rw, req)
	})
	w = newRoad(r)
	tr := r.transportOf(func(c *Config) { c.Early, c.ConnectTo = true, w.near.LocalAddr().String() })
	batch := func() {
		t.Helper()
		if _, f := r.carry(t.Context(), tr, &relay.Exchange{Body: []byte("{}")}); f != nil {
			t.Error(f)
		}
	}
	for _, want := range []string{"POST", methodQuery, methodQuery} {
		if want == methodQuery {
			w.held.Lock()
		}
		r.must(tr, "early")
		if got := <-methods; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		batch()
		if got := <-methods; got != "POST" {
			t.Errorf("a batch after that by %s", got)
		}
		tr.Close()
	}
	batch()
	if got := <-methods; got != "POST" {
		t.Errorf("a batch first by %s", got)
	}
	tr.Close()

	r.kill()
	r.forget()
	r.handler = http.HandlerFunc(echo)
	r.start()
	r.must(tr, "a server that has forgotten its tickets")
}

// Who does not know the method of the first flight gets another request.
func TestEarlyRefused(t *testing.T) {
	skipRace(t)
	var queries atomic.Int32
	var w *road
	r := newRig(t, func(rw http.ResponseWriter, req *http.Request) {
		if req.Method == methodQuery {
			w.held.Unlock()
			queries.Add(1)
			rw.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		echo(rw, req)
	})
	w = newRoad(r)
	tr := r.transportOf(func(c *Config) { c.Early, c.ConnectTo = true, w.near.LocalAddr().String() })
	for i := range 3 {
		if i > 0 {
			w.held.Lock()
		}
		r.must(tr, "again")
		r.must(tr, "by which time the ticket is there")
		tr.Close()
	}
	if n := queries.Load(); n != 2 {
		t.Errorf("%d requests of that method", n)
	}
}

// A first flight that nobody answers is a connection that was not made, but somebody
// may have seen what was in it.
func TestEarlyBlocked(t *testing.T) {
	skipRace(t)
	r := newRig(t, echo)
	w := newRoad(r)
	tr := r.transportOf(func(c *Config) {
		c.Early, c.ConnectTo, c.ExchangeLimit = true, w.near.LocalAddr().String(), 600*time.Millisecond
	})
	r.must(tr, "hello")
	tr.Close()
	w.block()
	_, f := r.link(tr, "is anybody there")
	if f == nil || f.Kind != relay.Unreachable || f.Untouched || !strings.Contains(f.Hint, "UDP may be blocked") {
		t.Errorf("%#v", f)
	}
}

// The client's address changes in the middle of a request, and of an answer, of
// which the server learns by whatever comes next.
func TestHostile75_Roaming(t *testing.T) {
	turn, turned := make(chan struct{}), make(chan struct{})
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Content-Type") == "application/json" {
			echo(w, req)
			return
		}
		if _, err := io.CopyN(io.Discard, req.Body, 1<<20); err != nil {
			t.Error(err)
		}
		turn <- struct{}{}
		<-turned
		_, _ = io.Copy(io.Discard, req.Body)
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(make([]byte, 1<<20))
		_ = http.NewResponseController(w).Flush()
		turn <- struct{}{}
		<-turned
		_, _ = w.Write(make([]byte, 1<<20))
	})
	w := newRoad(r)
	tr := r.transportOf(func(c *Config) { c.ConnectTo = w.near.LocalAddr().String() })
	var others sync.WaitGroup
	others.Go(func() {
		for range 2 {
			<-turn
			w.turn(r)
			turned <- struct{}{}
			if _, f := r.carry(t.Context(), tr, &relay.Exchange{Body: []byte("{}")}); f != nil {
				t.Error(f)
			}
		}
	})
	start := time.Now()
	got, f := r.link(tr, string(make([]byte, 4<<20)))
	others.Wait()
	if f != nil || len(got) != 2<<20 || time.Since(start) > 5*time.Second {
		t.Errorf("%d bytes, %v, in %v", len(got), f, time.Since(start))
	}
}

// A server that has started anew says so at once, and the next exchange reaches it.
func TestRestart(t *testing.T) {
	held := make(chan struct{}, 1)
	var hold atomic.Bool
	hold.Store(true)
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		if hold.Load() {
			held <- struct{}{}
			<-req.Context().Done()
			return
		}
		echo(w, req)
	})
	tr := r.transportOf(nil)
	got := make(chan *relay.Failure, 1)
	go func() {
		_, f := r.link(tr, strings.Repeat("a request that is lost", 10))
		got <- f
	}()
	<-held
	hold.Store(false)
	r.kill()
	r.forget()
	r.start()
	start := time.Now()
	var failures []*relay.Failure
	for time.Since(start) < 10*time.Second {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, f := r.carry(ctx, tr, &relay.Exchange{Body: []byte("hello"), Binary: true})
		cancel()
		if f == nil {
			break
		}
		failures = append(failures, f)
	}
	f := <-got
	t.Logf("after %v: %v, and before that %v", time.Since(start), f, failures)
	if f == nil || f.Kind != relay.Broken || time.Since(start) > 2*time.Second || len(failures) > 1 {
		t.Errorf("%v, %v", f, failures)
	}
}

// One that stops takes no new requests, and those go where they are taken.
func TestGoAway(t *testing.T) {
	held, free := make(chan struct{}), make(chan struct{})
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Content-Type") == "application/json" {
			close(held)
			<-free
		}
		echo(w, req)
	})
	// It takes no new connections when it stops; its successor has another port.
	elsewhere := newRig(t, echo)
	tr := r.transportOf(func(c *Config) { c.RootCAs.AddCert(elsewhere.leaf) })
	var late sync.WaitGroup
	late.Go(func() {
		if got, f := r.carry(t.Context(), tr, &relay.Exchange{Body: []byte("{}")}); f != nil || got != "{}" {
			t.Error(got, f)
		}
	})
	<-held
	old := tr.pool.connection()
	var stop sync.WaitGroup
	server := r.server
	stop.Go(func() { _ = server.Shutdown(t.Context()) })
	tr.pool.dialer.config.ConnectTo = elsewhere.to.String()
	for start := time.Now(); tr.pool.connection() == old; {
		if _, f := r.link(tr, "next"); f != nil {
			t.Fatal(f)
		}
		if time.Since(start) > 5*time.Second {
			t.Fatal("the old connection is used on and on")
		}
	}
	close(free)
	late.Wait()
	stop.Wait()
}

func (p *pool) connection() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current
}

// A failure is told by its kind, whether the request has left, and what to do.
func TestHostile74_Failures(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		w.Header().Set("Content-Type", "application/octet-stream")
		switch req.URL.Path {
		case "/missing/tunnel/link":
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(http.StatusNotFound)
		case "/large/tunnel/link":
			_, _ = w.Write(make([]byte, 100_000))
		case "/silent/tunnel/link":
			select {
			case <-release:
			case <-req.Context().Done():
			}
		case "/stalls/tunnel/link":
			_, _ = w.Write(make([]byte, 100_000))
			_ = http.NewResponseController(w).Flush()
			select {
			case <-release:
			case <-req.Context().Done():
			}
		case "/breaks/tunnel/link":
			_, _ = w.Write(make([]byte, 100_000))
			panic(http.ErrAbortHandler)
		case "/page/tunnel/link":
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<title>Welcome</title>")
		}
	})
	dead, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	r.check(err)
	defer dead.Close()
	at := func(path string) func(*Config) { return func(c *Config) { c.URL.Path = path } }
	for name, tt := range map[string]struct {
		change    func(*Config)
		kind      relay.Kind
		untouched bool
		hint      string // part of it
		waits     bool   // for the limit, which is short then
	}{
		"silence":     {func(c *Config) { c.ConnectTo = dead.LocalAddr().String() }, relay.Unreachable, true, "UDP may be blocked", true},
		"no name":     {func(c *Config) { c.ConnectTo = "nowhere.invalid" }, relay.Unreachable, true, "connect_to", false},
		"no route":    {func(c *Config) { c.Listen = fails(net.UnknownNetworkError("x")) }, relay.Unreachable, true, "", false},
		"another pin": {func(c *Config) { c.PinSHA256 = make([]byte, 32) }, relay.Unreachable, true, "pin_sha256", false},
		"unknown CA":  {func(c *Config) { c.RootCAs = nil }, relay.Unreachable, true, "ca_file", false},
		"other name":  {func(c *Config) { c.ServerName = "other.test" }, relay.Unreachable, true, "server_name", false},
		"404":         {at("/missing"), relay.Refused, false, "wrong url", false},
		"too large":   {func(c *Config) { c.URL.Path, c.MaxAnswer = "/large", 99_999 }, relay.TooLarge, false, "", false},
		"no answer":   {at("/silent"), relay.Timeout, false, "exchange_limit", true},
		"a gap":       {at("/stalls"), relay.Timeout, false, "", true},
		"broken off":  {at("/breaks"), relay.Broken, false, "", false},
		"a page":      {at("/page"), relay.Decoy, false, "url", false},
	} {
		t.Run(name, func(t *testing.T) {
			tr := r.transportOf(func(c *Config) {
				if tt.waits {
					c.ExchangeLimit = 600 * time.Millisecond
				}
				tt.change(c)
			})
			start := time.Now()
			_, f := r.link(tr, "a message")
			if f == nil || f.Kind != tt.kind || f.Untouched != tt.untouched || !strings.Contains(f.Hint, tt.hint) {
				t.Errorf("%#v", f)
			}
			t.Logf("%v after %v", f, time.Since(start))
			tr.Close()
		})
	}
	good := r.transportOf(func(c *Config) {
		c.RootCAs, c.ServerName = nil, ""
		s := sum(r.leaf.Raw)
		c.PinSHA256, c.URL.Path, c.MaxAnswer = s[:], "/large", 100_000
	})
	if got, f := r.link(good, "a message"); f != nil || len(got) != 100_000 {
		t.Error(len(got), f)
	}
}

func fails(err error) func(context.Context) (net.PacketConn, error) {
	return func(context.Context) (net.PacketConn, error) { return nil, err }
}

// Giving up ends an exchange at any time, and no other.
func TestCancel(t *testing.T) {
	arrived := make(chan struct{}, 1)
	gone := make(chan struct{}, 1)
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/tunnel/link" {
			echo(w, req)
			return
		}
		if req.ContentLength != 8<<20 { // else it does not even read
			_, _ = io.Copy(io.Discard, req.Body)
			w.Header().Set("Content-Type", "application/octet-stream")
			_, _ = w.Write(make([]byte, 100_000))
			_ = http.NewResponseController(w).Flush()
		}
		arrived <- struct{}{}
		<-req.Context().Done()
		gone <- struct{}{}
	})
	tr := r.transportOf(nil)
	for _, n := range []int{10, 8 << 20} {
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan *relay.Failure, 1)
		body := bytes.Repeat([]byte("a"), n)
		go func() {
			_, f := r.carry(ctx, tr, &relay.Exchange{Body: body, Binary: true})
			got <- f
		}()
		<-arrived
		cancel()
		if f := <-got; f == nil || f.Kind != relay.Cancelled {
			t.Error(f)
		}
		<-gone
	}
	if _, f := r.carry(t.Context(), tr, &relay.Exchange{Body: []byte("{}")}); f != nil {
		t.Error(f)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, f := r.carry(ctx, tr, &relay.Exchange{Body: []byte("{}")}); f == nil || f.Kind != relay.Cancelled {
		t.Error(f)
	}
}

func TestConfig(t *testing.T) {
	for u, want := range map[string]error{
		"http://127.0.0.1":                            errPlain,
		"https://script.google.com/macros/s/ID/exec":  errScript,
		"https://127.0.0.1/some/prefix":               nil,
		"https://user@127.0.0.1":                      errors.New("any"),
		"https://node.test:8443/macros/s/ID/somexec/": nil,
	} {
		parsed, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		_, err = New(Config{Config: fronted.Config{Name: "test", URL: parsed, HTTP: "2"}})
		if (err == nil) != (want == nil) || (want == errPlain || want == errScript) && !errors.Is(err, want) {
			t.Errorf("%s: %v", u, err)
		}
	}
}
