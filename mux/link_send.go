package mux

import (
	"time"
)

// While something of a flow is on its way, what it says next may wait a little for
// company, a part of a round trip: an eighth if it is little; a fifth if it is a key,
// of which five a second on a way of 1.5 s are then two an exchange, and no echo is
// later than 1.3 round trips.
const (
	littleShare = 8
	typingShare = 5
	typed       = 128 // bytes of a key, in whatever protocol
)

// noteUpload notes that n bytes of a flow, or its FIN, wait to be sent.
func (l *linkLoop) noteUpload(lk *linkFlow, n int) {
	wait := time.Duration(0)
	switch {
	case n >= interactive:
	case lk.s.Unacked() == 0:
		l.upUrgent = true
	case n > typed:
		wait = l.floor() / littleShare
	default:
		wait = l.floor() / typingShare
	}
	l.noteUp(lk, n, wait)
}

// noteDatagrams notes that n datagrams wait. Those that follow others wait for
// company, as a call's do.
func (l *linkLoop) noteDatagrams(f *flow, n int) {
	u := f.side.(*UDP)
	wait := time.Duration(0)
	if n < burst && u.fl.used > 0 && !l.udpQuiet() {
		wait = l.floor() / littleShare
	}
	l.noteUp(&u.lk, 0, wait)
	u.fl.used = min(u.fl.used+n, 1<<30)
	l.touchUDP(u, true)
}

// udpQuiet reports whether no exchange is under way that carries something up.
func (l *linkLoop) udpQuiet() bool {
	for _, x := range l.inFlight {
		if x.up > 0 && time.Since(x.began) < l.floor()/2 {
			return false
		}
	}
	return true
}

func (l *linkLoop) noteUp(lk *linkFlow, n int, wait time.Duration) {
	now := time.Now()
	if l.upSince.IsZero() {
		l.upBefore, l.upSince, l.upWait = l.upLast, now, wait
		l.upFlows, l.upBytes = 0, 0
	}
	l.upWait = min(l.upWait, wait)
	l.upBytes += n
	if lk.counted != l.number+1 { // once for each request
		lk.counted = l.number + 1
		if f := flowOf(lk.s); f != nil && !l.pipe.carries() {
			f.partake(l.number + 1)
		}
		l.upFlows++
		l.upLast = now
	}
}

// upAt is when what waits goes up.
func (l *linkLoop) upAt() time.Time {
	if l.upSince.IsZero() {
		return time.Time{} // what goes again, or what a window was missing for
	}
	if l.upWait > 0 {
		return l.upSince.Add(min(l.upWait, l.pacing.max))
	}
	busy := 0
	for _, x := range l.inFlight {
		if x.up > 0 && !x.heard {
			busy++
		}
	}
	g := gathering{
		ops: l.upFlows, bytes: l.upBytes, maxBytes: l.maxBytes,
		first: l.upSince, last: l.upLast, before: l.upBefore,
		busy: busy, slots: mostOf(l.ds), rtt: l.floor(),
	}
	if g.ops == 1 && l.upSince.Sub(l.crowd) < crowdPause {
		g.before = g.first // others have just been answered too, and will say something
	}
	at := l.pacing.fireAt(g)
	if alone := min(l.floor()/aloneShare, aloneMost); g.ops > 1 || alone >= timerGrain {
		at = later(at, l.upSince.Add(alone))
	}
	return at
}

// Who is alone on a quiet line waits for next to nothing: for what is said in the
// same breath. Where several flows were answered at once, they go on at about once.
const (
	aloneShare = 1000
	aloneMost  = 2 * time.Millisecond
	crowdPause = 30 * time.Millisecond
)

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// floor is about the shortest way there is, 0 if none is known.
func (l *linkLoop) floor() (least time.Duration) {
	for _, d := range l.ds {
		if w := d.line.least; w > 0 && (least == 0 || w < least) {
			least = w
		}
	}
	return least
}

// fire sends what should go now.
func (l *linkLoop) fire(now time.Time) {
	l.admit(now)
	l.expire(now)
	if l.conn == nil || l.hello != nil {
		l.shakeHands(now)
	}
	if l.conn == nil {
		return
	}
	l.suspect(now)
	if l.closing {
		l.sayGoodbye(now)
		return
	}
	soon := now.Add(timerGrain)
	l.keepPipe(now)
	if l.pipe.carries() {
		l.firePipe(now)
		return
	}
	for l.conn.HasData() && !l.upAt().After(now) {
		reserve := l.upReserve(now)
		if l.upUrgent && l.conn.Unsent() <= heavySize || l.hurries() {
			reserve = noReserve
		}
		d := l.pick(now, reserve)
		if d == nil {
			break
		}
		l.send(d, now)
	}
	if at, due := l.restAt(); due && !at.After(now) {
		if d := l.pick(now, noReserve); d != nil {
			l.send(d, now)
		}
	}
	for l.asks(now) && !l.pollAt.After(soon) {
		d := l.pick(now, holdReserve(l.ds, now, 0))
		if d == nil {
			break
		}
		l.send(d, now)
	}
	// Whether one works again somebody who has no way but the link finds out, or this.
	if l.resting.Load() && l.missed.Load() && anyUsable(l.ds, now) {
		if d := l.pick(now, noReserve); d != nil {
			l.missed.Store(false)
			l.send(d, now)
		}
	}
}

// firePipe is fire where a pipe stands.
func (l *linkLoop) firePipe(now time.Time) {
	for l.pipe.ahead < pipeAhead {
		at, due := l.restAt()
		if !l.conn.HasData() && !(due && !at.After(now)) && !l.report {
			return
		}
		l.sendPipe(now, pipeSilence)
	}
}

// timerGrain is what a timer takes at least in a process that is otherwise idle:
// waiting for less than that waits for more.
const timerGrain = time.Millisecond

// asks reports whether another exchange is wanted beside those that listen. While
// something waits for company it is not, for it would take that along.
func (l *linkLoop) asks(now time.Time) bool {
	switch {
	case l.report && l.active(now):
		return true
	case l.conn.HasData():
		return false
	}
	return l.listening() < l.wants(now)
}

// restAt is when what hardly matters goes by itself: resets, windows,
// acknowledgements of much.
func (l *linkLoop) restAt() (at time.Time, due bool) {
	if l.conn.WindowLow() {
		return time.Time{}, true
	}
	if l.conn.HasResets() {
		if l.resetSince.IsZero() {
			l.resetSince = time.Now()
		}
		return l.resetSince.Add(abortWait), true
	}
	l.resetSince = time.Time{}
	if len(l.later) > 0 {
		return l.laterSince.Add(lazyWait), true
	}
	const much = 1 << 20
	piped := l.pipe.carries()
	switch {
	case piped && l.unacked >= pipeAck:
		return time.Time{}, true
	case piped && !l.owed, !piped && (l.unacked < much || l.active(time.Now())):
		l.ackSince = time.Time{}
		return at, false
	}
	if l.ackSince.IsZero() {
		l.ackSince = time.Now()
	}
	if piped {
		return l.ackSince.Add(pipeAckWait), true
	}
	return l.ackSince.Add(lazyWait), true
}

// upReserve is what an upload leaves to others: as soon as one is under way, what
// polls do, so that a flood never delays an open or a key by a round trip.
func (l *linkLoop) upReserve(now time.Time) func(*deployment) int {
	for _, x := range l.inFlight {
		if x.up > heavySize && !x.heard {
			return holdReserve(l.ds, now, 0)
		}
	}
	return noReserve
}

// hurries reports whether something waits that is little, and a large upload behind it. It goes
// alone, for the rest would have it take as long as a large body does; but no more of these
// than there are slots kept for them, for the upload is to go on.
func (l *linkLoop) hurries() bool {
	if !l.upUrgent || l.conn.Unsent() <= heavySize {
		return false
	}
	left := reserveOf(mostOf(l.ds))
	for _, x := range l.inFlight {
		if x.hurried && !x.heard {
			left--
		}
	}
	return left > 0
}

// active reports whether something may come: from a target, or the word that what
// was sent has arrived, without which no more may be sent.
func (l *linkLoop) active(now time.Time) bool {
	return l.open > 0 || now.Before(l.udpUntil) || l.queries > 0 && now.Before(l.dnsUntil) || l.conn.Owing() > 0
}

// listening is how many exchanges may bring something.
func (l *linkLoop) listening() (n int) {
	now := time.Now()
	for _, x := range l.inFlight {
		if !x.suspect && !x.hello && !x.stale && now.Before(l.renewAt(x)) {
			n++
		}
	}
	return n
}

// renewAt is when another exchange should go in the place of x, so that it is there
// before x leaves the node: what comes between them would wait for a whole way.
func (l *linkLoop) renewAt(x *linkExchange) time.Time {
	return x.began.Add(x.hold - min(x.d.line.high-x.d.line.least+20*time.Millisecond, x.hold/4))
}

// wants is how many should: none if nothing is open, one if little happens, two
// if several flows wait for an answer, for these do not all come at once; and in
// a download as many as come back full.
func (l *linkLoop) wants(now time.Time) int {
	if !l.active(now) {
		return 0
	}
	want := 1
	if l.expecting > 1 || now.Sub(l.pushed) < pushesFor {
		want = 2
	}
	most := mostOf(l.ds)
	return max(1, min(max(want, l.grow), most-reserveOf(most)))
}

// growMost is how many exchanges a download may fill: what the credit allows; or
// what the line carries, if it is known and little, for a body takes lineShare of
// it.
func (l *linkLoop) growMost(w *line) int {
	if w.answerRoom() >= w.room {
		return min(int(l.creditMost())/w.room+2, mostOf(l.ds))
	}
	return 2 + int(w.least/lineShare)
}

// path is about the shortest way through d; of one that was never used, the
// shortest of all.
func (l *linkLoop) path(d *deployment) time.Duration {
	if d.line.least > 0 {
		return max(d.line.least, time.Millisecond)
	}
	return l.floor()
}

// pushesFor is how long after something came that was no answer another is likely
// enough to hold two exchanges: one would leave a gap of a round trip.
const pushesFor = 30 * time.Second

// hold is how long the node may hold the exchange that is about to go by d: for as long
// as an answer may take, but hardly if it would be in the way of what is said next.
// That waits for a slot; and, behind a large upload, for one that upReserve lets it have.
func (l *linkLoop) hold(d *deployment, now time.Time) time.Duration {
	reserve := noReserve
	if l.conn.Unsent() > heavySize {
		reserve = holdReserve(l.ds, now, -1)
	}
	probe := l.resting.Load() && d.parkedFor != 0 // which is to tell soon that d works again
	switch {
	case !probe && spares(l.ds, now, d, reserve):
		return d.line.hold
	case l.expecting > 0:
		return writeWait
	}
	return 0
}

// writeWait is how long the answer to a request is waited for where nothing can be
// held; also a stock node waits so long.
const writeWait = 350 * time.Millisecond
