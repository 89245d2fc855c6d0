package buf

import "sync/atomic"

// A Budget bounds the bytes that buffers of one kind may take together. Its
// zero value allows nothing; the methods are safe for concurrent use.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget returns a budget of limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Limit is what it was made for, in bytes.
func (g *Budget) Limit() int64 { return g.limit }

// Free is what is left; it is negative after a Force.
func (g *Budget) Free() int64 { return g.limit - g.used.Load() }

// Used is what is charged now.
func (g *Budget) Used() int64 { return g.used.Load() }

// Try charges n bytes if they fit.
func (g *Budget) Try(n int) bool {
	if g.used.Add(int64(n)) <= g.limit {
		return true
	}
	g.used.Add(-int64(n))
	return false
}

// Force charges n bytes, fitting or not: for what is there already, or for
// the little that everyone must be able to hold so that nothing stands still.
func (g *Budget) Force(n int) { g.used.Add(int64(n)) }

// Return gives n charged bytes back.
func (g *Budget) Return(n int) {
	if g.used.Add(-int64(n)) < 0 {
		panic("buf: more returned to the budget than was charged")
	}
}
