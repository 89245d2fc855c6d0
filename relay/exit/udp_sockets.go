package exit

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// evictAfter is how long a socket must have been silent to go in favour of a new
// one: its answer, if there is one, is mostly there by then.
const evictAfter = 2 * time.Second

var errEvicted = errors.New("made room for another")

// udpSockets are the node's UDP sockets, those that are dialled included: most at
// a time. Its lock is the innermost: nothing else is locked under it.
type udpSockets struct {
	mu     sync.Mutex
	most   int
	one    int          // that one client may have; 0 is his share
	shared *atomic.Bool // there are several clients
	all    map[*udpSocket]struct{}
}

// enter counts u in, or says that there is no room. One that has been silent
// for long makes room, if there is any: a client that knocks at thousands of
// doors, and forgets them all, must not close them to the others. Who has all that
// one client may have makes room with his own. It is closed a moment later than it
// is counted out.
func (s *udpSockets) enter(u *udpSocket) error {
	s.mu.Lock()
	var silent *udpSocket
	own := len(u.use.sockets) >= mostOf(s.most, s.one, s.shared)
	if own || len(s.all) >= s.most {
		of := s.all
		if own {
			of = u.use.sockets
		}
		if silent = silentOf(of); silent == nil {
			s.mu.Unlock()
			if own && s.shared.Load() {
				return errClientFlows
			}
			return errSockets
		}
		s.remove(silent)
	}
	u.use.sockets[u] = struct{}{}
	s.all[u] = struct{}{}
	s.mu.Unlock()
	if silent != nil {
		silent.fail(errEvicted)
	}
	return nil
}

// silentOf returns one of those of all that have been silent for the longest time; nil
// if that was less than evictAfter.
func silentOf(all map[*udpSocket]struct{}) (found *udpSocket) {
	sample := 16 // its longest silent is, on average, among the longest sixteenth of all
	for u := range all {
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
	s.remove(u)
}

// remove counts u out, once.
func (s *udpSockets) remove(u *udpSocket) {
	if _, in := s.all[u]; in {
		delete(u.use.sockets, u)
		delete(s.all, u)
	}
}

func (s *udpSockets) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}
