package exit

import (
	"crypto/rand"
	"slices"
	"sync"
	"time"

	"relaymux/mux/wire"
)

// A session is what a client names by its sid: a TCP connection to a target
// (tcp.go) or a UDP socket (udp.go). This is what an exchange and the table need
// of either kind.
type session interface {
	key() string

	// An exchange attaches itself, looks whenever something has changed, takes
	// what there is into its answer, which detaches it, and may find that the
	// answer is lost.
	attach(x *exchange, polling bool)
	detach(x *exchange)
	look(x *exchange, t *task) stage
	pending() int // payload that take could give, in bytes
	take(t *task, limit int, r *wire.Result, taken []piece) []piece
	lost(t *task)

	name(r *wire.Result)
	close(o *wire.Op) uint64
	expired() bool
	owner
}

var (
	_ session = (*tcpSession)(nil)
	_ session = (*udpSession)(nil)
)

// A core is what both kinds have: a name, those who wait for news, and a dial
// that succeeds or fails.
type core struct {
	id   string
	sid  []byte // the same, for results
	node *Node

	mu      sync.Mutex // of the whole session
	waiters []*exchange
	poller  *exchange // of the waiters, the newest batch of polls
	active  time.Time // of the last op or byte; of UDP, of the last datagram

	off     uint64 // what the client has been given: bytes, or datagrams
	dialing bool
	owed    bool   // the client was told that the dial is pending
	failure string // why it failed: "connect failed: ..."
	over    bool   // the socket is closed and the queues are empty
}

func newCore(n *Node) core {
	id := rand.Text()
	return core{id: id, sid: []byte(id), node: n, dialing: true, active: time.Now()}
}

func (c *core) key() string { return c.id }

// attach has x woken by every change. A batch of polls takes the place of the
// one before: the client has moved the flow there (relieved).
func (c *core) attach(x *exchange, polling bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if polling {
		for _, w := range c.waiters {
			w.signal() // the poll before is relieved, a bulk upload need not wait
		}
		c.poller = x
	}
	if !slices.Contains(c.waiters, x) {
		c.waiters = append(c.waiters, x)
	}
}

func (c *core) detach(x *exchange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.waiters, x); i >= 0 {
		c.waiters = slices.Delete(c.waiters, i, i+1)
	}
	if c.poller == x {
		c.poller = nil
	}
}

// name fills in whose result r is, and how far the session has got.
func (c *core) name(r *wire.Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.SID, r.HasOff, r.Off = c.sid, true, c.off
}

// touch notes a sign of the client.
func (c *core) touch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active = time.Now()
}

// The others are called with mu held.

// share notes who else looks at the session than x, whose task t is.
func (c *core) share(x *exchange, t *task) {
	if t.polls && c.poller != nil && c.poller != x {
		t.relieved = true
	}
	t.shared = len(c.waiters) > 1
}

// begin fills in what every RESULT says of a session that has not failed. With
// pend there is no more to say.
func (c *core) begin(r *wire.Result) {
	r.SID, r.HasOff, r.Off = c.sid, true, c.off
	r.Pend = c.dialing && !c.over
	c.owed = r.Pend
}

// tellFailure reports that the dial failed. A client that has not heard of the
// session yet never will.
func (c *core) tellFailure(t *task, r *wire.Result) {
	r.Err = []byte(c.failure)
	if t.connect {
		c.node.table.drop(c.id)
		return
	}
	r.SID, r.EOF, r.Rst, r.HasOff = c.sid, true, true, true
	c.remember(true)
}

// remember takes the session out of the table, where its end is remembered.
func (c *core) remember(rst bool) {
	c.node.table.remove(c.id, ending{off: c.off, rst: rst, failure: c.failure})
}

// wake has everybody look again who waits for the session.
func (c *core) wake() {
	for _, x := range c.waiters {
		x.signal()
	}
}
