package link

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"relaymux/mux/buf"
)

// A Receipt is what a record was.
type Receipt struct {
	Ask    *Ask    // if it had one
	Answer *Answer // likewise
	Owed   bool    // it has something of which the other end keeps a note until it is acknowledged
}

// Receive takes in one authentic record that has not been received before, its
// plaintext in b, which it borrows; parts of it may be retained. It is the
// caller's to see to it that no record comes twice (Replay).
//
// An error that is ErrProtocol ends the link; after ErrRefused the record
// counts as lost, though what it could carry out is carried out.
func (c *Conn) Receive(now time.Time, number uint64, b *buf.Buf) (Receipt, error) {
	var got Receipt
	var refused error
	acks := 0
	r := reader{p: b.B}
	for {
		more, err := r.next(&c.f)
		if err != nil {
			return got, fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		if !more {
			break
		}
		switch c.f.kind {
		case kindAck:
			acks++
		case kindCredit, kindOpen, kindOpened, kindData, kindEnd, kindReset, kindWindow:
			got.Owed = true
		}
		switch err := c.take(now, &c.f, b); {
		case acks > 1: // one may have to look at all that is on its way
			return got, fmt.Errorf("%w: two acknowledgements in a record", ErrProtocol)
		case errors.Is(err, ErrRefused):
			refused = err
		case err != nil:
			return got, err
		}
		switch c.f.kind {
		case kindAsk:
			a := c.f.ask
			a.Awaited = slices.Clone(a.Awaited)
			got.Ask = &a
			c.trim(a.Floor)
		case kindAnswer:
			a := c.f.answer
			got.Answer = &a
			c.trim(a.Floor)
		}
	}
	if refused != nil {
		return got, refused
	}
	if number >= c.gotFloor {
		c.got.add(number, number+1)
	}
	if len(c.got) > maxSpans {
		return got, fmt.Errorf("%w: records with too many gaps", ErrProtocol)
	}
	return got, nil
}

// trim forgets which records below floor have come: nobody asks any more.
func (c *Conn) trim(floor uint64) {
	if floor > c.gotFloor {
		c.gotFloor = floor
		c.got.trim(floor)
	}
}

// take carries out one frame.
func (c *Conn) take(now time.Time, f *frame, b *buf.Buf) error {
	switch f.kind {
	case kindAsk:
		return c.takeAsk(&f.ask)
	case kindAck:
		return c.takeAck(now, f.spans)
	case kindCredit:
		c.takeCredit(f.off)
		return nil
	case kindOpen:
		return c.takeOpen(f)
	case kindUsage:
		c.h.Usage(f.tag, f.count)
		return nil
	case kindAnswer:
		return nil
	}
	s := c.streams[f.stream]
	if s == nil {
		return c.stray(f)
	}
	switch f.kind {
	case kindOpened:
		c.takeOpened(s, f.addr)
	case kindData, kindEnd:
		return c.takeData(s, f, b)
	case kindReset:
		return c.takeReset(s, f)
	case kindWindow:
		if f.off > s.out.limit {
			s.out.limit = f.off
			s.enqueue()
		}
	case kindDatagrams:
		return c.takeDatagrams(s, f.payload, b)
	}
	return nil
}

// stray is a frame of a stream that is not there: late, or never was.
func (c *Conn) stray(f *frame) error {
	if c.c.Client && f.stream >= c.next {
		return fmt.Errorf("%w: a stream that was never opened", ErrProtocol)
	}
	if c.c.Client || f.stream < c.floor || c.known.has(f.stream) {
		return nil
	}
	if f.kind != kindReset {
		return ErrRefused // its open frame is in another record, which is still to come
	}
	// It was given up, and that overtook its open frame, which must not open it.
	if err := c.know(f.stream); err != nil {
		return err
	}
	s := c.newStream(f.stream, "", 0) // the handler never hears of it
	s.in.begin(uint64(c.c.Window))
	return c.takeReset(s, f)
}

// know notes that an id was opened, or is never to be. That is refused while too
// many are dead, for these take memory without a place at the node.
func (c *Conn) know(id uint64) error {
	if c.dead >= maxDead {
		return ErrRefused
	}
	if c.known.add(id, id+1); len(c.known) > maxSpans {
		return fmt.Errorf("%w: streams with too many gaps", ErrProtocol)
	}
	return nil
}

// takeAsk notes what a client says of its streams and exchanges. The rest of it
// is the node's to see.
func (c *Conn) takeAsk(a *Ask) error {
	if c.c.Client {
		return fmt.Errorf("%w: a request where an answer was due", ErrProtocol)
	}
	if a.Streams > c.floor {
		c.floor = a.Streams
		c.known.trim(c.floor)
	}
	return nil
}

// takeOpen opens a stream once, however often it is asked for, in whatever order.
func (c *Conn) takeOpen(f *frame) error {
	switch {
	case c.c.Client:
		return fmt.Errorf("%w: the node opens a stream", ErrProtocol)
	case f.stream < c.floor || c.known.has(f.stream):
		return nil
	case f.port == 0 || len(f.host) == 0:
		return fmt.Errorf("%w: no destination", ErrProtocol)
	}
	if err := c.know(f.stream); err != nil {
		return err
	}
	s := c.newStream(f.stream, string(f.host), f.port)
	s.flags = f.flags
	s.out.limit = f.off
	s.in.begin(uint64(c.c.Window))
	c.h.Open(s)
	return nil
}

func (c *Conn) takeOpened(s *Stream, addr []byte) {
	if !c.c.Client || s.out.reset || s.opened {
		return
	}
	if a, ok := netip.AddrFromSlice(addr); ok {
		s.addr = a
	}
	s.opened = true
	c.h.Opened(s)
}

// takeData takes bytes in, in order or not.
func (c *Conn) takeData(s *Stream, f *frame, b *buf.Buf) error {
	i := &s.in
	end := f.off + uint64(len(f.payload))
	switch {
	case s.UDP(), end > i.limit, i.ended && end > i.end:
		return fmt.Errorf("%w: bytes beyond the window or the end: %d of stream %d, window %d, end %d", ErrProtocol, end, s.id, i.limit, i.end)
	case f.kind == kindEnd && end < i.highest:
		return fmt.Errorf("%w: an end before what has come", ErrProtocol)
	}
	if f.kind == kindEnd && !i.ended {
		i.ended, i.end, i.code = true, end, f.code
	}
	before := i.highest
	c.highest(i, end)
	if c.received > c.credit {
		return fmt.Errorf("%w: more than the credit", ErrProtocol)
	}
	if i.done {
		fresh := i.highest - before // of a stream that was given up: nobody will take it
		i.consumed += fresh
		c.consume(fresh)
		s.settle()
		return nil
	}
	if err := c.put(s, f.off, f.payload, b); err != nil {
		return err
	}
	c.deliverEnd(s)
	return nil
}

// put delivers p at offset off if it is next, with what waited for it; or keeps it.
func (c *Conn) put(s *Stream, off uint64, p []byte, b *buf.Buf) error {
	i := &s.in
	if off < i.next {
		skip := min(i.next-off, uint64(len(p)))
		c.Counts.Duplicates += skip
		off, p = off+skip, p[skip:]
	}
	if len(p) == 0 {
		return nil
	}
	if off > i.next {
		return c.putEarly(i, off, p, b)
	}
	i.next += uint64(len(p))
	kb, kp := keep(b, p)
	c.h.Data(s, kb, kp)
	if len(i.early) > 0 && i.early[0].off <= i.next {
		c.deliverEarly(s)
	}
	return nil
}

// deliverEarly delivers what waited for what has come now.
func (c *Conn) deliverEarly(s *Stream) {
	i := &s.in
	ready := 0
	for end := i.next; ready < len(i.early) && i.early[ready].off <= end; ready++ {
		end = max(end, i.early[ready].off+uint64(len(i.early[ready].p)))
	}
	pieces := slices.Clone(i.early[:ready]) // which the handler may end
	i.early = slices.Delete(i.early, 0, ready)
	for _, e := range pieces {
		c.c.Early.Return(cap(e.b.B))
		skip := i.next - e.off
		if i.done || skip >= uint64(len(e.p)) {
			e.b.Release()
			continue
		}
		i.next += uint64(len(e.p)) - skip
		c.h.Data(s, e.b, e.p[skip:])
	}
}

// keep returns p in a buffer that its next owner owns: b itself if p is at least
// half of it, else a copy of its size.
func keep(b *buf.Buf, p []byte) (*buf.Buf, []byte) {
	if len(p) >= cap(b.B)/2 {
		return b.Retain(), p
	}
	small := buf.Copy(p)
	return small, small.B
}

// putEarly keeps what came too early.
func (c *Conn) putEarly(i *inbound, off uint64, p []byte, b *buf.Buf) error {
	at, dup := slices.BinarySearchFunc(i.early, off, func(e earlyPiece, off uint64) int {
		switch {
		case e.off < off:
			return -1
		case e.off > off:
			return 1
		}
		return 0
	})
	if dup && len(i.early[at].p) >= len(p) {
		return nil
	}
	if len(i.early) >= maxEarly {
		return ErrRefused
	}
	kb, kp := keep(b, p)
	// A quarter is left to what comes in order, of others who share the budget too.
	if g := c.c.Early; g.Free() < g.Limit()/4 || !g.Try(cap(kb.B)) {
		kb.Release()
		return ErrRefused
	}
	i.early = slices.Insert(i.early, at, earlyPiece{off, kb, kp})
	return nil
}

// deliverEnd tells of the end when all before it is delivered.
func (c *Conn) deliverEnd(s *Stream) {
	i := &s.in
	if !i.ended || i.done || i.next != i.end {
		return
	}
	i.done = true
	c.h.End(s, i.code != 0)
	s.settle()
}

// takeReset ends a stream that the other end has given up.
func (c *Conn) takeReset(s *Stream, f *frame) error {
	i, o := &s.in, &s.out
	if f.off > i.limit {
		return fmt.Errorf("%w: a final size beyond the window", ErrProtocol)
	}
	if c.highest(i, f.off); c.received > c.credit {
		return fmt.Errorf("%w: more than the credit", ErrProtocol)
	}
	i.reset = true
	tell := s.host != "" && !o.reset
	s.stopReceiving()
	if !o.reset && !s.Finished() {
		o.reply = true
		s.giveUp(Aborted, "")
	}
	if tell {
		c.h.Reset(s, f.code, string(f.detail))
	}
	s.settle()
	return nil
}

func (c *Conn) takeDatagrams(s *Stream, p []byte, b *buf.Buf) error {
	if s.out.reset {
		return nil
	}
	if !s.UDP() {
		return fmt.Errorf("%w: datagrams in a stream", ErrProtocol)
	}
	pkts := c.pkts[:0]
	for len(p) > 0 {
		d, rest, err := nextDatagram(p)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		pkts = append(pkts, d)
		p = rest
	}
	c.h.Datagrams(s, b, pkts)
	c.pkts = pkts[:0]
	return nil
}

// takeCredit notes how much may be sent of all streams together, and puts those
// back in line that wanted for it.
func (c *Conn) takeCredit(limit uint64) {
	wanted := c.creditLeft() == 0
	if limit <= c.given {
		return
	}
	c.given = limit
	if !wanted {
		return
	}
	for _, s := range c.streams {
		s.enqueue()
	}
}
