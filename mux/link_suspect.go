package mux

import (
	"time"

	"relaymux/relay"
)

// bodyPatience is how long a body that moves may still take, at least.
const bodyPatience = 10 * time.Second

// late is by how much exchanges overtake each other at most, on whatever way.
func (l *linkLoop) late() time.Duration {
	late, least, high := time.Second, time.Duration(0), time.Duration(0)
	now := time.Now()
	for _, x := range l.inFlight {
		if first, coming := x.First(); coming { // a body in motion: others may pass it
			late = max(late, now.Sub(first)+bodyPatience)
		}
	}
	for _, d := range l.ds {
		if d.line.n == 0 {
			continue
		}
		late = max(late, d.line.late())
		high = max(high, d.line.high)
		if least == 0 || d.line.least < least {
			least = d.line.least
		}
	}
	return max(late, 3*(high-least))
}

// suspect gives up exchanges that are silent for too long, and sends what they
// carry another way; and, within the budget for that, what is urgent in those
// that are merely slow.
func (l *linkLoop) suspect(now time.Time) {
	for _, x := range l.inFlight {
		if x.hello || x.suspect || x.stale {
			continue
		}
		if _, coming := x.First(); coming {
			continue // a body in motion is not late, however slow the line
		}
		switch at, hedge := l.suspectAt(x); {
		case now.Before(at):
		case hedge:
			x.hedged = true
			if !l.coming() && l.conn.Outstanding(x.id) && l.mayHedge(x, now) {
				l.hedged++
				l.m.stats.Hedged.Add(1)
				l.avoid = x.d.Account
				l.conn.ExchangeEnded(x.id)
			}
		default:
			l.giveUp(x)
			x.d.fail(&relay.Failure{Kind: relay.Timeout, Detail: "silent for too long"}, now.Sub(x.began), now)
			l.rest(now)
		}
	}
}

// coming reports whether an answer is on its way in, which may tell that what seems
// late has arrived.
func (l *linkLoop) coming() bool {
	for _, x := range l.inFlight {
		if _, coming := x.First(); coming {
			return true
		}
	}
	return false
}

// suspectAt is when to look at x again, and whether that is for a hedge.
func (l *linkLoop) suspectAt(x *linkExchange) (at time.Time, hedge bool) {
	from := x.began
	if wrote, ok := x.Wrote(); ok {
		from = wrote // a request in motion is not late either
	} else if _, ok := x.Began(); ok && x.up > measurable {
		from = time.Now()
	}
	w := &x.d.line
	if !x.hedged && x.up > 0 && x.up <= hedgeMost && w.n > 0 {
		return from.Add(max(2*w.high, w.least+time.Second)), true
	}
	return from.Add(x.hold + w.silence()), false
}

// hedgeMost is the largest request that is sent twice for being slow.
const hedgeMost = 64 << 10

// mayHedge reports whether the budget has one more, and another account is there.
func (l *linkLoop) mayHedge(x *linkExchange, now time.Time) bool {
	if (l.hedged+1)*100 > (l.sent+50)*uint64(l.set.HedgePercent) {
		return false
	}
	for _, d := range l.ds {
		if d.Account != x.d.Account && d.usable(now) && (d.Account.Quota == nil || d.Account.Quota.MayHedge(now)) {
			return true
		}
	}
	return false
}

// giveUp awaits nothing of x any more, though it keeps its slot for as long as the
// relay may work on it.
func (l *linkLoop) giveUp(x *linkExchange) {
	if x.suspect || x.hello {
		return
	}
	x.suspect = true
	l.avoid = x.d.Account
	l.m.stats.Suspected.Add(1)
	if l.conn != nil && !x.stale {
		l.conn.ExchangeEnded(x.id)
	}
	l.pollAt, l.report = time.Time{}, true
}
