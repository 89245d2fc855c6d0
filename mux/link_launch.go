package mux

import (
	"slices"
	"time"

	"relaymux/mux/link"
	"relaymux/mux/wire"
)

// pick chooses a deployment and takes a slot of its account.
func (l *linkLoop) pick(now time.Time, reserve func(*deployment) int) *deployment {
	if l.avoid != nil {
		others := slices.DeleteFunc(slices.Clone(l.ds), func(d *deployment) bool { return d.Account == l.avoid })
		l.avoid = nil
		if anyUsable(others, now) {
			if d := pick(others, now, reserve, (*deployment).take); d != nil {
				return d
			}
		}
	}
	return pick(l.ds, now, reserve, (*deployment).take)
}

func anyUsable(ds []*deployment, now time.Time) bool {
	return slices.ContainsFunc(ds, func(d *deployment) bool { return d.usable(now) })
}

// begin starts an exchange through d, of which a slot is taken.
func (l *linkLoop) begin(d *deployment, now time.Time) *linkExchange {
	x := &linkExchange{d: d, began: now, binary: d.binary()}
	if x.probe = d.parkedFor != 0; x.probe {
		d.probes++
	}
	return x
}

// send makes a request of what there is, and sends it.
func (l *linkLoop) send(d *deployment, now time.Time) {
	x := l.begin(d, now)
	l.number++
	x.id, x.hold, x.keys = l.number, l.hold(d, now), l.keys
	ask := l.ask(d, now)
	ask.Hold, ask.Next = uint64(x.hold.Milliseconds()), x.id
	if l.closing {
		x.hold, ask.Hold, ask.Keep = 0, 0, 0
	}
	if !l.upSince.IsZero() {
		x.queued = now.Sub(l.upSince)
	}
	l.pack()
	limit := l.bodyLimit(d, x.binary, now)
	if x.hurried = limit > measurable && l.hurries(); x.hurried {
		limit = bodySmall
	}
	x.m = l.conn.Plan(now, x.id, &ask, link.Limits{Bytes: limit, Ops: l.opsLimit(x)})
	d.body.sent(x.bodyMost(), now)
	x.up = x.m.Payload
	x.ops = x.m.Ops
	x.poll = x.m.Empty()
	l.packed()
	l.launch(x)
}

// ask is what every request begins with, but for how long it may be held.
func (l *linkLoop) ask(d *deployment, now time.Time) link.Ask {
	ask := link.Ask{
		Keep: uint64(l.wants(now)), Room: uint64(d.line.answerRoom()),
		Path: uint64(l.path(d).Milliseconds()), Reorder: uint64(l.late().Milliseconds()),
		Tag: d.Account.tag, Next: l.number + 1,
	}
	for _, y := range l.inFlight {
		if !y.hello && !y.suspect && !y.stale {
			ask.Awaited = append(ask.Awaited, y.id)
		}
	}
	if p := l.pipe; p != nil && !p.gone {
		if p.stands {
			ask.Keep = 0
		}
		if i, found := slices.BinarySearch(ask.Awaited, p.id); !found {
			ask.Awaited = slices.Insert(ask.Awaited, i, p.id)
		}
	}
	return ask
}

// pack is called before a request is planned, packed after it.
func (l *linkLoop) pack() {
	for i, s := range l.later {
		s.CloseWrite()
		l.later[i] = nil
	}
	l.later = l.later[:0]
}

func (l *linkLoop) packed() {
	l.unacked, l.owed, l.report = 0, false, false
	l.upUrgent = false
	if !l.conn.HasData() {
		l.upSince = time.Time{}
	}
	l.resetSince, l.ackSince = time.Time{}, time.Time{}
	for _, f := range l.emptied {
		l.attend(f)
	}
	l.emptied = l.emptied[:0]
}

// opsLimit is one for a probe: what it costs if the deployment still does not work.
func (l *linkLoop) opsLimit(x *linkExchange) int {
	if x.probe {
		return 1
	}
	return l.pacing.maxOps
}

// bodyLimit is how many sealed bytes one body may have.
func (l *linkLoop) bodyLimit(d *deployment, binary bool, now time.Time) int {
	limit := d.line.bodyMost(d.body.limit(l.maxBytes, now))
	if !binary {
		limit = (limit - textFrame - len(d.Key.Reveal())) / 4 * 3
	}
	return limit - link.RequestHead
}

// bodyMost is the most bytes that the body of a request may have.
func (x *linkExchange) bodyMost() int {
	n := link.RequestHead + x.m.SealedLen()
	if !x.binary {
		n = wire.Base64Len(n) + textFrame + len(x.d.Key.Reveal())
	}
	return n
}

func (l *linkLoop) launch(x *linkExchange) {
	d := x.d
	l.inFlight = append(l.inFlight, x)
	d.inFlight++
	d.Account.inFlight.Add(1)
	if q := d.Account.Quota; q != nil {
		q.Spend(x.began)
	}
	l.sent++
	l.m.stats.Exchanges.Add(1)
	l.m.stats.Ops.Add(uint64(x.ops))
	if x.poll {
		l.m.stats.Polls.Add(1)
	}
	if x.hello {
		x.first = l.first
	}
	go l.m.carryLink(x, l.done)
}

// sayGoodbye tells the node of all ends, and calls back what it holds.
func (l *linkLoop) sayGoodbye(now time.Time) {
	if l.told {
		return
	}
	if len(l.inFlight) == 0 && !l.conn.HasData() && !l.conn.HasResets() {
		l.told = true
		return
	}
	if d := l.pick(now, noReserve); d != nil {
		l.told = true
		l.send(d, now)
	}
}

// arm sets the timer to when something is due next.
func (l *linkLoop) arm(now time.Time) {
	next := now.Add(time.Minute)
	due := func(t time.Time) {
		if t.After(now) && t.Before(next) {
			next = t
		}
	}
	if l.waiting.len() > 0 {
		due(l.waiting.peek().since.Add(openWait))
	}
	if l.conn == nil || l.hello != nil {
		due(l.again)
	}
	if !l.failing.IsZero() {
		due(l.failing.Add(l.set.Grace))
	}
	if l.opening.len() > 0 {
		due(l.opening.peek().since.Add(openWait))
	}
	for _, d := range l.ds {
		due(d.retryAt())
		due(d.until)
		due(d.Account.restsUntil(now))
	}
	if l.conn != nil {
		if l.conn.HasData() {
			due(l.upAt())
		}
		if at, ok := l.restAt(); ok {
			due(at)
		}
		switch p := l.pipe; {
		case p != nil && !p.gone:
			at, _ := p.doubtAt(l.conn.FlyingBytes())
			due(at)
		case p == nil:
			due(l.pipeAt)
		}
		if l.pipe != nil {
			due(l.pipeUsed.Add(pipeIdle))
		}
		if l.active(now) && !l.pipe.carries() {
			due(l.pollAt)
			for _, x := range l.inFlight {
				due(l.renewAt(x))
			}
		}
		due(l.udpUntil)
		due(l.dnsUntil)
		for _, x := range l.inFlight {
			if !x.hello && !x.suspect && !x.stale {
				at, _ := l.suspectAt(x)
				due(at)
			}
		}
	}
	l.timer.Reset(next.Sub(now))
}
