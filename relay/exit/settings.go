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

// Limits are those of a Config that may change; see there.
type Limits struct {
	Streams, ClientStreams               int
	DialsPerSecond, ClientDialsPerSecond float64
}

// SetLimits replaces those of the Config. What is open already stays.
func (n *Node) SetLimits(l Limits) {
	n.table.setMost(l.Streams, l.ClientStreams)
	n.sockets.setMost(socketsOf(l.Streams), oneOf(l.ClientStreams))
	setRate(n.dials, l.DialsPerSecond)
	n.keyUse.setDials(l.ClientDialsPerSecond)
	n.links.setDials(l.ClientDialsPerSecond)
}

// setDials has each client dial at most so often.
func (t *links) setDials(perSecond float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clientDials = perSecond
	for _, u := range t.uses {
		u.setDials(perSecond)
	}
}

// socketsOf is how many of so many sessions may have a UDP socket.
func socketsOf(streams int) int { return max(1, streams/2) }

// oneOf is how many if these are one client's, of whom 0 is no number.
func oneOf(streams int) int {
	if streams == 0 {
		return 0
	}
	return socketsOf(streams)
}

func (t *table) setMost(n, one int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.most, t.one = n, one
}

func (s *udpSockets) setMost(n, one int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most, s.one = n, one
}

func setRate(r *rate.Limiter, perSecond float64) {
	l := dialLimiter(perSecond)
	r.SetBurst(l.Burst())
	r.SetLimit(l.Limit())
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
