package exit

import (
	"context"
	"errors"
	"math"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/gso"
	"relaymux/mux/stats"
	"relaymux/mux/wire"
)

const (
	// What one datagram carries at most: its length field has 16 bits, which
	// count the UDP header, and with IPv4 the IP header too (RFC 768, RFC 791
	// section 3.1, RFC 8200 section 3).
	maxPayload4 = 65535 - 8 - 20
	maxPayload6 = 65535 - 8

	// What waits for the dial, which may have to look up a name: the first
	// flight of anything that is spoken over UDP.
	maxEarlyDatagrams = 64
	maxEarlyBytes     = 256 << 10

	// maxUnsent is what waits for the system: a whole batch of one flow. Each
	// datagram counts unsentCost on top, so that a queue of empty ones ends. The
	// Sender's buffers can take four times what is in them.
	maxUnsent  = 4 << 20
	unsentCost = 512

	// lastWords is how long what a closed flow had sent may take to go out.
	lastWords = time.Second

	readTrains = 8 // taken from the socket at a time

	// socketBuffer is what the system is asked to hold until the reader comes: a
	// burst of some hundred datagrams.
	socketBuffer = 512 << 10
)

var errSockets = errors.New("too many UDP flows at the node")

// A udpSocket is one connected UDP socket, or a dial on its way to one: it hears
// its target alone, and of ICMP errors too, which end it. It is dialled by a
// goroutine, read by another, and written to by a Sender.
type udpSocket struct {
	node  *Node
	use   *clientUse
	owner udpOwner
	stop  context.CancelFunc // ends the dial

	active atomic.Int64 // when a datagram last went either way, since the node began

	mu       sync.Mutex
	paid     claim      // for what is not sent yet
	early    []*buf.Buf // before the dial has succeeded
	earlyLen int
	conn     gso.Conn // nil until then
	send     *gso.Sender
	most     int // payload of a datagram, as far as the address family is known
	last     *time.Timer
	closed   bool
	err      error // why, if not by the owner
}

// A udpOwner hears what becomes of a udpSocket, on its goroutines, and without
// any lock of it held.
type udpOwner interface {
	// opened comes first, when there is a target, with its address if the
	// dialer tells.
	opened(ip netip.Addr)
	// arrived brings what the target has sent; the trains are the owner's.
	arrived(ts []gso.Train)
	// ended comes last, after whatever end, when everything is freed.
	ended(err error)
}

// newUDPSocket returns a socket that takes its first datagrams, and then must be
// dialled, or finished. use is its client's. The error is a limit's, and what a client may read.
func (n *Node) newUDPSocket(owner udpOwner, use *clientUse) (*udpSocket, error) {
	if err := n.mayDial(use); err != nil {
		n.count.refused.Add(1)
		return nil, err
	}
	u := &udpSocket{node: n, use: use, owner: owner, most: maxPayload6}
	u.paid = claim{budget: n.uploads, of: &use.uploads}
	u.touch()
	if err := n.sockets.enter(u); err != nil {
		n.count.refused.Add(1)
		return nil, err
	}
	n.udp.Stats.Flows.Add(1)
	n.udp.Stats.FlowsOpen.Add(1)
	return u, nil
}

// touch notes that a datagram goes one way or the other.
func (u *udpSocket) touch() { u.active.Store(int64(time.Since(u.node.began))) }

// dial starts the goroutine that connects the socket.
func (u *udpSocket) dial(host string, port uint16) {
	ctx, stop := context.WithTimeout(u.node.ctx, dialLimit)
	u.stop = stop
	u.node.work.Go(func() {
		defer stop()
		u.node.count.dials.Add(1)
		conn, err := u.node.dialer.DialContext(ctx, "udp", net.JoinHostPort(host, strconv.Itoa(int(port))))
		if err != nil {
			u.node.dialFailed("udp dial failed", host, port, err)
			u.fail(err)
			u.finish()
			return
		}
		u.connected(conn)
	})
}

// connected begins the socket's work with its target, and sends what came early.
func (u *udpSocket) connected(conn net.Conn) {
	ip := addrOf(conn.RemoteAddr())
	st := u.node.udp.Stats
	c := gso.NewConnected(conn, gso.Options{GSO: u.node.udp.GSO, Buffer: socketBuffer, Stats: st})
	u.mu.Lock()
	if u.conn = c; u.closed {
		_ = c.Close() // the client went while it was dialled
		u.mu.Unlock()
		u.finish()
		return
	}
	if ip.Is4() {
		u.most = maxPayload4
	}
	// The bound is u.paid and maxUnsent, so that what goes can be discharged.
	u.send = gso.NewSender(metered{c, u}, math.MaxInt32, st, u.fail)
	early := u.early
	u.early, u.earlyLen = nil, 0
	for _, b := range early {
		u.paid.discharge(cap(b.B))
		u.commit(b.B)
		b.Release()
	}
	u.mu.Unlock()
	u.owner.opened(ip)
	// A goroutine of its own, for this one's stack has grown with the dial.
	u.node.work.Go(u.readLoop)
}

// addrOf returns the address of a, if it is one of a socket.
func addrOf(a net.Addr) netip.Addr {
	if a == nil {
		return netip.Addr{}
	}
	p, _ := netip.ParseAddrPort(a.String())
	return p.Addr().Unmap().WithZone("")
}

// readLoop is the goroutine that reads from the target until there is none.
func (u *udpSocket) readLoop() {
	defer u.finish()
	ts := make([]gso.Train, readTrains)
	for {
		n, err := u.conn.ReadTrains(ts)
		if n > 0 {
			u.touch()
			u.owner.arrived(ts[:n])
			clear(ts)
		}
		if err != nil {
			u.fail(err)
			return
		}
	}
}

// write sends a datagram, which it borrows.
func (u *udpSocket) write(p []byte) {
	u.touch()
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.closed || u.last != nil:
		u.drop(stats.DropEnded)
	case len(p) > u.most:
		u.drop(stats.DropTooLarge)
	case u.send == nil:
		u.keepEarly(p)
	default:
		u.commit(p)
	}
}

// keepEarly keeps a datagram until there is a target. The oldest go first: they
// are the ones that a client will have sent again.
func (u *udpSocket) keepEarly(p []byte) {
	for len(u.early) > 0 && (len(u.early) == maxEarlyDatagrams || u.earlyLen+len(p) > maxEarlyBytes || !u.paid.allows(len(p))) {
		u.dropEarly(stats.DropQueue)
	}
	if !u.paid.allows(len(p)) {
		u.drop(stats.DropQueue)
		return
	}
	b := buf.Copy(p)
	u.paid.charge(cap(b.B))
	u.early = append(u.early, b)
	u.earlyLen += len(p)
}

func (u *udpSocket) dropEarly(why stats.Drop) {
	b := u.early[0]
	u.early = u.early[1:]
	u.earlyLen -= len(b.B)
	u.paid.release(b)
	u.drop(why)
}

// commit gives a datagram to the Sender. If the system does not keep up, the
// newest goes: the Sender alone knows the others.
func (u *udpSocket) commit(p []byte) {
	switch {
	case len(p) > u.most: // it came early
		u.drop(stats.DropTooLarge)
		return
	case u.paid.held.Load()+int64(len(p)+unsentCost) > maxUnsent, !u.paid.allows(len(p) + unsentCost):
		u.drop(stats.DropQueue)
		return
	}
	room := u.send.Reserve(netip.AddrPort{}, len(p))
	if room == nil {
		u.drop(stats.DropEnded)
		return
	}
	copy(room, p)
	u.paid.charge(len(p) + unsentCost)
	u.send.Commit(len(p))
}

func (u *udpSocket) drop(why stats.Drop) { u.node.udp.Stats.Drop(why, 1) }

// metered is the Conn of a Sender, which discharges what has gone.
type metered struct {
	gso.Conn
	u *udpSocket
}

func (m metered) WriteTrains(ts []gso.Train) (int, error) {
	sent, err := m.Conn.WriteTrains(ts)
	size, cost := 0, 0
	for i := range ts {
		size += len(ts[i].Buf.B)
		cost += len(ts[i].Buf.B) + unsentCost*ts[i].Count()
	}
	m.u.gone(size, cost)
	return sent, err
}

// gone notes that so many bytes have left the Sender, for which cost was charged.
func (u *udpSocket) gone(size, cost int) {
	u.node.count.bytesUp.Add(uint64(size))
	u.mu.Lock()
	defer u.mu.Unlock()
	u.paid.discharge(cost)
	if u.last != nil && u.paid.held.Load() == 0 {
		u.shut()
	}
}

// fail ends the socket for err, if it has not ended before.
func (u *udpSocket) fail(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.closed {
		u.err = err
		u.shut()
	}
}

// close ends the socket at once.
func (u *udpSocket) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.shut()
}

// closeAfter ends the socket when what waits is sent, for the dial too.
func (u *udpSocket) closeAfter() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.paid.held.Load() == 0 {
		u.shut()
	} else if u.last == nil && !u.closed {
		u.last = time.AfterFunc(lastWords, u.close)
	}
}

// shut closes the socket, u.mu being held: whoever reads or dials finishes it.
func (u *udpSocket) shut() {
	if u.closed {
		return
	}
	u.closed = true
	u.stop()
	if u.last != nil {
		u.last.Stop()
	}
	if u.conn != nil {
		_ = u.conn.Close() // nobody is left to be told
	}
}

// finish frees what a closed socket has, and says so. It is called once, at the
// end of the last goroutine.
func (u *udpSocket) finish() {
	if u.send != nil {
		u.send.Close()
	}
	u.mu.Lock()
	why := stats.DropEnded
	if wire.ReasonOfDial(u.err) == wire.Denied {
		why = stats.DropDenied
	}
	for len(u.early) > 0 {
		u.dropEarly(why)
	}
	u.paid.discharge(int(u.paid.held.Load()))
	err := u.err
	u.mu.Unlock()
	u.node.udp.Stats.FlowsOpen.Add(-1)
	u.node.sockets.leave(u)
	u.owner.ended(err)
}
