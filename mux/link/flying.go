package link

import (
	"fmt"
	"slices"
	"time"
)

// A flight is a record that was sent and may still be acknowledged.
type flight struct {
	exchange uint64
	at       time.Time
	size     int // bytes of its plaintext
	frames   []sentFrame
	settled  bool // acknowledged, or given up
	acked    bool
}

// A sentFrame is what has to be done when its record arrives, or gets lost.
type sentFrame struct {
	s      *Stream
	kind   kind
	lo, hi uint64 // data, end: the bytes; window: hi is the limit
}

// flying is the records on their way, from the lowest that is not settled.
type flying struct {
	first uint64 // number of ring's first
	ring  []flight
	head  int
	bytes int // of those that are not settled
	spare [][]sentFrame
}

func (f *flying) len() int { return len(f.ring) - f.head }

func (f *flying) at(number uint64) *flight { return &f.ring[f.head+int(number-f.first)] }

func (f *flying) end() uint64 { return f.first + uint64(f.len()) }

func (f *flying) push(x flight) {
	f.ring = append(f.ring, x)
	f.bytes += x.size
}

// settle notes that x, which is one of f, is on its way no longer.
func (f *flying) settle(x *flight) {
	if !x.settled {
		x.settled = true
		f.bytes -= x.size
	}
}

// frames is an empty list for the frames of a record.
func (f *flying) frames() []sentFrame {
	if n := len(f.spare); n > 0 {
		l := f.spare[n-1]
		f.spare = f.spare[:n-1]
		return l
	}
	return make([]sentFrame, 0, 4)
}

const spareLists = 64

// shrink lets go of what is settled at the front.
func (f *flying) shrink() {
	for f.head < len(f.ring) && f.ring[f.head].settled {
		x := &f.ring[f.head]
		if len(f.spare) < spareLists && cap(x.frames) <= 64 {
			clear(x.frames)
			f.spare = append(f.spare, x.frames[:0])
		}
		*x = flight{}
		f.head++
		f.first++
	}
	if f.head > 32 && f.head*2 >= len(f.ring) {
		rest := copy(f.ring, f.ring[f.head:])
		clear(f.ring[rest:])
		f.ring, f.head = f.ring[:rest], 0
	}
}

func (f *flying) clear() { *f = flying{first: f.end()} }

// takeAck settles the records that have arrived.
func (c *Conn) takeAck(now time.Time, spans []span) error {
	fl := &c.flying
	for _, e := range spans {
		if e.hi > fl.end() {
			return fmt.Errorf("%w: an acknowledgement of what was never sent", ErrProtocol)
		}
		for n := max(e.lo, fl.first); n < e.hi; n++ {
			if x := fl.at(n); !x.acked {
				c.acked(x)
			}
		}
	}
	fl.shrink()
	return nil
}

func (c *Conn) acked(x *flight) {
	c.flying.settle(x)
	x.acked = true
	c.Counts.Acked++
	if x.at.After(c.newest) {
		c.newest = x.at
	}
	for _, f := range x.frames {
		s := f.s
		switch f.kind {
		case kindCredit:
			c.sure = max(c.sure, f.hi)
		case kindWindow:
			s.in.sure = max(s.in.sure, f.hi)
		case kindOpen, kindOpened:
			s.openAck = true
			s.due &^= dueOpen | dueOpened
		case kindData, kindEnd:
			if f.kind == kindEnd {
				s.out.finAcked = true
			}
			if n := s.out.ack(c, f.lo, f.hi); n > 0 {
				c.h.Acked(s, n)
			}
			s.count()
			s.settle()
		case kindReset:
			s.out.resetAck = true
			s.settle()
		}
	}
}

// lost has what was in a record sent again.
func (c *Conn) lost(x *flight) {
	c.flying.settle(x)
	c.Counts.Lost++
	for _, f := range x.frames {
		if f.kind == kindCredit {
			c.creditDue, c.told = true, c.sure
			continue
		}
		s, o := f.s, &f.s.out
		if c.streams[s.id] != s {
			continue
		}
		switch f.kind {
		case kindOpen:
			if !s.openAck {
				s.owe(dueOpen)
			}
		case kindOpened:
			if !s.openAck {
				s.owe(dueOpened)
			}
		case kindReset:
			if !o.resetAck {
				s.owe(dueReset)
			}
		case kindWindow:
			if f.hi == s.in.limit && !s.in.done {
				s.in.told = s.in.sure
				s.owe(dueWindow)
			}
		case kindData, kindEnd:
			if o.reset {
				continue
			}
			c.Counts.Resent += o.lose(c, f.lo, f.hi)
			if f.kind == kindEnd && !o.finAcked {
				o.finSent = false
			}
			s.enqueue()
		}
	}
}

// ExchangeEnded tells that nothing of an exchange comes any more: what it carried
// and was not acknowledged is sent again. Client: after each exchange, failed or
// not, once its answer was received.
func (c *Conn) ExchangeEnded(exchange uint64) {
	for n := c.flying.first; n < c.flying.end(); n++ {
		if x := c.flying.at(n); !x.settled && x.exchange == exchange {
			c.lost(x)
		}
	}
	c.flying.shrink()
}

// Awaited tells what a client still awaits of the exchanges below next, in rising
// order: the answers of all others have come, or never will. Node.
func (c *Conn) Awaited(next uint64, awaited []uint64) {
	if next < c.asked {
		return // a later word has come already
	}
	c.asked = next
	for n := c.flying.first; n < c.flying.end(); n++ {
		x := c.flying.at(n)
		if x.settled || x.exchange >= next {
			continue
		}
		if _, found := slices.BinarySearch(awaited, x.exchange); !found {
			c.lost(x)
		}
	}
	c.flying.shrink()
}

// DetectLost gives up records that were sent more than late before one that has
// arrived: exchanges overtake each other, but not by that much.
func (c *Conn) DetectLost(late time.Duration) {
	for n := c.flying.first; n < c.flying.end(); n++ {
		x := c.flying.at(n)
		if x.at.Add(late).After(c.newest) {
			break
		}
		if !x.settled {
			c.lost(x)
		}
	}
	c.flying.shrink()
}

// bound gives up the oldest records, which the other end would take for replayed
// if they came now.
func (c *Conn) bound() {
	for c.flying.len() >= ReplayWindow {
		c.lost(c.flying.at(c.flying.first))
		c.flying.shrink()
	}
}

// Outstanding reports whether something of an exchange is neither acknowledged
// nor given up.
func (c *Conn) Outstanding(exchange uint64) bool {
	for n := c.flying.first; n < c.flying.end(); n++ {
		if x := c.flying.at(n); !x.settled && x.exchange == exchange && len(x.frames) > 0 {
			return true
		}
	}
	return false
}

// Flying is how many records are neither acknowledged nor given up.
func (c *Conn) Flying() int { return c.flying.len() }

// FlyingBytes is how many bytes they have.
func (c *Conn) FlyingBytes() int { return c.flying.bytes }
