package mux

import (
	"net"
	"os"
	"time"
)

var errDeadline = os.ErrDeadlineExceeded

// A deadline of a Stream used as a net.Conn. The stream's mu guards it.
type deadline struct {
	timer   *time.Timer
	expired bool
}

// set replaces the deadline. mu is held.
func (s *Stream) set(d *deadline, t time.Time) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	left := time.Until(t)
	d.expired = !t.IsZero() && left <= 0
	if d.expired {
		s.cond.Broadcast()
	}
	if left <= 0 {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(left, func() {
		s.mu.Lock()
		if d.timer == timer {
			d.expired = true
			s.cond.Broadcast()
		}
		s.mu.Unlock()
	})
	d.timer = timer
}

// SetDeadline implements net.Conn.
func (s *Stream) SetDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(&s.rd, t)
	s.set(&s.wr, t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (s *Stream) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(&s.rd, t)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(&s.wr, t)
	return nil
}

// LocalAddr implements net.Conn. The connection's own end is at the node.
func (s *Stream) LocalAddr() net.Addr { return addr{} }

// RemoteAddr implements net.Conn.
func (s *Stream) RemoteAddr() net.Addr { return addr{s.fl.host, s.fl.port} }

type addr struct {
	host string
	port uint16
}

func (addr) Network() string { return "tcp" }

func (a addr) String() string { return joinHostPort(a.host, a.port) }
