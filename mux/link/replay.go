package link

const (
	// ReplayWindow is how far below the highest record number a late one is
	// still told from a repeated one: 60 exchanges in flight x 256 records x 4,
	// which is 61,440, rounded up to a power of two.
	ReplayWindow = 1 << 16

	replayPageBits = 1 << 12 // of 512 bytes
	// A window that starts in the middle of a page touches one more.
	replayPages = ReplayWindow/replayPageBits + 1
)

// A Replay remembers which record numbers of one direction of a link have come.
// It takes 512 bytes for each 4,096 numbers that it has met, 8.5 KiB at most.
// It is not safe for concurrent use; the zero value has met none.
type Replay struct {
	top   uint64 // the highest number that came, or 0
	pages [replayPages]*replayPage
}

type replayPage [replayPageBits / 64]uint64

// Fresh reports whether n comes for the first time, and remembers it. What is
// below the window is refused, having come or not: its frames are sent again
// like those of a lost record. n belongs to a record that has been opened.
func (r *Replay) Fresh(n uint64) bool {
	if n > r.top {
		r.advance(n)
	} else if r.top-n >= ReplayWindow {
		return false
	}
	p := &r.pages[n/replayPageBits%replayPages]
	if *p == nil {
		*p = new(replayPage)
	}
	word, bit := &(*p)[n%replayPageBits/64], uint64(1)<<(n%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// advance moves the window up to n. The pages that come into it are those that
// have fallen out of it, wiped.
func (r *Replay) advance(n uint64) {
	last := n / replayPageBits
	first := max(r.top/replayPageBits+1, last-min(last, replayPages-1))
	for i := first; i <= last; i++ {
		if p := r.pages[i%replayPages]; p != nil {
			*p = replayPage{}
		}
	}
	r.top = n
}
