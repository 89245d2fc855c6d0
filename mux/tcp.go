package mux

import (
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/wire"
)

// A tcpFlow is what the loop alone knows of a Stream.
type tcpFlow struct {
	flow

	up   bool // an op that opens, uploads or ends the sending is in flight
	wseq uint64
	jam  uint64 // odd: the target does not take what it was sent, nothing more until it does

	// The upload in flight, kept until its RESULT is here: if the exchange
	// fails and the node knows about wseq, exactly the same goes out again.
	flight    []*buf.Buf
	flightLen int
	flightFin bool
	resend    bool      // the upload of flight is due again
	doubt     time.Time // since when the node may have it already: it must go out exactly as it was,
	large     bool      // which not all relays take: it waits in loop.large
	finDone   bool      // the node knows that no more comes
	finAt     time.Time // since when it knows, or since bytes came last
	deaf      bool      // a stock node ended the session with the target's FIN
}

// interactive is the size of an upload below which its own op waits for what
// the target answers, a keystroke's echo say. From there on it is bulk, which
// our node acknowledges at once while a poll beside it brings the data.
const interactive = 32 << 10

// A view is what the loop has to know of a stream's shared half to decide.
type view struct {
	started, over, clean bool // over: nothing more to or from the application
	out                  int
	fin, eof, gap        bool
	hungry               bool
}

func (s *Stream) view() view {
	s.mu.Lock()
	defer s.mu.Unlock()
	return view{
		started: s.started, over: s.err != nil, clean: s.clean,
		out: s.out.bytes, fin: s.out.fin, eof: s.in.ended, gap: s.in.gap(),
		hungry: s.hungry(),
	}
}

// hungry reports whether the application is ready for more: little waits for
// it; or nothing, when memory is short. mu is held.
func (s *Stream) hungry() bool {
	s.starved = s.in.bytes > 0 && s.m.budget.Free() <= 0
	return s.in.bytes < inLow && !s.starved
}

// wants implements side.
func (s *Stream) wants() want {
	v := s.view()
	w := want{ops: 1, urgent: true, window: windowFirst}
	if w.weight = wire.OpFrame + wire.Base64Len(min(v.out, opLimit)); s.fl.resend {
		w.weight, w.whole = wire.OpFrame+wire.Base64Len(s.fl.flightLen), true
	}
	w.queue, w.over = s.fl.wants(v)
	if !v.hungry {
		w.window = windowSign
	}
	return w
}

// wants decides what a flow is to do next: which queue it should stand in, or
// inNone if it waits for something, or that it is over. Pure.
func (f *tcpFlow) wants(v view) (q queue, over bool) {
	alone := f.ours || f.polls == 0 // a stock node gets one op of a flow at a time
	switch {
	case f.state == closing:
		return inNone, false
	case v.over && !v.clean:
		return f.wantsAbort()
	case f.state == fresh && v.over && v.out == 0 && !f.resend:
		return inNone, true // closed without a word
	case f.state == fresh && v.started:
		return inReady, false
	case f.state != open:
		return inNone, false
	case f.deaf:
		return inNone, v.over
	case !f.up && alone && f.jam%2 == 0 && (f.resend || v.out > 0) && !f.large:
		return inReady, false
	case f.up && (v.over || !f.ours || f.flightLen < interactive):
		return inNone, false // its RESULT, or the poll that is held, brings what comes
	case v.over && (f.resend || v.out > 0):
		// While anything of the application's is unsent, nothing is closed:
		// a held poll, or a target that does not read, is in the way of it.
		return f.wantsRoom(v)
	case v.over:
		return f.wantsClose(v)
	case !f.up && alone && v.fin && v.out == 0 && !f.resend && !f.finDone && !v.eof:
		return inReady, false
	case f.polls > 0 || v.eof && !f.ours:
		return inNone, false
	case v.eof || !v.hungry:
		return inStalled, false
	}
	return inPolls, false
}

func (f *tcpFlow) halfWait() time.Duration {
	if f.ours {
		return halfWait
	}
	return halfWaitStock
}

// wantsRoom is for a stream that is over for its application and has bytes
// left that cannot go now. The poll that tells when they can must not be
// missing.
func (f *tcpFlow) wantsRoom(v view) (queue, bool) {
	switch {
	case f.polls > 0:
		return inNone, false
	case v.eof:
		return inStalled, false // a poll would be answered at once
	}
	return inPolls, false
}

// wantsClose is for a stream whose both ends are done and whose bytes have all
// been sent. A node that knows so by itself is not told.
func (f *tcpFlow) wantsClose(v view) (queue, bool) {
	if v.eof && (f.finDone || !f.ours) {
		return inNone, true
	}
	return inLazy, false
}

func (f *tcpFlow) wantsAbort() (queue, bool) {
	switch {
	case f.state == opening:
		return inNone, false // its RESULT will say what to close
	case f.state == open:
		return inAbort, false
	}
	return inNone, true
}

// compose implements side.
func (s *Stream) compose(op *wire.Op, d *deployment, room int, first bool) (_ datagram, fits bool) {
	f := &s.fl
	if f.state == open {
		op.Kind, op.SID = wire.Data, f.sid
		if !s.upload(op, room, first) {
			return datagram{}, false
		}
		op.HasWSeq, op.WSeq = f.flightLen > 0, f.wseq
		return datagram{}, true
	}
	op.Host, op.Port = []byte(f.host), f.port
	if d.noData || s.waitsFirst() {
		op.Kind = wire.Connect
		f.up = true
	} else {
		op.Kind = wire.ConnectData
		if !s.upload(op, room, first) {
			return datagram{}, false
		}
	}
	f.state = opening
	return datagram{}, true
}

// reset implements side.
func (s *Stream) reset() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.clean
}

// dropped implements side.
func (s *Stream) dropped() {
	if !s.fl.up {
		s.landed()
	}
	s.mu.Lock()
	s.out.drop()
	err, clean := s.err, s.clean
	s.mu.Unlock()
	if clean || err == nil || err == errAborted || err == ErrStopped { // nil: all has come, and is still being written
		s.m.log.Debug("flow ended", "host", s.fl.host, "port", s.fl.port)
	} else {
		s.m.log.Info("flow failed", "host", s.fl.host, "port", s.fl.port, "reason", err)
	}
}

// upload fills op with what the outbox has, at most limit encoded bytes for
// all of the op, and reports whether it fits; the first op of a batch always
// does. What is due again goes out as it was.
func (s *Stream) upload(op *wire.Op, limit int, first bool) bool {
	f := &s.fl
	room := payloadRoom(op, limit)
	if f.resend {
		if f.flightLen > room && !first {
			return false
		}
	} else if !s.takeOff(min(room, opLimit), first) {
		return false
	}
	for _, b := range f.flight {
		op.Data = append(op.Data, b.B)
	}
	op.Fin = f.flightFin
	f.resend, f.up = false, true
	return true
}

// takeOff moves the outbox to the flight, and reports whether anything fit.
func (s *Stream) takeOff(room int, split bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &s.fl
	had := s.out.bytes
	if split {
		s.out.split(room)
	}
	var all bool
	f.flight, all = s.out.take(f.flight[:0], room)
	f.flightLen = had - s.out.bytes
	f.flightFin = all && s.out.fin && s.err == nil
	return f.flightLen > 0 || had == 0
}

// payloadRoom is how many bytes of payload op may have to take no more than
// limit bytes in the body.
func payloadRoom(op *wire.Op, limit int) int {
	return max(0, (limit-wire.OpLen(op))/4*3)
}

// landed releases the flight: the node has it, or nobody ever will.
func (s *Stream) landed() {
	f := &s.fl
	n := f.flightLen
	for i, b := range f.flight {
		b.Release()
		f.flight[i] = nil
	}
	f.flight, f.flightLen, f.doubt = f.flight[:0], 0, time.Time{}
	if cap(f.flight) > 16 {
		f.flight = nil
	}
	if n == 0 {
		return
	}
	s.mu.Lock()
	s.out.held -= n
	s.cond.Broadcast()
	s.mu.Unlock()
}

// unload puts the flight back to the front of the outbox.
func (s *Stream) unload() {
	f := &s.fl
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.bufs = append(f.flight, s.out.bufs...)
	s.out.bytes += f.flightLen
	f.flight, f.flightLen, f.flightFin, f.resend = nil, 0, false, false
}
