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
	held   atomic.Int64
}

// allows reports whether the owner may have n bytes more.
func (c *claim) allows(n int) bool {
	held := c.held.Load()
	want := held + int64(n)
	return n == 0 || want <= lean || want <= (c.budget.Free()+held)/4
}

// charge adds n bytes, whether allowed or not.
func (c *claim) charge(n int) {
	c.held.Add(int64(n))
	c.budget.Force(n)
}

// discharge gives n bytes back.
func (c *claim) discharge(n int) {
	c.handOver(n)
	c.budget.Return(n)
}

// handOver leaves it to the next owner of n bytes to give them back.
func (c *claim) handOver(n int) { c.held.Add(-int64(n)) }

// release gives a charged buffer back.
func (c *claim) release(b *buf.Buf) {
	c.discharge(cap(b.B))
	b.Release()
}
