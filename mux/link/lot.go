package link

import "time"

// Bounds of a Lot, and how long one should take to write: what is urgent waits behind
// it.
const (
	lotMost = 256 << 10
	lotTime = 200 * time.Millisecond

	// lotSure is how many bytes have to be written, if that takes no time, to show
	// that it is not just a buffer that takes them.
	lotSure = 2 << 20
)

// LotLeast is the least that a lot may have: the largest datagram and the heads.
const LotLeast = 80 << 10

// A Lot is how much one end of a pipe writes at a time: as much as the line takes in
// about 200 ms. The zero value is that of a line that is not known.
type Lot struct {
	size int

	// What was written since the last judgement. Many writes are taken together,
	// for the system makes one wait and takes the next ones at once.
	n    int
	took time.Duration
}

// Size is how many bytes the next may have, heads and tags included.
func (l *Lot) Size() int {
	if l.size == 0 {
		return lotMost
	}
	return l.size
}

// Wrote notes that writing n bytes took so long.
func (l *Lot) Wrote(n int, took time.Duration) {
	l.n += n
	l.took += took
	if l.took < lotTime && l.n < lotSure {
		return
	}
	fits := float64(l.n) * float64(lotTime) / float64(max(l.took, time.Microsecond))
	l.size = int(min(max(fits, LotLeast), lotMost))
	l.n, l.took = 0, 0
}
