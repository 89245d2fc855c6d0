package socks

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestHostile01_Silent(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, s *Server, ln *memListener) {
		begin := time.Now()
		conn := ln.connect("192.0.2.7:1")
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("read: %v", err)
		}
		if took := time.Since(begin); took != DefaultHandshakeTimeout {
			t.Errorf("closed after %v", took)
		}
		synctest.Wait()
		if n := s.Stats().Open; n != 0 {
			t.Errorf("%d connections left", n)
		}
	})
}

// What the silent have taken is given back, also to the system.
func TestHostile01_NoDescriptorLeft(t *testing.T) {
	files := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("only Linux tells what is open:", err)
		}
		return len(list)
	}
	p := start(t, Config{HandshakeTimeout: 50 * time.Millisecond})
	before := files()
	var conns []*net.TCPConn
	for range 50 {
		conns = append(conns, p.dial(t))
	}
	for _, conn := range conns {
		if n, err := conn.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("read %d, %v", n, err)
		}
		conn.Close()
	}
	for begin := time.Now(); files() > before; runtime.Gosched() {
		if time.Since(begin) > patience {
			t.Fatalf("%d files are open, and were %d before", files(), before)
		}
	}
}

// A byte every two seconds does not prolong the handshake.
func TestHostile02_SlowlorisDeadlineIsAbsolute(t *testing.T) {
	for _, script := range []string{"\x05\x09\x00\x00\x00\x00\x00\x00\x00", "\x04\x01\x00\x50\x01\x02\x03", "GET / HT"} {
		inBubble(t, Config{}, func(t *testing.T, _ *Server, ln *memListener) {
			begin := time.Now()
			conn := ln.connect("192.0.2.7:1")
			var slow sync.WaitGroup
			slow.Go(func() {
				for i := range script {
					time.Sleep(2 * time.Second) // virtual
					if _, err := io.WriteString(conn, script[i:i+1]); err != nil {
						return
					}
				}
			})
			io.Copy(io.Discard, conn)
			most := DefaultHandshakeTimeout
			if script[0] == 'G' { // net/http counts anew from the first byte, but only once
				most += 2 * time.Second
			}
			if took := time.Since(begin); took < DefaultHandshakeTimeout || took > most {
				t.Errorf("%q: closed after %v", script, took)
			}
			conn.Close()
			slow.Wait()
		})
	}
}

func TestHostile02_SlowlorisCrowd(t *testing.T) {
	inBubble(t, Config{MaxConns: 1000}, func(t *testing.T, s *Server, ln *memListener) {
		var slow []net.Conn
		for range maxHalfOpen {
			slow = append(slow, ln.connect("192.0.2.7:1"))
		}
		time.Sleep(halfOpenGrace)
		for i := range 2000 {
			conn := ln.connect("192.0.2.7:1")
			mustWrite(t, conn, []string{"\x05", "\x04", "G"}[i%3]) // and nothing more
			slow = append(slow, conn)
			time.Sleep(5 * time.Millisecond)
		}
		if n := s.Stats().Open; n > maxHalfOpen+1 {
			t.Errorf("%d half-open connections of one source", n)
		}
		conn := ln.connect("192.0.2.7:2")
		mustWrite(t, conn, "\x05\x01\x00")
		mustRead(t, conn, "\x05\x00")
		conn.Close()
		time.Sleep(DefaultHandshakeTimeout + pageTimeout + time.Second) // nobody reads what HTTP is told
		if n := s.Stats().Open; n != 0 {
			t.Errorf("%d connections left", n)
		}
		for _, c := range slow {
			c.Close()
		}
	})
}

// One host is one source, however many addresses of its network it uses.
func TestHostile02_CrowdOfOneNetwork(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, s *Server, ln *memListener) {
		for i := range 4 * maxHalfOpen {
			conn := ln.connect(fmt.Sprintf("[2001:db8::%x]:1", i))
			defer conn.Close()
			time.Sleep(5 * time.Millisecond)
		}
		synctest.Wait()
		if n := s.Stats().Open; n != maxHalfOpen {
			t.Errorf("%d half-open connections of one network", n)
		}
	})
}

// The silent fill the house for nobody who comes after them, and who has just come, or
// has said what it wants, does not go.
func TestHostile02_80_SilentMakeRoom(t *testing.T) {
	handle := func(ctx context.Context, r *Request) { <-r.Watch(ctx).Done() }
	inBubble(t, Config{MaxConns: 3, Handle: handle}, func(t *testing.T, s *Server, ln *memListener) {
		come := func(source string) net.Conn {
			conn := ln.connect(source)
			t.Cleanup(func() { conn.Close() })
			synctest.Wait()
			return conn
		}
		busy := come("192.0.2.6:1")
		mustWrite(t, busy, "\x04\x01\x00\x50\x01\x02\x03\x04\x00")
		first, second := come("192.0.2.7:1"), come("192.0.2.8:1")
		time.Sleep(halfOpenGrace - 1)
		come("192.0.2.9:1")
		if n := s.Stats().Refused; n != 1 {
			t.Errorf("%d refused: the silent had no time", n)
		}
		time.Sleep(time.Nanosecond)
		last := come("192.0.2.9:2")
		if n, err := first.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the oldest: %d, %v", n, err)
		}
		for _, conn := range []net.Conn{second, last} {
			mustWrite(t, conn, "\x05\x01\x00")
			mustRead(t, conn, "\x05\x00")
		}
		if st := s.Stats(); st.Refused != 1 || st.Open != 3 {
			t.Errorf("stats %+v", st)
		}
		for _, conn := range []net.Conn{busy, second, last} {
			conn.Close()
		}
	})
}

// Who is asked for a password and has none is half-open still.
func TestHostile02_40_CrowdWithoutPassword(t *testing.T) {
	inBubble(t, Config{Users: []User{{"ann", "secret"}}, Dial: failingDial}, func(t *testing.T, s *Server, ln *memListener) {
		ask := func(field, want string) net.Conn {
			conn := ln.connect("192.0.2.7:1")
			mustWrite(t, conn, "GET http://a/ HTTP/1.1\r\nHost: a\r\n"+field+"\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || !strings.HasPrefix(resp.Status, want) {
				t.Fatalf("%v, %v", resp, err)
			}
			io.Copy(io.Discard, resp.Body)
			return conn
		}
		ann := ask(basic("ann:secret"), "502")
		for range 2 * maxHalfOpen {
			defer ask("", "407").Close()
			time.Sleep(5 * time.Millisecond)
		}
		if n := s.Stats().Open; n > maxHalfOpen+2 {
			t.Errorf("%d connections of one source", n)
		}
		mustWrite(t, ann, "GET http://a/ HTTP/1.1\r\nHost: a\r\n"+basic("ann:secret")+"Connection: close\r\n\r\n")
		if out, err := io.ReadAll(ann); err != nil || status(string(out)) != "502" {
			t.Errorf("who has logged in: %q, %v", out, err)
		}
	})
}

// A burst of honest applications is never hit by the cap.
func TestHostile02_HonestBurst(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, s *Server, ln *memListener) {
		var conns []net.Conn
		for range 4 * maxHalfOpen {
			conns = append(conns, ln.connect("192.0.2.7:1"))
		}
		for _, conn := range conns {
			mustWrite(t, conn, "\x05\x01\x00")
			mustRead(t, conn, "\x05\x00")
			conn.Close()
		}
	})
}

func TestHostile04_Garbage(t *testing.T) {
	p := start(t, Config{})
	for _, in := range []string{"\x00", "\x06\x01\x00", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", " ", "\r\n", "\xff"} {
		if out := p.talk(t, in); out != "" {
			t.Errorf("%q: answered %q", in, out)
		}
	}
	noise := rand.New(rand.NewChaCha8([32]byte{}))
	for _, first := range []byte("\x00\x07\x16\x80\xff") { // of nothing that is spoken here
		in := []byte{first}
		for range 8 << 10 {
			in = binary.NativeEndian.AppendUint64(in, noise.Uint64())
		}
		conn := p.dial(t) // unread input may reset the connection
		conn.Write(in)
		if n, _ := conn.Read(make([]byte, 1)); n != 0 {
			t.Errorf("answered noise that begins with %#x", first)
		}
	}
	if out := p.talk(t, "GET "); out != "" && !strings.HasPrefix(out, "HTTP/1.1 400 ") {
		t.Errorf("half a request line: %q", out)
	}
	if n := strings.Count(p.log.String(), "handshake failed"); n != 1 {
		t.Errorf("%d lines in the log, want them sampled", n)
	}
	if p.Stats().Garbage < 11 {
		t.Errorf("stats %+v", p.Stats())
	}
}

func TestMaxConns(t *testing.T) {
	inBubble(t, Config{MaxConns: 2}, func(t *testing.T, s *Server, ln *memListener) {
		a, b := ln.connect("192.0.2.7:1"), ln.connect("192.0.2.7:2")
		mustWrite(t, b, "\x05\x01\x00")
		mustRead(t, b, "\x05\x00") // the last one that may come in is served
		c := ln.connect("192.0.2.7:3")
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("one too many: %v", err)
		}
		a.Close()
		synctest.Wait()
		d := ln.connect("192.0.2.7:4")
		mustWrite(t, d, "\x05\x01\x00")
		mustRead(t, d, "\x05\x00")
		if st := s.Stats(); st.Refused != 1 || st.Open != 2 {
			t.Errorf("stats %+v", st)
		}
		b.Close()
		d.Close()
	})
}

func TestHostile81_AcceptSurvivesEMFILE(t *testing.T) {
	var log strings.Builder
	defer func() {
		// 7 s of failures are one complaint, not a flood.
		if n := strings.Count(log.String(), "cannot accept"); n != 1 {
			t.Errorf("%d complaints", n)
		}
	}()
	inBubble(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil))}, func(t *testing.T, _ *Server, ln *memListener) {
		synctest.Wait() // Accept is past the errors that there are not yet
		fail := func(e error) error { return &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", e)} }
		for range 12 {
			ln.errs <- fail(syscall.EMFILE)
		}
		ln.errs <- fail(syscall.ENFILE)
		ln.errs <- fail(syscall.ECONNABORTED)
		ln.connect("192.0.2.7:1").Close() // wakes Accept
		begin := time.Now()
		ln.connect("192.0.2.7:2").Close()
		// 5 ms, doubling to 1 s: 8 delays of 1275 ms in sum, then 6 of 1 s.
		if took := time.Since(begin); took != 7275*time.Millisecond {
			t.Errorf("recovered after %v", took)
		}
	})
}

func TestServeFailsWithItsListener(t *testing.T) {
	s := New(Config{})
	ln := newMemListener()
	ln.Close()
	if err := s.Serve(ln); err == nil {
		t.Error("Serve returned nil without Shutdown")
	}
	s.Shutdown(t.Context())
}

func TestSeveralListeners(t *testing.T) {
	p := start(t, Config{})
	p.addr = p.listen(t, "127.0.0.1:0")
	if out := p.talk(t, connect5+"hello"); out != "\x05\x00"+granted5+"hello" {
		t.Errorf("got %q", out)
	}
}

func TestHostile86_PanicInHandler(t *testing.T) {
	p := start(t, Config{Handle: func(_ context.Context, r *Request) {
		if r.Host == "panic" {
			panic("a fault of ours")
		}
		conn, _, err := r.Proceed()
		if err == nil {
			conn.Close()
		}
	}})
	for _, in := range []string{"\x05\x01\x00" + request5("panic", 80), "CONNECT panic:80 HTTP/1.1\r\nHost: panic\r\n\r\n"} {
		if out := p.talk(t, in); strings.Contains(out, granted5) {
			t.Errorf("got %q", out)
		}
	}
	if out := p.talk(t, connect5); out != "\x05\x00"+granted5 {
		t.Errorf("after a panic: %q", out)
	}
	if n := p.Stats().Panics; n != 2 {
		t.Errorf("%d panics counted", n)
	}
}

// TestHostile86_PanicInHTTP: of what connects to an origin, and of what answers.
func TestHostile86_PanicInHTTP(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer origin.Close()
	p := start(t, Config{Dial: func(_ context.Context, host string, _ uint16) (net.Conn, error) {
		if host == "panic.test" {
			panic("a fault of ours")
		}
		return net.Dial("tcp", origin.Listener.Addr().String())
	}})
	via := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: p.addr}), DisableKeepAlives: true}
	get := func(host string) string {
		resp, err := via.RoundTrip(httptest.NewRequest("GET", "http://"+host+"/", nil))
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.Status + " " + string(text)
	}
	if out := get("fine.test"); out != "200 OK ok" {
		t.Errorf("got %q", out)
	}
	if out := get("panic.test"); !strings.HasPrefix(out, "502 ") || strings.Contains(out, "a fault of ours") {
		t.Errorf("of a dial that panics: %q", out)
	}
	if out := get("fine.test"); out != "200 OK ok" {
		t.Errorf("after that: %q", out)
	}
	if n := p.Stats().Panics; n != 1 {
		t.Errorf("%d panics counted", n)
	}
	w := httptest.NewRecorder()
	func() {
		defer func() {
			if v := recover(); v != http.ErrAbortHandler {
				t.Errorf("what answers ends by %v", v)
			}
		}()
		r := httptest.NewRequest("GET", "http://fine.test/", nil)
		p.front.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), clientKey{}, new(client)))) // in no gate
	}()
	if n := p.Stats().Panics; n != 2 {
		t.Errorf("%d panics counted", n)
	}
}

// A handler that forgets to answer leaks nothing.
func TestHandlerForgets(t *testing.T) {
	p := start(t, Config{Handle: func(ctx context.Context, r *Request) { r.Watch(ctx) }})
	if out := p.talk(t, connect5); out != "\x05\x00\x05\x01\x00\x01\x00\x00\x00\x00\x00\x00" {
		t.Errorf("got %q", out)
	}
}
