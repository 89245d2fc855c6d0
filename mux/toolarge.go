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

// takers are the deployments that may be used and are not known to refuse that.
func (l *loop) takers(f *tcpFlow, now time.Time) (list []*deployment) {
	for _, d := range l.ds {
		if d.Account.allowed(now) && (d.body.learned == 0 || l.alone(f, d) <= d.body.learned) {
			list = append(list, d)
		}
	}
	return list
}

// tooLarge settles an op whose body the relay refused for its size: what it took
// along goes back, and out again in smaller bodies (judge has learned that).
func (l *loop) tooLarge(s *Stream, o *outcome, x *exchange) {
	f := &s.fl
	if f.state == opening {
		f.state = fresh
	}
	now := time.Now()
	switch {
	case o.poll && now.Sub(f.failing) < grace:
		f.pollAt = now.Add(time.Second) // a poll is as small as it can be
		return
	case o.poll:
		l.fail(&f.flow, l.down())
		return
	case x.bodyLen <= bodyLeast || now.Sub(f.failing) >= grace || f.doubt && len(l.takers(f, now)) == 0:
		s.landed()
		l.fail(&f.flow, l.down())
		return
	case f.doubt:
		f.resend = true // as it was: it is not what was too large, or another takes it
		l.weigh(s, now)
	default:
		s.unload()
	}
	l.m.stats.Resent.Add(1)
}

// weigh has what s has on its way wait for a relay that takes it, if it has to go again
// as it was and some do not.
func (l *loop) weigh(s *Stream, now time.Time) {
	f := &s.fl
	if n := len(l.takers(f, now)); f.resend && f.doubt && f.large.IsZero() && n > 0 && n < len(l.ds) {
		f.large = now
		l.large = append(l.large, s)
	}
}

// sendLarge sends each of those by such a relay, alone.
func (l *loop) sendLarge(now time.Time) {
	l.large = slices.DeleteFunc(l.large, func(s *Stream) bool {
		f := &s.fl
		takers := l.takers(f, now)
		switch {
		case f.state != open:
		case len(takers) == 0 || now.Sub(f.large) >= grace:
			s.landed()
			f.resend = false
			l.fail(&f.flow, l.down())
		default:
			d := pick(takers, now, noReserve, (*deployment).take)
			if d == nil {
				return false
			}
			x := l.begin(d, now)
			op, _ := x.compose(&f.flow, l.bodyLimit(d, now)) // the first fits always
			l.reserve(x, op, s.wants().window)
			x.tells, x.queued = 1, now.Sub(f.large)
			l.sent(&f.flow)
			l.send(x)
		}
		f.large = time.Time{}
		return true
	})
}
