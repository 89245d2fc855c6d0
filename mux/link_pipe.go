package mux

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/link"
	"relaymux/relay"
)

// A pipe is an exchange of the link that goes on both ways for as long as its
// connection lasts. Where the way to the node lets one through, which only trying
// tells, everything goes by it: nothing is held, nothing is asked for. Exchanges
// carry the link until it stands, and from when it has broken. One is kept while
// flows are open, by the deployment with the shortest way of those that let it
// through.
const (
	pipeRoom     = 1 << 20                // bytes that the node may send at a time; it knows the line, and sends less
	pipeAhead    = 2                      // messages that may wait to be written, so that the next is sealed meanwhile
	pipeRecords  = 16                     // records that are taken in at once, if there are as many
	pipeEvents   = 2                      // lots of them that may wait for the loop
	pipeAck      = 128 << 10              // bytes after which the node is told that they have come,
	pipeAckWait  = 50 * time.Millisecond  // or the time
	pipeIdle     = time.Minute            // it outlives the last flow by
	pipeSilence  = 40 * time.Second       // the hold that is asked for: the node has a word every 15 s
	pipeHush     = 18 * time.Second       // without one it is asked,
	pipeSay      = time.Minute            // and after this time in any case, so that either end knows of the other
	pipeBegin    = 15 * time.Second       // for the first record to come
	pipeDoubt    = 150 * time.Millisecond // without a word of what was sent the node is asked for one,
	pipePatience = time.Second            // which may take so long, at the least
	pipeStuck    = 5 * time.Second        // without a byte written or heard, where many wait to be written
	pipeLittle   = 4 << 10                // bytes that take no time on any line
	pipeSlow     = 20_000                 // bytes a second of a line that has shown nothing
	pipeRetry    = time.Hour              // after which a deployment that let none through is tried again
	pipeLook     = time.Minute            // likewise if none may be tried now
)

// A linkPipe is one end of a pipe: the loop plans what goes, two workers write and
// read.
type linkPipe struct {
	d      *deployment
	id     uint64
	keys   *link.Keys
	out    chan *link.Message // has room for as many as the loop may be ahead
	cancel context.CancelFunc
	moved  atomic.Int64 // when something was written last, as time.Time.UnixNano

	// The loop's.
	began    time.Time
	sent     uint32        // records
	lot      link.Lot      // how much goes at a time
	ahead    int           // messages that are not written yet
	stands   bool          // the node has answered through it
	gone     bool          // given up; its workers will say when they have ended
	heard    time.Time     // when anything came last
	flying   time.Time     // since when something is on its way; zero: all has arrived
	pinged   time.Time     // when it was asked whether it stands; zero: more has arrived since
	said     time.Time     // when something was sent last
	arrived  uint64        // records that have arrived, of all ways,
	acked    time.Time     // and when the latest of that was told
	asked    time.Time     // when something was said of which the lag is to be learned,
	question int           // of so many bytes; zero: none now
	rate     int           // bytes a second that have come across
	lag      time.Duration // how long answers took of late, about the most
}

// A pipeEvent is what the workers of a pipe have to say.
type pipeEvent struct {
	p       *linkPipe
	wrote   int // bytes of a message, which
	took    time.Duration
	opened  []link.Record // came in
	failure *relay.Failure
	over    bool // the workers have ended, for the failure if there is one
}

// carries reports whether everything goes by p, which may be nil.
func (p *linkPipe) carries() bool { return p != nil && p.stands && !p.gone }

// keepPipe begins a pipe if one is wanted, and ends one that is not.
func (l *linkLoop) keepPipe(now time.Time) {
	p := l.pipe
	if p == nil {
		if l.active(now) && !l.closing && !now.Before(l.pipeAt) {
			l.beginPipe(now)
		}
		return
	}
	switch {
	case p.gone:
		return
	case l.active(now):
		l.pipeUsed = now
	case now.Sub(l.pipeUsed) >= pipeIdle:
		l.endPipe()
		return
	}
	switch at, ping := p.doubtAt(l.conn.FlyingBytes()); {
	case now.Before(at):
	case ping:
		p.pinged = now
		l.sendPipe(now, 0)
	default:
		l.m.log.Debug("pipe is silent", "deployment", p.d.Name)
		l.m.stats.Suspected.Add(1)
		p.d.line.bar(&relay.Failure{Kind: relay.Timeout}, p.stands, now)
		l.endPipe()
	}
}

// doubtAt is when p has been silent for so long that it is asked whether it still
// stands, or is taken not to, while so many bytes are on their way.
func (p *linkPipe) doubtAt(flying int) (at time.Time, ping bool) {
	// What is on its way tells of itself record by record, each when all of it is
	// there; and the line may be half as fast as it was.
	line := 2 * buf.Max * time.Second / time.Duration(p.rate)
	if flying < pipeLittle {
		line = 0
	}
	patience := max(pipePatience, 4*p.lag) + line
	moved := p.heard
	if at := time.Unix(0, p.moved.Load()); at.After(moved) {
		moved = at
	}
	switch {
	case !p.stands:
		return p.began.Add(pipeBegin), false
	case p.ahead == pipeAhead: // nothing can be asked; but is anything written?
		return moved.Add(max(patience, pipeStuck)), false
	case !p.pinged.IsZero():
		return later(p.pinged, p.acked).Add(patience), false
	case !p.flying.IsZero():
		return later(p.flying, p.acked).Add(max(pipeDoubt, p.lag*5/4) + line/2), true
	}
	if hush := p.heard.Add(pipeHush); hush.Before(p.said.Add(pipeSay)) {
		return hush, true
	}
	return p.said.Add(pipeSay), true
}

func (l *linkLoop) beginPipe(now time.Time) {
	var d *deployment
	for _, e := range l.ds {
		w := &e.line
		if w.pipes(e) && e.usable(now) && e.parkedFor == 0 && e.Account.free() > 1 && !now.Before(w.pipeAt) &&
			(d == nil || w.least > 0 && (w.least < d.line.least || d.line.least == 0)) {
			d = e
		}
	}
	if d == nil || !d.take() {
		l.pipeAt = now.Add(pipeLook)
		return
	}
	l.number++
	ctx, cancel := context.WithCancel(l.m.ctx)
	p := &linkPipe{
		d: d, id: l.number, keys: l.keys, out: make(chan *link.Message, pipeAhead), cancel: cancel,
		began: now, heard: now, said: now, lag: 500 * time.Millisecond, rate: pipeSlow,
	}
	l.pipe, l.pipeUsed = p, now
	l.piping++
	d.inFlight++
	d.Account.inFlight.Add(1)
	if q := d.Account.Quota; q != nil {
		q.Spend(now)
	}
	l.sent++
	l.m.stats.Exchanges.Add(1)
	// Nothing but the question goes into the first message: who knows whether it
	// arrives.
	ask := l.ask(d, now)
	ask.Hold, ask.Room, ask.Path = 0, pipeRoom, 0
	first := l.conn.Plan(now, p.id, &ask, link.Limits{})
	p.sent = uint32(first.Records())
	go l.m.carryPipe(ctx, p, first, l.piped)
}

// pipes reports whether d may let a pipe through at all.
func (w *line) pipes(d *deployment) bool {
	_, ok := d.Transport.(relay.Piper)
	return ok && d.binary()
}

// bar notes that a pipe through the deployment has failed. Who says no is asked again
// in an hour; what may be a mishap, sooner; where one has stood, nobody says no.
func (w *line) bar(f *relay.Failure, stood bool, now time.Time) {
	switch {
	case stood, f.Kind == relay.Unreachable, f.Kind == relay.Cancelled: // no pipe's business
	case f.Kind == relay.Timeout, f.Kind == relay.Broken, f.Kind == relay.RetryAfter, f.Kind == relay.ServerError:
		w.barred = min(max(2*w.barred, pipeRetry/64), pipeRetry)
		w.pipeAt = now.Add(w.barred)
	default:
		w.pipeAt = now.Add(pipeRetry)
	}
}

// endPipe gives the pipe up: what was in it and is not known to have arrived goes
// again.
func (l *linkLoop) endPipe() {
	p := l.pipe
	if p == nil || p.gone {
		return
	}
	p.gone = true
	p.cancel()
	if l.conn != nil && l.keys == p.keys {
		l.conn.ExchangeEnded(p.id)
	}
	l.pollAt, l.report = time.Time{}, true
}

// sendPipe has the pipe carry what there is.
func (l *linkLoop) sendPipe(now time.Time, hold time.Duration) {
	p := l.pipe
	ask := l.ask(p.d, now)
	ask.Hold, ask.Room, ask.Path, ask.Tag = uint64(hold.Milliseconds()), pipeRoom, 0, 0
	l.pack()
	m := l.conn.Plan(now, p.id, &ask, link.Limits{Bytes: max(min(l.maxBytes, p.lot.Size()), link.LotLeast), Ops: l.pacing.maxOps})
	m.First = p.sent
	p.sent += uint32(m.Records())
	if p.ahead == 0 {
		p.moved.Store(now.UnixNano()) // it has something to move from now on
	}
	p.ahead++
	p.said = now
	if p.flying.IsZero() {
		p.flying = now
	}
	if p.asked.IsZero() {
		p.asked, p.question = now, min(m.SealedLen(), buf.Max) // its first record is what the answer is to
	}
	l.m.stats.Ops.Add(uint64(m.Ops))
	l.packed()
	p.out <- m // it has room
}

// tookPipe takes in what a pipe brought.
func (l *linkLoop) tookPipe(e pipeEvent) {
	p, now := e.p, time.Now()
	if e.wrote > 0 {
		p.ahead--
		p.lot.Wrote(e.wrote, e.took)
	}
	if len(e.opened) > 0 {
		if !p.gone && l.conn != nil && l.keys == p.keys {
			l.hearPipe(p, e.opened, now)
		}
		link.Release(e.opened)
		l.unblock()
	}
	if !e.over {
		return
	}
	for len(p.out) > 0 {
		(<-p.out).Release()
	}
	l.piping--
	p.d.inFlight--
	p.d.ended()
	p.d.Account.inFlight.Add(-1)
	l.endPipe()
	l.pipe = nil
	if f := e.failure; f != nil && f.Kind != relay.Cancelled {
		l.m.log.Debug("pipe has ended", "deployment", p.d.Name, "stood", p.stands, "because", f.Error())
		p.d.line.bar(f, p.stands, now)
	}
	if now.Sub(p.began) > 10*time.Second {
		l.pipeTries = 0
	}
	l.pipeTries++
	l.pipeAt = now.Add(double(100*time.Millisecond, l.pipeTries-1, 30*time.Second))
}

// hearPipe gives records of the pipe to the link.
func (l *linkLoop) hearPipe(p *linkPipe, records []link.Record, now time.Time) {
	conn := l.conn
	if _, err := l.receive(records, now); err != nil {
		return // there is no link any more
	}
	if !l.uploading() {
		conn.DetectLost(l.late())
	}
	l.m.stats.Resent.Store(conn.Counts.Resent)
	l.failing = time.Time{}
	l.resting.Store(false)
	p.heard, p.d.good = now, now
	if n := conn.Counts.Acked; n != p.arrived {
		p.arrived, p.acked, p.pinged = n, now, time.Time{}
	}
	if conn.FlyingBytes() == 0 {
		p.flying = time.Time{}
	}
	if !p.asked.IsZero() && !conn.Newest().Before(p.asked) {
		p.lag = max(now.Sub(p.asked), p.lag*7/8)
		p.learn(now.Sub(p.asked))
		p.asked = time.Time{}
	}
	if !p.stands {
		p.stands = true
		p.d.line.barred = 0
		l.m.log.Info("deployment streams: flows go by one long exchange", "deployment", p.d.Name)
		l.sendPipe(now, pipeSilence) // by which the node knows
	}
}

// learn has p learn from the word, after so long, that what was sent has arrived: how
// fast the line is at the least.
func (p *linkPipe) learn(took time.Duration) {
	if p.question < measurable { // what is little is fast on any line
		return
	}
	rate := int(min(float64(p.question)/max(took, time.Microsecond).Seconds(), 1<<30))
	if rate < p.rate {
		rate = max((p.rate+rate)/2, pipeSlow)
	}
	p.rate = rate
}

// carryPipe is the worker that begins a pipe and writes to it.
func (m *Mux) carryPipe(ctx context.Context, p *linkPipe, first *link.Message, events chan<- pipeEvent) {
	sealer := p.keys.Sealer(link.Up)
	body := buf.Body()
	var err error
	if body.B, err = first.AppendSealed(link.AppendPipeHead(body.B, p.keys.ID(), p.id), sealer); err == nil {
		var conn io.ReadWriteCloser
		if conn, err = p.d.Transport.(relay.Piper).Pipe(ctx, body.B); err == nil {
			err = m.runPipe(ctx, p, conn, sealer, events)
		}
	}
	body.Release()
	p.d.Account.sem.Release(1)
	f := asFailure(err)
	if f != nil && ctx.Err() != nil {
		f = &relay.Failure{Kind: relay.Cancelled, Detail: "given up", Err: err}
	}
	p.cancel()
	events <- pipeEvent{p: p, failure: f, over: true}
}

// runPipe carries the pipe on conn until either direction ends.
func (m *Mux) runPipe(ctx context.Context, p *linkPipe, conn io.ReadWriteCloser, sealer *link.Sealer, events chan<- pipeEvent) error {
	defer context.AfterFunc(ctx, func() { conn.Close() })() // a write may wait for ever
	read := make(chan error, 1)
	go func() { read <- m.readPipe(p, conn, events) }()
	err := m.writePipe(ctx, p, conn, sealer, events, read)
	conn.Close()
	if e := <-read; err == nil {
		err = e
	}
	return err
}

// writePipe writes what the loop plans, until ctx ends or something comes from read,
// which stays there.
func (m *Mux) writePipe(ctx context.Context, p *linkPipe, conn io.Writer, sealer *link.Sealer, events chan<- pipeEvent, read chan error) error {
	body := buf.Body()
	defer body.Release()
	for {
		select {
		case message := <-p.out:
			var err error
			if body.B, err = message.AppendSealed(slices.Grow(body.B[:0], message.SealedLen()), sealer); err != nil {
				return err
			}
			began := time.Now()
			for part := range slices.Chunk(body.B, buf.Max) {
				if _, err = conn.Write(part); err != nil {
					return err
				}
				p.moved.Store(time.Now().UnixNano())
			}
			p.d.Stats.Up.Add(uint64(len(body.B)))
			events <- pipeEvent{p: p, wrote: len(body.B), took: time.Since(began)}
		case err := <-read:
			read <- err
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// readPipe reads the pipe until it ends.
func (m *Mux) readPipe(p *linkPipe, conn io.Reader, events chan<- pipeEvent) error {
	r := link.NewPipeReader(conn, nil, p.keys.Opener(link.Down), p.id)
	kind, err := r.Kind()
	if err != nil {
		return err
	}
	if kind != link.KindPiped {
		return &relay.Failure{Kind: relay.Malformed, Detail: "the answer is not the node's"}
	}
	for {
		records, n, err := r.Take(pipeRecords)
		p.d.Stats.Down.Add(uint64(n))
		if len(records) > 0 {
			events <- pipeEvent{p: p, opened: records}
		}
		if errors.Is(err, link.ErrForged) {
			m.stats.Forged.Add(1)
			err = &relay.Failure{Kind: relay.Malformed, Detail: "a record was changed on its way"}
		}
		if err != nil {
			return err
		}
	}
}
