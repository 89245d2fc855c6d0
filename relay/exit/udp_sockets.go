package exit

import (
	"errors"
	"sync"
	"time"
)

// evictAfter is how long a socket must have been silent to go in favour of a new
// one: its answer, if there is one, is mostly there by then.
const evictAfter = 2 * time.Second

var errEvicted = errors.New("made room for another")

// udpSockets are the node's UDP sockets, those that are dialled included: most at
// a time. Its lock is the innermost: nothing else is locked under it.
type udpSockets struct {
	mu   sync.Mutex
	most int
	all  map[*udpSocket]struct{}
}

// enter counts u in, and reports whether there is room. One that has been silent
// for long makes room, if there is any: a client that knocks at thousands of
// doors, and forgets them all, must not close them to the others. It is closed
// a moment later than it is counted out.
func (s *udpSockets) enter(u *udpSocket) bool {
	s.mu.Lock()
	var silent *udpSocket
	if len(s.all) >= s.most {
		if silent = s.silent(); silent == nil {
			s.mu.Unlock()
			return false
		}
		delete(s.all, silent)
	}
	s.all[u] = struct{}{}
	s.mu.Unlock()
	if silent != nil {
		silent.fail(errEvicted)
	}
	return true
}

// silent returns one of those that have been silent for the longest time, nil if
// that was less than evictAfter.
func (s *udpSockets) silent() (found *udpSocket) {
	sample := 16 // its longest silent is, on average, among the longest sixteenth of all
	for u := range s.all {
		if found == nil || u.active.Load() < found.active.Load() {
			found = u
		}
		if sample--; sample == 0 {
			break
		}
	}
	if found == nil || time.Since(found.node.began)-time.Duration(found.active.Load()) < evictAfter {
		return nil
	}
	return found
}

func (s *udpSockets) leave(u *udpSocket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, u)
}

func (s *udpSockets) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}
