package h3

import (
	"errors"
	"sync"
	"time"
)

// How long nothing at all may come after something was sent. Each packet with bytes of
// a stream is acknowledged within a round trip and 25 ms (RFC 9000 section 13.2.1), or
// sent again after about as long, doubling (RFC 9002 section 6.2): by then three of
// these, or their acknowledgements, were lost in a row.
const (
	pulseLeast = 300 * time.Millisecond
	pulseTrips = 3
	pulseMore  = 100 * time.Millisecond
)

var (
	errSilent = errors.New("nothing comes any more")
	errLossy  = errors.New("too many packets get lost")
)

// A pulse finds out that a connection is dead while its owner still has another way.
// It costs nothing while nothing is sent.
type pulse struct {
	received func() uint64        // packets
	trip     func() time.Duration // about a round trip
	silent   func()               // called once

	mu      sync.Mutex
	timer   *time.Timer
	running bool      // it is
	mark    uint64    // packets that had come when what waits for an answer was sent
	since   time.Time // the first of that
	over    bool
}

func newPulse(received func() uint64, trip func() time.Duration, silent func()) *pulse {
	p := &pulse{received: received, trip: trip, silent: silent}
	p.timer = time.AfterFunc(time.Hour, p.expire)
	p.timer.Stop()
	return p
}

// sent says that something is about to be sent. p may be nil.
func (p *pulse) sent() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.received(); !p.running || n != p.mark {
		p.mark, p.since = n, time.Now()
	}
	if !p.running && !p.over {
		p.running = true
		p.timer.Reset(p.limit())
	}
}

func (p *pulse) limit() time.Duration { return max(pulseLeast, pulseTrips*p.trip()+pulseMore) }

func (p *pulse) expire() {
	if p.dead() {
		p.silent()
	}
}

// dead reports whether nothing has come for the limit, and waits for the rest of it
// if that is still to be seen.
func (p *pulse) dead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over || p.received() != p.mark {
		p.running = false
		return false
	}
	if left := p.limit() - time.Since(p.since); left > 0 {
		p.timer.Reset(left)
		return false
	}
	p.over = true
	return true
}

// stop ends it. p may be nil.
func (p *pulse) stop() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	p.timer.Stop()
}
