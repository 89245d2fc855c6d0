package gso

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/stats"
)

// listen returns a socket of its own port on loopback.
func listen(t testing.TB, network string) *net.UDPConn {
	t.Helper()
	host := "127.0.0.1:0"
	if network == "udp6" {
		host = "[::1]:0"
	} else if network == "udp" {
		host = ":0" // both families
	}
	addr, err := net.ResolveUDPAddr(network, host)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenUDP(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func dial(t testing.TB, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// portOf is where a loopback peer of that network reaches c.
func portOf(c net.PacketConn, network string) netip.AddrPort {
	port := c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	if network == "udp6" {
		return netip.AddrPortFrom(netip.IPv6Loopback(), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}

// datagram makes the i-th datagram of size bytes; no two are alike, if they are
// not shorter than 4 bytes.
func datagram(i, size int) []byte {
	p := bytes.Repeat([]byte{byte(i)}, size)
	if size >= 4 {
		binary.BigEndian.PutUint32(p, uint32(i))
	}
	return p
}

// trainOf makes a train of datagrams from the first on.
func trainOf(peer netip.AddrPort, first int, sizes ...int) Train {
	total := 0
	for _, n := range sizes {
		total += n
	}
	t := Train{Peer: peer, Buf: buf.Get(min(total, buf.Max))}
	if len(sizes) > 1 {
		t.Size = sizes[0]
	}
	for i, n := range sizes {
		t.Buf.B = append(t.Buf.B, datagram(first+i, n)...)
	}
	return t
}

func same(n, size int) []int {
	sizes := make([]int, n)
	for i := range sizes {
		sizes[i] = size
	}
	return sizes
}

// expect reads from c datagrams 0, 1 and so on of these sizes, in order.
func expect(t *testing.T, c Conn, from netip.AddrPort, sizes ...int) (trains int) {
	t.Helper()
	ts := make([]Train, 4)
	for i := 0; i < len(sizes); {
		n, err := c.ReadTrains(ts)
		if err != nil {
			t.Fatalf("after %d of %d datagrams: %v", i, len(sizes), err)
		}
		for k := range ts[:n] {
			tr := &ts[k]
			if tr.Peer != from {
				t.Fatalf("a train from %v, not %v", tr.Peer, from)
			}
			for j := range tr.Count() {
				if i >= len(sizes) {
					t.Fatalf("a datagram of %d bytes too many", len(tr.At(j)))
				}
				if !bytes.Equal(tr.At(j), datagram(i, sizes[i])) {
					t.Fatalf("datagram %d: got %d bytes %x..., want %d bytes of number %d", i, len(tr.At(j)), tr.At(j)[:min(8, len(tr.At(j)))], sizes[i], i)
				}
				i++
			}
			tr.Buf.Release()
			trains++
		}
	}
	return trains
}

// The same content arrives in the same order over every kind of socket, whatever
// of the system's help is on.
func TestConn(t *testing.T) {
	sizes := []int{1200, 1200, 1200, 700, 0, 9, 9, 9, 1400, 100, 100}
	trains := func(peer netip.AddrPort) []Train {
		return []Train{
			trainOf(peer, 0, 1200, 1200, 1200, 700), trainOf(peer, 4, 0), trainOf(peer, 5, 9, 9, 9),
			trainOf(peer, 8, 1400), trainOf(peer, 9, 100, 100),
		}
	}
	for _, network := range []string{"udp4", "udp6", "mapped"} {
		for _, connected := range []bool{false, true} {
			for _, kind := range []string{"off", "gso", "gro", "gso+gro", "portable"} {
				t.Run(fmt.Sprint(network, " connected=", connected, " ", kind), func(t *testing.T) {
					o := Options{GSO: kind == "gso" || kind == "gso+gro", GRO: kind == "gro" || kind == "gso+gro"}
					family := network
					if network == "mapped" {
						family = "udp" // a socket of both families that speaks IPv4
					}
					st := new(stats.UDP)
					o.Stats = st
					in := listen(t, family)
					to := portOf(in, network)
					var sock *net.UDPConn
					var w, r Conn
					var named netip.AddrPort // a connected socket's trains have no name on them
					if connected {
						sock = dial(t, to)
						w = NewConnected(sock, o)
					} else {
						sock = listen(t, family)
						w, named = New(sock, o), to
					}
					r = New(in, o)
					if kind == "portable" {
						r = newPortable(in, nil, o)
						w = newPortable(sock, nil, o)
						if connected {
							w = newPortable(nil, sock, o)
						}
					}
					from := portOf(sock, network)
					ts := trains(named)
					sent, err := w.WriteTrains(ts)
					if err != nil || sent != len(sizes) {
						t.Fatalf("sent %d of %d, %v", sent, len(sizes), err)
					}
					got := expect(t, r, from, sizes...)
					if st.Sent.Datagrams.Load() != uint64(len(sizes)) || st.Received.Datagrams.Load() != uint64(len(sizes)) {
						t.Errorf("counted %d sent and %d received", st.Sent.Datagrams.Load(), st.Received.Datagrams.Load())
					}
					if runtime.GOOS == "linux" && kind == "gso+gro" {
						if got != len(ts) || st.Sent.Trains.Load() != uint64(len(ts)) {
							t.Errorf("%d trains were %d on the way and %d at the end", len(ts), st.Sent.Trains.Load(), got)
						}
					}
					// And back, to the address that was read.
					if _, err := r.WriteTrains(trains(from)); err != nil {
						t.Fatal(err)
					}
					back := to
					if connected {
						back = netip.AddrPort{}
					}
					expect(t, w, back, sizes...)
					for i := range st.Dropped {
						if n := st.Dropped[i].Load(); n > 0 {
							t.Errorf("dropped %d: %v", n, stats.Drop(i))
						}
					}
					for i := range ts {
						ts[i].Buf.Release()
					}
				})
			}
		}
	}
}

// What one send may carry, on both sides of each limit, as the system sees it.
func TestHostile24_ConnLimits(t *testing.T) {
	for _, c := range []struct {
		network  string
		n, size  int
		arriving bool
	}{
		{"udp4", 63, 100, true}, {"udp4", 64, 100, true}, {"udp4", 65, 100, true},
		{"udp4", 127, 100, true}, {"udp4", 128, 100, true}, {"udp4", 129, 100, true},
		{"udp6", 128, 100, true}, {"udp6", 129, 100, true},
		{"udp4", 1, 65507, true}, {"udp4", 1, 65508, false},
		{"udp6", 1, 65527, true}, {"udp6", 1, 65528, false},
		{"mapped", 1, 65507, true}, {"mapped", 1, 65508, false},
		{"udp4", 65, 1000, true}, {"udp4", 3, 21835, true}, {"udp4", 3, 21836, true},
		{"udp6", 3, 21842, true}, {"udp6", 3, 21843, true},
	} {
		t.Run(fmt.Sprint(c.network, " ", c.n, "x", c.size), func(t *testing.T) {
			st := new(stats.UDP)
			o := Options{GSO: true, GRO: true, Stats: st}
			family := c.network
			if family == "mapped" {
				family = "udp"
			}
			in, out := listen(t, family), listen(t, family)
			r, w := New(in, o), New(out, o)
			tr := trainOf(portOf(in, c.network), 0, same(c.n, c.size)...)
			defer tr.Buf.Release()
			sent, err := w.WriteTrains([]Train{tr})
			if err != nil {
				t.Fatal(err)
			}
			if !c.arriving {
				if sent != 0 || st.Dropped[stats.DropTooLarge].Load() != 1 {
					t.Fatalf("sent %d, counted %d as too large", sent, st.Dropped[stats.DropTooLarge].Load())
				}
				return
			}
			if sent != c.n {
				t.Fatalf("sent %d of %d", sent, c.n)
			}
			expect(t, r, portOf(out, c.network), same(c.n, c.size)...)
			if runtime.GOOS == "linux" && st.Fallback[stats.FallbackSize].Load()+st.Fallback[stats.FallbackInvalid].Load() > 0 {
				t.Error("the system refused what the planner let pass")
			}
		})
	}
}

// A peer that is not there ends neither the reading nor the writing of a socket
// that others use too.
func TestConnUnreachablePeer(t *testing.T) {
	in, out := listen(t, "udp4"), listen(t, "udp4")
	gone := listen(t, "udp4")
	nobody := portOf(gone, "udp4")
	gone.Close()
	r, w := New(in, Options{}), New(out, Options{GSO: true})
	a, b := trainOf(nobody, 0, 5, 5), trainOf(portOf(in, "udp4"), 0, 5, 5)
	defer a.Buf.Release()
	defer b.Buf.Release()
	for range 3 {
		if _, err := w.WriteTrains([]Train{a, b}); err != nil {
			t.Fatal(err)
		}
		expect(t, r, portOf(out, "udp4"), 5, 5)
	}
	if _, err := r.WriteTrains([]Train{{Peer: portOf(out, "udp4"), Buf: b.Buf, Size: 5}}); err != nil {
		t.Fatal(err)
	}
	expect(t, w, portOf(in, "udp4"), 5, 5)
}

// A connected socket tells that nobody is there.
func TestConnRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows does not tell")
	}
	for _, kind := range []string{"best", "portable"} {
		t.Run(kind, func(t *testing.T) {
			gone := listen(t, "udp4")
			nobody := portOf(gone, "udp4")
			gone.Close()
			sock := dial(t, nobody)
			c := NewConnected(sock, Options{GSO: true})
			if kind == "portable" {
				c = newPortable(nil, sock, Options{Stats: new(stats.UDP)})
			}
			tr := trainOf(netip.AddrPort{}, 0, 5)
			defer tr.Buf.Release()
			if _, err := c.WriteTrains([]Train{tr}); err != nil {
				t.Fatal(err)
			}
			if _, err := c.ReadTrains(make([]Train, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Fatalf("read: %v", err)
			}
			if sent, err := c.WriteTrains([]Train{tr}); err != nil || sent != 1 {
				t.Fatalf("sent %d, %v: it was told already", sent, err)
			}
			// The news of that one comes with the next, which goes out all the same.
			if sent, err := c.WriteTrains([]Train{tr}); !errors.Is(err, syscall.ECONNREFUSED) || sent != 1 {
				t.Fatalf("sent %d, %v", sent, err)
			}
		})
	}
}

// A datagram to an address that the socket's family does not have is counted,
// and nobody else's matter.
func TestConnWrongFamily(t *testing.T) {
	for _, kind := range []string{"best", "portable"} {
		t.Run(kind, func(t *testing.T) {
			st := new(stats.UDP)
			in, out := listen(t, "udp4"), listen(t, "udp4")
			w := New(out, Options{GSO: true, Stats: st})
			if kind == "portable" {
				w = newPortable(out, nil, Options{Stats: st})
			}
			good := trainOf(portOf(in, "udp4"), 0, 7, 7)
			six := trainOf(netip.MustParseAddrPort("[::1]:9"), 0, 7, 7)
			none := trainOf(netip.AddrPort{}, 0, 7)
			sent, err := w.WriteTrains([]Train{six, good, none, six})
			if err != nil || sent != 2 || st.Dropped[stats.DropSocket].Load() != 5 {
				t.Fatalf("sent %d, dropped %d, %v", sent, st.Dropped[stats.DropSocket].Load(), err)
			}
			expect(t, New(in, Options{}), portOf(out, "udp4"), 7, 7)
			for _, tr := range []Train{good, six, none} {
				tr.Buf.Release()
			}
		})
	}
}

// Closing ends a read that waits, and so does its deadline.
func TestConnEnds(t *testing.T) {
	for _, kind := range []string{"best", "portable"} {
		t.Run(kind, func(t *testing.T) {
			sock := listen(t, "udp4")
			c := New(sock, Options{GRO: true})
			if kind == "portable" {
				c = newPortable(sock, nil, Options{Stats: new(stats.UDP)})
			}
			_ = sock.SetReadDeadline(time.Now().Add(-time.Second))
			_, err := c.ReadTrains(make([]Train, 1))
			if e, ok := errors.AsType[net.Error](err); !ok || !e.Timeout() {
				t.Fatalf("deadline: %v", err)
			}
			_ = sock.SetReadDeadline(time.Time{})
			ended := make(chan error)
			go func() {
				_, err := c.ReadTrains(make([]Train, 1))
				ended <- err
			}()
			c.Close()
			if err := <-ended; !errors.Is(err, net.ErrClosed) {
				t.Fatalf("close: %v", err)
			}
			tr := trainOf(portOf(sock, "udp4"), 0, 7)
			if _, err := c.WriteTrains([]Train{tr}); !errors.Is(err, net.ErrClosed) {
				t.Fatalf("write: %v", err)
			}
			tr.Buf.Release()
		})
	}
}

// Small content does not pin a large buffer.
func TestConnFits(t *testing.T) {
	in, out := listen(t, "udp4"), listen(t, "udp4")
	r, w := New(in, Options{GRO: true}), New(out, Options{GSO: true})
	small, large := trainOf(portOf(in, "udp4"), 0, 100), trainOf(portOf(in, "udp4"), 0, same(40, 1000)...)
	defer small.Buf.Release()
	defer large.Buf.Release()
	if _, err := w.WriteTrains([]Train{small, large}); err != nil {
		t.Fatal(err)
	}
	ts := make([]Train, 1)
	for range 2 {
		if _, err := r.ReadTrains(ts); err != nil {
			t.Fatal(err)
		}
		if n := len(ts[0].Buf.B); cap(ts[0].Buf.B) > max(512, 2*n) {
			t.Errorf("%d bytes in a buffer of %d", n, cap(ts[0].Buf.B))
		}
		ts[0].Buf.Release()
	}
}
