package main

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// A gate is a line straight to the node, of TCP and UDP by one port number, which fails.
type gate struct {
	node   string
	ln     net.Listener
	pc     *net.UDPConn
	silent atomic.Bool  // nothing gets through, either way
	lose   atomic.Int64 // 1 in so many datagrams; 1 is all

	mu    sync.Mutex
	conns map[net.Conn]bool
	peers map[netip.AddrPort]*net.UDPConn
	count int64
}

func openGate(node string) (*gate, error) {
	g := &gate{node: node, conns: make(map[net.Conn]bool), peers: make(map[netip.AddrPort]*net.UDPConn)}
	var err error
	if g.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	at := g.ln.Addr().(*net.TCPAddr)
	if g.pc, err = net.ListenUDP("udp", &net.UDPAddr{IP: at.IP, Port: at.Port}); err != nil {
		g.ln.Close()
		return nil, err
	}
	_ = g.pc.SetReadBuffer(4 << 20) // a smaller one works as well
	go g.accept()
	go g.receive()
	return g, nil
}

func (g *gate) address() string { return g.ln.Addr().String() }

func (g *gate) close() {
	g.ln.Close()
	g.pc.Close()
	g.cut()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.peers {
		c.Close()
	}
}

// cut resets all connections.
func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		_ = c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
}

func (g *gate) accept() {
	for {
		c, err := g.ln.Accept()
		if err != nil {
			return
		}
		go g.serve(c)
	}
}

func (g *gate) serve(c net.Conn) {
	defer g.hold(c)()
	far, err := net.Dial("tcp", g.node)
	if err != nil {
		return // the node is away
	}
	defer g.hold(far)()
	go g.pump(c, far)
	g.pump(far, c)
}

// hold has cut know c, and closes it in the end.
func (g *gate) hold(c net.Conn) (release func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns[c] = true
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.conns, c)
		c.Close()
	}
}

// pump carries bytes from one end to the other, and the end; what breaks ends both.
func (g *gate) pump(from, to net.Conn) {
	p := make([]byte, 64<<10)
	for {
		n, err := from.Read(p)
		for g.silent.Load() {
			time.Sleep(50 * time.Millisecond)
		}
		if _, failed := to.Write(p[:n]); failed != nil {
			from.Close()
			return
		}
		if err == io.EOF {
			_ = to.(*net.TCPConn).CloseWrite()
			return
		}
		if err != nil {
			to.Close()
			return
		}
	}
}

// lost decides about a datagram.
func (g *gate) lost() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.lose.Load()
	g.count++
	return g.silent.Load() || n > 0 && g.count%n == 0
}

// peerIdle is when a gate forgets a peer, as routers do.
const peerIdle = time.Minute

func (g *gate) receive() {
	p := make([]byte, 1<<16)
	for {
		n, from, err := g.pc.ReadFromUDPAddrPort(p)
		if err != nil {
			return
		}
		if c := g.peer(from); c != nil && !g.lost() {
			_ = c.SetReadDeadline(time.Now().Add(peerIdle))
			_, _ = c.Write(p[:n]) // UDP promises nothing
		}
	}
}

// peer is the socket towards the node of a peer; nil if there can be none.
func (g *gate) peer(from netip.AddrPort) *net.UDPConn {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c := g.peers[from]; c != nil {
		return c
	}
	far, err := net.Dial("udp", g.node)
	if err != nil {
		return nil
	}
	c := far.(*net.UDPConn)
	_ = c.SetReadBuffer(4 << 20)
	g.peers[from] = c
	go g.back(from, c)
	return c
}

func (g *gate) back(to netip.AddrPort, c *net.UDPConn) {
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.peers, to)
		c.Close()
	}()
	p := make([]byte, 1<<16)
	for {
		n, err := c.Read(p)
		if err != nil {
			return // idle, or the node is away: the next datagram gets another port
		}
		if !g.lost() {
			_, _ = g.pc.WriteToUDPAddrPort(p[:n], to)
		}
	}
}
