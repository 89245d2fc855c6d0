package gso

import (
	"net"
	"runtime"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"relaymux/mux/buf"
	"relaymux/mux/stats"
)

// A quicConn is quic.OOBCapablePacketConn, with the ReadBatch that quic-go looks
// for. It is read by one goroutine and written to by one per connection.
//
// What quic-go asks of a socket: IP_RECVTOS and IPV6_RECVTCLASS, and the packet
// info if it is bound to all addresses, which it turns on by SyscallConn and reads
// out of each message's control data.
type quicConn struct {
	*udpConn
	send func(b, oob []byte, to *net.UDPAddr) (n, oobn int, err error)
	out  quicWriter
	in   quicReader
}

func newQUIC(u *net.UDPConn, o Options) net.PacketConn {
	best, ok := newUDP(u, o).(*udpConn)
	if !ok {
		return u // closed: its user will see
	}
	c := &quicConn{udpConn: best, send: u.WriteMsgUDP}
	c.out.setUp(&best.w)
	c.in.try = c.tryReadDirect
	if c.gro {
		c.in.try = c.tryReadTrains
	}
	return c
}

// A quicReader is what ReadBatch keeps: the messages of the last system call, of
// which some have not been handed out.
type quicReader struct {
	try   func(fd uintptr) bool // bound once
	ms    []ipv4.Message        // to be filled
	n     int                   // of them that are
	err   error
	peers heard

	b      batch
	got    int // messages in b
	next   int // the first that is not wholly handed out
	offset int // of its next datagram
	want   int // messages per system call

	// Of the message that is handed out.
	size int // of its datagrams
	addr net.Addr
	oob  []byte
	room [oobBytes]byte // of oob
}

// ReadBatch fills ms, of which each has one buffer, with the datagrams that are
// there, and waits for the first. Their order is the socket's.
func (c *quicConn) ReadBatch(ms []ipv4.Message, _ int) (int, error) {
	r := &c.in
	r.ms, r.n, r.err = ms, 0, nil
	if r.next == r.got {
		runtime.Gosched() // who is at work on the last ones goes first, and more can come
		if err := c.raw.Read(r.try); err != nil {
			return 0, err
		}
	}
	if r.err != nil {
		return 0, r.err
	}
	for r.n < len(ms) && r.next < r.got {
		c.handOut(&ms[r.n])
		r.n++
	}
	r.ms = nil
	return r.n, nil
}

// tryReadTrains reads what there is, at most readBatch trains, into buffers that
// are lent until all of it is handed out.
func (c *quicConn) tryReadTrains(fd uintptr) bool {
	r := &c.in
	k := min(max(r.want, 1), readBatch)
	for i := range k {
		r.b.bufs[i] = buf.Get(buf.Max)
		r.b.point(i, r.b.bufs[i].B[:cap(r.b.bufs[i].B)], unix.SizeofSockaddrInet6, oobBytes)
	}
	done := c.receiveInto(fd, k)
	for i := r.got; i < k; i++ {
		r.drop(i)
	}
	r.next, r.offset, r.want = 0, 0, r.got+1
	return done
}

// tryReadDirect reads into the reader's own buffers: where there are no trains,
// that saves a copy.
func (c *quicConn) tryReadDirect(fd uintptr) bool {
	r := &c.in
	k := min(len(r.ms), batchSize)
	for i := range k {
		r.b.point(i, r.ms[i].Buffers[0], unix.SizeofSockaddrInet6, oobBytes)
	}
	done := c.receiveInto(fd, k)
	for i := range r.got {
		r.next = i
		c.open()
		m := &r.ms[i]
		m.N = int(r.b.msgs[i].Len)
		if r.b.msgs[i].Hdr.Flags&unix.MSG_TRUNC != 0 {
			c.o.Stats.Drop(stats.DropCut, 1)
			m.N = 0 // which nobody takes for a packet
		}
		r.describe(m)
	}
	r.n, r.next, r.got = r.got, 0, 0
	r.b.clear(k)
	return done
}

// receiveInto reads at most k messages, and reports whether there is an outcome.
func (c *quicConn) receiveInto(fd uintptr, k int) bool {
	r := &c.in
	for {
		n, errno := c.sys.recv(fd, r.b.msgs[:k])
		r.got = n
		switch errno {
		case 0:
			c.r.errors = 0
			return true
		case unix.EAGAIN:
			return false
		}
		if r.err = c.readError(errno); r.err != nil {
			return true
		}
	}
}

// open looks at the control data of the next message, and counts it.
func (c *quicConn) open() {
	r := &c.in
	a := r.b.arrival(r.next)
	c.overflown(a.dropped)
	peer, zone := r.b.peer(r.next)
	r.addr = r.peers.addr(c.r.zone.add(peer, zone))
	r.oob = r.b.keepIP(r.next, r.room[:0])
	n := int(r.b.msgs[r.next].Len)
	if r.size = a.size; r.size <= 0 || r.size > n {
		r.size = max(n, 1) // one, be it empty
	}
	c.o.Stats.Received.Add(max(1, (n+r.size-1)/r.size), n)
}

// handOut makes m the next datagram.
func (c *quicConn) handOut(m *ipv4.Message) {
	r := &c.in
	if r.offset == 0 {
		c.open()
	}
	all := r.b.bufs[r.next].B[:r.b.msgs[r.next].Len]
	p := all[r.offset:min(r.offset+r.size, len(all))]
	r.offset += len(p)
	if m.N = copy(m.Buffers[0], p); m.N < len(p) {
		c.o.Stats.Drop(stats.DropCut, 1)
		m.N = 0
	}
	r.describe(m)
	if r.offset == len(all) {
		r.drop(r.next)
		r.next, r.offset = r.next+1, 0
	}
}

// describe says of m what is said of the whole train.
func (r *quicReader) describe(m *ipv4.Message) {
	m.NN, m.Addr, m.Flags = copy(m.OOB, r.oob), r.addr, 0
}

func (r *quicReader) drop(i int) {
	r.b.bufs[i].Release()
	r.b.bufs[i], r.b.iovs[i].Base = nil, nil
}

// ReadMsgUDP is ReadBatch of one datagram, which is all that net.UDPConn's own
// would have to be told from a train.
func (c *quicConn) ReadMsgUDP(b, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error) {
	ms := []ipv4.Message{{Buffers: [][]byte{b}, OOB: oob}}
	if _, err := c.ReadBatch(ms, 0); err != nil {
		return 0, 0, 0, nil, err
	}
	addr, _ = ms[0].Addr.(*net.UDPAddr)
	return ms[0].N, ms[0].NN, 0, addr, nil
}

// ReadFrom is ReadMsgUDP without its control data.
func (c *quicConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, _, _, addr, err := c.ReadMsgUDP(b, nil)
	return n, addr, err
}
