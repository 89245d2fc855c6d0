package link

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"relaymux/mux/buf"
)

// A Handler is the owner of a Conn. All its methods are called from within the
// Conn's, on the same goroutine, and must not call the Conn's Receive or Plan.
type Handler interface {
	// Open, node: a client asks for a stream. The handler sets its window, and
	// calls Accept or Reset, now or later.
	Open(s *Stream)

	// Opened, client: the destination is reached; Stream.Addr is set if the node
	// told it.
	Opened(s *Stream)

	// Data brings the next bytes of a stream, a part of b, which the handler
	// owns from now on. It calls Stream.Consumed when it is done with them.
	Data(s *Stream, b *buf.Buf, p []byte)

	// End: the other end writes nothing any more. rst: its connection ended by
	// RST, and all before that has been delivered.
	End(s *Stream, rst bool)

	// Reset: the other end has given the stream up, both ways.
	Reset(s *Stream, code Code, detail string)

	// Over: the stream is out of the Conn, at both ends all has been said. Nothing
	// is heard of it any more.
	Over(s *Stream)

	// Acked: n bytes that were written are not kept any more.
	Acked(s *Stream, n int)

	// Datagrams brings datagrams, which are parts of b. It borrows both.
	Datagrams(s *Stream, b *buf.Buf, pkts [][]byte)

	// Pull takes the next datagram of a UDP stream, of at most room bytes, to be
	// sent: p is a part of b, which the Conn owns then. b is nil if there is none;
	// fits is false if there is one and it is too large now.
	Pull(s *Stream, room int) (b *buf.Buf, p []byte, fits bool)

	// Usage, client: the node has counted so many exchanges of an account, those
	// of all its clients, in its window.
	Usage(tag, count uint64)
}

// Config is what both ends of a link agree on, and what they may use.
type Config struct {
	Client bool
	Window int    // bytes that a stream may be sent before the other end said more
	Credit uint64 // bytes of all streams together, likewise: what this end may be sent at first
	Peer   uint64 // and what it may send

	// Memory is charged the capacity of buffers that hold what arrived out of
	// order, and of what was written and is not acknowledged (by Stream.Write's
	// caller; the Conn discharges it).
	Early, Unacked *buf.Budget
}

// Errors of Receive that end the link: the other end does not keep to the
// protocol.
var (
	ErrProtocol = errors.New("link: protocol error")

	// ErrRefused, which does not end it, refuses a record, which is as if it had got
	// lost: there is no memory for what came out of order.
	ErrRefused = errors.New("link: no room for what came out of order")
)

// A Conn is one end of a link: it knows the streams, what is on its way and what
// has arrived, and does no input or output itself. Receive takes in the records
// of a message; Plan says what goes into the next one; ExchangeEnded and
// DetectLost tell of losses. Nothing in it waits, or looks at a clock.
//
// It is not safe for concurrent use.
type Conn struct {
	h Handler
	c Config

	streams map[uint64]*Stream
	next    uint64 // client: the id of the next stream
	lowest  uint64 // client: no stream below it is there
	known   ranges // node: ids that were opened, from Ask.Streams on
	floor   uint64 // node: ids below are over if they are not in streams
	dead    int    // of streams: given up at this end, and the other end is still to say that it knows

	ready   queue     // streams that have something to send
	control []*Stream // streams that owe control frames
	usage   []usage   // node: to be told

	// Sending.
	number  uint64    // of the next record
	flying  flying    // records that may still be acknowledged
	newest  time.Time // when the newest acknowledged record was sent
	message uint64    // counts the messages
	owing   int       // streams of which something has not arrived
	unsent  uint64    // bytes of streams that were never sent
	again   uint64    // and those that got lost
	given   uint64    // credit that the other end has given
	spent   uint64    // of it

	// Receiving.
	got        ranges // records
	gotFloor   uint64
	credit     uint64 // what the other end may send
	told, sure uint64 // and what it was told, unless that was lost; and what it is known to have heard
	allow      uint64 // beyond consumed, what it is to be told
	received   uint64 // new bytes of all streams
	consumed   uint64
	creditDue  bool

	asked  uint64 // node: the highest exchange that has told what it awaits
	f      frame  // scratch
	pkts   [][]byte
	Counts Counts
}

// Counts is what a Conn has seen.
type Counts struct {
	Records    uint64 // sent
	Lost       uint64 // records that were given up for lost
	Resent     uint64 // bytes of streams sent again
	Duplicates uint64 // bytes of streams that came again
}

type usage struct{ tag, count uint64 }

// NewConn returns one end of a link.
func NewConn(c Config, h Handler) *Conn {
	return &Conn{
		h: h, c: c, streams: make(map[uint64]*Stream),
		given: c.Peer, credit: c.Credit, told: c.Credit, sure: c.Credit, allow: c.Credit,
	}
}

// Open makes a stream to host and port. Client. window is how many bytes it may
// be sent at first.
func (c *Conn) Open(host string, port uint16, udp, tell bool, window int) *Stream {
	s := c.newStream(c.next, host, port)
	c.next++
	if udp {
		s.flags |= flagUDP
	}
	if tell {
		s.flags |= flagTell
	}
	s.in.begin(uint64(window))
	s.out.limit = uint64(c.c.Window)
	s.owe(dueOpen)
	return s
}

func (c *Conn) newStream(id uint64, host string, port uint16) *Stream {
	s := &Stream{c: c, id: id, host: host, port: port}
	c.streams[id] = s
	return s
}

// Streams is how many there are.
func (c *Conn) Streams() int { return len(c.streams) }

// Owing is how many streams there are of which something that was written, or the
// end, has not arrived.
func (c *Conn) Owing() int { return c.owing }

// All returns the streams, in the order of their opening.
func (c *Conn) All() []*Stream {
	all := make([]*Stream, 0, len(c.streams))
	for _, s := range c.streams {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *Stream) int { return int(int64(a.id - b.id)) })
	return all
}

// Close releases all that the Conn keeps. Its streams are no more; the handler
// hears nothing of it.
func (c *Conn) Close() {
	for _, s := range c.streams {
		s.out.drop(c)
		c.releaseEarly(&s.in)
		s.out.reset, s.in.done = true, true // their owners may not know yet
	}
	clear(c.streams)
	c.owing, c.dead = 0, 0
	c.flying.clear()
	c.ready, c.control = queue{}, nil
}

// remove forgets a stream that is over.
func (c *Conn) remove(s *Stream) {
	if c.streams[s.id] != s {
		return
	}
	delete(c.streams, s.id)
	s.out.drop(c)
	c.releaseEarly(&s.in)
	if s.out.reset {
		c.dead--
	}
	s.out.reset = true // what is still in line is passed over
	s.count()
	if s.host != "" {
		c.h.Over(s)
	}
}

// low is the lowest id of a stream that is not over. Client.
func (c *Conn) low() uint64 {
	for c.lowest < c.next && c.streams[c.lowest] == nil {
		c.lowest++
	}
	return c.lowest
}

// Report has the client told how many exchanges an account has used. Node.
func (c *Conn) Report(tag, count uint64) {
	for i := range c.usage {
		if c.usage[i].tag == tag {
			c.usage[i].count = count
			return
		}
	}
	c.usage = append(c.usage, usage{tag, count})
}

// SetCredit says how many bytes of all streams together this end takes in beyond
// what it has consumed.
func (c *Conn) SetCredit(n uint64) {
	c.allow = n
	c.offerCredit()
}

// Received is how many new bytes of streams have come, of all streams together.
func (c *Conn) Received() uint64 { return c.received }

// Held is how many bytes have arrived that are not consumed.
func (c *Conn) Held() uint64 { return c.received - c.consumed }

func (c *Conn) offerCredit() {
	if limit := c.consumed + c.allow; limit > c.credit && limit-c.credit >= c.freeCredit()/16 {
		c.creditDue = true
	}
}

// freeCredit is what is left of the credit's size beside what has come and is not
// consumed: if much of it belongs to streams that nobody reads, a little more is
// much for the others.
func (c *Conn) freeCredit() uint64 { return c.allow - min(c.allow, c.Held()) }

func (c *Conn) consume(n uint64) {
	c.consumed += n
	c.offerCredit()
}

// highest notes that the bytes of a stream below off have come, or never will.
func (c *Conn) highest(i *inbound, off uint64) {
	if off > i.highest {
		c.received += off - i.highest
		i.highest = off
	}
}

func (c *Conn) creditLeft() uint64 { return c.given - c.spent }

func (c *Conn) spend(n uint64) { c.spent += n }

// free releases a chunk that is not needed any more.
func (c *Conn) free(ch *chunk) {
	c.discharge(ch.b)
	ch.b.Release()
	ch.gone, ch.b = true, nil // the length of p still counts
}

// discharge gives back what the writer of b has charged for it.
func (c *Conn) discharge(b *buf.Buf) {
	if c.c.Unacked != nil {
		c.c.Unacked.Return(cap(b.B))
	}
}

func (c *Conn) releaseEarly(i *inbound) {
	for _, e := range i.early {
		c.c.Early.Return(cap(e.b.B))
		e.b.Release()
	}
	i.early = nil
}

// A Receipt is what a record was.
type Receipt struct {
	Ask    *Ask    // if it had one
	Answer *Answer // likewise
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
		if c.f.kind == kindAck {
			acks++
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
