package mux

import (
	"errors"
	"log/slog"
	"slices"
	"time"

	"relaymux/mux/link"
	"relaymux/mux/wire"
	"relaymux/relay"
)

// finish takes in what an exchange brought, and draws the consequences.
func (l *linkLoop) finish(x *linkExchange) {
	d := x.d
	d.inFlight--
	d.ended()
	d.Account.inFlight.Add(-1)
	if x.probe {
		d.probes--
	}
	l.inFlight = slices.DeleteFunc(l.inFlight, func(y *linkExchange) bool { return y == x })
	now := time.Now()
	var brought delivery
	switch {
	case x.hello && x.failure == nil:
		l.shook(x)
	case x.hello:
		l.notTaken(x, now)
	case !x.stale && l.conn != nil:
		brought = l.takeIn(x, now)
	}
	link.Release(x.opened)
	x.answer.Release()
	l.unblock()
	l.judge(x, brought, now)
	l.trace.add(x.snapshot(now))
	if !x.hello && x.failure == nil {
		l.adapt(x, brought, now)
	}
}

// A delivery is what an exchange brought.
type delivery struct {
	answer *link.Answer
	bytes  int
	cut    bool
}

// takeIn gives the records of an answer to the link.
func (l *linkLoop) takeIn(x *linkExchange, now time.Time) (got delivery) {
	l.m.stats.Forged.Add(uint64(x.forged))
	before := l.conn.Received()
	conn := l.conn
	var err error
	l.taking, l.newly = x.id, 0
	got.answer, err = l.receive(x.opened, now)
	l.taking, x.reached, x.dialed = 0, l.newly, l.dialed
	if err != nil {
		x.failure = &relay.Failure{Kind: relay.Malformed, Detail: "protocol error", Err: err}
		return got
	}
	got.bytes = int(conn.Received() - before)
	if got.answer != nil && int(got.answer.Records) > len(x.opened) {
		got.cut = true
	}
	x.heard = true
	if !x.suspect {
		conn.ExchangeEnded(x.id)
	}
	if !l.uploading() {
		conn.DetectLost(l.late())
	}
	l.m.stats.Resent.Store(conn.Counts.Resent)
	if x.unknown || x.failure != nil && x.failure.Kind == relay.Refused {
		l.verify(x.d)
	}
	return got
}

// receive gives records to the link, and returns what they say of the answer. An
// error has ended the link.
func (l *linkLoop) receive(records []link.Record, now time.Time) (answer *link.Answer, err error) {
	l.answeredNow = 0
	for _, o := range records {
		if !l.replay.Fresh(o.Number) {
			l.m.stats.Forged.Add(1)
			continue
		}
		receipt, err := l.conn.Receive(now, o.Number, o.B)
		if err != nil && !errors.Is(err, link.ErrRefused) {
			l.m.log.Error("the node does not keep to the protocol: the link ends", "err", err)
			l.breakLink()
			return nil, err
		}
		if receipt.Answer != nil {
			answer = receipt.Answer
		}
		l.owed = l.owed || receipt.Owed
	}
	if l.answeredNow > 1 {
		l.crowd = now
	}
	return answer, nil
}

// uploading reports whether a large request is on its way. What is sent after it
// overtakes it, by as long as the line takes for it: that does not mean that it is
// lost.
func (l *linkLoop) uploading() bool {
	return slices.ContainsFunc(l.inFlight, func(x *linkExchange) bool { return x.up > measurable && !x.heard && !x.suspect })
}

// verify shakes hands anew: somebody says that the node has forgotten the link,
// which only its own seal can prove. It is asked by the way that says so, for that
// may lead to another node.
func (l *linkLoop) verify(d *deployment) {
	if l.hello == nil && l.conn != nil {
		if slices.Contains(l.ds, d) {
			l.claims = d
		}
		l.shakeHands(time.Now())
	}
}

// judge notes how x's deployment did.
func (l *linkLoop) judge(x *linkExchange, got delivery, now time.Time) {
	d, w := x.d, &x.d.line
	if f := x.failure; f != nil {
		if f.Kind == relay.Cancelled || x.stale { // a link that is no more says nothing of who carried it
			return
		}
		if f.Kind != relay.NoMemory { // which says nothing of the way
			if !x.hello && x.poll {
				w.holdLost(x.took, now)
			}
			l.avoid = d.Account
			if l.failing.IsZero() {
				l.failing = now
			}
		}
		// Who does not know the link any more is a node that began anew, if a handshake
		// proves it; if not, the failure of that is told. That a handshake is refused
		// again is no news.
		rumour := !x.hello && (x.unknown || f.Kind == relay.Refused) || x.repeated
		d.failedBy(l.m.log, f, x.took, x.bodyLen, l.ds, rumour)
		l.rest(now)
		l.pollAt, l.report = now, true // the node sends what was in it as soon as it knows
		return
	}
	l.failing = time.Time{}
	d.proven, d.reached, d.refused = d.proven || x.binary, true, false
	if got.answer != nil {
		x.held = time.Duration(min(got.answer.Held, 1<<32)) * time.Millisecond
	}
	path := x.learn(w, x.held)
	w.took(path)
	w.held(x.held, d.Limit, now)
	if x.Twice() { // the node may have answered the first, which nobody hears: it is to know that at once
		l.pollAt, l.report = now, true
	}
	if got.cut {
		w.room = max(w.room/2, roomLeast)
		l.m.log.Warn("deployment cuts large answers", "deployment", d.Name, "trying", w.room)
	}
	d.body.passed(x.bodyLen)
	d.worked(l.m.log, x.began, path, x.poll)
	l.rest(now)
	if l.m.log.Enabled(l.m.ctx, slog.LevelDebug) {
		l.m.log.Debug("exchange", "deployment", d.Name, "ops", x.ops, "poll", x.poll, "request_bytes", x.bodyLen,
			"payload_bytes", got.bytes, "took", x.took.Round(time.Millisecond).String(), "held", x.held.String())
	}
}

// learn has w learn from a good exchange, which the node held for so long, and
// returns how long it was on its way: from the request sent to the answer's first
// byte, for the bodies are as fast as the line.
func (x *linkExchange) learn(w *line, held time.Duration) (path time.Duration) {
	began, _ := x.Began()
	first, ok := x.First()
	ended, done := x.Ended()
	if !ok || !done {
		return max(x.took-held, time.Microsecond)
	}
	w.moved(&w.down, x.answerLen, ended.Sub(first))
	sent := began
	if wrote, ok := x.Wrote(); ok && x.bodyLen >= measurable && wrote.Before(first) {
		w.moved(&w.up, x.bodyLen, wrote.Sub(began))
		sent = wrote
	}
	return max(first.Sub(sent)-held, time.Microsecond)
}

// snapshot is what has become of x, which has ended now.
func (x *linkExchange) snapshot(now time.Time) ExchangeSnapshot {
	s := ExchangeSnapshot{
		Deployment: x.d.Name, Link: true, Kind: kindOf(x.failure), Poll: x.poll && !x.hello, Hello: x.hello, Ops: x.ops,
		Up: x.bodyLen, Down: x.answerLen, Queued: x.queued, Began: x.began, Took: x.took, Held: min(x.held, x.took), Reached: x.reached,
	}
	s.Wrote, s.First = timesOf(&x.Progress)
	if x.reached > 0 {
		s.Dial = max(0, min(s.Held, now.Sub(x.dialed)-(s.Took-s.Held)))
	}
	return s
}

// rest notes whether any deployment is left.
func (l *linkLoop) rest(now time.Time) { l.resting.Store(!anyUsable(l.ds, now)) }

// adapt decides how many exchanges the download fills, and when to ask next.
func (l *linkLoop) adapt(x *linkExchange, got delivery, now time.Time) {
	const stream = 256 << 10
	room := x.d.line.answerRoom()
	switch {
	case got.answer == nil:
	case got.bytes >= stream && got.answer.Pending > 0, got.bytes >= room/4*3:
		l.grow = min(max(2*l.grow, 4), l.growMost(&x.d.line))
	case got.bytes == 0, got.bytes < room/4 && got.answer.Pending == 0: // what is pending may be for somebody who does not read
		l.grow = max(1, l.grow-1)
	}
	wait := time.Duration(0)
	if got.bytes > 0 && got.bytes < stream {
		wait = pollWait(got.bytes, l.floor(), true)
	}
	switch {
	case got.bytes > 0 || x.up > 0:
		l.quiet = 0
	case x.hold <= writeWait: // it was not held: ask the more seldom, the longer nothing came
		l.quiet = min(max(2*l.quiet, l.floor()/4), 10*time.Second)
		wait = l.quiet
	}
	l.pollAt = now.Add(wait)
}

// idle reports whether nothing is under way.
func (l *linkLoop) idle() bool { return len(l.inFlight) == 0 && l.pipe == nil }

// waitMost is how long a flow may wait to be connected.
func (l *linkLoop) waitMost(now time.Time) time.Duration {
	if l.idle() {
		return waitMost(l.ds, now)
	}
	return openWait
}

// expire ends flows for want of a way: those that were never connected after
// waitMost, all of them after the grace.
func (l *linkLoop) expire(now time.Time) {
	for l.opening.len() > 0 {
		f := l.opening.peek()
		s := f.side.(*Stream)
		s.mu.Lock()
		done := s.opened || s.err != nil
		s.mu.Unlock()
		if !done && now.Sub(f.since) < l.waitMost(now) {
			break
		}
		l.opening.pop()
		if !done && f.state != gone && (l.idle() || !l.failing.IsZero() && now.Sub(l.failing) >= openWait/2) {
			s.fail(l.down())
			l.attend(f)
		}
	}
	if l.failing.IsZero() || l.forsaken.Equal(l.failing) || now.Sub(l.failing) < l.set.Grace {
		return
	}
	if l.open > 0 {
		l.m.log.Warn("no relay has worked for too long: open connections are reset", "for", l.set.Grace.String())
	}
	err := l.down()
	for _, f := range l.m.all(l.lane) {
		if f.state != gone && f.kind == wire.Data {
			f.side.fail(err)
			l.attend(f)
		}
	}
	l.forsaken = l.failing
}
