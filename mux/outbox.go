package mux

import (
	"slices"

	"relaymux/mux/buf"
)

// outLimit is how many bytes of a flow may be on their way up: gathered, or
// in an op whose RESULT is not here yet. At that the application's socket is
// not read any more, and TCP pushes back. Two ops: one travels, one gathers.
const outLimit = 2 * opLimit

// opLimit is the most payload of one op. A stock node refuses bodies above
// 2 MiB, of which this takes 1.4.
const opLimit = 1 << 20

// An outbox holds what the application wrote and no op has taken yet.
type outbox struct {
	bufs  []*buf.Buf
	bytes int  // in bufs
	held  int  // in bufs, or taken and not yet done with
	fin   bool // nothing follows
}

// add takes b over. Small writes share a buffer while there is room in the
// last one, so that an op does not consist of crumbs.
func (o *outbox) add(b *buf.Buf) {
	n := len(b.B)
	o.bytes += n
	o.held += n
	if k := len(o.bufs); k > 0 {
		if last := o.bufs[k-1]; cap(last.B)-len(last.B) >= n {
			last.B = append(last.B, b.B...)
			b.Release()
			return
		}
	}
	o.bufs = append(o.bufs, b)
}

// take moves whole buffers of at most limit bytes to the caller, in order, and
// reports whether that was all there is.
func (o *outbox) take(to []*buf.Buf, limit int) (_ []*buf.Buf, all bool) {
	n := 0
	for n < len(o.bufs) && len(o.bufs[n].B) <= limit {
		limit -= len(o.bufs[n].B)
		o.bytes -= len(o.bufs[n].B)
		n++
	}
	to = append(to, o.bufs[:n]...)
	rest := copy(o.bufs, o.bufs[n:])
	clear(o.bufs[rest:])
	o.bufs = o.bufs[:rest]
	if rest == 0 && cap(o.bufs) > 16 {
		o.bufs = nil // an idle flow owns nothing
	}
	return to, rest == 0
}

// unget puts buffers back to the front, which were taken and not done with.
func (o *outbox) unget(bufs []*buf.Buf) {
	for _, b := range bufs {
		o.bytes += len(b.B)
		o.held += len(b.B)
	}
	o.bufs = append(bufs, o.bufs...)
}

// split sees to it that the first buffer has at most limit bytes, for bodies
// that max_bytes makes smaller than one read.
func (o *outbox) split(limit int) {
	if len(o.bufs) == 0 || len(o.bufs[0].B) <= limit {
		return
	}
	b := o.bufs[0]
	rest := buf.Copy(b.B[limit:])
	b.B = b.B[:limit]
	o.bufs = slices.Insert(o.bufs, 1, rest)
}

// drop releases everything that no op has taken.
func (o *outbox) drop() {
	for _, b := range o.bufs {
		b.Release()
	}
	o.held -= o.bytes
	o.bufs, o.bytes = nil, 0
}
