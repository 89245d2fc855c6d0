package mux

import (
	"net/netip"
	"slices"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/link"
	"relaymux/mux/wire"
)

// A linkSide is what the two kinds of flow do differently on the link. It runs on
// the loop, and does not block.
type linkSide interface {
	side
	attend(l *linkLoop)
}

var (
	_ linkSide = (*Stream)(nil)
	_ linkSide = (*UDP)(nil)
)

// A linkFlow is what the link's loop alone knows of a flow, but for eaten.
type linkFlow struct {
	s         *link.Stream
	eaten     int // bytes that the application took since the loop looked; its flow's mu guards it
	window    link.Growth
	receiving bool      // counts in linkLoop.open
	expecting bool      // counts in linkLoop.expecting
	ended     bool      // the target has said its last
	later     bool      // its FIN waits for company
	counted   uint64    // the request that it was counted for, in linkLoop.upFlows
	came      time.Time // when something came last

	opened bool     // UDP: the node has told where the name leads, or nobody waits for it
	early  [][]byte // datagrams that came before that
}

// Windows of a TCP flow on the link: what the node may send it beyond what the
// application has taken. The first is enough for most objects of a page, and
// little enough that a hundred downloads which nobody reads leave room for
// others; it grows to what fills the path as soon as it was used up and read.
const (
	linkWindowFirst = 256 << 10
	linkWindowLeast = 32 << 10
)

func (l *linkLoop) firstWindow() int {
	return int(min(max(l.m.budget.Free()/512, linkWindowLeast), linkWindowFirst))
}

func flowOf(s *link.Stream) *flow {
	switch u := s.User.(type) {
	case *Stream:
		return &u.fl.flow
	case *UDP:
		return &u.fl.flow
	}
	return nil
}

// attend implements linkSide.
func (s *Stream) attend(l *linkLoop) {
	f, lk := &s.fl.flow, &s.lk
	s.mu.Lock()
	over, clean, started, fin := s.err != nil, s.clean, s.started, s.out.fin
	if lk.s == nil {
		s.mu.Unlock()
		switch {
		case over && (!clean || !started):
			l.letGo(f)
			return
		case !started:
			return
		case l.conn == nil:
			l.await(f)
			return
		}
		if err := l.dead.find(f.host, f.port); err != nil {
			s.fail(err)
			l.letGo(f)
			return
		}
		l.openStream(s)
		s.mu.Lock()
		over, clean, fin = s.err != nil, s.clean, s.out.fin
	}
	if over && !clean {
		s.mu.Unlock()
		lk.s.User = nil
		l.heard(lk)
		lk.s.Reset(link.Aborted, "")
		l.letGo(f)
		return
	}
	bufs, all := s.out.take(nil, l.room(lk.s))
	for _, b := range bufs {
		s.out.held -= len(b.B)
	}
	if len(bufs) > 0 {
		s.cond.Broadcast()
	}
	eaten := lk.eaten
	lk.eaten = 0
	s.mu.Unlock()
	for _, b := range bufs {
		l.noteUpload(lk, len(b.B))
		l.m.unacked.Force(cap(b.B))
		lk.s.Write(b, b.B)
	}
	if len(bufs) > 0 {
		l.expect(lk)
	}
	switch {
	case !all:
		l.block(f)
	case fin && lk.ended:
		l.sayLater(lk) // nobody waits for it
	case fin:
		l.noteUpload(lk, 0)
		lk.s.CloseWrite()
	}
	if eaten > 0 {
		lk.s.Consumed(eaten)
		lk.window.Renew(time.Now(), lk.s, l.floor(), int(l.creditMost()-min(l.creditMost(), l.conn.Held())))
	}
	l.closeSaid(s)
}

// closeSaid closes a stream whose application went after its last word, and whose
// target has not ended yet: whatever it still sends, nobody reads. The node may
// close once all that was said is written.
func (l *linkLoop) closeSaid(s *Stream) {
	s.mu.Lock()
	left := s.err != nil && s.clean && !s.in.ended
	s.mu.Unlock()
	if left && s.lk.s.Finished() {
		l.heard(&s.lk)
		s.lk.s.User = nil
		s.lk.s.Reset(link.Closed, "")
		l.letGo(&s.fl.flow)
	}
}

// digest tells the link what the application took of a stream that is otherwise
// over.
func (s *Stream) digest() {
	s.mu.Lock()
	eaten := s.lk.eaten
	s.lk.eaten = 0
	s.mu.Unlock()
	if eaten > 0 && s.lk.s != nil {
		s.lk.s.Consumed(eaten)
	}
}

// room is how many bytes of a stream may go to the link now: as many as the node
// takes in, so that what it does not waits with the application; within half of the
// memory that others leave; and one buffer in any case, so that there is something
// to go on with.
func (l *linkLoop) room(s *link.Stream) int {
	held := s.Unacked()
	most := min(s.Room(), int(l.m.unacked.Free()+int64(held))/2-held)
	if s.Unsent() == 0 {
		most = max(most, buf.Max)
	}
	return most
}

// block has a flow looked at again after the next exchange.
func (l *linkLoop) block(f *flow) {
	if f.queue == inNone {
		f.queue = inStalled
		l.blocked = append(l.blocked, f)
	}
}

// unblock looks again at flows that had more to say than the link took.
func (l *linkLoop) unblock() {
	list := l.blocked
	l.blocked = nil
	for _, f := range list {
		f.queue = inNone
		l.attend(f)
	}
}

func (l *linkLoop) openStream(s *Stream) {
	f, lk := &s.fl.flow, &s.lk
	s.mu.Lock()
	tell := s.waits
	s.mu.Unlock()
	first := l.firstWindow()
	lk.window = l.pool.Grow(first)
	lk.s = l.conn.Open(f.host, f.port, false, tell, first)
	lk.s.User = s
	f.state, f.since = open, time.Now()
	l.opening.push(f)
	if l.open == 0 && !l.failing.IsZero() {
		l.failing = f.since // nobody has tried since the latest failure: that was no outage
	}
	lk.receiving = true
	l.open++
	l.expect(lk)
	l.noteUp(lk, 0, 0)
}

// sayLater has a FIN go with whatever goes next, or after a while by itself.
func (l *linkLoop) sayLater(lk *linkFlow) {
	if lk.later {
		return
	}
	lk.later = true
	if len(l.later) == 0 {
		l.laterSince = time.Now()
	}
	l.later = append(l.later, lk.s)
}

// expect notes that an answer is due.
func (l *linkLoop) expect(lk *linkFlow) {
	if lk.receiving && !lk.expecting {
		lk.expecting = true
		l.expecting++
	}
}

// answered notes that it came.
func (l *linkLoop) answered(lk *linkFlow) {
	if lk.expecting {
		lk.expecting = false
		l.expecting--
	}
}

// heard notes that nothing more comes.
func (l *linkLoop) heard(lk *linkFlow) {
	l.answered(lk)
	if lk.receiving {
		lk.receiving = false
		l.open--
	}
}

// attend implements linkSide.
func (u *UDP) attend(l *linkLoop) {
	f, lk := &u.fl.flow, &u.lk
	u.mu.Lock()
	u.dropStale()
	n, over, dead := u.out.len(), u.over, u.dead
	u.mu.Unlock()
	if lk.s == nil {
		switch {
		case over && n == 0 || dead:
			l.letGo(f)
			return
		case n == 0:
			return
		case l.conn == nil:
			l.await(f)
			return
		}
		lk.s = l.conn.Open(f.host, f.port, true, false, 0)
		lk.s.User = u
		f.state = open
		l.noteUp(lk, 0, 0)
	}
	if n > 0 {
		l.noteDatagrams(f, n)
		lk.s.Offer()
		return
	}
	if over {
		lk.s.User = nil
		if u.fl.used <= hardlyUsed {
			lk.s.ResetQuietly()
		} else {
			lk.s.Reset(link.Aborted, "")
		}
		l.letGo(f)
	}
}

// How long a UDP flow counts as open after its last datagram, so that an exchange
// is held for what may come. A query of DNS has one answer, and nothing follows.
const (
	udpOpen    = time.Minute
	udpOpenDNS = 10 * time.Second
)

// touchUDP notes that a datagram went, or came.
func (l *linkLoop) touchUDP(u *UDP, went bool) {
	switch now := time.Now(); {
	case u.fl.port != portDNS:
		l.udpUntil = now.Add(udpOpen)
	case went:
		l.dnsUntil = now.Add(udpOpenDNS)
		if !u.lk.expecting {
			u.lk.expecting = true
			l.queries++
		}
	default:
		l.replied(u)
	}
}

// replied notes that a DNS flow awaits nothing any more.
func (l *linkLoop) replied(u *UDP) {
	if u.fl.port == portDNS && u.lk.expecting {
		u.lk.expecting = false
		l.queries--
	}
}

// Open implements link.Handler: a node does not.
func (l *linkLoop) Open(s *link.Stream) {}

// Opened implements link.Handler.
func (l *linkLoop) Opened(ls *link.Stream) {
	switch u := ls.User.(type) {
	case *Stream:
		u.mu.Lock()
		l.reached(u)
		u.mu.Unlock()
	case *UDP:
		u.bring(ls.Addr(), u.lk.early)
		u.lk.early, u.lk.opened = nil, true
	}
}

// Data implements link.Handler.
func (l *linkLoop) Data(ls *link.Stream, b *buf.Buf, p []byte) {
	l.unacked += len(p)
	s, _ := ls.User.(*Stream)
	if s == nil || !l.receiveFor(s, b, p) {
		b.Release()
		ls.Consumed(len(p))
		return
	}
	if l.taking != 0 {
		s.fl.partake(l.taking)
	}
	now := time.Now()
	if !s.lk.expecting && now.Sub(s.lk.came) > l.floor() {
		l.pushed = now
	}
	if !s.lk.came.Equal(now) {
		l.answeredNow++
	}
	s.lk.came = now
	l.answered(&s.lk)
}

// reached notes that the node has reached the target of s, whose mu is held.
func (l *linkLoop) reached(s *Stream) {
	if !s.reach() {
		return
	}
	if l.newly == 0 || s.fl.since.Before(l.dialed) {
		l.dialed = s.fl.since
	}
	l.newly++
}

// receiveFor takes over b, of which p is a part, for the application of s, if there
// still is one.
func (l *linkLoop) receiveFor(s *Stream, b *buf.Buf, p []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return false
	}
	l.reached(s)
	s.m.budget.Force(cap(b.B))
	s.m.stats.Down.Add(uint64(len(p)))
	s.fl.moved.down.Add(uint64(len(p)))
	s.in.own(b, p)
	s.serve()
	return true
}

// End implements link.Handler.
func (l *linkLoop) End(ls *link.Stream, rst bool) {
	s, _ := ls.User.(*Stream)
	if s == nil {
		return
	}
	l.heard(&s.lk)
	s.lk.ended = true
	s.mu.Lock()
	l.reached(s)
	s.in.finish(s.in.next)
	s.in.rst = rst
	s.serve()
	s.cond.Broadcast()
	s.mu.Unlock()
}

// Reset implements link.Handler.
func (l *linkLoop) Reset(ls *link.Stream, code link.Code, detail string) {
	f := flowOf(ls)
	if f == nil {
		return
	}
	ls.User = nil
	err := resetError(code, detail)
	if s, ok := f.side.(*Stream); ok {
		l.heard(&s.lk)
		if dial, ok := err.(*wire.DialError); ok && dial.Reason != wire.Failed { // which may be a limit of the node
			l.dead.add(f.host, f.port, dial)
		}
	} else if u := f.side.(*UDP); err != ErrReset {
		u.refuse(err)
		u.lk.s, f.state = nil, fresh
		return
	} else {
		// Its time was up at the node, or nobody listens there: the next datagram opens another.
		u.lk.s, f.state = nil, fresh
		u.countEnds()
		l.attend(f)
		return
	}
	f.side.fail(err)
	l.letGo(f)
}

// resetError is why the node ended a stream.
func resetError(code link.Code, detail string) error {
	if r, ok := code.Reason(); ok {
		return &wire.DialError{Reason: r, Detail: printable([]byte(detail))}
	}
	if code == link.Limited {
		return &wire.DialError{Reason: wire.Failed, Detail: printable([]byte(detail))}
	}
	return ErrReset
}

// Over implements link.Handler.
func (l *linkLoop) Over(ls *link.Stream) {
	if f := flowOf(ls); f != nil {
		if s, ok := f.side.(*Stream); ok {
			l.heard(&s.lk)
		}
		l.letGo(f)
	}
}

// Acked implements link.Handler.
func (l *linkLoop) Acked(ls *link.Stream, n int) {
	if s, ok := ls.User.(*Stream); ok {
		l.closeSaid(s)
	}
}

// Datagrams implements link.Handler.
func (l *linkLoop) Datagrams(ls *link.Stream, _ *buf.Buf, pkts [][]byte) {
	if u, ok := ls.User.(*UDP); ok {
		u.fl.heard = true
		if l.taking != 0 {
			u.fl.partake(l.taking)
		}
		if !u.awaitsSource(pkts) {
			u.bring(netip.Addr{}, pkts)
		}
		l.touchUDP(u, false)
	}
}

// What waits of the datagrams of a name for the word of where they come from, which
// left the node before them and was overtaken.
const (
	earlyMost  = 16
	earlyBytes = 64 << 10
)

// awaitsSource reports whether pkts wait for that word, which it then keeps copies
// for. With more than a little nothing waits any more.
func (u *UDP) awaitsSource(pkts [][]byte) bool {
	lk := &u.lk
	if !u.named || lk.opened {
		return false
	}
	bytes := 0
	for _, p := range pkts {
		lk.early = append(lk.early, slices.Clone(p))
	}
	for _, p := range lk.early {
		bytes += len(p)
	}
	if len(lk.early) > earlyMost || bytes > earlyBytes {
		u.bring(netip.Addr{}, lk.early)
		lk.early, lk.opened = nil, true
	}
	return true
}

// Pull implements link.Handler.
func (l *linkLoop) Pull(ls *link.Stream, room int) (*buf.Buf, []byte, bool) {
	u, ok := ls.User.(*UDP)
	if !ok {
		return nil, nil, true
	}
	u.mu.Lock()
	u.dropStale()
	u.mu.Unlock()
	d, fits := u.next(room, room >= largestDatagram)
	if d.b == nil && fits {
		l.emptied = append(l.emptied, &u.fl.flow)
	}
	return d.b, d.p, fits
}

// largestDatagram is what every record has room for.
const largestDatagram = 65505

// Usage implements link.Handler.
func (l *linkLoop) Usage(tag, count uint64) {
	for _, d := range l.ds {
		if q := d.Account.Quota; q != nil && d.Account.tag == tag {
			q.Told(time.Now(), int(min(count, 1<<31)))
			return
		}
	}
}
