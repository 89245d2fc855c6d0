package relaytest

import (
	"math/rand/v2"
	"time"
)

// scriptTruncates is where Apps Script cuts what a script returns.
const scriptTruncates = 50 << 20

// Knobs are the faults of one deployment. The zero value is a perfect relay
// without delay. "1 in N" is by chance, 0 is never, 1 always.
type Knobs struct {
	RTT    time.Duration // of a whole exchange: half on the way there, half back
	Jitter time.Duration // each RTT lies evenly in RTT +- Jitter

	// ColdStart is added to the first exchange, and to one after ColdAfter
	// of silence if that is set.
	ColdStart, ColdAfter time.Duration

	Slots         int           // executions at once, 429 beyond; 0 is no limit
	Queue         bool          // beyond Slots executions wait, in the place of the 429
	Run           time.Duration // that an execution takes, beside what the node takes
	ExchangeLimit time.Duration // an execution's longest time, then an error page; 0 is no limit
	MaxBody       int           // bytes of a request's body, 413 beyond; 0 is no limit
	MaxAnswer     int           // bytes at which an answer is cut without a word; 0 is 50 MiB
	Truncate      int           // cut every answer to this many bytes; 0 is not

	Decoy     bool // answer each request with the page of a script that returned nothing
	QuotaPage bool // answer each request with the page of a used-up quota

	// Status is answered to each request in place of 200, with RetryAfter as
	// its header if that is not empty.
	Status     int
	RetryAfter string
	Loop       bool // with a Location that is the request's own

	LoseBefore int // 1 in N: the connection breaks before the node sees the request
	LoseAfter  int // 1 in N: it breaks after the node has served it
	Duplicate  int // 1 in N is run twice; the answer is that of either run
	Late       int // 1 in N is answered LateBy later
	LateBy     time.Duration
}

// fate is what chance decides about one exchange.
type fate struct {
	there, back           time.Duration
	loseBefore, loseAfter bool
	twice, second         bool // run twice; the answer is the second run's
	late                  time.Duration
}

// draw takes as many random numbers whatever the knobs are, so that turning
// one does not change what the others do in a run of the same seed.
func (k *Knobs) draw(rnd *rand.Rand) fate {
	f := fate{
		there:      k.half(rnd),
		back:       k.half(rnd),
		loseBefore: oneIn(k.LoseBefore, rnd),
		loseAfter:  oneIn(k.LoseAfter, rnd),
		twice:      oneIn(k.Duplicate, rnd),
		second:     oneIn(2, rnd),
	}
	if oneIn(k.Late, rnd) {
		f.late = k.LateBy
	}
	return f
}

// half is the delay of one way.
func (k *Knobs) half(rnd *rand.Rand) time.Duration {
	u := 2*rnd.Float64() - 1 // -1..1
	return max(0, (k.RTT+time.Duration(u*float64(k.Jitter)))/2)
}

func oneIn(n int, rnd *rand.Rand) bool {
	u := rnd.Float64()
	return n > 0 && u*float64(n) < 1
}

// maxAnswer is where an answer is cut.
func (k *Knobs) maxAnswer() int {
	cut := scriptTruncates
	if k.MaxAnswer > 0 {
		cut = k.MaxAnswer
	}
	if k.Truncate > 0 {
		cut = min(cut, k.Truncate)
	}
	return cut
}
