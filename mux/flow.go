package mux

import (
	"sync/atomic"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/wire"
)

// A flow is what the loop knows of one, TCP or UDP. All of it is the loop's
// alone, but for what never changes, noted and moved.
type flow struct {
	side side
	host string
	port uint16
	kind wire.Kind // of its ops that carry data, and of its polls: wire.Data or wire.UDPData

	lane  *lane       // leads to the loop that carries it
	noted atomic.Bool // it is in the lane

	id    uint64 // counts the flows of a Mux
	born  time.Time
	moved moved
	part  uint64 // the exchange that it had a part in last

	state state
	sid   []byte
	ours  bool // its node is relaymux
	polls int  // in flight

	queue     queue     // where it stands
	turn      uint32    // counts its moves, so that a place it has left is known as such
	since     time.Time // since when
	ops       int       // in ready: how many it has
	urgent    bool      // in ready: see want
	weight    int       // in ready: their encoded bytes, about
	pollAt    time.Time // it asks for data not before
	polledFor time.Time // the same when it took its place in polls
	window    int       // bytes that it asks for at once
	failing   time.Time // the first of a row of failed exchanges
}

// moved is what a flow has carried, for whoever looks.
type moved struct {
	up, down  atomic.Uint64 // bytes of payload
	exchanges atomic.Uint64
}

// partake notes that the exchange of that number carries something of f. Of one
// whose answer comes after that of a later one it may do so twice.
func (f *flow) partake(number uint64) {
	if f.part != number {
		f.part = number
		f.moved.exchanges.Add(1)
	}
}

// A side is what the two kinds of flow, *Stream and *UDP, do differently. Its
// methods run on the loop, but for deliver, and none of them blocks.
type side interface {
	// wants decides what the flow is to do next.
	wants() want

	// compose makes the op that the flow stands in ready for, of at most room
	// encoded bytes, and reports whether it fits; the first of a batch should.
	// A UDP op's datagram goes with the exchange, which owns it until settle.
	compose(op *wire.Op, d *deployment, room int, first bool) (_ datagram, fits bool)

	// deliver takes what r brought, on a worker's goroutine. r's payload is part
	// of body.
	deliver(r *wire.Result, body *buf.Buf) outcome

	// settle draws the consequences of an op's outcome, that of a close excepted.
	// It takes over the datagram that compose gave, if any.
	settle(l *loop, op *wire.Op, o *outcome, x *exchange, d datagram)

	// fail ends the flow for want of a way, or because its target did.
	fail(err error)

	// stop ends the flow because the program stops.
	stop()

	// reset reports whether its target is to be told of the end by RST.
	reset() bool

	// dropped is called once, when the loop lets the flow go.
	dropped()

	// progress reports whether the flow is over for its application, whether its
	// target was reached, and when, if that is known. Anybody may call it.
	progress() (over, connected bool, at time.Time)
}

// A want is what a flow is to do next.
type want struct {
	queue  queue // where it should stand, inNone if it waits for something
	over   bool  // the loop has nothing more to do with it
	ops    int   // in ready: how many ops it has
	urgent bool  // in ready: the batch should not wait for more of the same
	weight int   // in ready: their encoded bytes, about
	whole  bool  // in ready: the next one cannot be cut
	window int   // in ready: bytes that the next one should ask for
}

type state uint8

const (
	fresh   state = iota // no session yet
	opening              // asked for one
	open                 // has one
	closing              // has said so to the node
	gone                 // the loop has nothing more to do with it
)

type queue uint8

const (
	inNone    queue = iota
	inReady         // has an op that should go soon
	inPolls         // wants data
	inAbort         // has a close that should go soon: it was given up
	inLazy          // has a close that can wait for company
	inLinger        // has a close that hardly matters
	inStalled       // wants nothing now: only a sign of life, now and then
)

// A lane is how flows reach a loop: the one of the JSON wire, or the link's.
type lane struct {
	wake chan *flow    // a flow changed
	look chan func()   // whoever wants to look at what is the loop's alone, or to change it
	ways atomic.Int32  // deployments that there are for it
	gone chan struct{} // closed: the loop has ended
}

// wakeQueue is how many flows may have something to say before the loop has
// listened; then they wait. It only evens out bursts.
const wakeQueue = 256

func newLane(ways int) *lane {
	ln := &lane{wake: make(chan *flow, wakeQueue), look: make(chan func()), gone: make(chan struct{})}
	ln.ways.Store(int32(ways))
	return ln
}

// wake tells the loop that something changed. It blocks while the loop has too
// much to read, which is what slows the applications down; the side's lock
// must not be held.
func (f *flow) wake() {
	if f.noted.CompareAndSwap(false, true) {
		select {
		case f.lane.wake <- f:
		case <-f.lane.gone:
		}
	}
}

// An outcome is what the loop has to know of one op's RESULT. The payload is
// with the flow's side already.
type outcome struct {
	got         bool // there was a RESULT; else the exchange failed
	poll        bool // the op only asked for data
	sid         []byte
	n           int // bytes of payload
	pkts        int // UDP: datagrams
	more        int // bytes that the node has left
	jam         uint64
	ours        bool
	over        bool // no session at the node any more
	unsupported bool
	reached     bool  // by this the target is known to be reached
	err         error // the op failed
}
