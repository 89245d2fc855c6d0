package mux

import (
	"net/netip"
	"slices"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/link"
)

// attend implements linkSide.
func (u *UDP) attend(l *linkLoop) {
	f, lk := &u.fl.flow, &u.lk
	u.mu.Lock()
	u.dropStale()
	n, over, dead := u.out.len(), u.over, u.dead
	u.mu.Unlock()
	if lk.s == nil {
		switch {
		case over && n == 0 || dead:
			l.letGo(f)
			return
		case n == 0:
			return
		case l.conn == nil:
			l.await(f)
			return
		}
		lk.s = l.conn.Open(f.host, f.port, true, false, 0)
		lk.s.User = u
		f.state = open
		l.noteUp(lk, 0, 0)
	}
	if n > 0 {
		l.noteDatagrams(f, n)
		lk.s.Offer()
		return
	}
	if over {
		lk.s.User = nil
		if u.fl.used <= hardlyUsed {
			lk.s.ResetQuietly()
		} else {
			lk.s.Reset(link.Aborted, "")
		}
		l.letGo(f)
	}
}

// How long a UDP flow counts as open after its last datagram, so that an exchange
// is held for what may come. A query of DNS has one answer, and nothing follows.
const (
	udpOpen    = time.Minute
	udpOpenDNS = 10 * time.Second
)

// touchUDP notes that a datagram went, or came.
func (l *linkLoop) touchUDP(u *UDP, went bool) {
	switch now := time.Now(); {
	case u.fl.port != portDNS:
		l.udpUntil = now.Add(udpOpen)
	case went:
		l.dnsUntil = now.Add(udpOpenDNS)
		if !u.lk.expecting {
			u.lk.expecting = true
			l.queries++
		}
	default:
		l.replied(u)
	}
}

// replied notes that a DNS flow awaits nothing any more.
func (l *linkLoop) replied(u *UDP) {
	if u.fl.port == portDNS && u.lk.expecting {
		u.lk.expecting = false
		l.queries--
	}
}

// Datagrams implements link.Handler.
func (l *linkLoop) Datagrams(ls *link.Stream, _ *buf.Buf, pkts [][]byte) {
	if u, ok := ls.User.(*UDP); ok {
		u.fl.heard = true
		if l.taking != 0 {
			u.fl.partake(l.taking)
		}
		if !u.awaitsSource(pkts) {
			u.bring(netip.Addr{}, pkts)
		}
		l.touchUDP(u, false)
	}
}

// What waits of the datagrams of a name for the word of where they come from, which
// left the node before them and was overtaken.
const (
	earlyMost  = 16
	earlyBytes = 64 << 10
)

// awaitsSource reports whether pkts wait for that word, which it then keeps copies
// for. With more than a little nothing waits any more.
func (u *UDP) awaitsSource(pkts [][]byte) bool {
	lk := &u.lk
	if !u.named || lk.opened {
		return false
	}
	bytes := 0
	for _, p := range pkts {
		lk.early = append(lk.early, slices.Clone(p))
	}
	for _, p := range lk.early {
		bytes += len(p)
	}
	if len(lk.early) > earlyMost || bytes > earlyBytes {
		u.bring(netip.Addr{}, lk.early)
		lk.early, lk.opened = nil, true
	}
	return true
}

// Pull implements link.Handler.
func (l *linkLoop) Pull(ls *link.Stream, room int) (*buf.Buf, []byte, bool) {
	u, ok := ls.User.(*UDP)
	if !ok {
		return nil, nil, true
	}
	u.mu.Lock()
	u.dropStale()
	u.mu.Unlock()
	d, fits := u.next(room, room >= largestDatagram)
	if d.b == nil && fits {
		l.emptied = append(l.emptied, &u.fl.flow)
	}
	return d.b, d.p, fits
}

// largestDatagram is what every record has room for.
const largestDatagram = 65505
