package link

import (
	"testing"
	"time"
)

// What windows become, on both sides of each limit.
func TestGrowth(t *testing.T) {
	const (
		first = 256 << 10
		size  = 64 << 20
		rtt   = time.Second
		free  = 42 << 20
	)
	now := time.Unix(1e9, 0)
	pool := NewPool(size)
	type grower struct {
		s *Stream
		g Growth
	}
	c := NewConn(Config{Client: true}, nil)
	begin := func() *grower {
		s := c.Open("h", 1, false, false, first)
		return &grower{s, pool.Grow(first)}
	}
	// read has n bytes come, of which all but left are consumed.
	read := func(a *grower, n, left int) int {
		now = now.Add(rtt)
		i := &a.s.in
		i.next += uint64(n)
		i.highest = i.next
		i.consumed = i.next - uint64(left)
		a.g.Renew(now, a.s, rtt, free)
		return a.s.Window()
	}
	alone := begin()
	if w := read(alone, first*3/4-1, 0); w != first {
		t.Errorf("not used up: %d", w)
	}
	if w := read(alone, 1, first/4); w != first {
		t.Errorf("used up and not read: %d", w)
	}
	if w := read(alone, 0, 0); w != first+(size-first)/8*5 {
		t.Errorf("alone: %d", w)
	}
	// Another one grows step by step, to its part of what is left, until it is proven
	// that it is read.
	other := begin()
	part := (size - 2*first - (size-first)/8*5) / 4
	for round, want := range []int{growthStep, 4 * growthStep, 16 * growthStep, part, part} {
		if w := read(other, other.s.Window(), 0); w != first+want {
			t.Errorf("round %d: %d, want %d", round, w, first+want)
		}
	}
	read(other, other.s.Window(), 0) // by four times, no more
	if w, want := read(other, other.s.Window(), 0), (free-size/64)/4*3; w != want {
		t.Errorf("proven: %d, want %d", w, want)
	}
	alone.g.Release()
	alone.g.Release()
	alone.g.mark = 0
	if w := alone.s.Window(); read(alone, size, 0) != w {
		t.Error("a released one grows")
	}
	other.g.Release()
	if p, n := pool.promised.Load(), pool.grown.Load(); p != 0 || n != 0 {
		t.Errorf("%d bytes and %d streams are missing in the pool", p, n)
	}
	pool = NewPool(4 * size)
	// Of a hundred that stop, each as soon as it was used up twice, a tenth is left.
	for range 100 {
		a := begin()
		read(a, first, 0)
		read(a, a.s.Window(), 0)
	}
	if left := 4*size - int(pool.promised.Load()); left < size/10 {
		t.Errorf("a hundred leave %d", left)
	}
}

// TestHostile82_ReadersThatStop: downloads that were read and stop one after the other had
// large windows. There is still something left for others.
func TestHostile82_ReadersThatStop(t *testing.T) {
	const first, size = 32 << 10, 24 << 20            // the first is as small as that when little is free
	for _, each := range []int{10 << 20, 100 << 20} { // bytes that are read before
		now, rtt := time.Unix(1e9, 0), time.Millisecond
		pool, c, held := NewPool(size), NewConn(Config{Client: true}, nil), 0
		for range 10 {
			s := c.Open("h", 1, false, false, first)
			g := pool.Grow(first)
			for i := &s.in; int(i.next) < each; {
				i.next += uint64(s.Window())
				i.highest, i.consumed = i.next, i.next
				now = now.Add(rtt)
				g.Renew(now, s, rtt, size-held)
			}
			held = min(held+s.Window(), size) // it is full of what nobody reads
		}
		if left := size - held; left < first {
			t.Errorf("10 that stop after %d bytes leave %d", each, left)
		}
	}
}
