package exit

import "time"

// reapLoop is the goroutine that resets sessions whose client has forgotten them.
func (n *Node) reapLoop() {
	tick := time.NewTicker(max(min(n.reapAfter, n.udp.Reap)/10, time.Second))
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
		if s.expired() {
			n.count.reaped.Add(1)
			s.abort()
		}
	}
	n.links.reap(n.reapAfter)
}
