package exit

import (
	"time"
)

// linkNews is what a link has to tell, and which streams an answer is due from.
// All of it is under the link's lock.
type linkNews struct {
	first, last time.Time // when the first of it came, and the latest; zero: none
	alone       time.Time // when the first came that is of no stream, or has waited already
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
	n.first, n.last, n.alone = time.Time{}, time.Time{}, time.Time{}
	if l.conn.HasNews() {
		l.grew(now)
	}
}

// tidings is how the news stand. Nothing is due while an answer that will take
// them is being made.
func (l *linkEnd) tidings(now time.Time) (t tidings) {
	n := &l.news
	if t.any = l.answering == 0 && (l.conn.HasNews() || l.conn.WindowLow()); !t.any {
		return t
	}
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
