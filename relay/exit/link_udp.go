package exit

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/gso"
	"relaymux/mux/link"
	"relaymux/mux/stats"
	"relaymux/mux/wire"
)

// maxLinkDatagram is what a record has room for beside its heads; all that comes
// over IPv4 fits.
const maxLinkDatagram = maxPayload4

// A linkUDP is one UDP flow to a target, for a stream of a link. What cannot be
// carried is dropped, and counted.
type linkUDP struct {
	linkStream
	sock   *udpSocket
	queue  datagrams // from the target
	asks   int       // datagrams from the client since the queue was last emptied
	active time.Time // when a datagram last went either way
	dialed bool      // there is a target, or was
}

// openUDP begins the dial of a new flow.
func (l *linkEnd) openUDP(s *link.Stream) {
	n := l.node
	if why, blocked := n.udp.blocks(s.Port(), false, nil); blocked {
		l.block(s, why)
		return
	}
	u := &linkUDP{linkStream: linkStream{l: l, s: s}, active: time.Now()}
	u.queue.claim, u.queue.st = claim{budget: n.downloads, of: &l.use.downloads}, n.udp.Stats
	if !u.admit(u, func() {}) {
		return
	}
	sock, err := n.newUDPSocket(u, l.use)
	if err != nil {
		u.over, u.out = true, true
		u.free(u)
		s.User = nil
		s.Reset(link.Limited, err.Error()) // which newUDPSocket has counted
		return
	}
	u.sock = sock
	sock.dial(s.Host(), s.Port())
}

// block resets a flow that the node does not carry.
func (l *linkEnd) block(s *link.Stream, why stats.Drop) {
	l.node.udp.Stats.Drop(why, 1)
	s.Reset(link.CodeOf(wire.Denied), blockedText(why))
}

// datagrams sends what the client has sent, which it borrows.
func (u *linkUDP) datagrams(pkts [][]byte) {
	n := u.l.node
	u.active = time.Now()
	for _, p := range pkts {
		u.l.use.up.Add(uint64(len(p)))
		u.asks++
		if n.udp.refusesPayload(p) {
			n.udp.Stats.Drop(stats.DropSTUN, 1)
			continue
		}
		u.sock.write(p)
	}
}

func (u *linkUDP) opened(ip netip.Addr) {
	l := u.l
	l.mu.Lock()
	defer l.mu.Unlock()
	u.dialed = true
	if u.out {
		return
	}
	u.s.Accept(ip)
	if u.s.Tell() {
		l.urge()
	}
	l.schedule()
}

// arrived queues what the target has sent.
func (u *linkUDP) arrived(ts []gso.Train) {
	l := u.l
	l.mu.Lock()
	defer l.mu.Unlock()
	u.active = time.Now()
	for _, t := range ts {
		switch {
		case u.out:
			l.node.udp.Stats.Drop(stats.DropEnded, t.Count())
			t.Buf.Release()
		case len(t.At(0)) > maxLinkDatagram:
			l.node.udp.Stats.Drop(stats.DropTooLarge, t.Count())
			t.Buf.Release()
		default:
			u.queue.push(t, u.active)
		}
	}
	if len(u.queue.list) > 0 {
		u.s.Offer()
		l.note(u, true)
	}
	l.schedule()
}

// pull takes out the next datagram for the Conn.
func (u *linkUDP) pull(room int) (b *buf.Buf, p []byte, fits bool) {
	n := u.l.node
	if stale := n.udp.Stale; stale > 0 {
		u.queue.expire(time.Now().Add(-stale))
	}
	// What an answer of its own has no room for would wait for ever.
	for len(u.queue.list) > 0 && len(u.queue.first()) > u.l.room-linkHeads && len(u.queue.first()) > room {
		u.queue.dropOne(stats.DropTooLarge)
	}
	if len(u.queue.list) == 0 {
		u.asks = 0
		return nil, nil, true
	}
	if len(u.queue.first()) > room {
		return nil, nil, false
	}
	from, p := u.queue.one()
	n.downloads.Return(from.cost)
	n.count.bytesDown.Add(uint64(len(p)))
	u.l.use.down.Add(uint64(len(p)))
	return from.b, p, true
}

// ended is called when the socket is closed: what has come is still the client's.
func (u *linkUDP) ended(err error) {
	l := u.l
	l.mu.Lock()
	defer l.mu.Unlock()
	u.over = true
	switch {
	case u.out:
	case !u.dialed:
		u.cut(link.CodeOf(wire.ReasonOfDial(err)), outcome(err))
	case errors.Is(err, errEvicted): // its place is taken
		l.node.count.reaped.Add(1)
		u.cut(link.Gone, "")
	default:
		l.dying = append(l.dying, u)
		l.bury()
	}
	u.free(u)
	l.schedule()
}

// bury resets the flows that have ended and have nothing left to say.
func (l *linkEnd) bury() {
	l.dying = slices.DeleteFunc(l.dying, func(u *linkUDP) bool {
		if !u.out && len(u.queue.list) > 0 {
			return false
		}
		if !u.out {
			u.cut(link.Gone, "")
		}
		return true
	})
}

func (u *linkUDP) cut(code link.Code, detail string) {
	u.s.Reset(code, detail)
	u.sock.close()
	u.drop()
	u.l.urge()
}

// drop frees the queue. The place becomes free when the socket has ended.
func (u *linkUDP) drop() {
	u.out = true
	u.queue.drop(stats.DropEnded)
	u.free(u)
}

func (u *linkUDP) abort() {
	u.l.mu.Lock()
	defer u.l.mu.Unlock()
	switch {
	case u.sock == nil: // a limit was in its way
		return
	case u.out:
		u.sock.close()
		return
	}
	u.cut(link.Stopping, errStopping.Error())
	u.l.schedule()
}

// given: the client wants nothing more, but what it has sent still goes out.
func (u *linkUDP) given(link.Code) {
	u.sock.closeAfter()
	u.drop()
}

func (u *linkUDP) left() { u.drop() }

// reap ends the flow if no datagram has gone either way for too long.
func (u *linkUDP) reap() {
	if !u.out && time.Since(u.active) > u.l.node.udp.Reap {
		u.l.node.count.reaped.Add(1)
		u.cut(link.Gone, "idle")
	}
}

func (u *linkUDP) pending() int { return u.queue.size }

// ripe waits for the rest of a burst's echoes.
func (u *linkUDP) ripe(way time.Duration) time.Time {
	if wait := way / askShare; wait >= time.Millisecond && u.queue.count < u.asks {
		return u.came.Add(wait)
	}
	return time.Time{}
}
