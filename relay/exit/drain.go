package exit

import (
	"relaymux/mux/buf"
	"relaymux/mux/wire"
)

const (
	maxDrain  = 16 << 20 // of one session into one answer
	maxAnswer = 32 << 20 // of payload in an answer: 43 MiB as base64, and scripts cut at 50
	minAnswer = 64 << 10 // that much even if memory is short: an answer is what frees it
)

// A piece is payload on its way from a queue into an answer.
type piece struct {
	b    *buf.Buf // owned
	cost int      // what of b is still charged for, 0 if the queue has the rest of it
}

// drain moves what the sessions have into the results, fairly.
func (x *exchange) drain() {
	x.wants = x.wants[:0]
	for i := range x.tasks {
		x.wants = append(x.wants, x.tasks[i].wants())
	}
	share(x.answerRoom(), x.wants)
	spare := 0 // what was too little for the next datagram is the next session's
	for i := range x.tasks {
		t, r := &x.tasks[i], &x.results[i]
		if t.s == nil {
			continue
		}
		limit := x.wants[i]
		if limit > 0 {
			limit = min(limit+spare, t.max)
		}
		x.taken = t.s.take(t, limit, r, x.taken)
		t.s.detach(x)
		t.drained, t.pkts = payload(r), len(r.Pkts)
		spare += x.wants[i] - t.drained
		x.node.count.bytesDown.Add(uint64(t.drained))
	}
}

// payload is what an answer carries of one session, in bytes.
func payload(r *wire.Result) int {
	n := r.Len()
	for _, p := range r.Pkts {
		n += len(p)
	}
	return n
}

// wants returns how much the task's session could give.
func (t *task) wants() int {
	if t.s == nil || t.barren || t.relieved {
		return 0
	}
	return min(t.s.pending(), t.max)
}

// answerRoom is how much payload an answer may carry: half of the memory that
// is left for bodies, of which it takes four thirds.
func (x *exchange) answerRoom() int {
	return int(min(maxAnswer, max(minAnswer, x.node.bodies.Free()/8*3)))
}

// share cuts wants down until they fit into room together: nobody gets less
// than an equal part, and what one does not need is the others' (max-min
// fairness).
func share(room int, wants []int) {
	open := 0 // claims not yet known to fit into an equal part
	for _, w := range wants {
		if w > 0 {
			open++
		}
	}
	part := 0 // what every claim may have so far
	for open > 0 {
		step := (room - spent(wants, part)) / open
		if step == 0 {
			break
		}
		part += step
		open = 0
		for _, w := range wants {
			if w > part {
				open++
			}
		}
	}
	for i, w := range wants {
		wants[i] = min(w, part)
	}
}

// spent is what wants take when nobody gets more than part.
func spent(wants []int, part int) (n int) {
	for _, w := range wants {
		n += min(w, part)
	}
	return n
}

// releaseTaken lets go of payload that was encoded, or will never be.
func (x *exchange) releaseTaken() {
	for i, p := range x.taken {
		p.b.Release()
		x.node.downloads.Return(p.cost)
		x.taken[i] = piece{}
	}
	x.taken = x.taken[:0]
}

// abandon tells the sessions that their answer is lost.
func (x *exchange) abandon() {
	for i := range x.tasks {
		if t := &x.tasks[i]; t.s != nil {
			t.s.lost(t)
		}
	}
}

// answerLen bounds the length of the answer.
func (x *exchange) answerLen() int {
	n := len(`{"r":[],"zc":1}`)
	for i := range x.results {
		n += wire.ResultLen(&x.results[i]) + 1
	}
	return n
}

func (x *exchange) appendAnswer(dst []byte) []byte {
	switch {
	case x.single:
		return wire.AppendResult(dst, &x.results[0])
	case !x.zc:
		return wire.AppendAnswer(dst, x.results)
	case !x.zr:
		dst = append(dst, `{"zc":1,"r":`...)
		dst = wire.AppendResults(dst, x.results)
		return append(dst, '}')
	}
	plain := buf.Body()
	defer plain.Release()
	plain.B = wire.AppendResults(plain.B, x.results)
	dst = append(dst, `{"zc":1,"zr":"`...)
	dst = x.node.codec.appendPacked(dst, plain.B)
	return append(dst, `"}`...)
}
