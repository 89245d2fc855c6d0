package exit

import (
	"errors"
	"net"
	"slices"
	"syscall"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/wire"
)

const (
	maxEarly = 32      // uploads of a session that wait for an earlier one, as at the node of mhrv-rs
	lowWater = 1 << 20 // with more than that queued, an upload is not answered yet
	opSize   = 1 << 20 // what an op of ours uploads at most

	// flushLimit is how long the last bytes of a closed session may take.
	flushLimit = 60 * time.Second

	// writeBatch is how many buffers one writev takes: 1 MiB, so that memory
	// comes back while a slow target reads.
	writeBatch = lowWater / buf.Max
)

// upload is what the client has sent and the target's socket has not taken yet.
type upload struct {
	claim   claim
	queue   []chunk
	size    int // bytes in queue and in the write under way
	next    uint64
	early   map[uint64]portion // by wseq, all above next
	waiting int                // bytes in early
	fin     bool               // the client sends no more
	done    bool               // FIN is sent, or the direction is broken
	writing bool               // there is a writeLoop
}

// A portion is what one op uploads.
type portion struct {
	chunks []chunk
	size   int
	cost   int // capacity of their buffers
	fin    bool
}

// clogged reports whether the target reads more slowly than the client sends, or
// than the memory of all uploads bears. A client of ours hears of it (jam) and
// waits; for others the answer waits.
func (u *upload) clogged() bool {
	return u.size > lowWater || u.size > 0 && u.claim.budget.Free() < u.claim.budget.Limit()/4
}

// takes reports whether p may be queued. Whoever is not clogged may bring one op
// of opSize more, for that is what he was told; only a crowd of those that takes
// twice the memory is stopped.
func (u *upload) takes(p *portion) bool {
	switch {
	case u.size+u.waiting+p.size > maxQueue:
		return false
	case u.claim.allows(p.cost):
		return true
	}
	return u.size+u.waiting <= lowWater && p.size <= opSize && u.claim.budget.Free() > -u.claim.budget.Limit()
}

// upload queues what o brings, in the order of wseq. A session that would hold
// more than it may is reset: it is the one thing that bounds a client that does
// not wait for its answers.
func (s *tcpSession) upload(o *wire.Op) {
	p := portionOf(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = time.Now()
	u := &s.up
	switch {
	case s.over || s.closing || u.fin || u.done, o.HasWSeq && o.WSeq < u.next:
		p.release()
		return
	case !u.takes(&p):
		p.release()
		s.overrun()
		return
	}
	u.claim.charge(p.cost)
	if o.HasWSeq && o.WSeq > u.next {
		s.keepEarly(o.WSeq, p)
		return
	}
	u.push(p)
	if o.HasWSeq {
		u.next++
		u.pushSuccessors()
	}
	s.startWriter()
}

// overrun resets a session whose client sends too much.
func (s *tcpSession) overrun() {
	s.node.count.overruns.Add(1)
	s.abortLocked()
}

// portionOf copies the payload of o, for o lies in a request that is soon gone.
func portionOf(o *wire.Op) portion {
	p := portion{size: o.Len(), fin: o.Fin}
	for _, d := range o.Data {
		for part := range slices.Chunk(d, buf.Max) {
			b := buf.Copy(part)
			p.chunks = append(p.chunks, chunk{b, b.B})
			p.cost += cap(b.B)
		}
	}
	return p
}

func (p *portion) release() {
	for _, c := range p.chunks {
		c.b.Release()
	}
}

// keepEarly keeps a charged portion until those before it have come.
func (s *tcpSession) keepEarly(wseq uint64, p portion) {
	u := &s.up
	if _, twice := u.early[wseq]; twice {
		u.claim.discharge(p.cost)
		p.release()
		return
	}
	if u.early == nil {
		u.early = make(map[uint64]portion)
	}
	u.early[wseq] = p
	u.waiting += p.size
	if len(u.early) > maxEarly {
		s.overrun()
	}
}

func (u *upload) push(p portion) {
	u.queue = append(u.queue, p.chunks...)
	u.size += p.size
	u.fin = u.fin || p.fin
}

// pushSuccessors moves what waited for the upload that has just come.
func (u *upload) pushSuccessors() {
	for {
		p, ok := u.early[u.next]
		if !ok {
			return
		}
		delete(u.early, u.next)
		u.waiting -= p.size
		u.next++
		u.push(p)
	}
}

// finDue reports whether everything that the client will ever send is queued.
func (u *upload) finDue() bool { return u.fin && len(u.early) == 0 }

// startWriter has the queue written, once there is a connection.
func (s *tcpSession) startWriter() {
	u := &s.up
	if s.conn == nil || u.writing || u.done || len(u.queue) == 0 && !u.finDue() {
		return
	}
	u.writing = true
	s.node.work.Go(func() { writeOut(s.conn, s.nextWrite, s.wrote) })
}

// writeOut is the goroutine that writes a queue out: what next hands it, until that
// is nothing. What became of it, and the chunks, go to wrote.
func writeOut(conn net.Conn, next func([]chunk) []chunk, wrote func([]chunk, int64, error)) {
	var chunks []chunk
	var vec net.Buffers
	for {
		if chunks = next(chunks[:0]); len(chunks) == 0 {
			return
		}
		vec = vec[:0]
		for _, c := range chunks {
			vec = append(vec, c.p)
		}
		unsent := vec // WriteTo eats it
		k, err := unsent.WriteTo(conn)
		wrote(chunks, k, err)
		clear(chunks)
	}
}

// takeChunks moves the next chunks to write from the queue to the end of chunks.
func takeChunks(queue *[]chunk, chunks []chunk) []chunk {
	k := min(writeBatch, len(*queue))
	chunks = append(chunks, (*queue)[:k]...)
	*queue = slices.Delete(*queue, 0, k)
	return chunks
}

// nextWrite moves the next chunks to write into chunks. When there are none, what
// was to happen after the last one happens.
func (s *tcpSession) nextWrite(chunks []chunk) []chunk {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := &s.up
	if len(u.queue) > 0 {
		return takeChunks(&u.queue, chunks)
	}
	u.writing, u.queue = false, nil
	switch {
	case s.closing:
		s.shut()
	case u.finDue() && !u.done:
		u.done = true
		closeWrite(s.conn)
		s.settle()
	}
	return nil
}

// closeWrite sends a FIN. A connection that cannot has no half-close to give,
// and its target hears of the end when the session goes.
func closeWrite(conn net.Conn) {
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite() // what is wrong with it, the reader learns too
	}
}

// wrote takes the outcome of a write.
func (s *tcpSession) wrote(chunks []chunk, k int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = time.Now()
	s.node.count.bytesUp.Add(uint64(k))
	for _, c := range chunks {
		s.up.size -= len(c.p)
		s.up.claim.release(c.b)
	}
	if err != nil { // the direction ends; what the target had to say before is still read
		s.down.rst = s.down.rst || wasReset(err)
		s.up.end()
		s.settle()
	}
	if !s.up.clogged() {
		s.wake()
	}
}

// wasReset reports whether a failed write is the news that the target has reset the
// connection. The system reports an RST once, to whoever comes first: when it is the
// writer, the reader sees nothing but an end, which is not a clean one for that. EPIPE
// is no news: either the reader has had the RST, or the target had ended by FIN
// before, and that is how it ended.
func wasReset(err error) bool { return !errors.Is(err, syscall.EPIPE) }

// end breaks the direction off: what is queued goes nowhere.
func (u *upload) end() {
	u.drop()
	u.done = true
}

// drop releases what was not written.
func (u *upload) drop() {
	for _, c := range u.queue {
		u.size -= len(c.p)
		u.claim.release(c.b)
	}
	for _, p := range u.early {
		u.claim.discharge(p.cost)
		p.release()
	}
	u.queue, u.early, u.waiting = nil, nil, 0
}
