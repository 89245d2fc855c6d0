package exit

import "time"

// When an exchange of a link is answered, and which one. A client keeps some of
// them open here, so that whatever the targets send finds a way at once; each
// answer costs an exchange of its quota, so that it pays to let what belongs
// together go together.
const (
	// linkHold is the longest that an exchange is kept open, whatever its client
	// asks for: above every relay's own limit, of which 6 minutes are the longest.
	linkHold = 10 * time.Minute

	// endsSoon is how near its end an exchange carries the news in any case: it
	// would be answered for nothing a moment later.
	endsSoon = time.Second

	// While others of its streams wait for their first byte, the news of one
	// that waited for it too wait for stepShare of a way, but gatherStep at
	// most, for the next; and in all for gatherShare of a way, but writeLimit
	// at most. The origins of one page answer within 20..150 ms.
	gatherStep  = settleStep
	stepShare   = 40
	gatherShare = 8

	// Of bytes without end an answer takes what comes within bulkShare of a way,
	// but bulkMost at most: the more, the fewer exchanges; but what arrives
	// first waits for what arrives last.
	bulkMost  = 100 * time.Millisecond
	bulkShare = 16

	// patienceLeft is, besides half of a way, how long a stream whose client has
	// sent bytes counts as one that an answer is due from.
	patienceLeft = 150 * time.Millisecond

	// pathMost bounds what a client says of a path.
	pathMost = time.Minute
)

// A hold is what the timing needs to know of an exchange that is kept open.
type hold struct {
	until time.Time     // its end
	path  time.Duration // there and back, as far as its client knows; 0: it does not
	room  int           // payload that its answer takes
}

// tidings are what a link has to tell its client, as far as the timing goes. The
// zero value is nothing.
type tidings struct {
	any         bool
	windows     bool      // nothing but windows, which can wait for what is worth an answer
	first, last time.Time // when the first of it came, and the latest
	urgent      time.Time // when something must go that nobody should have to wait for; zero: nothing
	expects     bool      // other streams wait for their first byte
	ripe        time.Time // when none of the streams in slow start is likely to get more
	pending     int       // bytes
}

// nextAnswer returns which of the exchanges, the oldest first, is the next to be
// answered, and when, if nothing changes; -1 is none. keep is how many of them the
// client wants to be kept.
func nextAnswer(now time.Time, parked []*linkExchange, keep int, t *tidings) (i int, at time.Time) {
	if len(parked) == 0 {
		return -1, at
	}
	if i := surplus(parked, keep); i >= 0 {
		return i, now
	}
	for k, x := range parked {
		if k == 0 || x.until.Before(at) {
			i, at = k, x.until
		}
	}
	if !t.any {
		return i, at
	}
	news := i
	if at.Sub(now) > endsSoon || !parked[i].takes() {
		news = shortest(parked)
	}
	if news < 0 {
		return i, at
	}
	if due := t.due(parked[news].room, way(parked)); due.Before(at) {
		return news, due
	}
	return i, at
}

// surplus is the oldest exchange if there are more than keep, -1 if not. Pipes do
// not count.
func surplus(parked []*linkExchange, keep int) (oldest int) {
	oldest = -1
	for i, x := range parked {
		if x.pipe {
			keep++
		} else if oldest < 0 {
			oldest = i
		}
	}
	if len(parked) > keep {
		return oldest
	}
	return -1
}

// shortest is the exchange with the shortest way back of those that take news, the
// oldest of several; -1: there is none.
func shortest(parked []*linkExchange) (i int) {
	i = -1
	for k, x := range parked {
		if x.takes() && (i < 0 || x.path < parked[i].path) {
			i = k
		}
	}
	return i
}

// takes reports whether news may go by x.
func (x *linkExchange) takes() bool { return !x.pipe || x.stands }

// way is the shortest path that is known, 0 if none is.
func way(parked []*linkExchange) (d time.Duration) {
	for _, x := range parked {
		if x.path > 0 && (d == 0 || x.path < d) {
			d = x.path
		}
	}
	return d
}

// due is when an answer that takes room bytes should go, way being the shortest
// there and back.
func (t *tidings) due(room int, way time.Duration) time.Time {
	most := t.first.Add(min(writeLimit, way/gatherShare))
	at := t.last.Add(linkSettle(way))
	switch {
	case t.windows:
		return t.first.Add(min(bulkMost, way/bulkShare))
	case t.pending >= room:
		return t.first
	case t.pending >= streaming:
		most = t.first.Add(min(bulkMost, way/bulkShare))
	default:
		if t.expects {
			at = t.last.Add(max(linkSettle(way), min(gatherStep, way/stepShare)))
		}
		ripe := sooner(t.ripe, t.first.Add(min(writeLimit, way/patience)))
		at, most = later(at, ripe), later(most, ripe)
	}
	at = sooner(at, most)
	if !t.urgent.IsZero() {
		at = sooner(at, t.urgent)
	}
	return at
}

// linkSettle is how long news wait for more in any case: for the second segment
// of what began to arrive. Where that would take no timer, it is nothing; a way
// that is not known is taken for a short one.
func linkSettle(way time.Duration) time.Duration {
	if way < time.Millisecond {
		return 0
	}
	return settleFor(uint64(way / time.Millisecond))
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func sooner(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
