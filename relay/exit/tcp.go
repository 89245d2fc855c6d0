package exit

import (
	"context"
	"net"
	"sync"
	"time"

	"relaymux/mux/wire"
)

// A tcpSession is one TCP connection to a target. Ops only put bytes into its
// queues and take bytes out of them; the target is dialled by a goroutine
// (dial.go), read by another (read.go), and written to by a third, which is
// there while there is something to write (write.go).
//
// Life: dialing, then open; each direction ends on its own. It goes when both
// have ended and the client has been told (settle), at the client's close, or
// by abort.
type tcpSession struct {
	core
	stop context.CancelFunc // ends the dial
	room sync.Cond          // down has shrunk, or the session is over

	rtt     time.Duration // to the target, as far as the dial tells
	came    time.Time     // when the target sent last
	conn    net.Conn      // nil until the dial has succeeded
	jam     uint64        // odd: the client was told that the target does not read (wire.Result)
	down    download
	up      upload
	closing bool // closed by the client, and flushing what it had sent
	reset   bool // ended by abort: not a clean end
}

// connect makes a session for o, its first bytes queued and its dial begun. The
// error is a limit's, and what the client may read.
func (n *Node) connect(o *wire.Op) (*tcpSession, error) {
	if err := n.mayDial(n.keyUse); err != nil {
		n.count.refused.Add(1)
		return nil, err
	}
	s := newTCPSession(n)
	ctx, stop := context.WithTimeout(n.ctx, dialLimit)
	s.stop = stop
	host, port := string(o.Host), o.Port
	err := n.table.add(s, n.keyUse, func() { n.work.Go(func() { s.dial(ctx, host, port) }) })
	if err != nil {
		stop()
		n.count.refused.Add(1)
		return nil, err
	}
	s.upload(o)
	return s, nil
}

func newTCPSession(n *Node) *tcpSession {
	s := &tcpSession{core: newCore(n)}
	s.room.L = &s.mu
	s.down.claim = claim{budget: n.downloads, of: &n.keyUse.downloads}
	s.up.claim = claim{budget: n.uploads, of: &n.keyUse.uploads}
	return s
}

// look tells how far t, of x, has got.
func (s *tcpSession) look(x *exchange, t *task) stage {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.share(x, t); t.relieved {
		return settled
	}
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
func (s *tcpSession) pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down.size
}

// take fills in r for t: at most limit bytes of what the target sent, and where
// things stand. The pieces that r's Data lies in are appended to taken.
func (s *tcpSession) take(t *task, limit int, r *wire.Result, taken []piece) []piece {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != "" {
		s.tellFailure(t, r)
		return taken
	}
	if s.begin(r); r.Pend {
		return taken
	}
	if t.barren && !s.over {
		return taken
	}
	taken = s.down.take(limit, r, taken)
	s.off += uint64(r.Len())
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
func (s *tcpSession) close(o *wire.Op) uint64 {
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
	return s.off
}

// abort resets the session: the target gets an RST, and so will the app.
func (s *tcpSession) abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.abortLocked()
}

// lost resets a session that a lost answer leaves in no good state: its bytes
// were in it, or nobody has learned its sid now.
func (s *tcpSession) lost(t *task) {
	if t.connect || t.drained > 0 {
		s.abort()
	}
}

// expired reports whether neither the client nor the target has been heard of for
// too long. What goes through the gateway is reaped apart.
func (s *tcpSession) expired() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g, ok := s.conn.(*gateway); ok {
		g.reap()
	}
	return time.Since(s.active) > s.node.reapAfter
}
