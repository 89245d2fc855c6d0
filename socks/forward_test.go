package socks

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"relaymux/mux/wire"
)

// forwarding is a proxy whose every dial ends at one origin.
func forwarding(t *testing.T, origin string, dialed chan<- string) *proxy {
	t.Helper()
	return start(t, Config{Dial: func(ctx context.Context, host string, port uint16) (net.Conn, error) {
		if dialed != nil {
			dialed <- joinAuthority(host, port)
		}
		var d net.Dialer
		return d.DialContext(ctx, "tcp", origin)
	}})
}

// rawOrigin accepts connections and lets serve talk on them.
func rawOrigin(t *testing.T, serve func(conn *net.TCPConn, br *bufio.Reader)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(patience))
				serve(conn.(*net.TCPConn), bufio.NewReader(conn))
			}()
		}
	}()
	return ln.Addr().String()
}

// readHead returns a header section as it is on the wire.
func readHead(br *bufio.Reader) string {
	var b strings.Builder
	for {
		line, err := br.ReadString('\n')
		b.WriteString(line)
		if err != nil || line == "\r\n" {
			return b.String()
		}
	}
}

// recorder is an origin that records request heads and answers them alike.
func recorder(t *testing.T, answer string) (addr string, heads chan string) {
	heads = make(chan string, 10000)
	return rawOrigin(t, func(conn *net.TCPConn, br *bufio.Reader) {
		for {
			head := readHead(br)
			if head == "" {
				return
			}
			if head == "0\r\n\r\n" { // the empty body of the request before
				continue
			}
			heads <- head
			if _, err := io.WriteString(conn, answer); err != nil {
				return
			}
		}
	}), heads
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func TestForwardDialsTheURL(t *testing.T) {
	origin, heads := recorder(t, ok)
	for _, test := range []struct{ target, dial, line, host string }{
		{"http://Example.com/a/b?c=d;e&%zz", "example.com:80", "GET /a/b?c=d;e&%zz HTTP/1.1", "Example.com"},
		{"http://example.com.:8080", "example.com:8080", "GET / HTTP/1.1", "example.com.:8080"},
		{"http://[::ffff:127.0.0.1]:81/", "127.0.0.1:81", "GET / HTTP/1.1", "[::ffff:127.0.0.1]:81"},
		{"http://[2001:DB8::1]/", "[2001:db8::1]:80", "GET / HTTP/1.1", "[2001:DB8::1]"},
		{"HTTP://0x7f.1:82/%2e%2f", "127.0.0.1:82", "GET /%2e%2f HTTP/1.1", "0x7f.1:82"},
	} {
		dialed := make(chan string, 1)
		p := forwarding(t, origin, dialed)
		out := p.talkToEnd(t, "GET "+test.target+" HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n")
		if !strings.HasSuffix(out, "\r\n\r\nok") {
			t.Errorf("%s: %q", test.target, out)
			continue
		}
		if got := <-dialed; got != test.dial {
			t.Errorf("%s: dialed %s", test.target, got)
		}
		if head := <-heads; !strings.HasPrefix(head, test.line+"\r\nHost: "+test.host+"\r\n") {
			t.Errorf("%s: origin got %q", test.target, head)
		}
	}
}

// talkToEnd sends in and reads until the proxy closes. It does not half-close,
// by which net/http would take the client for gone.
func (p *proxy) talkToEnd(t *testing.T, in string) string {
	t.Helper()
	conn := p.dial(t)
	mustWrite(t, conn, in)
	out, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("after %d bytes, %.500q: %v", len(out), out, err)
	}
	return string(out)
}

func TestHostile39_HopByHopFields(t *testing.T) {
	origin, heads := recorder(t, "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Authenticate: Basic\r\nProxy-Authentication-Info: x=1\r\nX-End: 1\r\nContent-Length: 2\r\n\r\nok")
	p := forwarding(t, origin, nil)
	out := p.talkToEnd(t, "GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: close, X-Secret\r\nConnection: X-Second\r\nX-Secret: 1\r\nX-Secret: 2\r\n"+
		"X-Second: 3\r\nProxy-Authorization: Basic eDp5\r\nProxy-Connection: keep-alive\r\nProxy-Authentication-Info: x=1\r\nProxy-Other: goes on\r\nKeep-Alive: 5\r\nTE: gzip, trailers\r\nUpgrade: h2c\r\nX-End: yes\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n")
	if want := "GET / HTTP/1.1\r\nHost: a\r\nProxy-Other: goes on\r\nTe: trailers\r\nX-End: yes\r\n\r\n"; <-heads != want {
		t.Errorf("want %q", want)
	}
	if want := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-End: 1\r\nConnection: close\r\n\r\nok"; out != want {
		t.Errorf("client got %q, want %q", out, want)
	}
}

func TestHostile38_UserinfoAndH2C(t *testing.T) {
	origin, heads := recorder(t, ok)
	p := forwarding(t, origin, nil)
	for _, test := range []struct{ in, want string }{
		{"GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic dTpw\r\n\r\n"},
		{"GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\nAuthorization: x\r\nConnection: close\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: x\r\n\r\n"},
		{"GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"OPTIONS http://a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"OPTIONS http://a/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"GET http://a/ HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
	} {
		if out := p.talkToEnd(t, test.in); status(out) != "200" {
			t.Errorf("%q: %q", test.in, out)
		}
		if head := <-heads; head != test.want {
			t.Errorf("%q: origin got %q", test.in, head)
		}
		p.front.origins.close() // each to an origin connection of its own
	}
}

// What net/http lets pass reaches the origin in normal form, as one request, and never
// what stands behind it as another.
func TestHostile33_34_NormalForm(t *testing.T) {
	const smuggled = "GET http://a/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, test := range []struct{ in, want string }{
		{"GET http://a/ HTTP/1.1\nHost: a\nX: a\n b\nConnection: close\n\n", "GET / HTTP/1.1\r\nHost: a\r\nX: a b\r\n\r\n"},
		{"POST http://a/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
			"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"POST http://a/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"},
		// HTTP/1.0 has no chunked: who takes the body for one and who does not must not
		// both find a request behind it.
		{"POST http://a/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + smuggled, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"},
		{"POST http://a/ HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + smuggled, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"},
		{"POST http://a/ HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r" + smuggled,
			"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"},
	} {
		origin, heads := recorder(t, ok)
		p := forwarding(t, origin, nil)
		conn := p.dial(t)
		mustWrite(t, conn, test.in)
		out, _ := io.ReadAll(conn) // what was not read of it may reset the connection
		if status(string(out)) != "200" || strings.Count(string(out), "HTTP/1.") != 1 {
			t.Errorf("%q: %q", test.in, out)
		}
		if head := soon(t, heads); head != test.want {
			t.Errorf("%q: origin got %q", test.in, head)
		}
		select {
		case head := <-heads:
			if strings.HasPrefix(head, "GET") {
				t.Errorf("%q: origin got also %q", test.in, head)
			}
		default:
		}
	}
}

// The proxy adds no guess of a type and no date.
func TestForwardAddsNothing(t *testing.T) {
	origin, _ := recorder(t, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")
	p := forwarding(t, origin, nil)
	out := p.talkToEnd(t, "GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	if want := "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>"; out != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

// Errors of the dial, and such as come late, from a connection that was
// reported as made before it was.
func TestForwardErrors(t *testing.T) {
	for reason := wire.Failed; reason <= wire.RelayDown; reason++ {
		for _, late := range []bool{false, true} {
			fail := fmt.Errorf("connecting: %w", &wire.DialError{Reason: reason})
			p := start(t, Config{Dial: func(context.Context, string, uint16) (net.Conn, error) {
				if late {
					return newFailingConn(fail), nil
				}
				return nil, fail
			}})
			out := p.talkToEnd(t, "GET http://a.example/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			if want := fmt.Sprint(abortCodes[reason].status); status(out) != want {
				t.Errorf("%v (late: %v): %q", reason, late, out)
			}
			if !strings.Contains(out, "Proxy-Status: relaymux; error="+abortCodes[reason].error+"\r\n") || !strings.Contains(out, "a.example could not be reached") {
				t.Errorf("%v (late: %v): %q", reason, late, out)
			}
		}
	}
}

// failingConn takes everything and then fails to read.
type failingConn struct {
	net.Conn
	err     error
	written chan struct{}
}

func newFailingConn(err error) *failingConn {
	near, far := net.Pipe()
	far.Close()
	return &failingConn{Conn: near, err: err, written: make(chan struct{}, 1)}
}

func (c *failingConn) Write(p []byte) (int, error) {
	select {
	case c.written <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (c *failingConn) Read([]byte) (int, error) {
	<-c.written
	return 0, c.err
}

func TestHostile41_WebSocket(t *testing.T) {
	origin := rawOrigin(t, func(conn *net.TCPConn, br *bufio.Reader) {
		head := readHead(br)
		if !strings.Contains(head, "Upgrade: websocket\r\n") || !strings.Contains(head, "Connection: Upgrade\r\n") {
			io.WriteString(conn, "HTTP/1.1 400 no\r\nContent-Length: 0\r\n\r\n")
			return
		}
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nserver first;")
		io.Copy(conn, onlyReader{br})
	})
	p := forwarding(t, origin, nil)
	conn := p.dial(t)
	mustWrite(t, conn, "GET http://a/chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n")
	br := bufio.NewReader(conn)
	if head := readHead(br); status(head) != "101" {
		t.Fatalf("got %q", head)
	}
	mustRead(t, br, "server first;")
	mustWrite(t, conn, "frame")
	mustRead(t, br, "frame")
	conn.Close()
}

func TestHostile42_Pipelined(t *testing.T) {
	const n = 10000
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) }))
	defer origin.Close()
	p := forwarding(t, origin.Listener.Addr().String(), nil)
	conn := p.dial(t)
	go func() {
		for i := range n {
			fmt.Fprintf(conn, "GET http://a/%d HTTP/1.1\r\nHost: a\r\n\r\n", i)
		}
	}()
	br := bufio.NewReader(conn)
	for i := range n {
		if i%100 == 0 {
			conn.SetDeadline(time.Now().Add(patience)) // for each of them, not for all
		}
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != fmt.Sprintf("/%d", i) {
			t.Fatalf("answer %d: %q, %v", i, body, err)
		}
	}
}

// Nobody is left to hear what a dial for a plain request comes to.
func TestHostile15_HangUpDuringForward(t *testing.T) {
	dialing, cancelled := make(chan struct{}), make(chan struct{})
	p := start(t, Config{Dial: func(ctx context.Context, _ string, _ uint16) (net.Conn, error) {
		close(dialing)
		<-ctx.Done()
		close(cancelled)
		return nil, ctx.Err()
	}})
	conn := p.dial(t)
	mustWrite(t, conn, "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n")
	soon(t, dialing)
	conn.SetLinger(0)
	conn.Close()
	soon(t, cancelled)
}

func TestHostile42_FloodOf1xx(t *testing.T) {
	origin := rawOrigin(t, func(conn *net.TCPConn, br *bufio.Reader) {
		readHead(br)
		for {
			if _, err := io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nLink: </"+strings.Repeat("a", 1000)+">\r\n\r\n"); err != nil {
				return
			}
		}
	})
	p := forwarding(t, origin, nil)
	out := p.talkToEnd(t, "GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	if strings.Count(out, "HTTP/1.1 103 ") != maxInformational || !strings.Contains(out, "HTTP/1.1 502 ") {
		t.Errorf("%d bytes, the last of them %q", len(out), out[max(0, len(out)-500):])
	}
}
