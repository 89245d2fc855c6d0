package relaytest

import (
	"errors"
	"io"
	"net"
	"syscall"
	"time"
)

// Conn is one end of a connection in memory. It has what the program uses of
// *net.TCPConn: CloseWrite, and SetLinger(0) which turns Close into a reset.
type Conn struct {
	in, out       *ring // what the peer writes, what we write
	local, remote net.Addr
	resets        bool // SetLinger(0) was called
}

var _ net.Conn = (*Conn)(nil)

func newPair(a, b net.Addr) (near, far *Conn) {
	up, down := newRing(), newRing()
	near = &Conn{in: down, out: up, local: a, remote: b}
	far = &Conn{in: up, out: down, local: b, remote: a}
	return near, far
}

func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.in.read(p)
	return n, c.wrap("read", err)
}

// Write returns when the bytes are in the buffer, or with how many of them
// are when the connection ends or the deadline passes.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.out.write(p)
	return n, c.wrap("write", err)
}

// CloseWrite sends FIN: the peer reads what is buffered, then io.EOF.
func (c *Conn) CloseWrite() error {
	c.out.finish()
	return nil
}

// Close sends FIN; the peer's later writes fail with EPIPE.
func (c *Conn) Close() error {
	if c.resets {
		c.Abort()
		return nil
	}
	c.in.closeReader()
	c.out.closeWriter()
	return nil
}

// Abort sends RST: the peer loses what it has not read, and reads and writes
// ECONNRESET.
func (c *Conn) Abort() {
	c.in.reset(net.ErrClosed, syscall.ECONNRESET)
	c.out.reset(syscall.ECONNRESET, net.ErrClosed)
}

// SetLinger makes Close a reset if sec is 0. It is not safe to call beside
// Close.
func (c *Conn) SetLinger(sec int) error {
	c.resets = sec == 0
	return nil
}

func (c *Conn) LocalAddr() net.Addr  { return c.local }
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

func (c *Conn) SetDeadline(t time.Time) error {
	c.in.setReadDeadline(t)
	c.out.setWriteDeadline(t)
	return nil
}

func (c *Conn) SetReadDeadline(t time.Time) error {
	c.in.setReadDeadline(t)
	return nil
}

func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.out.setWriteDeadline(t)
	return nil
}

// wrap dresses an error as package net does; io.EOF stays bare.
func (c *Conn) wrap(op string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}
