package socks

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/fd"
	"relaymux/mux/gso"
	"relaymux/mux/stats"
	"relaymux/mux/wire"
)

// UDP is what an association is made of. Open is required.
type UDP struct {
	// Open returns a flow to host and port, which are as in Request. It must
	// not block. deliver takes what comes back, one call at a time, which
	// does not block either and borrows pkts; from is the address that host
	// stands for, the zero value if that is not known. ended takes notice, at
	// most once, that the flow has ended otherwise than by its Close: the next
	// datagram to the destination opens another. It may be called from within
	// Open.
	Open func(host string, port uint16, deliver func(from netip.Addr, pkts [][]byte), ended func(error)) Flow

	BlockQUIC bool // drop what goes to port 443, so that browsers use TCP
	BlockSTUN bool // drop STUN, by its form or its ports, which tells peers this machine's addresses

	// Options are those of the associations' sockets. Dropped datagrams are
	// counted in Stats, which may be nil.
	Options gso.Options

	// Listen opens a socket on addr, at a port that nobody else has. nil: in
	// the system.
	Listen func(addr netip.Addr) (net.PacketConn, error)
}

// A Flow carries the datagrams of one application to one destination.
type Flow interface {
	// Send takes pkts, which are parts of b, and borrows both. It must not
	// block, nor mind that the flow has ended.
	Send(b *buf.Buf, pkts [][]byte)

	// Close ends the flow. What is being delivered already may still come. It is
	// not called from within deliver or ended, and may be after ended.
	Close()
}

func (u UDP) withDefaults() *UDP {
	if u.Listen == nil {
		u.Listen = listenUDP
	}
	if u.Options.Stats == nil {
		u.Options.Stats = new(stats.UDP)
	}
	return &u
}

func listenUDP(addr netip.Addr) (net.PacketConn, error) {
	return net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
}

const (
	// readTrains is how many trains one read may bring: no more than 256 KiB
	// that no queue has counted yet.
	readTrains = 4

	// replyQueue is how many bytes may wait for an association's socket. One
	// answer of a relay may bring about that much at once, when it was 100 ms
	// under way at 160 Mbit/s, and what the socket gets is copied faster than
	// it takes it.
	replyQueue = 8 << 20

	// carried is no reason to drop a datagram.
	carried = stats.Drops
)

// association is a UDP ASSOCIATE: a socket on the address that the application
// has reached the proxy by, for as long as its control connection lasts. It
// takes datagrams only from the control connection's peer, and after the first
// valid one only from that port. While nothing comes it has two goroutines, one
// for each connection, and no buffer.
type association struct {
	s   *Server
	udp *UDP
	c   *client

	app     netip.Addr     // the control connection's peer, without a zone
	relay   netip.AddrPort // the socket, without a zone
	largest int            // bytes that a datagram to the application may have
	conn    gso.Conn
	replies *gso.Sender
	begun   time.Time

	reading sync.WaitGroup
	trains  [readTrains]gso.Train // the reader's
	peer    netip.AddrPort        // the application's socket; set by the reader, before the first flow is opened

	opened            int // flows; the reader's
	up, down, dropped atomic.Uint64

	flows flows
}

// associate is the life of an association.
func (s *Server) associate(c *client, user string) {
	defer c.Close()
	defer s.rescue(c)
	a, err := s.newAssociation(c)
	if err != nil {
		s.short.Do(func() { s.log.Warn("cannot open a UDP socket", "source", c.source, "err", err) })
		c.hangUp(socks5Reply(socks5Failure))
		return
	}
	defer a.end()
	s.gate.control(c, a)
	if s.isClosing() { // the gate may have been asked before it knew
		a.drain()
	}
	bound := appendIP([]byte{socks5Version, socks5Granted, 0}, a.relay.Addr(), a.relay.Port())
	if err := c.say(bound); err != nil {
		return
	}
	s.log.Debug("association open", "source", c.source, "user", user, "relay", a.relay)
	a.reading.Go(a.read)
	a.hold()
}

func (s *Server) newAssociation(c *client) (*association, error) {
	u := s.cfg.UDP
	if !c.local.IsValid() {
		return nil, errors.New("the control connection has no IP address")
	}
	socket, err := u.Listen(c.local)
	if err != nil {
		return nil, err
	}
	if fd.UsedUp(socket) {
		socket.Close()
		return nil, fmt.Errorf("%w (%s)", syscall.EMFILE, fd.Hint)
	}
	a := &association{
		s: s, udp: u, c: c,
		app:     c.source.Addr().WithZone(""),
		relay:   netip.AddrPortFrom(c.local.WithZone(""), addrPort(socket.LocalAddr()).Port()),
		largest: maxIPv6,
		conn:    gso.New(socket, u.Options),
		begun:   time.Now(),
	}
	if c.local.Is4() {
		a.largest = maxIPv4
	}
	a.replies = gso.NewSender(a.conn, replyQueue, u.Options.Stats, a.fail)
	a.replies.Pace()
	a.flows.a = a
	return a, nil
}

// hold returns when the control connection has ended, which half of it is
// enough for. What the application says on it is thrown away.
func (a *association) hold() {
	b := make([]byte, 64)
	for {
		if _, err := a.c.Conn.Read(b); err != nil {
			return
		}
	}
}

// fail ends the association, since its socket has ended.
func (a *association) fail(error) { a.c.Conn.Close() }

// drain ends the association when it is quiet.
func (a *association) drain() { a.flows.drain() }

// end leaves nothing behind.
func (a *association) end() {
	a.conn.Close()
	a.reading.Wait()
	a.flows.close()
	a.replies.Close()
	a.s.log.Debug("association closed", "source", a.c.source, "relay", a.relay, "flows", a.opened,
		"up", a.up.Load(), "down", a.down.Load(), "dropped", a.dropped.Load(), "took", time.Since(a.begun).Round(time.Millisecond).String())
}

// read takes what comes until the socket is closed.
func (a *association) read() {
	defer a.s.rescue(a.c)
	for {
		n, err := a.conn.ReadTrains(a.trains[:])
		if err != nil {
			a.fail(err)
			return
		}
		for i := range a.trains[:n] {
			t := &a.trains[i]
			a.take(t)
			t.Buf.Release()
			*t = gso.Train{}
		}
	}
}

// run is datagrams in one buffer that go to one destination.
type run struct {
	to   address
	flow *flow // nil: nothing can lead to it
	pkts [][]byte
}

// newRun has room for what Linux joins in one read (UDP_GRO_CNT_MAX).
func newRun() *run { return &run{pkts: make([][]byte, 0, 64)} }

// take sends on what t brings, and borrows it.
func (a *association) take(t *gso.Train) {
	if !a.isApp(t.Peer) {
		a.drop(stats.DropSource, t.Count())
		return
	}
	r := a.s.runs.Get().(*run)
	for i := range t.Count() {
		to, payload, why := a.check(t.Peer, t.At(i))
		if why != carried {
			a.drop(why, 1)
			continue
		}
		if !bytes.Equal(to, r.to) {
			a.send(t.Buf, r)
			r.to, r.flow = to, a.flows.to(to)
		}
		if r.flow == nil {
			a.drop(stats.DropName, 1)
			continue
		}
		r.pkts = append(r.pkts, payload)
	}
	a.send(t.Buf, r)
	*r = run{pkts: r.pkts}
	a.s.runs.Put(r)
}

// send sends r on, and leaves its room.
func (a *association) send(b *buf.Buf, r *run) {
	if len(r.pkts) == 0 {
		return
	}
	r.flow.out.Send(b, r.pkts)
	a.up.Add(uint64(len(r.pkts)))
	clear(r.pkts)
	r.pkts = r.pkts[:0]
}

// isApp tells whether from is the application, as far as that is known: another
// program on its machine might send first, and has to guess the port for that,
// but what is no datagram of SOCKS does not decide it.
func (a *association) isApp(from netip.AddrPort) bool {
	if a.peer.IsValid() {
		return from == a.peer
	}
	return from.Addr().Unmap().WithZone("") == a.app
}

// check takes one datagram of isApp apart, or says why it is dropped.
func (a *association) check(from netip.AddrPort, p []byte) (to address, payload []byte, why stats.Drop) {
	frag, to, payload, ok := parseDatagram(p)
	switch {
	case !ok:
		return nil, nil, stats.DropHeader
	case frag != 0:
		return nil, nil, stats.DropFragment
	case !a.peer.IsValid():
		a.peer = from
	}
	switch port := to.port(); {
	case a.s.blocks.quic.Load() && port == quicPort:
		a.tell(to, "block_quic drops it")
		return nil, nil, stats.DropQUIC
	case a.s.blocks.stun.Load() && (wire.IsSTUNPort(port) || wire.IsSTUN(payload)):
		a.tell(to, "block_stun drops it")
		return nil, nil, stats.DropSTUN
	}
	return to, payload, carried
}

// tell logs why nothing comes back from a destination, now and then: UDP has no
// way to tell the application.
func (a *association) tell(to address, reason string) {
	a.s.silent.Do(func() {
		a.s.log.Info("UDP goes nowhere", "host", to.host(), "port", to.port(), "reason", reason)
	})
}

// destination returns where to leads, as in Request.
func (a *association) destination(to address) (host string, port uint16, ok bool) {
	port = to.port()
	host, err := reachable(to.host(), port)
	if err != nil || port == a.relay.Port() && arrives(host, a.relay.Addr(), a.c.local) {
		return "", 0, false
	}
	return host, port, true
}

// reply sends pkts to the application, each behind head.
func (a *association) reply(head []byte, pkts [][]byte) {
	for _, p := range pkts {
		n := len(head) + len(p)
		if n > a.largest {
			a.drop(stats.DropTooLarge, 1)
			continue
		}
		b := a.replies.Reserve(a.peer, n)
		if b == nil {
			return
		}
		copy(b[copy(b, head):], p)
		a.replies.Commit(n)
		a.down.Add(1)
	}
}

func (a *association) drop(why stats.Drop, n int) {
	a.udp.Options.Stats.Drop(why, n)
	a.dropped.Add(uint64(n))
}
