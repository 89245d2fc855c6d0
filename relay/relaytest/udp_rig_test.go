package relaytest

import (
	"bytes"
	"errors"
	"math"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/stats"
)

// associate opens an association for the time of the test.
func associate(t testing.TB, s *Stack) *Association {
	t.Helper()
	a, err := s.Associate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// packetHandler is what ServePackets runs.
type packetHandler = func(c net.PacketConn, from net.Addr, p []byte)

// servePackets has handle answer what comes to the address that it returns.
func (s *Stack) servePackets(t testing.TB, handle packetHandler) string {
	t.Helper()
	return s.servePacketsAt(t, s.loopback(), handle)
}

func (s *Stack) servePacketsAt(t testing.TB, addr string, handle packetHandler) string {
	t.Helper()
	listen := listenPacket
	if m := s.config.Memory; m != nil {
		listen = m.ListenPacket
	}
	c, err := listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() { ServePackets(c, handle) })
	t.Cleanup(func() { c.Close(); served.Wait() })
	return c.LocalAddr().String()
}

// put sends p to addr.
func put(t testing.TB, c net.PacketConn, addr string, p []byte) {
	t.Helper()
	if _, err := c.WriteTo(p, packetAddr(addr)); err != nil {
		t.Errorf("sending %d bytes to %s: %v", len(p), addr, err)
	}
}

// get takes the next datagram that comes within d.
func get(c net.PacketConn, d time.Duration) (p []byte, from string, err error) {
	return getInto(c, make([]byte, maxDatagram6), d)
}

// getInto is get with a buffer, which p is the beginning of.
func getInto(c net.PacketConn, b []byte, d time.Duration) (p []byte, from string, err error) {
	_ = c.SetReadDeadline(time.Now().Add(d))
	n, addr, err := c.ReadFrom(b)
	if err != nil {
		return nil, "", err
	}
	return b[:n], addr.String(), nil
}

// soon is how long an answer may take that no fault holds up.
const soon = 10 * time.Second

// wantEcho sends p, and checks that it and nothing else comes back. It returns
// how long that took.
func wantEcho(t testing.TB, c net.PacketConn, addr string, p []byte) time.Duration {
	t.Helper()
	return wantEchoFrom(t, c, addr, addr, p)
}

// wantEchoFrom is wantEcho of an answer with another address on it.
func wantEchoFrom(t testing.TB, c net.PacketConn, addr, answers string, p []byte) time.Duration {
	t.Helper()
	return elapsed(func() {
		put(t, c, addr, p)
		got, from, err := get(c, soon)
		if err != nil || from != answers || !bytes.Equal(got, p) {
			t.Errorf("of %d bytes to %s came %d of %s, %v", len(p), addr, len(got), from, err)
		}
	})
}

// wantSilence checks that nothing comes for d.
func wantSilence(t testing.TB, c net.PacketConn, d time.Duration) {
	t.Helper()
	if p, from, err := get(c, d); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes of %s came, %v", len(p), from, err)
	}
}

// gather reads numbered datagrams until none comes for soon. sent says when each
// was sent.
func gather(c net.PacketConn, sent func(i int) time.Time) tally {
	return gatherSome(c, math.MaxInt, sent)
}

// gatherSome is gather of n at most, for where time is real.
func gatherSome(c net.PacketConn, n int, sent func(i int) time.Time) tally {
	got := tally{seen: make(map[int]int)}
	last := -1
	b := make([]byte, maxDatagram6)
	for len(got.took) < n {
		p, _, err := getInto(c, b, soon)
		if err != nil {
			break
		}
		got.add(numberOf(p), &last, sent)
	}
	return got
}

// want checks that each of n came, once, and in order if ordered.
func (y *tally) want(t testing.TB, who string, n int, ordered bool) {
	t.Helper()
	if len(y.seen) != n || len(y.took) != n || y.foreign > 0 || ordered && y.overtaking > 0 {
		t.Errorf("%s got %d datagrams of %d, %d in all, %d not in order, %d foreign",
			who, len(y.seen), n, len(y.took), y.overtaking, y.foreign)
	}
}

// run is keep in a test.
func (e *echoes) run(t testing.TB, more func(sent int) bool) tally {
	got, err := e.keep(more)
	if err != nil {
		t.Error(err)
	}
	return got
}

// dropped is what a side dropped, by reason.
func dropped(u *stats.UDP) map[string]uint64 {
	m := make(map[string]uint64)
	for why := range stats.Drops {
		if n := u.Dropped[why].Load(); n > 0 {
			m[why.String()] = n
		}
	}
	return m
}

// wantDrops checks that a side dropped n for one reason, and none for others.
func wantDrops(t testing.TB, who string, u *stats.UDP, why stats.Drop, n uint64) {
	t.Helper()
	if got := dropped(u); len(got) != 1 || got[why.String()] != n {
		t.Errorf("%s dropped %v, want %d for %s", who, got, n, why)
	}
}

// wantNoDrops checks that neither side dropped anything.
func (s *Stack) wantNoDrops(t testing.TB) {
	t.Helper()
	if p, n := dropped(s.UDP), dropped(s.NodeUDP); len(p)+len(n) > 0 {
		t.Errorf("the proxy dropped %v, the node %v", p, n)
	}
}

// wantNoUDP checks that both sides have let go of all flows. It needs virtual
// time.
func (s *Stack) wantNoUDP(t testing.TB) {
	t.Helper()
	synctest.Wait()
	if n := s.UDP.FlowsOpen.Load(); n != 0 {
		t.Errorf("the proxy has %d UDP flows left", n)
	}
	if s.Node == nil {
		return
	}
	if n := s.NodeUDP.FlowsOpen.Load(); n != 0 || s.Node.Stats().Sessions != 0 || s.Node.Stats().Memory != 0 {
		t.Errorf("the node has %d UDP flows left, %d sessions, %d bytes", n, s.Node.Stats().Sessions, s.Node.Stats().Memory)
	}
}

// the addresses of targets in memory (RFC 5737 and RFC 3849: documentation)
var (
	target4 = netip.MustParseAddr("203.0.113.7")
	target6 = netip.MustParseAddr("2001:db8::7")
)

const targetName = "echo.test"

// at is addr with a port.
func at(addr netip.Addr, port uint16) string { return netip.AddrPortFrom(addr, port).String() }
