package exit

import (
	"context"
	"crypto/rand"
	"net"
	"slices"
	"sync"
	"time"

	"relaymux/mux/wire"
)

// A session is one TCP connection to a target. Ops only put bytes into its
// queues and take bytes out of them; the target is dialled by a goroutine
// (dial.go), read by another (read.go), and written to by a third, which is
// there while there is something to write (write.go).
//
// Life: dialing, then open; each direction ends on its own. It goes when both
// have ended and the client has been told (settle), at the client's close, or
// by abort.
type session struct {
	id   string
	sid  []byte // the same, for results
	node *Node
	stop context.CancelFunc // ends the dial

	mu      sync.Mutex
	room    sync.Cond // down has shrunk, or the session is over
	waiters []*exchange
	poller  *exchange // of the waiters, the newest batch of polls
	active  time.Time // of the last op or byte

	rtt     time.Duration // to the target, as far as the dial tells
	came    time.Time     // when the target sent last
	conn    net.Conn      // nil until the dial has succeeded
	dialing bool
	owed    bool   // the client was told that the dial is pending
	jam     uint64 // odd: it was told that the target does not read (wire.Result)
	failure string // why it failed: "connect failed: ..."
	down    download
	up      upload
	closing bool // closed by the client, and flushing what it had sent
	reset   bool // ended by abort: not a clean end
	over    bool // the socket is closed and the queues are empty
}

// connect makes a session for o, its first bytes queued and its dial begun. The
// error is a limit's, and what the client may read.
func (n *Node) connect(o *wire.Op) (*session, error) {
	if !n.dials.Allow() {
		n.count.refused.Add(1)
		return nil, errDialRate
	}
	s := newSession(n)
	ctx, stop := context.WithTimeout(n.ctx, dialLimit)
	s.stop = stop
	host, port := string(o.Host), o.Port
	err := n.table.add(s, func() { n.work.Go(func() { s.dial(ctx, host, port) }) })
	if err != nil {
		stop()
		n.count.refused.Add(1)
		return nil, err
	}
	s.upload(o)
	return s, nil
}

func newSession(n *Node) *session {
	id := rand.Text()
	s := &session{id: id, sid: []byte(id), node: n, dialing: true, active: time.Now()}
	s.room.L = &s.mu
	s.down.claim.budget, s.up.claim.budget = n.downloads, n.uploads
	return s
}

// attach has x woken by every change. A batch of polls takes the place of the
// one before: the client has moved the flow there (relieved).
func (s *session) attach(x *exchange, polling bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if polling {
		for _, w := range s.waiters {
			w.signal() // the poll before is relieved, a bulk upload need not wait
		}
		s.poller = x
	}
	if !slices.Contains(s.waiters, x) {
		s.waiters = append(s.waiters, x)
	}
}

func (s *session) detach(x *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.waiters, x); i >= 0 {
		s.waiters = slices.Delete(s.waiters, i, i+1)
	}
	if s.poller == x {
		s.poller = nil
	}
}

// name fills in whose result r is, and how far the session has got.
func (s *session) name(r *wire.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.SID, r.HasOff, r.Off = s.sid, true, s.down.off
}

// touch notes a sign of the client.
func (s *session) touch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = time.Now()
}

// look tells how far t, of x, has got.
func (s *session) look(x *exchange, t *task) stage {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.polls && s.poller != nil && s.poller != x {
		t.relieved = true
	}
	if t.relieved {
		return settled
	}
	t.shared = len(s.waiters) > 1
	t.ripe = time.Time{}
	if wait := ripe(s.down.size, s.rtt, x.way); wait > 0 && !s.down.ended {
		t.ripe = s.came.Add(wait)
	}
	switch {
	case s.over, s.failure != "":
		return news
	case s.dialing:
		return waiting
	case t.barren, t.flood, s.owed:
		return news
	case s.jam%2 == 1 && !s.up.clogged():
		return news
	case t.write && s.up.clogged() && s.down.size == 0:
		return blocked
	case t.write && s.up.clogged():
		return waiting
	case s.down.told:
		return told
	case s.down.size > 0, s.down.ended:
		return news
	case t.bulk && len(s.waiters) > 1:
		return settled // another exchange holds the poll that will carry the answer
	}
	return waiting
}

// pending is how much a drain could take.
func (s *session) pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down.size
}

// take fills in r for t: at most limit bytes of what the target sent, and where
// things stand. The pieces that r's Data lies in are appended to taken.
func (s *session) take(t *task, limit int, r *wire.Result, taken []piece) []piece {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != "" {
		s.tellFailure(t, r)
		return taken
	}
	r.SID, r.HasOff, r.Off = s.sid, true, s.down.off
	if s.dialing && !s.over {
		s.owed, r.Pend = true, true
		return taken
	}
	s.owed = false
	if t.barren && !s.over {
		return taken
	}
	taken = s.down.take(limit, r, taken)
	if !t.relieved {
		r.More = uint64(s.down.size)
		if s.up.clogged() != (s.jam%2 == 1) {
			s.jam++
		}
		r.Jam = s.jam
	}
	s.room.Signal()
	if r.EOF = s.over || s.down.ended && s.down.size == 0; r.EOF {
		r.Rst = s.reset || s.down.rst
		s.down.told = true
		s.settle()
	}
	return taken
}

// close carries out the client's close: what it had sent still goes out, unless
// it wants a reset or the target was not even reached. It returns the offset
// that the downloads had got to.
func (s *session) close(o *wire.Op) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget()
	s.closing = true
	s.down.drop()
	switch {
	case o.Rst:
		s.hardClose()
	case s.conn == nil || s.up.done || !s.up.writing:
		s.shut()
	default:
		_ = s.conn.SetWriteDeadline(time.Now().Add(flushLimit)) // fails only on a closed one
	}
	s.wake()
	return s.down.off
}

// abort resets the session: the target gets an RST, and so will the app.
func (s *session) abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.abortLocked()
}
