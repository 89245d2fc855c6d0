package exit

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A memConn is one end of a connection in memory that behaves like TCP where a
// session looks: buffered, half-closed by CloseWrite, reset by SetLinger(0).
type memConn struct {
	net.Conn       // nil: what is not overridden is not used
	in, out  *pipe // what is read and what is written
	linger   int
	deadline *time.Timer
}

// A pipe is one direction.
type pipe struct {
	mu    sync.Mutex
	cond  *sync.Cond
	data  []byte
	limit int
	fin   bool
	err   error // for both sides, once data is read
	gone  bool  // the reader has closed
	late  bool  // the writer's deadline has passed
}

// memPair returns two ends with windows of limit bytes.
func memPair(limit int) (*memConn, *memConn) {
	a, b := newPipe(limit), newPipe(limit)
	return &memConn{in: a, out: b, linger: -1}, &memConn{in: b, out: a, linger: -1}
}

func newPipe(limit int) *pipe {
	p := &pipe{limit: limit}
	p.cond = sync.NewCond(&p.mu)
	return p
}

func (p *pipe) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	p.cond.Broadcast()
}

func (c *memConn) Read(b []byte) (int, error) {
	p := c.in
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.data) == 0 && !p.fin && p.err == nil && !p.gone {
		p.cond.Wait()
	}
	switch {
	case p.gone:
		return 0, net.ErrClosed
	case len(p.data) > 0:
		n := copy(b, p.data)
		p.data = p.data[n:]
		p.cond.Broadcast()
		if len(p.data) == 0 && (p.fin || p.err != nil) {
			return n, p.end() // at once, so that tests see one event
		}
		return n, nil
	}
	return 0, p.end()
}

// end is what a reader gets after the last byte; p.mu is held.
func (p *pipe) end() error {
	if p.err != nil {
		return p.err
	}
	return io.EOF
}

// say writes text and ends the direction in one step, by FIN if err is nil.
func (c *memConn) say(text string, err error) {
	c.out.set(func() {
		c.out.data = append(c.out.data, text...)
		c.out.fin, c.out.err = true, err
	})
}

func (c *memConn) Write(b []byte) (n int, err error) {
	p := c.out
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(b) > 0 {
		switch {
		case p.fin:
			return n, net.ErrClosed
		case p.late:
			return n, os.ErrDeadlineExceeded
		case p.err != nil || p.gone:
			return n, syscall.EPIPE
		case len(p.data) >= p.limit:
			p.cond.Wait()
			continue
		}
		k := min(len(b), p.limit-len(p.data))
		p.data = append(p.data, b[:k]...)
		b, n = b[k:], n+k
		p.cond.Broadcast()
	}
	return n, nil
}

func (c *memConn) CloseWrite() error {
	c.out.set(func() { c.out.fin = true })
	return nil
}

func (c *memConn) SetLinger(sec int) error { c.linger = sec; return nil }

func (c *memConn) SetWriteDeadline(t time.Time) error {
	c.deadline = time.AfterFunc(time.Until(t), func() { c.out.set(func() { c.out.late = true }) })
	return nil
}

func (c *memConn) Close() error {
	if c.deadline != nil {
		c.deadline.Stop()
	}
	c.out.set(func() {
		if c.linger == 0 {
			c.out.err = syscall.ECONNRESET
		}
		c.out.fin = true
	})
	c.in.set(func() { c.in.gone = true })
	return nil
}

// ended waits for the peer's end: io.EOF for a FIN, ECONNRESET for an RST.
func (c *memConn) ended() error {
	_, err := io.Copy(io.Discard, c)
	if err == nil {
		return io.EOF
	}
	if errors.Is(err, syscall.ECONNRESET) {
		return syscall.ECONNRESET
	}
	return err
}
