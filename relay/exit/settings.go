package exit

import (
	"context"
	"fmt"

	"golang.org/x/time/rate"
)

// SetPolicy replaces Config.Policy, for what is dialled from now on; an error changes
// nothing, and neither does it with a Dialer of one's own.
func (n *Node) SetPolicy(p Policy) error {
	d, ok := n.dialer.(*policyDialer)
	if !ok {
		return nil
	}
	if err := d.set(p); err != nil {
		return fmt.Errorf("exit: reading the egress policy: %w", err)
	}
	return nil
}

// SetLimits replaces Config.Streams and Config.DialsPerSecond. What is open already
// stays.
func (n *Node) SetLimits(streams int, dialsPerSecond float64) {
	n.table.setMost(streams)
	n.sockets.setMost(socketsOf(streams))
	l := dialLimiter(dialsPerSecond)
	n.dials.SetBurst(l.Burst())
	n.dials.SetLimit(l.Limit())
}

// socketsOf is how many of so many sessions may have a UDP socket.
func socketsOf(streams int) int { return max(1, streams/2) }

func (t *table) setMost(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.most = n
}

func (s *udpSockets) setMost(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = n
}

// dialLimiter allows bursts of a second's worth: a page opens its connections
// all at once.
func dialLimiter(perSecond float64) *rate.Limiter {
	if perSecond <= 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond)))
}

// Alive returns nil as soon as everything that requests have to take has been taken, or
// else when ctx is done an error.
func (n *Node) Alive(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.Stats()
		n.Clients()
		for _, l := range n.links.every() {
			l.answers()
		}
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the node does not answer: %w", context.Cause(ctx))
	}
}

// answers returns as soon as l can be had.
func (l *linkEnd) answers() {
	l.mu.Lock()
	defer l.mu.Unlock()
}

func (t *links) every() []*linkEnd {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.list()
}
