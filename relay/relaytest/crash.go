package relaytest

import (
	"net"
	"sync"
	"time"
)

// A mortal listener knows the connections that it has accepted, so that they can end as
// those of a process that is killed.
type mortalListener struct {
	net.Listener
	mu     sync.Mutex
	conns  []*Conn
	killed bool
}

func (l *mortalListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns = append(l.conns, c.(*Conn)); l.killed {
		c.(*Conn).Abort()
	}
	return c, nil
}

// kill ends all connections, also those that come until the listener is closed.
func (l *mortalListener) kill() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.killed = true
	for _, c := range l.conns {
		c.Abort()
	}
}

// RestartNode kills the node of a Stack in memory that is Mortal. Another one, which
// knows nothing of it, is at its place after a while.
func (s *Stack) RestartNode(away time.Duration) error {
	at := s.Exit.Host
	s.config.Memory.closeSocket(at) // no last words over UDP either
	s.mortal.kill()
	s.nodeStop()
	<-s.nodeEnded
	time.Sleep(away)
	ln, err := s.config.Memory.Listen(at)
	if err != nil {
		return err
	}
	_, err = s.startOurNode(ln)
	return err
}
