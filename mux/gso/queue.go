package gso

import (
	"hash/maphash"
	"net/netip"

	"relaymux/mux/buf"
)

// A queue is trains in arrival order. A datagram may join only the newest train
// of its peer, so that each peer gets what was sent to it in order, whatever the
// sizes: a queue that sorts trains by size, or has one per size, reorders.
//
// Trains are numbered as they come; ring holds the numbers head to next-1.
type queue struct {
	ring       []Train // its length is a power of two, or 0
	head, next uint64

	limit int // bytes; see held
	held  int // what the buffers of all trains pin, those not yet given back by done included

	// The newest train of each peer, or of some: to forget one only means that
	// its next datagram starts another train. There is one entry until a second
	// peer comes, which on a connected socket is never.
	last  entry
	index []entry
	seed  maphash.Seed

	room room
}

type entry struct {
	peer  netip.AddrPort
	train uint64 // its number; it may have left the queue
	known bool
	bytes int // its length, or that of the last one: what the next may grow to
}

// A peer has its entry at one of a few places in a row, so that peers whose
// hashes are alike do not get in each other's way. Bursts to more peers at a time
// than there are entries make shorter trains now and then. 64 entries are 4 KiB.
const (
	entries = 64
	places  = 4
)

// room is what reserve has handed out.
type room struct {
	peer  netip.AddrPort
	asked int
	into  *Train   // the train whose tail it is,
	fresh *buf.Buf // or a buffer of its own
}

// trainCap is how large a buffer a train may have: an eighth of the limit, so
// that an overflow loses a part and not all, yet room for two usual datagrams.
func (q *queue) trainCap() int {
	c := 4096
	for c < buf.Max && c*2 <= q.limit/8 {
		c *= 2
	}
	return c
}

// capOf is how many bytes a train to peer in segments of size may have.
func (q *queue) capOf(peer netip.AddrPort, size int) int {
	return min(most(size, headersTo(peer), maxSegments), q.trainCap())
}

// segment is the size of the train's segments: of its only one, or of all.
func segment(t *Train) int {
	if t.Size > 0 {
		return t.Size
	}
	return len(t.Buf.B)
}

// entryOf returns where peer's newest train is noted, or else is to be: at the
// place whose train is the oldest, and may have left long ago.
func (q *queue) entryOf(peer netip.AddrPort) *entry {
	if q.index == nil {
		if !q.last.known || q.last.peer == peer {
			return &q.last
		}
		q.index, q.seed = make([]entry, entries), maphash.MakeSeed()
		*q.entryOf(q.last.peer) = q.last
	}
	hash := maphash.Comparable(q.seed, peer)
	var best *entry
	for i := range uint64(places) {
		switch e := &q.index[(hash+i)%entries]; {
		case e.known && e.peer == peer:
			return e
		case best == nil || !e.known && best.known || e.known == best.known && e.train < best.train:
			best = e
		}
	}
	return best
}

// newest returns the newest train of peer if it is still here.
func (q *queue) newest(peer netip.AddrPort) (*Train, *entry) {
	e := q.entryOf(peer)
	if !e.known || e.peer != peer {
		return nil, e
	}
	if e.train < q.head {
		return nil, e
	}
	return q.at(e.train), e
}

func (q *queue) at(number uint64) *Train { return &q.ring[number&uint64(len(q.ring)-1)] }

func (q *queue) len() int { return int(q.next - q.head) }

// accepts returns peer's newest train if a datagram of n bytes may join it.
func (q *queue) accepts(peer netip.AddrPort, n int) (*Train, *entry) {
	t, e := q.newest(peer)
	if t == nil {
		return nil, e
	}
	if size := segment(t); size == 0 || !joins(size, len(t.Buf.B), n, q.capOf(peer, size)) {
		return nil, e
	}
	return t, e
}

// reserve returns room for a datagram of at most n bytes to peer. If it may
// join a train then the room is the tail of that train. busy tells that it will
// not go out at once, and may get company.
func (q *queue) reserve(peer netip.AddrPort, n int, busy bool) []byte {
	q.room = room{peer: peer, asked: n}
	t, e := q.accepts(peer, n)
	if t != nil {
		q.grow(t, n)
		q.room.into = t
		end := len(t.Buf.B)
		return t.Buf.B[end : end+n : end+n]
	}
	size := n
	if busy && e.known && e.peer == peer {
		size = max(n, min(e.bytes, q.trainCap()))
	}
	q.room.fresh = buf.Get(size)
	return q.room.fresh.B[:n:n]
}

// grow makes room for n more bytes in t, in steps of four: a train of two small
// datagrams does not pin 64 KiB, and one of many is not copied often.
func (q *queue) grow(t *Train, n int) {
	have, need := cap(t.Buf.B), len(t.Buf.B)+n
	if need <= have {
		return
	}
	b := buf.Get(max(need, min(4*have, q.trainCap())))
	b.B = append(b.B, t.Buf.B...)
	q.held += cap(b.B) - have
	t.Buf.Release()
	t.Buf = b
}

// commit queues the first n bytes of the room.
func (q *queue) commit(n int) {
	r := q.room
	q.room = room{}
	switch {
	case r.into != nil && n > 0:
		extend(r.into, n)
		q.entryOf(r.peer).bytes = len(r.into.Buf.B)
	case r.into != nil:
		q.push(r.peer, buf.Get(0))
	default:
		r.fresh.B = r.fresh.B[:n]
		if n < r.asked && q.join(r.peer, r.fresh.B) {
			r.fresh.Release()
			return
		}
		if n <= r.asked/2 {
			r.fresh = r.fresh.Fit() // much more was asked for than came
		}
		q.push(r.peer, r.fresh)
	}
}

// join copies p into peer's newest train, if it may join it after all.
func (q *queue) join(peer netip.AddrPort, p []byte) bool {
	t, e := q.accepts(peer, len(p))
	if t == nil {
		return false
	}
	q.grow(t, len(p))
	copy(t.Buf.B[len(t.Buf.B):cap(t.Buf.B)], p)
	extend(t, len(p))
	e.bytes = len(t.Buf.B)
	return true
}

// extend makes the n bytes behind t's content its next datagram.
func extend(t *Train, n int) {
	t.Size = segment(t)
	t.Buf.B = t.Buf.B[:len(t.Buf.B)+n]
}

// push starts a train to peer.
func (q *queue) push(peer netip.AddrPort, b *buf.Buf) {
	if q.len() == len(q.ring) {
		q.widen()
	}
	*q.at(q.next) = Train{Peer: peer, Buf: b}
	*q.entryOf(peer) = entry{peer: peer, train: q.next, known: true, bytes: len(b.B)}
	q.next++
	q.held += cap(b.B)
}

func (q *queue) widen() {
	old := *q
	q.ring = make([]Train, max(8, 2*len(old.ring)))
	for i := q.head; i < q.next; i++ {
		*q.at(i) = *old.at(i)
	}
}

// abort gives the room up.
func (q *queue) abort() {
	if q.room.fresh != nil {
		q.room.fresh.Release()
	}
	q.room = room{}
}

// overflow drops the oldest trains while more is held than may be, never the
// newest one, and returns how many datagrams those were.
func (q *queue) overflow() (dropped int) {
	for q.held > q.limit && q.len() > 1 {
		t := q.pop()
		dropped += t.Count()
		q.held -= cap(t.Buf.B)
		t.Buf.Release()
	}
	return dropped
}

// pop takes the oldest train out; its buffer counts as held until done.
func (q *queue) pop() Train {
	t := *q.at(q.head)
	*q.at(q.head) = Train{}
	q.head++
	return t
}

// take moves the oldest trains to ts, at least one if there is any and, so that
// the rest can still be dropped, no more than a quarter of the limit.
func (q *queue) take(ts []Train) (n int) {
	bytes := 0
	for n < len(ts) && q.len() > 0 {
		bytes += cap(q.at(q.head).Buf.B)
		if n > 0 && bytes > q.limit/4 {
			break
		}
		ts[n] = q.pop()
		n++
	}
	return n
}

// done releases trains that were taken.
func (q *queue) done(ts []Train) {
	for i := range ts {
		q.held -= cap(ts[i].Buf.B)
		ts[i].Buf.Release()
		ts[i] = Train{}
	}
}
