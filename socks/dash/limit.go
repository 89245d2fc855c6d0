package dash

import (
	"net"
	"sync"
)

// A limited is a listener of which only so many connections are open at once; others
// wait in the system's queue. Each has a time limit, so that none waits for ever.
type limited struct {
	net.Listener
	room   chan struct{} // holds one for each that is open
	closed chan struct{}
	once   sync.Once
}

func limit(ln net.Listener, most int) *limited {
	return &limited{Listener: ln, room: make(chan struct{}, most), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.room <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.room
		return nil, err
	}
	return &counted{Conn: conn, leave: sync.OnceFunc(func() { <-l.room })}, nil
}

// Close implements net.Listener.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// A counted is a connection that makes room when it is closed.
type counted struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
