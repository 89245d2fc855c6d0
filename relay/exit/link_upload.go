package exit

import (
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/link"
)

// windowLeast is what a stream may send at first even when memory is short.
const windowLeast = 32 << 10

// linkUpload is what the client has sent and the target's socket has not taken yet.
type linkUpload struct {
	claim   claim
	queue   []chunk
	fin     bool // the client sends no more,
	rst     bool // because its connection was reset
	done    bool // FIN is sent, or the direction is broken
	writing bool // there is a writeLoop

	window link.Growth // what the client may send beyond what has been written
}

// data queues what the client has sent.
func (t *linkTCP) data(b *buf.Buf, p []byte) {
	u := &t.up
	t.asks()
	t.l.use.up.Add(uint64(len(p)))
	if u.done {
		b.Release()
		t.s.Consumed(len(p))
		if t.over && t.s.Finished() { // it would wait for an answer for ever
			t.cut(link.Aborted, "")
		}
		return
	}
	if t.l.node.drowns() && u.claim.held.Load()+int64(cap(b.B)) > lean {
		t.l.node.count.overruns.Add(1)
		b.Release()
		t.cut(link.Limited, errMemory.Error())
		return
	}
	u.push(b, p)
	t.startWriter()
}

// push appends p, a part of b. Little moves behind the last one, if that has a
// buffer of its own, so that single bytes do not take a buffer each.
func (u *linkUpload) push(b *buf.Buf, p []byte) {
	if n := len(u.queue); n > 0 {
		if last := &u.queue[n-1]; cap(last.p)-len(last.p) >= len(p) {
			last.p = append(last.p, p...)
			b.Release()
			return
		}
	}
	u.claim.charge(cap(b.B))
	u.queue = append(u.queue, chunk{b, p})
}

// clientEnded notes that the client sends no more: a FIN goes out when all is
// written, or an RST.
func (t *linkTCP) clientEnded(rst bool) {
	t.up.fin, t.up.rst = true, rst
	switch {
	case rst && (t.up.done || t.conn == nil || !t.up.writing && len(t.up.queue) == 0):
		t.cut(link.Aborted, "")
	default:
		t.startWriter()
	}
}

// startWriter has the queue written, once there is a connection.
func (t *linkTCP) startWriter() {
	u := &t.up
	if t.conn == nil || u.writing || u.done || len(u.queue) == 0 && !u.fin {
		return
	}
	u.writing = true
	t.l.node.work.Go(func() { writeOut(t.conn, t.nextWrite, t.wrote) })
}

// nextWrite moves the next chunks to write into chunks. When there are none, what
// was to happen after the last one happens.
func (t *linkTCP) nextWrite(chunks []chunk) []chunk {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	u := &t.up
	if len(u.queue) > 0 {
		return takeChunks(&u.queue, chunks)
	}
	u.writing, u.queue = false, nil
	switch {
	case t.out: // closed by the client, and now flushed
		t.shut()
	case u.done || !u.fin:
	case u.rst:
		t.cut(link.Aborted, "")
		t.l.schedule()
	default:
		u.done = true
		closeWrite(t.conn)
		t.settle()
	}
	return nil
}

// wrote takes the outcome of a write.
func (t *linkTCP) wrote(chunks []chunk, k int64, err error) {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	t.l.node.count.bytesUp.Add(uint64(k))
	t.consumed(chunks)
	if err != nil { // the direction ends; what the target had to say before is still read
		t.rst = t.rst || wasReset(err)
		t.endUpload()
		t.settle()
	}
	t.l.schedule() // the client may have to be told of its window
}

// consumed lets go of what was written, or never will be.
func (t *linkTCP) consumed(chunks []chunk) {
	n := 0
	for _, c := range chunks {
		n += len(c.p)
		t.up.claim.release(c.b)
	}
	t.s.Consumed(n)
	t.up.window.Renew(time.Now(), t.s, t.l.news.way, int(max(0, t.up.claim.budget.Free())))
	t.l.credit()
}

// endUpload breaks the direction off: what is queued goes nowhere.
func (t *linkTCP) endUpload() {
	t.up.done = true
	t.consumed(t.up.queue)
	t.up.queue = nil
}
