package relaytest

import (
	"encoding/binary"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"relaymux/mux"
	"relaymux/mux/stats"
)

// crowdAddr is the i-th of very many destinations.
func crowdAddr(i int) string {
	a := netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})
	return netip.AddrPortFrom(a, 6881).String()
}

// TestHostile26_PageBesideCrowd: a program that looks for peers, two thousand
// destinations a second with a datagram each, leaves a page as fast as it is, also
// where nothing is ever stale.
func TestHostile26_PageBesideCrowd(t *testing.T) {
	t.Parallel()
	rate := crowd(2000)
	page := func(stale time.Duration, beside bool) (took time.Duration) {
		virtual(t, StackConfig{Scripts: 2, Mux: func(c *mux.Config) { c.Stale = stale }}, func(t *testing.T, s *Stack) {
			if beside {
				a := associate(t, s)
				done, ended := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(ended)
					for i := 0; ; i++ {
						select {
						case <-done:
							return
						case <-time.After(time.Second / time.Duration(rate)):
						}
						put(t, a, crowdAddr(i), make([]byte, 100))
					}
				}()
				defer func() { close(done); <-ended }()
				time.Sleep(10 * time.Second)
			}
			web := s.origin(t, Origin())
			c := s.browser(12)
			defer c.CloseIdleConnections()
			took = elapsed(func() {
				if n := loadPage(t, c, web, 20, 2000); n > 0 {
					t.Errorf("%d objects failed", n)
				}
			})
		})
		return took
	}
	for _, stale := range []time.Duration{0, 3 * time.Second} {
		if with, without := page(stale, true), page(stale, false); with > without*13/10 {
			t.Errorf("stale %v: %v beside the crowd, %v without", stale, with, without)
		}
	}
}

// TestHostile25_CrowdMemory: every datagram goes to another destination, and the
// relay answers none. What was evicted does not pile up.
func TestHostile25_CrowdMemory(t *testing.T) {
	release := make(chan struct{})
	s := NewStack(t, StackConfig{
		Foreign: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}),
		Mux: func(c *mux.Config) { c.Memory = 16 << 20 },
	})
	t.Cleanup(func() { close(release) })
	a := associate(t, s)
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before, p := heap(), make([]byte, 1000)
	for i := range crowd(50_000) {
		put(t, a, crowdAddr(i), p)
	}
	if grown := (heap() - before) >> 20; grown > 32 {
		t.Errorf("the heap has grown by %d MiB", grown)
	}
	if n := s.UDP.Flows.Load(); n < 256 {
		t.Errorf("only %d flows were opened", n)
	}
}

// TestUDPDownload: 12 Mbit/s that nothing of the application's asks for, by a
// relay of 1.5 s, arrive whole.
func TestUDPDownload(t *testing.T) {
	t.Parallel()
	virtual(t, StackConfig{Scripts: 1}, func(t *testing.T, s *Stack) {
		const size, burst, n = 1200, 10, 10_000
		addr := s.servePacketsAt(t, at(target4, 7), func(c net.PacketConn, from net.Addr, p []byte) {
			go func() {
				for i := range n {
					q := make([]byte, size)
					binary.BigEndian.PutUint64(q, uint64(i))
					_, _ = c.WriteTo(q, from)
					if i%burst == burst-1 {
						time.Sleep(burst * size * 8 * time.Second / 12e6)
					}
				}
			}()
		})
		a := associate(t, s)
		put(t, a, addr, []byte("go"))
		got, b := 0, make([]byte, 2*size)
		for {
			if _, _, err := getInto(a, b, soon); err != nil {
				break
			}
			got++
		}
		if got != n {
			t.Errorf("%d of %d arrived; the node dropped %v, the proxy %v", got, n, dropped(s.NodeUDP), dropped(s.UDP))
		}
	})
}

// TestUDPClosedPort: a program that goes on trying a port where nobody listens
// does not use an exchange up each time.
func TestUDPClosedPort(t *testing.T) {
	t.Parallel()
	virtual(t, StackConfig{Scripts: 1}, func(t *testing.T, s *Stack) {
		a := associate(t, s)
		count := s.exchanges()
		for range 240 {
			put(t, a, at(target4, 9), []byte("anybody?"))
			time.Sleep(time.Second / 2)
		}
		if n := count(); n > 30 {
			t.Errorf("%d exchanges in two minutes", n)
		}
		if s.UDP.Dropped[stats.DropEnded].Load()+s.UDP.Dropped[stats.DropDenied].Load() == 0 {
			t.Error("nothing was counted")
		}
	})
}

// TestUDPPushIntoSilence: a flow lasts as long as README says, the node's end
// included.
func TestUDPPushIntoSilence(t *testing.T) {
	t.Parallel()
	virtual(t, StackConfig{Scripts: 1}, func(t *testing.T, s *Stack) {
		say := make(chan func(), 1)
		addr := s.servePacketsAt(t, at(target4, 7), func(c net.PacketConn, from net.Addr, p []byte) {
			EchoPacket(c, from, p)
			say <- func() { _, _ = c.WriteTo([]byte("you are called"), from) }
		})
		a := associate(t, s)
		wantEcho(t, a, addr, []byte("hello"))
		push := <-say
		time.Sleep(110 * time.Second)
		push()
		if p, _, err := get(a, time.Minute); string(p) != "you are called" {
			t.Errorf("got %q, %v", p, err)
		}
	})
}
