package mux

import (
	"cmp"
	"slices"
	"time"

	"relaymux/relay"
)

// traceMost is how many exchanges of a loop are kept for whoever looks: a minute's
// worth of a busy script, at 150 bytes each.
const traceMost = 64

// A trace is the latest exchanges of one loop that have ended. The zero value is empty.
type trace struct {
	list [traceMost]ExchangeSnapshot
	n    int // of all
}

func (t *trace) add(x ExchangeSnapshot) {
	t.list[t.n%traceMost] = x
	t.n++
}

// all returns them, in no order.
func (t *trace) all() []ExchangeSnapshot { return slices.Clone(t.list[:min(t.n, traceMost)]) }

// An ExchangeSnapshot is an exchange that has ended, and where its time went. What
// it is not known of is zero.
type ExchangeSnapshot struct {
	Deployment string
	Link       bool
	Kind       relay.Kind // 0: a good answer
	Poll       bool       // it carried nothing, and only listened
	Hello      bool       // it was a handshake of the link
	Ops        int
	Up, Down   int // bytes of bodies

	// Queued is what the oldest of what it carried had waited by Began, when it was
	// sent. The others count from then: the whole request was handed down, the answer
	// began to come, it was over.
	Queued             time.Duration
	Began              time.Time
	Wrote, First, Took time.Duration

	// Held is how long the node had it, of First: only the link tells. Of that it took
	// Dial at the most to reach those Reached targets of which this brought the first
	// word; the rest it waited for data.
	Held, Dial time.Duration
	Reached    int
}

// timesOf are when the request was wholly handed down and when the answer began to
// come, counted from when p's transport began; 0: not known.
func timesOf(p *relay.Progress) (wrote, first time.Duration) {
	began, _ := p.Began()
	if at, ok := p.Wrote(); ok {
		wrote = at.Sub(began)
	}
	if at, ok := p.First(); ok {
		first = at.Sub(began)
	}
	return wrote, first
}

// kindOf is the kind of a failure, 0 if there is none.
func kindOf(f *relay.Failure) relay.Kind {
	if f == nil {
		return 0
	}
	return f.Kind
}

// newestFirst sorts exchanges.
func newestFirst(list []ExchangeSnapshot) {
	slices.SortFunc(list, func(a, b ExchangeSnapshot) int { return cmp.Compare(b.Began.UnixNano(), a.Began.UnixNano()) })
}
