package exit

import (
	"errors"
	"sync/atomic"

	"golang.org/x/time/rate"

	"relaymux/mux/buf"
)

// A client who has a secret, or the key, may still take too much. What one may have leaves
// room for the others, if there are any; who has the node to himself may have all of it.
const (
	// Three quarters of the streams, and of the memory for what targets send and read.
	shareOf, shareAll = 3, 4

	// Handshakes cost some 0.2 ms, and a client makes one when it starts, and one when the
	// node has begun anew. A page of relays and devices with one secret stays far below.
	hellosPerSecond = 20
	hellosAtOnce    = 100
)

var (
	errClientStreams = errors.New("too many connections of this client at the node")
	errClientDials   = errors.New("too many new connections of this client at the node")
	errClientFlows   = errors.New("too many UDP flows of this client at the node")
	errClientHellos  = errors.New("too many handshakes of this client")
)

// A clientUse is what one client has used, and has: one of the links, or all who have the
// key of the JSON wire together.
type clientUse struct {
	streams, here               atomic.Int64 // and links that are told of as here
	exchanges, opened, up, down atomic.Uint64

	dials, hellos      *rate.Limiter
	places             int                     // in the table, whose lock guards it
	sockets            map[*udpSocket]struct{} // whose table's lock guards it
	downloads, uploads holding
}

// newClientUse makes that of a client. shared tells whether there are others.
func newClientUse(dialsPerSecond float64, shared *atomic.Bool) *clientUse {
	u := &clientUse{
		dials: dialLimiter(dialsPerSecond), hellos: rate.NewLimiter(hellosPerSecond, hellosAtOnce),
		sockets: make(map[*udpSocket]struct{}),
	}
	u.downloads.shared, u.uploads.shared = shared, shared
	return u
}

// setDials replaces the rate.
func (u *clientUse) setDials(perSecond float64) { setRate(u.dials, perSecond) }

// A holding is what one client holds of a budget, in bytes.
type holding struct {
	bytes  atomic.Int64
	shared *atomic.Bool // there are other clients
}

// allows reports whether the client may have n bytes more.
func (h *holding) allows(n int, of *buf.Budget) bool {
	return h == nil || !h.shared.Load() || h.bytes.Load()+int64(n) <= of.Limit()/shareAll*shareOf
}

func (h *holding) add(n int) {
	if h != nil {
		h.bytes.Add(int64(n))
	}
}

// mayDial counts a dial of u's, or says which limit is in its way.
func (n *Node) mayDial(u *clientUse) error {
	switch {
	case !u.dials.Allow():
		return errClientDials
	case !n.dials.Allow():
		return errDialRate
	}
	return nil
}

// mostOf is how many of most places one client may have: one, or if that is 0, all of
// them or its share.
func mostOf(most, one int, shared *atomic.Bool) int {
	switch {
	case one > 0:
		return min(one, most)
	case shared.Load():
		return (most*shareOf + shareAll - 1) / shareAll
	}
	return most
}
