package exit

import (
	"sync/atomic"

	"relaymux/mux/buf"
)

// lean is what an owner that holds nothing may always have: without it nothing
// would move, and no memory get free.
const lean = 4 << 10

// A claim is what one owner holds of a budget that many share, in bytes of
// buffer capacity.
//
// Nobody is to hold more than a quarter of what the others leave: with k greedy
// owners each ends up with limit/(3+k), and three times as much stays free for
// those who come next. So there is neither a queue for memory nor anybody to
// wait for. A race between two owners costs a buffer or two.
type claim struct {
	budget *buf.Budget
	of     *holding // what the owner's client holds of it in all, nil: nobody counts
	held   atomic.Int64

	// half has the owner hold up to a half: with k of them limit/(1+k), and as
	// much stays free. A stream of a link keeps what it has sent until it is
	// acknowledged, so that its claim is the most that a path can have on it.
	half bool
}

// most is how many bytes the owner may hold.
func (c *claim) most() int64 {
	room := c.budget.Free() + c.held.Load()
	if c.half {
		return room / 2
	}
	return room / 4
}

// allows reports whether the owner may have n bytes more.
func (c *claim) allows(n int) bool {
	want := c.held.Load() + int64(n)
	return n == 0 || want <= lean || want <= c.most() && c.of.allows(n, c.budget)
}

// lend returns a charged buffer for a read of size bytes, or of less if memory is
// short. It takes no lock, for it is called from within a RawConn, whose Close
// waits for it.
func (c *claim) lend(size int) *buf.Buf {
	if !c.allows(size) {
		size = min(size, lean)
	}
	c.charge(size) // first: a new buffer may have to wait for the collector, and others ask meanwhile
	b := buf.Get(size)
	c.charge(cap(b.B) - size)
	return b
}

// charge adds n bytes, whether allowed or not.
func (c *claim) charge(n int) {
	c.held.Add(int64(n))
	c.of.add(n)
	c.budget.Force(n)
}

// discharge gives n bytes back.
func (c *claim) discharge(n int) {
	c.handOver(n)
	c.budget.Return(n)
}

// handOver leaves it to the next owner of n bytes to give them back.
func (c *claim) handOver(n int) {
	c.held.Add(-int64(n))
	c.of.add(-n)
}

// forget is for an owner who is no more: what he still held has been given back by others.
func (c *claim) forget() { c.of.add(-int(c.held.Swap(0))) }

// release gives a charged buffer back.
func (c *claim) release(b *buf.Buf) {
	c.discharge(cap(b.B))
	b.Release()
}

// fit is b.Fit of a charged buffer.
func (c *claim) fit(b *buf.Buf) *buf.Buf {
	before := cap(b.B)
	if b = b.Fit(); cap(b.B) != before {
		c.charge(cap(b.B))
		c.discharge(before)
	}
	return b
}
