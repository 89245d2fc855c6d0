// Package gso moves UDP datagrams in trains: many datagrams of one peer by one
// system call, where the system can do that.
//
// A Conn is a socket that reads and writes trains. On Linux one receive call
// brings what the kernel has put together (UDP_GRO), and one send call takes what
// it is to cut again (UDP_SEGMENT); what the kernel refuses goes as single
// datagrams, once and in order. Elsewhere a Conn moves single datagrams, behind
// the same interface. A Sender is the queue in front of a Conn, where datagrams
// become trains while the system is busy with earlier ones.
//
// Words: a train has segments of one size, the last of which may be shorter; a
// message is what one send or receive carries, a train or a part of one; a batch
// is the messages of one system call; a fallback is a train that went out as
// single datagrams. Which datagrams may share a train, and a train a message, is
// in plan.go, without a socket.
package gso

import (
	"net"
	"net/netip"

	"relaymux/mux/buf"
	"relaymux/mux/stats"
)

// A Train is datagrams of one peer, one after the other in one buffer: all of
// Size bytes but the last, which may be shorter.
type Train struct {
	Peer netip.AddrPort // where it goes to, or came from; the zero value on a connected socket
	Size int            // 0: one datagram of all of Buf, be it empty
	Buf  *buf.Buf       // owned by who has the Train
}

// Count is the number of its datagrams, at least 1.
func (t *Train) Count() int {
	n := len(t.Buf.B)
	if t.Size <= 0 || n <= t.Size {
		return 1
	}
	return (n + t.Size - 1) / t.Size
}

// At returns its i-th datagram, a part of Buf.
func (t *Train) At(i int) []byte {
	if t.Size <= 0 {
		return t.Buf.B
	}
	from := i * t.Size
	return t.Buf.B[from:min(from+t.Size, len(t.Buf.B))]
}

// Options are how a socket is to be used.
type Options struct {
	GSO, GRO bool // where the system has them; false: never

	// Buffer is how many bytes the socket's receive and send buffers shall have,
	// or half of that, and so on, as the system allows. 0 leaves the system's
	// default, which is right for a small session; a socket that carries many
	// wants BigBuffer.
	Buffer int

	// Serves is whether a socket of NewQUIC accepts connections. What the system
	// refuses to send is then lost, on Linux, as it may be anywhere on the way: a
	// server cannot take another way, and a connection that quic-go ends for it ends
	// without a word to the client. A client's does end, so that TCP takes over soon.
	Serves bool

	Stats *stats.UDP // nil: counted for nobody
}

// BigBuffer holds 30 ms of 1 Gbit/s, which is what a busy process may be away.
const BigBuffer = 4 << 20

// A Conn is a UDP socket that reads and writes trains. Its methods are safe for
// concurrent use by one reader and one writer.
type Conn interface {
	// ReadTrains waits for something to read, and fills ts with what is there,
	// at most len(ts) trains and at least one, whose buffers the caller owns
	// from then on. While it waits it holds none, on Linux. Peers are unmapped,
	// and have a zone if link-local; that of a connected socket is the zero
	// value. An error is the end of the socket, its read deadline, or
	// ECONNREFUSED of a connected one's peer.
	ReadTrains(ts []Train) (n int, err error)

	// WriteTrains sends ts, which it borrows, in order, waiting for room in the
	// socket's buffer. What the system refuses is counted and passed over: a
	// short count of datagrams is no failure of the rest. An error is the end
	// of the socket, or ECONNREFUSED of a connected one's peer.
	WriteTrains(ts []Train) (sent int, err error)

	LocalAddr() net.Addr
	Close() error
}

// New returns a Conn of an unconnected socket, which it owns. A *net.UDPConn is
// used in the best way that the system has, another by single datagrams.
func New(c net.PacketConn, o Options) Conn {
	if o.Stats == nil {
		o.Stats = new(stats.UDP)
	}
	if u, ok := c.(*net.UDPConn); ok {
		if best := newUDP(u, o); best != nil {
			return best
		}
	}
	return newPortable(c, nil, o)
}

// NewConnected is New for a connected socket.
func NewConnected(c net.Conn, o Options) Conn {
	if o.Stats == nil {
		o.Stats = new(stats.UDP)
	}
	if u, ok := c.(*net.UDPConn); ok {
		if best := newUDP(u, o); best != nil {
			return best
		}
	}
	return newPortable(nil, c, o)
}
