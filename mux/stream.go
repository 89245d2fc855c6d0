package mux

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/wire"
)

// Errors that end a stream beside a *wire.DialError.
var (
	// ErrReset: the target, or the node on its behalf, ended the connection by RST.
	ErrReset = errors.New("connection reset by the target")
	// ErrLost: a relay lost an answer, and with it bytes that nobody has any more.
	ErrLost = errors.New("a relay lost an answer of this connection")
	// ErrStopped: the program stops.
	ErrStopped = errors.New("proxy is stopping")
	errBegan   = errors.New("the node began anew, or the link ended")
	errAborted = errors.New("given up by the application")
	errNoRoom  = errors.New("the smallest op does not fit into a body: max_bytes is too small for it")
)

// A Stream is one TCP flow: what an application's connection is joined to. It
// is either joined to a socket by Relay, which moves buffers without copying
// them, or used as a net.Conn.
//
// Three parties meet in it. The application's side fills the outbox and
// empties the inbox; workers fill the inbox; the loop empties the outbox. mu
// guards what they share. fl is the loop's alone.
type Stream struct {
	m *Mux

	mu      sync.Mutex
	cond    sync.Cond // what follows has changed
	out     outbox
	in      inbox
	conn    net.Conn  // the application's socket, if Relay has joined one
	writing bool      // a goroutine moves the inbox to conn
	waits   bool      // Wait was called before it had anything to say
	started bool      // may be opened: the first bytes are there, or were waited for
	opened  bool      // the node reached the target,
	reached time.Time // which was known then
	starved bool      // it would get more if there were memory
	deaf    bool      // nobody takes what the application still sends
	eofRead bool      // the application has been told that the target ended
	clean   bool      // both directions ended as they should; err is net.ErrClosed then
	err     error     // not nil: it is over

	rd, wr deadline // of the net.Conn

	fl tcpFlow
	lk linkFlow
}

func newStream(m *Mux, host string, port uint16) *Stream {
	s := &Stream{m: m}
	s.cond.L = &s.mu
	f := &s.fl.flow
	f.side, f.host, f.port, f.kind, f.window = s, host, port, wire.Data, windowFirst
	return s
}

// start lets the loop open the session, with what the outbox has.
func (s *Stream) start() {
	s.mu.Lock()
	was := s.started
	s.started = true
	s.mu.Unlock()
	if !was {
		s.wake()
	}
}

// wake tells the loop that something changed; s.mu must not be held.
func (s *Stream) wake() { s.fl.wake() }

// Wait returns when the target has been reached, or the error that says why
// not: a *wire.DialError. It lets the session open without first bytes.
func (s *Stream) Wait(ctx context.Context) error {
	s.mu.Lock()
	s.waits = !s.started
	s.mu.Unlock()
	s.start()
	stop := context.AfterFunc(ctx, func() { s.end(ctx.Err(), true) })
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.opened && s.err == nil {
		s.cond.Wait()
	}
	if s.opened {
		return nil
	}
	return s.err
}

// waitsFirst reports whether somebody waits for the outcome before anything is
// said: then connect, which is answered once there is one, and not
// connect_data, which is answered once there is data.
func (s *Stream) waitsFirst() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waits && s.out.bytes == 0
}

// push gives b to the outbox, waiting for room in it.
func (s *Stream) push(b *buf.Buf) error {
	s.mu.Lock()
	for s.err == nil && s.out.held >= s.outMost() && !s.wr.expired {
		s.cond.Wait()
	}
	if err := s.writeErr(); err != nil {
		s.mu.Unlock()
		b.Release()
		return err
	}
	s.m.stats.Up.Add(uint64(len(b.B)))
	s.fl.moved.up.Add(uint64(len(b.B)))
	s.out.add(b)
	s.started = true
	if s.deaf {
		s.out.drop()
	}
	s.mu.Unlock()
	s.wake()
	return nil
}

// linked reports whether it goes by the link.
func (s *Stream) linked() bool { return s.m.link != nil && s.fl.lane == s.m.link.lane }

// linkOutbox is how many bytes of a flow may wait for the link to take them: what
// comes while it makes one request of them.
const linkOutbox = 256 << 10

// outMost is how many bytes may wait, or without the link be on their way up. mu is
// held.
func (s *Stream) outMost() int {
	most := int(s.m.outMost.Load())
	if s.linked() {
		return min(most, linkOutbox)
	}
	return most
}

func (s *Stream) writeErr() error {
	switch {
	case s.err != nil:
		return s.err
	case s.out.fin:
		return net.ErrClosed
	case s.wr.expired:
		return errDeadline
	}
	return nil
}

// CloseWrite ends the application's sending: the target sees FIN after the
// bytes before it.
func (s *Stream) CloseWrite() error {
	s.mu.Lock()
	s.out.fin, s.started = true, true
	s.endIfDone()
	s.mu.Unlock()
	s.wake()
	return nil
}

// endIfDone ends the stream cleanly once the application has heard all and
// said all, though the loop may still have to carry the last of it. mu is held.
func (s *Stream) endIfDone() {
	if s.err == nil && s.out.fin && s.eofRead {
		s.clean = true
		s.finish(net.ErrClosed)
	}
}

// finish makes it over; mu is held. What is on its way up stays in the outbox
// if the end is clean, and goes if not.
func (s *Stream) finish(err error) {
	s.err = err
	s.m.ended(&s.fl.flow)
	s.m.budget.Return(s.in.drop())
	if !s.clean {
		s.out.drop()
	}
	if s.conn != nil {
		if s.clean {
			buf.Linger(s.conn, buf.ByFIN)
		}
		s.conn.Close()
	}
	s.cond.Broadcast()
}

// end ends the stream before its time: the application's socket gets RST,
// never FIN, for a truncated answer must not look complete. tell says whether
// the loop has to hear of it, that is whether it was not the loop who called.
func (s *Stream) end(err error, tell bool) {
	s.mu.Lock()
	over := s.err != nil
	if !over {
		s.finish(err)
	}
	s.mu.Unlock()
	if !over && tell {
		s.wake()
	}
}

// fail implements side: it is end for the loop. It also takes back a clean end that cannot be kept:
// what the application left behind will not arrive.
func (s *Stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err == nil:
		s.finish(err)
	case s.clean:
		s.clean, s.err = false, err
		s.out.drop()
	}
}

// stop implements side.
func (s *Stream) stop() { s.end(ErrStopped, false) }

// Abort ends the stream before its time, by RST to both sides.
func (s *Stream) Abort() { s.end(errAborted, true) }

// deliver implements side.
func (s *Stream) deliver(r *wire.Result, body *buf.Buf) outcome {
	o := outcome{got: true, n: r.Len(), more: int(min(r.More, windowMost)), jam: r.Jam, ours: r.HasOff}
	if len(r.Err) > 0 {
		o.unsupported = unsupported(r)
		o.err = &wire.DialError{Reason: wire.ReasonOf(string(r.Err)), Detail: printable(r.Err)}
		o.over = true
		return o
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o.over = r.EOF && (!r.HasOff || r.Rst) // ours lives on for what the application still sends
	if s.err != nil {
		return o
	}
	o.reached = !r.Pend && s.reach()
	off := r.Off
	if !r.HasOff {
		off = s.in.next
	}
	s.in.note(off)
	before := s.in.bytes
	for _, p := range r.Data {
		s.in.put(off, p, body)
		off += uint64(len(p))
	}
	s.m.budget.Force(s.in.bytes - before)
	s.m.stats.Down.Add(uint64(o.n))
	s.fl.moved.down.Add(uint64(o.n))
	if r.EOF {
		s.in.finish(off)
		s.in.rst = s.in.rst || r.Rst
	}
	s.serve()
	return o
}

// reach notes that the node has reached the target, and reports whether that is new.
// mu is held.
func (s *Stream) reach() bool {
	if s.opened {
		return false
	}
	s.opened, s.reached = true, time.Now()
	s.cond.Broadcast()
	return true
}

// serve sees to it that the application gets what there is. mu is held.
func (s *Stream) serve() {
	if s.conn == nil {
		s.cond.Broadcast()
		return
	}
	if !s.writing && s.err == nil && (len(s.in.pieces) > 0 || s.in.eof() && !s.eofRead) {
		s.writing = true
		go s.writeLoop()
	}
}

// Read implements net.Conn.
func (s *Stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	for len(s.in.pieces) == 0 && !s.in.eof() && s.err == nil && !s.rd.expired {
		s.cond.Wait()
	}
	n, tell, err := s.readInbox(p)
	s.mu.Unlock()
	if tell {
		s.wake()
	}
	return n, err
}

// readInbox copies from the inbox. tell says whether the loop has to know. mu
// is held.
func (s *Stream) readInbox(p []byte) (n int, tell bool, err error) {
	switch {
	case s.err != nil:
		return 0, false, s.err
	case s.rd.expired:
		return 0, false, errDeadline
	case len(s.in.pieces) == 0 && s.in.rst:
		s.finish(ErrReset)
		return 0, true, ErrReset
	case len(s.in.pieces) == 0:
		s.eofRead = true
		s.endIfDone()
		return 0, true, io.EOF
	}
	spare := 0
	for _, piece := range s.in.take(nil, len(p)) {
		n += copy(p[n:], piece.p)
		spare += piece.spare
		piece.b.Release()
	}
	return n, s.taken(n, spare), nil
}

// discard throws away what the application sends from now on: the session at
// the node is no more, but the application may still have to read its end.
func (s *Stream) discard() {
	s.mu.Lock()
	s.deaf = true
	s.out.drop()
	s.cond.Broadcast()
	s.mu.Unlock()
}

// taken notes that the application has n more bytes, whose buffers were charged
// with spare bytes more. It reports whether the loop should hear of it now, to ask
// for more. mu is held.
func (s *Stream) taken(n, spare int) bool {
	was := s.in.bytes
	s.in.bytes -= n
	s.m.budget.Return(n + spare)
	if s.linked() {
		s.lk.eaten += n
		return true
	}
	return was >= inLow && s.in.bytes < inLow || s.starved && s.in.bytes == 0
}

// Write implements net.Conn. p is copied.
func (s *Stream) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		k := min(len(p), buf.Max)
		if err := s.push(buf.Copy(p[:k])); err != nil {
			return n, err
		}
		n, p = n+k, p[k:]
	}
	return n, nil
}

// Close implements net.Conn: the target gets what was written, then FIN.
// What it still sends is thrown away.
func (s *Stream) Close() error {
	s.mu.Lock()
	if s.err == nil {
		s.out.fin, s.clean = true, true
		s.finish(net.ErrClosed)
	}
	s.mu.Unlock()
	s.wake()
	return nil
}
