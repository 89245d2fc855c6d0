package relaytest

import "maps"

// Outcome is how the emulator ended an exchange.
type Outcome string

const (
	OK         Outcome = "ok"          // the node's answer was handed back, perhaps truncated
	Failed     Outcome = "failed"      // the script answered with a top-level "e"
	WrongKey   Outcome = "wrong_key"   // the decoy page
	Decoyed    Outcome = "decoy"       // Knobs.Decoy
	QuotaUsed  Outcome = "quota"       // Knobs.QuotaPage
	Busy       Outcome = "busy"        // 429, no free slot
	Status     Outcome = "status"      // Knobs.Status
	TooLarge   Outcome = "too_large"   // Knobs.MaxBody
	LostBefore Outcome = "lost_before" // Knobs.LoseBefore
	LostAfter  Outcome = "lost_after"  // Knobs.LoseAfter
	TimedOut   Outcome = "timed_out"   // Knobs.ExchangeLimit
	BadUpload  Outcome = "bad_upload"  // the request's body never came whole
)

// Stats are the counters of one deployment, or the sum of several.
type Stats struct {
	Exchanges map[Outcome]int // those that have ended
	NodeRuns  int             // requests to the node; a duplicated exchange has two
	InFlight  int             // executions that hold a slot now
	Peak      int             // the most InFlight has been; of several, the sum of theirs
	Up, Down  int64           // bytes of request bodies, and of answers that were fetched
}

// Total is the number of exchanges that have ended.
func (s Stats) Total() int {
	n := 0
	for _, count := range s.Exchanges {
		n += count
	}
	return n
}

func (s *Stats) count(o Outcome) {
	if s.Exchanges == nil {
		s.Exchanges = make(map[Outcome]int)
	}
	s.Exchanges[o]++
}

func (s *Stats) add(o Stats) {
	if s.Exchanges == nil {
		s.Exchanges = make(map[Outcome]int)
	}
	for outcome, count := range maps.All(o.Exchanges) {
		s.Exchanges[outcome] += count
	}
	s.NodeRuns += o.NodeRuns
	s.InFlight += o.InFlight
	s.Peak += o.Peak
	s.Up += o.Up
	s.Down += o.Down
}
