package mux

import "time"

// A ceiling is how large the bodies are that a relay takes, as it has shown by refusing
// larger ones. The zero value is that it has refused none.
//
// Most relays mean what they say, but some were only short of room for a while. So now and
// then one body may have twice the size: it is a trial if it comes to be larger than what
// is known to pass. One that passes is followed by the next at once; after one that does not
// it takes twice as long until the next.
type ceiling struct {
	learned int           // bytes that pass, or half of what did not; 0: it has refused none
	tries   bool          // a trial is on its way
	next    time.Time     // when there may be another trial
	rest    time.Duration // from a failed one to the next
}

const (
	ceilingRest     = time.Minute
	ceilingRestMost = time.Hour
)

// limit is how many bytes the next body may have: most if the relay has refused none.
func (c *ceiling) limit(most int, now time.Time) int {
	switch {
	case c.learned == 0 || c.learned >= most:
		return most
	case now.Before(c.next):
		return c.learned
	}
	return min(2*c.learned, most)
}

// sent notes that a body of so many bytes is on its way.
func (c *ceiling) sent(bytes int, now time.Time) {
	if c.learned > 0 && bytes > c.learned && !now.Before(c.next) {
		c.tries, c.next = true, now.Add(c.rest)
	}
}

// passed notes that a body of so many bytes was not too large.
func (c *ceiling) passed(bytes int) {
	if c.learned > 0 && bytes > c.learned {
		*c = ceiling{learned: bytes, rest: ceilingRest}
	}
}

// refused notes that a body of so many bytes was too large, and reports whether that is
// news: neither a trial nor what was sent before the latest refusal became known is.
func (c *ceiling) refused(bytes int, now time.Time) bool {
	if c.learned > 0 && bytes > c.learned {
		if c.tries {
			c.tries, c.rest = false, min(2*c.rest, ceilingRestMost)
			c.next = now.Add(c.rest)
		}
		return false
	}
	if half := max(bytes/2, bodyLeast); c.learned == 0 || half < c.learned {
		*c = ceiling{learned: half, next: now.Add(ceilingRest), rest: ceilingRest}
		return true
	}
	return false
}
