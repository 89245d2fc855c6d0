package mux

import (
	"slices"

	"relaymux/mux/buf"
)

// inLow is when a flow asks for more: less than this waits for its
// application. It is large enough that a fast application never waits for the
// next answer because of it, and small against one answer (16 MiB).
const inLow = 4 << 20

// A piece is a part of a buffer, which it owns one reference of.
type piece struct {
	b     *buf.Buf
	p     []byte
	spare int // charged beyond p: what the buffer pins
}

// An inbox holds what the target sent and the application has not taken yet.
type inbox struct {
	pieces []piece
	bytes  int    // in pieces, or being written to the application
	next   uint64 // how many bytes of the session have arrived in order
	seen   uint64 // how many the node has given out, as its RESULTs say

	// With a node of ours two ops of a flow may be under way, and their
	// RESULTs say where in the session their bytes belong. What arrives too
	// early waits here.
	early []earlyPiece
	end   uint64 // where the session ends, if ended
	ended bool   // the target's end has arrived, perhaps before bytes that precede it
	rst   bool   // and it was an RST: what came before it is still delivered
}

type earlyPiece struct {
	off uint64
	piece
}

// put takes p, which is part of body, at offset off. Bytes that were there
// already are not taken twice; a node never sends such.
func (in *inbox) put(off uint64, p []byte, body *buf.Buf) {
	in.note(off + uint64(len(p)))
	if end := off + uint64(len(p)); off < in.next {
		if end <= in.next {
			return
		}
		off, p = in.next, p[in.next-off:]
	}
	if off > in.next {
		in.putEarly(off, p, body)
		return
	}
	in.append(p, body)
	for len(in.early) > 0 && in.early[0].off == in.next {
		e := in.early[0].piece
		in.early = slices.Delete(in.early, 0, 1)
		in.pieces = append(in.pieces, e)
		in.next += uint64(len(e.p))
	}
}

func (in *inbox) putEarly(off uint64, p []byte, body *buf.Buf) {
	i, dup := slices.BinarySearchFunc(in.early, off, func(e earlyPiece, off uint64) int {
		return int(int64(e.off - off))
	})
	if dup {
		return
	}
	in.early = slices.Insert(in.early, i, earlyPiece{off, piece{body.Retain(), p, 0}})
	in.bytes += len(p)
}

// append takes p, the next bytes of the session. At least half of the body:
// the body is kept. Less: it is copied out, so that a small part of a large
// answer, which has parts for many flows, does not pin it all.
func (in *inbox) append(p []byte, body *buf.Buf) {
	in.next += uint64(len(p))
	in.bytes += len(p)
	if len(p) >= cap(body.B)/2 {
		in.pieces = append(in.pieces, piece{body.Retain(), p, 0})
		return
	}
	for len(p) > 0 {
		n := min(len(p), buf.Max)
		b := buf.Copy(p[:n])
		in.pieces = append(in.pieces, piece{b, b.B, 0})
		p = p[n:]
	}
}

// own takes b over, of which p is a part: the next bytes of the session.
func (in *inbox) own(b *buf.Buf, p []byte) {
	in.next += uint64(len(p))
	in.seen = in.next
	in.bytes += len(p)
	in.pieces = append(in.pieces, piece{b, p, cap(b.B) - len(p)})
}

// note takes the offset behind a RESULT's bytes, also of one that has none: that
// the node has given out more than has arrived may be the only trace of a lost
// answer.
func (in *inbox) note(off uint64) { in.seen = max(in.seen, off) }

// finish notes that the session ends at offset end.
func (in *inbox) finish(end uint64) {
	in.note(end)
	in.end, in.ended = end, true
}

// eof reports whether all that the target ever sent has arrived.
func (in *inbox) eof() bool { return in.ended && in.next >= in.end }

// gap reports whether something is known to be missing.
func (in *inbox) gap() bool { return in.next < in.seen }

// take moves up to limit bytes to the caller. They count in bytes until they
// are written.
func (in *inbox) take(to []piece, limit int) []piece {
	n := 0
	for n < len(in.pieces) && limit > 0 {
		if p := &in.pieces[n]; len(p.p) > limit {
			to = append(to, piece{p.b.Retain(), p.p[:limit], 0})
			p.p = p.p[limit:]
			break
		}
		limit -= len(in.pieces[n].p)
		to = append(to, in.pieces[n])
		n++
	}
	rest := copy(in.pieces, in.pieces[n:])
	clear(in.pieces[rest:])
	in.pieces = in.pieces[:rest]
	if rest == 0 && cap(in.pieces) > 16 {
		in.pieces = nil
	}
	return to
}

// drop releases everything, and returns how many bytes were charged for it.
func (in *inbox) drop() (n int) {
	spare := 0
	for _, p := range in.pieces {
		n += len(p.p)
		spare += p.spare
		p.b.Release()
	}
	for _, e := range in.early {
		n += len(e.p)
		e.b.Release()
	}
	in.pieces, in.early = nil, nil
	in.bytes -= n
	return n + spare
}
