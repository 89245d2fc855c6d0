package link

import (
	"encoding/binary"
	"errors"
)

// kind is the first byte of a frame. PROTOCOL.md has the layout of each.
type kind uint8

const (
	kindPad       kind = 0  // the rest of the record is padding
	kindAsk       kind = 1  // first in every request
	kindAnswer    kind = 2  // first in every answer
	kindAck       kind = 3  // which records have arrived
	kindCredit    kind = 4  // how many bytes of all streams together may be sent
	kindOpen      kind = 5  // client: a stream to a destination
	kindOpened    kind = 6  // node: the destination is reached
	kindData      kind = 7  // bytes of a stream
	kindEnd       kind = 8  // bytes of a stream, perhaps none, and then its end: FIN, or RST
	kindReset     kind = 9  // the sender of it has given up the stream
	kindWindow    kind = 10 // how far a stream may be sent
	kindDatagrams kind = 11 // datagrams of a UDP stream
	kindUsage     kind = 12 // node: exchanges of an account, of all its clients
)

// Limits of what a frame may say. A frame beyond them ends the link.
const (
	maxHost     = 255 // RFC 1035 section 2.3.4
	maxDetail   = 512 // of a reset, in bytes
	maxAwaited  = 4096
	maxAckSpans = 512
	maxPayload  = 1 << 16

	// maxSpans is how many gaps there may be among the records that came, or the
	// streams that were opened: many times what overtakes or gets lost.
	maxSpans = 1 << 14

	// maxStream is the highest id of a stream: beside it a record has room for the
	// largest datagram of IPv4, 65,507 bytes: 1 + 6 + 3 + 2 = 65,519 - 65,507.
	maxStream = 1<<42 - 1

	// maxEarly is how many pieces of one stream may wait for those before them:
	// twice those of the largest window, of 64 MiB in 64 KiB that may be halved.
	maxEarly = 1 << 12

	// maxDead is how many streams that were given up may wait for the client to
	// know: at 600 bytes each 1.2 MiB of a link.
	maxDead = 1 << 11
)

var errFrame = errors.New("link: malformed frame")

// A frame is one frame, parsed. Its slices are parts of the record.
type frame struct {
	kind    kind
	stream  uint64
	off     uint64 // data, end: of its first byte; credit, window: the limit; reset: the final size
	payload []byte // data, end; datagrams: length-prefixed

	flags  uint8 // open
	port   uint16
	host   []byte // open
	code   Code   // reset, end
	detail []byte // reset
	addr   []byte // opened: 0, 4 or 16 bytes

	ask    Ask
	answer Answer
	spans  []span // ack, the newest first
	tag    uint64 // usage
	count  uint64 // usage
}

// An Ask is what every request says of itself.
type Ask struct {
	Records uint16 // in this message
	Hold    uint64 // how long the node may keep it open, ms
	Keep    uint64 // how many exchanges the node should keep open, this one included
	Room    uint64 // payload bytes that its answer may carry
	Path    uint64 // ms that a request and its answer take on this way at least, 0 if unknown
	Reorder uint64 // ms by which one record may overtake another
	Tag     uint64 // of the account whose quota it takes
	Floor   uint64 // no record below is awaited an acknowledgement for any more
	Streams uint64 // all streams below are over, but for those that the node knows as open
	Next    uint64 // all exchanges below are over, but for
	Awaited []uint64
}

// An Answer is what every answer says of itself.
type Answer struct {
	Records uint16
	Held    uint64 // ms between the request and this answer
	Pending uint64 // payload bytes that the node has left
	Floor   uint64 // as in Ask
}

// Flags of an open frame.
const (
	flagUDP  = 1 << 0
	flagTell = 1 << 1 // somebody waits to hear whether the destination is reached
)

// A reader takes a record apart. After a mistake it returns zeroes, and bad is set.
type reader struct {
	p   []byte
	bad bool
}

func (r *reader) number() uint64 {
	v, n := binary.Uvarint(r.p)
	if n <= 0 {
		r.bad, r.p = true, nil
		return 0
	}
	r.p = r.p[n:]
	return v
}

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.p)) {
		r.bad, r.p = true, nil
		return nil
	}
	b := r.p[:n:n]
	r.p = r.p[n:]
	return b
}

func (r *reader) short() uint16 {
	if b := r.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) long() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) limited(most uint64) uint64 {
	v := r.number()
	if v > most {
		r.bad, r.p = true, nil
		return 0
	}
	return v
}

func (r *reader) stream() uint64 { return r.limited(maxStream) }

// next parses the next frame into f and reports whether there was one. f's
// lists are used again.
func (r *reader) next(f *frame) (bool, error) {
	if len(r.p) == 0 || kind(r.p[0]) == kindPad {
		return false, nil
	}
	*f = frame{kind: kind(r.byte()), spans: f.spans[:0], ask: Ask{Awaited: f.ask.Awaited[:0]}}
	switch f.kind {
	case kindAsk:
		r.ask(&f.ask)
	case kindAnswer:
		f.answer = Answer{Records: r.short(), Held: r.number(), Pending: r.number(), Floor: r.number()}
	case kindAck:
		f.spans = r.ack(f.spans)
	case kindCredit:
		f.off = r.number()
	case kindOpen:
		f.stream, f.flags, f.port = r.stream(), r.byte(), r.short()
		f.host = r.bytes(r.limited(maxHost))
		f.off = r.number()
	case kindOpened:
		f.stream, f.addr = r.stream(), r.bytes(r.limited(16))
		r.bad = r.bad || len(f.addr) != 0 && len(f.addr) != 4 && len(f.addr) != 16
	case kindData, kindEnd:
		f.stream, f.off = r.stream(), r.number()
		if f.kind == kindEnd {
			f.code = Code(r.byte())
		}
		f.payload = r.bytes(r.limited(maxPayload))
		r.bad = r.bad || f.off+uint64(len(f.payload)) < f.off
	case kindReset:
		f.stream, f.code, f.off = r.stream(), Code(r.byte()), r.number()
		f.detail = r.bytes(r.limited(maxDetail))
	case kindWindow:
		f.stream, f.off = r.stream(), r.number()
	case kindDatagrams:
		f.stream, f.payload = r.stream(), r.bytes(r.limited(maxPayload))
	case kindUsage:
		f.tag, f.count = r.long(), r.number()
	default:
		return false, errFrame
	}
	if r.bad {
		return false, errFrame
	}
	return true, nil
}

func (r *reader) ask(a *Ask) {
	a.Records = r.short()
	for _, v := range []*uint64{&a.Hold, &a.Keep, &a.Room, &a.Path, &a.Reorder} {
		*v = r.number()
	}
	a.Tag, a.Floor, a.Streams, a.Next = r.long(), r.number(), r.number(), r.number()
	id := uint64(0)
	for range r.limited(maxAwaited) {
		d := r.number()
		if r.bad = r.bad || id+d < id; r.bad {
			return
		}
		id += d
		a.Awaited = append(a.Awaited, id)
	}
}

// ack reads spans from the highest down: the highest number, then by turns how
// many more there are below it, and how large the gap below these is, less one.
func (r *reader) ack(spans []span) []span {
	n := r.limited(maxAckSpans)
	if n == 0 {
		return spans
	}
	hi := r.number()
	for i := range n {
		if i > 0 {
			gap := r.number()
			if r.bad = r.bad || gap+1 > hi || gap+1 == 0; r.bad {
				return spans
			}
			hi -= gap + 1
		}
		more := r.number()
		if r.bad = r.bad || more > hi || hi+1 == 0; r.bad {
			return spans
		}
		spans = append(spans, span{hi - more, hi + 1})
		if hi -= more; hi == 0 {
			r.bad = i+1 < n
			return spans
		}
		hi--
	}
	return spans
}

func appendAsk(dst []byte, a *Ask) []byte {
	dst = append(dst, byte(kindAsk), 0, 0) // the number of records is set at the end
	for _, v := range []uint64{a.Hold, a.Keep, a.Room, a.Path, a.Reorder} {
		dst = binary.AppendUvarint(dst, v)
	}
	dst = binary.BigEndian.AppendUint64(dst, a.Tag)
	dst = binary.AppendUvarint(dst, a.Floor)
	dst = binary.AppendUvarint(dst, a.Streams)
	dst = binary.AppendUvarint(dst, a.Next)
	dst = binary.AppendUvarint(dst, uint64(len(a.Awaited)))
	id := uint64(0)
	for _, x := range a.Awaited {
		dst = binary.AppendUvarint(dst, x-id)
		id = x
	}
	return dst
}

func appendAnswer(dst []byte, a *Answer) []byte {
	dst = append(dst, byte(kindAnswer), 0, 0)
	dst = binary.AppendUvarint(dst, a.Held)
	dst = binary.AppendUvarint(dst, a.Pending)
	return binary.AppendUvarint(dst, a.Floor)
}

// appendAck writes the newest maxAckSpans spans of got.
func appendAck(dst []byte, got ranges) []byte {
	got = got[max(0, len(got)-maxAckSpans):]
	dst = append(dst, byte(kindAck))
	dst = binary.AppendUvarint(dst, uint64(len(got)))
	for i := len(got) - 1; i >= 0; i-- {
		last := got[i].hi - 1
		if i == len(got)-1 {
			dst = binary.AppendUvarint(dst, last)
		} else {
			// Below the span before lies lo-1, which is in the gap.
			dst = binary.AppendUvarint(dst, got[i+1].lo-1-last-1)
		}
		dst = binary.AppendUvarint(dst, last-got[i].lo)
	}
	return dst
}

func appendOpen(dst []byte, s *Stream) []byte {
	dst = append(dst, byte(kindOpen))
	dst = binary.AppendUvarint(dst, s.id)
	dst = append(dst, s.flags, byte(s.port>>8), byte(s.port))
	dst = binary.AppendUvarint(dst, uint64(len(s.host)))
	dst = append(dst, s.host...)
	return binary.AppendUvarint(dst, s.in.limit)
}

func appendOpened(dst []byte, s *Stream) []byte {
	dst = append(dst, byte(kindOpened))
	dst = binary.AppendUvarint(dst, s.id)
	addr := s.addr.AsSlice()
	dst = binary.AppendUvarint(dst, uint64(len(addr)))
	return append(dst, addr...)
}

func appendReset(dst []byte, s *Stream) []byte {
	dst = append(dst, byte(kindReset))
	dst = binary.AppendUvarint(dst, s.id)
	dst = append(dst, byte(s.out.code))
	dst = binary.AppendUvarint(dst, s.out.sent)
	dst = binary.AppendUvarint(dst, uint64(len(s.out.detail)))
	return append(dst, s.out.detail...)
}

func appendWindow(dst []byte, s *Stream) []byte {
	dst = append(dst, byte(kindWindow))
	dst = binary.AppendUvarint(dst, s.id)
	return binary.AppendUvarint(dst, s.in.limit)
}

// appendData writes the head of a data frame, or with end of the frame that ends
// the stream; n bytes of payload follow it.
func appendData(dst []byte, s *Stream, off uint64, n int, end bool) []byte {
	k := kindData
	if end {
		k = kindEnd
	}
	dst = append(dst, byte(k))
	dst = binary.AppendUvarint(dst, s.id)
	dst = binary.AppendUvarint(dst, off)
	if end {
		dst = append(dst, byte(s.out.code))
	}
	return binary.AppendUvarint(dst, uint64(n))
}

// dataHead is how long the head of a data frame is at most.
const dataHead = 1 + 10 + 10 + 1 + 3

// A datagram in a datagrams frame has its length, two bytes, before it.
const datagramHead = 2

// nextDatagram takes the next datagram off the payload of a datagrams frame.
func nextDatagram(p []byte) (d, rest []byte, err error) {
	if len(p) < datagramHead {
		return nil, nil, errFrame
	}
	n := int(binary.BigEndian.Uint16(p))
	if n > len(p)-datagramHead {
		return nil, nil, errFrame
	}
	return p[datagramHead : datagramHead+n : datagramHead+n], p[datagramHead+n:], nil
}
