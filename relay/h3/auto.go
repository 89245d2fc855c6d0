package h3

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
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
	// made up for those before.
	retryFirst  = 5 * time.Second
	retryMost   = 10 * time.Minute
	retryForget = time.Minute
)

// An Auto reaches a deployment by HTTP/3 where UDP gets through, else by what
// fronted speaks over TCP. Nothing has to be configured: it is tried, and tried again.
type Auto struct {
	*fronted.Transport // over TCP
	udp                *Transport
	log                *slog.Logger

	mu     sync.Mutex
	trust  bool // UDP gets through, or nothing is known yet
	proven bool // an answer has come by it
	trying bool // it is being tried in the background
	since  time.Time
	next   time.Time     // it is not tried before
	wait   time.Duration // after the next failure
	timer  *time.Timer   // that tries it while there are pipes over TCP
	pipes  map[*autoPipe]struct{}
	ctx    context.Context // of the tries, until Close
	cancel context.CancelFunc
}

var (
	_ relay.Transport = (*Auto)(nil)
	_ relay.Piper     = (*Auto)(nil)
)

// NewAuto checks c, whose errors name the config's key, and connects nowhere yet.
func NewAuto(c Config) (*Auto, error) {
	a := &Auto{log: c.Log, trust: true, wait: retryFirst, pipes: make(map[*autoPipe]struct{})}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.timer = time.AfterFunc(time.Hour, func() { a.overUDP(a.life()) })
	a.timer.Stop()
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

// Exchange implements relay.Transport.
func (a *Auto) Exchange(ctx context.Context, x *relay.Exchange) error {
	if !a.overUDP(ctx) {
		err := a.Transport.Exchange(ctx, x)
		if f, ok := err.(*relay.Failure); !ok || f.Kind != relay.Unreachable || ctx.Err() != nil || !a.back(ctx) {
			return err
		}
	}
	err := a.udp.Exchange(ctx, x)
	if err == nil {
		a.works()
		return nil
	}
	if f := a.failed(ctx, err); f.Untouched || x.Binary && !a.OverUDP() { // what is binary may come twice
		return a.Transport.Exchange(ctx, x)
	}
	return err
}

// Pipe implements relay.Piper.
func (a *Auto) Pipe(ctx context.Context, first []byte) (io.ReadWriteCloser, error) {
	if a.overUDP(ctx) {
		p, err := a.udp.Pipe(ctx, first)
		if err == nil {
			a.works()
			return p, nil
		}
		a.failed(ctx, err)
		if a.OverUDP() {
			return nil, err
		}
	}
	p, err := a.Transport.Pipe(ctx, first)
	if err != nil {
		return nil, err
	}
	return a.keep(p), nil
}

// Close implements relay.Transport. What was known of UDP is forgotten: the machine
// may have woken up elsewhere.
func (a *Auto) Close() {
	a.mu.Lock()
	a.cancel()
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.trust, a.proven, a.next, a.wait = true, false, time.Time{}, retryFirst
	a.timer.Stop()
	a.mu.Unlock()
	a.Transport.Close()
	a.udp.Close()
}

func (a *Auto) life() context.Context {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ctx
}

// overUDP chooses the way of the next exchange.
func (a *Auto) overUDP(ctx context.Context) bool {
	a.mu.Lock()
	if !a.trust {
		if !a.trying && !time.Now().Before(a.next) {
			a.trying = true
			go a.try(a.ctx)
		}
		a.mu.Unlock()
		return false
	}
	a.mu.Unlock()
	start, cancel := context.WithTimeout(ctx, headStart)
	defer cancel()
	err := a.udp.pool.connect(start)
	switch {
	case err == nil:
		return true
	case ctx.Err() != nil: // whoever asks has given up
		return true
	}
	a.lost(err)
	return false
}

// try connects by UDP in the background.
func (a *Auto) try(ctx context.Context) {
	err := a.udp.pool.handshake(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.trying = false
	switch {
	case ctx.Err() != nil:
	case err != nil:
		a.retry()
	default:
		a.trust, a.since = true, time.Now()
		for p := range a.pipes { // the next one goes by UDP
			go p.Close()
		}
	}
}

// retry has UDP tried again, later. The caller holds the lock.
func (a *Auto) retry() {
	a.next = time.Now().Add(a.wait)
	if len(a.pipes) > 0 {
		a.timer.Reset(a.wait)
	}
	a.wait = min(2*a.wait, retryMost)
}

// back tries UDP at once, for TCP does not get through at all, and reports whether it
// does.
func (a *Auto) back(ctx context.Context) bool {
	a.mu.Lock()
	a.trust, a.since = true, time.Now()
	a.mu.Unlock()
	return a.overUDP(ctx)
}

// works notes that UDP has brought an answer.
func (a *Auto) works() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.trust && !a.proven {
		a.proven, a.since = true, time.Now()
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
		a.log.Info("TCP takes over from HTTP/3", "deployment", a.udp.name, "because", why)
		if time.Since(a.since) > retryForget {
			a.wait = retryFirst
		}
	}
	a.trust, a.proven = false, false
	if errors.Is(why, errLossy) {
		a.wait = retryMost
	}
	if a.udp.pool.connecting() { // it may just be slow
		a.trying = true
		go a.try(a.ctx)
		return
	}
	a.retry()
}

// OverUDP reports whether exchanges go by HTTP/3 now, as far as is known.
func (a *Auto) OverUDP() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.trust
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
	switch {
	case a.trust: // it has come back meanwhile
		go kept.Close()
	case !a.trying:
		a.timer.Reset(max(0, time.Until(a.next)))
	}
	return kept
}

// Close implements io.Closer.
func (p *autoPipe) Close() error {
	p.auto.mu.Lock()
	delete(p.auto.pipes, p)
	p.auto.mu.Unlock()
	return p.ReadWriteCloser.Close()
}
