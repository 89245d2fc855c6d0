package mux

import "time"

// A ceiling is how large the bodies are that a relay takes, as it has shown by refusing
// larger ones. The zero value is that it has refused none.
//
// Most relays mean what they said, but some were only short of room for a while. So what
// was learned is doubled now and then; each time that is refused, it takes twice as long
// until the next. A trial costs one wave of refused exchanges, which are sent again.
type ceiling struct {
	learned int           // bytes, when
	at      time.Time     // it was learned; 0 bytes: it has refused none
	rest    time.Duration // after which it is doubled, and again each time
}

const (
	ceilingRest     = time.Minute
	ceilingRestMost = time.Hour
)

// now is how many bytes a body may have, 0 if none has been refused.
func (c *ceiling) now(now time.Time) int {
	if c.learned == 0 {
		return 0
	}
	const most = 7 // times: beyond all that is sent, and within an int of 32 bits
	return c.learned << min(max(now.Sub(c.at), 0)/c.rest, most)
}

// limit is the least of it and of so many bytes.
func (c *ceiling) limit(bytes int, now time.Time) int {
	if most := c.now(now); most > 0 {
		return min(bytes, most)
	}
	return bytes
}

// refused notes that a body of so many bytes was too large, and reports whether that is
// news: what was sent before the latest refusal became known says nothing more.
func (c *ceiling) refused(bytes int, now time.Time) bool {
	is, learned := c.now(now), max(bytes/2, bodyLeast)
	switch {
	case is == 0:
		c.rest = ceilingRest
	case learned >= is:
		return false
	case is > c.learned: // a trial
		c.rest = min(2*c.rest, ceilingRestMost)
	}
	c.learned, c.at = learned, now
	return true
}
