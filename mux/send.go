package mux

import (
	"time"

	"relaymux/mux/wire"
)

// sendOps sends a batch of what is ready, and of closes as there is room.
func (l *loop) sendOps(d *deployment, now time.Time) {
	x := l.begin(d, now)
	room := l.bodyLimit(d)
	for len(x.ops) < l.most(x) {
		s := l.front(&l.ready)
		if s == nil {
			break
		}
		v := s.view()
		if q, _ := s.fl.wants(v); q != inReady {
			l.consider(s) // it changed its mind meanwhile
			continue
		}
		op := x.add(s)
		if first := len(x.ops) == 1; !l.compose(op, s, d, room, first) {
			x.ops, x.streams = x.ops[:len(x.ops)-1], x.streams[:len(x.streams)-1]
			if !first {
				break // the rest goes with the next
			}
			l.leave(&s.fl)
			l.fail(s, errNoRoom)
			continue
		}
		window := windowFirst
		if !v.hungry {
			window = windowSign
		}
		l.reserve(x, op, window)
		room -= wire.OpLen(op)
		l.leave(&s.fl)
		l.consider(s) // bulk polls beside its upload
	}
	l.addCloses(x, room)
	l.send(x)
}

// most is how many ops x may have that would be missed. A probe has one: what it
// costs if the deployment still does not work.
func (l *loop) most(x *exchange) int {
	if x.probe {
		return 1
	}
	return l.pacing.maxOps
}

// bodyLimit is how many encoded bytes the ops of one body may take.
func (l *loop) bodyLimit(d *deployment) int {
	limit := l.maxBytes
	if !d.ours {
		limit = min(limit, stockBody)
	}
	if d.maxBody > 0 {
		limit = min(limit, d.maxBody)
	}
	return limit - wire.BatchLen(d.Key)
}

// compose makes the op that s stands in line for. It reports whether it fits.
func (l *loop) compose(op *wire.Op, s *Stream, d *deployment, room int, first bool) bool {
	f := &s.fl
	if f.state == open {
		op.Kind, op.SID = wire.Data, f.sid
		if !s.upload(op, room, first) {
			return false
		}
		op.HasWSeq, op.WSeq = f.flightLen > 0, f.wseq
		return true
	}
	op.Host, op.Port = []byte(s.host), s.port
	if d.noData || s.waitsFirst() {
		op.Kind = wire.Connect
		f.up = true
	} else {
		op.Kind = wire.ConnectData
		if !s.upload(op, room, first) {
			return false
		}
	}
	f.state = opening
	return true
}

// reserve keeps a part of the memory budget for what op may bring, and tells
// our node to bring no more than that.
func (l *loop) reserve(x *exchange, op *wire.Op, window int) {
	most := pollMax(window, l.m.budget.Free())
	op.Max = uint64(most)
	if rtt := l.floor(); len(x.ops) == 1 && rtt > 0 { // once in a batch is enough
		op.RTT = max(uint64(rtt.Milliseconds()), 1)
	}
	charge := max(0, most-windowLeast)
	x.reserve += charge
	l.m.budget.Force(charge)
}

// addCloses fills a batch up with closes that wait for company.
func (l *loop) addCloses(x *exchange, room int) {
	for len(x.ops) < l.pacing.maxOps {
		s := l.nextClose()
		if s == nil {
			return
		}
		s.mu.Lock()
		rst := !s.clean
		s.mu.Unlock()
		if room -= wire.OpFrame + len(s.fl.sid); room < 0 && len(x.ops) > 0 {
			return
		}
		op := x.add(s)
		op.Kind, op.SID, op.Rst = wire.Close, s.fl.sid, rst
		l.leave(&s.fl)
		s.fl.state = closing
	}
}

// sendPolls sends a batch of polls, of all that want data by now.
func (l *loop) sendPolls(d *deployment, now time.Time) {
	x := l.begin(d, now)
	x.poll = true
	for len(x.ops) < l.most(x) {
		s := l.front(&l.polls)
		if s == nil || s.fl.pollAt.After(now) {
			break
		}
		l.leave(&s.fl)
		l.addPoll(x, s)
	}
	if !x.probe {
		l.adopt(x, now)
	}
	l.addCloses(x, l.bodyLimit(d))
	l.send(x)
}

func (l *loop) addPoll(x *exchange, s *Stream) {
	f := &s.fl
	op := x.add(s)
	op.Kind, op.SID = wire.Data, f.sid
	f.polls++
	l.reserve(x, op, f.window)
}

// adopt lets x ask for the flows of idle holds too, as there is room. A node
// of ours then answers those at once, for nobody listens there any more. So
// all idle flows end up in one exchange, however they came to be.
func (l *loop) adopt(x *exchange, now time.Time) {
	for _, h := range l.heldNow {
		room := l.pacing.maxOps - len(x.ops)
		if h.adopted || now.Sub(h.began) < idleAge(l.floor()) || len(h.streams) > room || !h.oursOnly() {
			continue
		}
		h.adopted = true
		for i, s := range h.streams {
			if h.ops[i].Kind == wire.Data && s.fl.state == open {
				l.addPoll(x, s)
			}
		}
	}
}

// oursOnly reports whether all flows of x are at nodes of ours.
func (x *exchange) oursOnly() bool {
	for _, s := range x.streams {
		if !s.fl.ours {
			return false
		}
	}
	return true
}

// begin starts an exchange through d, of which a slot is taken already.
func (l *loop) begin(d *deployment, now time.Time) *exchange {
	x := exchanges.Get().(*exchange)
	x.d, x.began = d, now
	if x.probe = d.parkedFor != 0; x.probe {
		d.probes++
	}
	return x
}

func (l *loop) send(x *exchange) {
	if len(x.ops) == 0 { // all of them changed their minds
		x.d.Account.sem.Release(1)
		if x.probe {
			x.d.probes--
		}
		x.free()
		return
	}
	l.inFlight++
	x.d.inFlight++
	if x.poll {
		l.heldNow = append(l.heldNow, x)
		l.m.stats.Polls.Add(1)
	}
	l.m.stats.Exchanges.Add(1)
	l.m.stats.Ops.Add(uint64(len(x.ops)))
	l.launch(x)
}
