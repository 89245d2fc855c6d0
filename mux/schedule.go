package mux

import "time"

// A schedule is places in the order of their times: a binary heap. The zero
// value is empty.
type schedule struct{ heap []appointment }

type appointment struct {
	place
	at time.Time
}

func (s *schedule) len() int { return len(s.heap) }

// due is how many places there are whose time has come, at most so many. Those that were
// left do not count.
func (s *schedule) due(now time.Time, most int) (n int) {
	for i := range s.heap {
		if n == most {
			break
		}
		if a := &s.heap[i]; a.turn == a.f.turn && !a.f.pollAt.After(now) {
			n++
		}
	}
	return n
}

// first returns the place whose time is next; there must be one.
func (s *schedule) first() place { return s.heap[0].place }

func (s *schedule) push(p place, at time.Time) {
	s.heap = append(s.heap, appointment{p, at})
	for i := len(s.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if !s.heap[i].at.Before(s.heap[parent].at) {
			return
		}
		s.heap[i], s.heap[parent] = s.heap[parent], s.heap[i]
		i = parent
	}
}

// pop takes first out.
func (s *schedule) pop() {
	last := len(s.heap) - 1
	s.heap[0] = s.heap[last]
	s.heap[last] = appointment{}
	s.heap = s.heap[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if s.heap[child].at.Before(s.heap[least].at) {
				least = child
			}
		}
		if least == i {
			return
		}
		s.heap[i], s.heap[least] = s.heap[least], s.heap[i]
		i = least
	}
}
