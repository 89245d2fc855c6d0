package exit

import (
	"time"
)

// linkNews is what a link has to tell, and which streams an answer is due from.
// All of it is under the link's lock.
type linkNews struct {
	first, last time.Time // when the first of it came, and the latest; zero: none
	alone       time.Time // when the first came that is of no stream, or has waited already
	low         time.Time // since when the client's windows are low, and there is no other news
	fresh       []linkFlow
	waits       map[*linkTCP]struct{} // their clients have sent bytes, and nothing has come
	way         time.Duration         // the shortest that was known last
}

// note has f's news told; urgent are those that nobody should have to wait for.
func (l *linkEnd) note(f linkFlow, urgent bool) {
	b := f.base()
	b.came = time.Now()
	b.urgent = b.urgent || urgent
	if !b.noted {
		b.noted = true
		l.news.fresh = append(l.news.fresh, f)
	}
	l.grew(b.came)
}

// urge has the client told of something that is not payload, such as a dial's
// outcome.
func (l *linkEnd) urge() {
	now := time.Now()
	if l.news.alone.IsZero() {
		l.news.alone = now
	}
	l.grew(now)
}

func (l *linkEnd) grew(now time.Time) {
	if l.news.first.IsZero() {
		l.news.first = now
	}
	l.news.last = now
}

// tell forgets the news, for an answer takes them along. What it has no room for
// is the next one's.
func (l *linkEnd) tell(now time.Time) {
	n := &l.news
	for i, f := range n.fresh {
		f.base().noted, f.base().urgent = false, false
		n.fresh[i] = nil
	}
	n.fresh = n.fresh[:0]
	n.first, n.last, n.alone, n.low = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	if l.conn.HasNews() {
		l.grew(now)
	}
}

// tidings is how the news stand. Nothing is due while an answer that will take
// them is being made.
func (l *linkEnd) tidings(now time.Time) (t tidings) {
	n := &l.news
	if l.answering > 0 {
		return t
	}
	if !l.conn.HasNews() {
		return n.windows(now, l.conn.WindowLow())
	}
	t.any = true
	if n.first.IsZero() { // what was lost, or could not go before
		l.urge()
	}
	d := way(l.parked)
	settle := linkSettle(d)
	t.first, t.last, t.expects = n.first, n.last, l.expects(now, d)
	if !n.alone.IsZero() {
		t.urgent = n.alone.Add(settle)
	}
	for _, f := range n.fresh {
		t.pending += f.pending()
		ripe := f.ripe(d)
		if !f.base().urgent {
			t.ripe = later(t.ripe, ripe)
			continue
		}
		if at := later(f.base().came.Add(settle), ripe); t.urgent.IsZero() || at.Before(t.urgent) {
			t.urgent = at
		}
	}
	return t
}

// windows are tidings of nothing but windows: the client has half of one left.
func (n *linkNews) windows(now time.Time, low bool) (t tidings) {
	switch {
	case !low:
		n.low = time.Time{}
	case n.low.IsZero():
		n.low = now
	}
	return tidings{any: low, windows: low, first: n.low, last: n.low}
}

// expects reports whether a stream is likely to get its first byte soon.
func (l *linkEnd) expects(now time.Time, way time.Duration) bool {
	for t := range l.news.waits {
		if t.awaits(now, way) {
			return true
		}
		delete(l.news.waits, t)
	}
	return false
}
