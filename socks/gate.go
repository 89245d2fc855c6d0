package socks

import (
	"container/list"
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/rule"
)

// Half-open connections are cheap to make and held on purpose by a slowloris
// client. Of one source, more than maxHalfOpen make the oldest go, and when the
// house is full, the oldest of all does, but only when it had halfOpenGrace: an
// honest application sends its handshake at once, also when it opens a thousand
// connections in one burst, and is never hit.
const (
	maxHalfOpen   = 256
	halfOpenGrace = time.Second
)

// After a last reply the client's input is read for at most lingerTime and
// lingerBytes, see hangUp. RFC 1928, section 6 allows 10 s to close.
const (
	lingerTime  = 2 * time.Second
	lingerBytes = 64 << 10
)

// client is one accepted connection, until it is closed or handed over.
type client struct {
	net.Conn
	source netip.AddrPort
	local  netip.Addr     // through which it reached us
	via    netip.AddrPort // of the listener
	login  bool           // it must log in, whatever the users are later

	// early was read from Conn ahead of its time. Read returns it first.
	early []byte

	gate *gate
	// The rest is guarded by gate.mu.
	since    time.Time
	halfOpen *list.Element // its place in gate.halfOpen; nil once settled
	inCrowd  *list.Element // its place in gate.crowds, likewise
	udp      *association  // whose control connection it is
	left     bool
	granted  bool // what it asks for is being done, after its login if that is needed
	retired  bool // nothing more is done for it
}

func (c *client) Read(p []byte) (int, error) {
	if len(c.early) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.early)
	if c.early = c.early[n:]; len(c.early) == 0 {
		c.early = nil
	}
	return n, nil
}

// Close closes the connection and frees its place.
func (c *client) Close() error {
	c.gate.leave(c)
	return c.Conn.Close()
}

// CloseWrite lets net/http finish a connection as gently as hangUp does.
func (c *client) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// reset makes Close send RST, so that what was cut short does not look whole.
func (c *client) reset() { buf.Linger(c.Conn, buf.ByRST) }

// hangUp says reply and closes. It reads what the client still sends, a
// little and for a moment: closing with input unread sends RST, and that may
// overtake the reply (RFC 9112, section 9.6).
func (c *client) hangUp(reply []byte) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(lingerTime))
	if _, err := c.Conn.Write(reply); err != nil {
		return
	}
	if c.CloseWrite() == nil {
		io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
}

// gate counts who is in, and decides who may come in.
type gate struct {
	mu       sync.Mutex
	max      int                         // 0: no limit
	open     int                         // entered and not left
	waiting  map[*client]struct{}        // of these, the ones not handed over
	halfOpen list.List                   // of these, the half-open ones, oldest first
	crowds   map[netip.Prefix]*list.List // the same by source
	drained  chan struct{}               // not nil once somebody waits; closed when waiting is empty
}

func newGate(max int) *gate {
	return &gate{max: max, waiting: make(map[*client]struct{}), crowds: make(map[netip.Prefix]*list.List)}
}

// enter takes c in as half-open. It reports false when the house is full.
func (g *gate) enter(c *client) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.max > 0 && g.open >= g.max {
		if !g.evictLocked(&g.halfOpen) {
			return false
		}
	}
	g.open++
	g.waiting[c] = struct{}{}

	c.since = time.Now()
	key := rule.Source(c.source.Addr())
	crowd := g.crowds[key]
	if crowd == nil {
		crowd = list.New()
		g.crowds[key] = crowd
	}
	c.halfOpen, c.inCrowd = g.halfOpen.PushBack(c), crowd.PushBack(c)
	if crowd.Len() > maxHalfOpen {
		g.evictLocked(crowd)
	}
	return true
}

// evictLocked closes the oldest of these half-open ones and frees its place. It reports
// false when there is none that had halfOpenGrace.
func (g *gate) evictLocked(of *list.List) bool {
	front := of.Front()
	if front == nil {
		return false
	}
	c := front.Value.(*client)
	if time.Since(c.since) < halfOpenGrace {
		return false
	}
	c.retired = true
	g.vacateLocked(c)
	c.Conn.Close() // its goroutine sees the error, and leaves
	return true
}

// grant is asked before anything is done for c, and ends its time as half-open. It
// reports false when c was retired.
func (g *gate) grant(c *client) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.settleLocked(c)
	c.granted = !c.retired
	return c.granted
}

// done is for when what was granted is over, and c may ask for more.
func (g *gate) done(c *client) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.granted = false; c.retired {
		c.Conn.Close() // its goroutine sees the error, and leaves
	}
}

// retire closes those of the clients that were not handed over for whom nothing is
// being done, and the others of them as soon as it is done.
func (g *gate) retire(which func(*client) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.waiting {
		if !which(c) {
			continue
		}
		if c.retired = true; !c.granted {
			c.Conn.Close() // its goroutine sees the error, and leaves
		}
	}
}

// control makes c, to whom it was granted, a's control connection.
func (g *gate) control(c *client, a *association) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.udp = a
}

func (g *gate) settleLocked(c *client) {
	if c.halfOpen == nil {
		return
	}
	g.halfOpen.Remove(c.halfOpen)
	key := rule.Source(c.source.Addr())
	crowd := g.crowds[key]
	crowd.Remove(c.inCrowd)
	c.halfOpen, c.inCrowd = nil, nil
	if crowd.Len() == 0 {
		delete(g.crowds, key)
	}
}

// handOver gives c's connection away; c still counts until it leaves.
func (g *gate) handOver(c *client) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forget(c)
}

// leave frees c's place, once.
func (g *gate) leave(c *client) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.vacateLocked(c)
	g.forget(c)
}

func (g *gate) vacateLocked(c *client) {
	if c.left {
		return
	}
	c.left = true
	g.open--
	g.settleLocked(c)
}

func (g *gate) forget(c *client) {
	if _, ok := g.waiting[c]; !ok {
		return
	}
	delete(g.waiting, c)
	if g.drained != nil && len(g.waiting) == 0 {
		close(g.drained)
		g.drained = nil
	}
}

// wait returns nil when no client is left that was not handed over.
func (g *gate) wait(ctx context.Context) error {
	g.mu.Lock()
	if len(g.waiting) == 0 {
		g.mu.Unlock()
		return nil
	}
	if g.drained == nil {
		g.drained = make(chan struct{})
	}
	drained := g.drained
	g.mu.Unlock()

	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// closeSilent closes the half-open connections that had their time to say
// something. Browsers open some in advance, and nobody misses them. Associations
// it has end as soon as they are silent.
func (g *gate) closeSilent() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.waiting {
		switch {
		case c.udp != nil:
			c.udp.drain()
		case c.halfOpen != nil && time.Since(c.since) >= halfOpenGrace:
			c.Conn.Close() // its goroutine sees the error, and leaves
		}
	}
}

// closeAll closes the connections that were not handed over. Their goroutines
// see it, and leave.
func (g *gate) closeAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.waiting {
		c.Conn.Close()
	}
}

func (g *gate) setMax(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.max = n
}

func (g *gate) most() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.max
}

func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}
