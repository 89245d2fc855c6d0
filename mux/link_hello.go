package mux

import (
	"time"

	"relaymux/mux/link"
	"relaymux/relay"
)

// shakeHands starts a handshake if one is needed, or sends its message another way
// if the first is slow.
func (l *linkLoop) shakeHands(now time.Time) {
	if l.hello == nil {
		p := link.HelloParams{Credit: l.creditMost()}
		if l.conn != nil {
			p.Prev = l.keys.ID()
		}
		h, first, err := link.Hello(l.set.Secret, p.Append(nil))
		if err != nil {
			l.m.log.Error("making a handshake failed", "err", err)
			l.again = now.Add(time.Minute)
			return
		}
		l.hello, l.first = h, first
	}
	if l.trying > 0 || now.Before(l.again) {
		return
	}
	d := l.claims
	l.claims = nil
	if d == nil || !d.usable(now) || !d.take() {
		if d = l.pick(now, noReserve); d == nil {
			return
		}
	}
	x := l.begin(d, now)
	x.hello = true
	l.trying++
	l.launch(x)
}

// shook takes the answer to a handshake.
func (l *linkLoop) shook(x *linkExchange) {
	l.trying--
	h := l.hello
	if h == nil {
		return // another way was faster
	}
	keys, payload, err := h.Finish(x.message)
	var p link.AnswerParams
	if err == nil {
		p, err = link.ParseAnswerParams(payload)
	}
	if err != nil {
		l.tries++
		l.again = time.Now().Add(double(200*time.Millisecond, l.tries, time.Minute))
		x.failure = &relay.Failure{Kind: relay.Rejected, Detail: "the answer is not the node's, or the node has another secret", Err: err,
			Hint: secretHint}
		return
	}
	if l.known && p.Node != l.node {
		x.failure = &relay.Failure{Kind: relay.Refused, Detail: "it leads to another node than the other deployments",
			Hint: "all deployments of one config must lead to one node"}
		l.again = time.Now()
		return
	}
	l.hello, l.first, l.tries = nil, nil, 0
	if l.conn != nil && p.Epoch == l.epoch && p.Known {
		// Somebody said that the node knew the link no more, and that was not true.
		l.known = true
		return
	}
	l.adopt(keys, p, x.d)
}

// adopt begins a new link, for which by has carried the handshake. Whatever streams the one before had are gone with the
// node's memory of it.
func (l *linkLoop) adopt(keys link.Keys, p link.AnswerParams, by *deployment) {
	var spared []*Stream
	if l.conn != nil {
		spared = l.spare(time.Now().Add(-time.Duration(min(p.Age, 1<<40)) * time.Millisecond))
		l.m.log.Warn("the node began anew: open connections are reset", "streams", l.conn.Streams())
		l.breakLink()
		for _, d := range l.ds {
			d.acquit()
		}
	} else {
		l.m.log.Info("link to the node is made", "deployment", by.Name)
	}
	l.keys, l.replay, l.node, l.epoch, l.known = &keys, link.Replay{}, p.Node, p.Epoch, true
	l.conn = link.NewConn(link.Config{
		Client: true, Window: int(p.Window), Credit: l.creditMost(), Peer: p.Credit,
		Early: l.m.budget, Unacked: l.m.unacked,
	}, l)
	l.made = time.Now()
	l.admit(l.made)
	for _, s := range spared {
		l.attend(&s.fl.flow)
	}
}

// spare takes streams out of a link that is no more, which the node cannot have
// known before it began, at boot: nothing of them has been carried out, and they
// can be opened anew.
func (l *linkLoop) spare(boot time.Time) (list []*Stream) {
	for _, ls := range l.conn.All() {
		s, ok := ls.User.(*Stream)
		if !ok || s.fl.since.Before(boot) {
			continue
		}
		if bufs, ok := ls.Reclaim(); ok {
			l.heard(&s.lk)
			s.lk.window.Release()
			s.lk = linkFlow{}
			s.mu.Lock()
			s.out.unget(bufs)
			s.mu.Unlock()
			s.fl.state = fresh
			list = append(list, s)
		}
	}
	return list
}

// breakLink ends all streams of the link.
func (l *linkLoop) breakLink() {
	old := l.conn
	l.conn = nil
	for _, s := range old.All() {
		switch u := s.User.(type) {
		case *Stream:
			u.fail(errBegan)
			l.letGo(&u.fl.flow)
		case *UDP:
			u.lk.s, u.fl.state = nil, fresh // the next datagram opens another
		}
	}
	old.Close()
	l.open, l.expecting, l.udpUntil, l.later = 0, 0, time.Time{}, nil
	l.endPipe()
	for _, x := range l.inFlight {
		x.stale = true
	}
}
