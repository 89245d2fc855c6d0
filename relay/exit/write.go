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
	maxEarly = 32      // uploads of a session that wait for an earlier one (WIRE.md)
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
	queue   []*buf.Buf
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
	bufs []*buf.Buf
	size int
	cost int // capacity of bufs
	fin  bool
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
			p.bufs = append(p.bufs, b)
			p.cost += cap(b.B)
		}
	}
	return p
}

func (p *portion) release() {
	for _, b := range p.bufs {
		b.Release()
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
	u.queue = append(u.queue, p.bufs...)
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
	s.node.work.Go(s.writeLoop)
}

// writeLoop is the goroutine that writes the queue out, and ends with it.
func (s *tcpSession) writeLoop() {
	var bufs []*buf.Buf
	var vec net.Buffers
	for {
		if bufs = s.nextWrite(bufs[:0]); len(bufs) == 0 {
			return
		}
		vec = vec[:0]
		for _, b := range bufs {
			vec = append(vec, b.B)
		}
		unsent := vec // WriteTo eats it
		k, err := unsent.WriteTo(s.conn)
		s.wrote(bufs, k, err)
	}
}

// nextWrite moves the next buffers to write into bufs. When there are none, what
// was to happen after the last one happens.
func (s *tcpSession) nextWrite(bufs []*buf.Buf) []*buf.Buf {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := &s.up
	if k := min(writeBatch, len(u.queue)); k > 0 {
		bufs = append(bufs, u.queue[:k]...)
		u.queue = slices.Delete(u.queue, 0, k)
		return bufs
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
	return bufs
}

// closeWrite sends a FIN. A connection that cannot has no half-close to give,
// and its target hears of the end when the session goes.
func closeWrite(conn net.Conn) {
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite() // what is wrong with it, the reader learns too
	}
}

// wrote takes the outcome of a write. A failed one ends this direction; what the
// target had to say before it went is still read.
func (s *tcpSession) wrote(bufs []*buf.Buf, k int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = time.Now()
	s.node.count.bytesUp.Add(uint64(k))
	for _, b := range bufs {
		s.up.size -= len(b.B)
		s.up.claim.release(b)
	}
	if err != nil {
		s.writeFailed(err)
	}
	if !s.up.clogged() {
		s.wake()
	}
}

// writeFailed ends the direction. The system reports an RST once, to whoever
// comes first: when it is the writer, the reader sees nothing but an end, which
// is not a clean one for that. EPIPE is no news: either the reader has had the
// RST, or the target had ended by FIN before, and that is how it ended.
func (s *tcpSession) writeFailed(err error) {
	if !errors.Is(err, syscall.EPIPE) {
		s.down.rst = true
	}
	s.up.end()
	s.settle()
}

// end breaks the direction off: what is queued goes nowhere.
func (u *upload) end() {
	u.drop()
	u.done = true
}

// drop releases what was not written.
func (u *upload) drop() {
	for _, b := range u.queue {
		u.size -= len(b.B)
		u.claim.release(b)
	}
	for _, p := range u.early {
		u.claim.discharge(p.cost)
		p.release()
	}
	u.queue, u.early, u.waiting = nil, nil, 0
}
