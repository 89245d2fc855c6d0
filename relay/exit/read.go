package exit

import (
	"errors"
	"io"
	"net"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/wire"
)

// maxQueue is how many bytes of one direction a session holds at most.
const maxQueue = 16 << 20

// download is what the target has sent and no answer has carried yet.
type download struct {
	claim  claim
	chunks []chunk
	size   int  // bytes in chunks
	ended  bool // nothing more will come
	rst    bool // and it did not end by FIN
	told   bool // a RESULT has said so
}

// A chunk is a buffer and the part of it that is still to be taken.
type chunk struct {
	b *buf.Buf
	p []byte
}

// readLoop is the goroutine that reads from the target, as long as there is
// room for it: a full queue stops it, and TCP stops the target.
func (s *tcpSession) readLoop(conn net.Conn) {
	r := buf.NewReader(conn, s.down.claim.lend, s.down.claim.release)
	for s.awaitRoom() {
		b, err := r.Read()
		if !s.arrived(b, err) {
			return
		}
	}
}

// awaitRoom returns when the next read may begin, and false if there is none.
func (s *tcpSession) awaitRoom() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.over && !s.closing && !s.hasRoom() {
		s.room.Wait()
	}
	return !s.over
}

// hasRoom is true for an empty queue in any case. Of the memory that others give
// back, one that is not empty hears nothing, but then its client is yet to come.
func (s *tcpSession) hasRoom() bool {
	return s.down.size == 0 || s.down.size < maxQueue && s.down.claim.allows(buf.Max)
}

// arrived takes over what a read brought, b possibly nil, and reports whether to
// go on reading.
func (s *tcpSession) arrived(b *buf.Buf, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b != nil && (s.over || s.closing) {
		s.down.claim.release(b)
	} else if b != nil {
		s.active = time.Now()
		s.came = s.active
		s.down.push(b)
	}
	if err != nil {
		s.readEnded(err)
	}
	s.wake()
	return err == nil && !s.over
}

// readEnded notes that nothing more comes from the target. If it did not say so
// by a FIN, then the other direction is dead too.
func (s *tcpSession) readEnded(err error) {
	if s.over {
		return
	}
	s.down.ended = true
	if errors.Is(err, io.EOF) {
		return
	}
	s.down.rst = true
	s.up.end()
	_ = s.conn.Close() // broken already
	if s.closing {
		s.shut()
	}
}

// push appends b. A read of less than half the buffer moves to where it fits:
// behind the last one, or into a buffer of its size, so that 200 bytes that wait
// never pin 64 KiB.
func (d *download) push(b *buf.Buf) {
	d.size += len(b.B)
	if len(b.B) < cap(b.B)/2 {
		if d.appendToLast(b.B) {
			d.claim.release(b)
			return
		}
		small := buf.Copy(b.B)
		d.claim.charge(cap(small.B))
		d.claim.release(b)
		b = small
	}
	d.chunks = append(d.chunks, chunk{b, b.B})
}

// appendToLast writes only behind what an answer that shares the buffer reads.
func (d *download) appendToLast(p []byte) bool {
	if len(d.chunks) == 0 {
		return false
	}
	last := &d.chunks[len(d.chunks)-1]
	if cap(last.p)-len(last.p) < len(p) {
		return false
	}
	last.p = append(last.p, p...)
	return true
}

// take moves at most limit bytes into r, whose Data lies in the pieces that it
// appends to taken.
func (d *download) take(limit int, r *wire.Result, taken []piece) []piece {
	whole := 0
	for whole < len(d.chunks) && limit >= len(d.chunks[whole].p) {
		c := d.chunks[whole]
		limit -= len(c.p)
		r.Data = append(r.Data, c.p)
		taken = append(taken, piece{c.b, cap(c.b.B)})
		d.claim.handOver(cap(c.b.B)) // the piece carries the charge from here
		whole++
	}
	d.chunks = d.chunks[:copy(d.chunks, d.chunks[whole:])]
	if limit > 0 && len(d.chunks) > 0 {
		c := &d.chunks[0]
		r.Data = append(r.Data, c.p[:limit:limit])
		taken = append(taken, piece{c.b.Retain(), 0})
		c.p = c.p[limit:]
	}
	d.size -= r.Len()
	if d.size == 0 {
		d.chunks = nil // an idle session keeps nothing
	}
	return taken
}

// drop releases what will not be taken.
func (d *download) drop() {
	for _, c := range d.chunks {
		d.claim.release(c.b)
	}
	d.chunks, d.size = nil, 0
}
