package mux

import (
	"time"

	"relaymux/mux/wire"
)

// sendOps sends a batch of what is ready, of polls that would not get a slot, and of
// closes as there is room.
func (l *loop) sendOps(d *deployment, now time.Time) {
	x := l.begin(d, now)
	room := l.bodyLimit(d, now)
	polls := l.takeAlong(x, now)
	kept := min(polls*pollSize, room/4)
	for most := l.most(x) - polls; len(x.ops) < most; {
		f := l.nextReady()
		if f == nil {
			break
		}
		w := f.side.wants()
		if w.queue != inReady {
			l.consider(f) // it changed its mind meanwhile
			continue
		}
		first, limit := len(x.ops) == 0, room-kept
		if w.whole {
			limit = room
		}
		op, fits := x.compose(f, limit)
		if !fits {
			if !first {
				break // the rest goes with the next
			}
			l.leave(f)
			l.fail(f, errNoRoom)
			continue
		}
		l.reserve(x, op, w.window)
		x.queued = max(x.queued, now.Sub(f.since))
		room -= wire.OpLen(op)
		l.odd = f.kind == wire.Data
		l.sent(f)
	}
	x.tells = len(x.ops)
	for ; x.tells > 0 && polls > 0; polls-- {
		f := l.nextPoll()
		if f == nil || f.pollAt.After(now) || room < wire.OpFrame+len(f.sid) {
			break
		}
		l.leave(f)
		room -= wire.OpLen(l.addPoll(x, f))
	}
	l.addCloses(x, room)
	l.send(x)
}

// pollSize is about what a poll takes of a body, with a sid of our node's.
const pollSize = wire.OpFrame + 26

// takeAlong is how many polls x should take along, half of its ops at most: of those that
// are due, if no slot is left for a poll. Uploads that take every slot that comes free would
// keep them waiting until they end; beside those they cost nothing, and are not held.
func (l *loop) takeAlong(x *exchange, now time.Time) int {
	if x.probe || !l.pollDue(now) {
		return 0
	}
	if spares(l.ds, now, x.d, holdReserve(l.ds, now, -1)) {
		return 0
	}
	return l.polls.due(now, l.most(x)/2)
}

// sent looks at f again, an op of which is in a batch now: it may poll beside its
// upload. If it has another datagram, that waits for its turn behind the other
// flows, but not as if it had just arrived.
func (l *loop) sent(f *flow) {
	last, before := l.last, l.before
	l.leave(f)
	l.consider(f)
	if f.queue == inReady {
		l.last, l.before = last, before
	}
}

// most is how many ops x may have that would be missed. A probe has one: what it
// costs if the deployment still does not work.
func (l *loop) most(x *exchange) int {
	if x.probe {
		return 1
	}
	return l.pacing.maxOps
}

// bodyLimit is how many encoded bytes the ops of one body may take.
func (l *loop) bodyLimit(d *deployment, now time.Time) int {
	limit := l.maxBytes
	if !d.ours {
		limit = min(limit, stockBody)
	}
	return d.body.limit(limit, now) - wire.BatchLen(d.Key.Reveal())
}

// reserve keeps a part of the memory budget for what op may bring, and tells
// our node to bring no more than that.
func (l *loop) reserve(x *exchange, op *wire.Op, window int) {
	most := pollMax(window, l.m.budget.Free())
	op.Max = uint64(most)
	if rtt := l.floor(); len(x.ops) == 1 && rtt > 0 { // once in a batch is enough
		op.RTT = max(uint64(rtt.Milliseconds()), 1)
	}
	charge := max(0, most-windowLeast)
	x.reserve += charge
	l.m.budget.Force(charge)
	l.m.promised.Add(int64(charge))
}

// addCloses fills a batch up with closes that wait for company.
func (l *loop) addCloses(x *exchange, room int) {
	for len(x.ops) < l.pacing.maxOps {
		f := l.nextClose()
		if f == nil {
			return
		}
		if room -= wire.OpFrame + len(f.sid); room < 0 && len(x.ops) > 0 {
			return
		}
		op := x.add(f, datagram{})
		op.Kind, op.SID, op.Rst = wire.Close, f.sid, f.side.reset()
		l.leave(f)
		f.state = closing
	}
}

// sendPolls sends a batch of polls, of all that want data by now, and of UDP
// flows that could wait: this way they need no exchange of their own.
func (l *loop) sendPolls(d *deployment, now time.Time) {
	x := l.begin(d, now)
	x.poll = true
	l.addPolls(x, func(f *flow) bool { return !f.pollAt.After(now) })
	if !x.probe {
		l.adopt(x, now)
	}
	l.addPolls(x, func(f *flow) bool { return f.kind != wire.Data })
	l.addCloses(x, l.bodyLimit(d, now))
	l.send(x)
}

// addPolls adds those that are next, as long as they may.
func (l *loop) addPolls(x *exchange, may func(*flow) bool) {
	for len(x.ops) < l.most(x) {
		f := l.nextPoll()
		if f == nil || !may(f) {
			return
		}
		l.leave(f)
		l.addPoll(x, f)
	}
}

func (l *loop) addPoll(x *exchange, f *flow) *wire.Op {
	op := x.add(f, datagram{})
	op.Kind, op.SID = f.kind, f.sid
	f.polls++
	l.reserve(x, op, f.window)
	return op
}

// adopt lets x ask for the flows of idle holds too, as there is room. A node
// of ours then answers those at once, for nobody listens there any more. So
// all idle flows end up in one exchange, however they came to be.
func (l *loop) adopt(x *exchange, now time.Time) {
	by := now.Add(-l.adoptAge())
	for _, h := range l.heldNow {
		room := l.pacing.maxOps - len(x.ops)
		if !h.adoptable(by) || len(h.flows) > room {
			continue
		}
		h.adopted = true
		for i, f := range h.flows {
			if h.ops[i].Kind == f.kind && f.state == open {
				l.addPoll(x, f)
			}
		}
	}
}

// adoptable reports whether h is held for nobody else yet, since then at least.
func (h *exchange) adoptable(since time.Time) bool {
	return !h.adopted && !h.began.After(since) && h.oursOnly()
}

// oursOnly reports whether all flows of x are at nodes of ours.
func (x *exchange) oursOnly() bool {
	for _, f := range x.flows {
		if !f.ours {
			return false
		}
	}
	return true
}

// begin starts an exchange through d, of which a slot is taken already.
func (l *loop) begin(d *deployment, now time.Time) *exchange {
	x := exchanges.Get().(*exchange)
	x.d, x.began = d, now
	if x.probe = d.parkedFor != 0; x.probe {
		d.probes++
	}
	return x
}

func (l *loop) send(x *exchange) {
	if len(x.ops) == 0 { // all of them changed their minds
		x.d.Account.sem.Release(1)
		if x.probe {
			x.d.probes--
		}
		x.free()
		return
	}
	if x.probe {
		x.d.asked = time.Time{}
		if x.poll && x.d.floor > 0 {
			x.d.asked = x.began
		}
	}
	x.d.body.sent(x.bodyMost(), x.began)
	l.number++
	for _, f := range x.flows {
		f.partake(l.number)
	}
	l.inFlight++
	x.d.inFlight++
	x.d.Account.inFlight.Add(1)
	if x.poll {
		l.heldNow = append(l.heldNow, x)
		l.m.stats.Polls.Add(1)
	}
	if q := x.d.Account.Quota; q != nil {
		q.Spend(x.began)
	}
	l.m.stats.Exchanges.Add(1)
	l.m.stats.Ops.Add(uint64(len(x.ops)))
	l.launch(x)
}

// bodyMost is the most bytes that the body of x may have.
func (x *exchange) bodyMost() int {
	n := wire.BatchLen(x.d.Key.Reveal())
	for i := range x.ops {
		n += wire.OpLen(&x.ops[i])
	}
	return n
}
