package mux

import (
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/link"
	"relaymux/mux/wire"
)

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

// Usage implements link.Handler.
func (l *linkLoop) Usage(tag, count uint64) {
	for _, d := range l.ds {
		if q := d.Account.Quota; q != nil && d.Account.tag == tag {
			q.Told(time.Now(), int(min(count, 1<<31)))
			return
		}
	}
}
