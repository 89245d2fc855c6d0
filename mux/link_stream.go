package mux

import (
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/link"
)

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
	l.upUrgent = true
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
