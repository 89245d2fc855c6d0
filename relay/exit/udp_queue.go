package exit

import (
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/gso"
	"relaymux/mux/stats"
	"relaymux/mux/wire"
)

// What one queue of downloads holds at most: what arrives within a way through a
// relay, 1.5 s, at 40 Mbit/s.
const (
	maxDatagrams     = 8192
	maxDatagramBytes = 8 << 20
)

// datagrams is what a target has sent and no answer has carried yet. A target
// cannot be stopped, so a full queue loses the oldest: they are worth the least.
type datagrams struct {
	claim claim
	st    *stats.UDP
	list  []heldTrain // in the order of arrival
	count int         // datagrams in list
	size  int         // and their bytes
}

// A heldTrain is a train, of which some may have gone.
type heldTrain struct {
	gso.Train
	next int // the first of its datagrams that is left
	at   time.Time
}

// push takes over t. Full is by number, by bytes, or for want of memory.
func (q *datagrams) push(t gso.Train, now time.Time) {
	t.Buf = t.Buf.Fit()
	n, cost := t.Count(), cap(t.Buf.B)
	for len(q.list) > 0 && !q.takes(n, len(t.Buf.B), cost) {
		q.dropFirst(stats.DropQueue)
	}
	if !q.takes(n, len(t.Buf.B), cost) {
		q.st.Drop(stats.DropQueue, n)
		t.Buf.Release()
		return
	}
	q.claim.charge(cost)
	q.list = append(q.list, heldTrain{Train: t, at: now})
	q.count += n
	q.size += len(t.Buf.B)
}

func (q *datagrams) takes(n, size, cost int) bool {
	return q.count+n <= maxDatagrams && q.size+size <= maxDatagramBytes && q.claim.allows(cost)
}

// expire drops what arrived before then.
func (q *datagrams) expire(then time.Time) {
	for len(q.list) > 0 && q.list[0].at.Before(then) {
		q.dropFirst(stats.DropStale)
	}
}

// dropFirst drops what is left of the oldest train.
func (q *datagrams) dropFirst(why stats.Drop) {
	h := &q.list[0]
	for i := h.next; i < h.Count(); i++ {
		q.size -= len(h.At(i))
		q.count--
	}
	q.st.Drop(why, h.Count()-h.next)
	q.claim.release(h.Buf)
	q.pop()
}

// pop forgets the oldest train.
func (q *datagrams) pop() {
	q.list[0] = heldTrain{}
	if q.list = q.list[1:]; len(q.list) == 0 {
		q.list = nil // an idle session keeps nothing
	}
}

// take moves datagrams into r until the next one does not fit into limit bytes.
// They lie in the pieces that it appends to taken.
func (q *datagrams) take(limit int, r *wire.Result, taken []piece) []piece {
	for len(q.list) > 0 && len(q.first()) <= limit {
		from, p := q.one()
		r.Pkts = append(r.Pkts, p)
		taken = append(taken, from)
		limit -= len(p)
	}
	return taken
}

// first is the oldest datagram, of which there is one.
func (q *datagrams) first() []byte {
	h := &q.list[0]
	return h.At(h.next)
}

// one takes out the oldest datagram, which lies in the piece. Of a train the last
// one carries the charge.
func (q *datagrams) one() (from piece, p []byte) {
	h := &q.list[0]
	p = q.first()
	q.size -= len(p)
	q.count--
	if h.next++; h.next < h.Count() {
		return piece{h.Buf.Retain(), 0}, p
	}
	from = piece{h.Buf, cap(h.Buf.B)}
	q.claim.handOver(from.cost) // the piece carries the charge from here
	q.pop()
	return from, p
}

// dropOne drops the oldest datagram.
func (q *datagrams) dropOne(why stats.Drop) {
	from, _ := q.one()
	from.b.Release()
	q.claim.budget.Return(from.cost)
	q.st.Drop(why, 1)
}

// drop drops everything.
func (q *datagrams) drop(why stats.Drop) {
	for len(q.list) > 0 {
		q.dropFirst(why)
	}
}

// shift takes out a train of one datagram, its buffer still charged.
func (q *datagrams) shift() *buf.Buf {
	b := q.list[0].Buf
	q.count--
	q.size -= len(b.B)
	q.pop()
	return b
}
