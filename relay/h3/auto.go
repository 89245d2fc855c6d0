package h3

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"relaymux/relay"
	"relaymux/relay/fronted"
)

const (
	// headStart is how long UDP may take to connect before TCP is used, as between
	// addresses (RFC 8305 section 5). What connects later takes over then.
	headStart = 250 * time.Millisecond

	// After a failure UDP is tried again, in the background, after retryFirst, and each
	// time that was in vain after twice as long. One that has lasted retryForget has
	// made up for those before. As long as TCP does not get through either it is tried
	// every retryAlone; if it was given up because it loses packets, TCP has retryLossy to
	// connect: its handshake and TLS's may wait for round trips of half a second.
	retryFirst  = 5 * time.Second
	retryMost   = 10 * time.Minute
	retryForget = time.Minute
	retryAlone  = time.Second
	retryLossy  = 3 * time.Second

	// tryFirst is how long the first try may take; each that follows, twice as long: a
	// handshake that was begun while UDP was cut off sends again ever more seldom.
	tryFirst = 3 * time.Second
)

// An Auto reaches a deployment by HTTP/3 where UDP gets through, else by what
// fronted speaks over TCP. Nothing has to be configured: it is tried, and tried again.
type Auto struct {
	*fronted.Transport // over TCP
	udp                *Transport
	log                *slog.Logger

	pipesByTCP atomic.Bool // whatever exchanges do

	mu      sync.Mutex
	trust   bool   // UDP gets through, or nothing is known yet
	why     error  // it is not trusted
	proven  bool   // an answer has come by it, since it is trusted
	known   bool   // and ever, since Close
	losses  uint64 // times that TCP has taken over from it
	alone   bool   // TCP did not get through when it was used last, or was never used
	trying  bool   // UDP is being tried in the background
	since   time.Time
	next    time.Time     // it is not tried before
	wait    time.Duration // after the next failure
	limit   time.Duration // of the next try
	timer   *time.Timer   // that tries it while somebody is on his way over TCP, these:
	pipes   map[*autoPipe]struct{}
	waiting map[*context.CancelCauseFunc]struct{} // messages, while alone
	ctx     context.Context                       // of the tries, until Close
	cancel  context.CancelFunc
}

var (
	_ relay.Transport = (*Auto)(nil)
	_ relay.Piper     = (*Auto)(nil)
)

// NewAuto checks c, whose errors name the config's key, and connects nowhere yet.
func NewAuto(c Config) (*Auto, error) {
	a := &Auto{log: c.Log, pipes: make(map[*autoPipe]struct{}), waiting: make(map[*context.CancelCauseFunc]struct{})}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	a.timer = time.AfterFunc(time.Hour, a.tryAgain)
	a.timer.Stop()
	a.forget()
	var err error
	if a.Transport, err = fronted.New(c.Config); err != nil {
		return nil, err
	}
	if a.udp, err = New(c); err != nil {
		return nil, err
	}
	a.udp.pool.lost = a.lost
	return a, nil
}

// forget makes a know nothing. The caller holds the lock.
func (a *Auto) forget() {
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.pipesByTCP.Store(false)
	a.trust, a.proven, a.known, a.alone = true, false, false, true
	a.next, a.wait, a.limit = time.Time{}, retryFirst, tryFirst
	a.timer.Stop()
}

// Close implements relay.Transport. What was known of UDP is forgotten: the machine
// may have woken up elsewhere.
func (a *Auto) Close() {
	a.mu.Lock()
	a.cancel()
	a.forget()
	a.mu.Unlock()
	a.Transport.Close()
	a.udp.Close()
}

// Exchange implements relay.Transport.
func (a *Auto) Exchange(ctx context.Context, x *relay.Exchange) error {
	const changes = 2 // of the way, at most
	udp := a.overUDP(ctx)
	for left := changes; ; left-- {
		if !udp {
			err := a.overTCP(ctx, x, left > 0)
			if left == 0 || !a.back(ctx, err) {
				return err
			}
		}
		err := a.udp.Exchange(ctx, x)
		if err == nil {
			a.works()
			return nil
		}
		f := a.failed(ctx, err)
		if again := f.Untouched || x.Binary && !a.OverUDP(); left == 0 || !again { // what is binary may come twice
			return err
		}
		if !f.Untouched {
			x.SetTwice()
		}
		udp = false
	}
}

// errTaken ends a message on its way over TCP, for it gets through by UDP.
var errTaken = errors.New("UDP was faster")

// overTCP is an exchange over TCP. While it is not known that TCP gets through, a
// message changes over as soon as UDP does.
func (a *Auto) overTCP(ctx context.Context, x *relay.Exchange, mayChange bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a.mu.Lock()
	races := mayChange && x.Binary && a.alone && !a.trust
	if races {
		a.waiting[&cancel] = struct{}{}
		a.arm()
	}
	a.mu.Unlock()
	err := a.Transport.Exchange(a.watched(ctx), x)
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.waiting, &cancel)
	if isUnreachable(err) {
		a.alone = true
	}
	return err
}

// watched is the context of a request over TCP: it notes that TCP gets through as soon
// as there is a connection, for the answer may be a poll's.
func (a *Auto) watched(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { a.reached() }})
}

// reached notes that TCP gets through.
func (a *Auto) reached() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.alone {
		a.alone = false
		if !a.trust && !a.known {
			a.log.Info("deployment is reached by TCP", "deployment", a.udp.name, "by_udp", a.why.Error())
		}
		if !a.trust && !a.trying {
			a.retryAfter(retryAlone) // not as soon as was meant
		}
	}
}

func isUnreachable(err error) bool {
	f, ok := errors.AsType[*relay.Failure](err)
	return ok && f.Kind == relay.Unreachable
}

// back reports whether an exchange that has failed over TCP is to go by UDP, for TCP
// does not get through, and UDP does now.
func (a *Auto) back(ctx context.Context, err error) bool {
	switch {
	case err == nil || ctx.Err() != nil:
		return false
	case errors.Is(err, errTaken):
		return true
	case !isUnreachable(err):
		return false
	}
	a.mu.Lock()
	if !a.trust {
		a.trust, a.since = true, time.Now()
	}
	a.mu.Unlock()
	return a.overUDP(ctx)
}

// Pipe implements relay.Piper. Somebody on the way may let pipes through by one of both
// alone: after one that has failed the next one takes the other.
func (a *Auto) Pipe(ctx context.Context, first []byte) (io.ReadWriteCloser, error) {
	if !a.pipesByTCP.Load() && a.overUDP(ctx) {
		p, err := a.udp.Pipe(ctx, first)
		if err == nil {
			a.works()
			return p, nil
		}
		a.failed(ctx, err)
		if a.OverUDP() {
			a.pipesByTCP.Store(ctx.Err() == nil)
			return nil, err
		}
	}
	p, err := a.Transport.Pipe(a.watched(ctx), first)
	if err != nil {
		a.pipesByTCP.Store(false)
		return nil, err
	}
	return a.keep(p), nil
}

// overUDP chooses the way of the next exchange.
func (a *Auto) overUDP(ctx context.Context) bool {
	a.mu.Lock()
	trust := a.trust
	a.mu.Unlock()
	if !trust {
		a.tryAgain()
		return false
	}
	start, cancel := context.WithTimeout(ctx, headStart)
	defer cancel()
	err := a.udp.pool.connect(start)
	if err == nil || ctx.Err() != nil { // whoever asks has given up
		return true
	}
	a.lost(err)
	return false
}

// tryAgain tries UDP in the background, if that is due.
func (a *Auto) tryAgain() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.trust && !a.trying && !time.Now().Before(a.next) {
		a.try()
	}
}

// try connects by UDP in the background. The caller holds the lock.
func (a *Auto) try() {
	a.trying = true
	ctx, limit := a.ctx, a.limit
	a.limit *= 2
	go func() {
		handshake, cancel := context.WithTimeout(ctx, limit)
		err := a.udp.pool.handshake(handshake)
		cancel()
		if err != nil {
			a.udp.pool.dialAnew()
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.trying = false
		switch {
		case ctx.Err() != nil:
		case err != nil:
			a.retryAfter(retryAlone)
		default:
			a.takeOver()
		}
	}()
}

// takeOver has UDP carry what is on its way over TCP, but for pipes if no answer has
// ever come by it: somebody may answer there who is not the relay. The caller holds the
// lock.
func (a *Auto) takeOver() {
	a.trust, a.since, a.limit = true, time.Now(), tryFirst
	for cancel := range a.waiting {
		(*cancel)(errTaken)
	}
	if a.known && !a.pipesByTCP.Load() {
		for p := range a.pipes {
			go p.Close() // the next one goes by UDP
		}
	}
}

// retryAfter has UDP tried again, later: as long as it is alone, after alone. The caller
// holds the lock.
func (a *Auto) retryAfter(alone time.Duration) {
	if a.alone {
		a.next = time.Now().Add(alone)
	} else {
		a.next = time.Now().Add(a.wait)
		a.wait = min(2*a.wait, retryMost)
	}
	a.arm()
}

// arm sets the timer if somebody is on his way over TCP. The caller holds the lock.
func (a *Auto) arm() {
	if !a.trust && !a.trying && len(a.pipes)+len(a.waiting) > 0 {
		a.timer.Reset(max(0, time.Until(a.next)))
	}
}

// works notes that UDP has brought an answer.
func (a *Auto) works() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.trust && !a.proven {
		a.proven, a.known, a.since = true, true, time.Now()
		a.log.Info("deployment is reached by HTTP/3", "deployment", a.udp.name)
	}
}

// failed draws the consequences of an exchange over UDP that has failed. Where none
// has ever come back it may be the way: somebody may answer there who is not the relay.
func (a *Auto) failed(ctx context.Context, err error) *relay.Failure {
	f, ok := errors.AsType[*relay.Failure](err)
	if !ok {
		f = &relay.Failure{Kind: relay.Broken, Err: err}
	}
	a.mu.Lock()
	proven := a.proven
	a.mu.Unlock()
	if ctx.Err() == nil && (!proven || f.Kind == relay.Unreachable) {
		a.lost(f)
	}
	return f
}

// lost gives UDP up for a while; where it loses packets, for long.
func (a *Auto) lost(why error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.trust {
		return
	}
	if a.proven {
		a.losses++
		a.log.Info("TCP takes over from HTTP/3", "deployment", a.udp.name, "because", why)
		if time.Since(a.since) > retryForget {
			a.wait = retryFirst
		}
	}
	a.trust, a.proven, a.why = false, false, why
	switch {
	case a.trying:
	case errors.Is(why, errLossy): // a connection that is being made has just been begun
		a.wait = retryMost
		a.retryAfter(retryLossy)
	case a.udp.pool.connecting(): // it may just be slow
		a.try()
	default:
		a.retryAfter(retryAlone)
	}
}

// OverUDP reports whether exchanges go by HTTP/3 now, as far as is known.
func (a *Auto) OverUDP() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.trust
}

// HTTP is the version of HTTP that answers come by now, "" before the first.
func (a *Auto) HTTP() string {
	a.mu.Lock()
	proven := a.proven
	a.mu.Unlock()
	if proven {
		return a.udp.HTTP()
	}
	return a.Transport.HTTP()
}

// Losses is how many times TCP has taken over from HTTP/3.
func (a *Auto) Losses() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.losses
}

// An autoPipe is a pipe over TCP, which ends when UDP gets through again.
type autoPipe struct {
	io.ReadWriteCloser
	auto *Auto
}

func (a *Auto) keep(p io.ReadWriteCloser) *autoPipe {
	a.mu.Lock()
	defer a.mu.Unlock()
	kept := &autoPipe{p, a}
	a.pipes[kept] = struct{}{}
	if a.trust && a.known && !a.pipesByTCP.Load() { // it has come back meanwhile
		go kept.Close()
	}
	a.arm()
	return kept
}

// Close implements io.Closer.
func (p *autoPipe) Close() error {
	p.auto.mu.Lock()
	delete(p.auto.pipes, p)
	p.auto.mu.Unlock()
	return p.ReadWriteCloser.Close()
}
