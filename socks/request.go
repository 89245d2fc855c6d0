package socks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"relaymux/mux/wire"
)

// The protocols by which a Request can have come.
const (
	SOCKS5      = "socks5"
	SOCKS4      = "socks4" // and 4a
	HTTPConnect = "http-connect"
)

var (
	errAnswered = errors.New("the request has been answered already")
	errGone     = errors.New("the application hung up")
)

// Request is one TCP connection that an application asks for. Its methods are
// for one goroutine.
type Request struct {
	// Host is a name in lower case, without a trailing dot, of letters,
	// digits, hyphens, underscores and dots; or an IP literal in its canonical
	// form, without brackets and zone. It is not an unspecified, multicast or
	// broadcast address, and not the proxy itself.
	Host string
	Port uint16 // never 0

	Source   netip.AddrPort // of the application; the zero value if it is not a TCP address
	User     string         // who has logged in, "" without Config.Users
	Protocol string         // SOCKS5, SOCKS4 or HTTPConnect

	client *client // nil once answered
	watch  *watch  // nil if nobody watches
}

// Proceed tells the application that it is connected, and hands its connection
// over with the bytes that came early. Both belong to the caller. The
// connection is the listener's own, not wrapped, with no deadline set. After an
// error it is closed.
func (r *Request) Proceed() (conn net.Conn, early []byte, err error) {
	c := r.take()
	if c == nil {
		return nil, nil, errAnswered
	}
	if err := c.say(granted(r.Protocol)); err != nil {
		c.Close()
		return nil, nil, fmt.Errorf("telling the application that it is connected: %w", err)
	}
	c.gate.handOver(c)
	early, c.early = c.early, nil
	return c.Conn, early, nil
}

// say writes reply and leaves no deadline behind.
func (c *client) say(reply []byte) error {
	if err := c.SetDeadline(time.Now().Add(lingerTime)); err != nil {
		return err
	}
	if _, err := c.Conn.Write(reply); err != nil {
		return err
	}
	return c.SetDeadline(time.Time{})
}

// Abort tells the application why not, and closes its connection. It may take
// lingerTime. After Proceed or another Abort it does nothing.
func (r *Request) Abort(reason wire.Reason) {
	if c := r.take(); c != nil {
		c.hangUp(refused(r.Protocol, reason, r.Host))
	}
}

// Fail is Abort with the reason that err carries. A *BlockedError tells who reads
// pages which rule it was.
func (r *Request) Fail(err error) {
	if c := r.take(); c != nil {
		c.hangUp(failed(r.Protocol, err, r.Host))
	}
}

// take ends the watch and returns the client, nil if it was taken before.
func (r *Request) take() *client {
	c := r.client
	if c == nil {
		return nil
	}
	r.client = nil
	if r.watch != nil {
		c.early = append(c.early, r.watch.end(c.Conn)...)
		r.watch = nil
	}
	return c
}

// Watch returns a context that ends with ctx, with Proceed or Abort, or when
// the application hangs up before. It costs a goroutine, and is for a caller
// that Proceeds only after the destination has answered. What it cannot see is
// an application that hangs up after having sent bytes ahead of the reply.
// Only the first call watches; later ones return ctx.
func (r *Request) Watch(ctx context.Context) context.Context {
	if r.client == nil || r.watch != nil {
		return ctx
	}
	ctx, cancel := context.WithCancelCause(ctx)
	r.watch = &watch{cancel: cancel, done: make(chan struct{})}
	go r.watch.run(r.client.Conn, len(r.client.early) > 0)
	return ctx
}

// watch reads a byte ahead, since there is no other portable way to learn that
// a peer has hung up.
type watch struct {
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when run has returned
	read   [1]byte
	n      int
}

// run waits for a byte or for the end. An end after early bytes may be that of
// an application which pipelined its whole input and half-closed: it still
// waits for the answer.
func (w *watch) run(conn net.Conn, early bool) {
	defer close(w.done)
	n, err := conn.Read(w.read[:])
	w.n = n
	switch {
	case n > 0, errors.Is(err, os.ErrDeadlineExceeded):
	case errors.Is(err, io.EOF) && early:
	default:
		w.cancel(errGone)
	}
}

// end stops run and returns what it has read.
func (w *watch) end(conn net.Conn) []byte {
	conn.SetReadDeadline(time.Unix(1, 0)) // long past: run's Read returns
	<-w.done
	conn.SetReadDeadline(time.Time{})
	w.cancel(nil)
	return w.read[:w.n]
}
