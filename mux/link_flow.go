package mux

import (
	"time"

	"relaymux/mux/link"
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

func flowOf(s *link.Stream) *flow {
	switch u := s.User.(type) {
	case *Stream:
		return &u.fl.flow
	case *UDP:
		return &u.fl.flow
	}
	return nil
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
