package exit

import (
	"errors"
	"net/netip"
	"time"

	"relaymux/mux/gso"
	"relaymux/mux/stats"
	"relaymux/mux/wire"
)

// A udpSession is one UDP flow to a target: a socket that is connected to it, and
// the datagrams that have come from there. Where a TCP session waits, this one
// drops, and counts why.
//
// Life: dialing, then open, until an ICMP error (gone), which the client is told
// after all that has come; the client's close; or abort. Lost answers lose what
// was in them, and nothing else.
type udpSession struct {
	core
	sock *udpSocket

	asked time.Time  // when the client last had an op for it, a poll included
	ip    netip.Addr // of the target
	named bool       // the client knows it
	burst int        // uploaded since the last answer, in bytes,
	asks  int        // and in datagrams
	queue datagrams
	gone  bool // the socket is closed: nothing more comes
}

// udpFailed begins the text of every RESULT of a udp_open that came to nothing.
const udpFailed = "udp connect failed: "

// hasDatagram reports whether o brings a datagram, be it an empty one.
func hasDatagram(o *wire.Op) bool { return o.Len() > 0 || o.Empty }

func (x *exchange) udpOpen(o *wire.Op, t *task, r *wire.Result) {
	if text := badTarget(o); text != "" {
		fail(t, r, text)
		return
	}
	t.connect, t.write = true, hasDatagram(o)
	s, err := x.node.openUDP(o)
	if err != nil {
		fail(t, r, udpFailed+err.Error())
		return
	}
	t.s = s
}

// openUDP makes a session for o, its first datagram queued and its dial begun.
// The error is a limit's or a block's, and what the client may read.
func (n *Node) openUDP(o *wire.Op) (*udpSession, error) {
	if why, blocked := n.udp.blocks(o.Port, false, first(o)); blocked {
		n.dropOf(o, why)
		return nil, errors.New(blockedText(why))
	}
	s := &udpSession{core: newCore(n), asked: time.Now()}
	s.queue.claim, s.queue.st = claim{budget: n.downloads, of: &n.keyUse.downloads}, n.udp.Stats
	var err error
	if s.sock, err = n.newUDPSocket(s, n.keyUse); err != nil {
		n.dropOf(o, stats.DropEnded)
		return nil, err
	}
	s.upload(o)
	host, port := string(o.Host), o.Port
	if err = n.table.add(s, n.keyUse, func() { s.sock.dial(host, port) }); err != nil {
		n.count.refused.Add(1)
		s.sock.finish()
		return nil, err
	}
	return s, nil
}

// first is the payload of o, in one piece as the parser leaves it.
func first(o *wire.Op) []byte {
	if len(o.Data) == 0 {
		return nil
	}
	return o.Data[0]
}

// dropOf counts the datagram of an op that goes nowhere, if it has one.
func (n *Node) dropOf(o *wire.Op, why stats.Drop) {
	if hasDatagram(o) {
		n.udp.Stats.Drop(why, 1)
	}
}

func (x *exchange) udpData(o *wire.Op, t *task, r *wire.Result) {
	found, e, remembered := x.node.table.find(o.SID)
	s, ok := found.(*udpSession)
	switch {
	case !ok:
		x.node.dropOf(o, stats.DropEnded)
		x.noSession(o, t, r, e, remembered)
		return
	case o.BadData:
		fail(t, r, badBase64)
		s.name(r)
		return
	}
	t.s, t.write = s, hasDatagram(o)
	s.upload(o)
}

// upload sends what o brings. A poll counts as a sign of the client, but not as
// one of the flow.
func (s *udpSession) upload(o *wire.Op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = time.Now()
	if !hasDatagram(o) {
		return
	}
	s.active = s.asked
	s.burst += o.Len()
	s.asks++
	p := first(o)
	if s.node.udp.refusesPayload(p) {
		s.node.dropOf(o, stats.DropSTUN)
		return
	}
	s.sock.write(p)
}

// opened notes that the target's address is known, if the dialer tells.
func (s *udpSession) opened(ip netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialing, s.ip = false, ip
	s.wake()
}

// arrived queues what the target has sent.
func (s *udpSession) arrived(ts []gso.Train) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = time.Now()
	for _, t := range ts {
		s.queue.push(t, s.active)
	}
	if s.over {
		s.queue.drop(stats.DropEnded)
	}
	s.wake()
}

// ended keeps the outcome for the op that asks next: what has come is still the
// client's.
func (s *udpSession) ended(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dialing && !s.over {
		s.failure, s.over = udpFailed+outcome(err), true
	}
	s.dialing, s.gone = false, true
	if errors.Is(err, errEvicted) { // its place is taken: nobody may wait for it to be asked once more
		s.node.count.reaped.Add(1)
		s.remember(false)
		s.shut()
	}
	s.free()
	s.wake()
}

// askShare is the part of a way through the relay that an answer waits after each
// datagram while fewer have come than went: the rest of a burst's echoes would
// cost another exchange. At 1.5 s it is less than a call's 20 ms.
const askShare = 100

// look tells how far t, of x, has got.
func (s *udpSession) look(x *exchange, t *task) stage {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.share(x, t); t.relieved {
		return settled
	}
	t.ripe = time.Time{}
	if wait := x.way / askShare; !s.gone && !s.over && s.queue.count < s.asks && wait >= time.Millisecond {
		t.ripe = s.active.Add(wait)
	}
	switch {
	case s.over, s.failure != "":
		return news
	case s.dialing:
		return waiting
	case s.owed, s.gone, len(s.queue.list) > 0:
		return news
	case t.connect && !t.write:
		return news // there is a socket, and nothing that could be answered
	case s.burst >= bulkUpload && len(s.waiters) > 1:
		return settled // another exchange holds the poll that will carry the answer
	}
	return waiting
}

// pending is how much a drain could take.
func (s *udpSession) pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queue.size
}

// take fills in r for t: at most limit bytes of what the target sent, in whole
// datagrams, and where things stand. The pieces that they lie in are appended to
// taken.
func (s *udpSession) take(t *task, limit int, r *wire.Result, taken []piece) []piece {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != "" {
		s.tellFailure(t, r)
		return taken
	}
	if s.begin(r); r.Pend {
		return taken
	}
	if s.burst, s.asks = 0, 0; s.ip.IsValid() && !s.named {
		r.IP = []byte(s.ip.String())
		s.named, t.named = true, true
	}
	if stale := s.node.udp.Stale; stale > 0 {
		s.queue.expire(time.Now().Add(-stale))
	}
	if !t.relieved {
		taken = s.queue.take(limit, r, taken)
		s.off += uint64(len(r.Pkts))
		r.More = uint64(s.queue.size)
	}
	if r.EOF = s.over || s.gone && len(s.queue.list) == 0; r.EOF {
		s.remember(false)
		s.shut()
	}
	return taken
}

// lost counts the datagrams of a lost answer. The client is to hear the address
// once more; a session whose sid nobody has learned is of no use.
func (s *udpSession) lost(t *task) {
	s.node.udp.Stats.Drop(stats.DropRelay, t.pkts)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.named = s.named && !t.named
	if t.connect {
		s.abortLocked()
	}
}

// close carries out the client's close. It returns how many datagrams it had been
// given.
func (s *udpSession) close(*wire.Op) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remember(false)
	s.sock.closeAfter()
	s.shut()
	return s.off
}

// abort ends the session without waiting for anything.
func (s *udpSession) abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.abortLocked()
}

func (s *udpSession) abortLocked() {
	s.remember(false)
	s.sock.close()
	s.shut()
}

// shut frees the queue. The socket closes by itself, or has closed.
func (s *udpSession) shut() {
	s.over = true
	s.queue.drop(stats.DropEnded)
	s.free()
	s.wake()
}

// free makes room in the table when neither a socket nor a queue is left.
func (s *udpSession) free() {
	if s.over && s.gone {
		s.node.table.freed(s)
	}
}

// expired reports whether no datagram has gone either way for too long, or the
// client has not even polled: then it is of no use that a target keeps sending.
func (s *udpSession) expired() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.active) > s.node.udp.Reap || time.Since(s.asked) > s.node.udp.Reap
}
