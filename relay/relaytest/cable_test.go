package relaytest

import (
	"bytes"
	"context"
	"net"
	"sync"
	"syscall"
	"time"
)

// A cable is the client's line to everywhere, as far as TCP goes: what it dials.
type cable struct {
	network *Network

	mu      sync.Mutex
	state   cut
	changed chan struct{} // closed when state changes; made in the bubble
}

// A cut is what is wrong with a cable. The zero value is nothing.
type cut struct {
	silent  bool // nothing gets through, and nothing says so
	refused bool // connecting fails at once, and what is open breaks
	rate    int  // bytes per second of each connection
	reset   int  // each connection breaks after so many bytes,
	stall   int  // or goes silent for good
}

func (b *cable) set(c cut) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state = c
	if b.changed != nil {
		close(b.changed)
	}
	b.changed = make(chan struct{})
}

func (b *cable) now() (cut, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed == nil {
		b.changed = make(chan struct{})
	}
	return b.state, b.changed
}

// connect is a StackConfig's Dial.
func (b *cable) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	for {
		c, changed := b.now()
		switch {
		case c.refused:
			return nil, opError("dial", memAddr(addr), syscall.ECONNREFUSED)
		case c.silent:
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		conn, err := b.network.Dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &strand{Conn: conn.(*Conn), cable: b, closed: make(chan struct{})}, nil
	}
}

// A strand is a connection through a cable.
type strand struct {
	*Conn
	cable  *cable
	once   sync.Once
	closed chan struct{}

	mu    sync.Mutex
	since <-chan struct{} // which state moved counts for
	moved int
	dead  bool // it has gone silent for good

	queue  [][]byte // written, and not carried yet; the first is being carried
	failed error    // of what was
}

func (s *strand) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if n > 0 {
		if failed := s.pass(n); failed != nil {
			return 0, failed
		}
	}
	return n, err
}

// Write returns at once, as a system takes what a line does not carry yet: who writes may
// hold a lock that others want, and virtual time does not go on while one is waited for.
func (s *strand) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return 0, s.failed
	}
	if c, _ := s.cable.now(); c == (cut{}) && len(s.queue) == 0 && !s.dead {
		return s.Conn.Write(p)
	}
	if s.queue = append(s.queue, bytes.Clone(p)); len(s.queue) == 1 {
		go s.flush()
	}
	return len(p), nil
}

// flush writes what Write has taken.
func (s *strand) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) > 0 {
		p := s.queue[0]
		s.mu.Unlock()
		err := s.pass(len(p))
		if err == nil {
			_, err = s.Conn.Write(p)
		}
		s.mu.Lock()
		if s.queue = s.queue[1:]; err != nil {
			s.failed, s.queue = err, nil
		}
	}
}

func (s *strand) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Conn.Close()
}

// pass returns when n bytes have got through.
func (s *strand) pass(n int) error {
	for {
		c, changed := s.cable.now()
		dead, cut := s.count(c, changed, n)
		if cut || c.refused {
			s.Abort()
			return opError("read", s.LocalAddr(), syscall.ECONNRESET)
		}
		if !dead && !c.silent {
			if c.rate > 0 {
				return s.wait(time.Duration(n) * time.Second / time.Duration(c.rate))
			}
			return nil
		}
		if dead {
			changed = nil
		}
		select {
		case <-changed:
			n = 0 // counted
		case <-s.closed:
			return opError("read", s.LocalAddr(), net.ErrClosed)
		}
	}
}

// count counts bytes since the cable was last changed.
func (s *strand) count(c cut, changed <-chan struct{}, n int) (dead, cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since != changed {
		s.since, s.moved = changed, 0
	}
	s.moved += n
	s.dead = s.dead || c.stall > 0 && s.moved > c.stall
	return s.dead, c.reset > 0 && s.moved > c.reset
}

// wait is for the time that bytes take.
func (s *strand) wait(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-s.closed:
		return opError("read", s.LocalAddr(), net.ErrClosed)
	}
}
