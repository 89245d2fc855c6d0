package account

import "time"

// growEvery is the time without a 429 in which the slots grow: other devices come and go
// in minutes. They grow by one, which costs one refusal if it is too far; but as long as
// they are less than half of what there once was, to twice as many: a burst of refusals
// may have meant the rate, and not the slots.
const growEvery = time.Minute

// slots is how many exchanges may be in flight: what is configured, less what a
// 429 has shown to be others'.
type slots struct {
	most    int
	learned int       // at the time of cut
	half    int       // of what there was then; up to that they double
	cut     time.Time // the latest 429; zero: there was none
	step    bool      // it was only that the slots had grown too far
}

func (s *slots) now(now time.Time) int {
	n, _ := s.grown(now)
	return n
}

// grown is how many there are, and were before they grew last.
func (s *slots) grown(now time.Time) (n, before int) {
	if s.cut.IsZero() {
		return s.most, s.most
	}
	n = min(s.learned, s.most)
	before = n
	for steps := now.Sub(s.cut) / growEvery; steps > 0; steps-- {
		if before = n; n == s.most {
			break // for longer than a step
		}
		n = min(max(n+1, min(2*n, s.half)), s.most)
	}
	return n, before
}

// busy notes a 429 to an exchange that began then, which came while so many were in
// flight, itself included.
func (s *slots) busy(now, began time.Time, inFlight int) {
	n, before := s.grown(now)
	switch {
	case s.step && began.Before(s.cut):
		return // was sent before it was known that the step was too far
	case before < n:
		s.learned, s.half, s.step = before, n/2, true
	case s.cut.IsZero() || s.step || now.Sub(s.cut) >= growEvery:
		s.learned, s.half, s.step = max(1, min(n, inFlight-1)), n/2, false
	default: // one more of those that were sent together
		s.learned = max(1, min(n, inFlight-1))
	}
	s.cut = now
}
