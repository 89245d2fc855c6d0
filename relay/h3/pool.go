package h3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"relaymux/relay/fronted"
)

// idleLimit ends a connection without requests, as in fronted. The next one is
// resumed: it costs no round trip to messages of the link.
const idleLimit = 90 * time.Second

// A pool keeps the deployment's connection. Requests wait for the one that is
// being made, and none of them ends it by giving up.
type pool struct {
	dialer *dialer
	host   string
	early  bool
	yield  bool
	lost   func(why error) // told that a connection ends because the other way is better; nil: there is none

	mu      sync.Mutex
	current *conn    // nil, or not retired
	dialing *dialing // nil, or under way
	late    bool     // the next one is not to be early: that was in vain
}

type dialing struct {
	done    chan struct{}
	cancel  context.CancelFunc
	waiting int  // requests
	retired bool // what comes of it serves only those who wait for it

	// Set when done is closed.
	conn *conn
	err  error
}

var (
	_ fronted.Pool   = (*pool)(nil)
	_ fronted.Duplex = (*pool)(nil)
)

func newPool(c Config) *pool {
	return &pool{dialer: newDialer(c), host: c.URL.Host, early: c.Early, yield: c.Yield}
}

// RoundTrip implements http.RoundTripper. A request that has certainly not been
// carried out goes out once more, on another connection.
func (p *pool) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" || !strings.EqualFold(req.URL.Host, p.host) {
		return nil, fmt.Errorf("a request for %s on a connection to %s", req.URL.Host, p.host)
	}
	message := fronted.IsMessage(req)
	early, once := message, 0
	if !message {
		once = 1
	}
	for try := 1; ; try++ {
		c, err := p.get(req.Context())
		if err != nil {
			return nil, err
		}
		p.counts(c, once)
		resp, err := c.roundTrip(req, early)
		if err == nil {
			resp.Body = &body{resp.Body, sync.OnceFunc(func() { p.counts(c, -once); p.release(c) })}
			return resp, nil
		}
		p.counts(c, -once)
		again, ok := errors.AsType[*unusedError](err)
		if errors.Is(err, quic.Err0RTTRejected) {
			p.setLate()
		}
		if ok && again.dead {
			p.drop(c)
		}
		p.release(c)
		if !ok || try == 3 { // the first may have been old, the second in vain early
			return nil, err
		}
		early = false
		if req, err = rewind(req); err != nil {
			return nil, err
		}
	}
}

// Begin implements fronted.Duplex.
func (p *pool) Begin(req *http.Request, first []byte) (*http.Response, io.WriteCloser, error) {
	for try := 1; ; try++ {
		c, err := p.get(req.Context())
		if err != nil {
			return nil, nil, err
		}
		resp, up, err := c.begin(req, first)
		if err == nil {
			resp.Body = &body{resp.Body, sync.OnceFunc(func() { p.release(c) })}
			return resp, up, nil
		}
		again, ok := errors.AsType[*unusedError](err)
		if ok && again.dead {
			p.drop(c)
		}
		p.release(c)
		if !ok || try == 2 { // the first may have been old
			return nil, nil, err
		}
	}
}

func (p *pool) setLate() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.late = true
}

// rewind is req with its body from the beginning.
func rewind(req *http.Request) (*http.Request, error) {
	body, err := req.GetBody()
	if err != nil {
		return nil, err
	}
	again := *req
	again.Body = body
	return &again, nil
}

// get returns the connection for one more request, which ends with release.
func (p *pool) get(ctx context.Context) (*conn, error) {
	p.mu.Lock()
	if c := p.current; c != nil {
		c.uses++
		c.idle.Stop()
		p.mu.Unlock()
		return c, nil
	}
	d := p.dialing
	if d == nil {
		if ctx.Err() != nil { // nobody would wait for it
			p.mu.Unlock()
			return nil, context.Cause(ctx)
		}
		life, cancel := context.WithCancel(context.WithoutCancel(ctx))
		d = &dialing{done: make(chan struct{}), cancel: cancel}
		p.dialing = d
		go p.dial(life, d, p.early && !p.late)
		p.late = false
	}
	d.waiting++
	p.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-d.done:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	d.waiting--
	select {
	case <-d.done:
	default:
		d.forsake()
		return nil, context.Cause(ctx)
	}
	if d.err != nil {
		return nil, d.err
	}
	d.conn.uses++
	d.conn.idle.Stop()
	return d.conn, nil
}

// forsake gives the attempt up if nobody wants what comes of it.
func (d *dialing) forsake() {
	if d.retired && d.waiting == 0 {
		d.cancel()
	}
}

// connect waits for a connection, which may be an early one.
func (p *pool) connect(ctx context.Context) error {
	c, err := p.get(ctx)
	if err == nil {
		p.release(c)
	}
	return err
}

// handshake waits for a connection to a server that has answered.
func (p *pool) handshake(ctx context.Context) error {
	c, err := p.get(ctx)
	if err != nil {
		return err
	}
	defer p.release(c)
	select {
	case <-c.quic.HandshakeComplete():
		return nil
	case <-c.quic.Context().Done():
		return context.Cause(c.quic.Context())
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// dialAnew has the next request begin another connection than the one that is being
// made.
func (p *pool) dialAnew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forsakeDialing()
}

// forsakeDialing retires the connection that is being made. The caller holds the lock.
func (p *pool) forsakeDialing() {
	if p.dialing != nil {
		p.dialing.retired = true
		p.dialing.forsake()
		p.dialing = nil
	}
}

// connecting reports whether a connection is being made.
func (p *pool) connecting() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dialing != nil
}

func (p *pool) dial(ctx context.Context, d *dialing, early bool) {
	defer d.cancel()
	c, err := p.dialer.dial(ctx, early)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dialing == d {
		p.dialing = nil
	}
	d.conn, d.err = c, err
	if err == nil {
		c.retired = d.retired
		if !c.retired {
			p.current = c
		}
		c.idle = time.AfterFunc(idleLimit, func() { p.drop(c) })
		if p.lost != nil {
			c.watch(p.yield, func(why error) { p.giveUp(c, why) })
		}
		context.AfterFunc(c.quic.Context(), func() {
			switch why := context.Cause(c.quic.Context()); {
			case yielded(why):
				p.giveUp(c, errLossy)
			case isOfSocket(why):
				p.giveUp(c, why)
			default:
				p.drop(c)
			}
		})
	}
	close(d.done)
}

// isOfSocket tells whether a connection has ended for what the system says of its socket:
// another one, which may well be made, would soon end like this.
func isOfSocket(err error) bool {
	_, is := errors.AsType[*net.OpError](err)
	return is && !errors.Is(err, net.ErrClosed)
}

// giveUp has c take no more requests, for there is a better way, and ends those of it
// that may go once more.
func (p *pool) giveUp(c *conn, why error) {
	p.mu.Lock()
	past, once := p.current != nil && p.current != c, c.once
	p.mu.Unlock()
	if !past && p.lost != nil {
		p.lost(why) // before somebody begins another one
	}
	p.drop(c)
	if once == 0 { // else they may still be answered
		_ = c.quic.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), why.Error())
	}
}

// counts notes that a request that may not go twice begins, or has ended.
func (p *pool) counts(c *conn, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.once += n
}

// release says that a request is over.
func (p *pool) release(c *conn) {
	p.mu.Lock()
	c.uses--
	unused := c.uses == 0
	if unused {
		c.idle.Reset(idleLimit)
	}
	over := unused && c.retired
	p.mu.Unlock()
	if over {
		c.stop()
	}
}

// drop lets c take no more requests, and ends it when it has none.
func (p *pool) drop(c *conn) {
	p.mu.Lock()
	if p.current == c {
		p.current = nil
	}
	c.retired = true
	over := c.uses == 0
	p.mu.Unlock()
	if over {
		c.stop()
	}
}

// stop closes a connection that no request uses.
func (c *conn) stop() {
	c.idle.Stop()
	c.pulse.stop()
	c.close()
}

// CloseIdleConnections implements fronted.Pool: those under way are the last ones
// of their connection.
func (p *pool) CloseIdleConnections() {
	p.mu.Lock()
	c := p.current
	p.forsakeDialing()
	p.mu.Unlock()
	if c != nil {
		p.drop(c)
	}
}
