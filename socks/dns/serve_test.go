package dns

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"relaymux/mux/fd/fdtest"
)

// serving is a rig with sockets on loopback.
func serving(t *testing.T, answer func(net.Conn, []byte)) (r *rig, at string) {
	t.Helper()
	r = newRig(t, answer)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{}, 2)
	go func() { r.ServeTCP(tcp); done <- struct{}{} }()
	go func() { r.ServeUDP(udp); done <- struct{}{} }()
	t.Cleanup(func() {
		r.Close()
		<-done
		<-done
	})
	return r, tcp.Addr().String()
}

func connected(t *testing.T, network, at string) net.Conn {
	t.Helper()
	conn, err := net.Dial(network, at)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestUDP(t *testing.T) {
	_, at := serving(t, echoing(60))
	conn := connected(t, "udp", at)
	b := make([]byte, 2000)
	for _, msg := range [][]byte{[]byte("nonsense"), ask(1, "example.org", typeA)} { // the first gets no answer
		if _, err := conn.Write(msg); err != nil {
			t.Fatal(err)
		}
	}
	n, err := conn.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	want(t, b[:n], 1, dnsmessage.RCodeSuccess, 60)
}

// TestTCP: queries of one connection are answered as the answers come, also after the
// program has said that it asks no more.
func TestTCP(t *testing.T) {
	slow := make(chan struct{})
	_, at := serving(t, func(conn net.Conn, msg []byte) {
		if questionOf(msg).Name.String() == "slow.example." {
			go func() {
				<-slow
				echoing(60)(conn, msg)
			}()
			return
		}
		echoing(30)(conn, msg)
	})
	conn := connected(t, "tcp", at)
	send(conn, ask(1, "slow.example", typeA))
	send(conn, ask(2, "fast.example", typeA))
	conn.(*net.TCPConn).CloseWrite()
	for _, c := range []struct {
		id  uint16
		ttl uint32
	}{{2, 30}, {1, 60}} {
		msg, err := readMessage(conn)
		if err != nil {
			t.Fatal(err)
		}
		want(t, msg, c.id, dnsmessage.RCodeSuccess, c.ttl)
		if c.id == 2 {
			close(slow)
		}
	}
	if _, err := readMessage(conn); err == nil {
		t.Error("the connection goes on")
	}
}

// TestTCPConnections: one more than there may be takes the place of the one that was idle
// for the longest, and of none that is being answered.
func TestTCPConnections(t *testing.T) {
	slow := make(chan struct{})
	_, at := serving(t, func(conn net.Conn, msg []byte) {
		if questionOf(msg).Name.String() == "slow.example." {
			go func() {
				<-slow
				echoing(60)(conn, msg)
			}()
			return
		}
		echoing(60)(conn, msg)
	})
	asks := func(conn net.Conn, id uint16, name string) (ok bool) {
		send(conn, ask(id, name, typeA))
		if name == "slow.example" {
			return true
		}
		msg, err := readMessage(conn)
		if err == nil {
			want(t, msg, id, dnsmessage.RCodeSuccess, 60)
		}
		return err == nil
	}
	var all []net.Conn
	for i := range maxConnsOf {
		all = append(all, connected(t, "tcp", at))
		if !asks(all[i], 1, "example.org") {
			t.Fatalf("connection %d is not served", i)
		}
	}
	send(all[0], ask(2, "slow.example", typeA))
	if !asks(all[0], 3, "example.org") { // and what came before it is being answered
		t.Fatal("the first connection is not served")
	}
	if further := connected(t, "tcp", at); !asks(further, 4, "example.org") {
		t.Errorf("connection %d is not served", maxConnsOf+1)
	}
	if _, err := readMessage(all[1]); err == nil {
		t.Error("the one that was idle for the longest is open")
	}
	if !asks(all[2], 5, "example.org") {
		t.Error("another was closed, too")
	}
	close(slow)
	msg, err := readMessage(all[0])
	if err != nil {
		t.Fatal(err)
	}
	want(t, msg, 2, dnsmessage.RCodeSuccess, 60)
}

// TestClients: of one source, and of all, there are only so many, and none goes that is
// being answered.
func TestClients(t *testing.T) {
	cs := &clients{open: make(map[*client]struct{})}
	came := func(source int) (*client, bool) {
		here, there := net.Pipe()
		t.Cleanup(func() { here.Close(); there.Close() })
		c := &client{Conn: here, source: netip.AddrFrom16([16]byte{0: 0xfd, 7: byte(source), 15: byte(len(cs.open))})} // one network for each
		return c, cs.enter(c)
	}
	var busy []*client
	for i := range maxConns {
		c, ok := came(i / maxConnsOf)
		if !ok {
			t.Fatalf("connection %d is refused", i)
		}
		cs.begins(c)
		busy = append(busy, c)
	}
	if _, ok := came(0); ok {
		t.Error("more than there may be of one source")
	}
	if _, ok := came(9); ok {
		t.Error("more than there may be of all")
	}
	cs.ended(busy[maxConns-1])
	if _, ok := came(0); ok {
		t.Error("more than there may be of one source, for one of another")
	}
	last, ok := came(9)
	if !ok || len(cs.open) != maxConns {
		t.Errorf("in the place of an idle one: %v, %d are open", ok, len(cs.open))
	}
	cs.leave(last)
	if _, ok := came(8); !ok {
		t.Error("there is room again")
	}
}

// TestHostile54_Sources: only who is near is answered, with what fits the way to it.
func TestHostile54_Sources(t *testing.T) {
	for source, limit := range map[string]int{
		"127.0.0.1:5": localSize, "[::1]:5": localSize, "[::ffff:127.0.0.1]:5": localSize,
		"192.168.1.2:5": remoteSize, "10.0.0.1:5": remoteSize, "[fe80::1%eth0]:5": remoteSize, "[fd00::1]:5": remoteSize,
		"8.8.8.8:5": 0, "[2606:4700::1111]:5": 0, "[::ffff:8.8.8.8]:5": 0,
	} {
		got, ok := sizeFor(net.UDPAddrFromAddrPort(netip.MustParseAddrPort(source)))
		if ok != (limit > 0) || ok && got != limit {
			t.Errorf("%s: %d, %v, want %d", source, got, ok, limit)
		}
	}
}

// TestHostile54_StrangerUDP: a datagram of somebody far is not even looked at.
func TestHostile54_StrangerUDP(t *testing.T) {
	r := newRig(t, echoing(60))
	c := &oneDatagram{from: net.UDPAddrFromAddrPort(netip.MustParseAddrPort("8.8.8.8:53")), msg: ask(1, "example.org", typeA), read: make(chan struct{})}
	done := make(chan struct{})
	go func() { r.ServeUDP(c); close(done) }()
	<-c.read
	r.Close()
	<-done
	if _, asked := r.far.count(); asked != 0 || c.wrote {
		t.Errorf("asked %d times, answered %v", asked, c.wrote)
	}
}

// TestHostile54_StrangerTCP: a connection of somebody far is closed before anything of
// it is read, also if its address is wrapped; one of somebody near is served.
func TestHostile54_StrangerTCP(t *testing.T) {
	for from, served := range map[string]bool{"8.8.8.8:5": false, "[::ffff:8.8.8.8]:5": false, "[2606:4700::1]:5": false, "[::ffff:192.168.1.2]:5": true} {
		r := newRig(t, echoing(60))
		here, there := net.Pipe()
		ln := &oneConnection{conn: &comeFrom{Conn: here, from: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from))}, over: make(chan struct{})}
		done := make(chan struct{})
		go func() { r.ServeTCP(ln); close(done) }()
		if served {
			go send(there, ask(1, "example.org", typeA))
		}
		msg, err := readMessage(there)
		if served != (err == nil) {
			t.Errorf("%s: %v, %v", from, msg, err)
		}
		if !served && ln.conn.read.Load() {
			t.Errorf("%s: it was read from", from)
		}
		there.Close()
		r.Close()
		<-done
	}
}

// TestHostile81_DNSConnections: they leave to the daemon what it keeps for itself, and come
// again after what goes by.
func TestHostile81_DNSConnections(t *testing.T) {
	fdtest.Run(t, func(take func()) {
		_, at := serving(t, echoing(60))
		old := connected(t, "tcp", at)
		send(old, ask(1, "example.org", typeA))
		if _, err := readMessage(old); err != nil {
			t.Fatal(err)
		}
		take()
		if _, err := readMessage(connected(t, "tcp", at)); err == nil || os.IsTimeout(err) {
			t.Errorf("a further connection: %v", err)
		}
		send(old, ask(2, "example.org", typeA))
		if _, err := readMessage(old); err != nil {
			t.Errorf("the one that is open: %v", err)
		}
	})
}

// TestHostile81_DNSAcceptGoesOn: what accept says of the machine does not end it.
func TestHostile81_DNSAcceptGoesOn(t *testing.T) {
	r := newRig(t, echoing(60))
	here, there := net.Pipe()
	ln := &oneConnection{conn: &comeFrom{Conn: here, from: net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:5"))}, over: make(chan struct{}),
		first: &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}}
	done := make(chan struct{})
	go func() { r.ServeTCP(ln); close(done) }()
	go send(there, ask(1, "example.org", typeA))
	if _, err := readMessage(there); err != nil {
		t.Error(err)
	}
	there.Close()
	r.Close()
	<-done
}

// oneConnection is a listener to which one connection comes, after an error if that is not
// nil.
type oneConnection struct {
	first error

	conn *comeFrom
	once sync.Once
	came bool
	over chan struct{}
}

func (o *oneConnection) Accept() (net.Conn, error) {
	if err := o.first; err != nil {
		o.first = nil
		return nil, err
	}
	if !o.came {
		o.came = true
		return o.conn, nil
	}
	<-o.over
	return nil, net.ErrClosed
}

func (o *oneConnection) Close() error   { o.once.Do(func() { close(o.over) }); return nil }
func (o *oneConnection) Addr() net.Addr { return o.conn.LocalAddr() }

// comeFrom is a connection from an address, which tells whether anything was read.
type comeFrom struct {
	net.Conn
	from net.Addr
	read atomic.Bool
}

func (c *comeFrom) RemoteAddr() net.Addr { return c.from }
func (c *comeFrom) Read(p []byte) (int, error) {
	c.read.Store(true)
	return c.Conn.Read(p)
}

// oneDatagram is a socket on which one datagram comes.
type oneDatagram struct {
	net.PacketConn
	from  net.Addr
	msg   []byte
	read  chan struct{} // closed when the second read begins
	sent  bool
	wrote bool
}

func (o *oneDatagram) ReadFrom(b []byte) (int, net.Addr, error) {
	if !o.sent {
		o.sent = true
		return copy(b, bytes.Clone(o.msg)), o.from, nil
	}
	select {
	case <-o.read:
	default:
		close(o.read)
	}
	return 0, nil, net.ErrClosed
}

func (o *oneDatagram) WriteTo([]byte, net.Addr) (int, error) { o.wrote = true; return 0, nil }
func (o *oneDatagram) Close() error                          { return nil }
