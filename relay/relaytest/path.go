package relaytest

import (
	"math/rand/v2"
	"net"
	"time"
)

// A Path is what becomes of datagrams on their way. The zero value is a perfect
// one. "1 in N" is by chance, 0 is never, 1 always.
type Path struct {
	Delay     time.Duration // one way
	Lose      int           // 1 in N
	Duplicate int           // 1 in N
	Late      int           // 1 in N arrives LateBy later, behind others
	LateBy    time.Duration
	Refuse    bool // who sends is told that he may not, as by a firewall of his own
}

// road is a Path with its chance.
type road struct {
	Path
	rnd *rand.Rand
}

// SetPath is for datagrams to and from host from now on, by whatever ports; or to and
// from one socket, by its host:port, which comes first.
// Those under way keep the Path that they began with. seed decides all that
// happens by chance.
func (n *Network) SetPath(host string, p Path, seed uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.paths == nil {
		n.paths = make(map[string]*road)
	}
	n.paths[host] = &road{p, rand.New(rand.NewPCG(seed, 0))}
}

// carry brings a datagram, whose bytes it borrows, to where it goes, and
// reports whether somebody is there.
func (n *Network) carry(from, to string, p []byte) bool {
	n.mu.Lock()
	peer := n.sockets[to]
	copies := n.roadOf(from, to).draw()
	n.mu.Unlock()
	if peer == nil {
		return false
	}
	for _, after := range copies {
		peer.arrive(from, after, p)
	}
	return true
}

// refuses reports whether the path between two sockets lets nothing out.
func (n *Network) refuses(from, to string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.roadOf(from, to)
	return r != nil && r.Refuse
}

// roadOf is the receiver's, or else the sender's; the caller holds the lock.
func (n *Network) roadOf(from, to string) *road {
	for _, addr := range []string{to, from} {
		if p := n.paths[addr]; p != nil {
			return p
		}
	}
	for _, addr := range []string{to, from} {
		host, _, _ := net.SplitHostPort(addr)
		if p := n.paths[host]; p != nil {
			return p
		}
	}
	return nil
}

// draw decides how long each copy of a datagram takes. It takes as many random
// numbers whatever the Path is, as Knobs do.
func (r *road) draw() []time.Duration {
	if r == nil {
		return []time.Duration{0}
	}
	lost, twice, late := oneIn(r.Lose, r.rnd), oneIn(r.Duplicate, r.rnd), oneIn(r.Late, r.rnd)
	after := r.Delay
	if late {
		after += r.LateBy
	}
	switch {
	case lost:
		return nil
	case twice:
		return []time.Duration{after, after}
	}
	return []time.Duration{after}
}
