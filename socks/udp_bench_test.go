package socks

import (
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/gso"
	"relaymux/mux/stats"
)

// train makes a train of one peer, of datagrams of one size.
func train(peer netip.AddrPort, datagrams ...string) gso.Train {
	b := buf.Get(buf.Max)
	for _, d := range datagrams {
		b.B = append(b.B, d...)
	}
	return gso.Train{Peer: peer, Size: len(datagrams[0]), Buf: b}
}

// bare returns an association of 127.0.0.1's with a socket in the system, that
// nobody reads from but the test.
func bare(t testing.TB, u UDP) *association {
	t.Helper()
	s := New(Config{UDP: &u})
	local := netip.MustParseAddr("127.0.0.1")
	control, _ := net.Pipe()
	a, err := s.newAssociation(&client{Conn: control, source: netip.AddrPortFrom(local, 1), local: local})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.end)
	return a
}

// nowhere is a flow that counts what is sent.
type nowhere struct{ sends, pkts int }

func (n *nowhere) Send(_ *buf.Buf, pkts [][]byte) { n.sends++; n.pkts += len(pkts) }
func (n *nowhere) Close()                         {}

// opening returns an UDP.Open that always returns f, and keeps its deliver.
func opening(f Flow, deliver *func(netip.Addr, [][]byte)) UDP {
	return UDP{Open: func(_ string, _ uint16, d func(netip.Addr, [][]byte), _ func(error)) Flow {
		*deliver = d
		return f
	}, Options: gso.Options{GSO: true, GRO: true, Stats: new(stats.UDP)}}
}

// What stands together in a train and goes to one destination goes together,
// in order, whatever is dropped between.
func TestTrains(t *testing.T) {
	n := newFarSide()
	a := bare(t, UDP{Open: n.open})
	toB := toIPv4[:7] + "\x06" + toIPv4[8:]
	fragment := "\x00\x00\x01" + toIPv4[3:]
	peer := netip.MustParseAddrPort("127.0.0.1:999")
	one := train(peer, toIPv4+"a", toIPv4+"b", fragment+"!", toIPv4+"c", toB+"d", toB+"e", toIPv4+"f", toIPv4[:8]+"\x00\x00!", toIPv4+"g")
	one.Buf.B = append(one.Buf.B, toIPv4...) // the last one may be shorter
	a.take(&one)
	f, g := n.next(t, "203.0.113.5"), n.next(t, "203.0.113.6")
	f.want(t, "a", "b", "c")
	g.want(t, "d", "e")
	f.want(t, "f")
	f.want(t, "g", "")
	two := train(netip.MustParseAddrPort("127.0.0.1:998"), toIPv4+"a", toIPv4+"b")
	a.take(&two)
	one.Buf.Release()
	two.Buf.Release()
	st := a.udp.Options.Stats
	if st.Dropped[stats.DropFragment].Load() != 1 || st.Dropped[stats.DropName].Load() != 1 || st.Dropped[stats.DropSource].Load() != 2 {
		t.Error("not counted")
	}
}

func TestNoAllocsPerDatagram(t *testing.T) {
	flow, deliver := new(nowhere), (func(netip.Addr, [][]byte))(nil)
	a := bare(t, opening(flow, &deliver))
	app, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	peer := addrPort(app.LocalAddr())
	payload := strings.Repeat("x", 1200)
	for name, to := range map[string]string{"IPv4": toIPv4, "IPv6": toIPv6, "a name": toHost("a.test", 1), "as first written": toHost("B.Test.", 1)} {
		in := train(peer, to+payload, to+payload, to+payload)
		a.take(&in) // opens the flow
		if n := testing.AllocsPerRun(1000, func() { a.take(&in) }); n != 0 {
			t.Errorf("%s: %v allocations for a train in", name, n)
		}
		in.Buf.Release()
	}
	pkts := [][]byte{[]byte(payload), []byte(payload)}
	for name, from := range map[string]netip.Addr{"no address": {}, "IPv4": netip.MustParseAddr("203.0.113.5"), "IPv6": netip.MustParseAddr("2001:db8::1")} {
		for range 200 {
			deliver(from, pkts) // fills pools
		}
		if n := testing.AllocsPerRun(1000, func() { deliver(from, pkts) }); n != 0 {
			t.Errorf("%s: %v allocations for replies", name, n)
		}
	}
}

// idleAssociations opens n of them and returns what one of them costs, in
// bytes of heap and stacks. Their applications' ends are in this process too.
func idleAssociations(t testing.TB, n int) (bytes float64, goroutines float64) {
	t.Helper()
	server := New(Config{UDP: &UDP{Open: newFarSide().open}, HandshakeTimeout: time.Minute})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- server.Serve(ln) }()
	var conns []net.Conn
	open := func() {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		conn.Write([]byte("\x05\x01\x00" + associate5))
		got := 0
		for b := make([]byte, 12); got < len(b); {
			k, err := conn.Read(b[got:])
			if err != nil {
				t.Fatal(err)
			}
			got += k
		}
	}
	var before, after runtime.MemStats
	open()
	runtime.GC() // two empty the pools
	runtime.GC()
	runtime.ReadMemStats(&before)
	had := runtime.NumGoroutine()
	for range n {
		open()
	}
	for runtime.NumGoroutine() != had+2*n { // no handshake is left
		runtime.Gosched()
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	used := func(m *runtime.MemStats) float64 { return float64(m.HeapAlloc + m.StackInuse) }
	bytes, goroutines = (used(&after)-used(&before))/float64(n), float64(runtime.NumGoroutine()-had)/float64(n)
	for _, c := range conns {
		c.Close()
	}
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-served
	return bytes, goroutines
}

// As for idle connections: 10,000 of them, 20 KB each.
func TestIdleAssociation(t *testing.T) {
	bytes, goroutines := idleAssociations(t, 100)
	t.Logf("%.0f bytes, %v goroutines", bytes, goroutines)
	if bytes > 20_000 || goroutines > 2 {
		t.Errorf("an idle association costs %.0f bytes and %v goroutines", bytes, goroutines)
	}
}

func BenchmarkDatagramIn(b *testing.B) {
	for _, size := range []int{100, 1200} {
		b.Run(map[int]string{100: "small", 1200: "full"}[size], func(b *testing.B) {
			flow, deliver := new(nowhere), (func(netip.Addr, [][]byte))(nil)
			a := bare(b, opening(flow, &deliver))
			in := train(netip.MustParseAddrPort("127.0.0.1:999"), toIPv4+strings.Repeat("x", size))
			in.Size = 0
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				a.take(&in)
			}
		})
	}
}

func BenchmarkTrainIn(b *testing.B) {
	flow, deliver := new(nowhere), (func(netip.Addr, [][]byte))(nil)
	a := bare(b, opening(flow, &deliver))
	datagram := toIPv4 + strings.Repeat("x", 1200)
	var all []string
	for range 50 {
		all = append(all, datagram)
	}
	in := train(netip.MustParseAddrPort("127.0.0.1:999"), all...)
	b.SetBytes(50 * 1200)
	b.ReportAllocs()
	for b.Loop() {
		a.take(&in)
	}
}

// Replies of one answer, 50 datagrams, to a socket that nobody reads.
func BenchmarkReplies(b *testing.B) {
	flow, deliver := new(nowhere), (func(netip.Addr, [][]byte))(nil)
	u := opening(flow, &deliver)
	a := bare(b, u)
	app, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	defer app.Close()
	in := train(addrPort(app.LocalAddr()), toIPv4+"x")
	a.take(&in)
	var pkts [][]byte
	for range 50 {
		pkts = append(pkts, make([]byte, 1200))
	}
	b.SetBytes(50 * 1200)
	b.ReportAllocs()
	for b.Loop() {
		deliver(netip.Addr{}, pkts)
	}
	st := a.udp.Options.Stats
	if trains := st.Sent.Trains.Load(); trains > 0 {
		b.ReportMetric(float64(st.Sent.Datagrams.Load())/float64(trains), "datagrams/train")
	}
	b.ReportMetric(float64(st.Dropped[stats.DropQueue].Load())/float64(b.N), "dropped/op")
}
