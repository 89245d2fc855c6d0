package relaytest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	// socketQueue bounds what waits in a socket, in bytes, each datagram with
	// an overhead that makes empty ones cost something. It is what the program
	// asks of the system for its own sockets, about.
	socketQueue      = 1 << 20
	datagramOverhead = 256

	// What one datagram carries at most: the length field has 16 bits, which
	// count the UDP header and, with IPv4 alone, the IP header (RFC 768, RFC
	// 791 section 3.1, RFC 8200 section 3).
	maxDatagram4 = 65535 - 8 - 20
	maxDatagram6 = 65535 - 8
)

// PacketConn is a UDP socket in memory. One of ListenPacket is a
// net.PacketConn; one of Dial is a net.Conn that keeps the borders of datagrams
// and hears its peer alone.
type PacketConn struct {
	network       *Network
	local, remote string // host:port; no remote unless it is connected

	mu      sync.Mutex
	cond    sync.Cond  // something below changed
	queue   []datagram // in the order in which they arrive
	bytes   int
	dropped int
	refused bool // a datagram found nobody, and no call has said so yet
	closed  bool
	readBy  time.Time
	readTim *time.Timer
	writeBy time.Time
}

var (
	_ net.PacketConn = (*PacketConn)(nil)
	_ net.Conn       = (*PacketConn)(nil)
)

// datagram is one that is in a socket's queue, or on its way there until due.
type datagram struct {
	from string
	due  time.Time
	data []byte
}

func (d *datagram) cost() int { return len(d.data) + datagramOverhead }

// ListenPacket opens a UDP socket at addr, which is as for Listen. The ports of
// UDP and TCP are apart.
func (n *Network) ListenPacket(addr string) (net.PacketConn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listening in memory: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if port == "" || port == "0" {
		return n.bind(host, ""), nil
	}
	addr = net.JoinHostPort(host, port)
	if n.sockets[addr] != nil {
		return nil, packetError("listen", addr, syscall.EADDRINUSE)
	}
	return n.socket(addr, ""), nil
}

// dialPacket connects a socket to addr, whoever is there or not.
func (n *Network) dialPacket(addr string) (net.Conn, error) {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, fmt.Errorf("dialing in memory: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.bind(loopbackFor(addr), addr), nil
}

// bind makes a socket with a free port; the caller holds the lock.
func (n *Network) bind(host, remote string) *PacketConn {
	for {
		if local := net.JoinHostPort(host, n.port()); n.sockets[local] == nil {
			return n.socket(local, remote)
		}
	}
}

func (n *Network) socket(local, remote string) *PacketConn {
	c := &PacketConn{network: n, local: local, remote: remote}
	c.cond.L = &c.mu
	if n.sockets == nil {
		n.sockets = make(map[string]*PacketConn)
	}
	n.sockets[local] = c
	return c
}

// Read takes the next datagram, of a connected socket. What p has no room for is
// lost, as with any UDP socket.
func (c *PacketConn) Read(p []byte) (int, error) {
	n, _, err := c.ReadFrom(p)
	return n, err
}

// ReadFrom is Read with the sender, a *net.UDPAddr where its host is a literal.
func (c *PacketConn) ReadFrom(p []byte) (int, net.Addr, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, nil, packetError("read", c.local, net.ErrClosed)
		case past(c.readBy):
			return 0, nil, packetError("read", c.local, os.ErrDeadlineExceeded)
		case c.refused:
			c.refused = false
			return 0, nil, packetError("read", c.remote, syscall.ECONNREFUSED)
		case len(c.queue) > 0 && past(c.queue[0].due):
			d := c.queue[0]
			c.queue[0], c.queue = datagram{}, c.queue[1:]
			c.bytes -= d.cost()
			return copy(p, d.data), packetAddr(d.from), nil
		}
		c.cond.Wait()
	}
}

// Write sends a datagram to the peer of a connected socket. Like all of UDP, it
// succeeds whoever is there; that nobody was is the error of the call after it.
func (c *PacketConn) Write(p []byte) (int, error) {
	if c.remote == "" {
		return 0, packetError("write", c.local, syscall.EDESTADDRREQ)
	}
	return c.write(p, c.remote)
}

// WriteTo sends a datagram from an unconnected socket.
func (c *PacketConn) WriteTo(p []byte, to net.Addr) (int, error) {
	if c.remote != "" {
		return 0, packetError("write", to.String(), net.ErrWriteToConnected)
	}
	return c.write(p, to.String())
}

func (c *PacketConn) write(p []byte, to string) (int, error) {
	if err := c.mayWrite(len(p), to); err != nil {
		return 0, packetError("write", to, err)
	}
	if !c.network.carry(c.local, to, p) && c.remote != "" {
		c.mu.Lock()
		c.refused = true
		c.cond.Broadcast()
		c.mu.Unlock()
	}
	return len(p), nil
}

// mayWrite is why a datagram of so many bytes does not leave.
func (c *PacketConn) mayWrite(size int, to string) error {
	most := maxDatagram4
	if ap, err := netip.ParseAddrPort(to); err == nil && ap.Addr().Is6() {
		most = maxDatagram6
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return net.ErrClosed
	case past(c.writeBy):
		return os.ErrDeadlineExceeded
	case c.refused:
		c.refused = false
		return syscall.ECONNREFUSED
	case size > most:
		return syscall.EMSGSIZE
	case c.network.refuses(c.local, to):
		return syscall.EPERM
	}
	return nil
}

// arrive queues a datagram, whose bytes it borrows, behind those that are due no
// later. A full queue does not take it.
func (c *PacketConn) arrive(from string, after time.Duration, p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.remote != "" && c.remote != from {
		return
	}
	d := datagram{from, time.Now().Add(after), slices.Clone(p)}
	if c.bytes+d.cost() > socketQueue {
		c.dropped++
		return
	}
	at := len(c.queue)
	for at > 0 && c.queue[at-1].due.After(d.due) {
		at--
	}
	c.queue = slices.Insert(c.queue, at, d)
	c.bytes += d.cost()
	if after > 0 {
		time.AfterFunc(after, c.look)
	}
	c.cond.Broadcast()
}

// look makes readers look again. It takes the lock, so that none misses the call
// between its look at the clock and its wait.
func (c *PacketConn) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cond.Broadcast()
}

// Dropped is how many datagrams found the queue full.
func (c *PacketConn) Dropped() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dropped
}

// Close ends the socket. What is queued is lost.
func (c *PacketConn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return packetError("close", c.local, net.ErrClosed)
	}
	c.closed, c.queue = true, nil
	stop(c.readTim)
	c.cond.Broadcast()
	c.mu.Unlock()

	c.network.mu.Lock()
	defer c.network.mu.Unlock()
	delete(c.network.sockets, c.local)
	return nil
}

// closeSocket closes the socket at addr, if there is one.
func (n *Network) closeSocket(addr string) {
	n.mu.Lock()
	c := n.sockets[addr]
	n.mu.Unlock()
	if c != nil {
		c.Close()
	}
}

func (c *PacketConn) LocalAddr() net.Addr { return packetAddr(c.local) }

// RemoteAddr is nil of a socket that is not connected.
func (c *PacketConn) RemoteAddr() net.Addr {
	if c.remote == "" {
		return nil
	}
	return packetAddr(c.remote)
}

func (c *PacketConn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *PacketConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	stop(c.readTim)
	c.readBy, c.readTim = t, nil
	if left := time.Until(t); left > 0 {
		c.readTim = time.AfterFunc(left, c.look)
	}
	c.cond.Broadcast()
	return nil
}

// SetWriteDeadline matters only if t has passed: writes do not wait.
func (c *PacketConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeBy = t
	return nil
}

// packetAddr is memAddr for UDP.
func packetAddr(hostport string) net.Addr {
	if ap, err := netip.ParseAddrPort(hostport); err == nil {
		return net.UDPAddrFromAddrPort(ap)
	}
	return namedPacketAddr(hostport)
}

type namedPacketAddr string

func (a namedPacketAddr) Network() string { return "udp" }
func (a namedPacketAddr) String() string  { return string(a) }

// packetError is opError for UDP.
func packetError(op, addr string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Addr: packetAddr(addr), Err: err}
}
