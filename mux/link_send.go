package mux

import (
	"slices"
	"time"

	"relaymux/mux/link"
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
	case lk.s.Unacked() == 0 || n >= interactive:
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
		busy: busy, slots: l.slots, rtt: l.floor(),
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
		d := l.pick(now, l.upReserve())
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
		d := l.pick(now, holdReserve)
		if d == nil {
			break
		}
		l.send(d, now)
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
func (l *linkLoop) upReserve() func(*deployment) int {
	for _, x := range l.inFlight {
		if x.up > heavySize && !x.heard {
			return holdReserve
		}
	}
	return noReserve
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
	return max(1, min(max(want, l.grow), l.slots-max(1, l.slots/5)))
}

// growMost is how many exchanges a download may fill: what the credit allows; or
// what the line carries, if it is known and little, for a body takes lineShare of
// it.
func (l *linkLoop) growMost(w *line) int {
	if w.answerRoom() >= w.room {
		return min(int(l.creditMost())/w.room+2, l.slots)
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

// hold is how long the node may hold an exchange by d. With a single slot it is for
// as long as an answer may take, and no longer: it is in the way of what is said
// next.
func (l *linkLoop) hold(d *deployment) time.Duration {
	switch {
	case l.slots > 1:
		return d.line.hold
	case l.expecting > 0:
		return writeWait
	}
	return 0
}

// writeWait is how long the answer to a request is waited for where nothing can be
// held; also a stock node waits so long.
const writeWait = 350 * time.Millisecond

// pick chooses a deployment and takes a slot of its account.
func (l *linkLoop) pick(now time.Time, reserve func(*deployment) int) *deployment {
	take := func(d *deployment) bool { return d.Account.take(now) }
	if l.avoid != nil {
		others := slices.DeleteFunc(slices.Clone(l.ds), func(d *deployment) bool { return d.Account == l.avoid })
		l.avoid = nil
		if anyUsable(others, now) {
			if d := pick(others, now, reserve, take); d != nil {
				return d
			}
		}
	}
	return pick(l.ds, now, reserve, take)
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
	x.id, x.hold, x.keys = l.number, l.hold(d), l.keys
	ask := l.ask(d, now)
	ask.Hold, ask.Next = uint64(x.hold.Milliseconds()), x.id
	if l.closing {
		x.hold, ask.Hold, ask.Keep = 0, 0, 0
	}
	l.pack()
	x.m = l.conn.Plan(now, x.id, &ask, link.Limits{Bytes: l.bodyLimit(d, x.binary), Ops: l.opsLimit(x)})
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
func (l *linkLoop) bodyLimit(d *deployment, binary bool) int {
	limit := l.maxBytes
	if d.maxBody > 0 {
		limit = min(limit, d.maxBody)
	}
	limit = d.line.bodyMost(limit)
	if !binary {
		limit = (limit - textFrame - len(d.Key)) / 4 * 3
	}
	return limit - link.RequestHead
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
		if l.opening.len() > 0 {
			due(l.opening.peek().since.Add(openWait))
		}
	}
	for _, d := range l.ds {
		due(d.retryAt())
		due(d.until)
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
