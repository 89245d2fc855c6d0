package dns

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
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

// TestTCPConnections: there are only so many.
func TestTCPConnections(t *testing.T) {
	_, at := serving(t, echoing(60))
	var last net.Conn
	for range maxConns {
		last = connected(t, "tcp", at)
		send(last, ask(1, "example.org", typeA))
		if _, err := readMessage(last); err != nil {
			t.Fatal(err)
		}
	}
	further := connected(t, "tcp", at)
	send(further, ask(2, "example.org", typeA))
	if _, err := readMessage(further); err == nil {
		t.Errorf("connection %d is served", maxConns+1)
	}
}

// TestSources: only who is near is answered, with what fits the way to it.
func TestSources(t *testing.T) {
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

// TestStrangerUDP: a datagram of somebody far is not even looked at.
func TestStrangerUDP(t *testing.T) {
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
