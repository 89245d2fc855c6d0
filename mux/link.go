package mux

import (
	"sync/atomic"
	"time"

	"relaymux/mux/link"
)

// Link is what the native link is made with.
type Link struct {
	Secret       link.Secret
	HedgePercent int              // exchanges in a hundred that may be sent twice
	Grace        time.Duration    // how long flows outlive that no relay works
	Wall         func() time.Time // the wall clock, which goes on while the machine sleeps; nil is the system's
}

// A linkLoop is the goroutine that carries flows over the native link. It owns
// one end of that (link.Conn) and decides what goes into which exchange, when
// and through which deployment. As the loop of the JSON wire it waits for three
// things: a flow has something new; an exchange ended; time is up.
//
// All exchanges may bring what any flow awaits, so that there is no polling by
// flow: while flows are open a few exchanges are held by the node, one if little
// happens, and as many as fill the path in a download (link_send.go).
type linkLoop struct {
	m        *Mux
	lane     *lane
	ds       []*deployment
	pacing   pacing
	maxBytes int
	set      Link
	done     chan *linkExchange

	// The link, once there is one.
	conn     *link.Conn
	keys     *link.Keys // workers read them, so that they never change
	replay   link.Replay
	node     link.ID // the first that answered: no other is taken for it
	epoch    link.ID
	known    bool // node and epoch are
	made     time.Time
	number   uint64    // of the latest exchange
	taking   uint64    // of that whose answer is being taken in; 0: none, or a pipe
	newly    int       // targets of which that brings the first word,
	dialed   time.Time // the oldest of which was opened then
	inFlight []*linkExchange
	trace    trace

	// The pipe (link_pipe.go).
	pipe      *linkPipe
	piped     chan pipeEvent
	piping    int       // those whose workers have not ended
	pipeAt    time.Time // no other before
	pipeTries int       // that did not last
	pipeUsed  time.Time // when a flow was open last

	// The handshake (link_hello.go).
	hello  *link.Handshake // not nil: one is under way
	first  []byte          // its message
	trying int             // its exchanges in flight
	again  time.Time       // no handshake before
	tries  int             // that failed in a row
	claims *deployment     // by which somebody said that the node knows the link no more

	waiting    fifo[*flow]    // flows that need a link
	opening    fifo[*flow]    // TCP flows that were opened, by time; those that are connected are passed over
	later      []*link.Stream // whose FIN waits for company,
	laterSince time.Time      // the first since then
	blocked    []*flow        // TCP flows that have more to say than the link takes
	emptied    []*flow        // UDP flows whose datagrams all went
	dead       deadHosts

	// What waits to be sent, for the pacing.
	upSince, upLast, upBefore time.Time
	upFlows, upBytes          int
	upWait                    time.Duration // how long it may: nothing if it is more than typing
	upUrgent                  bool          // some of it is a flow's that had nothing on its way, and little
	resetSince                time.Time
	ackSince                  time.Time // since when acknowledgements of much are due and nothing is open

	// What is awaited.
	open        int       // TCP flows from which more may come
	expecting   int       // of these, that have said something and wait for the answer
	crowd       time.Time // when several flows were answered at once
	answeredNow int       // flows that an exchange answers
	pushed      time.Time // when something came that was not an answer
	queries     int       // DNS flows that await an answer,
	dnsUntil    time.Time // and until when that is worth waiting for
	udpUntil    time.Time // a UDP flow counts as open until then
	report      bool      // the node is to hear soon that an exchange failed
	grow        int       // exchanges in flight that a download fills
	pollAt      time.Time
	quiet       time.Duration // between polls where nothing is held, by how long nothing came
	pool        *link.Pool    // of the windows of TCP flows
	unacked     int           // bytes that came since the last request,
	owed        bool          // or anything that the node keeps a note of

	sent, hedged uint64    // exchanges; and those that went again for being slow
	avoid        *Account  // of the exchange whose frames go again
	failing      time.Time // since when no exchange has worked; zero if the latest did
	forsaken     time.Time // the failing after the grace of which all connections were reset
	walls        time.Time // the wall clock, and
	monos        time.Time // the other, when they were looked at last

	resting atomic.Bool // no deployment works: for Mux.laneOf,
	missed  atomic.Bool // which has sent a flow elsewhere for that
	timer   *time.Timer
	closing bool
	told    bool // closing: the node has been told
}

func newLinkLoop(m *Mux, set Link, ds []*deployment, how pacing, maxBytes int) *linkLoop {
	if set.Wall == nil {
		set.Wall = time.Now
	}
	l := &linkLoop{
		m: m, lane: newLane(len(ds)), ds: ds, pacing: how, maxBytes: maxBytes, set: set,
		grow: 1, pool: link.NewPool(int(m.memory / 8 * 3)),
	}
	l.done, l.piped = make(chan *linkExchange, slotsOf(ds)), make(chan pipeEvent, pipeEvents)
	for _, d := range ds {
		d.begin()
	}
	l.monos, l.walls = time.Now(), set.Wall()
	return l
}

// begin makes d ready for the link.
func (d *deployment) begin() {
	if d.Limit == 0 {
		d.Limit = defaultLimit
	}
	d.line.init(d.Limit)
}

// defaultLimit is how long an exchange may take if nobody said.
const defaultLimit = 30 * time.Second

func (l *linkLoop) run() {
	defer close(l.lane.gone)
	l.timer = time.NewTimer(0) // the handshake comes before the first flow
	defer l.timer.Stop()
	dead := l.m.ctx.Done()
	for quit := l.m.quit; !l.over(); {
		select {
		case f := <-l.lane.wake:
			l.note(f)
		case x := <-l.done:
			l.finish(x)
		case e := <-l.piped:
			l.tookPipe(e)
		case look := <-l.lane.look:
			look()
		case <-l.timer.C:
		case <-quit:
			quit = nil
			l.close()
		case <-dead:
			dead = nil
		}
		l.catchUp()
		now := time.Now()
		l.lookAtClocks(now)
		l.fire(now)
		l.arm(now)
	}
	if l.conn != nil {
		l.conn.Close()
	}
	for _, f := range l.m.all(l.lane) {
		l.letGo(f)
	}
}

// catchUp takes in what else has happened, so that it can travel together.
func (l *linkLoop) catchUp() {
	for range wakeQueue {
		select {
		case f := <-l.lane.wake:
			l.note(f)
		case x := <-l.done:
			l.finish(x)
		case e := <-l.piped:
			l.tookPipe(e)
		default:
			return
		}
	}
}

// over reports whether the loop may end.
func (l *linkLoop) over() bool {
	if !l.closing || len(l.inFlight) > 0 || l.trying > 0 || l.piping > 0 {
		return false
	}
	return l.told || l.conn == nil || l.m.ctx.Err() != nil
}

// close ends all flows; the node is told with the next exchange, which also calls
// back those that it holds.
func (l *linkLoop) close() {
	l.closing = true
	l.endPipe()
	for _, f := range l.m.all(l.lane) {
		f.side.stop()
		l.attend(f)
	}
}

func (l *linkLoop) note(f *flow) {
	f.noted.Store(false)
	l.attend(f)
}

// attend looks what a flow has to say.
func (l *linkLoop) attend(f *flow) {
	if f.state == gone {
		if s, ok := f.side.(*Stream); ok {
			s.digest()
		}
		return
	}
	f.side.(linkSide).attend(l)
}

// letGo ends the loop's interest in f.
func (l *linkLoop) letGo(f *flow) {
	if f.state == gone {
		return
	}
	f.state = gone
	switch u := f.side.(type) {
	case *Stream:
		u.lk.window.Release()
	case *UDP:
		l.replied(u)
	}
	l.m.forget(f)
	f.side.dropped()
}

// await keeps a flow until there is a link.
func (l *linkLoop) await(f *flow) {
	if f.queue == inNone {
		f.queue, f.since = inReady, time.Now()
		l.waiting.push(f)
	}
}

// admit lets the waiting flows go on; to their end those that have waited for too
// long, and all if the node wants no link of us.
func (l *linkLoop) admit(now time.Time) {
	for l.waiting.len() > 0 {
		f := l.waiting.peek()
		late := now.Sub(f.since) >= l.waitMost(now)
		if l.conn == nil && !late && !l.closing && !l.refused() {
			return
		}
		l.waiting.pop()
		f.queue = inNone
		if l.conn == nil && f.state != gone { // it is over before it began
			f.side.fail(l.down())
			l.letGo(f)
			continue
		}
		l.attend(f)
	}
}

// down is the error of a flow that no relay carried.
func (l *linkLoop) down() error { return downError(l.ds) }

// creditMost is what may have arrived, or be on its way down, in all: three
// eighths of the memory, so that with what carries it, which is up to four
// thirds of it, it is within its bounds.
func (l *linkLoop) creditMost() uint64 { return uint64(l.m.memory / 8 * 3) }

// lookAtClocks finds out that the machine slept: the wall clock is ahead of the
// one that counts only while it is awake. Connections are dead then, and so is
// whatever was under way.
func (l *linkLoop) lookAtClocks(now time.Time) {
	const asleep = 5 * time.Second
	wall := l.set.Wall().Round(0)
	slept := wall.Sub(l.walls) - now.Sub(l.monos)
	l.walls, l.monos = wall, now
	if slept < asleep {
		return
	}
	l.m.log.Info("the machine slept", "for", slept.Round(time.Second).String())
	for _, d := range l.ds {
		d.Transport.Close()
	}
	l.endPipe()
	for _, x := range l.inFlight {
		l.giveUp(x)
	}
	l.failing = time.Time{}
	l.pollAt = now
}
