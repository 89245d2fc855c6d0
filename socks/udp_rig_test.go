package socks

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/stats"
)

// farSide is the flows of the associations under test, and what they carry.
type farSide struct {
	opened chan *fakeFlow
	echo   atomic.Bool // what is sent comes back
}

func newFarSide() *farSide { return &farSide{opened: make(chan *fakeFlow, 20000)} }

func (n *farSide) open(host string, port uint16, deliver func(from netip.Addr, pkts [][]byte), ended func(error)) Flow {
	f := &fakeFlow{n: n, host: host, port: port, deliver: deliver, ended: ended, sent: make(chan []string, 100), closed: make(chan struct{})}
	n.opened <- f
	return f
}

// fakeFlow is a flow that test code is the other end of.
type fakeFlow struct {
	n       *farSide
	host    string
	port    uint16
	deliver func(from netip.Addr, pkts [][]byte)
	ended   func(error)
	sent    chan []string // a copy of the pkts of each Send
	once    sync.Once
	closed  chan struct{}
}

func (f *fakeFlow) Send(_ *buf.Buf, pkts [][]byte) {
	var all []string
	for _, p := range pkts {
		all = append(all, string(p))
	}
	f.sent <- all
	if f.n.echo.Load() {
		f.deliver(netip.Addr{}, pkts)
	}
}

func (f *fakeFlow) Close() { f.once.Do(func() { close(f.closed) }) }

func (f *fakeFlow) isClosed() bool {
	select {
	case <-f.closed:
		return true
	default:
		return false
	}
}

// back delivers pkts as if from the address from, which may be empty.
func (f *fakeFlow) back(from string, pkts ...string) {
	var ip netip.Addr
	if from != "" {
		ip = netip.MustParseAddr(from)
	}
	var all [][]byte
	for _, p := range pkts {
		all = append(all, []byte(p))
	}
	f.deliver(ip, all)
}

// soon waits for what comes at once or never.
func soon[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing comes")
		panic("unreachable")
	}
}

// next returns the next flow that is opened, which must lead to host.
func (n *farSide) next(t *testing.T, host string) *fakeFlow {
	t.Helper()
	f := soon(t, n.opened)
	if f.host != host {
		t.Fatalf("a flow to %q, want %q", f.host, host)
	}
	return f
}

// want checks what the next Send is.
func (f *fakeFlow) want(t *testing.T, pkts ...string) {
	t.Helper()
	got := soon(t, f.sent)
	same := len(got) == len(pkts)
	for i := range min(len(got), len(pkts)) {
		same = same && got[i] == pkts[i]
	}
	if !same {
		t.Fatalf("sent %.200q, want %.200q", got, pkts)
	}
}

// app is an application with an association.
type app struct {
	control *net.TCPConn
	relay   netip.AddrPort // BND
	socket  *net.UDPConn
}

const associate5 = "\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00"

// associated returns an application that has an association of p's.
func (p *proxy) associated(t *testing.T) *app {
	t.Helper()
	a := &app{control: p.dial(t)}
	mustWrite(t, a.control, "\x05\x01\x00"+associate5)
	mustRead(t, a.control, "\x05\x00")
	a.relay = readBound(t, a.control)
	a.socket = a.dial(t, nil)
	return a
}

// readBound reads a granting reply.
func readBound(t *testing.T, conn net.Conn) netip.AddrPort {
	t.Helper()
	head := make([]byte, 4)
	if _, err := io.ReadFull(conn, head); err != nil || string(head[:3]) != "\x05\x00\x00" {
		t.Fatalf("reply %q (%v)", head, err)
	}
	ip := make([]byte, map[byte]int{atypIPv4: 4, atypIPv6: 16}[head[3]]+2)
	if _, err := io.ReadFull(conn, ip); err != nil {
		t.Fatal(err)
	}
	at, _ := netip.AddrFromSlice(ip[:len(ip)-2])
	return netip.AddrPortFrom(at, uint16(ip[len(ip)-2])<<8|uint16(ip[len(ip)-1]))
}

// dial connects a socket to the relay.
func (a *app) dial(t *testing.T, from net.IP) *net.UDPConn {
	t.Helper()
	var local *net.UDPAddr
	if from != nil {
		local = &net.UDPAddr{IP: from}
	}
	conn, err := net.DialUDP("udp", local, net.UDPAddrFromAddrPort(a.relay))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// readSoon reads what comes at once or never: the wait has a limit, and not the test, which
// may have thousands and a slow machine.
func readSoon(conn *net.UDPConn, b []byte) (int, error) {
	conn.SetReadDeadline(time.Now().Add(patience))
	return conn.Read(b)
}

// want checks what the next datagram to the application is.
func (a *app) want(t *testing.T, datagram string) {
	t.Helper()
	b := make([]byte, 1<<16)
	n, err := readSoon(a.socket, b)
	if err != nil || string(b[:n]) != datagram {
		t.Fatalf("got %d bytes, %.60q (%v), want %d, %.60q", n, b[:n], err, len(datagram), datagram)
	}
}

// counted waits until n are dropped for a reason.
func counted(t *testing.T, st *stats.UDP, why stats.Drop, n int) {
	t.Helper()
	// Gosched alone keeps one processor busy, which then looks at sockets every 10 ms.
	for begin := time.Now(); st.Dropped[why].Load() < uint64(n); time.Sleep(50 * time.Microsecond) {
		if time.Since(begin) > patience {
			t.Fatalf("%d dropped for %v, want %d", st.Dropped[why].Load(), why, n)
		}
	}
}

// dropped checks a count, and that there is no other.
func dropped(t *testing.T, st *stats.UDP, why stats.Drop, n uint64) {
	t.Helper()
	for d := range stats.Drops {
		want := uint64(0)
		if d == why {
			want = n
		}
		if got := st.Dropped[d].Load(); got != want {
			t.Errorf("%d dropped for %v, want %d", got, d, want)
		}
	}
}

// memSocket is a socket in memory, in virtual time.
type memSocket struct {
	addr   *net.UDPAddr
	in     chan memDatagram
	out    chan string // unbuffered: a write waits for its reader
	closed chan struct{}
	once   sync.Once
}

type memDatagram struct {
	from net.Addr
	p    string
}

func newMemSocket(addr netip.Addr) *memSocket {
	return &memSocket{addr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 40000)),
		in: make(chan memDatagram), out: make(chan string), closed: make(chan struct{})}
}

func (m *memSocket) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-m.in:
		return copy(b, d.p), d.from, nil
	case <-m.closed:
		return 0, nil, net.ErrClosed
	}
}

func (m *memSocket) WriteTo(b []byte, _ net.Addr) (int, error) {
	select {
	case m.out <- string(b):
		return len(b), nil
	case <-m.closed:
		return 0, net.ErrClosed
	}
}

func (m *memSocket) Close() error {
	m.once.Do(func() { close(m.closed) })
	return nil
}

func (m *memSocket) LocalAddr() net.Addr              { return m.addr }
func (m *memSocket) SetDeadline(time.Time) error      { return nil }
func (m *memSocket) SetReadDeadline(time.Time) error  { return nil }
func (m *memSocket) SetWriteDeadline(time.Time) error { return nil }

// say sends a datagram from the address from.
func (m *memSocket) say(from, p string) {
	m.in <- memDatagram{net.UDPAddrFromAddrPort(netip.MustParseAddrPort(from)), p}
}

// memAssociation is an association in a bubble.
type memAssociation struct {
	*memSocket
	n       *farSide
	control net.Conn
	stats   *stats.UDP
}

// inUDPBubble runs test in virtual time, with an association of 192.0.2.7's.
func inUDPBubble(t *testing.T, test func(t *testing.T, s *Server, a *memAssociation)) {
	t.Helper()
	a := &memAssociation{n: newFarSide(), stats: new(stats.UDP)}
	u := &UDP{Open: a.n.open, Listen: func(addr netip.Addr) (net.PacketConn, error) {
		a.memSocket = newMemSocket(addr)
		return a.memSocket, nil
	}}
	u.Options.Stats = a.stats
	inBubble(t, Config{UDP: u}, func(t *testing.T, s *Server, ln *memListener) {
		a.n.opened = make(chan *fakeFlow, 20000)
		a.control = ln.connect("192.0.2.7:1")
		mustWrite(t, a.control, "\x05\x01\x00")
		mustRead(t, a.control, "\x05\x00")
		mustWrite(t, a.control, associate5)
		if got, want := readBound(t, a.control), "192.0.2.1:40000"; got.String() != want {
			t.Errorf("BND %v, want %v", got, want)
		}
		test(t, s, a)
		a.control.Close()
		<-a.closed
	})
}
