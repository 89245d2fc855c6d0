package link

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"time"
)

// Limits of one message.
type Limits struct {
	Bytes int // of its body, heads and tags included
	Ops   int // streams that are opened or reset, or of which up to opBytes go; 0 is no limit
}

// opBytes is the most of one stream that counts as one op.
const opBytes = 1 << 20

// quantum is what a stream sends before it is the next one's turn.
const quantum = 64 << 10

// sparse is what a stream that had nothing to say sends of what it says first before
// those that stand in line: key strokes, requests and TLS hellos do not wait behind bulk
// (as new flows do not in FQ-CoDel, RFC 8290 section 4.2).
const sparse = 4 << 10

// A packer fills a message.
type packer struct {
	c      *Conn
	m      *Message
	now    time.Time
	left   int // bytes of the body
	room   int // of the record that is open,
	start  int // which begins behind so many bytes of the message
	ops    int // that may still come
	bound  bool
	frames []sentFrame // of the record that is open
	id     uint64
}

// Plan makes the next message, of an exchange, with head in front: an *Ask of a
// client, an *Answer of a node. It takes along acknowledgements, then what
// controls the streams, then their bytes, in turns.
func (c *Conn) Plan(now time.Time, exchange uint64, head any, l Limits) *Message {
	c.message++
	c.bound()
	p := &packer{c: c, m: &Message{Exchange: exchange}, now: now, left: l.Bytes, ops: l.Ops, bound: l.Ops > 0, id: c.message}
	p.begin()
	switch h := head.(type) {
	case *Ask:
		h.Floor, h.Streams = c.flying.first, c.low()
		p.frame(func(dst []byte) []byte { return appendAsk(dst, h) })
	case *Answer:
		h.Floor, h.Pending = c.flying.first, c.Unsent()
		p.frame(func(dst []byte) []byte { return appendAnswer(dst, h) })
	}
	if len(c.got) > 0 {
		p.frame(func(dst []byte) []byte { return appendAck(dst, c.got) })
	}
	p.credit()
	p.control()
	p.streams()
	p.finish()
	return p.m
}

// begin opens a record.
func (p *packer) begin() {
	p.frames = p.c.flying.frames()
	p.m.records = append(p.m.records, planned{from: len(p.m.parts), to: len(p.m.parts)})
	p.left -= RecordHead + RecordTag
	p.room, p.start = min(MaxPlain, p.left), p.m.Plain
}

// end closes the record that is open.
func (p *packer) end() {
	r := &p.m.records[len(p.m.records)-1]
	r.to, r.number = len(p.m.parts), p.c.number
	p.c.number++
	p.c.Counts.Records++
	p.c.flying.push(flight{exchange: p.m.Exchange, at: p.now, size: p.m.Plain - p.start, frames: p.frames})
	p.frames = nil
}

// need sees to it that the open record has room for n bytes, and reports whether
// it has.
func (p *packer) need(n int) bool {
	if p.room >= n {
		return true
	}
	if p.left < n+RecordHead+RecordTag || n > MaxPlain {
		return false
	}
	p.end()
	p.begin()
	return p.room >= n
}

func (p *packer) use(n int) {
	p.left -= n
	p.room -= n
	p.m.Plain += n
}

// frame adds a small frame, which must fit: a head and an acknowledgement always
// do, for the smallest body is larger than they are; others ask need.
func (p *packer) frame(add func([]byte) []byte) {
	before := len(p.m.arena)
	p.m.arena = add(p.m.arena)
	n := len(p.m.arena) - before
	p.m.parts = append(p.m.parts, part{n: n})
	p.use(n)
}

// smallFrame is about the largest of the small frames: an open with its host.
const smallFrame = maxDetail + 64

func (p *packer) credit() {
	c := p.c
	if c.creditDue && p.need(smallFrame) {
		c.creditDue = false
		c.credit = max(c.credit, c.consumed+c.allow)
		p.frame(func(dst []byte) []byte { return binary.AppendUvarint(append(dst, byte(kindCredit)), c.credit) })
		p.note(nil, kindCredit, 0, c.credit)
		c.told = c.credit
	}
	told := 0
	for ; told < len(c.usage) && p.need(smallFrame); told++ {
		u := c.usage[told]
		p.frame(func(dst []byte) []byte {
			dst = binary.BigEndian.AppendUint64(append(dst, byte(kindUsage)), u.tag)
			return binary.AppendUvarint(dst, u.count)
		})
	}
	c.usage = slices.Delete(c.usage, 0, told)
}

// control adds the frames that streams owe.
func (p *packer) control() {
	c := p.c
	n := 0
	for ; n < len(c.control); n++ {
		s := c.control[n]
		if c.streams[s.id] != s {
			continue
		}
		if p.full() || !p.need(smallFrame) {
			break
		}
		p.owed(s)
	}
	rest := copy(c.control, c.control[n:])
	clear(c.control[rest:])
	c.control = c.control[:rest]
}

func (p *packer) full() bool { return p.bound && p.ops <= 0 }

func (p *packer) owed(s *Stream) {
	d := s.due
	s.due = 0
	if d&dueOpen != 0 {
		p.open(s)
	}
	if d&dueOpened != 0 {
		p.frame(func(dst []byte) []byte { return appendOpened(dst, s) })
		p.note(s, kindOpened, 0, 0)
	}
	if d&dueWindow != 0 && !s.in.done {
		p.frame(func(dst []byte) []byte { return appendWindow(dst, s) })
		p.note(s, kindWindow, 0, s.in.limit)
		s.in.told = s.in.limit
	}
	if d&dueReset != 0 {
		p.inOp(s, 0)
		p.frame(func(dst []byte) []byte { return appendReset(dst, s) })
		p.note(s, kindReset, 0, 0)
	}
}

func (p *packer) note(s *Stream, k kind, lo, hi uint64) {
	p.frames = append(p.frames, sentFrame{s: s, kind: k, lo: lo, hi: hi})
}

func (p *packer) open(s *Stream) {
	p.inOp(s, 0)
	p.frame(func(dst []byte) []byte { return appendOpen(dst, s) })
	p.note(s, kindOpen, 0, 0)
}

// inOp counts n bytes of s to its op in this message, or to the next.
func (p *packer) inOp(s *Stream, n int) {
	if s.batch != p.id || s.inOp+n > opBytes {
		s.batch, s.inOp = p.id, 0
		p.m.Ops++
		p.ops--
	}
	s.inOp += n
}

// streams adds bytes of the streams in line, a quantum each in turn. Those that come anew
// go first, but leave half of the message's bytes and of its ops to the others.
func (p *packer) streams() {
	left, ops := p.left/2, p.ops/2
	if p.ops%2 == 1 && p.c.ready.sendable() && p.c.fresh.sendable() { // the odd one is theirs in turn
		if p.c.odd = !p.c.odd; p.c.odd {
			ops++
		}
	}
	for p.left > left && (!p.bound || p.ops > ops) && p.turn(&p.c.fresh) {
	}
	for p.turn(&p.c.ready) || p.turn(&p.c.fresh) {
	}
}

// turn adds bytes of the first stream in a line, which goes to the end of ready if it has
// more. It reports whether it may be another's turn.
func (p *packer) turn(q *queue) bool {
	if q.len() == 0 {
		return false
	}
	s := q.peek()
	most, advance := quantum-s.advance, 0
	if q == &p.c.fresh {
		most, advance = sparse, sparse
	}
	if s.sendable() && (p.full() && (s.batch != p.id || s.inOp+most > opBytes) || !p.send(s, most)) {
		return false // it is first in the next message
	}
	q.pop()
	s.advance = advance
	if s.queued = s.sendable(); s.queued {
		p.c.ready.push(s)
	}
	return true
}

// send adds so many bytes of s, and reports whether anything fit.
func (p *packer) send(s *Stream, most int) bool {
	least := dataHead + 1
	if p.c.c.Client && !s.openAck && s.batch != p.id {
		least += smallFrame // as long as the node may not know of it, its open frame goes along
	}
	if !p.need(least) {
		return false
	}
	if least > dataHead+1 {
		p.open(s)
	}
	if s.UDP() {
		return p.pull(s, most)
	}
	sent := 0
	for sent < most {
		lo, hi, again := s.nextSpan(min(p.room-dataHead, most-sent))
		o := &s.out
		fin := o.fin && !o.finSent && hi == o.end
		if lo == hi && !fin {
			break
		}
		p.data(s, lo, hi, again, fin)
		sent += int(hi - lo)
		if fin || !s.sendable() || !p.need(dataHead+1) {
			break
		}
	}
	return true
}

// data adds one data frame.
func (p *packer) data(s *Stream, lo, hi uint64, again, fin bool) {
	n := int(hi - lo)
	p.inOp(s, n)
	k := kindData
	if fin {
		k = kindEnd
		s.out.finSent = true
	}
	p.frame(func(dst []byte) []byte { return appendData(dst, s, lo, n, fin) })
	p.m.parts = s.out.at(lo, hi, p.m.parts)
	s.took(lo, hi, again)
	p.use(n)
	p.m.Payload += n
	p.note(s, k, lo, hi)
}

// pull adds datagrams of s, as many as fit and as there are, until they are so many bytes.
func (p *packer) pull(s *Stream, most int) bool {
	head := 1 + uvarintLen(s.id) + 3 + datagramHead // exactly, for the largest datagram just fits
	for some := false; ; {
		// One frame: as much as the open record takes.
		total, first := 0, len(p.m.parts)
		for p.room-head-total >= 0 && total < most {
			b, d, fits := p.c.h.Pull(s, p.room-head-total)
			if b == nil {
				s.datagrams = !fits
				break
			}
			size := [datagramHead]byte{byte(len(d) >> 8), byte(len(d))}
			p.m.arena = append(p.m.arena, size[:]...)
			p.m.parts = append(p.m.parts, part{n: datagramHead}, part{b: b, p: d})
			total += datagramHead + len(d)
		}
		if total > 0 {
			some = true
			p.inOp(s, total)
			p.datagramsHead(s, first, total)
		}
		// What did not fit into the rest of a record gets one of its own, or waits.
		if !s.datagrams || total >= most {
			return true
		}
		if p.left < MaxPlain/2 || !p.fresh() {
			return some
		}
	}
}

func uvarintLen(v uint64) int { return max(1, (bits.Len64(v)+6)/7) }

// fresh opens a new record.
func (p *packer) fresh() bool {
	if p.left < smallFrame+RecordHead+RecordTag {
		return false
	}
	p.end()
	p.begin()
	return true
}

// datagramsHead puts the head of a frame before the datagrams that are there from
// part first on.
func (p *packer) datagramsHead(s *Stream, first, total int) {
	var head [16]byte
	h := binary.AppendUvarint(append(head[:0], byte(kindDatagrams)), s.id)
	h = binary.AppendUvarint(h, uint64(total))
	// In the arena it must stand where its part does: before the lengths.
	at := len(p.m.arena)
	for _, x := range p.m.parts[first:] {
		if x.b == nil {
			at -= x.n
		}
	}
	p.m.arena = slices.Insert(p.m.arena, at, h...)
	p.m.parts = slices.Insert(p.m.parts, first, part{n: len(h)})
	p.use(len(h) + total)
	p.m.Payload += total
}

// finish closes the last record and fills in what only now is known.
func (p *packer) finish() {
	p.end()
	binary.BigEndian.PutUint16(p.m.arena[1:], uint16(min(len(p.m.records), 1<<16-1)))
}
