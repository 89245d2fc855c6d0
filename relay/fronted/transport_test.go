package fronted_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/secret"
	"relaymux/relay"
	"relaymux/relay/fronted"
)

func TestExchange(t *testing.T) {
	r := newRig(t)
	r.serve(server, nil, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		switch {
		case req.Method != "POST" || req.URL.Path != "/prefix/tunnel/batch":
			t.Errorf("%s %s", req.Method, req.URL)
		case req.Header.Get("Content-Type") != "application/json" || req.ContentLength != int64(len(request)):
			t.Errorf("header %v, length %d", req.Header, req.ContentLength)
		case req.Header["User-Agent"] != nil || req.Header["Cookie"] != nil:
			t.Errorf("header %v", req.Header)
		case !bytes.Equal(body, request):
			t.Errorf("body %q", body)
		}
		w.Header().Set("Set-Cookie", "a=b")
		_, _ = io.WriteString(w, `{"r":[]}`)
	}))
	tr := r.transport(node+"/prefix/", nil)
	for range 2 {
		got, err := carry(t.Context(), tr, request, []byte("before "))
		if err != nil || string(got) != `before {"r":[]}` {
			t.Errorf("%q, %v", got, err)
		}
	}
}

func TestExchangeReadsIntoTheCallersSlice(t *testing.T) {
	r := newRig(t)
	r.serve(server, nil, answer(200, `{"r":["`+strings.Repeat("x", 100<<10)+`"]}`))
	room := make([]byte, 0, 200<<10)
	got, err := carry(t.Context(), r.transport(node, nil), request, room)
	if err != nil || &got[0] != &room[:1][0] {
		t.Errorf("the answer was moved elsewhere (%v)", err)
	}
}

// TestVersions holds which HTTP version is spoken.
func TestVersions(t *testing.T) {
	config, leaf := certificate(t, "relay.test", forever())
	const scriptURL = "https://relay.test/macros/s/x/exec"
	for _, tt := range []struct{ url, http, want string }{
		{"https://relay.test", "", "HTTP/2.0"},
		{"https://relay.test", "1.1", "HTTP/1.1"},
		{scriptURL, "auto", "HTTP/1.1"},
		{scriptURL, "2", "HTTP/2.0"},
		{node, "auto", "HTTP/1.1"},
		{node, "2", "HTTP/2.0"},
	} {
		r := newRig(t)
		proto := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			_, _ = io.Copy(io.Discard, req.Body)
			_, _ = io.WriteString(w, `{"proto":"`+req.Proto+`"}`)
		})
		r.serve("relay.test:443", config.Clone(), proto)
		r.serve(server, nil, proto)
		got, f := r.exchange(r.transport(tt.url, func(c *fronted.Config) {
			c.HTTP, c.RootCAs = tt.http, poolOf(leaf)
		}))
		if f != nil || got != `{"proto":"`+tt.want+`"}` {
			t.Errorf("%s with http = %q: %s, %v", tt.url, tt.http, got, f)
		}
	}
}

// TestFront shows another address and another TLS name than the URL's, to
// scripts also for the host that they redirect to, on the same connection.
func TestFront(t *testing.T) {
	config, leaf := certificate(t, "front.test", forever())
	var names, hosts atomic.Value
	var dials atomic.Int32
	names.Store("")
	config.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		names.Store(names.Load().(string) + h.ServerName + " ")
		return nil, nil
	}
	hosts.Store("")
	r := newRig(t)
	r.serve("10.0.0.1:443", config, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		hosts.Store(hosts.Load().(string) + req.Method + " " + req.Host + " ")
		if req.Method == "POST" {
			http.Redirect(w, req, "https://script.googleusercontent.com/macros/echo?x=1", http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, `{}`)
	}))
	tr := r.transport("https://script.google.com/macros/s/x/exec", func(c *fronted.Config) {
		c.ConnectTo, c.ServerName, c.RootCAs = "10.0.0.1", "front.test", poolOf(leaf)
		c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials.Add(1)
			return r.net.Dial(ctx, network, addr)
		}
	})
	if got, f := r.exchange(tr); f != nil || got != "{}" {
		t.Fatalf("%q, %v", got, f)
	}
	if got := hosts.Load(); got != "POST script.google.com GET script.googleusercontent.com " {
		t.Errorf("requests: %s", got)
	}
	if names.Load() != "front.test " || dials.Load() != 1 {
		t.Errorf("TLS names %q in %d connections", names.Load(), dials.Load())
	}
}

func TestPin(t *testing.T) {
	config, leaf := certificate(t, "other.test", forever())
	pin := sha256.Sum256(leaf.Raw)
	r := newRig(t)
	r.serve("relay.test:443", config, answer(200, "{}"))
	set := func(pin [32]byte) func(*fronted.Config) {
		return func(c *fronted.Config) { c.PinSHA256 = pin[:] }
	}
	if _, f := r.exchange(r.transport("https://relay.test", set(pin))); f != nil {
		t.Errorf("the right pin: %v", f)
	}
	pin[31] ^= 1
	_, f := r.exchange(r.transport("https://relay.test", set(pin)))
	if f == nil || f.Kind != relay.Unreachable || !f.Untouched || !strings.Contains(f.Detail, "pin_sha256") {
		t.Errorf("a wrong pin: %v", f)
	}
}

// TestDistrust: who may have another than Google before him is never told to pin what that
// one shows, as he is to do with a node of his own.
func TestDistrust(t *testing.T) {
	config, leaf := certificate(t, "other.test", forever())
	for url, pins := range map[string]bool{"https://relay.test": true, "https://relay.test/macros/s/x/exec": false} {
		for what, trust := range map[string]func(*fronted.Config){
			"for another name":        func(c *fronted.Config) { c.RootCAs = poolOf(leaf) },
			"not the one of pin":      func(c *fronted.Config) { c.PinSHA256 = make([]byte, sha256.Size) },
			"signed by an unknown CA": func(c *fronted.Config) { c.ServerName, c.RootCAs = "other.test", x509.NewCertPool() },
		} {
			r := newRig(t)
			r.serve("relay.test:443", config, answer(200, "{}"))
			_, f := r.exchange(r.transport(url, trust))
			if f == nil || !strings.Contains(f.Detail, what) || f.Hint == "" ||
				strings.Contains(f.Hint, "pin_sha256") != pins || strings.Contains(f.Hint, "try another address") == pins {
				t.Errorf("%s, %s: %v", url, what, f)
			}
		}
	}
}

// TestProxyOfTheEnvironmentIsIgnored: it may be this program itself.
func TestProxyOfTheEnvironmentIsIgnored(t *testing.T) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(name, "http://10.9.9.9:3128")
	}
	r := newRig(t)
	r.serve("127.0.0.1:80", nil, answer(200, "{}"))
	if _, f := r.exchange(r.transport(node, nil)); f != nil {
		t.Error(f)
	}
}

// TestBodyIsOnlyBorrowed overwrites the request as soon as Exchange returns,
// while the server, who answered early or was given up, goes on to read. The
// race detector sees a reader that is left, the server a changed byte.
func TestBodyIsOnlyBorrowed(t *testing.T) {
	for _, version := range []string{"1.1", "2"} {
		for _, early := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) { borrow(t, version, early) })
		}
	}
}

func borrow(t *testing.T, version string, early bool) {
	r := newRig(t)
	seen := make(chan byte, 1)
	over := make(chan struct{})
	r.serve(server, nil, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		if early {
			w.Header().Set("Content-Length", "2")
			_, _ = io.WriteString(w, `{}`)
			_ = http.NewResponseController(w).Flush()
		}
		<-over
		rest, _ := io.ReadAll(req.Body)
		seen <- byte(bytes.IndexByte(rest, 'y') + 1)
	}))
	tr := r.transport(node, func(c *fronted.Config) { c.HTTP = version })
	body := bytes.Repeat([]byte("x"), 8<<20)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := carry(ctx, tr, body, nil)
	for i := range body {
		body[i] = 'y'
	}
	// An h2 stream ends with its handler, so there the early answer is no whole one.
	if whole := early && version == "1.1"; whole != (err == nil) {
		t.Errorf("%s, early %v: %v", version, early, err)
	}
	close(over)
	if <-seen != 0 {
		t.Error("the server saw a byte of after the exchange")
	}
}

// TestStaleConnection: a pooled connection turns out dead when the next request
// is to be written. Nothing of it was sent, so it goes out on a new one.
func TestStaleConnection(t *testing.T) {
	r := newRig(t)
	r.serve(server, nil, answer(200, "{}"))
	var conns []*mortal
	tr := r.transport(node, func(c *fronted.Config) {
		c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := r.net.Dial(ctx, network, addr)
			conns = append(conns, &mortal{Conn: conn})
			return conns[len(conns)-1], err
		}
	})
	for n := 1; n <= 3; n++ {
		if got, f := r.exchange(tr); f != nil || got != "{}" {
			t.Fatalf("%q, %v", got, f)
		}
		if len(conns) != n {
			t.Fatalf("%d connections after %d exchanges", len(conns), n)
		}
		conns[n-1].dead.Store(true)
	}
}

// mortal is a connection whose writes fail once it is dead, as the first write
// does to a NAT that has forgotten it.
type mortal struct {
	net.Conn
	dead atomic.Bool
}

func (m *mortal) Write(p []byte) (int, error) {
	if m.dead.Load() {
		return 0, syscall.EPIPE
	}
	return m.Conn.Write(p)
}

func TestConfigErrors(t *testing.T) {
	r := newRig(t)
	base := r.parse
	for _, tt := range []struct {
		url    string
		change func(*fronted.Config)
		want   string // part of the error, empty if there is none
	}{
		{"https://x.test/a", nil, ""},
		{"http://x.test", nil, "https"},
		{"http://localhost:1", nil, ""},
		{"http://[::1]:1", nil, ""},
		{"http://x.test", func(c *fronted.Config) { c.ConnectTo = "127.0.0.2:1" }, ""},
		{"http://127.0.0.1", func(c *fronted.Config) { c.ConnectTo = "10.0.0.1" }, "loopback"},
		{"ftp://x.test", nil, "scheme"},
		{"https:///x", nil, "host"},
		{"https://u:p@x.test", nil, "user"},
		{"https://x.test/?k=1", nil, "query"},
		{"https://x.test", func(c *fronted.Config) { c.HTTP = "3" }, "http:"},
		{"https://x.test", func(c *fronted.Config) { c.PinSHA256 = make([]byte, 31) }, "pin_sha256"},
		{"https://x.test", func(c *fronted.Config) { c.Key = secret.New("secret key, \u00e9") }, ""},
		{"https://x.test", func(c *fronted.Config) { c.Key = secret.New("secret\r\nX: y") }, "key:"},
		{"https://x.test", func(c *fronted.Config) { c.ExchangeLimit = -1 }, "exchange_limit"},
	} {
		c := fronted.Config{Name: "mine", URL: base(tt.url)}
		if tt.change != nil {
			tt.change(&c)
		}
		_, err := fronted.New(c)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.url, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "mine")):
			t.Errorf("%s: %v does not speak of %s", tt.url, err, tt.want)
		case err != nil && (strings.Contains(err.Error(), "u:p") || strings.Contains(err.Error(), "secret")):
			t.Errorf("the error shows a password: %v", err)
		}
	}
}
