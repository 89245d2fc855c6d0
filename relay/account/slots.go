package account

import "time"

// growEvery is the time without a 429 in which the slots grow by one: other
// devices come and go in minutes, and each step costs at most one refusal.
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
	grown := int64(max(0, now.Sub(s.cut)) / growEvery)
	return int(min(int64(s.most), int64(s.learned)+grown))
}

// busy notes a 429 that came while so many were in flight, itself included.
func (s *slots) busy(now time.Time, inFlight int) {
	s.learned, s.cut = max(1, min(s.now(now), inFlight-1)), now
}
