package link

// A queue is streams in line: a ring that grows. Its zero value is empty.
type queue struct {
	ring []*Stream // its length is a power of two
	head int
	n    int
}

func (q *queue) len() int { return q.n }

func (q *queue) push(s *Stream) {
	if q.n == len(q.ring) {
		ring := make([]*Stream, max(8, 2*len(q.ring)))
		k := copy(ring, q.ring[q.head:])
		copy(ring[k:], q.ring[:q.head])
		q.ring, q.head = ring, 0
	}
	q.ring[(q.head+q.n)&(len(q.ring)-1)] = s
	q.n++
}

func (q *queue) peek() *Stream { return q.ring[q.head] }

// sendable reports whether its first stream is, once those that are not are out.
func (q *queue) sendable() bool {
	for ; q.n > 0; q.pop() {
		if q.peek().sendable() {
			return true
		}
		q.peek().queued = false
	}
	return false
}

func (q *queue) pop() {
	q.ring[q.head] = nil
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.n--
}
