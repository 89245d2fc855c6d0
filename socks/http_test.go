package socks

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/wire"
)

const grantedHTTP = "HTTP/1.1 200 Connection established\r\n\r\n"

func failingDial(context.Context, string, uint16) (net.Conn, error) {
	return nil, &wire.DialError{Reason: wire.Refused}
}

// status returns the three digits of the first answer in out.
func status(out string) string {
	if len(out) < len("HTTP/1.1 200") {
		return out
	}
	return out[len("HTTP/1.1 "):len("HTTP/1.1 200")]
}

// answers parses every answer in out; methods are those of the requests.
func answers(t *testing.T, out string, methods ...string) (all []*http.Response) {
	t.Helper()
	br := bufio.NewReader(strings.NewReader(out))
	for _, method := range methods {
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("answer %d of %q: %v", len(all)+1, out, err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		all = append(all, resp)
	}
	if rest, _ := io.ReadAll(br); len(rest) > 0 {
		t.Fatalf("more than %d answers: %q", len(methods), rest)
	}
	return all
}

func TestHostile31_HugeHeaders(t *testing.T) {
	p := start(t, Config{})
	for name, in := range map[string]string{
		"header section": strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 4000),
		"many lines":     strings.Repeat("a: b\r\n", 100000),
		"one line":       "X-A: " + strings.Repeat("a", 10<<20) + "\r\n",
	} {
		conn := p.dial(t)
		go io.WriteString(conn, "GET http://a/ HTTP/1.1\r\nHost: a\r\n"+in+"\r\n")
		head := make([]byte, 12)
		if _, err := io.ReadFull(conn, head); err != nil || status(string(head)) != "431" {
			t.Errorf("%s: %q, %v", name, head, err)
		}
	}
	conn := p.dial(t)
	go io.WriteString(conn, "GET http://a/"+strings.Repeat("a", 1<<20)+" HTTP/1.1\r\n")
	if head, _ := bufio.NewReader(conn).Peek(12); status(string(head)) != "431" {
		t.Errorf("long URI: %q", head)
	}
	below := "GET http://a/ HTTP/1.1\r\nHost: a\r\nX-A: " + strings.Repeat("a", maxHeader-100) + "\r\n\r\n"
	if out := p.talk(t, below); status(out) != "502" {
		t.Errorf("just below the limit: %q", out)
	}
}

// However much of a header is sent, little of it is kept.
func TestHostile31_EndlessHeaders(t *testing.T) {
	p := start(t, Config{})
	line := []byte("X-A: " + strings.Repeat("a", 64<<10) + "\r\n")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	conn := p.dial(t)
	mustWrite(t, conn, "GET http://a/ HTTP/1.1\r\nHost: a\r\n")
	sent := 0
	for ; sent < 64<<20; sent += len(line) {
		if _, err := conn.Write(line); err != nil {
			break
		}
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 8<<20 {
		t.Errorf("%d bytes allocated for %d of a header", got, sent)
	}
	if sent >= 64<<20 {
		t.Error("all of it was taken")
	}
}

func TestHostile32_SlowHeaders(t *testing.T) {
	inBubble(t, Config{Dial: failingDial}, func(t *testing.T, _ *Server, ln *memListener) {
		conn := ln.connect("192.0.2.7:1")
		begin := time.Now()
		mustWrite(t, conn, "GET http://a/ HTTP/1.1\r\nHost: a\r\n")
		io.Copy(io.Discard, conn)
		if took := time.Since(begin); took != DefaultHandshakeTimeout {
			t.Errorf("closed after %v", took)
		}
	})
}

// The proxy's own answers are for who reads them, within a time.
func TestHostile32_NobodyReadsPages(t *testing.T) {
	for _, in := range []string{
		"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
		"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "not HTTP\r\n\r\n", // net/http itself answers these
	} {
		inBubble(t, Config{Dial: failingDial}, func(t *testing.T, s *Server, ln *memListener) {
			conn := ln.connect("192.0.2.7:1")
			defer conn.Close()
			mustWrite(t, conn, in) // all bytes of the answer wait for a reader
			time.Sleep(pageTimeout - 1)
			synctest.Wait()
			if n := s.Stats().Open; n != 1 {
				t.Errorf("%q: %d are open", in, n)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if n := s.Stats().Open; n != 0 {
				t.Errorf("%q: %d are left", in, n)
			}
		})
	}
}

func TestHostile33_34_Malformed(t *testing.T) {
	p := start(t, Config{})
	for _, in := range []string{
		"GET http://a/ HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
		"GET http://a/ HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
		"GET http://a/ HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n",
		"GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"GET http://a/ HTTP/1.1\r\n\r\n",
		// Row 33, of framing.
		"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na",
		"POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n0\r\nContent-Length: 9\r\n\r\n",
		"POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
		"POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
		"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\na",
		"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\na",
		"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\na",
		"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\na",
	} {
		if out := p.talk(t, in); status(out) != "400" {
			t.Errorf("%q: %q", in, out)
		}
	}
	for _, field := range []string{"Transfer-Encoding: xchunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked, chunked", "Transfer-Encoding: gzip, chunked"} {
		in := "POST http://a/ HTTP/1.1\r\nHost: a\r\n" + field + "\r\n\r\n0\r\n\r\n"
		if out := p.talk(t, in); status(out) != "501" {
			t.Errorf("%q: %q", in, out)
		}
	}
}

func TestHostile36_CONNECTAuthority(t *testing.T) {
	p := start(t, Config{})
	for _, test := range []struct{ authority, host, want string }{
		{"example.com:443", "example.com", "200"},
		{"[::1]:443", "::1", "200"},
		{"0x7f.1:443", "127.0.0.1", "200"},
		{"a", "", "400"},
		{"a:", "", "400"},
		{"/x", "", "400"},
		{"u@a:443", "", "400"},
		{"a:99999", "", "400"},
		{"a:443/", "", "400"},
		{"http://a:443", "", "400"},
		{":443", "", "400"},
		{"[a]:443", "", "400"},
		{"[fe80::1%25lo]:443", "", "400"},
		{"b%C3%BCcher:443", "", "400"},
		{"a:0", "", "403"},
		{"0.0.0.0:443", "", "403"},
		{"[ff02::1]:443", "", "403"},
	} {
		out := p.talk(t, "CONNECT "+test.authority+" HTTP/1.1\r\nHost: other.example:1\r\n\r\n")
		r := p.got()
		if status(out) != test.want || (r != nil) != (test.want == "200") || r != nil && (r.Host != test.host || r.Port != 443) {
			t.Errorf("%s: request %+v, %q", test.authority, r, out)
		}
	}
}

func TestHostile37_CONNECTEarlyBytes(t *testing.T) {
	p := start(t, Config{})
	for _, head := range []string{
		"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n",
		"CONNECT a:443 HTTP/1.0\r\n",
		"CONNECT a:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n",
		"CONNECT a:443 HTTP/1.1\r\nHost: a\r\nProxy-Connection: keep-alive\r\nUser-Agent: x\r\n",
	} {
		for _, early := range []string{"", "\x16\x03\x01hello", strings.Repeat("x", 100000)} {
			if out := p.talk(t, head+"\r\n"+early); out != grantedHTTP+early {
				t.Errorf("%q and %d bytes: got %d bytes", head, len(early), len(out))
			}
		}
		if r := p.got(); r.Protocol != HTTPConnect || !r.Source.IsValid() {
			t.Errorf("request %+v", r)
		}
		for len(p.requests) > 0 {
			<-p.requests
		}
	}
}

func TestHostile38_OddTargets(t *testing.T) {
	p := start(t, Config{})
	for _, test := range []struct{ in, want string }{
		{"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "501"},
		{"GET file:///etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", "501"},
		{"GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "501"},
		{"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		{"GET http://a:99999/ HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		{"GET http://a:0/ HTTP/1.1\r\nHost: a\r\n\r\n", "403"},
		{"GET http://0.0.0.0/ HTTP/1.1\r\nHost: a\r\n\r\n", "403"},
		{"GET http://a%00b/ HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		{"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "200"},
		{"TRACE http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "405"},
		{"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "405"},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"},
	} {
		if out := p.talk(t, test.in); status(out) != test.want {
			t.Errorf("%q: %q", test.in, out)
		}
	}
}

func TestHostile43_OwnAddressByHTTP(t *testing.T) {
	admin := netip.MustParseAddrPort("127.0.0.1:1081")
	p := start(t, Config{Self: []netip.AddrPort{admin}, Dial: failingDial})
	for _, target := range []string{p.addr, "127.0.0.1:1081", "localhost:1081"} {
		for _, line := range []string{"GET http://" + target + "/", "CONNECT " + target} {
			out := p.talk(t, line+" HTTP/1.1\r\nHost: a\r\n\r\n")
			if status(out) != "403" || !strings.Contains(out, "proxy_loop_detected") {
				t.Errorf("%s: %q", line, out)
			}
		}
	}
}

// A name that leads to the proxy, which only a resolver knows: what arrives is no request
// for a proxy, and goes no further.
func TestHostile43_NameOfTheProxy(t *testing.T) {
	var p *proxy
	dials := make(chan string, 100)
	p = start(t, Config{Dial: func(ctx context.Context, host string, port uint16) (net.Conn, error) {
		dials <- host
		var d net.Dialer
		return d.DialContext(ctx, "tcp", p.addr)
	}})
	for _, line := range []string{"GET http://proxy.example/ HTTP/1.1", "POST http://proxy.example/x HTTP/1.1", "OPTIONS http://proxy.example/ HTTP/1.1"} {
		out := p.talkToEnd(t, line+"\r\nHost: proxy.example\r\nConnection: close\r\n\r\n")
		if status(out) != "400" || len(dials) != 1 {
			t.Errorf("%s: %d dials, %q", line, len(dials), out)
		}
		<-dials
		p.front.origins.close()
	}
}

func TestHostile44_OriginForm(t *testing.T) {
	p := start(t, Config{Users: []User{{"ann", "secret"}}})
	_, port, _ := net.SplitHostPort(p.addr)
	for host, want := range map[string]string{
		p.addr:                           "200",
		"localhost:" + port:              "200",
		"evil.example":                   "400",
		"evil.example:" + port:           "400",
		"127.0.0.1":                      "400", // port 80
		"127.0.0.1.evil.example:" + port: "400",
		"":                               "400",
	} {
		for _, path := range []string{"/", "/api/status"} {
			out := p.talk(t, "GET "+path+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
			if want := map[bool]string{true: want, false: "400"}[path == "/"]; status(out) != want {
				t.Errorf("%s of %q: %q", path, host, out)
			}
		}
	}
}

// After the hijacking the server is idle: nothing but the handler's goroutine
// belongs to the connection.
func TestCONNECTIsOffNetHTTP(t *testing.T) {
	handled := make(chan struct{})
	cfg := Config{Handle: func(_ context.Context, r *Request) {
		conn, _, err := r.Proceed()
		if err == nil {
			<-handled
			conn.Close()
		}
	}}
	inBubble(t, cfg, func(t *testing.T, s *Server, ln *memListener) {
		conn := ln.connect("192.0.2.7:1")
		mustWrite(t, conn, "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n")
		mustRead(t, conn, grantedHTTP)
		if err := s.Shutdown(t.Context()); err != nil { // would wait for net/http
			t.Error(err)
		}
		if n := s.Stats().Open; n != 1 {
			t.Errorf("%d open", n)
		}
		handled <- struct{}{}
	})
}

func TestHTTPConnectionsLeaveTheCount(t *testing.T) {
	p := start(t, Config{MaxConns: 1, Dial: failingDial})
	for range 5 {
		conn := p.dial(t)
		mustWrite(t, conn, "GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		if out, err := io.ReadAll(conn); err != nil || status(string(out)) != "502" {
			t.Fatalf("%q, %v", out, err)
		}
	}
}

// Behind a request whose end others may see elsewhere there is no other one.
func TestHostile33_UnclearEnd(t *testing.T) {
	addr, heads := recorder(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	next := "GET http://a/evil HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, in := range []string{
		"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 80\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + next,
		"POST http://a/ HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + next,
		"POST /own HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + next,
	} {
		out := forwarding(t, addr, nil).talkToEnd(t, in)
		if strings.Count(out, "HTTP/1.") != 1 || !strings.Contains(out, "\r\nConnection: close\r\n") {
			t.Errorf("%q: %q", in, out)
		}
		for len(heads) > 0 {
			if head := <-heads; strings.Contains(head, "evil") {
				t.Errorf("%q: the origin sees %q", in, head)
			}
		}
	}
}

// The word that it is the last answer does not depend on who writes it.
func TestLastAnswer(t *testing.T) {
	for name, say := range map[string]func(http.ResponseWriter){
		"a status":     func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) },
		"a body alone": func(w http.ResponseWriter) { _, _ = io.WriteString(w, "x") },
	} {
		w := httptest.NewRecorder()
		say(lastAnswer{w})
		if got := w.Result().Header.Get("Connection"); got != "close" {
			t.Errorf("%s: Connection is %q", name, got)
		}
	}
}

func TestHostile35_BrokenBodyIsTheClientsFault(t *testing.T) {
	addr, _ := recorder(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	out := forwarding(t, addr, nil).talkToEnd(t, "POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n")
	if !strings.HasPrefix(out, "HTTP/1.1 400 ") {
		t.Errorf("%q", out)
	}
}
