package h3

import (
	"errors"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"relaymux/mux/gso"
)

// How long nothing at all may come after something was sent. Each packet with bytes of
// a stream is acknowledged within a round trip and 25 ms (RFC 9000 section 13.2.1), or
// sent again after about as long, doubling (RFC 9002 section 6.2): by then three of
// these, or their acknowledgements, were lost in a row.
const (
	pulseLeast = 300 * time.Millisecond
	pulseTrips = 3
	pulseMore  = 100 * time.Millisecond

	pulseGuess   = 100 * time.Millisecond // a round trip that quic-go has not measured,
	pulseUnknown = time.Second            // and what it is taken for here
)

var (
	errSilent = errors.New("nothing comes any more")
	errLossy  = errors.New("too many packets get lost")
)

// A pulse finds out that a connection is dead, or does badly, while its owner still has
// another way. It costs nothing while nothing is sent.
type pulse struct {
	stats func() quic.ConnectionStats
	lost  func(why error) // called once

	mu      sync.Mutex
	loss    *gso.Loss // nil: the other way would do no better
	timer   *time.Timer
	running bool      // it is
	mark    uint64    // packets that had come when what waits for an answer was sent
	since   time.Time // the first of that
	over    bool
}

func newPulse(stats func() quic.ConnectionStats, loss *gso.Loss, lost func(why error)) *pulse {
	p := &pulse{stats: stats, loss: loss, lost: lost}
	p.timer = time.AfterFunc(time.Hour, p.expire)
	p.timer.Stop()
	return p
}

// sent says that something is about to be sent. p may be nil.
func (p *pulse) sent() {
	if p != nil && p.lossy() {
		p.lost(errLossy)
	}
}

// lossy notes that something is sent, and reports whether too much of that gets lost.
func (p *pulse) lossy() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return false
	}
	s := p.stats()
	if n := s.PacketsReceived; !p.running || n != p.mark {
		p.mark, p.since = n, time.Now()
	}
	if !p.running {
		p.running = true
		p.timer.Reset(patience(s))
	}
	p.over = p.loss != nil && p.loss.Lossy(s.PacketsSent, s.PacketsLost)
	return p.over
}

// patience is how long nothing at all may come. Without a sample quic-go tells a guess.
func patience(s quic.ConnectionStats) time.Duration {
	trip := s.SmoothedRTT
	if trip == pulseGuess && s.MeanDeviation == 0 {
		trip = pulseUnknown
	}
	return max(pulseLeast, pulseTrips*trip+pulseMore)
}

func (p *pulse) expire() {
	if p.dead() {
		p.lost(errSilent)
	}
}

// dead reports whether nothing has come for too long, and waits for the rest of that
// if it is still to be seen.
func (p *pulse) dead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats()
	if p.over || s.PacketsReceived != p.mark {
		p.running = false
		return false
	}
	if left := patience(s) - time.Since(p.since); left > 0 {
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
