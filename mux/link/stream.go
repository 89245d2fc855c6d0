package link

import (
	"net/netip"

	"relaymux/mux/buf"
	"relaymux/mux/wire"
)

// A Stream is one TCP connection or one UDP flow, as one end of the link sees it.
// Its methods are called under the lock of its Conn's owner.
type Stream struct {
	// User is the owner's, for the callbacks of its Handler.
	User any

	c     *Conn
	id    uint64
	flags uint8
	host  string
	port  uint16
	addr  netip.Addr // of the destination, if the node tells

	opened  bool // client: the node has said so; node: it is to say so
	openAck bool // the other end has the open, or the opened, frame
	due     due  // control frames that are to go

	owes    bool   // counts in c.owing
	queued  bool   // stands in c.fresh or c.ready
	advance int    // bytes of its next quantum that it has had
	batch   uint64 // the message in which it was counted as an op
	inOp    int    // its bytes in that op

	datagrams bool // the owner has datagrams to be pulled
	quiet     bool // its reset waits for company

	out outbound
	in  inbound
}

// due is a set of control frames of a stream.
type due uint8

const (
	dueOpen due = 1 << iota
	dueOpened
	dueReset
	dueWindow
	dueTold // stands in c.control
)

// ID is the stream's number in the link.
func (s *Stream) ID() uint64 { return s.id }

// UDP reports whether it carries datagrams.
func (s *Stream) UDP() bool { return s.flags&flagUDP != 0 }

// Tell reports whether the client waits to hear that the destination is reached.
func (s *Stream) Tell() bool { return s.flags&flagTell != 0 }

// Host is the destination's name or address.
func (s *Stream) Host() string { return s.host }

// Port is the destination's.
func (s *Stream) Port() uint16 { return s.port }

// Addr is the address that Host stands for, if the node told.
func (s *Stream) Addr() netip.Addr { return s.addr }

// inbound is the half that receives.
type inbound struct {
	next     uint64 // what has arrived in order
	consumed uint64 // what the owner is done with
	limit    uint64 // the window that the other end may use
	told     uint64 // and the last that a record has told, unless that was lost
	sure     uint64 // and the last that is known to have arrived
	window   uint64 // how much beyond consumed it is to be told
	highest  uint64 // the highest offset seen: what counts against the credit
	early    []earlyPiece
	end      uint64 // where the stream ends, if ended
	ended    bool
	code     Code // of the end: 0 is FIN
	done     bool // the owner has been told of the end
	reset    bool
}

// begin sets the window that the other end knows of from the start.
func (i *inbound) begin(window uint64) {
	i.window, i.limit, i.told, i.sure = window, window, window, window
}

type earlyPiece struct {
	off uint64
	b   *buf.Buf // owned
	p   []byte
}

// Write appends p, a part of b, which it takes over with what Config.Unacked was
// charged for it. The owner bounds how much waits: Unsent, Unacked, and Handler.Acked.
func (s *Stream) Write(b *buf.Buf, p []byte) {
	o := &s.out
	ch := chunk{b: b, p: p, off: o.end}
	if o.fin || o.reset || len(p) == 0 {
		s.c.free(&ch)
		return
	}
	o.chunks = append(o.chunks, ch)
	o.end += uint64(len(p))
	o.kept += len(p)
	s.c.unsent += uint64(len(p))
	s.count()
	s.enqueue()
}

// count has the Conn know whether something that was written has not arrived.
func (s *Stream) count() {
	o := &s.out
	owes := !o.reset && (len(o.chunks) > 0 || o.fin && !o.finAcked)
	switch {
	case owes && !s.owes:
		s.c.owing++
	case !owes && s.owes:
		s.c.owing--
	}
	s.owes = owes
}

// CloseWrite ends the writing: FIN follows what was written.
func (s *Stream) CloseWrite() { s.End(Aborted, false) }

// End ends the writing, by FIN or, with rst, by RST: an RST that comes behind all
// that was written, as that of a target which answered before it went.
func (s *Stream) End(code Code, rst bool) {
	o := &s.out
	if o.fin || o.reset {
		return
	}
	o.fin = true
	if rst {
		o.code = code | endRST
	}
	s.count()
	s.enqueue()
}

// Reset gives the stream up, both ways. detail is for a person, and at most
// maxDetail bytes of it are told. The handler hears nothing more of it.
func (s *Stream) Reset(code Code, detail string) {
	if !s.out.reset {
		s.giveUp(code, detail[:min(len(detail), maxDetail)])
	}
	s.stopReceiving()
	s.settle()
}

// giveUp ends the sending half.
func (s *Stream) giveUp(code Code, detail string) {
	o := &s.out
	o.drop(s.c)
	o.reset, o.code, o.detail = true, code, detail
	s.c.dead++
	s.count()
	s.owe(dueReset)
}

// ResetQuietly is Reset of what matters so little that it waits for whatever else
// is sent: the other end finds out by itself.
func (s *Stream) ResetQuietly() {
	s.quiet = true
	s.Reset(Aborted, "")
}

// Reclaim takes a stream that the node has not been heard to know out of the Conn,
// and returns what was written, in order, which the caller owns from then on. ok is
// false if the node knows it, or may have executed what it was sent. Client.
func (s *Stream) Reclaim() (bufs []*buf.Buf, ok bool) {
	o, i := &s.out, &s.in
	if s.openAck || s.opened || i.highest > 0 || o.reset || len(o.chunks) > 0 && o.chunks[0].off > 0 || len(o.acked) > 0 {
		return nil, false
	}
	for k := range o.chunks {
		ch := &o.chunks[k]
		b := ch.b
		if len(ch.p) < len(b.B) {
			b = buf.Copy(ch.p)
			s.c.free(ch)
		} else {
			s.c.discharge(b)
		}
		bufs = append(bufs, b)
	}
	o.chunks, o.kept, o.reset = nil, 0, true
	s.count()
	delete(s.c.streams, s.id)
	return bufs, true
}

// stopReceiving ends the receiving half: what arrives from now on is not kept.
func (s *Stream) stopReceiving() {
	i := &s.in
	i.done = true
	if i.ended {
		s.c.highest(i, i.end)
	}
	s.c.releaseEarly(i)
	s.c.consume(i.highest - i.consumed)
	i.consumed = i.highest
}

// Accept tells the client that the destination is reached, at addr if that is
// valid. Node.
func (s *Stream) Accept(addr netip.Addr) {
	s.opened, s.addr = true, addr
	s.owe(dueOpened)
}

// Offer says that there are datagrams to be had from the handler's Pull.
func (s *Stream) Offer() {
	if !s.out.reset {
		s.datagrams = true
		s.enqueue()
	}
}

// Unsent is how many written bytes were never sent.
func (s *Stream) Unsent() int { return int(s.out.end - s.out.sent) }

// Unacked is how many written bytes are still kept.
func (s *Stream) Unacked() int { return s.out.kept }

// Room is how many bytes may be sent within the other end's window, beyond what
// was written.
func (s *Stream) Room() int {
	if s.out.limit <= s.out.end {
		return 0
	}
	return int(min(s.out.limit-s.out.end, 1<<30))
}

// Finished reports whether all that was written, FIN included, has arrived.
func (s *Stream) Finished() bool { return s.out.finAcked && len(s.out.chunks) == 0 }

// Consumed says that the owner is done with n bytes that Handler.Data brought.
func (s *Stream) Consumed(n int) {
	i := &s.in
	n64 := min(uint64(n), i.highest-i.consumed) // nothing if it was given up
	i.consumed += n64
	s.c.consume(n64)
	s.offerWindow()
}

// SetWindow says how many bytes the owner takes in beyond what it has consumed.
// A smaller one than before is only not renewed.
func (s *Stream) SetWindow(n int) {
	s.in.window = uint64(max(n, 0))
	s.offerWindow()
}

// Window is what was last set.
func (s *Stream) Window() int { return int(s.in.window) }

// Received is how many bytes have come in order.
func (s *Stream) Received() uint64 { return s.in.next }

// offerWindow tells the other end of a larger window, when it is worth a frame: a
// sixteenth of it has moved, for what is not told is as good as not there.
func (s *Stream) offerWindow() {
	i := &s.in
	limit := i.consumed + i.window
	if i.done || i.ended || s.UDP() || limit <= i.limit || limit-i.limit < i.window/16 {
		return
	}
	i.limit = limit
	s.owe(dueWindow)
}

// owe has control frames sent.
func (s *Stream) owe(d due) {
	s.due |= d
	if s.due&dueTold == 0 {
		s.due |= dueTold
		s.c.control = append(s.c.control, s)
	}
}

// sendable reports whether there is something of it that may go now.
func (s *Stream) sendable() bool {
	o := &s.out
	switch {
	case o.reset:
		return false
	case s.datagrams:
		return true
	case len(o.lost) > 0:
		return true
	case o.sent < min(o.end, o.limit) && s.c.creditLeft() > 0:
		return true
	}
	return o.fin && !o.finSent && o.sent == o.end
}

// enqueue puts it in line if there is something that may go, and it does not stand there.
func (s *Stream) enqueue() {
	if !s.queued && s.sendable() {
		s.queued = true
		s.c.fresh.push(s)
	}
}

// nextSpan is the next bytes to send, at most n: what was lost before what is new.
func (s *Stream) nextSpan(n int) (lo, hi uint64, again bool) {
	o := &s.out
	if len(o.lost) > 0 {
		lo = o.lost[0].lo
		return lo, min(o.lost[0].hi, lo+uint64(n)), true
	}
	hi = min(o.end, o.limit, o.sent+uint64(n), o.sent+s.c.creditLeft())
	return o.sent, max(hi, o.sent), false
}

// took notes that lo <= off < hi goes out.
func (s *Stream) took(lo, hi uint64, again bool) {
	o := &s.out
	if again {
		o.found(s.c, lo, hi)
		return
	}
	s.c.spend(hi - lo)
	s.c.unsent -= hi - lo
	o.sent = hi
}

// over reports whether nothing more is to be sent or heard of what was sent.
func (s *Stream) over() bool {
	o, i := &s.out, &s.in
	sent := o.reset && o.resetAck || !o.reset && s.Finished()
	received := i.done && (i.ended || i.reset) // else its final size is still to come
	return sent && received
}

// settle takes the stream out of the link once it is over at this end.
func (s *Stream) settle() {
	if s.over() {
		s.c.remove(s)
	}
}

// A Code says why a stream was reset.
type Code uint8

const (
	// Aborted: the connection behind it was, or its program ended it.
	Aborted Code = iota

	// Codes 1 to 31 are a wire.Reason: the destination was not reached.

	// Gone: this end knows no such stream any more.
	Gone Code = 32
	// Limited: a limit of the node.
	Limited Code = 33
	// Closed: what was written is to be finished, then the connection may go.
	Closed Code = 34

	// Stopping: the node stops.
	Stopping Code = 35
)

// CodeOf is the code of a dial's outcome.
func CodeOf(r wire.Reason) Code { return Code(r) }

// Reason is the dial's outcome that c stands for, if it does.
func (c Code) Reason() (r wire.Reason, ok bool) {
	if c > 0 && c < Gone {
		return wire.Reason(c), true
	}
	return 0, false
}
