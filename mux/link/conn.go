package link

import (
	"errors"
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

	fresh   queue     // streams that have something to send: those that had nothing before,
	ready   queue     // and those that have had a turn
	odd     bool      // which of them had the odd op of a message
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

	asked  uint64 // node: the exchange below which the client has told last what it awaits
	f      frame  // scratch
	pkts   [][]byte
	Counts Counts
}

// Counts is what a Conn has seen.
type Counts struct {
	Records    uint64 // sent
	Acked      uint64 // records that were acknowledged
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
	c.fresh, c.ready, c.control = queue{}, queue{}, nil
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

// Unsent is how many bytes of streams wait to be sent, windows or not.
func (c *Conn) Unsent() uint64 { return c.unsent + c.again }

// Newest is when the newest of the records that are known to have arrived was sent.
func (c *Conn) Newest() time.Time { return c.newest }

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
