package relaytest

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// packetPair is a connected socket and the unconnected one that it leads to.
func packetPair(t *testing.T, n *Network, addr string) (net.Conn, net.PacketConn) {
	t.Helper()
	far, err := n.ListenPacket(addr)
	check(t, err)
	t.Cleanup(func() { far.Close() })
	near, err := n.Dial(t.Context(), "udp", far.LocalAddr().String())
	check(t, err)
	t.Cleanup(func() { near.Close() })
	return near, far
}

// TestPacketsKeepTheirBorders, both ways, down to none at all.
func TestPacketsKeepTheirBorders(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0", "named.test:53"} {
		near, far := packetPair(t, new(Network), addr)
		for _, size := range []int{0, 1, 1200, 9001, maxDatagram4} {
			_, err := near.Write(make([]byte, size))
			check(t, err)
		}
		p := make([]byte, maxDatagram6)
		for _, size := range []int{0, 1, 1200, 9001, maxDatagram4} {
			n, from, err := far.ReadFrom(p)
			if err != nil || n != size || from.String() != near.LocalAddr().String() {
				t.Fatalf("%s: read %d bytes of %v, %v; want %d", addr, n, from, err, size)
			}
			_, err = far.WriteTo(p[:n], from)
			check(t, err)
			if n, err = near.Read(p); err != nil || n != size {
				t.Fatalf("%s: %d bytes came back, %v", addr, n, err)
			}
		}
	}
}

// TestPacketLargest: on both sides of what the length field can say.
func TestPacketLargest(t *testing.T) {
	for addr, most := range map[string]int{"127.0.0.1:0": 65507, "[::1]:0": 65527} {
		near, _ := packetPair(t, new(Network), addr)
		if _, err := near.Write(make([]byte, most)); err != nil {
			t.Errorf("%d bytes to %s: %v", most, addr, err)
		}
		if _, err := near.Write(make([]byte, most+1)); !errors.Is(err, syscall.EMSGSIZE) {
			t.Errorf("%d bytes to %s: %v", most+1, addr, err)
		}
	}
}

// TestPacketsTooLongForTheReader are cut, as any UDP socket does.
func TestPacketsTooLongForTheReader(t *testing.T) {
	near, far := packetPair(t, new(Network), "127.0.0.1:0")
	for _, text := range []string{"hello", "you"} {
		writeAll(t, near, text)
	}
	p := make([]byte, 3)
	for _, want := range []string{"hel", "you"} {
		if n, _, err := far.ReadFrom(p); err != nil || string(p[:n]) != want {
			t.Errorf("read %q, %v", p[:n], err)
		}
	}
}

// TestPacketsOfStrangers do not reach a connected socket.
func TestPacketsOfStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n Network
		near, _ := packetPair(t, &n, "127.0.0.1:0")
		stranger, err := n.ListenPacket("127.0.0.1:0")
		check(t, err)
		_, err = stranger.WriteTo([]byte("psst"), near.LocalAddr())
		check(t, err)
		within(t, near, time.Second)
		if _, err := near.Read(make([]byte, 9)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read ended by %v", err)
		}
	})
}

// TestPacketQueueIsBounded: the newest do not fit, and are counted.
func TestPacketQueueIsBounded(t *testing.T) {
	near, far := packetPair(t, new(Network), "127.0.0.1:0")
	const size = socketQueue/64 - datagramOverhead
	for i := range 70 {
		_, err := near.Write(bytes.Repeat([]byte{byte(i)}, size))
		check(t, err)
	}
	if n := far.(*PacketConn).Dropped(); n != 6 {
		t.Errorf("%d dropped, want 6", n)
	}
	p := make([]byte, size)
	for i := range 64 {
		if n, _, err := far.ReadFrom(p); err != nil || n != size || p[0] != byte(i) {
			t.Fatalf("the %d. is %d bytes of %d, %v", i, n, p[0], err)
		}
	}
	_, err := near.Write(nil)
	check(t, err)
	if n, _, err := far.ReadFrom(p); n != 0 || err != nil {
		t.Errorf("after room was made: %d bytes, %v", n, err)
	}
}

// TestPacketRefused: by a peer that was never there, and by one that has gone.
// The call after tells it, once.
func TestPacketRefused(t *testing.T) {
	var n Network
	near, far := packetPair(t, &n, "127.0.0.1:53")
	check(t, far.Close())
	writeAll(t, near, "anybody")
	if _, err := near.Read(make([]byte, 9)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("reading: %v", err)
	}
	writeAll(t, near, "still nobody")
	if _, err := near.Write(nil); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("writing: %v", err)
	}
	far, err := n.ListenPacket("127.0.0.1:53")
	check(t, err)
	defer far.Close()
	writeAll(t, near, "back")
	p := make([]byte, 9)
	if k, _, err := far.ReadFrom(p); err != nil || string(p[:k]) != "back" {
		t.Errorf("read %q, %v", p[:k], err)
	}
	free, err := n.ListenPacket("127.0.0.1:0")
	check(t, err)
	defer free.Close()
	for range 2 { // an unconnected socket never hears of it
		_, err = free.WriteTo([]byte("anybody"), packetAddr("127.0.0.1:9"))
		check(t, err)
	}
}

func TestPacketAddresses(t *testing.T) {
	var n Network
	near, far := packetPair(t, &n, "[2001:db8::53]:53")
	if a, ok := near.RemoteAddr().(*net.UDPAddr); !ok || a.AddrPort().String() != "[2001:db8::53]:53" {
		t.Errorf("the remote address is %v", near.RemoteAddr())
	}
	if a := near.LocalAddr().(*net.UDPAddr); !a.IP.Equal(net.IPv6loopback) {
		t.Errorf("the local address is %v", a)
	}
	if _, err := n.ListenPacket(far.LocalAddr().String()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("listening twice: %v", err)
	}
	if _, err := n.Listen(far.LocalAddr().String()); err != nil {
		t.Errorf("TCP on a port of UDP: %v", err)
	}
	n.SetName("dns.test", netip.MustParseAddr("2001:db8::53"))
	named, err := n.Dial(t.Context(), "udp", "dns.test:53")
	check(t, err)
	defer named.Close()
	if named.RemoteAddr().String() != far.LocalAddr().String() {
		t.Errorf("the name led to %v", named.RemoteAddr())
	}
	if _, err := near.(*PacketConn).WriteTo(nil, far.LocalAddr()); !errors.Is(err, net.ErrWriteToConnected) {
		t.Errorf("WriteTo of a connected socket: %v", err)
	}
	if _, err := far.(*PacketConn).Write(nil); !errors.Is(err, syscall.EDESTADDRREQ) {
		t.Errorf("Write of an unconnected socket: %v", err)
	}
}

func TestPacketDeadlinesAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := packetPair(t, new(Network), "127.0.0.1:0")
		within(t, near, time.Minute)
		took := elapsed(func() {
			if _, err := near.Read(nil); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("reading: %v", err)
			}
		})
		if took != time.Minute {
			t.Errorf("gave up after %v", took)
		}
		if _, err := near.Write(nil); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("writing: %v", err)
		}
		time.AfterFunc(time.Second, func() { far.Close() })
		if _, _, err := far.ReadFrom(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("reading a socket that is closed: %v", err)
		}
		if _, err := far.WriteTo(nil, near.LocalAddr()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("writing to a closed socket: %v", err)
		}
		if err := far.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closing twice: %v", err)
		}
	})
}

// TestPath: what comes through one that does everything, and that the same seed
// does the same.
func TestPath(t *testing.T) {
	run := func(seed uint64) (got string) {
		synctest.Test(t, func(t *testing.T) {
			var n Network
			near, far := packetPair(t, &n, "192.0.2.1:53")
			n.SetPath("192.0.2.1", Path{Delay: 100 * time.Millisecond, Lose: 4, Duplicate: 4, Late: 4, LateBy: time.Second}, seed)
			began := time.Now()
			for i := range 20 {
				writeAll(t, near, string(rune('a'+i)))
			}
			check(t, far.SetReadDeadline(began.Add(time.Minute)))
			p := make([]byte, 1)
			for {
				if _, _, err := far.ReadFrom(p); err != nil {
					return
				}
				got += string(p)
				if took := time.Since(began); took != 100*time.Millisecond && took != 1100*time.Millisecond {
					t.Errorf("%s arrived after %v", p, took)
				}
			}
		})
		return got
	}
	first := run(1)
	t.Log(first)
	if again := run(1); again != first {
		t.Errorf("the same seed made %s of %s", again, first)
	}
	if run(2) == first {
		t.Error("another seed did the same")
	}
	if len(first) < 10 || len(first) > 26 {
		t.Errorf("%d of 20 arrived", len(first))
	}
}

// TestPathKeepsOrder: what is sent at one instant arrives in that order.
func TestPathKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n Network
		near, far := packetPair(t, &n, "192.0.2.1:53")
		n.SetPath("192.0.2.1", Path{Delay: time.Second}, 0)
		for i := range 200 {
			_, err := near.Write([]byte{byte(i)})
			check(t, err)
		}
		p := make([]byte, 1)
		for i := range 200 {
			if _, _, err := far.ReadFrom(p); err != nil || p[0] != byte(i) {
				t.Fatalf("the %d. is %d, %v", i, p[0], err)
			}
		}
	})
}
