package exit

import "time"

// reapLoop is the goroutine that resets sessions whose client has forgotten them.
func (n *Node) reapLoop() {
	tick := time.NewTicker(max(n.reapAfter/10, time.Second))
	defer tick.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-tick.C:
			n.reap()
		}
	}
}

func (n *Node) reap() {
	for _, s := range n.table.all() {
		if s.idle() > n.reapAfter {
			n.count.reaped.Add(1)
			s.abort()
		}
	}
}

// idle is how long neither the client nor the target has been heard of.
func (s *session) idle() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.active)
}
