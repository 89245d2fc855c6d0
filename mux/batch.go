package mux

import "time"

// A pacing says how long a batch waits for company. It is a pure function of
// what the loop knows, so that every edge of it can be put in a table.
//
// An exchange costs quota and takes as long as it takes, so a batch that waits
// a little saves one; a user notices every wait. Therefore: alone on a quiet
// line, fire at once; with company on the way, wait step by step, each step
// from the latest arrival; the busier the slots, the longer altogether. A call's
// datagrams come every 20 ms, all alone, and would take an exchange each: they
// wait for the whole limit, unless there are as many as make a burst.
type pacing struct {
	step, max time.Duration // coalesce_step, coalesce_max
	maxOps    int
}

// A gathering is what waits to be sent.
type gathering struct {
	ops         int
	bytes       int       // encoded
	maxBytes    int       // of a body
	first, last time.Time // arrivals of the oldest and the newest op
	before      time.Time // the arrival before first: a burst that is still going on
	patient     bool      // nothing but datagrams that follow others which are still on their way
	busy, slots int       // exchanges in flight that are no polls, and what is allowed
	rtt         time.Duration
}

// burst is how many datagrams at once are more than a call has within the step
// of a batch, so that what follows them closely is all there is to wait for.
const burst = 8

// fireAt is when the batch goes; not after now means at once.
func (p pacing) fireAt(g gathering) time.Time {
	step, limit := p.waits(g)
	switch {
	case g.ops >= p.maxOps || g.bytes >= g.maxBytes:
		return g.first // full
	case g.patient && g.ops < burst:
		return g.first.Add(limit)
	case g.ops == 1 && g.busy*4 < g.slots && g.first.Sub(g.before) > step:
		return g.first // alone on a quiet line
	}
	at := g.last.Add(step)
	if latest := g.first.Add(limit); latest.Before(at) {
		return latest
	}
	return at
}

// waits returns how long a batch waits after each arrival and altogether.
// Neither may be a noticeable part of the exchange itself: an eighth of its
// round trip, as far as that is known. Only when slots become scarce, from a
// quarter of them on, does the limit grow from there to the configured one.
func (p pacing) waits(g gathering) (step, limit time.Duration) {
	step, limit = p.step, p.max
	if g.rtt > 0 {
		step = min(step, g.rtt/8)
		limit = min(limit, g.rtt/8)
	}
	if scarce := g.busy*4 - g.slots; scarce > 0 && g.slots > 0 {
		grown := (p.max - limit) * time.Duration(scarce) / time.Duration(3*g.slots)
		limit += max(grown, 0)
	}
	return step, max(limit, step)
}
