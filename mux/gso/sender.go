package gso

import (
	"net/netip"
	"sync"

	"relaymux/mux/buf"
	"relaymux/mux/stats"
)

// A Sender is the queue in front of a Conn, in arrival order, and the goroutine
// that empties it, which is there only while there is something to send.
type Sender struct {
	c      Conn
	most   int
	st     *stats.UDP
	failed func(error)

	mu      sync.Mutex
	queue   []Train
	bytes   int
	tail    Train
	running bool
	closed  bool
	done    sync.WaitGroup
}

// NewSender returns a Sender for c in which at most most bytes wait: then the
// oldest go, and are counted. failed, which may be nil, hears once, on the
// Sender's goroutine, of the error that ended c.
func NewSender(c Conn, most int, st *stats.UDP, failed func(error)) *Sender {
	return &Sender{c: c, most: most, st: st, failed: failed}
}

// Reserve returns room for a datagram of at most n bytes to peer, to be filled
// in place. It must be followed by Commit or Abort, soon: until then everybody
// else waits. n is at most 65,535. It returns nil, and nothing must follow, when
// the Sender is closed.
func (s *Sender) Reserve(peer netip.AddrPort, n int) []byte {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.tail = Train{Peer: peer, Buf: buf.Get(n)}
	return s.tail.Buf.B[:n]
}

// Commit queues the first n bytes of what Reserve returned.
func (s *Sender) Commit(n int) {
	defer s.mu.Unlock()
	s.tail.Buf.B = s.tail.Buf.B[:n]
	s.queue = append(s.queue, s.tail)
	s.bytes += n
	for len(s.queue) > 1 && s.bytes > s.most {
		s.bytes -= len(s.queue[0].Buf.B)
		s.queue[0].Buf.Release()
		s.queue = s.queue[1:]
		s.st.Drop(stats.DropQueue, 1)
	}
	if !s.running {
		s.running = true
		s.done.Go(s.run)
	}
}

// Abort gives up what Reserve returned.
func (s *Sender) Abort() {
	s.tail.Buf.Release()
	s.mu.Unlock()
}

func (s *Sender) run() {
	for {
		s.mu.Lock()
		if len(s.queue) == 0 || s.closed {
			s.running = false
			s.mu.Unlock()
			return
		}
		t := s.queue[0]
		s.queue = s.queue[1:]
		s.bytes -= len(t.Buf.B)
		s.mu.Unlock()
		_, err := s.c.WriteTrains([]Train{t})
		t.Buf.Release()
		if err != nil && s.failed != nil {
			s.failed(err)
		}
	}
}

// Close drops what waits and returns when the goroutine has ended. The Conn, if
// its writes can block, must be closed before.
func (s *Sender) Close() {
	s.mu.Lock()
	s.closed = true
	for _, t := range s.queue {
		t.Buf.Release()
	}
	s.queue = nil
	s.mu.Unlock()
	s.done.Wait()
}
