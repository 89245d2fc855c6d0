package mux

import (
	"time"

	"relaymux/mux/wire"
	"relaymux/relay"
)

// settle draws the consequences of the outcome of x's i-th op for its flow.
func (l *loop) settle(f *flow, i int, x *exchange) {
	if x.ops[i].Kind == wire.Close {
		l.closed(f, &x.out[i])
		return
	}
	x.out[i].poll = i >= x.tells
	f.side.settle(l, &x.ops[i], &x.out[i], x, x.carried[i])
}

// closed settles a close. One that got lost goes out again, unless the program
// stops: the target would hear of the end only when its node forgets the flow.
func (l *loop) closed(f *flow, o *outcome) {
	now := time.Now()
	if f.failing.IsZero() {
		f.failing = now
	}
	if o.got || l.closing || now.Sub(f.failing) >= grace {
		l.letGo(f)
		return
	}
	f.state = open
	l.consider(f)
}

// settle implements side.
func (s *Stream) settle(l *loop, op *wire.Op, o *outcome, x *exchange, _ datagram) {
	f := &s.fl
	if o.poll {
		f.polls--
	} else {
		f.up = false
	}
	switch {
	case f.state >= closing:
		if !f.up {
			s.landed()
		}
		return
	case !o.got:
		l.lost(s, op, o, x)
	case op.Kind == wire.Data:
		l.answered(s, op, o, x)
	default:
		l.opened(s, op, o, x)
	}
	if f.state == open && !f.up && f.polls == 0 && s.view().gap {
		l.fail(&f.flow, ErrLost) // nothing is on its way that could bring what is missing
		return
	}
	l.consider(&f.flow)
}

// opened settles an op that asked for a session.
func (l *loop) opened(s *Stream, op *wire.Op, o *outcome, x *exchange) {
	f, d := &s.fl, x.d
	switch {
	case o.unsupported && op.Kind == wire.ConnectData:
		d.noData = true
		f.state, f.resend = fresh, f.flightLen > 0
	case o.err != nil || o.over && o.sid == nil:
		f.state = fresh // there is nothing to close
		s.landed()
		l.fail(&f.flow, orReset(o.err))
	default:
		f.state, f.sid, f.ours, f.failing = open, o.sid, o.ours, time.Time{}
		d.ours = o.ours // another node may have taken its place
		if op.Kind == wire.Connect && f.flightLen > 0 {
			f.resend = true // connect took no bytes along: they are due now
		} else {
			f.finDone, f.finAt = f.flightFin && o.ours, time.Now()
			s.landed()
		}
		l.answeredOpen(s, op, o, x)
	}
}

func orReset(err error) error {
	if err == nil {
		return ErrReset
	}
	return err
}

// answered settles a data op.
func (l *loop) answered(s *Stream, op *wire.Op, o *outcome, x *exchange) {
	f := &s.fl
	f.failing = time.Time{}
	if !o.poll {
		if f.flightLen > 0 {
			f.wseq++
		}
		if f.flightFin {
			f.finDone, f.finAt = true, time.Now()
		}
		s.landed()
	}
	l.answeredOpen(s, op, o, x)
}

// answeredOpen is what all RESULTs of a session have in common.
func (l *loop) answeredOpen(s *Stream, op *wire.Op, o *outcome, x *exchange) {
	f := &s.fl
	now := time.Now()
	f.jam = max(f.jam, o.jam)
	f.window = nextWindow(o.n, o.more, int(op.Max), o.poll)
	n := o.n
	if o.poll && n == 0 {
		n = min(x.brought, 1) // came back for another's sake: they all ask again together
	}
	f.pollAt = now.Add(pollWait(n, x.d.floor, f.ours))
	if o.poll && o.n == 0 && x.tells > 0 {
		f.pollAt = now.Add(2 * x.d.floor) // it rode along and was not held: not with each batch
	}
	switch v := s.view(); {
	case o.err != nil:
		s.fail(o.err)
		l.letGo(&f.flow)
	case o.over && v.over:
		s.fail(ErrReset) // in case that something was still to go there
		l.letGo(&f.flow)
	case o.over && v.eof:
		f.deaf = true
		s.discard()
	case f.finDone && o.n > 0:
		f.finAt = now
	case f.finDone && now.Sub(f.finAt) > f.halfWait():
		l.fail(&f.flow, ErrReset)
	}
}

// lost settles an op whose exchange failed. It goes out again if that cannot
// do harm: if the node has certainly not seen it; or if its session is at a
// node of ours, which ignores an upload that it has (wseq), and whose next
// RESULT shows by its offset whether bytes are missing.
func (l *loop) lost(s *Stream, op *wire.Op, o *outcome, x *exchange) {
	f := &s.fl
	now := time.Now()
	if f.failing.IsZero() {
		f.failing = now
	}
	safe := x.failure != nil && x.failure.Untouched
	if safe && x.failure.Kind == relay.TooLarge {
		l.tooLarge(s, o, x)
		return
	}
	switch {
	case op.Kind != wire.Data:
		// A connect that carries no bytes may be made twice: the session that
		// nobody knows of is reaped.
		f.state = fresh
		if (safe || f.flightLen == 0) && now.Sub(f.failing) < openWait {
			f.resend = f.flightLen > 0
			l.m.stats.Resent.Add(1)
			return
		}
		s.landed()
		l.fail(&f.flow, l.down())
	case (safe || f.ours) && now.Sub(f.failing) < grace:
		f.resend = f.resend || !o.poll
		if !o.poll && !safe && f.doubt.IsZero() {
			f.doubt = now
		}
		f.pollAt = now
		l.weigh(s, now)
		l.m.stats.Resent.Add(1)
	default:
		l.fail(&f.flow, ErrLost)
	}
}
