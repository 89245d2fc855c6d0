package mux

import (
	"slices"
	"time"
)

// recentMost is how many exchanges tell how long one takes of late: by the 95th of a
// hundred of 64 three may be worse.
const recentMost = 64

// A recent is how long the latest exchanges took. The zero value is empty.
type recent struct {
	took [recentMost]time.Duration
	n    int // of all
}

func (r *recent) add(took time.Duration) {
	r.took[r.n%recentMost] = took
	r.n++
}

// list returns them, in no order.
func (r *recent) list() []time.Duration { return slices.Clone(r.took[:min(r.n, recentMost)]) }

// quantile is what so many in a hundred of the sorted times did not exceed, 0 if
// there are none.
func quantile(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)*percent+99)/100-1]
}
