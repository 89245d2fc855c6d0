package relaytest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// firstEphemeral is where a Network starts to number the ports that nobody
// asked for by name (RFC 6335 section 6: 49152 to 65535 are dynamic).
const firstEphemeral = 49152

// Network is a network in memory. Its TCP connections have bounded buffers,
// deadlines, half-close and reset, its UDP sockets a bounded queue and a Path,
// and all block in no system call, so that whole programs run on it inside a
// testing/synctest bubble. The zero value is ready to use.
type Network struct {
	mu        sync.Mutex
	listeners map[string]*listener
	sockets   map[string]*PacketConn
	paths     map[string]*road  // by host, or host:port
	names     map[string]string // hosts that stand for others
	lastPort  int
}

// SetName makes Dial take name for addr, as a name service would.
func (n *Network) SetName(name string, addr netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.names == nil {
		n.names = make(map[string]string)
	}
	n.names[name] = addr.String()
}

// Listen opens addr, which is host:port with any name as the host: Dial must use
// the same text, or one that SetName has led there. Port 0 or "" picks a free one.
func (n *Network) Listen(addr string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listening in memory: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if port == "" || port == "0" {
		port = n.port()
	}
	addr = net.JoinHostPort(host, port)
	if n.listeners[addr] != nil {
		return nil, opError("listen", memAddr(addr), syscall.EADDRINUSE)
	}
	l := &listener{network: n, addr: addr, queue: make(chan *Conn, 128), closed: make(chan struct{})}
	if n.listeners == nil {
		n.listeners = make(map[string]*listener)
	}
	n.listeners[addr] = l
	return l, nil
}

// Dial connects to the listener of addr, or by network "udp" to the socket. Its
// signature is that of net.Dialer.DialContext. Nobody listening is ECONNREFUSED:
// at once, or by UDP of a call that follows a Write.
func (n *Network) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	addr = n.resolve(addr)
	if strings.HasPrefix(network, "udp") {
		return n.dialPacket(addr)
	}
	n.mu.Lock()
	l := n.listeners[addr]
	local := net.JoinHostPort(loopbackFor(addr), n.port())
	n.mu.Unlock()
	if l == nil {
		return nil, opError("dial", memAddr(addr), syscall.ECONNREFUSED)
	}
	near, far := newPair(memAddr(local), memAddr(addr))
	select {
	case l.queue <- far:
		return near, nil
	case <-l.closed:
		return nil, opError("dial", memAddr(addr), syscall.ECONNREFUSED)
	case <-ctx.Done():
		return nil, opError("dial", memAddr(addr), ctx.Err())
	}
}

// resolve puts what SetName said of its host in addr.
func (n *Network) resolve(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if to := n.names[host]; to != "" {
		return net.JoinHostPort(to, port)
	}
	return addr
}

// loopbackFor is the host that dials addr, of the same family.
func loopbackFor(addr string) string {
	if ap, err := netip.ParseAddrPort(addr); err == nil && ap.Addr().Is6() {
		return "::1"
	}
	return "127.0.0.1"
}

// port numbers a new port; the caller holds the lock.
func (n *Network) port() string {
	if n.lastPort < firstEphemeral || n.lastPort == 65535 {
		n.lastPort = firstEphemeral - 1
	}
	n.lastPort++
	return strconv.Itoa(n.lastPort)
}

func (n *Network) forget(addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.listeners, addr)
}

// listener is one open address of a Network.
type listener struct {
	network *Network
	addr    string
	queue   chan *Conn // the backlog; a full one makes Dial wait, as a full SYN queue does
	closed  chan struct{}
	once    sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, opError("accept", l.Addr(), net.ErrClosed)
	default:
	}
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, opError("accept", l.Addr(), net.ErrClosed)
	}
}

// Close resets the connections that nobody has accepted.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.network.forget(l.addr)
		close(l.closed)
		for {
			select {
			case c := <-l.queue:
				c.Abort()
			default:
				return
			}
		}
	})
	return nil
}

func (l *listener) Addr() net.Addr { return memAddr(l.addr) }

// memAddr is a *net.TCPAddr where the host is a literal, as code that looks at
// the peer's IP expects it, else the name as it is.
func memAddr(hostport string) net.Addr {
	if ap, err := netip.ParseAddrPort(hostport); err == nil {
		return net.TCPAddrFromAddrPort(ap)
	}
	return namedAddr(hostport)
}

type namedAddr string

func (a namedAddr) Network() string { return "tcp" }
func (a namedAddr) String() string  { return string(a) }

// opError is the error that package net would return.
func opError(op string, addr net.Addr, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Addr: addr, Err: err}
}
