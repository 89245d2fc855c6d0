package mux

import (
	"time"

	"relaymux/mux/wire"
)

// A place in a line. It is f's only while turn is the flow's.
type place struct {
	f    *flow
	turn uint32
}

// line moves f into another line, or to the end of its own.
func (l *loop) line(f *flow, q queue) {
	l.leave(f)
	f.queue, f.since = q, time.Now()
	at := place{f, f.turn}
	switch q {
	case inReady:
		if l.count == 0 {
			l.before = l.last
		}
		l.last = f.since
		l.countReady(f, +1)
		if f.kind == wire.Data {
			l.ready.push(at)
		} else {
			l.packets.push(at)
		}
		if f.state == fresh {
			l.fresh.push(at)
		}
	case inPolls:
		f.polledFor = f.pollAt
		l.polls.push(at, f.pollAt)
	case inAbort:
		l.abort.push(at)
	case inLazy:
		l.lazy.push(at)
	case inLinger:
		l.linger.push(at)
	case inStalled:
		l.stall.push(at)
	}
}

// countReady counts f in or out of ready.
func (l *loop) countReady(f *flow, by int) {
	l.count += by
	if f.kind == wire.Data {
		l.streams += by
	}
	if f.urgent {
		l.urgent += by
	}
	l.ops += by * f.ops
	l.weight += by * f.weight
}

// leave takes f out of the line it stands in.
func (l *loop) leave(f *flow) {
	if f.queue == inReady {
		l.countReady(f, -1)
	}
	f.queue = inNone
	f.turn++
}

// letGo ends the loop's interest in f.
func (l *loop) letGo(f *flow) {
	if f.state == gone {
		return
	}
	l.leave(f)
	f.state = gone
	l.m.forget(f)
	f.side.dropped()
}

// front returns the first flow of a line, or nil.
func (l *loop) front(q *fifo[place]) *flow {
	for q.len() > 0 {
		if at := q.peek(); at.turn == at.f.turn {
			return at.f
		}
		q.pop()
	}
	return nil
}

// nextPoll returns the flow that asks for data first, or nil.
func (l *loop) nextPoll() *flow {
	for l.polls.len() > 0 {
		f := l.polls.first().f
		switch {
		case l.polls.first().turn != f.turn:
			l.polls.pop()
		case f.pollAt.After(f.polledFor): // put off since
			l.line(f, inPolls)
		default:
			return f
		}
	}
	return nil
}
