package mux

import (
	"slices"
	"time"

	"relaymux/mux/wire"
)

// bodyLeast is the smallest body that is tried with a relay that refuses larger
// ones. Who refuses that refuses everything.
const bodyLeast = 64 << 10

// alone is how many bytes a body has at d that has only what f has on its way.
func (l *loop) alone(f *tcpFlow, d *deployment) int {
	return wire.BatchLen(d.Key.Reveal()) + wire.OpFrame + len(f.sid) + wire.Base64Len(f.flightLen)
}

// takers are the deployments that may be used and are not known to refuse that; refused
// reports whether others are.
func (l *loop) takers(f *tcpFlow, now time.Time) (takers []*deployment, refused bool) {
	for _, d := range l.ds {
		switch {
		case !d.Account.allowed(now):
		case d.body.learned > 0 && l.alone(f, d) > d.body.learned:
			refused = true
		default:
			takers = append(takers, d)
		}
	}
	return takers, refused
}

// tooLarge settles an op whose body the relay refused for its size: what it took
// along goes back, and out again in smaller bodies (judge has learned that).
func (l *loop) tooLarge(s *Stream, o *outcome, x *exchange) {
	f := &s.fl
	if f.state == opening {
		f.state = fresh
	}
	now := time.Now()
	takers, _ := l.takers(f, now)
	switch {
	case o.poll && now.Sub(f.failing) < grace:
		f.pollAt = now.Add(time.Second) // a poll is as small as it can be
		return
	case o.poll:
		l.fail(&f.flow, l.down())
		return
	case x.bodyLen <= bodyLeast || now.Sub(f.failing) >= grace || !f.doubt.IsZero() && len(takers) == 0:
		s.landed()
		l.fail(&f.flow, l.down())
		return
	case !f.doubt.IsZero():
		f.resend = true // as it was: it is not what was too large, or another takes it
		l.weigh(s, now)
	default:
		s.unload()
	}
	l.m.stats.Resent.Add(1)
}

// weigh has what s has on its way wait for a relay that takes it, if it has to go again
// as it was and another is known to refuse it.
func (l *loop) weigh(s *Stream, now time.Time) {
	f := &s.fl
	if !f.resend || f.doubt.IsZero() || f.large {
		return
	}
	takers, refused := l.takers(f, now)
	if f.large = refused && len(takers) > 0; f.large {
		l.large = append(l.large, s)
	}
}

// sendLarge sends each of those by such a relay, alone.
func (l *loop) sendLarge(now time.Time) {
	l.large = slices.DeleteFunc(l.large, func(s *Stream) bool {
		f := &s.fl
		f.large = false
		w := s.wants()
		if w.queue != inReady {
			return true // it has been given up, or its target takes nothing now
		}
		takers, _ := l.takers(f, now)
		if len(takers) == 0 || now.Sub(f.doubt) >= grace {
			s.landed()
			f.resend = false
			l.fail(&f.flow, l.down())
			return true
		}
		d := pick(takers, now, noReserve, (*deployment).take)
		if f.large = d == nil; f.large {
			return false
		}
		x := l.begin(d, now)
		op, _ := x.compose(&f.flow, l.bodyLimit(d, now)) // the first fits always
		l.reserve(x, op, w.window)
		x.tells, x.queued = 1, now.Sub(f.doubt)
		l.sent(&f.flow)
		l.send(x)
		return true
	})
}
