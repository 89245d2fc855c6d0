package socks

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"

	"relaymux/mux/stats"
)

// TestSettingsChange: users and the number of connections that there may be change while
// connections are open, which stay if they can.
func TestSettingsChange(t *testing.T) {
	inBubble(t, Config{MaxConns: 2}, func(t *testing.T, s *Server, ln *memListener) {
		a := ln.connect("192.0.2.7:1")
		mustWrite(t, a, "\x05\x01\x00")
		mustRead(t, a, "\x05\x00")
		s.SetMaxConns(1)
		b := ln.connect("192.0.2.7:2")
		if _, err := b.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("one more than there may be now: %v", err)
		}
		s.SetMaxConns(3)
		s.SetUsers([]User{{"ann", "secret"}})
		c := ln.connect("192.0.2.7:3")
		mustWrite(t, c, "\x05\x02\x00\x02")
		mustRead(t, c, "\x05\x02") // a password is asked for
		s.SetUsers(nil)
		d := ln.connect("192.0.2.7:4")
		mustWrite(t, d, "\x05\x01\x00")
		mustRead(t, d, "\x05\x00")
		synctest.Wait()
		if n := s.Stats().Open; n != 2 { // c was about to log in, for which there is nobody now
			t.Errorf("%d are open", n)
		}
		a.Close()
		c.Close()
		d.Close()
	})
}

// TestBlocksChange: what is dropped changes for an association that is open.
func TestBlocksChange(t *testing.T) {
	n := newFarSide()
	p, st := startUDP(t, n, nil)
	a := p.associated(t)
	quic := toHost("a.test", quicPort) + "hello"
	mustWrite(t, a.socket, quic)
	n.next(t, "a.test")
	p.SetBlocks(true, false)
	mustWrite(t, a.socket, quic)
	mustWrite(t, a.socket, toIPv4)
	n.next(t, "203.0.113.5") // and what came before it has been looked at
	dropped(t, st, stats.DropQUIC, 1)
}

// askPage is a request that is forwarded, on a connection that is kept.
const askPage = "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n"

// annLogin is that of ann, whose password is secret.
const annLogin = "Proxy-Authorization: Basic YW5uOnNlY3JldA==\r\n"

// origin is a Dial to a server that answers each request once it may, by a channel that
// the test makes in its bubble.
func origin(may *chan struct{}) dialer {
	return func(context.Context, string, uint16) (net.Conn, error) {
		here, there := net.Pipe()
		go func() {
			defer there.Close()
			for br := bufio.NewReader(there); ; {
				if _, err := http.ReadRequest(br); err != nil {
					return
				}
				<-*may
				io.WriteString(there, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole")
			}
		}()
		return here, nil
	}
}

// mustReadPage reads an answer and its body.
func mustReadPage(t *testing.T, br *bufio.Reader, status int) (body string) {
	t.Helper()
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		t.Fatalf("status %d, %v, want %d", resp.StatusCode, err, status)
	}
	return string(text)
}

// elsewhere is a listener with another address.
type elsewhere struct{ *memListener }

func (elsewhere) Addr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.2:1080"))
}

// TestRetire: with a listener end the connections that came by it and are not logged in,
// before users are no more; what is being done for others is done.
func TestRetire(t *testing.T) {
	var may chan struct{}
	cfg := Config{Users: []User{{"ann", "secret"}}, Dial: origin(&may), Handle: func(_ context.Context, r *Request) {
		<-may
		if conn, _, err := r.Proceed(); err == nil {
			conn.Close()
		}
	}}
	inBubble(t, cfg, func(t *testing.T, s *Server, ln *memListener) {
		may = make(chan struct{})
		other := elsewhere{newMemListener()}
		served := make(chan error)
		go func() { served <- s.Serve(other) }()

		strangers := map[string]net.Conn{
			"silent": other.connect("192.0.2.7:1"), "greeting": other.connect("192.0.2.7:2"), "asked": other.connect("192.0.2.7:3"),
			"http": other.connect("192.0.2.7:4"), "header": other.connect("192.0.2.7:5"), "socks4": other.connect("192.0.2.7:6"),
			"was here": other.connect("192.0.2.7:9"),
		}
		mustWrite(t, strangers["greeting"], "\x05")
		mustWrite(t, strangers["asked"], "\x05\x01\x02")
		mustRead(t, strangers["asked"], "\x05\x02")
		mustWrite(t, strangers["http"], askPage+"\r\n")
		mustReadPage(t, bufio.NewReader(strangers["http"]), http.StatusProxyAuthRequired)
		mustWrite(t, strangers["header"], askPage)
		mustWrite(t, strangers["socks4"], "\x04\x01\x00\x50\x01\x02\x03\x04")
		mustWrite(t, strangers["was here"], askPage+annLogin+"\r\n")
		may <- struct{}{}
		mustReadPage(t, bufio.NewReader(strangers["was here"]), http.StatusOK)

		forwarded, asking, stays := other.connect("192.0.2.7:7"), other.connect("192.0.2.7:8"), ln.connect("192.0.2.7:10")
		mustWrite(t, forwarded, askPage+annLogin+"\r\n")
		mustWrite(t, asking, "\x05\x01\x02")
		mustRead(t, asking, "\x05\x02")
		mustWrite(t, asking, "\x01\x03ann\x06secret")
		mustRead(t, asking, "\x01\x00")
		mustWrite(t, asking, "\x05\x01\x00\x01\x01\x02\x03\x04\x00\x50")
		mustWrite(t, stays, "\x05")
		synctest.Wait()

		s.Retire(other)
		if err := <-served; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
		mustWrite(t, stays, "\x01\x02") // before there are no users
		mustRead(t, stays, "\x05\x02")
		s.SetUsers(nil)
		for name, c := range strangers {
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("%s: %v", name, err)
			}
		}
		close(may)
		br := bufio.NewReader(forwarded)
		if body := mustReadPage(t, br, http.StatusOK); body != "whole" {
			t.Errorf("forwarded: %q", body)
		}
		if _, err := br.ReadByte(); err != io.EOF {
			t.Errorf("what was forwarded goes on: %v", err)
		}
		mustRead(t, asking, granted5)
	})
}

// TestStricter: who is connected without a login needs one for what comes after there
// are users, and who needed one when he connected does without only by connecting anew.
func TestStricter(t *testing.T) {
	var may chan struct{}
	inBubble(t, Config{Dial: origin(&may)}, func(t *testing.T, s *Server, ln *memListener) {
		may = make(chan struct{})
		close(may)
		web, greeted, begun := ln.connect("192.0.2.7:1"), ln.connect("192.0.2.7:2"), ln.connect("192.0.2.7:3")
		br := bufio.NewReader(web)
		mustWrite(t, web, askPage+"\r\n")
		mustReadPage(t, br, http.StatusOK)
		mustWrite(t, greeted, "\x05\x01\x00")
		mustRead(t, greeted, "\x05\x00")
		mustWrite(t, begun, "\x04")
		s.SetUsers([]User{{"ann", "secret"}})
		mustWrite(t, web, askPage+"\r\n")
		mustReadPage(t, br, http.StatusProxyAuthRequired)
		mustWrite(t, web, askPage+annLogin+"\r\n")
		mustReadPage(t, br, http.StatusOK)
		mustWrite(t, greeted, "\x05\x01\x00\x01\x01\x02\x03\x04\x00\x50")
		mustRead(t, greeted, "\x05\x02\x00\x01")
		mustWrite(t, begun, "\x01\x00\x50\x01\x02\x03\x04\x00")
		mustRead(t, begun, "\x00\x5b")
		for _, c := range []net.Conn{web, greeted, begun} {
			c.Close()
		}

		asked := ln.connect("192.0.2.7:4")
		br = bufio.NewReader(asked)
		mustWrite(t, asked, askPage+"\r\n")
		mustReadPage(t, br, http.StatusProxyAuthRequired)
		s.SetUsers(nil)
		if _, err := br.ReadByte(); err != io.EOF {
			t.Errorf("the connection that needed a login goes on: %v", err)
		}
		anew := ln.connect("192.0.2.7:5")
		mustWrite(t, anew, askPage+"\r\n")
		mustReadPage(t, bufio.NewReader(anew), http.StatusOK)
		anew.Close()
	})
}
