package exit

import (
	"context"
	"errors"
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

	// lostAfter is by how much one record may overtake another at least.
	lostAfter = time.Second
)

type linkCounters struct{ forged, replayed, repeated, broken atomic.Uint64 }

// A linkExchange is one request at work, after its records have been taken in.
type linkExchange struct {
	id uint64
	hold
	at   time.Time     // when it came
	bare bool          // it came before, and gets nothing but acknowledgements
	text bool          // it came by the JSON wire
	wake chan struct{} // cap 1: it is to be answered
	due  bool          // likewise
	soon bool          // at once, if nothing more comes in the same breath
}

// A sealedRecord was one: its plaintext and number.
type openedRecord struct {
	number uint64
	b      *buf.Buf
}

// takeRecords takes in the records of a request, and returns the exchange that is
// to be answered then.
func (n *Node) takeRecords(body []byte, text bool) (*linkEnd, *linkExchange, error) {
	id, exchange, sealed, err := link.ParseRequestHead(body)
	l := n.links.find(id)
	if err != nil || l == nil {
		return nil, nil, errNoLink
	}
	records, cost, err := l.open(exchange, sealed)
	defer n.bodies.Return(cost)
	defer release(records)
	if err != nil {
		return nil, nil, err
	}
	x, err := l.receive(exchange, records, text)
	return l, x, err
}

func release(records []openedRecord) {
	for _, r := range records {
		r.b.Release()
	}
}

// open opens the records of a request, without any lock, into buffers whose cost
// it charges. What comes after a record that does not open is not looked at.
func (l *linkEnd) open(exchange uint64, sealed []byte) (records []openedRecord, cost int, err error) {
	opener := l.keys.Opener(link.Up)
	for index := uint32(0); len(sealed) > 0; index++ {
		var record []byte
		if record, sealed, err = link.NextRecord(sealed); err != nil {
			break // cut, or forged
		}
		b := buf.Get(max(0, len(record)-(link.RecordHead-2)-link.RecordTag))
		number, plain, err := opener.Open(b.B, record, exchange, index)
		if err != nil {
			b.Release()
			l.node.links.count.forged.Add(1)
			break
		}
		if !l.node.bodies.Try(cap(b.B)) {
			b.Release()
			return records, cost, errMemory
		}
		b.B = plain
		cost += cap(b.B)
		records = append(records, openedRecord{number, b})
	}
	if len(records) == 0 {
		return nil, cost, errNoLink
	}
	return records, cost, nil
}

// receive takes in what a request has brought, which it borrows.
func (l *linkEnd) receive(exchange uint64, records []openedRecord, text bool) (*linkExchange, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return nil, errNoLink
	}
	now := time.Now()
	x := &linkExchange{id: exchange, hold: hold{until: now}, at: now, text: text, wake: make(chan struct{}, 1)}
	fresh, ask, err := l.takeIn(now, exchange, records)
	switch {
	case err != nil:
		l.node.log.Debug("a link has ended", "client", l.client, "err", err)
		l.node.links.count.broken.Add(1)
		l.node.links.drop(l)
		l.end()
		return nil, errNoLink
	case !fresh:
		l.node.links.count.repeated.Add(1)
		x.bare = true
		x.wake <- struct{}{}
		return x, nil
	}
	l.touch()
	l.proven.Store(true)
	l.use.exchanges.Add(1)
	if ask != nil {
		l.obey(x, ask)
	}
	l.freshen()
	l.parked = append(l.parked, x)
	if d := way(l.parked); d > 0 {
		l.news.way = d
	}
	l.schedule()
	return x, nil
}

// takeIn hands fresh records to the Conn, and reports whether there were any.
func (l *linkEnd) takeIn(now time.Time, exchange uint64, records []openedRecord) (fresh bool, ask *link.Ask, err error) {
	for _, r := range records {
		if !l.replay.Fresh(r.number) {
			l.node.links.count.replayed.Add(1)
			continue
		}
		fresh = true
		got, err := l.conn.Receive(now, r.number, r.b)
		if err != nil && !errors.Is(err, link.ErrRefused) { // a refused one counts as lost
			return fresh, ask, err
		}
		if got.Ask != nil && ask == nil {
			ask = got.Ask
		}
	}
	if ask != nil {
		l.conn.Awaited(exchange, ask.Awaited)
		late := time.Duration(min(ask.Reorder, uint64(linkHold/time.Millisecond))) * time.Millisecond
		l.conn.DetectLost(max(lostAfter, late))
	}
	return fresh, ask, nil
}

// obey does as an exchange asks.
func (l *linkEnd) obey(x *linkExchange, ask *link.Ask) {
	x.until = x.at.Add(time.Duration(min(ask.Hold, uint64(linkHold/time.Millisecond))) * time.Millisecond)
	x.path = time.Duration(min(ask.Path, uint64(pathMost/time.Millisecond))) * time.Millisecond
	x.room = int(min(ask.Room, linkAnswer))
	if x.id >= l.newest {
		l.newest, l.keep = x.id, int(min(ask.Keep, 1<<20))
	}
	if ask.Tag != 0 {
		if count := l.node.links.accounts.add(ask.Tag, x.at); l.told.due(ask.Tag, count) {
			l.conn.Report(ask.Tag, count)
		}
	}
}

// freshen does what may be done now that the Conn has changed: streams go on
// reading, and the client may send more.
func (l *linkEnd) freshen() {
	for t := range l.stalled {
		if t.hasRoom() {
			t.room.Signal()
		}
	}
	l.conn.SetCredit(l.node.linkCredit())
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
	l.touch()
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
	body.B, err = m.AppendSealed(link.AppendAnswerHead(body.B), l.keys.Sealer(link.Down))
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
	if x.bare {
		m = l.conn.Plan(now, x.id, head, link.Limits{})
	} else {
		l.conn.SetCredit(l.node.linkCredit())
		l.room = max(linkLeast, min(x.room, l.node.linkRoom(x.text)))
		m = l.conn.Plan(now, x.id, head, link.Limits{Bytes: l.room})
		l.bury()
		l.tell(now)
		l.freshen()
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
