package account

import "time"

// growEvery is the time without a 429 in which the slots grow, by 1, 2, 4, ...: other
// devices come and go in minutes, and a step that is too far costs no more refusals than
// it has slots. After a burst of refusals that meant nothing all 30 are back in 5 minutes.
const growEvery = time.Minute

// slots is how many exchanges may be in flight: what is configured, less what a
// 429 has shown to be others'.
type slots struct {
	most    int
	learned int       // at the time of cut
	cut     time.Time // the latest 429; zero: there was none
}

func (s *slots) now(now time.Time) int {
	if s.cut.IsZero() {
		return s.most
	}
	const doubled = 30 // times; more than any account has
	steps := min(max(0, now.Sub(s.cut))/growEvery, doubled)
	return min(s.most, s.learned+1<<steps-1)
}

// busy notes a 429 that came while so many were in flight, itself included.
func (s *slots) busy(now time.Time, inFlight int) {
	s.learned, s.cut = max(1, min(s.now(now), inFlight-1)), now
}
