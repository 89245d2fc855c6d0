package gso

import (
	"errors"
	"math/bits"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"relaymux/mux/stats"
)

// A Sender is the queue in front of a Conn, in arrival order, and the goroutine
// that empties it, which is there only while there is something to send. While
// that waits for the system, what arrives gathers into trains: the busier the
// socket, the longer they are, and no timer holds anything back.
//
// Its methods are safe for concurrent use.
type Sender struct {
	c      Conn
	st     *stats.UDP
	failed func(error)
	loop   func() // run, bound once: to start it allocates nothing

	mu      sync.Mutex
	queue   queue
	paced   bool
	spent   int       // of paceCost, by run
	since   time.Time // when that began
	running bool
	closed  bool    // by Close, or because c has ended
	batch   []Train // of run
	refused bool    // failed has heard of ECONNREFUSED
	done    sync.WaitGroup
}

// senderBatch is how many trains go to the Conn at a time: where they are short,
// because there are many peers, one system call carries several.
const senderBatch = 16

// NewSender returns a Sender for c which holds at most most bytes of buffers,
// those that are being sent included, or the newest datagram if that alone is
// larger: beyond, the oldest trains go, and are counted as stats.DropQueue.
// A train's buffer may be four times as large as its content, 512 bytes at least,
// or as large as that of its peer's last train. 512 KiB is the least with which
// trains reach their full length.
//
// failed, which may be nil, is called on the Sender's goroutine, and must not
// call Close. It hears once of the error that ended c, after which Reserve
// returns nil, and at most once, before, of a connected peer's ECONNREFUSED,
// which ends nothing.
func NewSender(c Conn, most int, st *stats.UDP, failed func(error)) *Sender {
	if st == nil {
		st = new(stats.UDP)
	}
	s := &Sender{c: c, st: st, failed: failed, queue: queue{limit: most}}
	s.loop = s.run
	return s
}

// Pace makes s spare receivers that have no more than the system's default
// receive buffer, as the programs of this machine, whom nothing else slows it
// down for: of what gathered while an exchange was under way, most would be
// lost there, unseen. It is called before anything else.
func (s *Sender) Pace() { s.paced = true }

// A paced Sender sends paceCost in one go, three quarters of what Linux counts
// for a default receive buffer (net.core.rmem_default, 212,992), and then lets a
// millisecond pass: about 70 datagrams of 1,200 bytes, or 85 MB/s.
const (
	paceCost = 160 << 10
	paceTime = time.Millisecond
)

// cost is about what Linux counts for a datagram of n bytes in a receive buffer:
// memory for headers, content and its own data (struct skb_shared_info) in a
// power of two, and the struct sk_buff.
func cost(n int) int { return 1<<bits.Len(uint(n+420-1)) + 256 }

// Reserve returns room for a datagram of at most n bytes to peer, to be filled
// in place. It must be followed by Commit or Abort, soon: until then everybody
// else waits. n is at most 65,535. On a connected socket peer is the zero value.
// It returns nil, and nothing must follow, when the Sender is closed or its
// Conn has ended.
func (s *Sender) Reserve(peer netip.AddrPort, n int) []byte {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	return s.queue.reserve(peer, n, s.running)
}

// Commit queues the first n bytes of what Reserve returned, which may be none:
// an empty datagram. It never blocks.
func (s *Sender) Commit(n int) {
	defer s.mu.Unlock()
	s.queue.commit(n)
	if dropped := s.queue.overflow(); dropped > 0 {
		s.st.Drop(stats.DropQueue, dropped)
	}
	if !s.running {
		s.running = true
		s.done.Add(1)
		go s.loop()
	}
}

// Abort gives up what Reserve returned.
func (s *Sender) Abort() {
	s.queue.abort()
	s.mu.Unlock()
}

func (s *Sender) run() {
	defer s.done.Done()
	for ts := s.take(); len(ts) > 0; ts = s.take() {
		if s.paced {
			s.pause(costs(ts))
		}
		_, err := s.c.WriteTrains(ts)
		if s.finish(ts, err) && s.failed != nil {
			s.failed(err)
		}
	}
}

// pause waits, if it must, before something is sent that costs next.
func (s *Sender) pause(next int) {
	now := time.Now()
	if age := now.Sub(s.since); age < paceTime {
		if s.spent += next; s.spent <= paceCost {
			return
		}
		time.Sleep(paceTime - age)
		now = time.Now()
	}
	s.spent, s.since = next, now
}

func costs(ts []Train) (sum int) {
	for i := range ts {
		t := &ts[i]
		last := t.Count() - 1
		sum += last*cost(t.Size) + cost(len(t.At(last)))
	}
	return sum
}

// take returns the next trains to send. There are none when the queue is empty,
// and then this goroutine counts as gone.
func (s *Sender) take() []Train {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue.len() == 0 {
		s.running = false
		return nil
	}
	if s.batch == nil {
		s.batch = make([]Train, senderBatch)
	}
	if s.paced {
		return s.batch[:s.queue.take(s.batch[:1])]
	}
	return s.batch[:s.queue.take(s.batch)]
}

// finish releases trains that were written, and reports whether failed is to
// hear of what came of it.
func (s *Sender) finish(ts []Train, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue.done(ts)
	switch {
	case err == nil || s.closed:
		return false
	case errors.Is(err, syscall.ECONNREFUSED):
		first := !s.refused
		s.refused = true
		return first
	}
	s.end(stats.DropSocket)
	return true
}

// end drops what waits and lets nothing more in.
func (s *Sender) end(why stats.Drop) {
	s.closed = true
	for s.queue.len() > 0 {
		t := s.queue.pop()
		s.st.Drop(why, t.Count())
		s.queue.done([]Train{t})
	}
}

// Close drops what waits and returns when the goroutine has ended. The Conn, if
// its writes can block, must be closed before.
func (s *Sender) Close() {
	s.mu.Lock()
	s.end(stats.DropEnded)
	s.mu.Unlock()
	s.done.Wait()
}
