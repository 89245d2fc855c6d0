package mux

import (
	"slices"
	"time"
)

// A line is what the link's loop has learned of the way through one deployment.
type line struct {
	paths [32]time.Duration // what exchanges took of late, less what the node held them
	n     int               // of all
	least time.Duration     // of these
	high  time.Duration     // nineteen of twenty took no longer

	down, up speed         // that bodies move at
	body     time.Duration // about the longest that one took of late
	room     int           // payload of an answer; it shrinks where answers come back cut

	pipeAt time.Time     // no pipe is tried before,
	barred time.Duration // for as long as that

	hold  time.Duration // how long a hold may be
	lost  time.Duration // the age at which the last was lost
	most  time.Duration // no hold that long has come back; 0: not known
	until time.Time     // no longer hold is tried before
}

// How long an exchange is held that only waits for data. It begins with holdFirst,
// which hardly any relay cuts, and grows with each that comes back whole, up to
// holdMargin before the exchange's limit: less would leave no time for the way.
const (
	holdFirst  = 15 * time.Second
	holdLeast  = 2 * time.Second
	holdMargin = 5 * time.Second
	holdRetry  = time.Hour // after which a length that got lost is tried again
)

// Bounds of a body.
const (
	roomMost   = 16 << 20
	roomLeast  = 64 << 10
	roomFirst  = 1 << 20
	bodySmall  = 16 << 10
	lineShare  = 2 * time.Second // a body takes about that long on the line at most
	measurable = 64 << 10        // a smaller one tells little of the line
)

func (w *line) init(limit time.Duration) {
	w.room = roomMost
	w.hold = max(min(holdFirst, limit-holdMargin), holdLeast)
}

// took notes how long an exchange was under way, less what the node held it.
func (w *line) took(path time.Duration) {
	w.paths[w.n%len(w.paths)] = path
	w.n++
	if w.n > 8 && w.n%4 != 0 {
		return
	}
	list := slices.Clone(w.paths[:min(w.n, len(w.paths))])
	slices.Sort(list)
	w.least, w.high = list[0], list[len(list)*19/20]
}

// late is by how much one exchange may be later than another, and not be lost.
func (w *line) late() time.Duration {
	if w.n == 0 {
		return 10 * time.Second
	}
	return max(3*(w.high-w.least), time.Second) + 4*w.body
}

// silence is how long past the end of its hold an exchange may be silent.
func (w *line) silence() time.Duration {
	if w.n == 0 {
		return 10 * time.Second
	}
	return max(3*w.high, w.high+time.Second)
}

// A speed is what a line carries in bytes per second, by the bodies that it has
// carried; the zero value is that of a line that is not known.
type speed struct{ mean, last float64 }

// add takes in that a body moved at v. Times are averaged and not speeds: a line that
// has become slow is known for it with two bodies, and one that came out of a buffer
// at once at most doubles what the next may have. A single slow one was held up.
func (s *speed) add(v float64) {
	one := v
	v, s.last = max(v, s.last), one
	if s.mean > 0 {
		v = 2 / (1/v + 1/s.mean)
	}
	s.mean = v
}

// moved notes that a body of n bytes took so long.
func (w *line) moved(s *speed, n int, took time.Duration) {
	w.body = max(took, w.body*7/8)
	if n >= measurable {
		s.add(float64(n) / max(took, time.Microsecond).Seconds())
	}
}

// answerRoom is how much payload the next answer may bring: what the line carries
// in lineShare; of a line that is not known, little enough to find out.
func (w *line) answerRoom() int {
	if w.down.mean == 0 {
		return min(w.room, roomFirst)
	}
	return min(w.room, max(int(w.down.mean*lineShare.Seconds()), roomLeast))
}

// bodyMost is likewise the most of a request.
func (w *line) bodyMost(most int) int {
	if w.up.mean > 0 {
		most = min(most, max(int(w.up.mean*lineShare.Seconds()), bodySmall))
	}
	return most
}

// held notes that a hold of d came back as it should.
func (w *line) held(d, limit time.Duration, now time.Time) {
	if d < w.hold*9/10 {
		return
	}
	w.lost = 0
	next := min(w.hold*4/3, limit-max(holdMargin, 2*w.high))
	if w.most > 0 && next >= w.most && now.Before(w.until) {
		return
	}
	w.hold = max(next, w.hold)
}

// holdLost notes that a hold got lost at the age of d. Twice at a similar age is
// the relay's doing: it cuts there.
func (w *line) holdLost(d time.Duration, now time.Time) {
	if d < holdLeast {
		return
	}
	if w.lost > 0 && d < w.lost*5/4 && d > w.lost*3/4 {
		w.most, w.until = min(d, w.lost), now.Add(holdRetry)
		w.hold = max(min(w.hold*2/3, w.most*4/5), holdLeast)
		w.lost = 0
		return
	}
	w.lost = d
}
