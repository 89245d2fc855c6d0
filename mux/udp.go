package mux

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/stats"
	"relaymux/mux/wire"
)

// A UDP is one UDP flow: the datagrams of one application to one destination,
// and back. Like UDP itself it promises nothing but to keep datagrams whole and
// not to delay others: what cannot be carried is dropped, and counted by reason.
//
// Three parties meet in it, as in a Stream. The application's side fills the
// outbox; workers hand over what comes back; the loop (packets.go) empties the
// outbox. mu guards what they share. fl is the loop's alone.
type UDP struct {
	m       *Mux
	receive func(from netip.Addr, pkts [][]byte)
	ended   func(error)

	mu      sync.Mutex
	out     fifo[datagram]
	bytes   int         // that those in out cost
	sent    uint64      // datagrams, of which seq counts
	ip      netip.Addr  // of the destination, if it is known
	named   bool        // the destination is a name, and ip what the node told last
	over    bool        // nothing more to or from the application; out may still go
	dead    bool        // and out is dropped too
	refused *time.Timer // the node does not want it; until it fires the flow is silent

	hands sync.Mutex // held while receive runs

	fl udpFlow
	lk linkFlow
}

// A datagram waits, or is in an exchange.
type datagram struct {
	b   *buf.Buf // owned; nil: there is none
	p   []byte   // the payload, a part of b
	at  time.Time
	seq uint64 // counts the flow's
}

// datagramCost is what a waiting datagram counts beside its payload, so that
// a queue of empty ones is bounded too.
const datagramCost = 64

// cost is what d counts while it waits: what it pins, if b is its own; of a
// shared one, which the datagrams of one Send fill at least half, a part.
func (d datagram) cost() int {
	if cap(d.b.B) <= ownMost || len(d.p) > cap(d.b.B)/2 {
		return cap(d.b.B) + datagramCost
	}
	return 2*len(d.p) + datagramCost
}

// ownMost is a buffer so small that a datagram counts for all of it.
const ownMost = 4 << 10

// refusedFor is how long a flow that the node refused stays silent: every
// datagram to a closed destination would else cost an exchange. For what may
// pass soon, as a limit of the node, it is passingFor.
const (
	refusedFor = 10 * time.Second
	passingFor = time.Second
)

// complaintEvery is the shortest time between two lines about refused flows.
const complaintEvery = 10 * time.Second

// OpenUDP returns a UDP flow to host and port, which are as in Open.
//
// deliver gets what comes back, on the Mux's goroutines but never twice at a
// time; it must not block, and borrows pkts. from is the address that host
// stands for, the zero value if the node has not told. ended hears, once, that
// the flow ended otherwise than by Close, and from then on drops what is sent;
// it must not block either.
func (m *Mux) OpenUDP(host string, port uint16, deliver func(from netip.Addr, pkts [][]byte), ended func(error)) *UDP {
	u := &UDP{m: m, receive: deliver, ended: ended}
	ip, err := netip.ParseAddr(host)
	u.ip, u.named = ip, err != nil
	f := &u.fl.flow
	f.side, f.host, f.port, f.kind, f.window = u, host, port, wire.UDPData, windowFirst
	m.udp.Flows.Add(1)
	m.udp.FlowsOpen.Add(1)
	f.lane = m.laneOf()
	if !m.enter(f) {
		u.fail(ErrStopped)
	}
	return u
}

// Send queues datagrams, which are parts of b. It borrows b, and keeps it only
// if they are at least half of it; else it copies them. When too much waits, the
// oldest go. After Close, or the end, they are dropped.
func (u *UDP) Send(b *buf.Buf, pkts [][]byte) {
	keep := b.Mostly(pkts)
	now := time.Now()
	u.mu.Lock()
	if u.over || u.refused != nil {
		u.mu.Unlock()
		u.m.udp.Drop(stats.DropEnded, len(pkts))
		return
	}
	for _, p := range pkts {
		u.sent++
		d := datagram{b: b, p: p, at: now, seq: u.sent}
		if keep {
			b.Retain()
		} else {
			d.b = buf.Copy(p)
			d.p = d.b.B
		}
		u.m.stats.Up.Add(uint64(len(p)))
		u.m.stats.UpUDP.Add(uint64(len(p)))
		u.fl.moved.up.Add(uint64(len(p)))
		u.push(d)
	}
	u.mu.Unlock()
	u.fl.wake()
}

// push appends d. mu is held.
func (u *UDP) push(d datagram) {
	u.out.push(d)
	u.bytes += d.cost()
	for u.bytes > int(u.m.outMost.Load()) && u.out.len() > 1 {
		u.drop(u.pop(), stats.DropQueue)
	}
}

// pop takes the oldest. mu is held.
func (u *UDP) pop() datagram {
	d := u.out.pop()
	u.bytes -= d.cost()
	return d
}

// drop gives d up.
func (u *UDP) drop(d datagram, why stats.Drop) {
	d.b.Release()
	u.m.udp.Drop(why, 1)
}

// clear drops all that waits. mu is held.
func (u *UDP) clear(why stats.Drop) {
	for u.out.len() > 0 {
		u.drop(u.pop(), why)
	}
}

// Close ends the flow; what was sent before still goes, unless there are
// thousands that were closed and still have something to send. A deliver that
// runs meanwhile, on another goroutine, may still be at work when it returns.
func (u *UDP) Close() {
	u.finish(u.m.lingering() > lingerMost)
	u.fl.wake()
}

// finish makes it over, and reports whether it was not before.
func (u *UDP) finish(dead bool) bool {
	u.mu.Lock()
	was := u.over
	u.over, u.dead = true, u.dead || dead
	if u.dead {
		u.clear(stats.DropEnded)
	}
	if u.refused != nil {
		u.refused.Stop()
	}
	u.mu.Unlock()
	if !was {
		u.m.ended(&u.fl.flow)
	}
	return !was
}

// fail implements side. It also serves who is not the loop.
func (u *UDP) fail(err error) {
	if u.finish(true) {
		u.ended(err)
	}
}

// stop implements side.
func (u *UDP) stop() { u.fail(ErrStopped) }

// reset implements side: there is no such thing.
func (u *UDP) reset() bool { return false }

// dropped implements side.
func (u *UDP) dropped() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.dead = true
	u.clear(stats.DropEnded)
	u.m.log.Debug("UDP flow ended", "host", u.fl.host, "port", u.fl.port)
}

// mayComplain reports whether the log may hear of another refused UDP flow.
func (m *Mux) mayComplain() bool {
	now, last := time.Now().UnixNano(), m.complained.Load()
	return now-last >= int64(complaintEvery) && m.complained.CompareAndSwap(last, now)
}

// refuse silences the flow for a while, then ends it: each datagram to a closed
// destination would else cost an exchange. UDP has no way to tell that to the
// application, so the log does, though not of each of a thousand. It runs on the
// loop.
func (u *UDP) refuse(err error) {
	level := slog.LevelDebug
	if u.m.mayComplain() {
		level = slog.LevelInfo
	}
	u.m.log.Log(context.Background(), level, "UDP flow refused", "host", u.fl.host, "port", u.fl.port, "reason", err)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.clear(stats.DropDenied)
	if u.over || u.refused != nil {
		return
	}
	silence := refusedFor
	if e, ok := errors.AsType[*wire.DialError](err); ok && (e.Reason == wire.Failed || e.Reason == wire.TimedOut) {
		silence = passingFor
	}
	u.refused = time.AfterFunc(silence, func() {
		u.fail(err)
		u.fl.wake()
	})
}

// hand gives what r brought to the application, and tells how much it was.
func (u *UDP) hand(r *wire.Result) (pkts, bytes int) {
	a, _ := netip.ParseAddr(string(r.IP))
	return len(r.Pkts), u.bring(a, r.Pkts)
}

// learn notes the address that a name led to, if ip is valid.
func (u *UDP) learn(ip netip.Addr) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if ip.IsValid() && u.named {
		u.ip = ip.Unmap().WithZone("")
	}
}

// bring gives pkts, which it borrows, to the application. ip is where they come
// from, if that is news.
func (u *UDP) bring(ip netip.Addr, pkts [][]byte) (bytes int) {
	u.hands.Lock()
	defer u.hands.Unlock()
	u.learn(ip)
	u.mu.Lock()
	from, over := u.ip, u.over
	u.mu.Unlock()
	for _, p := range pkts {
		bytes += len(p)
	}
	if len(pkts) > 0 && !over {
		u.m.stats.Down.Add(uint64(bytes))
		u.m.stats.DownUDP.Add(uint64(bytes))
		u.fl.moved.down.Add(uint64(bytes))
		u.receive(from, pkts)
	}
	return bytes
}
