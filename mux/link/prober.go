package link

import (
	"encoding/binary"
	"slices"
)

// A Prober makes requests of a link that carry nothing, of any size: by them a client
// learns what a relay takes. The link is theirs alone, for a Conn would number its
// records likewise. It is for one goroutine at a time.
type Prober struct {
	keys   Keys
	sealer *Sealer
	record uint64 // the number of the next
	next   uint64 // exchange
}

// NewProber returns a Prober of a link that nothing else uses.
func NewProber(k Keys) *Prober { return &Prober{keys: k, sealer: k.Sealer(Up), next: 1} }

// ProbeLeast is the least that a request of a Prober has in bytes: room for an ask.
const ProbeLeast = 2 << 10

// Append appends a request of size bytes, ProbeLeast at least, and returns its
// exchange. Of ask it sets what the link has to know; Awaited may hold up to a
// hundred exchanges.
func (p *Prober) Append(dst []byte, ask Ask, size int) (_ []byte, exchange uint64, err error) {
	exchange = p.next
	p.next++
	const most, heads = MaxPlain, RecordHead + RecordTag
	left := max(size, ProbeLeast) - RequestHead
	ask.Next, ask.Floor, ask.Streams = exchange, 0, 0
	first := appendAsk(nil, &ask)
	count := (left + most + heads - 1) / (most + heads)
	if rest := left - (count-1)*(most+heads); rest < heads { // what is left over is too little for a record
		count--
	}
	binary.BigEndian.PutUint16(first[1:], uint16(count))
	dst = AppendRequestHead(dst, p.keys.ID(), exchange)
	for i := range count {
		n := min(most, left-heads)
		left -= n + heads
		start := len(dst)
		dst = slices.Grow(dst, heads+n)[:start+RecordHead+n]
		clear(dst[start:]) // zeros are padding
		if i == 0 {
			copy(dst[start+RecordHead:], first)
		}
		if dst, err = p.sealer.Seal(dst, start, exchange, uint32(i), p.record); err != nil {
			return dst, exchange, err
		}
		p.record++
	}
	return dst, exchange, nil
}

// Answered reports whether message is the node's answer to an exchange, and whole as
// far as its first record goes. It is overwritten.
func (p *Prober) Answered(message []byte, exchange uint64) error {
	records, err := ParseAnswerHead(message)
	if err != nil {
		return err
	}
	record, _, err := NextRecord(records)
	if err != nil {
		return err
	}
	_, _, err = p.keys.Opener(Down).Open(nil, record, exchange, 0)
	return err
}
