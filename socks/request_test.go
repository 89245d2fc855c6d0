package socks

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"relaymux/mux/wire"
)

// watched is a Config whose handler watches, tells that it does, and then waits
// for the end of the watch or for go on.
func watched(watching chan<- context.Context, goOn <-chan struct{}, answer func(*Request)) Config {
	return Config{Handle: func(ctx context.Context, r *Request) {
		ctx = r.Watch(ctx)
		watching <- ctx
		select {
		case <-ctx.Done():
		case <-goOn:
		}
		answer(r)
	}}
}

func TestHostile15_HangUpDuringDial(t *testing.T) {
	for _, test := range []struct {
		name, in string
		hangUp   func(*net.TCPConn)
	}{
		{"FIN", connect5, func(c *net.TCPConn) { c.Close() }},
		{"RST", connect5, func(c *net.TCPConn) { c.SetLinger(0); c.Close() }},
		{"RST after early bytes", connect5 + "early", func(c *net.TCPConn) { c.SetLinger(0); c.Close() }},
		{"FIN on http", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", func(c *net.TCPConn) { c.Close() }},
		{"FIN on socks4", "\x04\x01\x00\x50\x01\x02\x03\x04\x00", func(c *net.TCPConn) { c.Close() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			watching, done := make(chan context.Context), make(chan struct{})
			p := start(t, watched(watching, nil, func(r *Request) {
				r.Abort(wire.Failed)
				close(done)
			}))
			conn := p.dial(t)
			mustWrite(t, conn, test.in)
			ctx := <-watching
			test.hangUp(conn)
			<-done
			if err := context.Cause(ctx); !errors.Is(err, errGone) {
				t.Errorf("cause %v", err)
			}
		})
	}
}

// What the watch reads is not lost, and it leaves no deadline behind.
func TestWatchKeepsBytes(t *testing.T) {
	watching, goOn := make(chan context.Context), make(chan struct{})
	var p *proxy
	p = start(t, watched(watching, goOn, func(r *Request) { p.echo(t.Context(), r) }))
	for _, early := range []string{"", "early"} {
		conn := p.dial(t)
		mustWrite(t, conn, connect5+early)
		mustRead(t, conn, "\x05\x00")
		ctx := <-watching
		mustWrite(t, conn, "more")
		goOn <- struct{}{}
		mustRead(t, conn, granted5+early+"more")
		if ctx.Err() == nil {
			t.Error("the watch outlived the answer")
		}
		mustWrite(t, conn, "later")
		mustRead(t, conn, "later")
		conn.CloseWrite()
		if rest, err := io.ReadAll(conn); err != nil || len(rest) != 0 {
			t.Errorf("%q, %v", rest, err)
		}
	}
}

// A half-close behind pipelined input is not the end of the application.
func TestWatchSparesHalfClose(t *testing.T) {
	watching, goOn := make(chan context.Context), make(chan struct{})
	var p *proxy
	p = start(t, watched(watching, goOn, func(r *Request) { p.echo(t.Context(), r) }))
	conn := p.dial(t)
	mustWrite(t, conn, connect5+"all of it")
	conn.CloseWrite()
	<-watching
	goOn <- struct{}{}
	mustRead(t, conn, "\x05\x00"+granted5+"all of it")
}

func TestSecondAnswer(t *testing.T) {
	p := start(t, Config{Handle: func(ctx context.Context, r *Request) {
		conn, _, err := r.Proceed()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		if _, ok := conn.(*net.TCPConn); !ok {
			t.Errorf("handed over a %T", conn)
		}
		r.Abort(wire.Failed)
		if _, _, err := r.Proceed(); err == nil {
			t.Error("proceeded twice")
		}
		if r.Watch(ctx) != ctx {
			t.Error("watches what it has given away")
		}
		io.WriteString(conn, "intact")
	}})
	if out := p.talk(t, connect5); out != "\x05\x00"+granted5+"intact" {
		t.Errorf("got %q", out)
	}
}

func TestHostile16_ResetBeforeProceed(t *testing.T) {
	watching, failed := make(chan context.Context, 1), make(chan error)
	p := start(t, watched(watching, nil, func(r *Request) {
		conn, _, err := r.Proceed()
		if err == nil { // the reset is seen by the first read at the latest
			_, err = conn.Read(make([]byte, 1))
			conn.Close()
		}
		failed <- err
	}))
	conn := p.dial(t)
	mustWrite(t, conn, connect5)
	mustRead(t, conn, "\x05\x00")
	<-watching
	conn.SetLinger(0)
	conn.Close()
	if err := <-failed; err == nil {
		t.Error("nobody noticed")
	}
}
