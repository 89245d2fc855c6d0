package relaytest

import (
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// udpLoadEnv is for how long TestUDPLoad runs each way, as a Go duration; without
// it, it is skipped.
const udpLoadEnv = "RELAYMUX_UDPLOAD"

// udpLoadWays are those that the load goes: real sockets, by relays without a
// round trip of their own.
var udpLoadWays = []struct {
	name   string
	config *StackConfig // nil: without the program
}{
	{"loopback", nil},
	{"script", &StackConfig{Scripts: 1}},
	{"node", &StackConfig{}},
	{"node-tls", &StackConfig{TLS: true}},
}

// udpLoad runs test with a socket that reaches targets, and a function that
// makes an echo.
func udpLoad(t testing.TB, c *StackConfig, test func(s *Stack, socket func() net.PacketConn, echo func() string)) {
	t.Helper()
	s := &Stack{}
	socket := func() net.PacketConn {
		plain, err := s.ListenPacket()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { plain.Close() })
		return plain
	}
	if c != nil {
		s = NewStack(t, *c)
		socket = func() net.PacketConn { return associate(t, s) }
	}
	test(s, socket, func() string { return s.servePackets(t, EchoPacket) })
}

// TestUDPLoad: 64 echoes of 1,200 bytes outstanding, and 256 destinations at once,
// each by the wire as it is between processes. Nothing may be lost.
func TestUDPLoad(t *testing.T) {
	text := os.Getenv(udpLoadEnv)
	if text == "" {
		t.Skip("set " + udpLoadEnv + " to a duration")
	}
	d, err := time.ParseDuration(text)
	check(t, err)
	for _, w := range udpLoadWays {
		t.Run(w.name+", 64 outstanding", func(t *testing.T) {
			udpLoad(t, w.config, func(s *Stack, socket func() net.PacketConn, echo func() string) {
				began := time.Now()
				e := echoes{c: socket(), to: packetAddr(echo()), outstanding: 64, size: 1200}
				got := e.run(t, func(int) bool { return time.Since(began) < d })
				s.wantLoad(t, &got, len(e.sent), time.Since(began), 2000, 40*time.Millisecond)
			})
		})
		t.Run(w.name+", 256 destinations", func(t *testing.T) {
			udpLoad(t, w.config, func(s *Stack, socket func() net.PacketConn, echo func() string) {
				began := time.Now()
				c := socket()
				targets := make([]net.Addr, 256)
				for i := range targets {
					targets[i] = packetAddr(echo())
				}
				e := rounds{c: c, targets: targets}
				got, sent := e.run(t, func() bool { return time.Since(began) < d/4 })
				s.wantLoad(t, &got, sent, time.Since(began), 0, time.Second)
			})
		})
	}
}

// rounds sends to all targets, waits for all answers, and again.
type rounds struct {
	c       net.PacketConn
	targets []net.Addr
}

func (r *rounds) run(t testing.TB, more func() bool) (got tally, sent int) {
	got, last := tally{seen: make(map[int]int)}, -1
	for more() {
		at, from := time.Now(), sent
		read := make(chan bool)
		go func() { // meanwhile: a socket of the system does not hold them all
			defer close(read)
			p := make([]byte, 2000)
			for range r.targets {
				_ = r.c.SetReadDeadline(at.Add(soon / 2))
				n, _, err := r.c.ReadFrom(p)
				if err != nil {
					return
				}
				got.add(numberOf(p[:n]), &last, func(int) time.Time { return at })
			}
		}()
		for _, to := range r.targets {
			if _, err := r.c.WriteTo(nth(sent, 200), to); err != nil {
				t.Error(err)
			}
			sent++
		}
		if <-read; len(got.seen) != from+len(r.targets) {
			return got, sent
		}
	}
	return got, sent
}

// wantLoad logs what became of a load, and checks that nothing was lost and that
// it was as fast as wanted.
func (s *Stack) wantLoad(t *testing.T, y *tally, sent int, took time.Duration, rate float64, p50 time.Duration) {
	t.Helper()
	perSecond := float64(len(y.took)) / took.Seconds()
	words := ""
	if s.Stats != nil {
		n := s.Stats.Exchanges.Load()
		words = fmt.Sprintf(", %.1f datagrams an exchange; the proxy dropped %v, the node %v",
			float64(sent)/float64(max(n, 1)), dropped(s.UDP), dropped(s.NodeUDP))
	}
	t.Logf("%d echoes, %.0f a second, p50 %v, p99 %v, at most %v, lost %d%s", len(y.seen), perSecond,
		y.quantile(0.5).Round(10*time.Microsecond), y.quantile(0.99).Round(10*time.Microsecond), y.quantile(1).Round(10*time.Microsecond),
		sent-len(y.seen), words)
	if len(y.seen) != sent || y.foreign > 0 || len(y.took) != sent {
		t.Errorf("%d datagrams were sent, %d came back, %d in all, %d foreign", sent, len(y.seen), len(y.took), y.foreign)
	}
	if perSecond < rate || y.quantile(0.5) > p50 {
		t.Errorf("%.0f a second, want %.0f; p50 %v, want %v", perSecond, rate, y.quantile(0.5), p50)
	}
}

// BenchmarkUDPEcho has 64 datagrams of 1,200 bytes outstanding.
func BenchmarkUDPEcho(b *testing.B) {
	for _, w := range udpLoadWays {
		b.Run(w.name, func(b *testing.B) {
			udpLoad(b, w.config, func(s *Stack, socket func() net.PacketConn, echo func() string) {
				e := echoes{c: socket(), to: packetAddr(echo()), outstanding: 64, size: 1200}
				b.ReportAllocs()
				b.ResetTimer()
				got := e.run(b, func(sent int) bool { return sent < b.N })
				b.StopTimer()
				b.ReportMetric(float64(len(got.took))/b.Elapsed().Seconds(), "echoes/s")
				b.ReportMetric(got.quantile(0.5).Seconds()*1e3, "p50-ms")
				b.ReportMetric(got.quantile(0.99).Seconds()*1e3, "p99-ms")
				b.ReportMetric(float64(b.N-len(got.seen)), "lost")
				if s.Stats != nil {
					b.ReportMetric(float64(s.Stats.Exchanges.Load())/float64(b.N), "exchanges/op")
				}
			})
		})
	}
}

// BenchmarkUDPAssociations has 16 associations with 16 datagrams of 200 bytes
// outstanding each.
func BenchmarkUDPAssociations(b *testing.B) {
	for _, w := range udpLoadWays[1:] {
		b.Run(w.name, func(b *testing.B) {
			udpLoad(b, w.config, func(s *Stack, socket func() net.PacketConn, echo func() string) {
				to := packetAddr(echo())
				var all sync.WaitGroup
				b.ResetTimer()
				for range 16 {
					e := echoes{c: socket(), to: to, outstanding: 16, size: 200}
					all.Go(func() { e.run(b, func(sent int) bool { return sent < b.N/16+1 }) })
				}
				all.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "echoes/s")
			})
		})
	}
}
