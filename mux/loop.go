package mux

import "time"

// The loop is the goroutine that gathers ops. It waits for three things: a
// flow has something new; a slot came free, with the outcome of its
// exchange; time is up for something that waited. After each it sends what
// should go now. All of its fields are its own. The lines that flows stand in are in
// loop_lines.go, what comes of an exchange and of waiting in vain in loop_end.go.
type loop struct {
	m        *Mux
	lane     *lane
	ds       []*deployment
	pacing   pacing
	maxBytes int             // of a body
	launch   func(*exchange) // starts its worker

	// Flows that stand in line, each in at most one of these (flow.queue). Who
	// has left a line is passed over when that place comes up.
	ready   fifo[place] // has an op that should go soon: TCP flows
	packets fifo[place] // the same: UDP flows
	fresh   fifo[place] // of both, who asks for a session
	polls   schedule    // wants data; by flow.pollAt
	abort   fifo[place] // a close, of a flow that was given up; waits abortWait for company
	lazy    fifo[place] // a close, which rides with others or waits lazyWait for that
	linger  fifo[place] // the same, of a UDP flow that was hardly used; goes with others or not at all
	stall   fifo[place] // wants nothing; the node must not take that for its end

	large []*Stream // stand beside that in any of these; their uploads wait for some relays (toolarge.go)

	count   int       // flows that stand in ready and packets
	streams int       // of these, the TCP ones
	odd     bool      // the next op is of a UDP flow, if both are there
	urgent  int       // of these, who should not wait for more of the same
	ops     int       // that those in ready have
	weight  int       // encoded bytes of these, about
	last    time.Time // the newest arrival in ready
	before  time.Time // the arrival before the oldest in ready

	number   uint64 // of the latest exchange
	inFlight int    // exchanges
	trace    trace
	heldNow  []*exchange // of which polls, the oldest first
	timer    *time.Timer
	quit     <-chan struct{} // closed: end everything; nil once that is known
	dead     <-chan struct{} // closed: at once; nil likewise
	closing  bool
}

const (
	// lazyWait is how long a close may wait for another op's company. An
	// exchange of its own would cost as much as one that carries data.
	lazyWait = 2 * time.Second

	// abortWait is the same for a flow that was given up, whose target may still
	// be working for nobody. It lets the connections of a closed page go together.
	abortWait = 100 * time.Millisecond

	// lingerWait is how long the close of a UDP flow that was hardly used, one
	// query and one answer, waits for company; then it is not told at all. What
	// its node has of it is a socket, which it reaps by itself.
	lingerWait = time.Minute

	// lingerMost is how many flows there may be that are over for their
	// applications and wait for something: 1 KB each.
	lingerMost = 1024

	// signEvery is how often the node gets a sign of life of a flow that wants
	// nothing: its application does not read, or its target has said all. A
	// node reaps after three minutes or more.
	signEvery = time.Minute

	// openWait is how long a flow may wait to be sent at all, when no
	// deployment works, before its application is told.
	openWait = 30 * time.Second

	// grace is how long an open flow survives that all its exchanges fail.
	grace = 2 * time.Minute

	// halfWait is how long a flow whose application has said its last is asked
	// for more without getting any: the application may be gone altogether,
	// which looks the same. A stock node, which knows no half-close, cannot
	// even know that an answer is due.
	halfWait      = 10 * time.Minute
	halfWaitStock = 30 * time.Second

	// stockBody is what a stock node accepts (2,097,152 bytes), less what the
	// node's key may be longer than the script's, which it takes the place of.
	stockBody = 2<<20 - 1<<10
)

func (l *loop) run() {
	defer close(l.lane.gone)
	l.timer = time.NewTimer(time.Hour)
	defer l.timer.Stop()
	l.quit = l.m.quit
	l.dead = l.m.ctx.Done()
	for !l.over() {
		l.wait()
		now := time.Now()
		l.fire(now)
		l.arm(now)
	}
	for _, f := range l.m.all(l.lane) {
		l.letGo(f)
	}
}

func (l *loop) wait() {
	select {
	case f := <-l.lane.wake:
		l.note(f)
	case x := <-l.m.done:
		l.finish(x)
	case look := <-l.lane.look:
		look()
	case <-l.timer.C:
	case <-l.quit:
		l.close()
	case <-l.dead:
		l.dead = nil
	}
	l.catchUp()
}

// over reports whether the loop may end: nothing is in flight, and the node
// knows of all that ended, or there is no more time to tell it.
func (l *loop) over() bool {
	return l.closing && l.inFlight == 0 && (l.nextClose() == nil && l.count == 0 || l.m.ctx.Err() != nil)
}

// catchUp takes in what else has happened, so that it can travel together. It
// is bounded by the channel's size, for flows do not stop talking.
func (l *loop) catchUp() {
	for range wakeQueue {
		select {
		case f := <-l.lane.wake:
			l.note(f)
		case x := <-l.m.done:
			l.finish(x)
		default:
			return
		}
	}
}

func (l *loop) close() {
	l.quit, l.closing = nil, true
	for _, f := range l.m.all(l.lane) {
		f.side.stop()
		l.consider(f)
	}
}

func (l *loop) note(f *flow) {
	f.noted.Store(false)
	l.consider(f)
}

// consider puts f in the line where it belongs now, or lets it go.
func (l *loop) consider(f *flow) {
	if f.state == gone {
		return
	}
	w := f.side.wants()
	if w.over {
		l.letGo(f)
		return
	}
	if w.queue == inReady {
		if f.queue == inReady {
			l.countReady(f, -1)
		}
		f.ops, f.urgent, f.weight = w.ops, w.urgent, w.weight
		if f.queue == inReady {
			l.countReady(f, +1)
		}
	}
	if w.queue != f.queue || w.queue == inPolls && f.pollAt.Before(f.polledFor) {
		l.line(f, w.queue)
	}
}

// fire sends what should go now.
func (l *loop) fire(now time.Time) {
	l.expire(now)
	l.sendLarge(now)
	for l.count > 0 && !l.readyAt().After(time.Now()) {
		d := l.pick(now, l.opsReserve(now))
		if d == nil {
			break
		}
		l.sendOps(d, now)
	}
	l.showSigns(now)
	for l.pollDue(now) {
		d := l.pick(now, l.pollReserve(now))
		if d == nil {
			break
		}
		l.sendPolls(d, now)
	}
	if f := l.nextClose(); f != nil && !l.closeAt(f).After(now) {
		if d := l.pick(now, noReserve); d != nil {
			l.sendOps(d, now)
		}
	}
}

// showSigns lets stalled flows whose time has come poll for next to nothing.
func (l *loop) showSigns(now time.Time) {
	for {
		f := l.front(&l.stall)
		if f == nil || now.Sub(f.since) < signEvery {
			return
		}
		f.window, f.pollAt = windowSign, now
		l.line(f, inPolls)
	}
}

// pick chooses a deployment and takes a slot of its account.
func (l *loop) pick(now time.Time, reserve func(*deployment) int) *deployment {
	return pick(l.ds, now, reserve, (*deployment).take)
}

// nextReady is the flow whose op is next, or nil: TCP and UDP take turns, however
// many flows of one there are.
func (l *loop) nextReady() *flow {
	s, u := l.front(&l.ready), l.front(&l.packets)
	if s == nil || u != nil && l.odd {
		return u
	}
	return s
}

// readyAt is when the batch that ready and packets make should go; they are not
// both empty.
func (l *loop) readyAt() time.Time {
	first := l.nextReady().since
	for _, q := range []*fifo[place]{&l.ready, &l.packets} {
		if f := l.front(q); f != nil && f.since.Before(first) {
			first = f.since
		}
	}
	g := gathering{
		ops: l.ops, bytes: l.weight, maxBytes: l.maxBytes,
		first: first, last: l.last, before: l.before, patient: l.urgent == 0,
		busy: l.inFlight - len(l.heldNow), slots: mostOf(l.ds), rtt: l.floor(),
	}
	return l.pacing.fireAt(g)
}

// floor is about the shortest round trip there is, 0 if none is known.
func (l *loop) floor() (rtt time.Duration) {
	for _, d := range l.ds {
		if d.floor > 0 && (rtt == 0 || d.floor < rtt) {
			rtt = d.floor
		}
	}
	return rtt
}

func (l *loop) pollDue(now time.Time) bool {
	f := l.nextPoll()
	return f != nil && !f.pollAt.After(now) && !l.pollsAt().After(now)
}

// pollsAt is from when on another poll may go: when there are as many holds as
// may be, it must relieve one of them.
func (l *loop) pollsAt() time.Time {
	if l.holds() < maxHolds(mostOf(l.ds)) {
		return time.Time{}
	}
	for _, h := range l.heldNow {
		if !h.adopted && h.oursOnly() {
			return h.began.Add(l.adoptAge())
		}
	}
	return time.Now().Add(time.Hour) // until one comes back
}

// holds is how many exchanges are held, those left out that a newer one has
// relieved.
func (l *loop) holds() (n int) {
	for _, h := range l.heldNow {
		if !h.adopted {
			n++
		}
	}
	return n
}

// adoptAge is how old a hold must be to be relieved by a newer one.
func (l *loop) adoptAge() time.Duration {
	if l.holds() < maxHolds(mostOf(l.ds)) {
		return idleAge(l.floor())
	}
	return 2 * l.floor()
}

// nextClose is the flow whose close is due first, or nil.
func (l *loop) nextClose() (next *flow) {
	for _, q := range []*fifo[place]{&l.abort, &l.lazy, &l.linger} {
		if f := l.front(q); f != nil && (next == nil || l.closeAt(f).Before(l.closeAt(next))) {
			next = f
		}
	}
	return next
}

// closeAt is when a close goes even without company.
func (l *loop) closeAt(f *flow) time.Time {
	switch {
	case l.closing:
		return f.since
	case f.queue == inAbort, f.queue == inLinger && l.linger.len() >= l.pacing.maxOps:
		return f.since.Add(abortWait) // those of a crowd are company enough
	case f.queue == inLinger:
		return f.since.Add(lingerWait)
	}
	return f.since.Add(lazyWait)
}

// arm sets the timer to when something is due next.
func (l *loop) arm(now time.Time) {
	next := now.Add(time.Hour)
	due := func(t time.Time) {
		if t.After(now) && t.Before(next) {
			next = t
		}
	}
	if l.count > 0 {
		due(l.readyAt())
	}
	if f := l.front(&l.ready); f != nil {
		due(f.since.Add(grace))
	}
	if f := l.front(&l.packets); f != nil && l.m.stale > 0 {
		due(f.since.Add(l.m.stale + 1))
	}
	if f := l.front(&l.fresh); f != nil {
		due(f.since.Add(openWait))
	}
	if f := l.nextPoll(); f != nil {
		due(f.pollAt)
		due(l.pollsAt())
	}
	if f := l.nextClose(); f != nil {
		due(l.closeAt(f))
	}
	if f := l.front(&l.stall); f != nil {
		due(f.since.Add(signEvery))
	}
	for _, s := range l.large {
		due(s.fl.doubt.Add(grace))
	}
	if len(l.large)+l.ready.len()+l.packets.len()+l.polls.len()+l.abort.len()+l.lazy.len()+l.linger.len() > 0 {
		for _, d := range l.ds {
			due(d.retryAt())
			due(d.until)
			due(d.Account.restsUntil(now))
			if !d.asked.IsZero() {
				due(d.askedUntil())
			}
		}
	}
	l.timer.Reset(next.Sub(now))
}
