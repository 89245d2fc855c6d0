package exit

import (
	"context"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/link"
)

const (
	// linkAnswer is the most payload of one answer.
	linkAnswer = 16 << 20

	// linkLeast is what an answer may take in any case, for its heads and
	// acknowledgements: linkHeads at most, and some payload besides.
	linkLeast = 16 << 10
	linkHeads = 8 << 10
)

type linkCounters struct{ forged, replayed, repeated, broken atomic.Uint64 }

// A linkExchange is one request at work, after its records have been taken in.
type linkExchange struct {
	id uint64
	hold
	at   time.Time     // when it came
	bare bool          // it came before, or nobody awaits it: it gets nothing but acknowledgements
	text bool          // it came by the JSON wire
	wake chan struct{} // cap 1: it is to be answered
	due  bool          // likewise
	soon bool          // at once, if nothing more comes in the same breath

	pipe   bool      // it goes on (link_pipe.go);
	stands bool      // its client has heard through it: until then nothing that matters goes by it
	sent   uint32    // so many records are in it so far;
	lot    link.Lot  // its writer's;
	asked  time.Time // its client wants to hear something by then; zero: it does not
}

// freshen does what may be done now that the Conn has changed: streams go on
// reading, and the client may send more.
func (l *linkEnd) freshen() {
	for t := range l.stalled {
		if t.hasRoom() {
			t.room.Signal()
		}
	}
	l.credit()
}

// schedule has those answered whose time has come, and sets the alarm for the
// next.
func (l *linkEnd) schedule() {
	for len(l.parked) > 0 {
		keep := l.keep
		if l.closing {
			keep = 0
		}
		now := time.Now()
		t := l.tidings(now)
		i, at := nextAnswer(now, l.parked, keep, &t)
		if d := at.Sub(now); d > 0 {
			l.alarm.Reset(d)
			return
		}
		l.answer(i)
	}
	l.alarm.Stop()
}

// ring is called by the alarm.
func (l *linkEnd) ring() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.schedule()
}

// answer has an exchange make its answer, on its own goroutine.
func (l *linkEnd) answer(i int) {
	x := l.parked[i]
	l.parked = slices.Delete(l.parked, i, i+1)
	if !x.pipe { // that is a sign only when its client says something
		l.touch()
	}
	l.answering++
	x.due, x.soon = true, linkSettle(l.news.way) == 0
	x.wake <- struct{}{}
}

// await returns when it is time to answer x, and false if nobody wants the answer
// any more.
func (l *linkEnd) await(ctx context.Context, x *linkExchange) bool {
	select {
	case <-x.wake:
		if ctx.Err() == nil {
			return true
		}
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if x.due {
		l.answering--
	} else if i := slices.Index(l.parked, x); i >= 0 {
		l.parked = slices.Delete(l.parked, i, i+1)
		l.touch()
	}
	l.schedule()
	return false
}

// makeAnswer returns the sealed answer of x, charged to the node's bodies with
// cost. What is in it is sent again if it does not arrive: that is the Conn's to
// see to.
func (l *linkEnd) makeAnswer(x *linkExchange) (body *buf.Buf, cost int, err error) {
	for i := 0; x.soon && i < settleYields; i++ {
		runtime.Gosched()
	}
	m, cost, err := l.plan(x)
	if err != nil {
		return nil, cost, err
	}
	body = buf.Body()
	body.B = slices.Grow(body.B, 1+m.SealedLen())
	switch {
	case !x.pipe:
		body.B = link.AppendAnswerHead(body.B)
	case m.First == 0:
		body.B = link.AppendPipedHead(body.B)
	}
	body.B, err = m.AppendSealed(body.B, l.keys.Sealer(link.Down))
	if err == nil {
		return body, cost, nil
	}
	// The keys have sealed all they may. The client makes a new link.
	body.Release()
	l.node.links.drop(l)
	end([]*linkEnd{l})
	return nil, cost, errNoLink
}

// plan decides what the answer has in it.
func (l *linkEnd) plan(x *linkExchange) (*link.Message, int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if x.due {
		l.answering--
	}
	if l.over {
		return nil, 0, errNoLink
	}
	now := time.Now()
	head := &link.Answer{Held: uint64(now.Sub(x.at) / time.Millisecond)}
	var m *link.Message
	if x.bare || x.pipe && !x.stands {
		m = l.conn.Plan(now, x.id, head, link.Limits{})
	} else {
		l.credit()
		l.room = max(linkLeast, min(x.room, l.node.linkRoom(x.text)))
		if x.pipe {
			l.room = max(min(l.room, x.lot.Size()), link.LotLeast)
		}
		m = l.conn.Plan(now, x.id, head, link.Limits{Bytes: l.room})
		l.bury()
		l.tell(now)
		l.freshen()
	}
	if x.pipe {
		m.First, x.asked = x.sent, time.Time{}
		x.sent += uint32(m.Records())
	}
	cost := 1 + m.SealedLen()
	if x.text {
		cost += textLen(cost)
	}
	l.node.bodies.Force(cost)
	l.schedule()
	return m, cost, nil
}

// linkRoom is how much an answer may carry for the sake of memory: half of what is
// left for bodies. As text it takes 7/3 of it, sealed and then encoded.
func (n *Node) linkRoom(text bool) int {
	room := max(minAnswer, n.bodies.Free()/2)
	if text {
		room = max(minAnswer, room/7*3)
	}
	return int(min(linkAnswer, room))
}
