package exit

import (
	"errors"
	"slices"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/link"
)

// lostAfter is by how much one record may overtake another at least.
const lostAfter = time.Second

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
	defer link.Release(records)
	if err != nil {
		return nil, nil, err
	}
	x, err := l.receive(exchange, records, text)
	return l, x, err
}

// open opens the records of a request, without any lock, into buffers whose cost
// it charges. What comes after a record that does not open is not looked at.
func (l *linkEnd) open(exchange uint64, sealed []byte) (records []link.Record, cost int, err error) {
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
		records = append(records, link.Record{Number: number, B: b})
	}
	if len(records) == 0 {
		return nil, cost, errNoLink
	}
	return records, cost, nil
}

// receive takes in what a request has brought, which it borrows.
func (l *linkEnd) receive(exchange uint64, records []link.Record, text bool) (*linkExchange, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	x := &linkExchange{id: exchange, hold: hold{until: now}, at: now, text: text, wake: make(chan struct{}, 1)}
	fresh, ask, ok := l.accept(x, records)
	switch {
	case !ok:
		return nil, errNoLink
	case !fresh:
		l.node.links.count.repeated.Add(1)
		x.bare = true
		x.wake <- struct{}{}
		return x, nil
	}
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

// accept hands the records of x to the Conn. fresh reports whether any had not come
// before. Not ok: the link is over, or is so now.
func (l *linkEnd) accept(x *linkExchange, records []link.Record) (fresh bool, ask *link.Ask, ok bool) {
	if l.over {
		return false, nil, false
	}
	fresh, ask, err := l.takeIn(time.Now(), records)
	if err != nil {
		l.node.log.Debug("a link has ended", "client", l.client, "err", err)
		l.node.links.count.broken.Add(1)
		l.node.links.drop(l)
		l.end()
		return false, nil, false
	}
	if fresh {
		l.touch()
		l.proven.Store(true)
	}
	return fresh, ask, true
}

// takeIn hands fresh records to the Conn, and reports whether there were any.
func (l *linkEnd) takeIn(now time.Time, records []link.Record) (fresh bool, ask *link.Ask, err error) {
	for _, r := range records {
		if !l.replay.Fresh(r.Number) {
			l.node.links.count.replayed.Add(1)
			continue
		}
		fresh = true
		got, err := l.conn.Receive(now, r.Number, r.B)
		if err != nil && !errors.Is(err, link.ErrRefused) { // a refused one counts as lost
			return fresh, ask, err
		}
		if got.Ask != nil {
			if ask != nil && ask.Hold == 0 {
				got.Ask.Hold = 0
			}
			ask = got.Ask // of a pipe there may be several: the last knows most
		}
	}
	if ask != nil {
		l.conn.Awaited(ask.Next, ask.Awaited)
		late := time.Duration(min(ask.Reorder, uint64(linkHold/time.Millisecond))) * time.Millisecond
		l.conn.DetectLost(max(lostAfter, late))
	}
	return fresh, ask, nil
}

// forsake answers the exchanges whose answers the client does not take any more.
// Nothing that matters goes with them.
func (l *linkEnd) forsake(ask *link.Ask) {
	over := func(x *linkExchange) bool {
		_, found := slices.BinarySearch(ask.Awaited, x.id)
		return !found && x.id < ask.Next
	}
	for i := len(l.parked) - 1; i >= 0; i-- {
		if x := l.parked[i]; over(x) {
			x.bare = true
			l.answer(i)
		}
	}
	if p := l.pipe; p != nil && over(p) {
		p.bare = true // it may be at work
	}
}

// obey does as an exchange asks.
func (l *linkEnd) obey(x *linkExchange, ask *link.Ask) {
	x.until = x.at.Add(time.Duration(min(ask.Hold, uint64(linkHold/time.Millisecond))) * time.Millisecond)
	x.path = time.Duration(min(ask.Path, uint64(pathMost/time.Millisecond))) * time.Millisecond
	x.room = int(min(ask.Room, linkAnswer))
	if ask.Next >= l.next {
		l.next, l.keep = ask.Next, int(min(ask.Keep, 1<<20))
		l.forsake(ask)
	}
	if ask.Tag != 0 {
		if count := l.node.links.accounts.add(ask.Tag, x.at); l.told.due(ask.Tag, count) {
			l.conn.Report(ask.Tag, count)
		}
	}
}
