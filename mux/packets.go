package mux

import (
	"errors"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/stats"
	"relaymux/mux/wire"
	"relaymux/relay"
)

// A udpFlow is what the loop alone knows of a UDP.
//
// Every datagram is an op of its own. Any number may be in flight, for they
// need no order, but the first: the session that it opens is what the others
// need.
type udpFlow struct {
	flow

	ups     int       // ops in flight that are no polls
	used    int       // datagrams sent and received, since the beginning
	due     int       // datagrams sent that nothing has come back for
	active  time.Time // when the last one went or came
	polling bool      // it asks for data when its time has come
	heard   bool      // something came in this session
	ends    int       // sessions in a row that ended without
}

// wants implements side.
func (u *UDP) wants() want {
	f := &u.fl
	u.mu.Lock()
	u.dropStale()
	n, bytes, over := u.out.len(), u.bytes, u.over
	u.mu.Unlock()
	switch {
	case f.state == closing, f.state == opening:
		return want{}
	case n > 0:
		return want{queue: inReady, ops: n, urgent: f.ups == 0, whole: true,
			weight: n*wire.OpFrame + wire.Base64Len(bytes), window: windowLeast}
	case over && f.ups > 0:
		return want{} // a close in another exchange could overtake them
	case over:
		return f.wantsClose()
	case f.state == open && f.ups == 0 && f.polls == 0 && f.polling:
		return want{queue: inPolls}
	}
	return want{}
}

// hardlyUsed is how many datagrams a flow may have had whose end can wait: a
// query or two. Of others the target may still be sending.
const hardlyUsed = 4

func (f *udpFlow) wantsClose() want {
	switch {
	case f.state == fresh:
		return want{over: true}
	case f.used <= hardlyUsed:
		return want{queue: inLinger}
	}
	return want{queue: inAbort}
}

// dropStale drops what has waited for too long to be of use. mu is held.
func (u *UDP) dropStale() {
	for u.m.stale > 0 && u.out.len() > 0 && time.Since(u.out.peek().at) > u.m.stale {
		u.drop(u.pop(), stats.DropStale)
	}
}

// compose implements side.
func (u *UDP) compose(op *wire.Op, _ *deployment, room int, first bool) (datagram, bool) {
	f := &u.fl
	if f.state == open {
		op.Kind, op.SID = wire.UDPData, f.sid
	} else {
		op.Kind, op.Host, op.Port = wire.UDPOpen, []byte(f.host), f.port
	}
	d, fits := u.next(payloadRoom(op, room), first)
	if !fits {
		return d, false
	}
	if len(d.p) > 0 {
		op.Data = append(op.Data, d.p)
	}
	op.Empty = d.b != nil && len(d.p) == 0
	if f.state == fresh {
		f.state = opening
	}
	f.ups++
	f.due = min(f.due+1, dueMost)
	f.used++
	f.active = time.Now()
	return d, true
}

// dueMost bounds what a flow expects in return, for many expect nothing.
const dueMost = 64

// next takes the oldest datagram, if it has at most room bytes. What does not
// even fit alone is dropped; there may be none left then.
func (u *UDP) next(room int, first bool) (d datagram, fits bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for u.out.len() > 0 {
		switch {
		case len(u.out.peek().p) <= room:
			return u.pop(), true
		case !first:
			return datagram{}, false
		}
		u.drop(u.pop(), stats.DropTooLarge)
	}
	return datagram{}, true
}

// deliver implements side.
func (u *UDP) deliver(r *wire.Result, _ *buf.Buf) outcome {
	o := outcome{got: true, more: int(min(r.More, windowMost)), ours: r.HasOff, over: r.EOF}
	if len(r.Err) > 0 {
		o.err = &wire.DialError{Reason: wire.ReasonOf(string(r.Err)), Detail: printable(r.Err)}
		o.over = true
		return o
	}
	o.pkts, o.n = u.hand(r)
	return o
}

// settle implements side.
func (u *UDP) settle(l *loop, op *wire.Op, o *outcome, x *exchange, d datagram) {
	f := &u.fl
	if o.poll {
		f.polls--
	} else {
		f.ups--
	}
	switch {
	case f.state >= closing:
		u.done(d, o)
		return
	case !o.got:
		u.lost(l, op, x, d)
	default:
		u.answered(l, op, o, x, d)
	}
	l.consider(&f.flow)
}

// done gives up a datagram that was carried, or not.
func (u *UDP) done(d datagram, o *outcome) {
	switch {
	case d.b == nil:
	case o.got:
		d.b.Release()
	default:
		u.drop(d, stats.DropRelay)
	}
}

// lost settles an op whose exchange failed. What the node has certainly not seen
// goes out again.
func (u *UDP) lost(l *loop, op *wire.Op, x *exchange, d datagram) {
	f := &u.fl
	now := time.Now()
	if f.failing.IsZero() {
		f.failing = now
	}
	if op.Kind == wire.UDPOpen {
		f.state = fresh
	}
	f.pollAt = now
	why := x.failure
	switch {
	case d.b == nil:
	case why == nil || !why.Untouched:
		u.drop(d, stats.DropRelay)
	case why.Kind == relay.TooLarge && x.bodyLen <= bodyLeast:
		u.drop(d, stats.DropTooLarge)
	default:
		u.again(d)
	}
	if now.Sub(f.failing) >= grace {
		u.fail(l.down())
	}
}

// again puts a datagram back that did not go.
func (u *UDP) again(d datagram) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.dead || u.refused != nil {
		u.drop(d, stats.DropEnded)
		return
	}
	u.m.stats.Resent.Add(1)
	u.out.unpop(d)
	u.bytes += d.cost()
	for i := 1; i < u.out.len() && u.out.at(i).seq < d.seq; i++ { // others came back before it
		*u.out.at(i - 1), *u.out.at(i) = *u.out.at(i), d
	}
}

// answered settles an op that has its RESULT.
func (u *UDP) answered(l *loop, op *wire.Op, o *outcome, x *exchange, d datagram) {
	f := &u.fl
	f.failing = time.Time{}
	opens := op.Kind == wire.UDPOpen
	if opens {
		f.state, f.sid, f.heard = fresh, nil, false
	}
	f.heard = f.heard || o.pkts > 0
	switch {
	case opens && o.err != nil:
		u.refuse(o.err)
	case opens && !o.over && len(o.sid) > 0:
		f.state, f.sid, f.ours = open, o.sid, o.ours
		x.d.ours = o.ours
	case opens, o.over && string(op.SID) == string(f.sid):
		// The node has ended the session: for its age, or because the target
		// is not there, or it is a new node. The next datagram opens another.
		f.state, f.sid = fresh, nil
		u.countEnds()
	}
	if d.b != nil && !opens && o.over {
		u.again(d) // it came too late for the session
	} else {
		u.done(d, o)
	}
	f.scheduleNext(op, o, x)
}

// deadEnds is how many sessions in a row, in which nothing came, may end before
// the flow counts as refused. An ICMP error ends a session; so does a node that
// restarts, or reaps.
const deadEnds = 3

var errNobody = errors.New("nobody listens there")

// countEnds sees to it that a program which goes on trying a port where nobody
// listens does not use up an exchange each time.
func (u *UDP) countEnds() {
	f := &u.fl
	if f.ends++; f.heard {
		f.ends = 0
	}
	if f.ends == deadEnds {
		f.ends = 0
		u.refuse(errNobody)
	}
}

// scheduleNext decides when the flow asks for more.
func (f *udpFlow) scheduleNext(op *wire.Op, o *outcome, x *exchange) {
	f.used += o.pkts
	f.due = max(0, f.due-o.pkts)
	f.window = min(nextWindow(o.n, o.more, int(op.Max), o.poll), windowUDP)
	now := time.Now()
	if o.pkts > 0 {
		f.active = now
	}
	var wait time.Duration
	wait, f.polling = packetWait(o.pkts, f.due, now.Sub(f.active), x.d.floor, o.poll, f.port)
	if o.poll && o.pkts == 0 && x.brought > 0 { // came back for another's sake: they all ask again together
		wait = max(wait, pollWait(1, x.d.floor, f.ours))
	}
	f.pollAt = now.Add(wait)
}
