package link

import (
	"slices"

	"relaymux/mux/buf"
)

// outbound is the half that sends.
type outbound struct {
	chunks []chunk // what is not acknowledged, in order
	kept   int     // bytes of them
	end    uint64  // what was written
	sent   uint64  // what was sent at least once
	limit  uint64  // the other end's window
	acked  ranges  // beyond the first chunk
	lost   ranges  // sent, and to be sent again

	fin      bool // nothing is written any more
	finSent  bool
	finAcked bool
	reset    bool // given up
	resetAck bool
	reply    bool // it only answers the other end's reset
	code     Code // of a reset; of an end, 0 or with endRST
	detail   string
}

// endRST is set in the code of an end that is an RST.
const endRST Code = 1 << 7

// A chunk is bytes that wait, or are on their way. Its buffer is owned.
type chunk struct {
	b    *buf.Buf
	p    []byte
	off  uint64
	gone bool // acknowledged: the buffer is released
}

// at appends the parts of the chunks that hold lo <= off < hi.
func (o *outbound) at(lo, hi uint64, parts []part) []part {
	i, _ := slices.BinarySearchFunc(o.chunks, lo, func(c chunk, lo uint64) int {
		if c.off+uint64(len(c.p)) <= lo {
			return -1
		}
		return 1
	})
	for ; lo < hi; i++ {
		c := &o.chunks[i]
		from := lo - c.off
		to := min(hi-c.off, uint64(len(c.p)))
		parts = append(parts, part{b: c.b.Retain(), p: c.p[from:to]})
		lo = c.off + to
	}
	return parts
}

// ack notes that lo <= off < hi has arrived, and returns how many bytes are not
// kept any more.
func (o *outbound) ack(c *Conn, lo, hi uint64) (freed int) {
	if len(o.chunks) > 0 {
		lo = max(lo, o.chunks[0].off)
	} else {
		return 0
	}
	o.found(c, lo, hi)
	o.acked.add(lo, hi)
	for i := range o.chunks {
		ch := &o.chunks[i]
		if ch.off >= hi {
			break
		}
		if !ch.gone && o.acked.covers(ch.off, ch.off+uint64(len(ch.p))) {
			freed += len(ch.p)
			o.kept -= len(ch.p)
			c.free(ch)
		}
	}
	done := 0
	for done < len(o.chunks) && o.chunks[done].gone {
		done++
	}
	if done == 0 {
		return freed
	}
	rest := copy(o.chunks, o.chunks[done:])
	clear(o.chunks[rest:])
	o.chunks = o.chunks[:rest]
	if rest == 0 {
		o.chunks, o.acked = nil, nil // an idle stream keeps nothing
	}
	return freed
}

// lose has lo <= off < hi sent again, but for what has arrived meanwhile, and
// returns how much that is.
func (o *outbound) lose(c *Conn, lo, hi uint64) uint64 {
	if len(o.chunks) == 0 {
		return 0
	}
	before := o.lost.size()
	o.lost.add(max(lo, o.chunks[0].off), hi)
	for _, e := range o.acked {
		o.lost.remove(e.lo, e.hi)
	}
	n := o.lost.size() - before
	c.again += n
	return n
}

// found takes lo <= off < hi out of what is to be sent again.
func (o *outbound) found(c *Conn, lo, hi uint64) {
	if len(o.lost) > 0 {
		before := o.lost.size()
		o.lost.remove(lo, hi)
		c.again -= before - o.lost.size()
	}
}

// drop releases everything.
func (o *outbound) drop(c *Conn) {
	for i := range o.chunks {
		if ch := &o.chunks[i]; !ch.gone {
			c.free(ch)
		}
	}
	c.unsent -= o.end - o.sent
	c.again -= o.lost.size()
	o.end = o.sent
	o.chunks, o.acked, o.lost, o.kept = nil, nil, nil, 0
}
