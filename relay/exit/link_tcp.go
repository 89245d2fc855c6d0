package exit

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/link"
	"relaymux/mux/wire"
)

// unsentLeast is what a stream holds at least of what its client has not made room
// for: enough to begin with when it does.
const unsentLeast = 64 << 10

// A linkTCP is one TCP connection to a target, for a stream of a link: dialled by
// one goroutine, read by another, and written by a third, which is there while
// there is something to write (link_upload.go).
type linkTCP struct {
	linkStream
	stop  context.CancelFunc // ends the dial
	room  sync.Cond          // there may be room to read into
	rtt   time.Duration      // to the target, as far as the dial tells
	conn  net.Conn           // nil until the dial has succeeded
	reads bool               // the read loop is there

	down  claim // of what was read, until it is acknowledged
	kept  int   // bytes of it
	ended bool  // nothing more comes from the target
	rst   bool  // and that was not by FIN

	asked    time.Time // when the client last sent bytes, zero: something has come since
	responds bool      // what comes is the answer to that

	up linkUpload
}

// openTCP begins the dial of a new stream.
func (l *linkEnd) openTCP(s *link.Stream) {
	n := l.node
	t := &linkTCP{linkStream: linkStream{l: l, s: s}}
	t.room.L = &l.mu
	t.down = claim{budget: n.downloads, of: &l.use.downloads, half: true}
	t.up.claim = claim{budget: n.uploads, of: &l.use.uploads, half: true}
	t.up.window = n.windows.Grow(s.Window())
	if err := n.mayDial(l.use); err != nil {
		t.refuse(err)
		return
	}
	ctx, stop := context.WithTimeout(n.ctx, dialLimit)
	t.stop = stop
	host, port := s.Host(), s.Port()
	if !t.admit(t, func() { n.work.Go(func() { t.dial(ctx, host, port) }) }) {
		stop()
	}
}

func (t *linkTCP) dial(ctx context.Context, host string, port uint16) {
	defer t.stop()
	conn, rtt, err := t.l.node.dialTCP(ctx, t.l.use, host, port)
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	switch {
	case err == nil && t.over:
		_ = conn.Close() // the client went while it was dialled
	case err == nil:
		t.connected(conn, rtt)
	case t.out:
		t.shut()
	case !t.over:
		t.cut(link.CodeOf(wire.ReasonOfDial(err)), outcome(err))
	}
	t.l.schedule()
}

// connected begins the work with the target.
func (t *linkTCP) connected(conn net.Conn, rtt time.Duration) {
	t.conn, t.rtt, t.reads = conn, rtt, true
	t.startWriter()
	// A goroutine of its own, for this one's stack has grown with the dial.
	t.l.node.work.Go(func() { t.readLoop(conn) })
	if t.out {
		t.flush()
		return
	}
	t.s.Accept(netip.Addr{})
	if t.s.Tell() {
		t.l.urge()
	}
}

// readLoop is the goroutine that reads from the target, as long as there is room
// for it.
func (t *linkTCP) readLoop(conn net.Conn) {
	defer t.readOver()
	r := buf.NewReader(conn, t.down.lend, t.down.release)
	for t.awaitRoom() {
		b, err := r.Read()
		if !t.arrived(b, err) {
			return
		}
	}
}

func (t *linkTCP) readOver() {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	t.reads = false
	t.forget()
}

// free is linkStream's.
func (t *linkTCP) free(f linkFlow) {
	t.linkStream.free(f)
	t.forget()
}

// forget takes what the Conn has dropped without a word off what the client holds, once
// nobody lends or acknowledges any more.
func (t *linkTCP) forget() {
	if t.freed && !t.reads {
		t.down.forget()
	}
}

// awaitRoom returns when the next read may begin, and false if there is none.
func (t *linkTCP) awaitRoom() bool {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	for !t.over && !t.hasRoom() {
		t.l.stalled[t] = struct{}{}
		t.room.Wait()
		delete(t.l.stalled, t)
	}
	return !t.over
}

// hasRoom is true if the client could be sent all that there is and more, within
// the memory; and for a stream that holds nothing in any case.
func (t *linkTCP) hasRoom() bool {
	if t.kept == 0 {
		return true
	}
	return (t.s.Unsent() < unsentLeast || t.s.Room() > 0) && t.down.allows(buf.Max)
}

// arrived takes over what a read brought, b possibly nil, and reports whether to
// go on reading.
func (t *linkTCP) arrived(b *buf.Buf, err error) bool {
	l := t.l
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case b == nil:
	case t.over, t.out:
		t.down.release(b)
	default:
		t.push(b)
	}
	if err != nil && !t.over {
		t.readEnded(err)
	}
	l.schedule()
	return err == nil && !t.over
}

// push has the Conn keep b until it is acknowledged.
func (t *linkTCP) push(b *buf.Buf) {
	urgent := !t.expected(time.Now())
	b = t.down.fit(b)
	n := len(b.B)
	t.kept += n
	t.s.Write(b, b.B)
	t.l.node.count.bytesDown.Add(uint64(n))
	t.l.use.down.Add(uint64(n))
	t.l.note(t, urgent)
}

// acked notes that n bytes are kept no more. The Conn has given their charge back,
// which goes by their buffers: a part of the claim as large as that of the bytes.
func (t *linkTCP) acked(n int) {
	if t.freed {
		return
	}
	held := t.down.held.Load()
	t.down.handOver(int(held * int64(n) / int64(t.kept)))
	t.kept -= n
}

// readEnded notes that nothing more comes from the target. If it did not say so
// by a FIN, then the other direction is dead too.
func (t *linkTCP) readEnded(err error) {
	t.ended = true
	t.rst = t.rst || !errors.Is(err, io.EOF)
	if t.rst {
		t.endUpload()
	}
	if !t.out {
		t.s.End(link.Aborted, t.rst)
		t.l.note(t, !t.expected(time.Now()))
	}
	t.settle()
}

// settle closes the connection when both directions have ended.
func (t *linkTCP) settle() {
	if t.ended && t.up.done {
		t.shut()
	}
}

// shut closes the socket by FIN, for what has ended well.
func (t *linkTCP) shut() {
	buf.Linger(t.conn, buf.ByFIN)
	t.close()
}

// close closes the socket and drops what waits for it. It is the last thing that
// happens to a connection, and the second time does nothing.
func (t *linkTCP) close() {
	if t.over {
		return
	}
	t.over = true
	t.stop()
	if t.conn != nil {
		_ = t.conn.Close() // nobody is left to be told
	}
	t.endUpload()
	t.up.window.Release()
	delete(t.l.news.waits, t)
	t.room.Signal()
	t.free(t)
}

// hardClose closes the socket by RST and not by FIN.
func (t *linkTCP) hardClose() {
	t.out = true
	t.close()
	t.free(t)
}

func (t *linkTCP) cut(code link.Code, detail string) {
	t.s.Reset(code, detail)
	t.hardClose()
	t.l.urge()
}

func (t *linkTCP) abort() {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	if t.over {
		return
	}
	t.cut(link.Stopping, errStopping.Error())
	t.l.schedule()
}

// given: the client wants nothing more. If it says that its program closed the
// connection, what it has sent still goes out.
func (t *linkTCP) given(code link.Code) {
	if code != link.Closed {
		t.hardClose()
		return
	}
	t.out, t.kept = true, 0
	if t.up.done || len(t.up.queue) == 0 && !t.up.writing {
		t.shut()
	}
	t.flush()
	t.free(t)
}

// flush bounds how long the last bytes of a closed stream may take.
func (t *linkTCP) flush() {
	if t.conn != nil && !t.over {
		_ = t.conn.SetWriteDeadline(time.Now().Add(flushLimit)) // fails only on a closed one
	}
}

// left: the client has had all, and sent all. What waits for a slow target may
// take a while.
func (t *linkTCP) left() {
	t.out = true
	t.flush()
	t.free(t)
}

// reap ends flows that go through the gateway and are idle.
func (t *linkTCP) reap() {
	if g, ok := t.conn.(*gateway); ok {
		g.reap()
	}
}

func (t *linkTCP) pending() int { return t.s.Unsent() }

func (t *linkTCP) ripe(way time.Duration) time.Time {
	if wait := ripe(t.s.Unsent(), t.rtt, way); wait > 0 && !t.ended {
		return t.came.Add(wait)
	}
	return time.Time{}
}

// asks notes that the client has sent bytes.
func (t *linkTCP) asks() {
	t.asked = time.Now()
	t.l.news.waits[t] = struct{}{}
}

// awaits reports whether the client has sent bytes, not too long ago, and nothing
// has come back.
func (t *linkTCP) awaits(now time.Time, way time.Duration) bool {
	return !t.asked.IsZero() && now.Sub(t.asked) <= way/2+patienceLeft
}

// expected reports whether what comes now is the answer to what the client has
// sent, or goes on with it. Otherwise it is the target's own idea.
func (t *linkTCP) expected(now time.Time) bool {
	way := t.l.news.way
	goesOn := t.responds && now.Sub(t.came) <= min(writeLimit, way/gatherShare)
	t.responds = goesOn || t.awaits(now, way)
	t.asked = time.Time{}
	delete(t.l.news.waits, t)
	return t.responds
}
