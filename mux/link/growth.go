package link

import (
	"sync/atomic"
	"time"
)

// A Pool is the memory that the windows of several streams are promises of. What a
// window has been cannot be taken back, and a stream that is not read any more keeps
// all of it full. So the first to grow gets five eighths, and each that follows a
// smaller part of what is left, in steps that it must have used up: of a hundred streams
// that stop one after the other a tenth is left, which is for those that are proven
// to be read. It is safe for concurrent use.
type Pool struct {
	size     int64
	promised atomic.Int64 // the windows of all streams
	grown    atomic.Int64 // how many have grown
}

// NewPool returns a pool of streams that may have size bytes in their memory.
func NewPool(size int) *Pool { return &Pool{size: int64(size)} }

// A Growth is how far the window of one stream has grown.
type Growth struct {
	pool    *Pool
	first   int       // the window at first
	grown   int       // and what it has grown by
	mark    uint64    // received when it was last used up
	rounds  int       // round trips in which it was
	roundAt time.Time // the last of these
}

const (
	// growthStep is by how much a window grows first if others have grown. It is
	// four times as much after each step that was used up.
	growthStep = 256 << 10

	// provenRounds is in how many round trips a window must have been used up to
	// be one of a stream that is read: what only fills a socket's buffer, which
	// buf.LimitUnsent keeps small, stops before.
	provenRounds = 6

	// WindowMost is the largest window: 1.5 s at 350 Mbit/s.
	WindowMost = 64 << 20
)

// Grow returns the growth of a new stream whose window is first. It is to be
// released.
func (p *Pool) Grow(first int) Growth {
	p.promised.Add(int64(first))
	return Growth{pool: p, first: first}
}

// Renew sets the window of s, after Consumed: a larger one if it was used up and
// read, up to what fills the path; a smaller one is only not renewed. rtt is that of
// an exchange, and free what is left of the memory.
func (g *Growth) Renew(now time.Time, s *Stream, rtt time.Duration, free int) {
	w, waiting := s.Window(), int(s.in.next-s.in.consumed)
	if g.pool == nil { // released: what is still written renews nothing
		return
	}
	if waiting >= w/4 || s.Received()-g.mark < uint64(w/4*3) {
		return
	}
	g.mark = s.Received()
	if now.Sub(g.roundAt) >= rtt/2 {
		g.rounds, g.roundAt = g.rounds+1, now
	}
	most, step := g.bounds()
	// A little is for others in any case: this one, and more like it, may stop after all.
	free -= int(g.pool.size / 64)
	if g.rounds >= provenRounds {
		most = max(most, min(free/4*3, WindowMost))
	}
	most = min(most, max(w, free))
	if w = min(most, g.first+max(4*g.grown, step)); w > g.first+g.grown {
		g.set(w)
		s.SetWindow(w)
	}
}

// bounds is how large the window may be, and what it grows by at first.
func (g *Growth) bounds() (most, step int) {
	left := max(0, int(g.pool.size-g.pool.promised.Load())) + g.grown
	n := int(g.pool.grown.Load())
	if g.grown == 0 {
		n++
	}
	most, step = left/(2*n), growthStep
	if n == 1 {
		most, step = left/8*5, left/8*5
	}
	return g.first + min(most, WindowMost), step
}

func (g *Growth) set(w int) {
	if g.grown == 0 {
		g.pool.grown.Add(1)
	}
	g.pool.promised.Add(int64(w - g.first - g.grown))
	g.grown = w - g.first
}

// Release gives the window back to the pool: the stream is over.
func (g *Growth) Release() {
	if g.pool == nil {
		return
	}
	g.pool.promised.Add(int64(-g.first - g.grown))
	if g.grown > 0 {
		g.pool.grown.Add(-1)
	}
	*g = Growth{}
}
