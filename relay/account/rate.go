package account

import (
	"math"
	"time"
)

// rateMemory is how far back the rate looks: long enough that a page is no
// alarm, short enough that a film is one before it is over.
const rateMemory = 10 * time.Minute

// rate is a number of attempts that fades: each counts e times less after each
// rateMemory.
type rate struct {
	count float64
	at    time.Time // of the latest attempt
}

func (r *rate) note(now time.Time) {
	r.count, r.at = r.faded(now)+1, now
}

func (r *rate) faded(now time.Time) float64 {
	return r.count * math.Exp(-float64(max(0, now.Sub(r.at)))/float64(rateMemory))
}

// perHour is the attempts per hour, if it goes on like this.
func (r *rate) perHour(now time.Time) float64 {
	return r.faded(now) * float64(time.Hour) / float64(rateMemory)
}
